"""Putting what was found where people look: a comment for each target, or an issue, and a status on the commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.gitops.preview import Piece
from reconciler.publish.board import Board, Placed, marker, place
from reconciler.publish.forge import Forge, Status
from reconciler.report.markdown_fit import size

SUMMARY_LIMIT = 1_000_000
"""Bytes of a job summary; GitHub takes 1 MiB of one step."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Where to put it. ``number`` is the request, if it is known; ``head`` the commit that was looked at, if it is known.

    ``current`` says that findings about any other commit than the request's newest are of no use.
    """

    issue: bool = False
    always: bool = False
    status: bool = False
    number: int | None = None
    head: str = ""
    current: bool = False
    run_url: str = ""


def post(forge: Forge, stack: str, said: Sequence[Piece], wish: Wish, tell: Callable[[str], None]) -> None:
    """Put every piece in its place and tell what was done. Raises ``ForgeError``, and ``ForgeRefused`` where writing is not allowed."""
    board = forge.issues() if wish.issue else _comments(forge, wish, tell)
    if board is None:
        return
    for piece in said:
        if piece.unsure:
            tell(f"{piece.target}: left as it is, because not everything was looked at")
            continue
        mark = marker(stack, piece.target)
        done, entry = place(
            board, mark, piece.title, piece.whole(board.limit, size(mark) + 1), quiet=piece.quiet, always=wish.always
        )
        thing = "issue" if wish.issue else "comment"
        tell(
            f"{piece.target}: {thing} {done.value}{f': {entry.url}' if entry else ''}"
            if done is not Placed.NOTHING
            else f"{piece.target}: {done.value}"
        )
    if wish.status and wish.head:
        for piece in said:
            status = Status(
                "success" if piece.good else "failure",
                f"ivs-reconciler/{stack}/{piece.target}",
                piece.counts,
                wish.run_url,
            )
            tell(f"{piece.target}: status {'set' if forge.set_status(wish.head, status) else 'unchanged'}")


def summarise(said: Sequence[Piece], path: str) -> str:
    """Add the text to a job's summary, and return what is left to be printed: all of it where there is no summary."""
    text = "\n".join(
        piece.whole(SUMMARY_LIMIT // max(len(said), 1), 0).rstrip() + "\n" for piece in said if not piece.quiet
    )
    if not path:
        return text
    try:
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError:
        return text
    return ""


def _comments(forge: Forge, wish: Wish, tell: Callable[[str], None]) -> Board | None:
    number = wish.number
    if number is None:
        number = forge.request_of(wish.head)
        if number is None:
            tell(f"no pull or merge request brought in {wish.head}, so there is nothing to comment on")
            return None
    elif wish.current and wish.head and (newest := forge.head_of(number)) != wish.head:
        tell(
            f"number {number} is at {newest} by now, and this is about {wish.head}: left to the run for the newer commit"
        )
        return None
    return forge.comments(number)
