"""The default judge: each benchmark's own rule; it needs no network and never changes its mind."""

from __future__ import annotations

from vlm.item import Item
from vlm.judges.verdict import Judge, JudgeRequest, Verdict, failed
from vlm.scoring import score


def rule() -> Judge:
    """A judge by `vlm.scoring`.

    Returns
    -------
    function
        Requests to verdicts. An answer that the rule cannot read scores 0 and has ``raw == ""``; an item that it
        cannot be applied to (no references, say) is a failure.
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
        found = score(item, request.prediction, scorer=request.scorer)
    except ValueError as error:
        return failed("rule", str(error))
    return Verdict(found.value, "ok", "rule", found.parsed or "", "")


def is_certain(request: JudgeRequest, verdict: Verdict) -> bool:
    """Whether nobody could disagree with a rule's verdict.

    It is certain where the rule read one of the options, whichever; where the answer equals a reference up to
    the rule's normalisation, or by mathematics. It is not where the rule found nothing, found
    something else than the references, or found a reference somewhere within a longer answer.
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
