"""GitHub, through PyGithub, which is used in this module only.

Facts from GitHub's REST documentation: a body has at most 65,536 characters; a workflow's own token cannot read its user
(``GET /user`` answers 403 to an installation's token) and writes as ``github-actions[bot]``; comments come oldest first,
at most a hundred a page; ``x-ratelimit-remaining: 0`` marks a primary limit, ``retry-after`` a secondary one.
``merge_commit_sha`` is that of a trial merge until the request is merged; setting a label needs the role triage.
Another app's installation token cannot read its user either; the answer to what it writes names its author.
"""

from __future__ import annotations

from collections.abc import Iterable

import requests
from github import Auth, Github, GithubException
from github.Issue import Issue
from github.IssueComment import IssueComment
from github.IssueEvent import IssueEvent

from reconciler import __version__
from reconciler.errors import ForgeError, ForgeRefused
from reconciler.forge.client import Access, Caller, Failure, Post, Request, RetryBudget, SetLabel, Status
from reconciler.network import ca_bundle, why_unreachable
from reconciler.terminal import short_commit, shortened

LIMIT = 65_536
LABEL = "ivs-reconciler"
ACTIONS_BOT = "github-actions[bot]"
_TIMEOUT_SECONDS = 30
_MAX_DESCRIPTION = 140
_ERRORS = (GithubException, requests.RequestException, AssertionError)
"""What the client raises; an assertion if an answer leads to another host."""


class GitHub:
    """One repository on GitHub or a GitHub Enterprise server."""

    def __init__(self, access: Access, budget: RetryBudget) -> None:
        self.call = Caller(access, budget, _ERRORS, _failure_of)
        self._client = Github(
            auth=Auth.Token(access.token),
            base_url=access.api_url.rstrip("/"),
            timeout=_TIMEOUT_SECONDS,
            user_agent=f"ivs-reconciler/{__version__}",
            per_page=100,
            retry=None,
            seconds_between_requests=None,
            lazy=True,
            verify=ca_bundle() or True,
        )
        self.repository = self._client.get_repo(access.repository)
        self._login = access.author
        self.author_known = False

    def comments(self, number: int) -> Comments:
        """Return the comments of a pull request."""
        return Comments(self, self.repository.get_issue(number))

    def issues(self) -> Issues:
        """Return the open issues with our label."""
        return Issues(self)

    def head_of(self, number: int) -> str:
        """Return the newest commit of a pull request."""
        return self.call(f"read pull request {number}", lambda: self.repository.get_pull(number).head.sha)

    def requests_of(self, commit: str) -> list[int]:
        """Return the numbers of the pull requests that contain a commit, newest first."""
        found = self.call(
            f"find the pull requests of {short_commit(commit)}",
            lambda: [pull.number for pull in self.repository.get_commit(commit).get_pulls()],
        )
        return sorted(found, reverse=True)

    def request(self, number: int, prefix: str) -> Request:
        """Return a pull request, with its labels that begin with ``prefix`` in any case."""
        return self.call(f"read pull request {number} and its labels", lambda: self._read_request(number, prefix))

    def _read_request(self, number: int, prefix: str) -> Request:
        pull = self.repository.get_pull(number)
        names = [label.name for label in pull.labels if label.name.lower().startswith(prefix)]
        last: dict[str, IssueEvent] = {}
        if names:
            for event in self.repository.get_issue(number).get_events():
                if event.event == "labeled" and event.label:
                    last[event.label.name] = event
        labels = []
        for name in names:
            set_by = last[name].actor if name in last else None
            at = last[name].created_at if name in last else None
            labels.append(SetLabel(name, set_by.login if set_by else "", bool(set_by and set_by.type == "User"), at))
        # An open request has the commit of a trial merge there.
        merged_as = (pull.merge_commit_sha,) if pull.merged and pull.merge_commit_sha else ()
        author = pull.user.login if pull.user else ""
        return Request(number, author, pull.head.sha, merged_as, pull.merged_at, tuple(labels))

    def parents_of(self, commit: str) -> tuple[str, ...]:
        """Return the parents of a commit; empty if GitHub does not have it."""
        try:
            at = self.call(
                f"read commit {short_commit(commit)}",
                lambda: [one.sha for one in self.repository.get_commit(commit).parents],
            )
        except ForgeError as error:
            if error.status in (404, 422):
                return ()
            raise
        return tuple(at)

    def set_status(self, commit: str, status: Status) -> bool:
        """Set a commit status and return ``True``, or ``False`` if it is set already."""
        description = shortened(status.description, _MAX_DESCRIPTION)
        at = self.repository.get_commit(commit)
        known = self.call(
            "read the commit status", lambda: {one.context: one for one in at.get_combined_status().statuses}
        )
        if (one := known.get(status.context)) and (one.state, one.description, one.target_url or "") == (
            status.state,
            description,
            status.url,
        ):
            return False
        self.call(
            "set the commit status",
            lambda: at.create_status(
                status.state, target_url=status.url, description=description, context=status.context
            ),
            once=True,
        )
        return True

    def login(self) -> str:
        """Return the login of our posts: the token's user, or the user of a workflow's own token."""
        if not self._login:
            try:
                self._login = self.call("read the token's user", lambda: self._client.get_user().login)
            except ForgeRefused:
                self._login = ACTIONS_BOT
        return self._login

    def learn_author(self, login: str) -> None:
        """Keep the author of what was written: for the token of an app the login was only assumed."""
        if login != self._login:
            self._login, self.author_known = login, True


