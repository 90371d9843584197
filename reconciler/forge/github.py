"""GitHub, through PyGithub. Nothing of that client leaves this module.

Facts from GitHub's REST documentation: a comment's or issue's body has at most 65,536 characters; a run's own token cannot ask who it is
(``GET /user`` is answered with 403 for an installation's token) and writes as ``github-actions[bot]``; comments come oldest first, a hundred a page at most;
a primary limit is told by ``x-ratelimit-remaining: 0``, a secondary one by ``retry-after``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import requests
from github import Auth, Github, GithubException
from github.Issue import Issue
from github.IssueComment import IssueComment

from reconciler import __version__
from reconciler.forge.client import Access, Entry, Patience, Status, backoff, failure

T = TypeVar("T")

LIMIT = 65_536
LABEL = "ivs-reconciler"
ACTIONS_BOT = "github-actions[bot]"
_TIMEOUT_SECONDS = 30
_DESCRIPTION = 140
_FAILURES = (GithubException, requests.RequestException, AssertionError)
"""What the client raises; it asserts where an answer leads to another host."""


class GitHub:
    """One repository on GitHub or a GitHub Enterprise server."""

    def __init__(self, access: Access, patience: Patience) -> None:
        self._access = access
        self._patience = patience
        self._client = Github(
            auth=Auth.Token(access.token),
            base_url=access.api_url.rstrip("/"),
            timeout=_TIMEOUT_SECONDS,
            user_agent=f"ivs-reconciler/{__version__}",
            per_page=100,
            retry=None,
            seconds_between_requests=None,
            lazy=True,
        )
        self._repository = self._client.get_repo(access.repository)
        self._author = access.author

    def comments(self, number: int) -> Comments:
        """Return the comments of a pull request."""
        return Comments(self, self._repository.get_issue(number))

    def issues(self) -> Issues:
        """Return the open issues that carry our label."""
        return Issues(self)

    def head_of(self, number: int) -> str:
        """Return the newest commit of a pull request."""
        return self.ask(f"read pull request {number}", lambda: self._repository.get_pull(number).head.sha)

    def request_of(self, commit: str) -> int | None:
        """Return the newest pull request that brought in a commit."""
        found = self.ask(
            f"find the pull request of {commit[:12]}",
            lambda: [pull.number for pull in self._repository.get_commit(commit).get_pulls()],
        )
        return max(found, default=None)

    def set_status(self, commit: str, status: Status) -> bool:
        """Set a commit status, unless it stands already."""
        description = _short(status.description, _DESCRIPTION)
        at = self._repository.get_commit(commit)
        known = self.ask(
            "read the commit status", lambda: {one.context: one for one in at.get_combined_status().statuses}
        )
        if (one := known.get(status.context)) and (one.state, one.description, one.target_url or "") == (
            status.state,
            description,
            status.url,
        ):
            return False
        self.ask(
            "set the commit status",
            lambda: at.create_status(
                status.state, target_url=status.url, description=description, context=status.context
            ),
            once=True,
        )
        return True

    def author(self) -> str:
        """Return the login that our texts carry: what the token says, or what a run's own token writes as."""
        if not self._author:
            try:
                self._author = self._patience.call(lambda: self._client.get_user().login, self._wait, _FAILURES)
            except GithubException as error:
                if error.status != 403:
                    raise self._failed("ask who the token is of", error) from None
                self._author = ACTIONS_BOT
            except (requests.RequestException, AssertionError) as error:
                raise self._failed("ask who the token is of", error) from None
        return self._author

    def open_issues(self) -> list[Issue]:
        """Return the open issues with our label. GitHub lists pull requests among them; their address tells, without another call for each."""
        listed = self._repository.get_issues
        return self.ask(
            "list the issues",
            lambda: [one for one in listed(state="open", labels=[LABEL]) if "/pull/" not in one.html_url],
        )

    def open_issue(self, title: str, body: str) -> Issue:
        """Open an issue with our label; GitHub makes a label that is not there yet."""
        return self.ask(
            "open an issue", lambda: self._repository.create_issue(title, body=body, labels=[LABEL]), once=True
        )

    def ask(self, what: str, work: Callable[[], T], *, once: bool = False) -> T:
        """Do what needs an answer, waiting where GitHub asks for it. ``once`` marks what must not happen twice."""
        try:
            return self._patience.call(work, self._wait_once if once else self._wait, _FAILURES)
        except _FAILURES as error:
            raise self._failed(what, error) from None

    def _wait(self, error: Exception, attempt: int) -> float | None:
        if not isinstance(error, GithubException):
            return backoff(attempt) if isinstance(error, requests.RequestException) else None
        return backoff(attempt) if error.status >= 500 else self._wait_once(error, attempt)

    def _wait_once(self, error: Exception, attempt: int) -> float | None:
        del attempt
        return (
            self._patience.asked_by(error.status, error.headers or {}, _words(error))
            if isinstance(error, GithubException)
            else None
        )

    def _failed(self, what: str, error: Exception) -> Exception:
        if isinstance(error, GithubException):
            limited = error.status in (403, 429) and self._wait_once(error, 0) is not None
            return failure(self._access, what, 429 if limited else error.status, _words(error))
        return failure(self._access, what, 0, type(error).__name__)


