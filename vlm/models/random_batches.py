"""Random batches for random models: padded prompts with images, and parts of them."""

from __future__ import annotations

import torch
from torch import Tensor

from vlm.models.random_models import FIRST_WORD, IMAGE, VOCABULARY
from vlm.models.types import Model

Batch = dict[str, Tensor]
# Image tokens of one image in the LLaVA-like random models.
PATCHES = 9
# Families whose images are grids of patches.
_ON_A_GRID = ("qwen", "glm4v")
# Families whose token types say which tokens see each other both ways.
_BLOCKS = ("gemma4", "molmo2")
_ALONG_THE_SEQUENCE = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")


def image_tokens(model: Model) -> int:
    """Number of placeholder tokens of one image, measured by encoding one."""
    if model.config.model_type == "llama4":
        return 4
    with torch.no_grad():
        inner = getattr(model, "model", model)
        out = inner.get_image_features(**_image_arguments(model, [1], torch.Generator()))
    features = out.pooler_output
    features = torch.cat(list(features), dim=0) if isinstance(features, list | tuple) else features
    return features.numel() // features.shape[-1]


def _image_arguments(model: Model, images: list[int], generator: torch.Generator) -> Batch:
    """Image arguments of the model's forward for rows with these numbers of images."""
    kind, total = model.config.model_type, sum(images)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    if kind == "video_llava":
        return {"pixel_values_images": noise(total, 3, 12, 12)}
    if kind in ("llava_next", "llava_onevision", "llava_next_video"):
        return {"pixel_values": noise(total, 5, 3, 12, 12), "image_sizes": torch.tensor([[24, 24]] * total)}
    if kind.startswith(_ON_A_GRID):
        return {"pixel_values": noise(16 * total, 96), "image_grid_thw": torch.tensor([[1, 4, 4]] * total)}
    if kind in ("idefics2", "idefics3", "smolvlm"):
        # Rows with fewer images are filled with empty ones.
        size = 12 if kind == "idefics2" else 16
        pixels = torch.zeros(len(images), max(images), 3, size, size)
        for row, count in enumerate(images):
            pixels[row, :count] = noise(count, 3, size, size)
        return {"pixel_values": pixels}
    if kind == "mistral3":
        return {"pixel_values": noise(total, 3, 16, 16), "image_sizes": torch.tensor([[16, 16]] * total)}
    if kind == "deepseek_vl_hybrid":
        return {"pixel_values": noise(total, 3, 12, 12), "high_res_pixel_values": noise(total, 3, 16, 16)}
    if kind == "gemma4":
        places = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="xy"), dim=-1).reshape(1, 16, 2)
        pixels = torch.rand(total, 16, 48, generator=generator)
        return {"pixel_values": pixels, "image_position_ids": places.repeat(total, 1, 1)}
    if kind == "molmo2":
        return {"pixel_values": noise(total, 16, 48), **_pooling(total)}
    if kind == "instructblip":
        questions = torch.randint(FIRST_WORD, VOCABULARY, (total, 3), generator=generator)
        return {"pixel_values": noise(total, 3, 12, 12), "qformer_input_ids": questions}
    side = 16 if kind in ("internvl", "gemma3", "llama4", "ovis2", "cohere2_vision", "aya_vision") else 12
    return {"pixel_values": noise(total, 3, side, side)}


def _pooling(images: int) -> Batch:
    """Molmo 2's pooling of 4 x 4 patches of each image to 2 x 2 tokens."""
    patches = torch.arange(16 * images).view(images, 2, 2, 2, 2).transpose(2, 3).reshape(4 * images, 4)
    return {"image_token_pooling": patches, "image_grids": torch.tensor([[2, 2, 0, 0]] * images)}


