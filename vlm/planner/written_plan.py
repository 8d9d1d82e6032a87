"""From a certified candidate to its plan file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from vlm.models.fingerprint import model_identity
from vlm.models.loading import EMBEDDED
from vlm.models.transformers_internals import commit_of
from vlm.models.types import Model
from vlm.planner.answered_questions import QuestionList
from vlm.planner.certification import Tested
from vlm.planner.cost_objective import CostModel, Seconds
from vlm.planner.promise import Promise
from vlm.plans.plan import SkipPlan
from vlm.plans.plan_file import PlanFile


def plan_file(
    model: Model,
    promise: Promise,
    best: Tested | None,
    costs: CostModel,
    questions: QuestionList,
    settings: Mapping[str, str],
    data: str,
    weights: str,
    seed: int,
    seconds: Sequence[Seconds],
) -> PlanFile:
    plan = SkipPlan() if best is None else best.candidate.plan
    images = int(questions.groups.max()) + 1 if best is None else best.images
    cost = {"operations": costs.operations(plan), "cache": costs.cache(plan)}
    if seconds:
        cost |= {
            "prefill_seconds_full": seconds[0].prefill,
            "prefill_seconds": seconds[1].prefill,
            "token_seconds_full": seconds[0].token,
            "token_seconds": seconds[1].token,
            "answer_length": costs.answer_length,
        }
    return PlanFile(
        plan=plan,
        model=_name(model),
        weights=weights,
        identity=_identity(model),
        data=data,
        loss=promise.loss,
        max_loss=promise.max_loss,
        confidence=promise.confidence,
        images=images,
        questions=len(questions.questions) if best is None else int(np.sum(questions.groups < best.images)),
        estimate=0.0 if best is None else best.loss,
        low=0.0 if best is None else best.low,
        high=0.0 if best is None else best.high,
        limit=0.0 if best is None else best.limit,
        cost=cost,
        guarantee="The full model: nothing is skipped and nothing is lost."
        if best is None
        else promise.sentence(images, data),
        settings={k: settings[k] for k in ("protocol", "max_new_tokens", "batch_size", "dtype", "kl_limit")},
        versions=_versions(),
        seed=seed,
    )


def _name(model: Model) -> str:
    """What `vlm.load` takes for this model, as far as it is known."""
    name = str(getattr(model, "name_or_path", ""))
    embedded = next((short for short, folder in EMBEDDED.items() if name == str(folder)), "")
    return embedded or name or str(model.config.model_type)


def _identity(model: Model) -> str:
    """Commit or digest of the files that a model was read from."""
    name = str(getattr(model, "name_or_path", ""))
    if not name:
        return "unknown"
    if Path(name).is_dir():
        return model_identity(name)
    commit = commit_of(model.config)
    return f"commit {commit}" if commit else "unknown"


def _versions() -> dict[str, str]:
    names: dict[str, str] = {}
    for package in ("skipit", "torch", "transformers", "tokenizers", "pillow"):
        try:
            names[package] = version(package)
        except PackageNotFoundError:
            names[package] = "not installed"
    return names
