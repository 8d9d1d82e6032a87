"""A client of OpenAI-compatible servers; address and key come from the environment and go nowhere else."""

from __future__ import annotations

import base64
import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from redundancy.optional_imports import optional_import
from vlm.judges.reply_errors import NoReplyError, shown, words_of

_HIDDEN = "[key]"
# Servers quote part of a key: "Incorrect API key provided: sk-ab***yz".
_KEY_LIKE = re.compile(r"\b(?:sk|Bearer|Basic)[- _][\w*.\-+/=]{6,}")
_SHORTEST_KEY, _SHORTEST_PASSWORD = 8, 4
# Nothing that is sent will be answered: no such key, no credit, no such model or path.
_HOPELESS = (401, 402, 404)
# So many requests in a row without a reply, and none with one: the rest would fail too.
_PATIENCE = 12

Ask = Callable[[str], str]


class UselessServerError(RuntimeError):
    """Raised when every further request would fail in the same way."""


@dataclass
class Patience:
    """How many requests in a row got no reply, over all conversations of one judge."""

    silent: int = 0
    heard: bool = False

    def note(self, answer: str | Exception) -> bool:
        """Note a reply or its absence; whether patience is over."""
        if isinstance(answer, str):
            self.heard = True
        self.silent = 0 if isinstance(answer, str) else self.silent + 1
        return self.silent >= _PATIENCE and not self.heard


@dataclass(frozen=True)
class Server:
    """Address and key of a server; neither is ever shown."""

    address: str = field(repr=False)
    key: str = field(repr=False)

    @property
    def host(self) -> str:
        """Host and port alone, because an address may carry a password."""
        try:
            parts = urlsplit(self.address)
            if parts.scheme in ("http", "https") and parts.hostname:
                return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
        except ValueError:  # the port is not a number
            pass
        raise ValueError(
            "judge: expected OPENAI_BASE_URL such as http://localhost:8000/v1, got something that is not an address"
        )


def server_from_environment() -> Server:
    """Read the server from OPENAI_BASE_URL and OPENAI_API_KEY.

    Raises
    ------
    ImportError
        The extra is missing.
    ValueError
        Neither is set, or the first is not an address.
    """
    optional_import("openai", extra="judge", purpose="the chat judge")
    key, address = os.environ.get("OPENAI_API_KEY", "").strip(), os.environ.get("OPENAI_BASE_URL", "").strip()
    if not key and not address:
        raise ValueError(
            "judge: expected OPENAI_API_KEY in the environment, or OPENAI_BASE_URL for your own server; got neither"
        )
    server = Server(address or "https://api.openai.com/v1", key)
    _ = server.host
    if "?" in server.address or "#" in server.address:
        raise ValueError(
            "judge: expected OPENAI_BASE_URL without ? and #, got an address with one, to which paths cannot be added; "
            "a key belongs into OPENAI_API_KEY"
        )
    return server


@contextmanager
def conversation(
    server: Server,
    model: str,
    parameters: Mapping[str, Any],
    *,
    retries: int,
    timeout: float,
    patience: Patience | None = None,
) -> Iterator[Ask]:
    """Connect, and give a function from a message to the reply that any number of threads may call.

    The client retries after status 429 and 5xx, timeouts and lost connections, and waits as long as a
    ``Retry-After`` of up to two minutes asks for. The function raises `NoReplyError` if there is no reply to this
    message, and `UselessServerError` if no message will get one: a refused key (401), an account without credit or
    quota (402), an unknown model or path (404), or twelve requests in a row without a reply while none had one.
    """
    import openai

    clean, waiting = cleaner(server), patience or Patience()

    def cleaned(error: object) -> str:
        return shown(_KEY_LIKE.sub(_HIDDEN, clean(str(error))))

    def reply(message: str) -> str | Exception:
        try:
            response = client.chat.completions.with_raw_response.create(
                model=model,
                messages=[{"role": "user", "content": message}],
                extra_body={name: value for name, value in parameters.items() if name not in known} or None,
                **{name: value for name, value in parameters.items() if name in known},
            )
            return words_of(clean(response.text))
        except NoReplyError as error:
            return NoReplyError(_KEY_LIKE.sub(_HIDDEN, str(error)))
        except openai.APIStatusError as error:
            what = f"status {error.status_code} from {server.host}: {cleaned(_message(error))}"
            if error.status_code not in _HOPELESS and error.code != "insufficient_quota":
                return NoReplyError(what)
            return UselessServerError(
                f"judge: {what}; every question would fail so. Correct the key (OPENAI_API_KEY), the address "
                f"(OPENAI_BASE_URL) or the judge's name ({model!r}) and start again: the verdicts so far are kept"
            )
        except openai.APITimeoutError:
            return NoReplyError(f"no answer from {server.host} within {timeout:g} s, asked {retries + 1} times")
        except openai.APIConnectionError as error:
            return NoReplyError(f"no connection to {server.host}: {cleaned(error.__cause__ or error)}")
        except (openai.OpenAIError, ValueError) as error:
            return NoReplyError(f"{type(error).__name__}: {cleaned(error)}")

    def ask(message: str) -> str:
        answer = reply(message)
        if waiting.note(answer) and not isinstance(answer, UselessServerError):
            answer = UselessServerError(
                f"judge: {answer}; so ended each of {waiting.silent} requests, and none had a reply. Mend the "
                "server or the judge's parameters and start again: the verdicts so far are kept"
            )
        if isinstance(answer, Exception):
            raise answer  # outside the handlers, so that no traceback holds the client's error, which may quote a key
        return answer

    with openai.OpenAI(
        api_key=server.key or "none", base_url=server.address, max_retries=retries, timeout=timeout
    ) as client:
        known = inspect.signature(client.chat.completions.create).parameters.keys()
        yield ask


def cleaner(server: Server) -> Callable[[str], str]:
    """A function that removes the key, and a password in the address, from a text, because servers quote both.

    Placeholders of fewer than eight characters, such as "EMPTY", stay: they are not secret and may be words.
    """
    parts = urlsplit(server.address)
    secrets = {s for s in (server.key, parts.query) if s and len(s) >= _SHORTEST_KEY}
    if parts.password and len(parts.password) >= _SHORTEST_PASSWORD:
        password, user = unquote(parts.password), unquote(parts.username or "")
        secrets |= {parts.password, password, f"{user}:{password}"}
    secrets |= {code for secret in secrets for code in _encoded(secret)}

    def clean(text: str) -> str:
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, _HIDDEN)
        return text

    return clean


def _encoded(secret: str) -> set[str]:
    """What a secret looks like within base64, at each of its three alignments, and in an address."""
    found = {quote(secret, safe="")}
    data = secret.encode()
    for before in range(3):
        code = base64.b64encode(b"\0" * before + data).decode().rstrip("=")
        # The first characters mix with what comes before, the last one with what follows.
        inner = code[-(-before * 8 // 6) : len(code) - (1 if (before + len(data)) % 3 else 0)]
        found |= {inner, inner.translate(str.maketrans("+/", "-_"))}
    return {code for code in found if len(code) >= _SHORTEST_PASSWORD}


def _message(error: Any) -> str:
    """The server's own message if it has the usual form, else the text of the response."""
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return str(message or error.response.text or "no text")
