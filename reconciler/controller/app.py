"""The controller's web application: health, metrics and status pages, webhooks, signing in, and requests about a target.

Reading needs no token, because nothing that is served is a secret; every request with an effect needs one.
waitress reads requests, and bounds their size, their time and the number of connections; werkzeug finds the handler.
A session is a random cookie that only this process knows, so that a restart signs everybody out, and so does another token.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import (
    BadRequest,
    Conflict,
    Forbidden,
    HTTPException,
    InternalServerError,
    NotFound,
    RequestHeaderFieldsTooLarge,
    RequestURITooLarge,
    TooManyRequests,
    Unauthorized,
)
from werkzeug.routing import Map, Rule
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from reconciler import logs
from reconciler.controller import pages
from reconciler.controller.controller import Controller, Snapshot
from reconciler.controller.server import SECURITY
from reconciler.controller.store import Store, StoreError
from reconciler.controller.webhooks import WEBHOOKS, Webhook
from reconciler.errors import ReconcilerError, UsageError
from reconciler.git.git import Secret

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

SESSION_SECONDS = 12 * 3600
WRONG_TOKENS = 10
WRONG_TOKENS_IN = 60
"""A client that sent this many wrong tokens in this many seconds has to wait."""

_SESSIONS = 100
_REMEMBERED = 10_000


def is_same(given: str, expected: str) -> bool:
    """Return whether two texts are equal, in a time that shows neither content nor length."""
    return hmac.compare_digest(_digest(given), _digest(expected))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class TooManyWrongTokens(Exception):
    """The client has to wait before it may try another token."""


@dataclass(frozen=True, slots=True)
class Session:
    """One signed-in browser. ``csrf`` is in every form that acts; ``token`` is the digest of the token it signed in with."""

    csrf: str
    token: bytes
    until: float


class SignIn:
    """Checks tokens and keeps the sessions. Thread-safe."""

    def __init__(self, token: Secret, *, now: Callable[[], float] = time.monotonic) -> None:
        self._token = token
        self._now = now
        self._lock = threading.Lock()
        self._wrong: deque[tuple[float, str]] = deque(maxlen=_REMEMBERED)
        self._sessions: dict[bytes, Session] = {}

    @property
    def is_enabled(self) -> bool:
        """Whether a token is set. Raises ``UsageError`` for a file that cannot be read."""
        return bool(self._token.read())

    def accepts(self, given: str, client: str) -> bool:
        """Return whether this is the token. Raises ``TooManyWrongTokens`` without comparing it."""
        expected, group, now = self._token.read(), _group(client), self._now()
        with self._lock:
            while self._wrong and self._wrong[0][0] <= now - WRONG_TOKENS_IN:
                self._wrong.popleft()
            if Counter(each for _, each in self._wrong)[group] >= WRONG_TOKENS:
                raise TooManyWrongTokens
            if is_same(given, expected) and expected:
                return True
            self._wrong.append((now, group))
            return False

    def open(self) -> str:
        """Return the cookie of a new session."""
        cookie, now = secrets.token_urlsafe(32), self._now()
        session = Session(secrets.token_urlsafe(32), _digest(self._token.read()), now + SESSION_SECONDS)
        with self._lock:
            self._sessions = {key: each for key, each in self._sessions.items() if each.until > now}
            while len(self._sessions) >= _SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[_digest(cookie)] = session
        return cookie

    def session(self, cookie: str) -> Session | None:
        """Return the session of a cookie, or ``None`` if there is none any more."""
        with self._lock:
            found = self._sessions.get(_digest(cookie))
        token = self._token.read()
        is_valid = found and token and found.until > self._now() and hmac.compare_digest(found.token, _digest(token))
        return found if is_valid else None

    def close(self, cookie: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(_digest(cookie), None)


def _group(client: str) -> str:
    """Return the clients that count as one: an IPv4 address, or the network of an IPv6 address, all of which one client can use."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    return client if address.version == 4 else str(ipaddress.ip_network((address.packed, 64), strict=False))


COOKIE = "ivs-reconciler-session"

STUCK_AFTER = 60.0
"""Seconds without a step of the loop after which the controller is not alive; a step comes every second."""

_MAX_URL = 4_096
_MAX_HEADERS = 100
_MAX_NUMBER = 999_999_999_999_999

_LOG = logs.get("web")


