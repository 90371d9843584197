"""Texts of ours at a place of a forge: comments of one pull request, or issues of one repository.

A text is found again by a hidden marker on its first line, and only among what the forge says we wrote: anybody can write a marker.
There is one text for each marker; one that is as it should be is not written again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from urllib.parse import quote


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
