"""A judge by its text form: ``rule``, ``chat:MODEL``, ``composite:MODEL`` or ``recorded:FILE``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vlm.judges.chat_judge import chat
from vlm.judges.composite_judge import composite
from vlm.judges.recorded_judge import recorded
from vlm.judges.rule_judge import rule
from vlm.judges.verdict import Judge


def from_name(
    name: str,
    *,
    cache: str | Path | None = None,
    timeout: float = 60.0,
    retries: int = 4,
    concurrency: int = 8,
    parameters: Mapping[str, object] | None = None,
) -> Judge:
    """Make a judge from its text form, which specs and command lines use.

    Parameters
    ----------
    name : str
        ``"rule"``, ``"chat:MODEL"``, ``"composite:MODEL"`` or ``"recorded:FILE"``.
    cache, timeout, retries, concurrency, parameters
        Of a chat judge; see `chat`. Others have none.

    Returns
    -------
    Judge
        A function from requests to verdicts.

    Raises
    ------
    ValueError
        Another name, or neither OPENAI_API_KEY nor OPENAI_BASE_URL is set for a chat judge.
    ImportError
        The extra of the chat judge is missing.
    FileNotFoundError
        The file of verdicts does not exist.

    See Also
    --------
    rule, chat, composite, recorded : The four kinds of judge.

    Examples
    --------
    >>> from vlm.judges import JudgeRequest, from_name
    >>> judge = from_name("rule")
    >>> judge([JudgeRequest("gqa", "1", "What is on the table?", ("cup",), "Cup.", "exact")])[0].score
    1.0
    """
    kind, _, argument = name.partition(":")
    if name == "rule":
        return rule()
    if kind in ("chat", "composite") and argument.strip():
        judge = chat(
            argument.strip(),
            cache=cache,
            timeout=timeout,
            retries=retries,
            concurrency=concurrency,
            parameters=parameters,
        )
        return judge if kind == "chat" else composite(rule(), judge)
    if kind == "recorded" and argument:
        return recorded(argument)
    raise ValueError(f"judge: expected 'rule', 'chat:MODEL', 'composite:MODEL' or 'recorded:FILE', got {name!r}")
