"""What is asked of a forge, whichever it is, and how its refusals are said.

Comes in: a place (provider, repository, number, token) and text. Raised are our own errors alone, without a token in any of them.

Texts of ours at a place of a forge: comments of one pull request, or issues of one repository.

A text is found again by a hidden marker on its first line, and only among what the forge says we wrote: anybody can write a marker.
There is one text for each marker; one that is as it should be is not written again.

Waiting as long as a forge asks, within reason: how long to wait is for the forge to say, how long is too long for us.

A call that was answered with "too many" was not carried out, so it can be repeated whatever it is.
A call that broke off may have been, so only one that may happen twice is repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeVar
from urllib.parse import quote, urlsplit

from reconciler.errors import ForgeError, ForgeRefused


@dataclass(frozen=True, slots=True)
class Entry:
    """One text that the forge holds, written by us. ``key`` is the forge's own number for it, growing with time."""

    key: int
    title: str
    body: str
    url: str


class Board(Protocol):
    """A place of a forge. Its calls raise ``ForgeError``, and ``ForgeRefused`` where writing is not allowed."""

    @property
    def closes(self) -> bool:
        """Whether a text that has nothing to say any more is closed, as an issue is; a comment stays and says so."""

    @property
    def limit(self) -> int:
        """The most that a text may have, in characters."""

    def ours(self) -> Iterable[Entry]:
        """Return the open texts that we wrote."""

    def create(self, title: str, body: str) -> Entry:
        """Write a new text."""

    def update(self, entry: Entry, title: str, body: str) -> Entry:
        """Write a text anew."""

    def retire(self, entry: Entry) -> None:
        """Take a text away: a comment is deleted, an issue is closed."""


class Placed(StrEnum):
    """What was done."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    CLOSED = "closed"
    NOTHING = "nothing to say"


def marker(stack: str, target: str) -> str:
    """Return the hidden first line by which a text is found again. Names are encoded so that none can end the comment or pose as another."""
    return f"<!-- ivs-reconciler stack={_encoded(stack)} target={_encoded(target)} -->"


def place(
    board: Board, mark: str, title: str, body: str, *, quiet: bool, always: bool = False
) -> tuple[Placed, Entry | None]:
    """See to it that the place holds this text once, under this marker, and return what had to be done.

    ``quiet`` says that the text reports nothing to look at: then an old one is replaced (and an issue closed), and a new one is written only with ``always``.
    """
    text = f"{mark}\n{body}"
    found = sorted(
        (entry for entry in board.ours() if entry.body.partition("\n")[0].strip() == mark), key=lambda entry: entry.key
    )
    for double in found[1:]:
        board.retire(double)
    if not found:
        if quiet and (board.closes or not always):
            return Placed.NOTHING, None
        return Placed.CREATED, board.create(title, text)
    kept = found[0]
    if not _same(kept.body, text) or (board.closes and kept.title != title):
        kept = board.update(kept, title, text)
    elif not (quiet and board.closes):
        return Placed.UNCHANGED, kept
    if quiet and board.closes:
        board.retire(kept)
        return Placed.CLOSED, kept
    return Placed.UPDATED, kept


def _same(one: str, other: str) -> bool:
    """Whether two texts are the same to a forge, which may write line ends its own way and drop white space at the end."""
    return one.replace("\r\n", "\n").strip() == other.strip()


def _encoded(text: str) -> str:
    return quote(text, safe="").replace("-", "%2D")


_LONGEST_WORDS = 300


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a repository of a forge. ``author`` is the login that our texts carry, where the token cannot tell."""

    provider: str
    api_url: str
    repository: str
    token: str
    author: str = ""

    def __repr__(self) -> str:
        return f"Access({self.provider}, {self.api_url}, {self.repository})"


@dataclass(frozen=True, slots=True)
class Status:
    """What a commit shows beside its name: ``state`` is ``success`` or ``failure``; one status for each ``context``."""

    state: str
    context: str
    description: str
    url: str


