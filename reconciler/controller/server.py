"""The controller's web server: waitress, which bounds the size and time of requests, with stricter rules for them.

Requests that proxies and servers may read differently are refused. When there are too many connections, the one that has
waited longest for its client is closed, so that connections that send nothing do not shut others out.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask

from reconciler import logs
from reconciler.errors import UsageError, internal_error
from reconciler.report.html import SCRIPT, script_source

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MAX_BODY = 1_048_576
"""Bytes. GitHub sends webhooks of up to 25 MB, but those for a push are far smaller."""

MAX_CONNECTIONS = 64
MAX_PER_CLIENT = 32
"""Of one address: a proxy's too."""

REQUEST_SECONDS = 30
"""Seconds that a connection may be idle, and that a request may take to arrive."""

_MAX_HEAD_BYTES = 65_536
_TLS = b"\x16"
_ONCE = (b"host", b"content-length", b"transfer-encoding", b"authorization", b"origin", b"expect")
"""Headers of which readers take the first or the last, if they are repeated."""

SECURITY: Mapping[str, str] = {
    # The status pages' own script, and the one in the pages of plans and results.
    "Content-Security-Policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'self' {script_source(SCRIPT)}; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every answer."""

_LOG = logs.get("web")


class _Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """Reads a request, and refuses what RFC 9112 does, or lets servers choose to refuse."""

    def received(self, data: bytes) -> int:
        """Take bytes from the client, and return how many belong to this request."""
        if self.body_rcv is None and not self.header_plus and data.startswith(_TLS):
            # A hello of TLS has no end that would be noticed.
            super().received(b"?\r\n\r\n")
            return len(data)
        consumed: int = super().received(data)
        if self.error is not None:
            self.expect_continue = False  # waitress would ask for the body of a refused request
        return consumed

    def parse_header(self, head: bytes) -> None:
        """Read the request line and the headers. Raises ``ParsingError``."""
        try:
            super().parse_header(head)
        except ValueError:  # such as a number of thousands of digits
            raise ParsingError("invalid") from None
        names = Counter(line.partition(b":")[0].strip().lower() for line in head.split(b"\r\n")[1:])
        has_coding = self.chunked or "TRANSFER_ENCODING" in self.headers
        if (
            self.version not in ("1.0", "1.1")
            or any(names[name] > 1 for name in _ONCE)
            or (self.version == "1.1" and "HOST" not in self.headers)
            or (has_coding and (self.version == "1.0" or "CONTENT_LENGTH" in self.headers))
        ):
            raise ParsingError("refused")


class _Refusal(ErrorTask):  # type: ignore[misc]
    """The answer to a request that waitress cannot read. Its own would repeat what was sent."""

    def execute(self) -> None:
        """Send the answer."""
        self.request.error.body = "refused"
        self.response_headers.extend(SECURITY.items())
        super().execute()


class _Connection(HTTPChannel):  # type: ignore[misc]
    """A connection that knows when its request began."""

    error_task_class = _Refusal
    parser_class = _Parser
    request_began = 0.0

    def received(self, data: bytes) -> bool:
        """Take bytes from the client."""
        if self.request is None:
            self.request_began = time.time()
        return bool(super().received(data))

    @property
    def waiting_since(self) -> float | None:
        """Since when it waits for its client; ``None`` while requests of it are handled."""
        if self.requests:
            return None
        return float(self.request_began if self.request is not None else self.last_activity)

    def drop(self) -> None:
        """Close it in the next round of the loop, whether or not its client reads."""
        self.will_close = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class _Server(TcpWSGIServer):  # type: ignore[misc]
    """waitress closes idle connections, but would let a client send its request forever, byte by byte, or hold all connections."""

    channel_class = _Connection

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._waking = threading.Lock()
        self._ended = False
        super().__init__(*arguments, **options)

    def pull_trigger(self) -> None:
        """Wake the loop, unless it has ended: a request that ends later would write to a file that has got the number of the pipe."""
        with self._waking:
            if not self._ended:
                super().pull_trigger()

    def end(self, sockets: dict[int, Any]) -> None:
        """Close the sockets of a loop that has ended, and the pipe that wakes it."""
        with self._waking:
            self._ended = True
        wasyncore.close_all(sockets)

    def maintenance(self, now: float) -> None:
        """Close connections with requests that take too long. Called every second."""
        super().maintenance(now)
        for connection in self.active_channels.values():
            since = connection.waiting_since
            if since is not None and since < now - self.adj.channel_timeout:
                connection.drop()

    def handle_accept(self) -> None:
        """Accept a connection. If there are too many, drop the one of the client with the most that waited longest."""
        super().handle_accept()
        waiting = [each for each in self.active_channels.values() if not each.will_close]
        clients = Counter(each.addr[0] for each in waiting)
        if not clients or (len(waiting) <= MAX_CONNECTIONS and max(clients.values()) <= MAX_PER_CLIENT):
            return
        ready = [each for each in waiting if each.waiting_since is not None]
        if ready:
            min(ready, key=lambda each: (-clients[each.addr[0]], each.waiting_since)).drop()


class _ErrorsToLog(logging.Handler):
    """Logs the errors of waitress without their text, which may contain what a client sent."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        error = record.exc_info[1] if record.exc_info else None
        _LOG.error("web server", message=internal_error(error) if error else record.msg)


def accepts_host(host: str, names: Collection[str]) -> bool:
    """Return whether a Host header is an address, this machine's, or one of these names.

    A page of any site could otherwise read what is served here, with a DNS name that it points to this address.
    """
    try:
        parts = urlsplit(f"//{host}")
        name = "" if "@" in parts.netloc or parts.port == 0 else (parts.hostname or "").removesuffix(".")
    except ValueError:
        return False
    if not name or parts.path or parts.query or parts.fragment:
        return False
    # No site has a name without a dot; containers and machines of a local network do.
    return name in names or "." not in name.removesuffix(".localhost") or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _only_for(names: Collection[str], app: WSGIApplication) -> WSGIApplication:
    """Return the application, for requests whose Host is accepted."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST")
        if host is None or accepts_host(host, names):
            return app(environ, start_response)
        body = b"this Host is not accepted; use --allow-host, --public-url, or an IP address\n"
        headers = {"Content-Type": "text/plain", "Content-Length": str(len(body)), **SECURITY}
        start_response("403 Forbidden", [*headers.items()])
        return [body]

    return answer


