"""The HTTP server: one thread a connection, and able to break connections on request.

What matters for speed is keep-alive, no Nagle delay and one write per answer: where header and body
go out as two packets, each call waits for a delayed acknowledgement.

Requests read from a connection: HTTP/1.1 as far as SDKs, browsers and curl speak it.

Most requests arrive whole, so they are read and cut as a whole: `http.server` reads line by line and
gives the lines to an e-mail parser, which takes longer than everything else about a call.
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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Protocol

from reconciler.sandbox.routing import MAX_BODY, gzip_answer
from reconciler.sandbox.wire import Disruption, Request, Response, error_response, new_request_id

# Read (and thrown away) before refusing, so that the client gets the answer and not a reset.
DRAINED = 16 * MAX_BODY
MAX_FIELDS = 100
MAX_HEAD = 65_536
_DIGITS = 15
_PIECE = 16_384
_CHUNK_LINE = 64
_HEX = b"0123456789abcdefABCDEF"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(Protocol):
    """What of a socket is needed here."""

    def recv(self, size: int, /) -> bytes:
        """Wait for something, and return it; nothing once the other side has ended."""
        ...

    def sendall(self, data: bytes, /) -> None:
        """Send all of it."""
        ...


class RefusedError(Exception):
    """What came is no request that could be answered by the application; `status` says why."""

    def __init__(self, status: int) -> None:
        """Name the status to answer with, before the connection is closed."""
        super().__init__(status)
        self.status = status


@dataclass(slots=True)
class Received:
    """A request, and whether the connection stays open after its answer."""

    request: Request
    keep_alive: bool


class Reader:
    """The requests of one connection, one after another."""

    def __init__(self, connection: Connection) -> None:
        """Nothing is read before it is asked for."""
        self._connection = connection
        self._buffer = bytearray()

    def next(self) -> Received:
        """Return the next request; EOFError when the client has gone, RefusedError for what is none."""
        method, target, version, fields = parse_head(self._head())
        if fields.get("expect", "").lower() == "100-continue":
            self._connection.sendall(_CONTINUE)
        body = self._body(fields)
        if not target.startswith("/"):
            target = _as_of_a_proxy(target, fields)
        path, _, query = target.partition("?")
        wish = fields.get("connection", "").lower()
        keep = wish != "close" if version == "HTTP/1.1" else wish == "keep-alive"
        return Received(Request(method, path, query, fields, body), keep)

    def _head(self) -> str:
        """Return request line and fields, without the empty line that ends them."""
        buffer = self._buffer
        while True:
            if buffer.startswith((b"\r", b"\n")):
                # What an old client sends after a body belongs to no request.
                del buffer[: len(buffer) - len(buffer.lstrip(b"\r\n"))]
            end, mark = buffer.find(b"\r\n\r\n"), 4
            bare = buffer.find(b"\n\n", 0, end if end >= 0 else len(buffer))
            if bare >= 0:
                end, mark = bare, 2
            if end >= 0:
                head = buffer[:end].decode("latin-1")
                del buffer[: end + mark]
                return head
            if len(buffer) > MAX_HEAD:
                raise RefusedError(431)
            self._fill()

    def _body(self, fields: Mapping[str, str]) -> bytes:
        if "chunked" in fields.get("transfer-encoding", "").lower():
            return self._chunks()
        length = fields.get("content-length") or "0"
        if not length.isdecimal():
            raise RefusedError(400)
        if len(length) > _DIGITS or int(length) > DRAINED:
            raise RefusedError(413)
        return self._take(int(length))

    def _chunks(self) -> bytes:
        """Read a chunked body; SDKs do not send one, curl may."""
        whole = bytearray()
        while size := self._chunk_size():
            if len(whole) + size > DRAINED:
                raise RefusedError(413)
            whole += self._take(size)
            if self._line(_CHUNK_LINE).strip():
                raise RefusedError(400)
        # Trailers are of no use here, but they are part of this request and not of the next.
        for _ in range(MAX_FIELDS):
            if not self._line(MAX_HEAD).strip():
                return bytes(whole)
        raise RefusedError(431)

    def _chunk_size(self) -> int:
        digits = self._line(_CHUNK_LINE).split(b";")[0].strip()
        if not digits or digits.strip(_HEX):
            raise RefusedError(400)
        return int(digits, 16)

    def _take(self, length: int) -> bytes:
        buffer = self._buffer
        while len(buffer) < length:
            self._fill()
        taken = bytes(buffer[:length])
        del buffer[:length]
        return taken

    def _line(self, longest: int) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > longest:
                raise RefusedError(400)
            self._fill()
        return self._take(end + 1)

    def _fill(self) -> None:
        received = self._connection.recv(_PIECE)
        if not received:
            raise EOFError
        self._buffer += received


def _as_of_a_proxy(target: str, fields: dict[str, str]) -> str:
    """Return path and query of a whole address, as clients send it to a proxy; its host is the one that counts."""
    scheme, mark, rest = target.partition("://")
    if mark and scheme.lower() in ("http", "https"):
        host, slash, path = rest.partition("/")
        fields["host"] = host
        return slash + path or "/"
    return target


def parse_head(head: str) -> tuple[str, str, str, dict[str, str]]:
    """Return method, target, version and fields (names in lower case; of a repeated one the last)."""
    first, *lines = head.lstrip("\r\n").split("\n")
    words = first.split()
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise RefusedError(400)
    if len(lines) > MAX_FIELDS:
        raise RefusedError(431)
    fields = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name.endswith((" ", "\t")):
            raise RefusedError(400)
        fields[name.lower()] = value.strip()
    return words[0], words[1], words[2], fields


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
