"""What a judge is asked, what it says, and what a judge is: a function from requests to verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["ok", "failed"]
Source = Literal["rule", "chat", "recorded", "cache"]


@dataclass(frozen=True, eq=False)
class JudgeRequest:
    """A prediction to be judged against references.

    Attributes
    ----------
    dataset, id : str
        Of the item.
    question : str
        As in the data set, without a protocol's wording.
    references : tuple of str
        Right answers; for a multiple choice the right letter.
    prediction : str
        What the model under test said.
    scorer : str
        The rule of the item's benchmark, one of ``vlm.scoring.SCORERS``.
    options : tuple of str
        The options' texts where the question does not list them itself.
    details : mapping str -> str
        What a rule may need beside, such as OCRBench's sub-set.
    """

    dataset: str
    id: str
    question: str
    references: tuple[str, ...]
    prediction: str
    scorer: str
    options: tuple[str, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What a judge says of one prediction.

    Attributes
    ----------
    score : float or None
        In [0, 1]; None if the judge failed, which is no score of 0.
    status : "ok" or "failed"
        Failures are counted apart and never cached.
    source : "rule", "chat", "recorded" or "cache"
        Who said it.
    raw : str
        A chat judge's reply as it came; the answer as a rule read it, "" if it read none.
    reason : str
        Why it failed; "" otherwise.
    """

    score: float | None
    status: Status
    source: Source
    raw: str
    reason: str


Judge = Callable[[Sequence[JudgeRequest]], list[Verdict]]
"""One verdict per request, in order."""


def failed(source: Source, reason: str, raw: str = "") -> Verdict:
    """A verdict that says why there is none."""
    return Verdict(None, "failed", source, raw, reason)
