"""GitLab, through python-gitlab, which is used in this module only.

Facts from GitLab's documentation: a note or a description has at most 1,000,000 characters; system notes are listed with
the others, and marked; pages are in a ``Link`` header; 429 comes with ``Retry-After`` or ``RateLimit-Reset``; a job's own
token may not write notes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import requests
from gitlab import Gitlab, GitlabError
from gitlab.exceptions import GitlabAuthenticationError

from reconciler import __version__
from reconciler.errors import ForgeError
from reconciler.forge.client import Access, Caller, Failure, Post, Request, RetryBudget, SetLabel, Status
from reconciler.network import ca_bundle, why_unreachable
from reconciler.terminal import short_commit, shortened

LIMIT = 1_000_000
LABEL = "ivs-reconciler"
_TIMEOUT_SECONDS = 30
_MAX_DESCRIPTION = 255
_ERRORS = (GitlabError, requests.RequestException)
_STATES = {"success": "success", "failure": "failed"}
_BOT = re.compile(r"(project|group)_\d+_bot|service_account_")
"""Names of the users of access tokens and of service accounts."""

_NO_WAITING: dict[str, Any] = {"obey_rate_limit": False}
"""The client would wait for any time that GitLab asks for; ``Caller`` waits instead."""


class GitLab:
    """One project on a GitLab server."""

    def __init__(self, access: Access, budget: RetryBudget) -> None:
        self.call = Caller(access, budget, _ERRORS, self._failure_of)
        self._headers: dict[str, str] = {}
        session = requests.Session()
        session.hooks["response"].append(self._keep_headers)
        self._client = Gitlab(
            access.api_url.rstrip("/").removesuffix("/api/v4"),
            private_token=access.token,
            timeout=_TIMEOUT_SECONDS,
            per_page=100,
            user_agent=f"ivs-reconciler/{__version__}",
            keep_base_url=True,
            session=session,
            ssl_verify=ca_bundle() or True,
        )
        self.project: Any = self._client.projects.get(access.repository, lazy=True)
        self._user_id = 0

    def _keep_headers(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self._headers = dict(response.headers)

    def comments(self, number: int) -> Notes:
        """Return the notes of a merge request."""
        return Notes(self, self.project.mergerequests.get(number, lazy=True))

    def issues(self) -> Issues:
        """Return the open issues with our label."""
        return Issues(self)

    def head_of(self, number: int) -> str:
        """Return the newest commit of a merge request."""
        return str(
            self.call(f"read merge request {number}", lambda: self.project.mergerequests.get(number, **_NO_WAITING).sha)
        )

    def requests_of(self, commit: str) -> list[int]:
        """Return the numbers of the merge requests that contain a commit, newest first."""
        at = self.project.commits.get(commit, lazy=True)
        found = self.call(
            f"find the merge requests of {short_commit(commit)}",
            lambda: [int(one["iid"]) for one in at.merge_requests(**_NO_WAITING)],
        )
        return sorted(found, reverse=True)

    def request(self, number: int, prefix: str) -> Request:
        """Return a merge request, with its labels that begin with ``prefix`` in any case."""
        return self.call(f"read merge request {number} and its labels", lambda: self._read_request(number, prefix))

    def _read_request(self, number: int, prefix: str) -> Request:
        found = self.project.mergerequests.get(number, **_NO_WAITING)
        names = [name for name in found.labels if name.lower().startswith(prefix)]
        last: dict[str, Any] = {}
        for event in found.resourcelabelevents.list(iterator=True, **_NO_WAITING) if names else ():
            if event.action == "add" and event.label:
                last[event.label["name"]] = event
        labels = []
        for name in names:
            user = (last[name].user or {}) if name in last else {}
            by = str(user.get("username") or "")
            at = datetime.fromisoformat(last[name].created_at) if name in last else None
            labels.append(SetLabel(name, by, bool(by) and not _BOT.match(by), at))
        merged = found.state == "merged"
        # The commit of a merge, of a squash, or, merged by fast-forward, the head itself.
        commits = (found.merge_commit_sha, found.squash_commit_sha, found.sha) if merged else ()
        merged_at = datetime.fromisoformat(found.merged_at) if found.merged_at else None
        author = str((found.author or {}).get("username") or "")
        merged_as = tuple(filter(None, commits))
        return Request(number, author, str(found.sha), merged_as, merged_at, tuple(labels))

    def parents_of(self, commit: str) -> tuple[str, ...]:
        """Return the parents of a commit; empty if GitLab does not have it."""
        try:
            at = self.call(
                f"read commit {short_commit(commit)}", lambda: self.project.commits.get(commit, **_NO_WAITING)
            )
        except ForgeError as error:
            if error.status == 404:
                return ()
            raise
        return tuple(map(str, at.parent_ids))

    def set_status(self, commit: str, status: Status) -> bool:
        """Set a commit status and return ``True``, or ``False`` if it is set already."""
        description = shortened(status.description, _MAX_DESCRIPTION)
        at = self.project.commits.get(commit, lazy=True)
        known = self.call(
            "read the commit status", lambda: list(at.statuses.list(name=status.context, iterator=True, **_NO_WAITING))
        )
        state = _STATES[status.state]
        if any(
            (one.name, one.status, one.description, one.target_url or "")
            == (status.context, state, description, status.url)
            for one in known
        ):
            return False
        content = {"state": state, "name": status.context, "description": description, "target_url": status.url}
        self.call("set the commit status", lambda: at.statuses.create(content, **_NO_WAITING), once=True)
        return True

    def user_id(self) -> int:
        """Return the number of the token's user."""
        if not self._user_id:
            found: Any = self.call("read the token's user", lambda: self._client.http_get("/user", **_NO_WAITING))
            self._user_id = int(found["id"])
        return self._user_id

    def _failure_of(self, error: Exception) -> Failure:
        if isinstance(error, GitlabAuthenticationError):
            return Failure(401, {}, str(error.error_message), transient=False)
        status = (error.response_code or 0) if isinstance(error, GitlabError) else 0
        message = str(error.error_message) if isinstance(error, GitlabError) else why_unreachable(error)
        return Failure(status, self._headers, message, transient=status == 0 or status >= 500)


