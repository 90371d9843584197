"""A server that gives prepared answers, for the failures below and around the API that only a crafted answer can show."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.cli.support import QuietServer


@dataclass(frozen=True, slots=True)
class Said:
    """One answer; ``break_off`` is ``reset`` (no answer, the connection is reset) or ``hang`` (no answer for a while).

    ``echo`` makes the body of the request's body.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    break_off: str = ""
    echo: Callable[[str], bytes] | None = None


class Faulty:
    """The running server: where it is, what it was asked, and with whose key."""

    def __init__(self, answers: Sequence[Said]) -> None:
        self.asked: list[str] = []
        self.bodies: list[str] = []
        self.signers: list[str] = []
        self.headers: list[dict[str, str]] = []
        self._answers = list(answers)
        self._lock = threading.Lock()
        self.patience = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                outer.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())
                outer.signers.append(
                    self.headers.get("Authorization", "").partition("Credential=")[2].partition("/")[0]
                )
                outer.headers.append(dict(self.headers))
                said = outer.next(self.path)
                if said.break_off == "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                if said.break_off == "hang":
                    outer.patience.wait(10)
                    self.close_connection = True
                    return
                self.send_response(said.status)
                for name, value in {
                    "Content-Type": "application/json",
                    "x-amzn-RequestId": "req-1",
                    **said.headers,
                }.items():
                    self.send_header(name, value)
                body = said.body if said.echo is None else said.echo(outer.bodies[-1])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_DELETE = do_PUT = do_POST  # noqa: N815  # the base class finds its methods by these names

            def log_message(self, *args: object) -> None:
                return

        self._server = QuietServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def wait_for_requests(self, count: int) -> None:
        """Return once so many requests were read, or after a minute."""
        for _ in range(3000):
            if len(self.asked) >= count:
                return
            time.sleep(0.02)

    def next(self, path: str) -> Said:
        """Return the next answer; the last one is given for ever."""
        with self._lock:
            self.asked.append(path.removeprefix("/"))
            return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def close(self) -> None:
        self.patience.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def faulty(*answers: Said) -> Iterator[Faulty]:
    """Serve these answers, one a request."""
    server = Faulty(answers)
    try:
        yield server
    finally:
        server.close()
