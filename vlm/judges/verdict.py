"""The types of judging: a request, a verdict, and a judge, which is a function from requests to verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from redundancy.display import Displayed

Status = Literal["ok", "failed"]
Source = Literal["rule", "chat", "recorded", "cache"]


@dataclass(frozen=True, eq=False, repr=False)
class JudgeRequest(Displayed):
    """A prediction to be judged against references.

    Attributes
    ----------
    dataset, id : str
        Data set and id of the item.
    question : str
        As in the data set, without a protocol's wording.
    references : tuple of str
        Right answers; for a multiple choice the right letter.
    prediction : str
        The answer of the model under test.
    scorer : str
        The rule of the item's benchmark, a key of ``vlm.scoring.SCORERS``.
    options : tuple of str
        The texts of the options where the question does not list them itself.
    details : mapping str -> str
        Further facts that a rule may need, such as OCRBench's subset.

    See Also
    --------
    vlm.judges.Verdict : The answer to it.
    vlm.judges.from_name : Makes a judge.

    Examples
    --------
    >>> from vlm.judges import JudgeRequest
    >>> JudgeRequest("gqa", "1", "What is on the table?", ("cup",), "A cup.", "exact")
    JudgeRequest(dataset=gqa, id=1, question=What is on the table?, references=(cup), prediction=A cup., scorer=exact)
    """

    dataset: str
    id: str
    question: str
    references: tuple[str, ...]
    prediction: str
    scorer: str
    options: tuple[str, ...] = field(default=(), repr=False)
    details: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, repr=False)
class Verdict(Displayed):
    """A judge's verdict on one prediction.

    Attributes
    ----------
    score : float or None
        In [0, 1]. None if the judge failed, which is not a score of 0.
    status : {"ok", "failed"}
        Failures are counted separately and never cached.
    source : {"rule", "chat", "recorded", "cache"}
        Where the verdict comes from.
    raw : str
        A chat judge's reply, unchanged; the answer as a rule read it, "" if it read none.
    reason : str
        Why the judge failed; "" otherwise.

    See Also
    --------
    vlm.judges.JudgeRequest : What a judge is asked.

    Examples
    --------
    >>> from vlm.judges import Verdict
    >>> Verdict(1.0, "ok", "rule", "cup", "")
    Verdict(score=1, status=ok, source=rule, raw=cup, reason='')
    """

    score: float | None
    status: Status
    source: Source
    raw: str
    reason: str


Judge = Callable[[Sequence[JudgeRequest]], list[Verdict]]
"""A judge: a function that takes requests and returns one verdict per request, in order."""


def failed(source: Source, reason: str, raw: str = "") -> Verdict:
    """A verdict of a judge that failed, with the reason."""
    return Verdict(None, "failed", source, raw, reason)