@contextlib.contextmanager
def serving(
    where: str, app: WSGIApplication, *, names: Iterable[str] = (), seconds: int = REQUEST_SECONDS
) -> Iterator[str]:
    """Serve at ``host:port`` (port 0 is a free port) in threads while the context lasts, and yield the URL. Raises ``UsageError``.

    ``names`` are host names that are accepted, besides those of ``accepts_host``.
    """
    host, _, port = where.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise UsageError(f"--listen: {where!r} is not HOST:PORT, such as 127.0.0.1:8080")
    logger = logging.getLogger("waitress")
    logger.handlers, logger.propagate = [_ErrorsToLog()], False
    logger.setLevel(logging.ERROR)
    sockets: dict[int, Any] = {}
    try:
        server = _Server(
            _only_for({host.lower(), *map(str.lower, names)}, app),
            sockets,
            listen=where,
            ipv4=":" not in host,
            ipv6=":" in host,
            connection_limit=2 * MAX_CONNECTIONS,  # only reached while requests are handled
            cleanup_interval=1,
            channel_timeout=seconds,
            max_request_header_size=_MAX_HEAD_BYTES,
            max_request_body_size=MAX_BODY + 1,
            asyncore_use_poll=True,
            log_socket_errors=False,
            ident="ivs-reconciler",
        )
    except (OSError, ValueError) as error:
        wasyncore.close_all(sockets)
        why = (getattr(error, "strerror", None) or "unknown").lower()
        raise UsageError(f"cannot listen on {where} ({why}); use another address with --listen") from None
    opened: dict[int, Any] = {}

    def leave() -> None:
        opened.update(sockets)
        sockets.clear()

    thread = threading.Thread(target=server.run, daemon=True, name="web")
    thread.start()
    try:
        yield f"http://{f'[{server.effective_host}]' if ':' in host else server.effective_host}:{server.effective_port}"
    finally:
        server.task_dispatcher.shutdown()
        # The loop ends when it has no sockets. They are closed after it, because a request that just ended may wake
        # the loop too, which would then close the pipe that this thread is about to write to.
        server.trigger.pull_trigger(leave)
        thread.join()
        server.end(opened)
