"""A language model as judge, through any OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from vlm.judges.judge_prompt import VERSION, key_of, parameters_for, prompt
from vlm.judges.openai_client import Ask, Patience, conversation, server_from_environment
from vlm.judges.reply_errors import NoReplyError, shown
from vlm.judges.verdict import Judge, JudgeRequest, Verdict, failed
from vlm.judges.verdict_cache import VerdictCache, cache_file
from vlm.judges.verdict_parsing import read_verdict
from vlm.record_log import Record

# What a request says itself, or what would make its reply another thing than one text.
_OURS = ("model", "messages", "stream", "stream_options", "n", "timeout", "tools", "functions", "logprobs", "audio")


def chat(
    model: str,
    *,
    cache: str | Path | None = None,
    concurrency: int = 8,
    retries: int = 4,
    timeout: float = 60.0,
    parameters: Mapping[str, object] | None = None,
) -> Judge:
    """Make a judge that asks a language model whether an answer says the same as a reference.

    The key comes from OPENAI_API_KEY and the address from OPENAI_BASE_URL. They never appear in a verdict, a cache
    key, a file or an error message.

    Parameters
    ----------
    model : str
        Name of the judge's model on the server.
    cache : str or Path, optional
        Folder for the verdicts. Each is synced to disk at once, so that no case is paid for twice; failures are not
        stored. Several processes may share the folder.
    concurrency : int
        Largest number of requests in flight.
    retries : int
        How often the client retries after status 429 or 5xx, a timeout or a lost connection.
    timeout : float
        Seconds to wait for the server in each attempt.
    parameters : mapping, optional
        Replaces the defaults, which depend on the model's name: ``{"temperature": 0, "max_tokens": 512}``, or
        ``{"max_completion_tokens": 4096}`` for reasoning models (``gpt-5``, ``o1``, ...). Names that OpenAI does not
        know are sent too, for servers that do.

    Returns
    -------
    Judge
        A function from requests to verdicts with score 1 or 0, or None for a failure: no reply, or a reply that is
        not a verdict.

        It raises RuntimeError where every further request would fail too, and OSError if the cache cannot be
        written; the verdicts written before are kept.

    Raises
    ------
    ImportError
        The extra is missing: pip install 'skipit[judge]'.
    ValueError
        Neither key nor address is set, the address is not a URL, or a number is out of range.

    See Also
    --------
    composite : Asks a language model only where the rule is in doubt.
    recorded : Replays the verdicts of a cache.

    Notes
    -----
    A model that needs no key of its own is asked with OPENAI_BASE_URL alone, for example a local server.

    Examples
    --------
    >>> import os
    >>> from unittest.mock import patch
    >>> from vlm.judges import chat
    >>> with patch.dict(os.environ, {"OPENAI_BASE_URL": "http://localhost:8000/v1"}):
    ...     judge = chat("qwen2.5-72b-instruct")  # connects when it is called
    >>> judge([])
    []
    """
    if concurrency < 1 or retries < 0 or timeout <= 0:
        raise ValueError(
            f"judge: expected concurrency >= 1, retries >= 0 and timeout > 0, got {concurrency}, {retries}, {timeout}"
        )
    parameters = dict(parameters_for(model) if parameters is None else parameters)
    if refused := [name for name in parameters if name in _OURS or name.startswith("extra_")]:
        raise ValueError(
            f"judge: expected parameters of the answer, such as temperature, got {refused[0]!r}; the judge's name "
            "says the model, judge_timeout how long it is waited for, and keys come from the environment alone"
        )
    server, patience = server_from_environment(), Patience()
    verdicts = VerdictCache(cache_file(cache, model, VERSION, parameters)) if cache is not None else None

    def settle(ask: Ask, key: str, request: JudgeRequest) -> Verdict:
        verdict = _asked(ask, request)
        if verdicts is None or verdict.status != "ok":
            return verdict
        first = verdicts.remember(key, _record(model, parameters, request, verdict))
        # Another process may have written a verdict first; then both use that one.
        return Verdict(first["score"], "ok", "chat", first["raw"], "")

    def judge(requests: Sequence[JudgeRequest]) -> list[Verdict]:
        keys = [key_of(model, parameters, request) for request in requests]
        answers: dict[str, Verdict] = {}
        if verdicts is not None:
            verdicts.refresh()
            records = {key: verdicts.find(key) for key in keys}
            answers = {k: Verdict(r["score"], "ok", "cache", r["raw"], "") for k, r in records.items() if r is not None}
        new = {key: request for key, request in zip(keys, requests, strict=True) if key not in answers}
        if new:
            with (
                conversation(server, model, parameters, retries=retries, timeout=timeout, patience=patience) as ask,
                ThreadPoolExecutor(min(concurrency, len(new))) as pool,
            ):
                try:
                    answers |= dict(zip(new, pool.map(partial(settle, ask), new, new.values()), strict=True))
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        return [answers[key] for key in keys]

    return judge


def _asked(ask: Ask, request: JudgeRequest) -> Verdict:
    try:
        raw = ask(prompt(request))
    except NoReplyError as error:
        return failed("chat", str(error))
    right = read_verdict(raw)
    if right is None:
        return failed("chat", f'expected {{"correct": true}} or {{"correct": false}}, got {shown(raw)}', raw)
    return Verdict(float(right), "ok", "chat", raw, "")


def _record(model: str, parameters: Mapping[str, object], request: JudgeRequest, verdict: Verdict) -> Record:
    return {
        "judge": model,
        "prompt": VERSION,
        "parameters": dict(parameters),
        "question": request.question,
        "options": list(request.options),
        "references": list(request.references),
        "prediction": request.prediction,
        "score": verdict.score,
        "raw": verdict.raw,
    }
