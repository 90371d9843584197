"""A forge on loopback that answers as GitHub's and GitLab's documented REST APIs do, as far as reports are put there.

Pages with Link headers, tokens with and without permission, limits told by headers, the refusals 401, 403, 404 and 422 (GitLab: 400), and every call written down.
Lengths are counted in UTF-8 bytes, the strictest of all ways a forge might count.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.cli.support import QuietServer

GITHUB_LIMIT, GITLAB_LIMIT = 65_536, 1_000_000
REPOSITORY = "acme/video"
PROJECT = 77
HEAD = "a" * 40
TRIAL_MERGE = "3f2c1d0b9a8877665544332211ffeeddccbbaa00"
"""The commit of the reports in tests.report.makers."""


@dataclass(frozen=True)
class User:
    """The user of a token. An installation's token cannot ask who it is; a fork's may only read."""

    login: str
    number: int
    installation: bool = False
    may_write: bool = True


TOKENS = {
    "ghs_actions": User("github-actions[bot]", 41, installation=True),
    "ghs_app": User("acme-previews[bot]", 55, installation=True),
    "ghs_fork": User("github-actions[bot]", 41, installation=True, may_write=False),
    "ghp_ada": User("ada", 7),
    "glpat_bot": User("project_77_bot", 8),
    "glpat_reader": User("reader", 9, may_write=False),
}


@dataclass
class Fault:
    """Answer the next ``times`` calls that fit with this instead of carrying them out."""

    method: str
    path: str
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    message: str = ""
    times: int = 1


class Refusal(Exception):
    """An answer that is not what was asked for."""

    def __init__(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        self.status, self.content, self.headers = status, content, headers or {}
        super().__init__(str(status))


@dataclass
class Labelled:
    """A label of a request: who set it and when. One that was removed again has only its event left."""

    name: str
    login: str
    at: str = "2026-11-01T10:00:00Z"
    bot: bool = False
    removed: bool = False


@dataclass
class Asked:
    """A request besides its comments and its head."""

    author: str = "ada"
    labels: list[Labelled] = field(default_factory=list)
    merged_as: str = ""
    merged_at: str = ""


@dataclass
class Forge:
    """What the forge holds. Comments and issues are plain dicts: ``id``, ``author`` (a ``User``), ``body`` and so on."""

    url: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=lambda: {12: []})
    issues: list[dict[str, Any]] = field(default_factory=list)
    statuses: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    heads: dict[int, str] = field(default_factory=lambda: {12: HEAD})
    merged: dict[str, int | list[int]] = field(default_factory=dict)
    asked: dict[int, Asked] = field(default_factory=lambda: {12: Asked()})
    parents: dict[str, list[str]] = field(default_factory=lambda: {TRIAL_MERGE: ["b" * 40, HEAD]})
    page_size: int = 100
    next_id: int = 1000
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, body: str, login: str = "github-actions[bot]", number: int = 12, system: bool = False) -> int:
        """Put a comment there as a user."""
        user = next((one for one in TOKENS.values() if one.login == login), User(login, 500))
        self.next_id += 1
        self.comments[number].append({"id": self.next_id, "author": user, "body": body, "system": system})
        return self.next_id

    def bodies(self, number: int = 12) -> list[str]:
        """Return the comments' texts, oldest first."""
        return [one["body"] for one in self.comments[number]]

    def containing(self, commit: str) -> list[int]:
        """Return the requests that contain a commit."""
        found = self.merged.get(commit, [])
        return found if isinstance(found, list) else [found]

    @property
    def writes(self) -> list[tuple[str, str]]:
        """Return the calls that change something."""
        return [call for call in self.calls if call[0] != "GET"]

    def answer(
        self, method: str, path: str, query: dict[str, str], body: Any, token: str
    ) -> tuple[int, object, dict[str, str]]:
        """Answer one call. Raises ``Refusal``."""
        self.calls.append((method, path))
        for fault in self.faults:
            if fault.times and fault.method == method and fault.path in path:
                fault.times -= 1
                raise Refusal(fault.status, {"message": fault.message}, fault.headers)
        user = TOKENS.get(token)
        if user is None:
            raise Refusal(401, {"message": "Bad credentials" if not path.startswith("/api/v4") else "401 Unauthorized"})
        if method != "GET" and not user.may_write:
            raise Refusal(
                403,
                {
                    "message": "Resource not accessible by integration"
                    if not path.startswith("/api/v4")
                    else "403 Forbidden"
                },
            )
        routes = GITLAB if path.startswith("/api/v4") else GITHUB
        for route_method, pattern, handler in routes:
            if method == route_method and (found := re.fullmatch(pattern, path)):
                return handler(self, user, body, query, *found.groups())
        raise Refusal(404, {"message": "Not Found" if routes is GITHUB else "404 Not Found"})

    def pages(self, items: list[Any], query: dict[str, str], path: str) -> tuple[int, object, dict[str, str]]:
        """Return one page and the links to the others."""
        size, page = min(int(query.get("per_page", "30")), self.page_size), int(query.get("page", "1"))
        last = max(1, -(-len(items) // size))
        rest = "&".join(f"{key}={value}" for key, value in query.items() if key != "page")
        links = [
            f'<{self.url}{path}?{rest}&page={number}>; rel="{name}"'
            for name, number in (("next", page + 1), ("last", last))
            if page < last
        ]
        return 200, items[(page - 1) * size : page * size], {"Link": ", ".join(links)} if links else {}


Handler = Callable[..., tuple[int, object, dict[str, str]]]


def _comment(forge: Forge, number: int, identity: int | None = None) -> Any:
    if number not in forge.comments:
        raise Refusal(404, {"message": "Not Found"})
    if identity is None:
        return forge.comments[number]
    found = [one for group in forge.comments.values() for one in group if one["id"] == identity]
    if not found:
        raise Refusal(404, {"message": "Not Found"})
    return found[0]


# GitHub


def _hub_user(user: User) -> dict[str, object]:
    return {"login": user.login, "id": user.number, "type": "Bot" if user.login.endswith("[bot]") else "User"}


def _hub_comment(forge: Forge, one: dict[str, Any]) -> dict[str, object]:
    address = f"{forge.url}/repos/{REPOSITORY}/issues/comments/{one['id']}"
    return {
        "id": one["id"],
        "url": address,
        "html_url": f"https://example.com/c/{one['id']}",
        "body": one["body"],
        "user": _hub_user(one["author"]),
    }


def _hub_body(body: Any) -> str:
    text = body.get("body")
    if not isinstance(text, str) or not text.strip():
        raise Refusal(
            422,
            {
                "message": "Validation Failed",
                "errors": [{"resource": "IssueComment", "code": "missing_field", "field": "body"}],
            },
        )
    if len(text.encode()) > GITHUB_LIMIT:
        words = f"body is too long (maximum is {GITHUB_LIMIT} characters)"
        raise Refusal(
            422,
            {
                "message": "Validation Failed",
                "errors": [{"resource": "IssueComment", "code": "unprocessable", "field": "data", "message": words}],
            },
        )
    return text


def hub_me(forge: Forge, user: User, body: Any, query: dict[str, str]) -> tuple[int, object, dict[str, str]]:
    if user.installation:
        raise Refusal(403, {"message": "Resource not accessible by integration"})
    return 200, _hub_user(user), {}


def hub_list(
    forge: Forge, user: User, body: Any, query: dict[str, str], number: str
) -> tuple[int, object, dict[str, str]]:
    found = [_hub_comment(forge, one) for one in _comment(forge, int(number))]
    return forge.pages(found, query, f"/repos/{REPOSITORY}/issues/{number}/comments")


def hub_create(
    forge: Forge, user: User, body: Any, query: dict[str, str], number: str
) -> tuple[int, object, dict[str, str]]:
    _comment(forge, int(number))
    forge.add(_hub_body(body), user.login, int(number))
    return 201, _hub_comment(forge, forge.comments[int(number)][-1]), {}


def hub_edit(
    forge: Forge, user: User, body: Any, query: dict[str, str], identity: str
) -> tuple[int, object, dict[str, str]]:
    one = _comment(forge, 12, int(identity))
    one["body"] = _hub_body(body)
    return 200, _hub_comment(forge, one), {}


def hub_delete(
    forge: Forge, user: User, body: Any, query: dict[str, str], identity: str
) -> tuple[int, object, dict[str, str]]:
    one = _comment(forge, 12, int(identity))
    for group in forge.comments.values():
        if one in group:
            group.remove(one)
    return 204, None, {}


def hub_pull(
    forge: Forge, user: User, body: Any, query: dict[str, str], number: str
) -> tuple[int, object, dict[str, str]]:
    if int(number) not in forge.heads:
        raise Refusal(404, {"message": "Not Found"})
    return (
        200,
        {
            "number": int(number),
            "url": f"{forge.url}/repos/{REPOSITORY}/pulls/{number}",
            "head": {"sha": forge.heads[int(number)]},
            "user": {"login": forge.asked[int(number)].author, "type": "User"},
            "labels": [{"name": one.name} for one in forge.asked[int(number)].labels if not one.removed],
            "merged": bool(forge.asked[int(number)].merged_at),
            "merged_at": forge.asked[int(number)].merged_at or None,
            "merge_commit_sha": forge.asked[int(number)].merged_as or None,
        },
        {},
    )


def hub_events(
    forge: Forge, user: User, body: Any, query: dict[str, str], number: str
) -> tuple[int, object, dict[str, str]]:
    found: list[dict[str, object]] = [{"id": 1, "event": "closed", "actor": None, "created_at": "2026-01-01T00:00:00Z"}]
    for at, one in enumerate(forge.asked[int(number)].labels):
        actor = {"login": one.login, "type": "Bot" if one.bot else "User"}
        event = {"id": at + 2, "event": "labeled", "actor": actor, "label": {"name": one.name}, "created_at": one.at}
        found += [event, {**event, "event": "unlabeled"}] if one.removed else [event]
    return forge.pages(found, query, f"/repos/{REPOSITORY}/issues/{number}/events")


def hub_pulls_of(
    forge: Forge, user: User, body: Any, query: dict[str, str], commit: str
) -> tuple[int, object, dict[str, str]]:
    found = [{"number": number} for number in forge.containing(commit)]
    return forge.pages(found, query, f"/repos/{REPOSITORY}/commits/{commit}/pulls")


def hub_commit(
    forge: Forge, user: User, body: Any, query: dict[str, str], commit: str
) -> tuple[int, object, dict[str, str]]:
    if commit not in forge.parents:
        raise Refusal(422, {"message": f"No commit found for SHA: {commit}"})
    return 200, {"sha": commit, "parents": [{"sha": one} for one in forge.parents[commit]]}, {}


def hub_status(
    forge: Forge, user: User, body: Any, query: dict[str, str], commit: str
) -> tuple[int, object, dict[str, str]]:
    latest = {one["context"]: one for one in forge.statuses.get(commit, [])}
    return 200, {"sha": commit, "state": "success", "statuses": list(latest.values())}, {}


def hub_set_status(
    forge: Forge, user: User, body: Any, query: dict[str, str], commit: str
) -> tuple[int, object, dict[str, str]]:
    if len(body.get("description", "")) > 140:
        raise Refusal(
            422,
            {
                "message": "Validation Failed",
                "errors": [{"resource": "Status", "code": "custom", "field": "description"}],
            },
        )
    one = {
        "state": body["state"],
        "context": body["context"],
        "description": body.get("description"),
        "target_url": body.get("target_url") or None,
    }
    forge.statuses.setdefault(commit, []).append(one)
    return 201, one, {}


def _hub_issue(forge: Forge, one: dict[str, Any]) -> dict[str, object]:
    address = f"{forge.url}/repos/{REPOSITORY}/issues/{one['id']}"
    shown = {
        "number": one["id"],
        "id": one["id"],
        "url": address,
        "html_url": f"https://example.com/i/{one['id']}",
        "title": one["title"],
        "body": one["body"],
    }
    return {
        **shown,
        "state": one["state"],
        "user": _hub_user(one["author"]),
        "labels": [{"name": label} for label in one["labels"]],
    }


def hub_issues(forge: Forge, user: User, body: Any, query: dict[str, str]) -> tuple[int, object, dict[str, str]]:
    wanted = set(filter(None, query.get("labels", "").split(",")))
    found = [
        _hub_issue(forge, one)
        for one in forge.issues
        if one["state"] == query.get("state", "open") and wanted <= set(one["labels"])
    ]
    return forge.pages(found, query, f"/repos/{REPOSITORY}/issues")


def hub_open(forge: Forge, user: User, body: Any, query: dict[str, str]) -> tuple[int, object, dict[str, str]]:
    forge.next_id += 1
    forge.issues.append(
        {
            "id": forge.next_id,
            "author": user,
            "title": body["title"],
            "body": _hub_body(body),
            "labels": body.get("labels", []),
            "state": "open",
        }
    )
    return 201, _hub_issue(forge, forge.issues[-1]), {}


def hub_change(
    forge: Forge, user: User, body: Any, query: dict[str, str], number: str
) -> tuple[int, object, dict[str, str]]:
    (one,) = [issue for issue in forge.issues if issue["id"] == int(number)]
    one.update({key: body[key] for key in ("title", "body", "state") if key in body})
    return 200, _hub_issue(forge, one), {}


_R = f"/repos/{REPOSITORY}"
GITHUB: list[tuple[str, str, Handler]] = [
    ("GET", "/user", hub_me),
    ("GET", rf"{_R}/issues/(\d+)/comments", hub_list),
    ("POST", rf"{_R}/issues/(\d+)/comments", hub_create),
    ("PATCH", rf"{_R}/issues/comments/(\d+)", hub_edit),
    ("DELETE", rf"{_R}/issues/comments/(\d+)", hub_delete),
    ("GET", rf"{_R}/pulls/(\d+)", hub_pull),
    ("GET", rf"{_R}/issues/(\d+)/events", hub_events),
    ("GET", rf"{_R}/commits/(\w+)/pulls", hub_pulls_of),
    ("GET", rf"{_R}/commits/(\w+)", hub_commit),
    ("GET", rf"{_R}/commits/(\w+)/status", hub_status),
    ("POST", rf"{_R}/statuses/(\w+)", hub_set_status),
    ("GET", rf"{_R}/issues", hub_issues),
    ("POST", rf"{_R}/issues", hub_open),
    ("PATCH", rf"{_R}/issues/(\d+)", hub_change),
]


# GitLab


def _lab_author(user: User) -> dict[str, object]:
    return {"id": user.number, "username": user.login}


def _lab_note(one: dict[str, Any]) -> dict[str, object]:
    return {"id": one["id"], "body": one["body"], "author": _lab_author(one["author"]), "system": one["system"]}


def _lab_text(body: Any, name: str) -> str:
    text = body.get(name)
    if not isinstance(text, str) or not text.strip():
        raise Refusal(400, {"error": f"{name} is missing"})
    if len(text.encode()) > GITLAB_LIMIT:
        raise Refusal(400, {"message": {name: [f"is too long (maximum is {GITLAB_LIMIT} characters)"]}})
    return text


def lab_me(forge: Forge, user: User, body: Any, query: dict[str, str]) -> tuple[int, object, dict[str, str]]:
    return 200, _lab_author(user), {}


def lab_list(
    forge: Forge, user: User, body: Any, query: dict[str, str], number: str
) -> tuple[int, object, dict[str, str]]:
    found = [_lab_note(one) for one in _comment(forge, int(number))]
    return forge.pages(found, query, f"/api/v4/projects/{PROJECT}/merge_requests/{number}/notes")


def lab_create(
    forge: Forge, user: User, body: Any, query: dict[str, str], number: str
) -> tuple[int, object, dict[str, str]]:
    _comment(forge, int(number))
    forge.add(_lab_text(body, "body"), user.login, int(number))
    return 201, _lab_note(forge.comments[int(number)][-1]), {}


def lab_edit(
    forge: Forge, user: User, body: Any, query: dict[str, str], number: str, identity: str
) -> tuple[int, object, dict[str, str]]:
    one = _comment(forge, int(number), int(identity))
    one["body"] = _lab_text(body, "body")
    return 200, _lab_note(one), {}


def lab_delete(
    forge: Forge, user: User, body: Any, query: dict[str, str], number: str, identity: str
) -> tuple[int, object, dict[str, str]]:
    forge.comments[int(number)].remove(_comment(forge, int(number), int(identity)))
    return 204, None, {}


def lab_request(
    forge: Forge, user: User, body: Any, query: dict[str, str], number: str
) -> tuple[int, object, dict[str, str]]:
    if int(number) not in forge.heads:
        raise Refusal(404, {"message": "404 Not found"})
    asked = forge.asked[int(number)]
    content = {
        "id": 900,
        "iid": int(number),
        "sha": forge.heads[int(number)],
        "author": {"username": asked.author},
        "labels": [one.name for one in asked.labels if not one.removed],
        "state": "merged" if asked.merged_at else "opened",
        "merged_at": asked.merged_at or None,
        "merge_commit_sha": (asked.merged_as or None) if asked.merged_at else None,
        "squash_commit_sha": None,
    }
    return 200, content, {}


def lab_label_events(
    forge: Forge, user: User, body: Any, query: dict[str, str], number: str
) -> tuple[int, object, dict[str, str]]:
    found = []
    for at, one in enumerate(forge.asked[int(number)].labels):
        event = {"id": at, "user": {"username": one.login}, "label": {"name": one.name}, "created_at": one.at}
        found += [{**event, "action": action} for action in ("add", "remove")[: 1 + one.removed]]
    return forge.pages(found, query, f"/api/v4/projects/{PROJECT}/merge_requests/{number}/resource_label_events")


def lab_requests_of(
    forge: Forge, user: User, body: Any, query: dict[str, str], commit: str
) -> tuple[int, object, dict[str, str]]:
    return 200, [{"iid": number} for number in forge.containing(commit)], {}


def lab_commit(
    forge: Forge, user: User, body: Any, query: dict[str, str], commit: str
) -> tuple[int, object, dict[str, str]]:
    if commit not in forge.parents:
        raise Refusal(404, {"message": "404 Commit Not Found"})
    return 200, {"id": commit, "parent_ids": forge.parents[commit]}, {}


def lab_statuses(
    forge: Forge, user: User, body: Any, query: dict[str, str], commit: str
) -> tuple[int, object, dict[str, str]]:
    found = [one for one in forge.statuses.get(commit, []) if query.get("name") in (None, one["name"])]
    return forge.pages(found, query, f"/api/v4/projects/{PROJECT}/repository/commits/{commit}/statuses")


def lab_set_status(
    forge: Forge, user: User, body: Any, query: dict[str, str], commit: str
) -> tuple[int, object, dict[str, str]]:
    if body["state"] not in ("pending", "running", "success", "failed", "canceled", "skipped"):
        raise Refusal(400, {"error": "state does not have a valid value"})
    one = {
        "id": 1,
        "status": body["state"],
        "name": body["name"],
        "description": body.get("description"),
        "target_url": body.get("target_url"),
    }
    forge.statuses[commit] = [*(other for other in forge.statuses.get(commit, []) if other["name"] != one["name"]), one]
    return 201, one, {}


def _lab_issue(one: dict[str, Any]) -> dict[str, object]:
    shown = {
        "iid": one["id"],
        "id": one["id"],
        "title": one["title"],
        "description": one["body"],
        "labels": one["labels"],
    }
    return {
        **shown,
        "state": one["state"],
        "author": _lab_author(one["author"]),
        "web_url": f"https://example.com/i/{one['id']}",
    }


def lab_issues(forge: Forge, user: User, body: Any, query: dict[str, str]) -> tuple[int, object, dict[str, str]]:
    wanted = {"opened": "open"}[query["state"]]
    found = [one for one in forge.issues if one["state"] == wanted and query["labels"] in one["labels"]]
    return forge.pages(
        [_lab_issue(one) for one in found if one["author"].number == int(query["author_id"])],
        query,
        f"/api/v4/projects/{PROJECT}/issues",
    )


def lab_open(forge: Forge, user: User, body: Any, query: dict[str, str]) -> tuple[int, object, dict[str, str]]:
    forge.next_id += 1
    content = {
        "title": body["title"],
        "body": _lab_text(body, "description"),
        "labels": body["labels"].split(","),
        "state": "open",
    }
    forge.issues.append({"id": forge.next_id, "author": user, **content})
    return 201, _lab_issue(forge.issues[-1]), {}


def lab_change(
    forge: Forge, user: User, body: Any, query: dict[str, str], number: str
) -> tuple[int, object, dict[str, str]]:
    (one,) = [issue for issue in forge.issues if issue["id"] == int(number)]
    one["title"], one["body"] = body.get("title", one["title"]), body.get("description", one["body"])
    one["state"] = "closed" if body.get("state_event") == "close" else one["state"]
    return 200, _lab_issue(one), {}


_P = rf"/api/v4/projects/(?:{PROJECT}|acme/video)"
GITLAB: list[tuple[str, str, Handler]] = [
    ("GET", "/api/v4/user", lab_me),
    ("GET", rf"{_P}/merge_requests/(\d+)/notes", lab_list),
    ("POST", rf"{_P}/merge_requests/(\d+)/notes", lab_create),
    ("PUT", rf"{_P}/merge_requests/(\d+)/notes/(\d+)", lab_edit),
    ("DELETE", rf"{_P}/merge_requests/(\d+)/notes/(\d+)", lab_delete),
    ("GET", rf"{_P}/merge_requests/(\d+)", lab_request),
    ("GET", rf"{_P}/merge_requests/(\d+)/resource_label_events", lab_label_events),
    ("GET", rf"{_P}/repository/commits/(\w+)/merge_requests", lab_requests_of),
    ("GET", rf"{_P}/repository/commits/(\w+)", lab_commit),
    ("GET", rf"{_P}/repository/commits/(\w+)/statuses", lab_statuses),
    ("POST", rf"{_P}/statuses/(\w+)", lab_set_status),
    ("GET", rf"{_P}/issues", lab_issues),
    ("POST", rf"{_P}/issues", lab_open),
    ("PUT", rf"{_P}/issues/(\d+)", lab_change),
]


@contextmanager
def forge_server() -> Iterator[Forge]:
    """Serve a forge on loopback while the context lasts."""
    forge = Forge()

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = self.headers.get("PRIVATE-TOKEN") or (self.headers.get("Authorization") or "").rpartition(" ")[2]
            try:
                with forge.lock:
                    status, content, headers = forge.answer(
                        self.command, unquote(parts.path), query, json.loads(raw) if raw else {}, token
                    )
            except Refusal as refusal:
                status, content, headers = refusal.status, refusal.content, refusal.headers
            body = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json; charset=utf-8",
                "Content-Length": str(len(body)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815 - the names are http.server's

    server = QuietServer(("127.0.0.1", 0), Answers)
    forge.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield forge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