class Comments:
    """The comments of one pull request."""

    closes = False
    limit = LIMIT

    def __init__(self, forge: GitHub, issue: Issue) -> None:
        self._forge = forge
        self._issue = issue
        self._known: dict[int, IssueComment] = {}

    def ours(self) -> Iterable[Entry]:
        """Return the comments that we wrote."""
        author = self._forge.author()
        found = self._forge.ask(
            "list the comments",
            lambda: [one for one in self._issue.get_comments() if one.user and one.user.login == author],
        )
        return [self._entry(one) for one in found]

    def create(self, title: str, body: str) -> Entry:
        """Write a new comment."""
        del title
        return self._entry(self._forge.ask("write a comment", lambda: self._issue.create_comment(body), once=True))

    def update(self, entry: Entry, title: str, body: str) -> Entry:
        """Write a comment anew."""
        del title
        comment = self._known[entry.key]
        self._forge.ask("change a comment", lambda: comment.edit(body))
        return self._entry(comment)

    def retire(self, entry: Entry) -> None:
        """Delete a comment."""
        self._forge.ask("delete a comment", self._known[entry.key].delete, once=True)

    def _entry(self, comment: IssueComment) -> Entry:
        self._known[comment.id] = comment
        return Entry(comment.id, "", comment.body or "", comment.html_url)


class Issues:
    """The open issues of a repository that carry our label."""

    closes = True
    limit = LIMIT

    def __init__(self, forge: GitHub) -> None:
        self._forge = forge
        self._known: dict[int, Issue] = {}

    def ours(self) -> Iterable[Entry]:
        """Return the issues that we opened."""
        author = self._forge.author()
        return [self._entry(one) for one in self._forge.open_issues() if one.user and one.user.login == author]

    def create(self, title: str, body: str) -> Entry:
        """Open an issue."""
        return self._entry(self._forge.open_issue(title, body))

    def update(self, entry: Entry, title: str, body: str) -> Entry:
        """Write an issue anew."""
        issue = self._known[entry.key]
        self._forge.ask("change an issue", lambda: issue.edit(title=title, body=body))
        return self._entry(issue)

    def retire(self, entry: Entry) -> None:
        """Close an issue."""
        issue = self._known[entry.key]
        self._forge.ask("close an issue", lambda: issue.edit(state="closed"))

    def _entry(self, issue: Issue) -> Entry:
        self._known[issue.number] = issue
        return Entry(issue.number, issue.title, issue.body or "", issue.html_url)


def _words(error: GithubException) -> str:
    """Return what GitHub said, with the fields it found fault with."""
    data = error.data if isinstance(error.data, dict) else {}
    words = str(data.get("message") or "")
    for one in data.get("errors") or ():
        if isinstance(one, dict):
            words += "; " + " ".join(str(one[key]) for key in ("resource", "field", "code", "message") if one.get(key))
    return words


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
