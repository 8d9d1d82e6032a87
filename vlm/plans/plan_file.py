"""A plan with its promise as a file: what serving code loads, and the evidence behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redundancy.display import Displayed, plain
from vlm.atomic_files import write_atomically
from vlm.models.types import Model
from vlm.models.weights_fingerprint import weights_fingerprint
from vlm.plans.plan import SkipPlan

_KIND = "skipit plan"
_FORMAT = 1


@dataclass(frozen=True, repr=False)
class PlanFile(Displayed):
    """A plan, what is promised of it, for which weights, and on what evidence. Made by `vlm.optimize`.

    Attributes
    ----------
    plan : SkipPlan
    model : str
        Name or folder of the model.
    weights : str
        Fingerprint of its weights; see `vlm.models.weights_fingerprint`.
    identity : str
        Commit or digest of the files it was read from; "unknown" for a model that was made otherwise.
    data : str
        Data set, and a hash of the questions and images that certified the plan.
    loss : str
        "disagreement", "accuracy" or "kl".
    max_loss, confidence : float
        The promise.
    images, questions : int
        How many certified it.
    estimate, low, high, limit : float
        Mean loss over the images, its two-sided interval, and the one-sided limit that is at most `max_loss`.
    cost : mapping of str -> float
        Relative to the full model: "operations", "cache", and "prefill" and "token" seconds where they were measured.
    guarantee : str
        The promise in one sentence.
    settings : mapping of str -> str
        Protocol, precision and the like.
    versions : mapping of str -> str
    seed : int

    See Also
    --------
    vlm.optimize : Makes one.
    vlm.apply, vlm.skipping, vlm.load : Use one.

    Examples
    --------
    >>> from vlm.plans.plan_file import PlanFile
    >>> file = PlanFile(SkipPlan.early_exit(8), model="tiny", weights="0123456789abcdef", max_loss=0.01)
    >>> file
    PlanFile('vision:8-' for tiny: disagreement at most 0.01 with 95% confidence)
    >>> PlanFile.from_json(file.to_json()) == file
    True
    """

    plan: SkipPlan
    model: str
    weights: str
    identity: str = "unknown"
    data: str = ""
    loss: str = "disagreement"
    max_loss: float = 0.0
    confidence: float = 0.95
    images: int = 0
    questions: int = 0
    estimate: float = 0.0
    low: float = 0.0
    high: float = 0.0
    limit: float = 0.0
    cost: Mapping[str, float] = field(default_factory=dict)
    guarantee: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0

    def __repr__(self) -> str:
        promise = f"{self.loss} at most {self.max_loss:g} with {100 * self.confidence:g}% confidence"
        return f"PlanFile({str(self.plan)!r} for {self.model}: {promise})"

    def to_dict(self) -> dict[str, Any]:
        """The content of the file."""
        fields = {name: plain(value) for name, value in vars(self).items() if name != "plan"}
        return {"kind": _KIND, "format": _FORMAT, "plan": str(self.plan), "digest": self.plan.digest, **fields}

    def to_json(self, *, indent: int | None = 2) -> str:
        """The file as text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False) + "\n"

    def save(self, path: str | Path) -> Path:
        """Write the file atomically; returns its path."""
        return write_atomically(path, self.to_json())

    @classmethod
    def from_json(cls, text: str, *, name: str = "plan file") -> PlanFile:
        """Read the text of a file.

        Raises
        ------
        ValueError
            Not a plan file, one of another format, or one whose plan was edited.
        """
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{name}: expected JSON written by vlm.optimize, got {error}") from error
        if not isinstance(content, dict) or content.pop("kind", None) != _KIND:
            raise ValueError(f"{name}: expected a file written by vlm.optimize, got other JSON")
        if (version := content.pop("format", None)) != _FORMAT:
            raise ValueError(f"{name}: expected format {_FORMAT}, got {version!r}; write it again with this version")
        digest, fields = content.pop("digest", None), set(cls.__dataclass_fields__)
        if set(content) != fields:
            wrong = ", ".join(sorted(set(content) ^ fields))
            raise ValueError(f"{name}: expected the keys {', '.join(sorted(fields))}; missing or unknown: {wrong}")
        for key, value in content.items():
            if not isinstance(value, _KINDS.get(key, (str,))) or isinstance(value, bool):
                raise ValueError(f"{name}: expected {key} as in a file written by vlm.optimize, got {value!r}")
        plan = SkipPlan.parse(content.pop("plan"))
        if plan.digest != digest:
            raise ValueError(
                f"{name}: the plan {plan} has the digest {plan.digest}, the file says {digest}; the promise was not "
                "made for this plan, so use the file as it was written, or the plan's text without a promise"
            )
        return cls(plan=plan, **content)

    @classmethod
    def load(cls, path: str | Path) -> PlanFile:
        """Read a file.

        Raises
        ------
        FileNotFoundError
            No such file.
        ValueError
            As :meth:`from_json`.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"plan: no file {str(path)!r}; expected one written by vlm.optimize")
        return cls.from_json(path.read_text(encoding="utf-8"), name=str(path))

    def check(self, model: Model) -> None:
        """Refuse a model of other weights.

        Raises
        ------
        ValueError
            The promise was made for other weights.
        """
        got = weights_fingerprint(model)
        if got != self.weights:
            raise ValueError(
                f"plan: expected the weights {self.weights} of {self.model}, got {got}; the promise holds for those "
                f"weights only: run vlm.optimize on this model, or pass the plan's text {str(self.plan)!r} without it"
            )


_NUMBERS = {"max_loss", "confidence", "estimate", "low", "high", "limit"}
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(_NUMBERS, (int, float)),
    **dict.fromkeys(("images", "questions", "seed"), (int,)),
    **dict.fromkeys(("cost", "settings", "versions"), (dict,)),
}

Plan = SkipPlan | str | Path | PlanFile
"""A plan, its text form, or a plan file: its path (ending in .json) or its value."""


def is_plan_file(plan: object) -> bool:
    """Whether a value names a plan file rather than a plan."""
    return isinstance(plan, Path) or (isinstance(plan, str) and plan.endswith(".json"))


def readable(plan: Plan) -> Plan:
    """A plan file by its value instead of its path; other plans unchanged. Needs no model."""
    return PlanFile.load(plan) if isinstance(plan, str | Path) and is_plan_file(plan) else plan


def plan_for(model: Model, plan: Plan) -> SkipPlan:
    """The plan that a value means for a model.

    Raises
    ------
    TypeError
        None of the kinds of `Plan`.
    ValueError, FileNotFoundError
        A plan file for other weights, or one that cannot be read; a text that is no plan.
    """
    plan = readable(plan)
    if isinstance(plan, PlanFile):
        plan.check(model)
        return plan.plan
    if isinstance(plan, str):
        return SkipPlan.parse(plan)
    if not isinstance(plan, SkipPlan):
        raise TypeError(f"plan: expected a SkipPlan or its text form, or a plan file, got {type(plan).__name__}")
    return plan
