"""GitLab, through python-gitlab. Nothing of that client leaves this module.

Facts from GitLab's documentation: a note or a description has at most 1,000,000 characters; notes of the system are listed with the others and marked;
pages are told by a ``Link`` header; a limit is told by 429 with ``Retry-After`` or ``RateLimit-Reset``; a job's own token may not write notes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import requests
from gitlab import Gitlab, GitlabError
from gitlab.exceptions import GitlabAuthenticationError

from reconciler import __version__
from reconciler.forge.client import Access, Entry, Patience, Status, backoff, failure

T = TypeVar("T")

LIMIT = 1_000_000
LABEL = "ivs-reconciler"
_TIMEOUT_SECONDS = 30
_DESCRIPTION = 255
_FAILURES = (GitlabError, requests.RequestException)
_STATES = {"success": "success", "failure": "failed"}
_OWN_PACE: dict[str, Any] = {"obey_rate_limit": False}
"""The client would wait as long as it is told to, without end; here ``Patience`` does the waiting."""


class GitLab:
    """One project on a GitLab server."""

    def __init__(self, access: Access, patience: Patience) -> None:
        self._access = access
        self._patience = patience
        self._headers: dict[str, str] = {}
        session = requests.Session()
        session.hooks["response"].append(self._seen)
        self._client = Gitlab(
            access.api_url.rstrip("/").removesuffix("/api/v4"),
            private_token=access.token,
            timeout=_TIMEOUT_SECONDS,
            per_page=100,
            user_agent=f"ivs-reconciler/{__version__}",
            keep_base_url=True,
            session=session,
        )
        self.project: Any = self._client.projects.get(access.repository, lazy=True)
        self._author = 0

    def _seen(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self._headers = dict(response.headers)

    def comments(self, number: int) -> Notes:
        """Return the notes of a merge request."""
        return Notes(self, self.project.mergerequests.get(number, lazy=True))

    def issues(self) -> Issues:
        """Return the open issues that carry our label."""
        return Issues(self)

    def head_of(self, number: int) -> str:
        """Return the newest commit of a merge request."""
        return str(
            self.ask(f"read merge request {number}", lambda: self.project.mergerequests.get(number, **_OWN_PACE).sha)
        )

    def request_of(self, commit: str) -> int | None:
        """Return the newest merge request that brought in a commit."""
        at = self.project.commits.get(commit, lazy=True)
        found = self.ask(
            f"find the merge request of {commit[:12]}",
            lambda: [int(one["iid"]) for one in at.merge_requests(**_OWN_PACE)],
        )
        return max(found, default=None)

    def set_status(self, commit: str, status: Status) -> bool:
        """Set a commit status, unless it stands already."""
        description = (
            status.description
            if len(status.description) <= _DESCRIPTION
            else status.description[: _DESCRIPTION - 1] + "…"
        )
        at = self.project.commits.get(commit, lazy=True)
        known = self.ask(
            "read the commit status", lambda: list(at.statuses.list(name=status.context, iterator=True, **_OWN_PACE))
        )
        state = _STATES[status.state]
        if any(
            (one.name, one.status, one.description, one.target_url or "")
            == (status.context, state, description, status.url)
            for one in known
        ):
            return False
        content = {"state": state, "name": status.context, "description": description, "target_url": status.url}
        self.ask("set the commit status", lambda: at.statuses.create(content, **_OWN_PACE), once=True)
        return True

    def author(self) -> int:
        """Return the number of the user that our texts carry."""
        if not self._author:
            found: Any = self.ask("ask who the token is of", lambda: self._client.http_get("/user", **_OWN_PACE))
            self._author = int(found["id"])
        return self._author

    def ask(self, what: str, work: Callable[[], T], *, once: bool = False) -> T:
        """Do what needs an answer, waiting where GitLab asks for it. ``once`` marks what must not happen twice."""
        try:
            return self._patience.call(work, self._wait_once if once else self._wait, _FAILURES)
        except _FAILURES as error:
            raise self._failed(what, error) from None

    def _wait(self, error: Exception, attempt: int) -> float | None:
        status = _status(error)
        return backoff(attempt) if status == 0 or status >= 500 else self._wait_once(error, attempt)

    def _wait_once(self, error: Exception, attempt: int) -> float | None:
        del attempt
        return self._patience.asked_by(_status(error), self._headers, "")

    def _failed(self, what: str, error: Exception) -> Exception:
        status = _status(error)
        words = str(error.error_message) if isinstance(error, GitlabError) else type(error).__name__
        return failure(
            self._access, what, 429 if status == 403 and self._wait_once(error, 0) is not None else status, words
        )


class Notes:
    """The notes of one merge request."""

    closes = False
    limit = LIMIT

    def __init__(self, forge: GitLab, request: Any) -> None:
        self._forge = forge
        self._request = request

    def ours(self) -> Iterable[Entry]:
        """Return the notes that we wrote."""
        author = self._forge.author()
        found = self._forge.ask(
            "list the notes",
            lambda: list(self._request.notes.list(iterator=True, sort="asc", order_by="created_at", **_OWN_PACE)),
        )
        return [self._entry(one) for one in found if not one.system and one.author.get("id") == author]

    def create(self, title: str, body: str) -> Entry:
        """Write a new note."""
        del title
        return self._entry(
            self._forge.ask("write a note", lambda: self._request.notes.create({"body": body}, **_OWN_PACE), once=True)
        )

    def update(self, entry: Entry, title: str, body: str) -> Entry:
        """Write a note anew."""
        del title
        self._forge.ask("change a note", lambda: self._request.notes.update(entry.key, {"body": body}, **_OWN_PACE))
        return Entry(entry.key, "", body, entry.url)

    def retire(self, entry: Entry) -> None:
        """Delete a note."""
        self._forge.ask("delete a note", lambda: self._request.notes.delete(entry.key, **_OWN_PACE), once=True)

    def _entry(self, note: Any) -> Entry:
        return Entry(int(note.id), "", str(note.body or ""), f"note {note.id}")


class Issues:
    """The open issues of a project that carry our label."""

    closes = True
    limit = LIMIT

    def __init__(self, forge: GitLab) -> None:
        self._forge = forge

    def ours(self) -> Iterable[Entry]:
        """Return the issues that we opened."""
        author = self._forge.author()
        found = self._forge.ask(
            "list the issues",
            lambda: list(
                self._forge.project.issues.list(
                    state="opened", labels=LABEL, author_id=author, iterator=True, **_OWN_PACE
                )
            ),
        )
        return [self._entry(one) for one in found if one.author.get("id") == author]

    def create(self, title: str, body: str) -> Entry:
        """Open an issue."""
        content = {"title": title, "description": body, "labels": LABEL}
        return self._entry(
            self._forge.ask("open an issue", lambda: self._forge.project.issues.create(content, **_OWN_PACE), once=True)
        )

    def update(self, entry: Entry, title: str, body: str) -> Entry:
        """Write an issue anew."""
        self._change(entry, "change an issue", title=title, description=body)
        return Entry(entry.key, title, body, entry.url)

    def retire(self, entry: Entry) -> None:
        """Close an issue."""
        self._change(entry, "close an issue", state_event="close")

    def _change(self, entry: Entry, what: str, **content: str) -> None:
        self._forge.ask(what, lambda: self._forge.project.issues.update(entry.key, content, **_OWN_PACE))

    def _entry(self, issue: Any) -> Entry:
        return Entry(int(issue.iid), str(issue.title), str(issue.description or ""), str(issue.web_url))


def _status(error: Exception) -> int:
    if isinstance(error, GitlabAuthenticationError):
        return 401
    return error.response_code or 0 if isinstance(error, GitlabError) else 0