class Notes:
    """The notes of one merge request."""

    author_known = False  # every token may read its user
    closes = False
    limit = LIMIT

    def __init__(self, forge: GitLab, request: Any) -> None:
        self._forge = forge
        self._request = request

    def list_own(self) -> Iterable[Post]:
        """Return the notes of our account."""
        user_id = self._forge.user_id()
        found = self._forge.call(
            "list the notes",
            lambda: list(self._request.notes.list(iterator=True, sort="asc", order_by="created_at", **_NO_WAITING)),
        )
        return [self._post(one) for one in found if not one.system and one.author.get("id") == user_id]

    def create(self, title: str, body: str) -> Post:
        """Create a note."""
        del title
        return self._post(
            self._forge.call(
                "create a note", lambda: self._request.notes.create({"body": body}, **_NO_WAITING), once=True
            )
        )

    def update(self, post: Post, title: str, body: str) -> Post:
        """Replace the text of a note."""
        del title
        self._forge.call("update a note", lambda: self._request.notes.update(post.key, {"body": body}, **_NO_WAITING))
        return Post(post.key, "", body, post.url)

    def remove(self, post: Post) -> None:
        """Delete a note."""
        self._forge.call("delete a note", lambda: self._request.notes.delete(post.key, **_NO_WAITING), once=True)

    def _post(self, note: Any) -> Post:
        return Post(int(note.id), "", str(note.body or ""), f"note {note.id}")


class Issues:
    """The open issues of a project with our label."""

    author_known = False
    closes = True
    limit = LIMIT

    def __init__(self, forge: GitLab) -> None:
        self._forge = forge

    def list_own(self) -> Iterable[Post]:
        """Return the issues of our account."""
        user_id = self._forge.user_id()
        found = self._forge.call(
            "list the issues",
            lambda: list(
                self._forge.project.issues.list(
                    state="opened", labels=LABEL, author_id=user_id, iterator=True, **_NO_WAITING
                )
            ),
        )
        return [self._post(one) for one in found if one.author.get("id") == user_id]

    def create(self, title: str, body: str) -> Post:
        """Open an issue."""
        content = {"title": title, "description": body, "labels": LABEL}
        return self._post(
            self._forge.call(
                "open an issue", lambda: self._forge.project.issues.create(content, **_NO_WAITING), once=True
            )
        )

    def update(self, post: Post, title: str, body: str) -> Post:
        """Replace the title and text of an issue."""
        self._edit(post, "update an issue", title=title, description=body)
        return Post(post.key, title, body, post.url)

    def remove(self, post: Post) -> None:
        """Close an issue."""
        self._edit(post, "close an issue", state_event="close")

    def _edit(self, post: Post, what: str, **content: str) -> None:
        self._forge.call(what, lambda: self._forge.project.issues.update(post.key, content, **_NO_WAITING))

    def _post(self, issue: Any) -> Post:
        return Post(int(issue.iid), str(issue.title), str(issue.description or ""), str(issue.web_url))
