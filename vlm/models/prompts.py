"""From a protocol's text with `<image>` marks to the inputs of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vlm.models.types import Model, Processor

MARK = "<image>"


def wording(processor: Processor, text: str, images: int) -> str:
    """The prompt of one question in the format that the model was trained on.

    Parameters
    ----------
    processor
        As `vlm.load` returns it. Its chat template is used if it has one; otherwise the text is used as it is, with
        the processor's image token in place of the marks. If a template puts all images first (as LLaVA's do), the
        text refers to the k-th image as `<image k>` at its place, as data sets write it.
    text : str
        One `<image>` mark per image.
    images : int
        Number of images.

    Returns
    -------
    str
        The prompt.

    Raises
    ------
    ValueError
        Marks and images differ in number.
    """
    pieces = text.split(MARK)
    if len(pieces) != images + 1:
        raise ValueError(f"prompt: expected {images} {MARK} marks, one per image, got {len(pieces) - 1}")
    if getattr(processor, "chat_template", None) is None:
        return text.replace(MARK, getattr(processor, "image_token", MARK))
    content: list[dict[str, str]] = []
    for number, piece in enumerate(pieces):
        if number:
            content.append({"type": "image"})
        if all(part["type"] == "image" for part in content):
            piece = piece.lstrip()
        if number == images:
            piece = piece.rstrip()
        if piece.strip():
            content.append({"type": "text", "text": piece})
    prompt = _rendered(processor, content)
    first = [{"type": "image"}] * images
    if content[:images] == first or _in_order(prompt, content, getattr(processor, "image_token", MARK)):
        return prompt
    numbered = "".join(f"<image {k}>" * (k > 0) + piece for k, piece in enumerate(pieces))
    return _rendered(processor, [*first, {"type": "text", "text": numbered.strip()}])


def _rendered(processor: Processor, content: list[dict[str, str]]) -> str:
    """The chat template applied to one user message."""
    message = [{"role": "user", "content": content}]
    prompt: str = processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    return prompt


def _in_order(prompt: str, content: Sequence[dict[str, str]], token: str) -> bool:
    """Whether a template left images and texts in their order."""
    at = 0
    for part in content:
        piece = part["text"].strip() if part["type"] == "text" else token
        at = prompt.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return True


def inputs(model: Model, processor: Processor, texts: Sequence[str], images: Sequence[Any]) -> dict[str, Any]:
    """Tensors for a batch of prompts, on the model's device and in its floating-point type.

    Parameters
    ----------
    texts : sequence of str
        From :func:`wording`, one per row.
    images : sequence of PIL.Image.Image
        The images of all rows, in order.
    """
    first = getattr(processor.tokenizer, "bos_token", None)
    # A template that already contains the first token must not get a second one.
    once = {"add_special_tokens": False} if first and texts[0].startswith(first) else {}
    batch = processor(images=list(images) or None, text=list(texts), return_tensors="pt", padding=True, **once)
    return dict(batch.to(model.device, model.dtype))
