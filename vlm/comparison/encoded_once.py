"""A batch whose images are encoded once for many plans, where the model takes encoded images and gives the same."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import torch

from vlm.models.types import Model
from vlm.planner.answered_batch import AnsweredBatch


def encoded_once(model: Model, batch: AnsweredBatch) -> AnsweredBatch:
    """The batch with encoded images in place of their pixels, or as it is.

    Parameters
    ----------
    model : Model
        Its `forward` takes `mm_encoder_outputs` and its images are encoded from `pixel_values` alone; else the batch
        stays as it is, as where the logits of the full model would not be the same to the last bit.
    batch : AnsweredBatch
    """
    given = dict(batch.forced)
    pixels = given.pop("pixel_values", None)
    takes = "mm_encoder_outputs" in inspect.signature(model.forward).parameters
    encode: Any = getattr(model, "get_image_features", None)
    others = [name for name, value in given.items() if value.shape != given["input_ids"].shape]
    if pixels is None or not takes or encode is None or others:
        return batch
    with torch.no_grad():
        encoded: Any = {"image": encode(pixel_values=pixels, return_dict=True)}
        new = replace(batch, forced={**given, "mm_encoder_outputs": encoded})
        before, after = (model(**one.forced, use_cache=False, logits_to_keep=1).logits for one in (batch, new))
    return new if torch.equal(before, after) else batch
