"""A judge by its text form: ``rule``, ``chat:MODEL``, ``composite:MODEL`` or ``recorded:FILE``."""

from __future__ import annotations

from pathlib import Path

from vlm.judges.chat_judge import chat
from vlm.judges.composite_judge import composite
from vlm.judges.recorded_judge import recorded
from vlm.judges.rule_judge import rule
from vlm.judges.verdict import Judge


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
