"""Requests read from a connection: HTTP/1.1 as far as SDKs, browsers and curl speak it.

Most requests arrive whole, so they are read and cut as a whole: `http.server` reads line by line and
gives the lines to an e-mail parser, which takes longer than everything else about a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from reconciler.sandbox.routing import MAX_BODY
from reconciler.sandbox.wire import Request

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
