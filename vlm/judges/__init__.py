"""Judges of free answers: a benchmark's rule, a language model, both, or recorded verdicts."""

from vlm.judges.chat_judge import chat
from vlm.judges.composite_judge import composite
from vlm.judges.judge_by_name import from_name
from vlm.judges.recorded_judge import recorded
from vlm.judges.rule_judge import is_certain, rule
from vlm.judges.verdict import Judge, JudgeRequest, Verdict
from vlm.judges.verdict_parsing import read_verdict

__all__ = [
    "Judge",
    "JudgeRequest",
    "Verdict",
    "chat",
    "composite",
    "from_name",
    "is_certain",
    "read_verdict",
    "recorded",
    "rule",
]
