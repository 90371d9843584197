"""What all forges have in common: posts found again by a marker, commit statuses, retries, and errors in our own terms.

Posts are the comments of one pull request, or the issues of one repository. One is found again by a hidden marker on its
first line, and only among the posts of our own account, because anyone can write a marker. There is one post per marker,
and an unchanged one is not written again.
Errors never contain the token.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeVar
from urllib.parse import quote, urlsplit

from reconciler.errors import ForgeError, ForgeRefused
from reconciler.terminal import mask_urls

T = TypeVar("T")

MAX_WAIT_SECONDS = 90.0
"""The longest that one run waits for a forge, all waits together."""

_MARKER = re.compile(r"<!-- ivs-reconciler stack=(?P<stack>\S+) (?:target=(?P<one>\S+)|targets=(?P<several>\S+)) -->")
_ATTEMPTS = 4
_SECONDARY_WAIT_SECONDS = 60.0
_MAX_REASON = 300


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a repository of a forge. ``author`` is the login of our posts, for tokens that do not show it."""

    provider: str
    api_url: str
    repository: str
    token: str
    author: str = ""

    def __repr__(self) -> str:
        return f"Access({self.provider}, {mask_urls(self.api_url)}, {self.repository})"


@dataclass(frozen=True, slots=True)
class Post:
    """A post of ours. ``key`` is the forge's number for it, which grows with time."""

    key: int
    title: str
    body: str
    url: str


class Posts(Protocol):
    """The comments of one pull request, or the issues of one repository.

    Its calls raise ``ForgeError``, and ``ForgeRefused`` if the token may not write.
    """

    @property
    def author_known(self) -> bool:
        """Whether the author of our posts became known only from the answer to ``create``, so that ``list_own`` now finds others."""

    @property
    def closes(self) -> bool:
        """Whether a post with nothing to report is closed, as an issue is. A comment stays, and says so."""

    @property
    def limit(self) -> int:
        """The maximum length of a body, in characters."""

    def list_own(self) -> Iterable[Post]:
        """Return the open posts of our account."""

    def create(self, title: str, body: str) -> Post:
        """Create a post."""

    def update(self, post: Post, title: str, body: str) -> Post:
        """Replace the text of a post."""

    def remove(self, post: Post) -> None:
        """Delete a comment, or close an issue."""


@dataclass(frozen=True, slots=True)
class Status:
    """A commit status. ``state`` is ``success`` or ``failure``; there is one status per ``context``."""

    state: str
    context: str
    description: str
    url: str


@dataclass(frozen=True, slots=True)
class SetLabel:
    """A label that a request has now; who set it last, and when. ``by_person`` is false for a bot, and if that is not known."""

    name: str
    by: str
    by_person: bool
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Request:
    """A pull or merge request. ``merged_as`` are the commits that it became, none if it is not merged."""

    number: int
    author: str
    head: str
    merged_as: tuple[str, ...]
    merged_at: datetime | None
    labels: tuple[SetLabel, ...]


class Forge(Protocol):
    """One repository of a forge."""

    def comments(self, number: int) -> Posts:
        """Return the comments of a pull or merge request."""

    def issues(self) -> Posts:
        """Return the open issues with our label."""

    def head_of(self, number: int) -> str:
        """Return the newest commit of a pull or merge request."""

    def requests_of(self, commit: str) -> list[int]:
        """Return the numbers of the pull or merge requests that contain a commit, newest first."""

    def request(self, number: int, prefix: str) -> Request:
        """Return a pull or merge request, with its labels that begin with ``prefix`` in any case."""

    def parents_of(self, commit: str) -> tuple[str, ...]:
        """Return the parents of a commit; empty if the forge does not have it."""

    def set_status(self, commit: str, status: Status) -> bool:
        """Set a commit status and return ``True``, or ``False`` if it is set already."""


