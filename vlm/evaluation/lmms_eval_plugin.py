"""What lmms-eval finds through the entry-point group `lmms_eval.models`; every listing of its models loads this."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """The harness's description of the model `skipit`, which is `vlm.evaluation.lmms_eval_model.SkipIt`."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="skipit", chat_class_path="vlm.evaluation.lmms_eval_model.SkipIt")
