"""The entry point of group `lmms_eval.models`. lmms-eval imports it whenever it lists its models, so it is light."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """lmms-eval's description of the model `skipit`, which is `vlm.evaluation.lmms_eval_model.SkipIt`."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="skipit", chat_class_path="vlm.evaluation.lmms_eval_model.SkipIt")
