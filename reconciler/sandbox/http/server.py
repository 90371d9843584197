"""The HTTP server: one thread a connection, h11 for the protocol, faults on the socket, and which pages and host names may use it.

Speed depends on keep-alive, TCP_NODELAY and one write per answer: where head and body go out as two packets, each call
waits for a delayed acknowledgement.

A page of any site can send requests to a server on this machine, and with a DNS name that it controls also read the
answers. So a request with the Origin of another site is refused, and so is a Host that such a site could have chosen,
on every path and before anything is processed. SDKs and command-line clients send no Origin.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import logging
import re
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import h11

from reconciler.sandbox.wire import (
    FRONT_HEADERS,
    JSON_TYPE,
    MAX_BODY,
    Disruption,
    Request,
    Response,
    error_response,
    gzip_answer,
    json_bytes,
    new_request_id,
)

_AWS_DOMAINS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
_METHODS = "GET, POST, DELETE, OPTIONS"
_PREFLIGHT_SECONDS = "600"
_CORS = tuple((name, value) for name, value in FRONT_HEADERS if name.startswith("Access-Control-"))


@dataclass(frozen=True, slots=True)
class Access:
    """The accepted origins and host names besides those of this machine, in lower case.

    origins: such as https://app.example.com. hosts: names without port; the address that the server listens on is one.
    """

    origins: Collection[str] = ()
    hosts: Collection[str] = ()

    def refusal(self, request: Request) -> Response | None:
        """Return the answer to a request with another Host or Origin, None for an accepted request."""
        host = request.headers.get("host", "").lower()
        if host and not self._accepts_host(host):
            return _forbidden(f"Host {host[:200]} is not accepted: use --allow-host, or an IP address")
        origin = request.headers.get("origin", "").lower()
        if origin and not self._accepts_origin(origin, host):
            return _forbidden(f"requests from origin {origin[:200]} are refused: use --allow-origin")
        return None

    def _accepts_host(self, host: str) -> bool:
        return _is_no_site(host) or _name_of(f"//{host}") in self.hosts

    def _accepts_origin(self, origin: str, host: str) -> bool:
        if origin in self.origins:
            return True
        scheme, mark, rest = origin.partition("://")
        return bool(mark) and scheme in ("http", "https") and (rest == host or is_local(_name_of(origin)))


def preflight(request: Request) -> Response | None:
    """Return the answer to a browser's question whether a page may send a request, None for other requests."""
    asked = request.headers.get("access-control-request-method")
    if request.method != "OPTIONS" or asked is None or "origin" not in request.headers:
        return None
    headers = [
        *_CORS,
        ("Access-Control-Allow-Methods", _METHODS),
        ("Access-Control-Allow-Headers", request.headers.get("access-control-request-headers", "*")),
        ("Access-Control-Max-Age", _PREFLIGHT_SECONDS),
    ]
    if request.headers.get("access-control-request-private-network") == "true":
        headers.append(("Access-Control-Allow-Private-Network", "true"))
    return Response(204, tuple(headers))


def with_cors(answer: Response, request: Request) -> Response:
    """Return the answer with the headers that let an accepted page read it."""
    if "origin" not in request.headers:
        return answer
    kept = tuple(pair for pair in answer.headers if not pair[0].startswith("Access-Control-"))
    return replace(answer, headers=(*kept, *_CORS))


def check_origin(text: str) -> str:
    """Return an origin in lower case. Raises ValueError if it is not `scheme://host[:port]`."""
    parts = urlsplit(text)
    if not parts.scheme or not parts.hostname or text.partition("://")[2] != parts.netloc or "@" in parts.netloc:
        raise ValueError(f"{text!r} is not an origin such as https://app.example.com")
    return text.lower()


def _name_of(url: str) -> str:
    """Return the host name of a URL without a final dot, "" if it has none."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return ""
    return "" if "@" in parts.netloc else (parts.hostname or "").removesuffix(".")


@functools.lru_cache(maxsize=256)
def _is_no_site(host: str) -> bool:
    """Return whether no site can make a browser send this Host to the server: an address, a name of AWS or of a container."""
    name = _name_of(f"//{host}")
    return _is_address(name) or is_local(name) or name.endswith(_AWS_DOMAINS) or (name != "" and "." not in name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_local(name: str) -> bool:
    """Return whether a host name or address is one of this machine alone."""
    return (
        name == "localhost"
        or name.endswith(".localhost")
        or (_is_address(name) and ipaddress.ip_address(name).is_loopback)
    )


def _forbidden(text: str) -> Response:
    """Return a refusal that no page may read, with the members that SDKs and the control API's clients read."""
    headers = (("Content-Type", JSON_TYPE), ("x-amzn-ErrorType", "AccessDeniedException"))
    return Response(403, headers, json_bytes({"message": text, "error": text}) + b"\n")