class Comments:
    """The comments of one pull request."""

    closes = False
    limit = LIMIT

    def __init__(self, forge: GitHub, issue: Issue) -> None:
        self._forge = forge
        self._issue = issue
        self._known: dict[int, IssueComment] = {}

    @property
    def author_known(self) -> bool:
        """Whether the author became known only from the answer to ``create``."""
        return self._forge.author_known

    def list_own(self) -> Iterable[Post]:
        """Return the comments of our account."""
        login = self._forge.login()
        found = self._forge.call(
            "list the comments",
            lambda: [one for one in self._issue.get_comments() if one.user and one.user.login == login],
        )
        return [self._post(one) for one in found]

    def create(self, title: str, body: str) -> Post:
        """Create a comment."""
        del title
        created = self._forge.call("create a comment", lambda: self._issue.create_comment(body), once=True)
        self._forge.learn_author(created.user.login)
        return self._post(created)

    def update(self, post: Post, title: str, body: str) -> Post:
        """Replace the text of a comment."""
        del title
        comment = self._known[post.key]
        self._forge.call("update a comment", lambda: comment.edit(body))
        return self._post(comment)

    def remove(self, post: Post) -> None:
        """Delete a comment."""
        self._forge.call("delete a comment", self._known[post.key].delete, once=True)

    def _post(self, comment: IssueComment) -> Post:
        self._known[comment.id] = comment
        return Post(comment.id, "", comment.body or "", comment.html_url)


class Issues:
    """The open issues of a repository with our label."""

    closes = True
    limit = LIMIT

    def __init__(self, forge: GitHub) -> None:
        self._forge = forge
        self._known: dict[int, Issue] = {}

    @property
    def author_known(self) -> bool:
        """Whether the author became known only from the answer to ``create``."""
        return self._forge.author_known

    def list_own(self) -> Iterable[Post]:
        """Return the issues of our account."""
        login, listed = self._forge.login(), self._forge.repository.get_issues
        # GitHub lists pull requests as well; only their URL shows it without a call for each.
        found = self._forge.call(
            "list the issues",
            lambda: [one for one in listed(state="open", labels=[LABEL]) if "/pull/" not in one.html_url],
        )
        return [self._post(one) for one in found if one.user and one.user.login == login]

    def create(self, title: str, body: str) -> Post:
        """Open an issue with our label, which GitHub creates if it is missing."""
        create = self._forge.repository.create_issue
        created = self._forge.call("open an issue", lambda: create(title, body=body, labels=[LABEL]), once=True)
        self._forge.learn_author(created.user.login)
        return self._post(created)

    def update(self, post: Post, title: str, body: str) -> Post:
        """Replace the title and text of an issue."""
        issue = self._known[post.key]
        self._forge.call("update an issue", lambda: issue.edit(title=title, body=body))
        return self._post(issue)

    def remove(self, post: Post) -> None:
        """Close an issue."""
        issue = self._known[post.key]
        self._forge.call("close an issue", lambda: issue.edit(state="closed"))

    def _post(self, issue: Issue) -> Post:
        self._known[issue.number] = issue
        return Post(issue.number, issue.title, issue.body or "", issue.html_url)


def _failure_of(error: Exception) -> Failure:
    if not isinstance(error, GithubException):
        return Failure(0, {}, why_unreachable(error), transient=isinstance(error, requests.RequestException))
    return Failure(error.status, error.headers or {}, _message_of(error), transient=error.status >= 500)


def _message_of(error: GithubException) -> str:
    """Return GitHub's message, and the fields that it rejects."""
    data = error.data if isinstance(error.data, dict) else {}
    message = str(data.get("message") or "")
    for one in data.get("errors") or ():
        if isinstance(one, dict):
            message += "; " + " ".join(
                str(one[key]) for key in ("resource", "field", "code", "message") if one.get(key)
            )
    return message
