"""From a protocol's text with `<image>` marks to what the model takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MARK = "<image>"


def wording(processor: Any, text: str, images: int) -> str:
    """The prompt of one question as the model was trained to read it.

    Parameters
    ----------
    processor
        As `vlm.load` returns it. Its chat template is used when it has one; else the text stands alone, with the
        processor's image token in the place of the marks. Where a template puts all images first (LLaVA's do), the
        text says `<image k>` in the place of the k-th, as data sets write it.
    text : str
        One `<image>` mark per image.
    images : int
        How many images there are.

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
    said = _rendered(processor, content)
    first = [{"type": "image"}] * images
    if content[:images] == first or _in_order(said, content, getattr(processor, "image_token", MARK)):
        return said
    numbered = "".join(f"<image {k}>" * (k > 0) + piece for k, piece in enumerate(pieces))
    return _rendered(processor, [*first, {"type": "text", "text": numbered.strip()}])


def _rendered(processor: Any, content: list[dict[str, str]]) -> str:
    message = [{"role": "user", "content": content}]
    said: str = processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    return said


def _in_order(said: str, content: Sequence[dict[str, str]], token: str) -> bool:
    """Whether a template left images and text in the order they were given in."""
    at = 0
    for part in content:
        wanted = part["text"].strip() if part["type"] == "text" else token
        at = said.find(wanted, at)
        if at < 0:
            return False
        at += len(wanted)
    return True


def inputs(model: Any, processor: Any, texts: Sequence[str], images: Sequence[Any]) -> dict[str, Any]:
    """Tensors for a batch of prompts, on the model's device and in its type.

    Parameters
    ----------
    texts : sequence of str
        From :func:`wording`, one per row.
    images : sequence of PIL.Image.Image
        All rows' images, in order.
    """
    first = getattr(processor.tokenizer, "bos_token", None)
    # A template that writes the first token itself must not get a second one.
    once = {"add_special_tokens": False} if first and texts[0].startswith(first) else {}
    batch = processor(images=list(images) or None, text=list(texts), return_tensors="pt", padding=True, **once)
    return dict(batch.to(model.device, model.dtype))
