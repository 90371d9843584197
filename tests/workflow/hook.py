"""A webhook on this machine that gives prepared answers and keeps what it got."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import quote

from tests.cli.support import QuietServer

SECRET_PATH = "/services/T000/B000/zzCANARYzz"


@dataclass(frozen=True)
class Got:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Hook:
    """``answers`` are given in turn, then 200: a status, a status with headers and a body, or a number of seconds to be silent for."""

    url: str = ""
    answers: list[int | tuple[int, dict[str, str], str] | float] = field(default_factory=list)
    got: list[Got] = field(default_factory=list)


@contextmanager
def hook() -> Iterator[Hook]:
    """Serve on a loopback port of its own."""
    kept = Hook()
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            kept.got.append(Got(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            answer = kept.answers.pop(0) if kept.answers else 200
            if isinstance(answer, float):
                done.wait(answer)
                self.close_connection = True
                return
            status, headers, text = answer if isinstance(answer, tuple) else (answer, {}, "")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST  # noqa: N815 - the base class's name

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = QuietServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    kept.url = f"http://127.0.0.1:{server.server_address[1]}{quote(SECRET_PATH)}"
    try:
        yield kept
    finally:
        done.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


def until(condition: object, seconds: float = 30.0) -> None:
    """Wait until a condition holds."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
