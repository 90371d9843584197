"""`Sandbox`: the engine, the control operations, the HTTP server and the in-process transport, started and stopped together.

Calls of boto3 clients are answered without sockets too: botocore uses the answer of a `before-send` handler instead of sending a request.
Faults that break a connection raise the exception that a client gets from a real one, without delay.
Only this module imports botocore, for the first call.
"""

from __future__ import annotations

import io
import logging
import os
import random
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from reconciler.sandbox import model
from reconciler.sandbox.auth import DEFAULT_ACCOUNT, DEFAULT_REGION, AccessKey, access_keys
from reconciler.sandbox.control import Control
from reconciler.sandbox.engine import Engine, Parts, RateLimiter
from reconciler.sandbox.faults import FaultRules
from reconciler.sandbox.http import control as control_http
from reconciler.sandbox.http import page, server
from reconciler.sandbox.http.server import SandboxHTTPServer, serve
from reconciler.sandbox.registry import SERVICES
from reconciler.sandbox.settings import Assumptions, Clock, Settings, SystemClock
from reconciler.sandbox.state.logs import EVENT_STREAM_PATH, CallLog, Poster, follow_events
from reconciler.sandbox.state.store import Store
from reconciler.sandbox.wire import Disruption, Request, Response, is_number

# Names of services in botocore.
CLIENTS = (*SERVICES, "sts", "service-quotas", "cloudtrail")

Handle = Callable[[Request], Response]


