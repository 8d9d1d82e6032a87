"""Judges of free answers: a rule, a language model, both, or verdicts given before."""

from __future__ import annotations

from pathlib import Path

from vlm.judges.chat_judge import chat
from vlm.judges.composite_judge import composite
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


def from_name(name: str, *, cache: str | Path | None = None) -> Judge:
    """A judge by its text form, as specs and command lines write it.

    Parameters
    ----------
    name : str
        ``"rule"``, ``"chat:MODEL"``, ``"composite:MODEL"`` or ``"recorded:FILE"``.
    cache : str or Path, optional
        Folder for the verdicts of a chat judge.

    Raises
    ------
    ValueError
        Another name, or neither OPENAI_API_KEY nor OPENAI_BASE_URL is set for a chat judge.
    ImportError
        The extra of the chat judge is missing.
    FileNotFoundError
        No such file of verdicts.
    """
    kind, _, what = name.partition(":")
    if name == "rule":
        return rule()
    if kind in ("chat", "composite") and what.strip():
        asked = chat(what.strip(), cache=cache)
        return asked if kind == "chat" else composite(rule(), asked)
    if kind == "recorded" and what:
        return recorded(what)
    raise ValueError(f"judge: expected 'rule', 'chat:MODEL', 'composite:MODEL' or 'recorded:FILE', got {name!r}")