class Upserted(StrEnum):
    """What ``upsert`` did."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    CLOSED = "closed"
    NOTHING = "nothing to report"


def marker(stack: str, *targets: str) -> str:
    """Return the hidden first line of a post. Names are encoded so that none can end the comment or pose as another.

    One target is named; of several the names are hashed, so that those of a thousand leave space for the text.
    """
    if len(targets) == 1:
        return f"<!-- ivs-reconciler stack={_encoded(stack)} target={_encoded(targets[0])} -->"
    return f"<!-- ivs-reconciler stack={_encoded(stack)} targets={','.join(sorted(map(target_mark, targets)))} -->"


def targets_in(mark: str, stack: str) -> frozenset[str]:
    """Return the ``target_mark`` of each target that a post of a stack is about; none for any other text."""
    found = _MARKER.fullmatch(mark)
    if found is None or found["stack"] != _encoded(stack):
        return frozenset()
    return frozenset((found["several"] or "").split(",")) if found["several"] else frozenset({_hashed(found["one"])})


def target_mark(name: str) -> str:
    """Return the text that identifies a target among several in a marker."""
    return _hashed(_encoded(name))


def _hashed(encoded: str) -> str:
    return hashlib.sha256(encoded.encode()).hexdigest()[:8]


def _encoded(text: str) -> str:
    return quote(text, safe="").replace("-", "%2D")


def upsert(
    posts: Posts,
    mark: str,
    title: str,
    body: str,
    *,
    quiet: bool,
    always: bool = False,
    outdated: Callable[[str], bool] = lambda _: False,
) -> tuple[Upserted, Post | None]:
    """Create or update the one post with this marker, and return what was done.

    ``quiet`` says that the text has nothing to report: an existing post is updated (an issue is closed), and a new one
    is created only with ``always``.
    ``outdated`` returns from a marker whether this post replaces the one that has it: one of them is updated if none has this marker, the others are removed.
    """
    text = f"{mark}\n{body}"
    found = _marked(posts, mark, outdated)
    if not found:
        if quiet and (posts.closes or not always):
            return Upserted.NOTHING, None
        created = posts.create(title, text)
        found = _marked(posts, mark, outdated) if posts.author_known else []
        if len(found) < 2:
            return Upserted.CREATED, created
    done, post = _replace(posts, found[0], title, text, quiet=quiet)
    for other in found[1:]:
        posts.remove(other)
    return done, post


def _marked(posts: Posts, mark: str, outdated: Callable[[str], bool]) -> list[Post]:
    """Return our posts with this marker, oldest first, and then the outdated ones."""
    own = [(post.body.partition("\n")[0].strip(), post) for post in posts.list_own()]
    found = [(first != mark, post.key, post) for first, post in own if first == mark or outdated(first)]
    return [post for _, _, post in sorted(found, key=lambda one: one[:2])]


def _replace(posts: Posts, post: Post, title: str, text: str, *, quiet: bool) -> tuple[Upserted, Post]:
    if not _is_same_text(post.body, text) or (posts.closes and post.title != title):
        post = posts.update(post, title, text)
    elif not (quiet and posts.closes):
        return Upserted.UNCHANGED, post
    if quiet and posts.closes:
        posts.remove(post)
        return Upserted.CLOSED, post
    return Upserted.UPDATED, post


def _is_same_text(one: str, other: str) -> bool:
    # A forge may change line ends, and drop white space at the end.
    return one.replace("\r\n", "\n").strip() == other.strip()


@dataclass(slots=True)
class RetryBudget:
    """How long this run may still wait for a forge, in seconds. ``sleep`` and ``now`` are the clock."""

    left: float = MAX_WAIT_SECONDS
    sleep: Callable[[float], None] = field(default=time.sleep)
    now: Callable[[], float] = field(default=time.time)


class Failure(NamedTuple):
    """A failed call. ``status`` is ``0`` without an answer; ``transient`` says that an idempotent call may be repeated."""

    status: int
    headers: Mapping[str, str]
    message: str
    transient: bool


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls a forge's client, waiting as long as the forge asks and the budget allows.

    ``errors`` are the exceptions of the client, and ``failure_of`` reads one.
    """

    access: Access
    budget: RetryBudget
    errors: tuple[type[Exception], ...]
    failure_of: Callable[[Exception], Failure]

    def __call__(self, what: str, call: Callable[[], T], *, once: bool = False) -> T:
        """Return what ``call`` returns; ``what`` names it in errors. Raises ``ForgeError`` or ``ForgeRefused``.

        A rejected call was not carried out, so any call is repeated. One that broke off may have been, so it is
        repeated unless ``once`` is set.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return call()
            except self.errors as error:
                failure = self.failure_of(error)
                wait = requested = self._requested_wait(failure)
                if wait is None and failure.transient and not once:
                    wait = 2.0 ** (attempt - 1)
                if wait is None or wait > self.budget.left or attempt == _ATTEMPTS:
                    status = failure.status if requested is None else 429
                    raise forge_error(self.access, what, status, failure.message) from None
            self.budget.left -= wait
            self.budget.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _requested_wait(self, failure: Failure) -> float | None:
        """Return the seconds that an answer asks to wait, or ``None`` if it is not about limits."""
        if failure.status not in (403, 429):
            return None
        headers = {name.lower(): value for name, value in failure.headers.items()}
        after = headers.get("retry-after", "")
        if after.isascii() and after.isdigit():
            return float(after)
        is_secondary = "secondary rate limit" in failure.message.lower() or "abuse" in failure.message.lower()
        is_spent = headers.get("x-ratelimit-remaining") == "0"
        reset = headers.get("x-ratelimit-reset") or headers.get("ratelimit-reset") or ""
        if (is_spent or (failure.status == 429 and not is_secondary)) and reset.isascii() and reset.isdigit():
            return max(0.0, float(reset) - self.budget.now()) + 1
        return _SECONDARY_WAIT_SECONDS if is_secondary or failure.status == 429 else None


def forge_error(access: Access, what: str, status: int, reason: str) -> ForgeError:
    """Return the error for a failed call: what was called, what the forge answered, and what to do."""
    reason = _printable(reason, access.token)
    name = {"github": "GitHub", "gitlab": "GitLab"}[access.provider]
    head = f"{name}: {what} in {access.repository}: "
    match status:
        case 0:
            return ForgeError(
                f"{head}no answer ({reason}); check the network and the API URL {mask_urls(access.api_url)}"
            )
        case 401:
            host = urlsplit(access.api_url).hostname
            return ForgeError(f"{head}token rejected ({reason}); use a token that is valid for {host}", status=status)
        case 403:
            return ForgeRefused(
                f"{head}permission denied ({reason}); runs for forks cannot write, other tokens need write permission",
                status=status,
            )
        case 404:
            return ForgeError(
                f"{head}not found or not visible to the token; check repository and number", status=status
            )
        case 429:
            return ForgeError(
                f"{head}rate limited for longer than the maximum wait ({reason}); retry later", status=status
            )
        case _:
            return ForgeError(f"{head}failed with status {status} ({reason})", status=status)


def _printable(text: str, token: str) -> str:
    text = "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))
    if token:
        text = text.replace(token, "(token)")
    return text[:_MAX_REASON] or "no reason given"
