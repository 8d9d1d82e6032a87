"""The rule where it is certain, a language model for the rest."""

from __future__ import annotations

from collections.abc import Sequence

from vlm.judges.rule_judge import is_certain
from vlm.judges.verdict import Judge, JudgeRequest, Verdict


def composite(rule: Judge, chat: Judge) -> Judge:
    """Make a judge that asks `chat` only where the verdict of `rule` is in doubt.

    The rule is certain where it read one of the options or the answer equals a reference; see :func:`is_certain`. A
    failure of `chat` is a failure: the rule does not stand in for it, because scores would then depend on server
    availability. A request without references stays the rule's failure.

    Parameters
    ----------
    rule, chat : Judge

    Returns
    -------
    Judge
        A function from requests to verdicts; ``source`` tells which judge gave each.

    See Also
    --------
    rule, chat : The two judges.
    is_certain : When the rule is not in doubt.

    Examples
    --------
    >>> from vlm.judges import JudgeRequest, Verdict, composite, rule
    >>> def synonyms(requests):  # stands for a chat judge, which needs a server
    ...     return [Verdict(float(r.prediction == "A mug."), "ok", "chat", "correct", "") for r in requests]
    >>> judge = composite(rule(), synonyms)
    >>> answers = ("Cup.", "A mug.")
    >>> requests = [JudgeRequest("gqa", a, "What is on the table?", ("cup",), a, "exact") for a in answers]
    >>> [(verdict.score, verdict.source) for verdict in judge(requests)]
    [(1.0, 'rule'), (1.0, 'chat')]
    """

    def judge(requests: Sequence[JudgeRequest]) -> list[Verdict]:
        verdicts = rule(requests)
        pairs = enumerate(zip(requests, verdicts, strict=True))
        uncertain = [i for i, (request, verdict) in pairs if request.references and not is_certain(request, verdict)]
        for i, verdict in zip(uncertain, chat([requests[i] for i in uncertain]), strict=True):
            verdicts[i] = verdict
        return verdicts

    return judge
