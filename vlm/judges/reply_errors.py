"""Extracts the reply from the body of a server's response, whatever the server sent."""

from __future__ import annotations

import json

_SHOWN = 200


class NoReplyError(Exception):
    """Raised when a response holds no reply; the message describes its content."""


def words_of(body: str) -> str:
    """Extract the reply from the body of a chat completion.

    Parameters
    ----------
    body : str
        Body of a response with status 200.

    Returns
    -------
    str
        The content of the first choice, never empty.

    Raises
    ------
    NoReplyError
        HTML or other text that is not JSON, an error sent with status 200, no choices, a refusal, or no content.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        kind = "an HTML page" if body.lstrip()[:1] == "<" else "text that is not JSON"
        raise NoReplyError(
            f"expected a chat completion, got {kind} ({shown(body)}); check that OPENAI_BASE_URL ends in /v1"
        ) from None
    if isinstance(data, dict) and data.get("error"):
        error = data["error"]
        raise NoReplyError(f"the server reports: {shown(error.get('message') if isinstance(error, dict) else error)}")
    choices = data.get("choices") if isinstance(data, dict) else None
    if not isinstance(choices, list) or not choices:
        raise NoReplyError(f"expected one choice in the reply, got {'none' if choices == [] else shown(body)}")
    choice = choices[0] if isinstance(choices[0], dict) else {}
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    if message.get("refusal"):
        raise NoReplyError(f"the judge refused: {shown(message['refusal'])}")
    content = message.get("content")
    if isinstance(content, str) and content.strip():
        return content
    end = choice.get("finish_reason")
    if end == "length":
        raise NoReplyError("the judge used up its tokens without a reply; give it more through `parameters`")
    if end == "content_filter":
        raise NoReplyError("the server's content filter withheld the reply")
    raise NoReplyError(f"expected text in the reply, got {'none' if not content else shown(content)}")


def shown(text: object) -> str:
    """The first 200 characters of a text, on one line, in quotes."""
    line = " ".join(str(text).split())
    return repr(line if len(line) <= _SHOWN else line[:_SHOWN] + "...")
