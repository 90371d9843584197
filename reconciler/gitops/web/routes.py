"""Which path answers what. Everything may be read without a token, because nothing that is served is a secret; whatever has an effect needs one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import parse_qs, unquote

from reconciler import log
from reconciler.errors import ReconcilerError
from reconciler.gitops.controller import Snapshot
from reconciler.gitops.secret import Secrets
from reconciler.gitops.store import Store
from reconciler.gitops.web import hooks, pages
from reconciler.gitops.web.server import Answer, Request
from reconciler.report.html_page import SCRIPT, policy

STUCK_AFTER = 60.0
"""Seconds without a step of the loop, which takes one every second, after which it is not alive."""

_HTML = "text/html; charset=utf-8"
_LOG = log.get("web")


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
            known=hooks.github_signed(request.headers, request.body, secret),
            configured=bool(secret),
            forge="github",
        )

    def _gitlab(self, request: Request) -> Answer:
        token = self._secrets.gitlab.read()
        return self._hook(
            request, known=hooks.gitlab_known(request.headers, token), configured=bool(token), forge="gitlab"
        )

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
        if not hooks.bearer_known(request.headers, token):
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
