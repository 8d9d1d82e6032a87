"""The default judge: each benchmark's own rule, which needs no network and is deterministic."""

from __future__ import annotations

from vlm.item import Item
from vlm.judges.verdict import Judge, JudgeRequest, Verdict, failed
from vlm.scoring import score


def rule() -> Judge:
    """Make a judge that scores by each benchmark's own rule (:func:`vlm.scoring.score`).

    Returns
    -------
    Judge
        A function from requests to verdicts with a score in [0, 1]. An answer that the rule cannot read scores 0
        and has ``raw == ""``. A request that the rule cannot be applied to, for example without references, is a
        failure.

    See Also
    --------
    is_certain : Whether such a verdict is beyond doubt.
    composite : Asks a language model where it is not.

    Examples
    --------
    >>> from vlm.judges import JudgeRequest, rule
    >>> requests = [
    ...     JudgeRequest("gqa", "1", "What is on the table?", ("cup",), "Cup.", "exact"),
    ...     JudgeRequest("gqa", "2", "What is on the table?", ("cup",), "A mug.", "exact"),
    ... ]
    >>> for verdict in rule()(requests):
    ...     print(verdict)
    Verdict(score=1, status=ok, source=rule, raw=cup, reason='')
    Verdict(score=0, status=ok, source=rule, raw=a mug, reason='')
    """
    return lambda requests: [_verdict(request) for request in requests]


def _verdict(request: JudgeRequest) -> Verdict:
    item = Item(
        dataset=request.dataset,
        id=request.id,
        image_id="",
        question=request.question,
        images=(),
        options=request.options,
        answers=request.references,
        details=request.details,
    )
    try:
        scored = score(item, request.prediction, scorer=request.scorer)
    except ValueError as error:
        return failed("rule", str(error))
    return Verdict(scored.value, "ok", "rule", scored.parsed or "", "")


def is_certain(request: JudgeRequest, verdict: Verdict) -> bool:
    """Whether a rule's verdict is beyond doubt.

    Parameters
    ----------
    request : JudgeRequest
    verdict : Verdict
        The verdict of :func:`rule` on this request.

    Returns
    -------
    bool
        True where the rule read one of the options, right or wrong, and where the answer equals a reference, up to
        the rule's normalisation or as mathematics. False where the rule read no answer or another one than the
        references, and where a longer answer merely contains a reference.

    See Also
    --------
    composite : Asks a second judge where this is False.
    rule : The judge whose verdicts these are.

    Examples
    --------
    >>> from vlm.judges import JudgeRequest, is_certain, rule
    >>> right = JudgeRequest("gqa", "1", "What is on the table?", ("cup",), "Cup.", "exact")
    >>> other = JudgeRequest("gqa", "2", "What is on the table?", ("cup",), "A mug.", "exact")
    >>> [is_certain(request, verdict) for request, verdict in zip((right, other), rule()([right, other]))]
    [True, False]
    """
    if verdict.status != "ok":
        return False
    if _is_letter(verdict.raw) and all(_is_letter(reference) for reference in request.references):
        return True
    if verdict.score != 1.0:
        return False
    contains = request.scorer == "ocrbench" or (request.scorer == "mmmu" and not request.options)
    return not contains or request.prediction.strip().casefold() in {r.strip().casefold() for r in request.references}


def _is_letter(text: str) -> bool:
    return len(text) == 1 and text.isascii() and text.isupper()