class _Body(io.BytesIO):
    """The body of an answer as botocore reads it."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


def attach(target: Any, handle: Handle) -> Callable[[], None]:
    """Answer the calls of a boto3 client or session, and return a function that detaches."""
    events = target.meta.events if hasattr(target, "meta") else target.events
    transport = Transport(handle)
    for service in CLIENTS:
        events.register(f"before-send.{service}", transport)

    def detach() -> None:
        for service in CLIENTS:
            events.unregister(f"before-send.{service}", transport)

    return detach


class Transport:
    """A `before-send` handler."""

    def __init__(self, handle: Handle) -> None:
        """Take the function that maps requests to answers."""
        self._handle = handle

    def __call__(self, request: Any, **_: Any) -> Any:
        """Return the answer to a request, or raise the exception of a broken connection."""
        from botocore.awsrequest import AWSResponse
        from botocore.compat import HTTPHeaders
        from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

        answer = self._handle(_to_request(request))
        body = answer.body
        match answer.disruption:
            case Disruption.TRUNCATE:
                # Over HTTP botocore parses half an answer without an error.
                body = body[: len(body) // 2]
            case Disruption.HANG:
                raise ReadTimeoutError(endpoint_url=request.url)
            case Disruption.RESET:
                raise ConnectionClosedError(endpoint_url=request.url)
        return AWSResponse(request.url, answer.status, HTTPHeaders.from_pairs(answer.headers), _Body(body))


def _to_request(prepared: Any) -> Request:
    """Return a request of botocore as a request of the sandbox."""
    url = urlsplit(prepared.url)
    headers = {
        name.lower(): value.decode("latin-1") if isinstance(value, bytes) else str(value)
        for name, value in prepared.headers.items()
    }
    headers.setdefault("host", url.netloc)
    return Request(prepared.method, url.path or "/", url.query, headers, _to_bytes(prepared.body))


def _to_bytes(body: Any) -> bytes:
    """Return a body of botocore: a string, bytes or a file."""
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes | bytearray):
        return bytes(body)
    return bytes(body.read())


log = logging.getLogger("reconciler.sandbox")

_AUTH_MODES = ("any", "strict")
_DRAIN_SECONDS = 5.0


class Sandbox:
    """A local Amazon IVS control plane; use it as a context manager.

    db: SQLite file of the state; None for memory. create: create it at once; otherwise the first write does.
    port, host: address to listen on; port 0 for a free one. serve=False opens no socket: use `attach`.
    control_token: what the control API needs over HTTP, "" for nothing; by default a new one with auth="strict" or an
    address that other machines reach, else nothing.
    allow_origins, allow_hosts: origins of browser pages and host names that may use the server, besides this machine's.
    quotas: call-rate quotas (429): False for none, True for the documented ones, or a mapping of operation to calls a
    second. Resource quotas (402) always apply; `limits` changes them.
    auth: "any" accepts every caller, "strict" verifies signatures with the secrets in `accounts`.
    accounts: access key id -> account id or `AccessKey`. Of other keys, a key id of 12 digits is the account, else it
    is 123456789012. The region is the one that the request is signed for (us-west-2 if unsigned).
    buckets: bucket name -> region, for recording configurations; other buckets exist in every region, with
    strict_buckets in none. A name that contains "create-failed" ends in CREATE_FAILED.
    assume: options of assumptions about the service, such as {"list-order": "shuffled"}.
    settle_seconds, stop_seconds: duration of CREATING, and how long a stopped stream is still live.
    post_events_to: URL to post every event to.
    clock, seed: for repeatable runs; with a `VirtualClock` nothing waits.
    """

    def __init__(  # noqa: PLR0913 - one setting each, by name
        self,
        db: str | os.PathLike[str] | None = None,
        *,
        create: bool = True,
        port: int = 0,
        host: str = "127.0.0.1",
        serve: bool = True,
        allow_origins: Iterable[str] = (),
        allow_hosts: Iterable[str] = (),
        control_token: str | None = None,
        quotas: bool | Mapping[str, float] = False,
        limits: Mapping[str, int] | None = None,
        auth: str = "any",
        accounts: Mapping[str, str | AccessKey] | None = None,
        buckets: Mapping[str, str] | None = None,
        strict_buckets: bool = False,
        assume: Mapping[str, str] | None = None,
        settle_seconds: float = 0.2,
        stop_seconds: float = 0.2,
        clock: Clock | None = None,
        seed: int | None = None,
        post_events_to: str = "",
    ) -> None:
        """Open the database and compile the service models; `start` listens."""
        keys = access_keys(accounts)
        if auth not in _AUTH_MODES:
            raise ValueError(f"auth must be one of {', '.join(_AUTH_MODES)}, not {auth!r}")
        if not (is_number(settle_seconds) and is_number(stop_seconds) and settle_seconds >= 0 and stop_seconds >= 0):
            raise ValueError("settle_seconds and stop_seconds must be numbers, 0 or more")
        if auth == "strict" and not any(key.secret for key in keys.values()):
            raise ValueError("auth='strict' needs accounts with secrets")
        host = host.removeprefix("[").removesuffix("]")
        self._address = (host, port)
        if control_token is None:
            control_token = os.urandom(24).hex() if auth == "strict" or not server.is_local(host) else ""
        self.control_token = control_token
        self._access = server.Access(
            frozenset(map(server.check_origin, allow_origins)), frozenset(name.lower() for name in (host, *allow_hosts))
        )
        self._serve = serve
        self._http: SandboxHTTPServer | None = None
        self._thread: threading.Thread | None = None
        time = clock or SystemClock()
        assumptions = Assumptions(assume)
        models = {name: model.load(name) for name in SERVICES}
        self._store = Store(db, create=create)
        self._clock = time
        self._stopping = threading.Event()
        try:
            parts = Parts(
                models=models,
                store=self._store,
                clock=time,
                rng=random.Random(seed),  # noqa: S311 - ids, no secrets
                settings=Settings(settle_seconds, stop_seconds, dict(buckets or {}), strict_buckets, assumptions),
                keys=keys,
                faults=FaultRules(random.Random(seed)),  # noqa: S311
                limiter=RateLimiter(self._store, time, assumptions, quotas),
                call_log=CallLog(),
                strict=auth == "strict",
            )
            self._engine = Engine(parts)
            self.control = Control(self._engine, dict(limits or {}))
            self._pages = page.Pages(
                self.control, str(self._store.path or "memory"), control_token, self.client_settings
            )
            self._poster = Poster(self._store, time, post_events_to) if post_events_to else None
        except ValueError:
            self._store.close()
            raise

    @property
    def endpoint_url(self) -> str:
        """The endpoint for AWS clients and AWS_ENDPOINT_URL_IVS. Raises RuntimeError before `start`."""
        if self._http is None:
            raise RuntimeError("the sandbox is not serving: call start() first")
        host, port = self._http.server_address[:2]
        name = host if isinstance(host, str) else host.decode()
        return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"

    def client_settings(self, endpoint_url: str) -> str:
        """Return the endpoint, region and keys that an AWS client needs, as assignments; with auth="strict" the keys are the caller's."""
        keys = "" if self._engine.parts.strict else f" AWS_ACCESS_KEY_ID={DEFAULT_ACCOUNT} AWS_SECRET_ACCESS_KEY=any"
        return f"AWS_ENDPOINT_URL_IVS={endpoint_url} AWS_DEFAULT_REGION={DEFAULT_REGION}{keys}"

    def start(self) -> Sandbox:
        """Listen and serve in a background thread. Raises OSError if the address is not free."""
        if self._serve and self._http is None:
            host, port = self._address
            try:
                self._http = SandboxHTTPServer(self._address, self._handle_from_network)
            except OSError as error:
                raise OSError(
                    f"cannot listen on {host} port {port}: {error.strerror}; use another port or address"
                ) from error
            self._thread = serve(self._http)
        return self

    def stop(self) -> None:
        """Answer requests in progress, stop listening and close the database; further calls do nothing."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        http, self._http = self._http, None
        if http is not None:
            http.shutdown()
            http.server_close()
            http.drain(_DRAIN_SECONDS)
        if self._thread is not None:
            self._thread.join(_DRAIN_SECONDS)
            self._thread = None
        if self._poster is not None:
            self._poster.stop()
        try:
            self._engine.parts.call_log.flush(self._store)
        except sqlite3.Error as error:
            # Only records of reads and errors are lost, on a full disk.
            log.warning("cannot store the last records of the call log: %s", error)
        self._store.close()

    def attach(self, target: Any) -> Callable[[], None]:
        """Answer the calls of a boto3 client, or of a session's new clients, without sockets.

        Returns a function that detaches.
        """
        return attach(target, self.handle)

    def _handle_from_network(self, request: Request, source_ip: str) -> Response:
        """Return the answer to a request over HTTP, which may come from a browser page."""
        refused = self._access.refusal(request) or server.preflight(request)
        return refused or server.with_cors(self.handle(request, source_ip), request)

    def handle(self, request: Request, source_ip: str = "127.0.0.1") -> Response:
        """Return the answer to one request of any transport; errors are answers too."""
        try:
            return self._handle(request, source_ip)
        except sqlite3.Error as error:
            log.error("database error: %s", error)  # noqa: TRY400 - the traceback does not help
            return control_http.refusal(500, f"database error: {error}")
        except Exception:
            # Errors of the page and the control API; the engine answers its own.
            log.exception("internal error")
            return control_http.refusal(500, "internal error; see the log of the sandbox")

    def _handle(self, request: Request, source_ip: str) -> Response:
        if self._pages.serves(request):
            return self._pages.answer(request)
        if request.method in ("GET", "HEAD") and request.path == "/favicon.ico":
            return Response(204)
        if request.path.startswith(control_http.PREFIX):
            refused = control_http.refuse_without_token(request, self.control_token)
            if refused is not None:
                return refused
        if request.path == EVENT_STREAM_PATH:
            return follow_events(self._store, self._clock, request, self._stopping)
        if request.path.startswith(control_http.PREFIX):
            return control_http.answer(self.control, request)
        return self._engine.handle(request, source_ip)

    def __enter__(self) -> Self:
        """Start; stop if that fails."""
        try:
            self.start()
        except OSError:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()
