"""The HTTP server: one thread a connection, and able to break connections on request.

What matters for speed is keep-alive, no Nagle delay and one write per answer: where header and body
go out as two packets, each call waits for a delayed acknowledgement.
"""

from __future__ import annotations

import functools
import logging
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from reconciler.sandbox.http1 import Reader, Received, RefusedError
from reconciler.sandbox.routing import gzip_answer
from reconciler.sandbox.wire import Disruption, Request, Response, error_response, new_request_id

log = logging.getLogger("reconciler.sandbox")

Application = Callable[[Request, str], Response]

_IDLE_SECONDS = 300
_LOOK_SECONDS = 0.01
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_LINGER_SECONDS = 1
_LINGER_BYTES = 256 << 20
_CLOSING: tuple[tuple[str, str], ...] = (("Content-Length", "0"), ("Connection", "close"))


@functools.lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


class SandboxHTTPServer(socketserver.ThreadingTCPServer):
    """One thread a connection; threads do not keep the process alive."""

    daemon_threads = True
    request_queue_size = 512
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], application: Application) -> None:
        """Bind and listen; port 0 takes a free one."""
        self.application = application
        self.stopping = threading.Event()
        # The connections with a request that has begun and is not answered yet.
        self.busy: set[_Connection] = set()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Connection)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Clients that go away are ordinary; anything else is logged without its data."""
        error = sys.exc_info()[1]
        level = logging.DEBUG if isinstance(error, OSError) else logging.WARNING
        log.log(level, "connection from %s ended early: %s", client_address, type(error).__name__)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Remember each connection, so that stopping can end those that idle."""
        connection, address = super().get_request()
        with self._lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that is over."""
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def drain(self, seconds: float) -> None:
        """Let requests that have begun be answered, then end all connections."""
        self.stopping.set()
        deadline = time.monotonic() + seconds
        while self.busy and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Connection(socketserver.BaseRequestHandler):
    """One connection, in a thread of its own."""

    server: SandboxHTTPServer
    request: socket.socket

    def setup(self) -> None:
        """Answers leave at once; the kernel ends what idles (`settimeout` would cost a poll before each read and write)."""
        limit = struct.pack("ll", _IDLE_SECONDS, 0)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def handle(self) -> None:
        """Answer request after request, until one of the two sides has had enough."""
        reader, server, address = Reader(self.request), self.server, self.client_address[0]
        going_on = True
        while going_on:
            try:
                received = reader.next()
            except EOFError:
                return
            except RefusedError as refused:
                self._refuse(refused.status)
                return
            server.busy.add(self)
            try:
                going_on = self._send(server.application(received.request, address), received)
            finally:
                server.busy.discard(self)

    def _refuse(self, status: int) -> None:
        """Say what is wrong, and take what is still coming for a moment: closed at once, the client might see a reset instead."""
        headers, body = _CLOSING, b""
        if status == 413:
            answer = error_response(
                status, "RequestEntityTooLargeException", "Request body is too large", new_request_id()
            )
            headers, body = (
                (*answer.headers, ("Content-Length", str(len(answer.body))), ("Connection", "close")),
                answer.body,
            )
        self.request.sendall(_head(status, headers) + body)
        self.request.shutdown(socket.SHUT_WR)
        self.request.settimeout(_LINGER_SECONDS)
        left = _LINGER_BYTES
        while left > 0 and (piece := self.request.recv(65_536)):
            left -= len(piece)

    def _send(self, answer: Response, received: Received) -> bool:
        """Send an answer, or break the connection as it asks; returns whether the connection goes on."""
        if answer.disruption in (Disruption.RESET, Disruption.HANG):
            self.server.stopping.wait(answer.hold)
            self._reset()
            return False
        if answer.stream is not None:
            self._send_stream(answer)
            return False
        body, headers = answer.body, answer.headers
        packed = gzip_answer(body, received.request.headers)
        if packed is not None:
            body, headers = packed, (*headers, ("Content-Encoding", "gzip"))
        # A 204 has no body and must not announce one.
        if answer.status != 204:
            headers = (*headers, ("Content-Length", str(len(body))))
        going_on = received.keep_alive and not self.server.stopping.is_set()
        if not going_on:
            headers = (*headers, ("Connection", "close"))
        if answer.disruption is Disruption.TRUNCATE:
            body = body[: len(body) // 2]
            going_on = False
        elif received.request.method == "HEAD":
            body = b""
        self.request.sendall(_head(answer.status, headers) + body)
        return going_on

    def _send_stream(self, answer: Response) -> None:
        """Send an answer without end, until the client or the server goes."""
        self.request.sendall(_head(answer.status, (*answer.headers, ("Connection", "close"))))
        try:
            for part in answer.stream or ():
                if self.server.stopping.is_set():
                    return
                self.request.sendall(part)
        except OSError:
            return

    def _reset(self) -> None:
        """Close so that the client sees a reset (RST), not an orderly end."""
        linger = struct.pack("ii", 1, 0)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.request.close()


def _head(status: int, headers: tuple[tuple[str, str], ...]) -> bytes:
    """Return an answer's head, to go out in one write with its body."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    return f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\nDate: {_date(int(time.time()))}\r\n{lines}\r\n".encode(
        "latin-1"
    )


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