class App:
    """The WSGI application. ``webhooks`` holds the credentials by forge; ``secure``: browsers come over https."""

    def __init__(
        self,
        controller: Controller,
        store: Store,
        *,
        token: Secret,
        webhooks: Mapping[str, Secret],
        metrics: Callable[[], tuple[bytes, str]],
        secure: bool = False,
    ) -> None:
        self._controller = controller
        self._store = store
        self._sign_in = SignIn(token)
        self._is_secure = secure
        self._webhooks = webhooks
        self._metrics = metrics
        routes = (
            ("GET", "/", self._overview),
            ("GET", "/healthz", self._alive),
            ("GET", "/readyz", self._ready),
            ("GET", "/metrics", self._exposition),
            ("GET", "/status.js", self._script),
            ("GET", "/targets/<name>", self._target),
            ("GET", "/targets/<name>/resources", self._resources),
            ("GET", "/targets/<name>/plans/<plan_id>", self._plan),
            ("GET", f"/targets/<name>/runs/<int(max={_MAX_NUMBER}):number>", self._run),
            *(("POST", f"/hooks/{hook.forge}", partial(self._webhook, hook)) for hook in WEBHOOKS),
            ("GET", "/sign-in", self._sign_in_page),
            ("POST", "/sign-in", self._open_session),
            ("POST", "/sign-out", self._close_session),
            ("POST", "/act", self._act),
            ("POST", "/reconcile", self._reconcile),
            ("POST", "/suspend", self._suspend),
            ("POST", "/resume", self._resume),
        )
        rules = [Rule(path, methods=[method], endpoint=handler) for method, path, handler in routes]
        self._find = Map(rules, merge_slashes=False).bind("localhost").match

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        request = Request(environ)
        try:
            if len(environ.get("REQUEST_URI", "")) > _MAX_URL:
                raise RequestURITooLarge
            if len(request.headers) > _MAX_HEADERS:
                raise RequestHeaderFieldsTooLarge
            handler, values = self._find(request.path, request.method)
            response: Response = handler(request, **values)
        except HTTPException as error:
            response = self._refusal(request, error)
        except ReconcilerError as error:
            _LOG.warning("request failed", path=request.path, message=str(error))
            # SQLite's reasons name no content, and who suspends a target has to know that it is not suspended.
            text = str(error) if isinstance(error, StoreError) else "internal error; see the log"
            response = self._refusal(request, InternalServerError(text))
        for name, value in SECURITY.items():
            response.headers.setdefault(name, value)
        return response(environ, start_response)

    def _refusal(self, request: Request, error: HTTPException) -> Response:
        """Return the answer to a request that failed: a page with links for a browser, or else text."""
        response = error.get_response()
        if "text/html" in request.headers.get("Accept", ""):
            name = request.form.get("target", "") or next(iter(re.findall("^/targets/([^/]+)", request.path)), "")
            text = str(error.description)
            known = name if self._controller.has_target(name) else ""
            response.set_data(pages.message(error.name, text[:1].upper() + text[1:], known))
        else:
            response.mimetype = "text/plain"
            response.set_data(f"{error.description}\n")
        return response

    # Reading

    def _overview(self, request: Request) -> Response:
        return _page(pages.overview(self._snapshot(), self._store, request.args, self._viewer(request)))

    def _script(self, _request: Request) -> Response:
        return Response(pages.SCRIPT, mimetype="text/javascript")

    def _target(self, request: Request, name: str) -> Response:
        return _page(pages.target(self._snapshot(), self._store, name, request.args, self._viewer(request)))

    def _resources(self, request: Request, name: str) -> Response:
        return _page(pages.resources(self._snapshot(), self._store, name, request.args, self._viewer(request)))

    def _plan(self, _request: Request, name: str, plan_id: str) -> Response:
        return _page(pages.plan(self._snapshot(), self._store, name, plan_id))

    def _run(self, request: Request, name: str, number: int) -> Response:
        return _page(pages.run(self._snapshot(), self._store, name, number, self._viewer(request)))

    def _snapshot(self) -> Snapshot:
        """Return the state with what people just requested, before the loop has read it."""
        snapshot, flags = self._controller.snapshot(), self._store.flags()
        states = {}
        for name, state in snapshot.states.items():
            states[name] = replace(state, **flags[name]._asdict()) if name in flags else state
        return replace(snapshot, states=states)

    def _viewer(self, request: Request) -> pages.Viewer:
        args = request.args.to_dict()
        done = args.pop("done", "")
        at = request.path + (f"?{urlencode(args)}" if args else "")
        try:
            session = self._sign_in.session(request.cookies.get(COOKIE, ""))
            return pages.Viewer(self._sign_in.is_enabled, session.csrf if session else "", at, done)
        except UsageError:  # the token's file cannot be read now; reading needs none
            return pages.Viewer(at=at)

    def _alive(self, _request: Request) -> Response:
        snapshot = self._controller.snapshot()
        is_alive = snapshot.now - snapshot.last_step < STUCK_AFTER
        return _text(200, "alive") if is_alive else _text(503, "the controller's loop has stalled")

    def _ready(self, _request: Request) -> Response:
        is_ready = self._controller.snapshot().ready
        return _text(200, "ready") if is_ready else _text(503, "not all targets have been reconciled yet")

    def _exposition(self, _request: Request) -> Response:
        body, content_type = self._metrics()
        return Response(body, content_type=content_type)

    # Acting

    def _webhook(self, hook: Webhook, request: Request) -> Response:
        """Fetch soon. The body is only checked for its signature: a webhook just triggers a fetch."""
        credential = self._webhooks[hook.forge].read()
        if not credential:
            raise NotFound(f"webhooks of {hook.title} are disabled: no {hook.credential} is set")
        body = request.get_data()
        expected = (
            f"sha256={hmac.new(credential.encode(), body, hashlib.sha256).hexdigest()}" if hook.signed else credential
        )
        if not is_same(request.headers.get(hook.header, ""), expected):
            _LOG.warning("webhook refused", forge=hook.forge, bytes=len(body))
            raise Unauthorized(f"{hook.header} is missing or wrong")
        _LOG.info("webhook", forge=hook.forge)
        self._controller.request_fetch()
        return _text(202, "fetch scheduled")

    def _reconcile(self, request: Request) -> Response:
        name = self._authorized_target(request)
        self._request(name)
        return self._accepted(request, name, "reconciliation scheduled")

    def _request(self, name: str) -> None:
        if self._controller.snapshot().states[name].suspended:
            raise Conflict("the target is suspended; resume it first")
        self._store.request(name)

    def _suspend(self, request: Request) -> Response:
        name = self._authorized_target(request)
        self._store.suspend(name, suspended=True)
        return self._accepted(request, name, "suspended")

    def _resume(self, request: Request) -> Response:
        name = self._authorized_target(request)
        self._store.suspend(name, suspended=False)
        return self._accepted(request, name, "resumed")

    def _authorized_target(self, request: Request) -> str:
        """Return the target of an authorized request."""
        self._require_token()
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self._is_token(given.strip(), request):
            _LOG.warning("request refused", path=request.path)
            raise Unauthorized("the bearer token is missing or wrong", www_authenticate=WWWAuthenticate("bearer"))
        return self._known_target(request.args.get("target", ""))

    def _known_target(self, name: str) -> str:
        if not self._controller.has_target(name):
            raise NotFound("no such target; name one with ?target=")
        return name

    def _require_token(self) -> None:
        if not self._sign_in.is_enabled:
            raise NotFound("requests are disabled: no token is set")

    def _is_token(self, given: str, request: Request) -> bool:
        try:
            return self._sign_in.accepts(given, request.remote_addr or "")
        except TooManyWrongTokens:
            raise TooManyRequests("too many wrong tokens; wait a minute", retry_after=WRONG_TOKENS_IN) from None

    # Signing in, and acting with a session

    def _sign_in_page(self, request: Request) -> Response:
        self._require_token()
        return _page(pages.sign_in(_local(request.args.get("to", ""))))

    def _open_session(self, request: Request) -> Response:
        self._require_token()
        to = _local(request.form.get("to", ""))
        try:
            is_right = _is_from_here(request) and self._is_token(request.form.get("token", "").strip(), request)
            status, problem = 403, "The token is wrong."
        except TooManyRequests as error:
            is_right, status, problem = False, 429, f"{str(error.description).capitalize()}."
        if not is_right:
            _LOG.warning("sign-in refused", client=request.remote_addr, status=status)
            answer = Response(pages.sign_in(to, problem), status, mimetype="text/html")
            if status == 429:
                answer.headers["Retry-After"] = str(WRONG_TOKENS_IN)
            return answer
        _LOG.info("signed in", client=request.remote_addr)
        response = redirect(to, 303)
        response.set_cookie(COOKIE, self._sign_in.open(), httponly=True, samesite="Strict", secure=self._is_secure)
        return response

    def _close_session(self, request: Request) -> Response:
        self._require_session(request)
        self._sign_in.close(request.cookies.get(COOKIE, ""))
        response = redirect("/", 303)
        response.delete_cookie(COOKIE, httponly=True, samesite="Strict", secure=self._is_secure)
        return response

    def _act(self, request: Request) -> Response:
        """Carry out what a button says, for a signed-in browser."""
        self._require_session(request)
        action, name = request.form.get("action", ""), request.form.get("target", "")
        back = pages.link(self._known_target(name)) if name else "/"
        match action:
            case "refresh":
                pass
            case "reconcile" if name:
                self._request(name)
            case "suspend" | "resume" if name:
                self._store.suspend(name, suspended=action == "suspend")
            case _:
                raise BadRequest("no such action")
        _LOG.info("request", path=request.path, action=action, target=name)
        self._controller.request_fetch()
        return redirect(f"{back}?done={action}", 303)

    def _require_session(self, request: Request) -> None:
        session = self._sign_in.session(request.cookies.get(COOKIE, ""))
        if session is None or not _is_from_here(request) or not is_same(request.form.get("csrf", ""), session.csrf):
            _LOG.warning("request refused", path=request.path)
            raise Forbidden(
                "not signed in, or the page is out of date; load it again, and sign in if it has no buttons"
            )

    def _accepted(self, request: Request, name: str, text: str) -> Response:
        _LOG.info("request", path=request.path, target=name)
        self._controller.request_fetch()
        return _text(202, text)


def _page(html: str | None) -> Response:
    if html is None:
        raise NotFound("no such target, or the plan or reconciliation is not kept any more")
    return Response(html, mimetype="text/html")


def _text(status: int, text: str) -> Response:
    return Response(f"{text}\n", status)


def _local(path: str) -> str:
    """Return the address of a page of this site for any requested one."""
    return path if re.fullmatch(r"/(?:targets/|\?)[!-\[\]-~]*", path) else "/"


def _is_from_here(request: Request) -> bool:
    """Return whether a form was sent by one of our pages, as far as the browser says."""
    return request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
