"""The HTTP server: the standard library's, with limits on everything a stranger sends.

One thread a connection, at most so many at once; a slow or silent client is dropped; bodies and headers are bounded.
What to answer is the application's to say.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from reconciler import log
from reconciler.errors import UsageError

MAX_BODY = 1_048_576
"""GitHub sends webhooks of up to 25 MB, but for a push alone, as asked for here, they stay far below this."""

MAX_CONNECTIONS = 64
_IDLE_SECONDS = 15
_WHOLE_SECONDS = 30.0
"""Seconds within which a request has to be there as a whole, the wait for it included."""

_MAX_TARGET = 4_096

_LOG = log.get("web")

_SECURITY: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What came in; header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes out. ``headers`` add to, or take the place of, the usual ones."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


Application = Callable[[Request], Answer]


class Server(ThreadingHTTPServer):
    """Listens and hands requests to the application."""

    daemon_threads = True
    request_queue_size = 64
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], application: Application, *, patience: float = _WHOLE_SECONDS) -> None:
        self.application = application
        self._patience = patience
        self._reading: dict[socket.socket, float] = {}
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a connection, or drop it where there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def reading(self, connection: socket.socket, *, begins: bool) -> None:
        """Note that a request is waited for, or is there."""
        if begins:
            self._reading[connection] = time.monotonic()
        else:
            self._reading.pop(connection, None)

    def service_actions(self) -> None:
        """Drop those who send a byte now and then to keep a connection busy. Called between connections, several times a second."""
        late = time.monotonic() - self._patience
        for connection in [each for each, since in list(self._reading.items()) if since < late]:
            self._reading.pop(connection, None)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say only that a connection broke: the words of an error may hold what a stranger sent."""
        del request, client_address
        _LOG.info("connection broke")


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "ivs-reconciler"
    sys_version = ""
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True
    wbufsize = -1

    def handle_one_request(self) -> None:
        """Read and answer one request."""
        self.server.reading(self.connection, begins=True)
        try:
            super().handle_one_request()
        finally:
            self.server.reading(self.connection, begins=False)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: health is asked for every few seconds."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what the base class could not read, without repeating it."""
        del message, explain
        self.close_connection = True
        self._send(Answer(code, b"refused\n"))

    def do_GET(self) -> None:
        """Answer any method: which are allowed is the application's to say."""
        body = self._body()
        if body is None:
            return
        self.server.reading(self.connection, begins=False)
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._send(self.server.application(Request(self.command, path, query, headers, body)))

    do_POST = do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_GET  # noqa: N815 - http.server's names

    def _body(self) -> bytes | None:
        """Return the body, or ``None`` when the request was refused for it."""
        lengths = self.headers.get_all("Content-Length") or ["0"]
        refusal = 0
        if len(self.path) > _MAX_TARGET:
            refusal = 414
        elif (
            self.headers.get("Transfer-Encoding")
            or len(lengths) != 1
            or not (lengths[0].isascii() and lengths[0].isdigit())
        ):
            refusal = 411
        elif int(lengths[0][:12]) > MAX_BODY:
            refusal = 413
        if refusal:
            self.send_error(refusal)
            return None
        length = int(lengths[0])
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return None
        return body

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        headers = {
            **_SECURITY,
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            **answer.headers,
        }
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        self.wfile.flush()


def listen(where: str, application: Application) -> Server:
    """Bind ``host:port`` (port 0 takes a free one) and serve from threads of its own. Raises ``UsageError``."""
    host, _, port = where.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise UsageError(f"{where!r} is not an address to listen at; write one such as 127.0.0.1:8080")
    try:
        server = Server((host.strip("[]"), int(port)), application)
    except OSError as error:
        raise UsageError(
            f"{where} cannot be listened at ({(error.strerror or 'unknown').lower()}); name another with --listen"
        ) from None
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True, name="web").start()
    return server


def address_of(server: Server) -> str:
    """Return the URL that the server is reached at from this machine."""
    host, port = server.server_address[:2]
    name = host if isinstance(host, str) else host.decode()
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"
