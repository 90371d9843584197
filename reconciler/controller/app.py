"""Which path answers what. Everything may be read without a token, because nothing that is served is a secret; whatever has an effect needs one.

Whether a request may be listened to: webhook signatures and bearer tokens, compared in constant time.

A webhook only says that it is worth asking the forge now, so nothing in its body is believed or even read.

The HTTP server: the standard library's, with limits on everything a stranger sends.

One thread a connection, at most so many at once; a slow or silent client is dropped; bodies and headers are bounded.
What to answer is the application's to say.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote

from reconciler import logs
from reconciler.controller import pages
from reconciler.controller.controller import Snapshot
from reconciler.controller.store import Store
from reconciler.errors import ReconcilerError, UsageError
from reconciler.git.git import Secrets
from reconciler.report.html import SCRIPT, policy


def github_signed(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """Whether GitHub (or who speaks like it, such as Gitea) signed the body with our secret."""
    wanted = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return bool(secret) and _same(headers.get("x-hub-signature-256", ""), wanted)


def gitlab_known(headers: Mapping[str, str], token: str) -> bool:
    """Whether the request carries the token that GitLab was given."""
    return bool(token) and _same(headers.get("x-gitlab-token", ""), token)


def bearer_known(headers: Mapping[str, str], token: str) -> bool:
    """Whether the request carries our bearer token."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return bool(token) and scheme.lower() == "bearer" and _same(given.strip(), token)


def _same(given: str, wanted: str) -> bool:
    # Digests first, so that neither content nor length shows in the time it takes, and any character may stand in a header.
    return hmac.compare_digest(
        hashlib.sha256(given.encode("utf-8", "surrogatepass")).digest(), hashlib.sha256(wanted.encode()).digest()
    )


MAX_BODY = 1_048_576
"""GitHub sends webhooks of up to 25 MB, but for a push alone, as asked for here, they stay far below this."""

MAX_CONNECTIONS = 64
_IDLE_SECONDS = 15
_WHOLE_SECONDS = 30.0
"""Seconds within which a request has to be there as a whole, the wait for it included."""

_MAX_TARGET = 4_096

_LOG = logs.get("web")

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


STUCK_AFTER = 60.0
"""Seconds without a step of the loop, which takes one every second, after which it is not alive."""

_HTML = "text/html; charset=utf-8"


class Controls(Protocol):
    """What the controller lets others see and wish."""

    def snapshot(self) -> Snapshot:
        """Return how everything stands."""

    def knows(self, name: str) -> bool:
        """Whether there is such a target."""

    def fetch_soon(self) -> None:
        """Want the branch to be asked about."""


class Routes:
    """The application of the server."""

    def __init__(
        self, controls: Controls, store: Store, secrets: Secrets, metrics: Callable[[], tuple[bytes, str]]
    ) -> None:
        self._controls = controls
        self._store = store
        self._secrets = secrets
        self._metrics = metrics
        self._posts: Mapping[str, Callable[[Request], Answer]] = {
            "/hooks/github": self._github,
            "/hooks/gitlab": self._gitlab,
            "/reconcile": self._wish,
            "/suspend": self._wish,
            "/resume": self._wish,
        }

    def __call__(self, request: Request) -> Answer:
        """Answer a request."""
        try:
            if request.path in self._posts:
                return self._posts[request.path](request) if request.method == "POST" else _wrong_method("POST")
            return self._get(request) if request.method in ("GET", "HEAD") else _wrong_method("GET, HEAD")
        except ReconcilerError as error:
            _LOG.warning("request failed", path=request.path, message=str(error))
            return _text(500, "this cannot be answered; the log says why")

    def _get(self, request: Request) -> Answer:
        match [unquote(part) for part in request.path.strip("/").split("/")]:
            case ["healthz"]:
                snapshot = self._controls.snapshot()
                return (
                    _text(200, "alive")
                    if snapshot.now - snapshot.beat < STUCK_AFTER
                    else _text(503, "the loop is stuck")
                )
            case ["readyz"]:
                return (
                    _text(200, "ready")
                    if self._controls.snapshot().ready
                    else _text(503, "not every target was looked at yet")
                )
            case ["metrics"]:
                body, kind = self._metrics()
                return Answer(200, body, kind)
            case [""]:
                return _page(pages.overview(self._controls.snapshot(), self._store))
            case ["targets", name]:
                return _found(pages.target(self._controls.snapshot(), self._store, name))
            case ["targets", name, "plans", plan_id]:
                return _found(pages.plan(self._controls.snapshot(), self._store, name, plan_id), policy(SCRIPT))
            case ["targets", name, "runs", number] if number.isascii() and number.isdigit():
                return _found(pages.run(self._controls.snapshot(), self._store, name, int(number[:15])), policy(SCRIPT))
            case _:
                return _text(404, "there is nothing here")

    def _github(self, request: Request) -> Answer:
        secret = self._secrets.github.read()
        return self._hook(
            request,
            known=github_signed(request.headers, request.body, secret),
            configured=bool(secret),
            forge="github",
        )

    def _gitlab(self, request: Request) -> Answer:
        token = self._secrets.gitlab.read()
        return self._hook(request, known=gitlab_known(request.headers, token), configured=bool(token), forge="gitlab")

    def _hook(self, request: Request, *, known: bool, configured: bool, forge: str) -> Answer:
        if not configured:
            return _text(404, "no secret is set for this forge, so its webhooks are not listened to")
        if not known:
            _LOG.warning("webhook refused", forge=forge, bytes=len(request.body))
            return _text(401, "the signature is not ours")
        _LOG.info("webhook", forge=forge)
        self._controls.fetch_soon()
        return _text(202, "the branch is looked at soon")

    def _wish(self, request: Request) -> Answer:
        token = self._secrets.control.read()
        if not token:
            return _text(404, "no token is set for requests, so none is listened to")
        if not bearer_known(request.headers, token):
            _LOG.warning("request refused", path=request.path)
            return Answer(401, b"show the token\n", headers={"WWW-Authenticate": "Bearer"})
        (name,) = parse_qs(request.query, max_num_fields=8).get("target", [""])[:1]
        if not self._controls.knows(name):
            return _text(404, "there is no such target; name one with ?target=")
        if request.path == "/reconcile":
            if self._controls.snapshot().states[name].suspended:
                return _text(409, "the target is suspended; resume it first")
            self._store.ask(name)
            said = "the target is looked at soon"
        else:
            self._store.suspend(name, suspended=request.path == "/suspend")
            said = "the target is suspended" if request.path == "/suspend" else "the target goes on"
        _LOG.info("request", path=request.path, target=name)
        self._controls.fetch_soon()
        return _text(202, said)


def _page(html: str, policy_text: str = "") -> Answer:
    return Answer(
        200,
        html.encode(),
        _HTML,
        {"Content-Security-Policy": f"{policy_text}; frame-ancestors 'none'"} if policy_text else {},
    )


def _found(html: str | None, policy_text: str = "") -> Answer:
    return _text(404, "there is nothing here (any more)") if html is None else _page(html, policy_text)


def _text(status: int, words: str) -> Answer:
    return Answer(status, f"{words}\n".encode())


def _wrong_method(allowed: str) -> Answer:
    return Answer(405, b"not with this method\n", headers={"Allow": allowed})
