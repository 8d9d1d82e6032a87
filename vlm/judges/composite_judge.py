"""The rule where it is certain, a language model for the rest."""

from __future__ import annotations

from collections.abc import Sequence

from vlm.judges.rule_judge import is_certain
from vlm.judges.verdict import Judge, JudgeRequest, Verdict


def composite(rule: Judge, chat: Judge) -> Judge:
    """A judge that asks `chat` only where the verdict of `rule` is in doubt.

    The rule is certain where it read one of the options, or found the answer to be a reference; see
    `vlm.judges.rule.is_certain`. A failure of `chat` is a failure: the rule does not stand in for it, since scores
    would then depend on how the server felt. An item without references stays the rule's failure.

    Parameters
    ----------
    rule, chat : function
        Judges.

    Returns
    -------
    function
        Requests to verdicts; ``source`` says whose they are.
    """

    def judge(requests: Sequence[JudgeRequest]) -> list[Verdict]:
        verdicts = rule(requests)
        pairs = enumerate(zip(requests, verdicts, strict=True))
        unsure = [i for i, (request, verdict) in pairs if request.references and not is_certain(request, verdict)]
        for i, verdict in zip(unsure, chat([requests[i] for i in unsure]), strict=True):
            verdicts[i] = verdict
        return verdicts

    return judge