log = logging.getLogger("reconciler.sandbox")

Application = Callable[[Request, str], Response]

# Larger bodies are refused before the application gets the request.
MAX_RECEIVED = 16 * MAX_BODY
MAX_HEADERS = 100
MAX_HEAD = 65_536
_PIECE = 65_536
_IDLE_SECONDS = 300
_POLL_SECONDS = 0.01
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_LINGER_SECONDS = 1
_LINGER_BYTES = 256 << 20
_CLOSE = ("Connection", "close")
_SINGLE = frozenset(
    (b"authorization", b"origin", b"x-amz-content-sha256", b"x-amz-date", b"x-amz-security-token")  # h11: host
)
_LENGTH = re.compile(rb"(?im)^content-length[ \t]*:([^\r\n]*)")


@functools.lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


class SandboxHTTPServer(socketserver.ThreadingTCPServer):
    """A TCP server with one daemon thread a connection."""

    daemon_threads = True
    request_queue_size = 512
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], application: Application) -> None:
        """Bind and listen; port 0 is a free one."""
        self.application = application
        self.stopping = threading.Event()
        # Connections with an unanswered request.
        self.busy: set[_Connection] = set()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Connection)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log an error without its data, at debug level if the client is gone."""
        error = sys.exc_info()[1]
        level = logging.DEBUG if isinstance(error, OSError) else logging.WARNING
        log.log(level, "connection from %s ended early: %s", client_address, type(error).__name__)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection and keep track of it, so that `drain` can close idle ones."""
        connection, address = super().get_request()
        with self._lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def shutdown(self) -> None:
        """Stop accepting connections, and return when the loop has ended."""
        # A listening socket that is shut down wakes the loop at once; where the system refuses that, its poll does.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        super().shutdown()

    def drain(self, seconds: float) -> None:
        """Wait until the requests in progress are answered, then close all connections."""
        self.stopping.set()
        deadline = time.monotonic() + seconds
        while self.busy and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Connection(socketserver.BaseRequestHandler):
    """One connection, served by its own thread."""

    server: SandboxHTTPServer
    request: socket.socket

    def setup(self) -> None:
        """Set TCP_NODELAY and the kernel's timeouts (`settimeout` would poll before each read and write)."""
        limit = struct.pack("ll", _IDLE_SECONDS, 0)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    def handle(self) -> None:
        """Answer requests until one side closes the connection."""
        server, http, address = self.server, self._http, self.client_address[0]
        while True:
            try:
                request = self._receive()
            except EOFError:
                return
            except h11.RemoteProtocolError as error:
                self._refuse(error.error_status_hint)
                return
            server.busy.add(self)
            try:
                self._send(server.application(request, address), request)
            finally:
                server.busy.discard(self)
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()

    def _receive(self) -> Request:
        """Return the next request.

        Raises EOFError when the client has closed the connection, RemoteProtocolError when the request is malformed or
        too large.
        """
        head = self._next_head()
        if len(head.headers) > MAX_HEADERS:
            raise h11.RemoteProtocolError("too many headers", 431)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        if int(headers.get("content-length", 0)) > MAX_RECEIVED:
            raise h11.RemoteProtocolError("body too large", 413)
        if self._http.they_are_waiting_for_100_continue:
            self._transmit(h11.InformationalResponse(status_code=100, headers=[]))
        body = bytearray()
        while isinstance(event := self._next_event(), h11.Data):
            body += event.data
            if len(body) > MAX_RECEIVED:
                raise h11.RemoteProtocolError("body too large", 413)
        target = head.target.decode("latin-1")
        if not target.startswith("/"):
            target = _origin_form(target, headers)
        path, _, query = target.partition("?")
        return Request(head.method.decode("latin-1"), path, query, headers, bytes(body))

    def _next_head(self) -> h11.Request:
        """Return the head of the next request.

        Raises RemoteProtocolError if a header that decides who is asked, by whom or how much is repeated: another
        server on the way may have read the other value.
        """
        received, _ = self._http.trailing_data
        while (head := self._http.next_event()) is h11.NEED_DATA:
            self._feed()
            received, _ = self._http.trailing_data
        assert isinstance(head, h11.Request)
        left, _ = self._http.trailing_data
        lengths = _LENGTH.findall(received, 0, len(received) - len(left))
        if len(lengths) > 1 or (lengths and b"," in lengths[0]):
            raise h11.RemoteProtocolError("repeated Content-Length", 400)
        names = [name for name, _ in head.headers if name in _SINGLE]
        if len(names) != len(set(names)):
            raise h11.RemoteProtocolError("repeated header", 400)
        return head

    def _next_event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._feed()
        return event

    def _feed(self) -> None:
        received = self.request.recv(_PIECE)
        if not received:
            raise EOFError
        self._http.receive_data(received)

    def _refuse(self, status: int) -> None:
        """Answer with an error, then discard input for a moment: a client that is still sending would get a reset."""
        answer = Response(status)
        if status == 413:
            answer = error_response(
                status, "RequestEntityTooLargeException", "Request body is too large", new_request_id()
            )
        self._transmit(
            _head(status, (*answer.headers, ("Content-Length", str(len(answer.body))), _CLOSE)),
            h11.Data(data=answer.body),
            h11.EndOfMessage(),
        )
        self.request.shutdown(socket.SHUT_WR)
        self.request.settimeout(_LINGER_SECONDS)
        left = _LINGER_BYTES
        while left > 0 and (piece := self.request.recv(_PIECE)):
            left -= len(piece)

    def _send(self, answer: Response, request: Request) -> None:
        """Send an answer, or break the connection as the answer demands."""
        if answer.disruption in (Disruption.RESET, Disruption.HANG):
            self.server.stopping.wait(answer.hold)
            self._reset()
            return
        if answer.stream is not None:
            self._send_stream(answer)
            return
        body, headers = answer.body, answer.headers
        packed = gzip_answer(body, request.headers)
        if packed is not None:
            body, headers = packed, (*headers, ("Content-Encoding", "gzip"))
        if answer.status != 204:
            headers = (*headers, ("Content-Length", str(len(body))))
        if self.server.stopping.is_set():
            headers = (*headers, _CLOSE)
        head = _head(answer.status, headers)
        if answer.disruption is Disruption.TRUNCATE:
            # Without EndOfMessage `handle` closes the connection.
            self._transmit(head, h11.Data(data=body[: len(body) // 2]))
        elif request.method == "HEAD":
            self._transmit(head, h11.EndOfMessage())
        else:
            self._transmit(head, h11.Data(data=body), h11.EndOfMessage())

    def _send_stream(self, answer: Response) -> None:
        """Send an answer without end, until the client disconnects or the server stops."""
        self._transmit(_head(answer.status, (*answer.headers, _CLOSE)))
        try:
            for part in answer.stream or ():
                if self.server.stopping.is_set():
                    return
                self._transmit(h11.Data(data=part))
        except OSError:
            return

    def _transmit(self, *events: h11.Event) -> None:
        """Send HTTP events in one write."""
        self.request.sendall(b"".join([self._http.send(event) or b"" for event in events]))

    def _reset(self) -> None:
        """Close the connection with a reset (RST)."""
        linger = struct.pack("ii", 1, 0)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.request.close()


def _head(status: int, headers: tuple[tuple[str, str], ...]) -> h11.Response:
    return h11.Response(
        status_code=status, headers=[("Date", _date(int(time.time()))), *headers], reason=_REASONS.get(status, b"")
    )


def _origin_form(target: str, headers: dict[str, str]) -> str:
    """Return path and query of an absolute URL, as clients send it to a proxy; its host replaces the Host header."""
    scheme, mark, rest = target.partition("://")
    if mark and scheme.lower() in ("http", "https"):
        host, slash, path = rest.partition("/")
        headers["host"] = host
        return slash + path or "/"
    return target


def serve(server: SandboxHTTPServer) -> threading.Thread:
    """Serve in a background thread."""
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True, name="ivs-sandbox"
    )
    thread.start()
    return thread