def batch_for(
    model: Model, images: tuple[int, ...] = (1,), after: tuple[int, ...] = (6,), *, before: int = 3, seed: int = 0
) -> Batch:
    """A left-padded batch whose rows are text, images and more text.

    Parameters
    ----------
    images : tuple of int
        Number of images of each row, each followed by one text token.
    after : tuple of int
        Text tokens at the end of each row.
    before : int
        Text tokens before the first image.
    seed : int
        Determines tokens and pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    per_image = image_tokens(model)
    rows = []
    for count, tail in zip(images, after, strict=True):
        text = torch.randint(FIRST_WORD, VOCABULARY, (before + tail + count,), generator=generator).tolist()
        row = text[:before]
        for i in range(count):
            row += [IMAGE] * per_image + [text[before + i]]
        rows.append(row + text[before + count :])
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    pixels_and_sizes = _image_arguments(model, list(images), generator) if sum(images) else {}
    return {"input_ids": ids, "attention_mask": mask, **_token_types(model, ids), **pixels_and_sizes}


def _token_types(model: Model, ids: Tensor) -> Batch:
    kind = model.config.model_type
    if kind.startswith(_ON_A_GRID) or kind in _BLOCKS:
        return {"mm_token_type_ids": (ids == IMAGE).to(torch.int32)}
    if kind == "gemma3":
        return {"token_type_ids": (ids == IMAGE).to(torch.int64)}
    # PaliGemma: the prompt is one prefix, whose tokens all attend to each other.
    return {"token_type_ids": torch.zeros_like(ids)} if kind == "paligemma" else {}


def lengthened(model: Model, batch: Batch, sequences: Tensor) -> Batch:
    """The batch with generated tokens appended: `sequences` (batch, tokens) starts with its `input_ids`."""
    more = sequences.shape[1] - batch["input_ids"].shape[1]
    ones = torch.ones(len(sequences), more, dtype=torch.long)
    out = {**batch, "input_ids": sequences, "attention_mask": torch.cat([batch["attention_mask"], ones], dim=1)}
    for name in ("token_type_ids", "mm_token_type_ids"):
        if name in batch:
            # In PaliGemma generated tokens belong to the causal suffix.
            new = (ones if model.config.model_type == "paligemma" else 0 * ones).to(batch[name].dtype)
            out[name] = torch.cat([batch[name], new], dim=1)
    return out


def single_row(model: Model, batch: Batch, images: tuple[int, ...], row: int) -> Batch:
    """One row of a batch as its own batch, without padding."""
    real = batch["attention_mask"][row].bool()
    along = {name: value[row : row + 1, real] for name, value in batch.items() if name in _ALONG_THE_SEQUENCE}
    return {**along, **images_of(batch, images, row, 0, images[row])}


def images_of(batch: Batch, images: tuple[int, ...], row: int, start: int, count: int) -> Batch:
    """Image arguments of images start..start+count-1 of one row; `images` are the numbers of images of all rows."""
    if "pixel_values_images" in batch:
        first = sum(images[:row]) + start
        return {"pixel_values_images": batch["pixel_values_images"][first : first + count]} if count else {}
    if not count or "pixel_values" not in batch:
        return {}
    pixels, first = batch["pixel_values"], sum(images[:row]) + start
    if "image_token_pooling" in batch:
        return {"pixel_values": pixels[first : first + count], **_pooling(count)}
    names = ("image_sizes", "image_grid_thw", "high_res_pixel_values", "image_position_ids", "qformer_input_ids")
    others = {n: batch[n][first : first + count] for n in names if n in batch}
    if "image_grid_thw" in batch:
        return {"pixel_values": pixels[16 * first : 16 * (first + count)], **others}
    if pixels.ndim == 5 and "image_sizes" not in batch:
        return {"pixel_values": pixels[row : row + 1, start : start + count], **others}
    return {"pixel_values": pixels[first : first + count], **others}


def with_positions(batch: Batch) -> Batch:
    """The batch with position ids that count real tokens only, as `generate` creates them.

    Models with three-dimensional positions derive them from the token types themselves.
    """
    if "mm_token_type_ids" in batch and not {"image_position_ids", "image_token_pooling"} & set(batch):
        return batch
    positions = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    return {**batch, "position_ids": positions}
