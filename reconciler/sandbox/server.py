"""The HTTP server: the standard library's, tuned, and able to break connections on request.

What matters for speed is keep-alive, no Nagle delay and one write per answer: unbuffered, header
and body go out as two packets and each call waits for a delayed acknowledgement.
"""

from __future__ import annotations

import functools
import logging
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from reconciler.sandbox.routing import MAX_BODY, gzip_answer
from reconciler.sandbox.wire import Disruption, Request, Response

log = logging.getLogger("reconciler.sandbox")

Application = Callable[[Request, str], Response]

# Read (and thrown away) before refusing, so that the client gets the answer and not a reset.
_DRAINED = 16 * MAX_BODY
_IDLE_SECONDS = 300
_MAX_FIELDS = 100
_MAX_LINE = 65_536


@functools.lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


class SandboxHTTPServer(ThreadingHTTPServer):
    """One thread a connection; threads do not keep the process alive."""

    daemon_threads = True
    request_queue_size = 512
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], application: Application) -> None:
        """Bind and listen; port 0 takes a free one."""
        self.application = application
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._busy = 0
        self._changed = threading.Condition()
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Clients that go away are ordinary; anything else is logged without its data."""
        error = sys.exc_info()[1]
        level = logging.DEBUG if isinstance(error, OSError) else logging.WARNING
        log.log(level, "connection from %s ended early: %s", client_address, type(error).__name__)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Remember each connection, so that stopping can end those that idle."""
        connection, address = super().get_request()
        with self._changed:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that is over."""
        with self._changed:
            self._open.discard(request)
        super().shutdown_request(request)

    def enter(self) -> None:
        """Note that a request has begun."""
        with self._changed:
            self._busy += 1

    def leave(self) -> None:
        """Note that a request has been answered."""
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()

    def drain(self, seconds: float) -> None:
        """Let requests that have begun be answered, then end all connections."""
        self.stopping.set()
        with self._changed:
            self._changed.wait_for(lambda: self._busy == 0, timeout=seconds)
            connections = list(self._open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: SandboxHTTPServer
    raw_requestline: bytes
    requestline = ""
    protocol_version = "HTTP/1.1"
    server_version = "ivs-sandbox"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = _IDLE_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: the record of calls is the log, and request lines may hold what should not be logged."""

    def parse_request(self) -> bool:
        """Read request line and header; the standard library's e-mail parser takes half a call's time."""
        self.close_connection = True
        self.request_version = "HTTP/1.1"
        self.command = ""
        words = self.raw_requestline.decode("latin-1").split()
        if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
            self.send_error(400)
            return False
        self.command, self.path, self.request_version = words
        self._fields: dict[str, str] = {}
        for _ in range(_MAX_FIELDS):
            line = self.rfile.readline(_MAX_LINE + 1)
            if line in (b"\r\n", b"\n", b""):
                break
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon or len(line) > _MAX_LINE:
                self.send_error(400)
                return False
            self._fields[name.lower()] = value.strip()
        else:
            self.send_error(431)
            return False
        wish = self._fields.get("connection", "").lower()
        self.close_connection = wish == "close" or (self.request_version == "HTTP/1.0" and wish != "keep-alive")
        if self._fields.get("expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
            self.wfile.flush()
        return True

    def do_POST(self) -> None:
        """Any method is the application's to judge."""
        body = self._body()
        if body is None:
            return
        path, _, query = self.path.partition("?")
        headers = self._fields
        request = Request(self.command, path, query, headers, body)
        self.server.enter()
        try:
            self._send(self.server.application(request, self.client_address[0]), headers)
        finally:
            self.server.leave()

    do_GET = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_POST  # noqa: N815 - http.server's names

    def _body(self) -> bytes | None:
        """Return the body, or None when the request was already refused."""
        if "chunked" in self._fields.get("transfer-encoding", "").lower():
            return self._chunks()
        try:
            length = int(self._fields.get("content-length") or 0)
        except ValueError:
            length = -1
        if length < 0:
            self.close_connection = True
            self.send_error(400)
            return None
        if length > _DRAINED:
            self.close_connection = True
            self.send_error(413)
            return None
        return self.rfile.read(length)

    def _chunks(self) -> bytes | None:
        """Read a chunked body; SDKs do not send one, curl may."""
        whole = b""
        try:
            while size := int(self.rfile.readline(64).split(b";")[0], 16):
                whole += self.rfile.read(size)
                self.rfile.readline(8)
                if len(whole) > _DRAINED:
                    raise ValueError
            self.rfile.readline(8)
        except ValueError:
            self.close_connection = True
            self.send_error(400)
            return None
        return whole

    def _send(self, answer: Response, headers: dict[str, str]) -> None:
        if answer.disruption in (Disruption.RESET, Disruption.HANG):
            self.server.stopping.wait(answer.hold)
            self._reset()
            return
        if answer.stream is not None:
            self._send_stream(answer)
            return
        body = answer.body
        packed = gzip_answer(body, headers)
        further: tuple[tuple[str, str], ...] = ()
        if packed is not None:
            body, further = packed, (("Content-Encoding", "gzip"),)
        # A 204 has no body and must not announce one.
        if answer.status != 204:
            further = (*further, ("Content-Length", str(len(body))))
        if self.server.stopping.is_set():
            self.close_connection = True
            further = (*further, ("Connection", "close"))
        if answer.disruption is Disruption.TRUNCATE:
            body = body[: len(body) // 2]
            self.close_connection = True
        elif self.command == "HEAD":
            body = b""
        self.connection.sendall(self._head(answer.status, (*answer.headers, *further)) + body)

    def _head(self, status: int, headers: tuple[tuple[str, str], ...]) -> bytes:
        """Return an answer's head, to go out in one write with its body."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        return f"HTTP/1.1 {status} {responses.get(status, '')}\r\nServer: {self.server_version}\r\nDate: {_date(int(time.time()))}\r\n{lines}\r\n".encode(
            "latin-1"
        )

    def _send_stream(self, answer: Response) -> None:
        """Send an answer without end, until the client or the server goes."""
        self.close_connection = True
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.flush()
        try:
            for part in answer.stream or ():
                if self.server.stopping.is_set():
                    return
                self.wfile.write(part)
                self.wfile.flush()
        except OSError:
            return

    def _reset(self) -> None:
        """Close so that the client sees a reset (RST), not an orderly end."""
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()


def serve(server: SandboxHTTPServer) -> threading.Thread:
    """Serve from a thread of its own."""
    thread = threading.Thread(
        target=server.serve_forever,
        kwargs={"poll_interval": 0.05},
        daemon=True,
        name="ivs-sandbox",
    )
    thread.start()
    return thread
