"""`Sandbox`: the pieces put together, with a start and an end."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from reconciler.sandbox import control_http, event_delivery, inproc, model, page
from reconciler.sandbox.auth import AccessKey, access_keys
from reconciler.sandbox.control import Control
from reconciler.sandbox.engine import Engine, Parts
from reconciler.sandbox.faults import FaultRules
from reconciler.sandbox.journal import Journal
from reconciler.sandbox.limits import RateLimiter
from reconciler.sandbox.server import SandboxHTTPServer, serve
from reconciler.sandbox.settings import Assumptions, Clock, Settings, SystemClock
from reconciler.sandbox.store import Store
from reconciler.sandbox.wire import JSON_TYPE, Request, Response, is_number, json_bytes

log = logging.getLogger("reconciler.sandbox")

AUTH_MODES = ("any", "strict")
DRAIN_SECONDS = 5.0


class Sandbox:
    """An Amazon IVS control plane of one's own; use it as a context manager.

    db: a SQLite file that keeps the state; None keeps it in memory.
    port, host: where to listen; port 0 takes a free one. serve=False opens no socket at all
    (then use `attach`).
    quotas: False for no call-rate quotas, True for the documented ones (429), or a mapping of
    operation to calls a second. Resource quotas (402) always hold; `limits` changes them.
    auth: "any" takes callers at their word, "strict" verifies signatures against `accounts`.
    accounts: access key id -> account id or `AccessKey`; a 12-digit key id is its own account.
    buckets: bucket name -> region, for recording configurations; others exist everywhere unless
    strict_buckets is set.
    assume: other answers to what is open about the service, such as {"list-order": "shuffled"}.
    settle_seconds, stop_seconds: how long CREATING lasts, and a stopped stream lingers.
    post_events_to: a URL that every event is posted to.
    clock, seed: for runs that repeat; a `VirtualClock` makes waiting free.
    """

    def __init__(  # noqa: PLR0913 - each is one knob, all but the first by name
        self,
        db: str | os.PathLike[str] | None = None,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        serve: bool = True,
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
        """Open the state and compile the service model; nothing listens before `start`."""
        keys = access_keys(accounts)
        if auth not in AUTH_MODES:
            raise ValueError(f"auth {auth!r} is not one of {', '.join(AUTH_MODES)}")
        if not (is_number(settle_seconds) and is_number(stop_seconds) and settle_seconds >= 0 and stop_seconds >= 0):
            raise ValueError("settle_seconds and stop_seconds are numbers of seconds, and not negative")
        if auth == "strict" and not any(key.secret for key in keys.values()):
            raise ValueError("auth='strict' needs accounts with secrets to verify signatures with")
        self._address = (host, port)
        self._serve = serve
        self._http: SandboxHTTPServer | None = None
        self._thread: threading.Thread | None = None
        time = clock or SystemClock()
        assumptions = Assumptions(assume)
        service = model.load()
        self._store = Store(db)
        parts = Parts(
            model=service,
            store=self._store,
            clock=time,
            rng=random.Random(seed),  # noqa: S311 - invented ids of an invented service
            settings=Settings(settle_seconds, stop_seconds, dict(buckets or {}), strict_buckets, assumptions),
            keys=keys,
            faults=FaultRules(random.Random(seed)),  # noqa: S311
            limiter=RateLimiter(time, quotas, store=self._store if self._store.path else None, assume=assumptions),
            journal=Journal(),
            strict=auth == "strict",
        )
        self._engine = Engine(parts)
        self.control = Control(self._engine, limits=dict(limits or {}))
        self._clock = time
        self._stopping = threading.Event()
        try:
            self.control.set_limits()
            self._poster = event_delivery.Poster(self._store, time, post_events_to) if post_events_to else None
        except ValueError:
            self._store.close()
            raise

    @property
    def endpoint_url(self) -> str:
        """What to give to AWS clients, or to put into AWS_ENDPOINT_URL_IVS."""
        if self._http is None:
            raise RuntimeError("the sandbox is not serving: call start() first")
        host, port = self._http.server_address[:2]
        return f"http://{host if isinstance(host, str) else host.decode()}:{port}"

    def start(self) -> Sandbox:
        """Listen and serve from a background thread."""
        if self._serve and self._http is None:
            host, port = self._address
            try:
                self._http = SandboxHTTPServer(self._address, self.handle)
            except OSError as error:
                # Without this nobody learns which port is meant.
                raise OSError(f"cannot listen on {host} port {port}: {error.strerror}") from error
            self._thread = serve(self._http)
        return self

    def stop(self) -> None:
        """Answer what has begun, stop listening, close the state. Twice is fine."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        http, self._http = self._http, None
        if http is not None:
            http.shutdown()
            http.server_close()
            http.drain(DRAIN_SECONDS)
        if self._thread is not None:
            self._thread.join(DRAIN_SECONDS)
            self._thread = None
        if self._poster is not None:
            self._poster.stop()
        try:
            self.control.flush()
        except sqlite3.Error as error:
            # The last records of reads and refusals, on a disk that is full: no reason to fail at the end.
            log.warning("the last records of calls could not be stored: %s", error)
        self._store.close()

    def attach(self, target: Any) -> Callable[[], None]:
        """Answer the calls of a boto3 client (or of a session's future clients) without sockets.

        Returns a function that undoes it.
        """
        return inproc.attach(target, self.handle)

    def handle(self, request: Request, source_ip: str = "127.0.0.1") -> Response:
        """Answer one request, whatever brought it and whatever goes wrong."""
        try:
            return self._handle(request, source_ip)
        except sqlite3.Error as error:
            log.error("the state cannot be used: %s", error)  # noqa: TRY400 - where in our code says nothing
            return Response(
                500, (("Content-Type", JSON_TYPE),), json_bytes({"error": f"the state cannot be used: {error}"})
            )
        except Exception:
            # The outer door of the page and of the control API, as the engine has one: a connection that just ends says nothing.
            log.exception("the sandbox itself failed")
            return Response(
                500,
                (("Content-Type", JSON_TYPE),),
                json_bytes({"error": "an internal error occurred; the log says more"}),
            )

    def _handle(self, request: Request, source_ip: str) -> Response:
        if request.method in ("GET", "HEAD") and request.path == "/" and not request.headers.get("authorization"):
            return page.answer(self.control, request, str(self._store.path or "memory"))
        if request.path == "/favicon.ico":
            return Response(204)
        if request.path == event_delivery.STREAM_PATH:
            return event_delivery.follow(self._store, self._clock, request, self._stopping)
        if request.path.startswith(control_http.PREFIX):
            return control_http.answer(self.control, request)
        return self._engine.handle(request, source_ip)

    def __enter__(self) -> Self:
        """Start; what cannot start is stopped, as nobody else would."""
        try:
            self.start()
        except OSError:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()
