"""A local server that gives prescribed answers: the good and bad behaviour of real servers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-test-0123456789abcdef"


@dataclass(frozen=True)
class Answer:
    """Status, body, headers, and seconds to wait first; a negative wait closes the connection without an answer."""

    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0


def says(content: Any, **choice: Any) -> Answer:
    """A well-formed completion."""
    message = {"role": "assistant", "content": content, "refusal": choice.pop("refusal", None)}
    choices = [{"index": 0, "message": message, "finish_reason": choice.pop("finish_reason", "stop")}]
    return Answer(body=json.dumps({"id": "1", "object": "chat.completion", "model": "m", "choices": choices}))


def error(status: int, message: str, **more: Any) -> Answer:
    """An error in the usual form."""
    headers = more.pop("headers", {})
    return Answer(status, json.dumps({"error": {"message": message, "type": "error", **more}}), headers)


@dataclass
class Seen:
    """The requests received: bodies, headers, times, and the largest number in flight."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    now: int = 0
    most: int = 0
    url: str = ""


@contextmanager
def serving(answers: Sequence[Answer]) -> Iterator[Seen]:
    """Answer the n-th request with the n-th answer, and all later ones with the last."""
    seen, lock = Seen(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                answer = answers[min(len(seen.bodies), len(answers) - 1)]
                seen.bodies.append({"path": self.path, **body})
                seen.headers.append({name.lower(): value for name, value in self.headers.items()})
                seen.times.append(time.monotonic())
                seen.now += 1
                seen.most = max(seen.most, seen.now)
            time.sleep(abs(answer.wait))
            with lock:
                seen.now -= 1
            if answer.wait < 0:
                self.close_connection = True
                return
            data = answer.body.encode()
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (BrokenPipeError, ConnectionResetError):  # the client gave up waiting
                self.close_connection = True

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    seen.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
