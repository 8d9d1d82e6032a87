"""A language model as judge, through any OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from vlm.judges.judge_prompt import VERSION, key_of, parameters_for, prompt
from vlm.judges.openai_client import Ask, asking, server_from_environment
from vlm.judges.reply_errors import NoReplyError, shown
from vlm.judges.verdict import Judge, JudgeRequest, Verdict, failed
from vlm.judges.verdict_cache import VerdictCache, cache_file
from vlm.judges.verdict_parsing import read_verdict
from vlm.record_log import Record


def chat(
    model: str,
    *,
    cache: str | Path | None = None,
    concurrency: int = 8,
    retries: int = 4,
    timeout: float = 60.0,
    parameters: Mapping[str, Any] | None = None,
) -> Judge:
    """A judge that asks a language model whether an answer says the same as a reference.

    The key comes from OPENAI_API_KEY and the address from OPENAI_BASE_URL. They are never part of a verdict, a
    cache key, a file or an error message.

    Parameters
    ----------
    model : str
        The judge's name, as the server knows it.
    cache : str or Path, optional
        Folder where verdicts are kept, each synced to disk when it is known, so that no case is paid for twice;
        failures are not kept. Several processes may share it.
    concurrency : int
        Questions under way at once.
    retries : int
        How often the client asks again after status 429 or 5xx, a timeout or a lost connection.
    timeout : float
        Seconds to wait for the server, each time it is asked.
    parameters : mapping, optional
        In place of the defaults, which depend on the model's name: ``{"temperature": 0, "max_tokens": 512}``, or
        ``{"max_completion_tokens": 4096}`` for models that think (``gpt-5``, ``o1``, ...).

    Returns
    -------
    function
        Requests to verdicts with score 1 or 0, or None for a failure: no reply, or none that is a verdict.

    Raises
    ------
    ImportError
        The extra is missing.
    ValueError
        Neither key nor address is set, the address is none, or a number is out of range.

    The function raises RuntimeError where every further question would fail, and OSError if the cache cannot be
    written; what was written is kept.
    """
    if concurrency < 1 or retries < 0 or timeout <= 0:
        raise ValueError(
            f"judge: expected concurrency >= 1, retries >= 0 and timeout > 0, got {concurrency}, {retries}, {timeout}"
        )
    parameters = dict(parameters_for(model) if parameters is None else parameters)
    server = server_from_environment()
    kept = VerdictCache(cache_file(cache, model, VERSION, parameters)) if cache is not None else None

    def settle(ask: Ask, key: str, request: JudgeRequest) -> Verdict:
        verdict = _asked(ask, request)
        if kept is None or verdict.status != "ok":
            return verdict
        first = kept.remember(key, _record(model, parameters, request, verdict))
        # Another process may have been quicker: then its verdict holds, for both.
        return Verdict(first["score"], "ok", "chat", first["raw"], "")

    def judge(requests: Sequence[JudgeRequest]) -> list[Verdict]:
        keys = [key_of(model, parameters, request) for request in requests]
        found: dict[str, Verdict] = {}
        if kept is not None:
            kept.refresh()
            known = {key: kept.find(key) for key in keys}
            found = {k: Verdict(r["score"], "ok", "cache", r["raw"], "") for k, r in known.items() if r is not None}
        new = {key: request for key, request in zip(keys, requests, strict=True) if key not in found}
        if new:
            with (
                asking(server, model, parameters, retries=retries, timeout=timeout) as ask,
                ThreadPoolExecutor(min(concurrency, len(new))) as pool,
            ):
                try:
                    found |= dict(zip(new, pool.map(partial(settle, ask), new, new.values()), strict=True))
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        return [found[key] for key in keys]

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


def _record(model: str, parameters: Mapping[str, Any], request: JudgeRequest, verdict: Verdict) -> Record:
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