class Forge(Protocol):
    """One repository of a forge."""

    def comments(self, number: int) -> Board:
        """Return the comments of a pull or merge request."""

    def issues(self) -> Board:
        """Return the open issues that carry our label."""

    def head_of(self, number: int) -> str:
        """Return the newest commit of a pull or merge request."""

    def request_of(self, commit: str) -> int | None:
        """Return the number of the pull or merge request that brought in a commit, if it is known."""

    def set_status(self, commit: str, status: Status) -> bool:
        """Set a status, unless it stands already; returns whether it was set."""


def failure(access: Access, what: str, status: int, words: str) -> ForgeError:
    """Return a forge's refusal as our error: what was wanted, what the forge said, what to do."""
    said = _clean(words, access.token)
    name = {"github": "GitHub", "gitlab": "GitLab"}[access.provider]
    head = f"{name}: {what} in {access.repository}: "
    if status == 401:
        return ForgeError(
            f"{head}the token is not accepted ({said}); give one that is valid for {urlsplit(access.api_url).hostname}",
            status=status,
        )
    if status == 403:
        return ForgeRefused(
            f"{head}the token may not do that ({said}); a run for a fork never may, others need the permission to write",
            status=status,
        )
    if status == 404:
        return ForgeError(f"{head}not found, or the token may not see it; check repository and number", status=status)
    if status == 429:
        return ForgeError(
            f"{head}the forge asks to wait longer than is reasonable ({said}); repeat later", status=status
        )
    if status:
        return ForgeError(f"{head}refused with {status} ({said}); correct that, then repeat", status=status)
    return ForgeError(f"{head}no answer ({said}); check the address {access.api_url} and the network, then repeat")


def _clean(words: str, token: str) -> str:
    text = " ".join(word for word in words.split())
    text = "".join(char if char.isprintable() else "?" for char in text)
    if token:
        text = text.replace(token, "(token)")
    return text[:_LONGEST_WORDS] or "no reason given"


T = TypeVar("T")

LONGEST_WAIT = 90.0
"""Seconds that one run waits for a forge, all waits together."""

_TRIES = 4
_SECONDARY_WAIT = 60.0


@dataclass(slots=True)
class Patience:
    """How long this run is still willing to wait. ``sleep`` and ``now`` are the clock."""

    left: float = LONGEST_WAIT
    sleep: Callable[[float], None] = field(default=time.sleep)
    now: Callable[[], float] = field(default=time.time)

    def call(
        self, work: Callable[[], T], wait_of: Callable[[Exception, int], float | None], of: tuple[type[Exception], ...]
    ) -> T:
        """Do the work, again after each wait that ``wait_of`` names for its failure and try; ``None`` or too long a wait lets the failure through."""
        for attempt in range(_TRIES):
            try:
                return work()
            except of as error:
                wait = wait_of(error, attempt)
                if wait is None or wait > self.left or attempt == _TRIES - 1:
                    raise
                self.left -= wait
                self.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def asked_by(self, status: int, headers: Mapping[str, str], message: str) -> float | None:
        """Return the seconds that an answer asks us to wait, or ``None`` where it does not speak of limits."""
        if status not in (403, 429):
            return None
        lower = {name.lower(): value for name, value in headers.items()}
        after = lower.get("retry-after", "")
        if after.isascii() and after.isdigit():
            return float(after)
        secondary = "secondary rate limit" in message.lower() or "abuse" in message.lower()
        spent = lower.get("x-ratelimit-remaining") == "0"
        reset = lower.get("x-ratelimit-reset") or lower.get("ratelimit-reset") or ""
        if (spent or (status == 429 and not secondary)) and reset.isascii() and reset.isdigit():
            return max(0.0, float(reset) - self.now()) + 1
        return _SECONDARY_WAIT if secondary or status == 429 else None


def backoff(attempt: int) -> float:
    """Return the seconds to wait after a call that broke off."""
    return float(2**attempt)
