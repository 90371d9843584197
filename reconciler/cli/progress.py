"""What a person sees while long work runs: nothing unless stderr is a terminal."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from reconciler.report.words import duration_words

if TYPE_CHECKING:
    from reconciler.plan.estimate import Expected

_WIDTH = 78
_WORTH_SAYING_SECONDS = 5.0


@contextlib.contextmanager
def reading(stream: TextIO) -> Iterator[Progress | None]:
    """Show one line that counts the calls of each target while live state is read, and take it away at the end."""
    if not stream.isatty():
        yield None
        return
    line = Progress(stream)
    try:
        yield line
    finally:
        line.clear()


class Progress:
    """A line on a terminal that is written over and over; safe to call from several threads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._said: dict[str, str] = {}

    def __call__(self, target: str, calls: int, left: Expected | None) -> None:
        """Show that a target has come to so many calls, and how long the rest takes where that is known and worth saying."""
        from reconciler.terminal import screen  # most runs draw nothing

        with self._lock, screen() as free:
            self._said[target] = f"{target}: {calls:,} calls" + (
                f" (about {duration_words(left.seconds)} more, {left.calls:,} {left.operation})"
                if left is not None and left.seconds >= _WORTH_SAYING_SECONDS
                else ""
            )
            if not free:
                return
            words = ", ".join(self._said.values())
            self._stream.write(f"\r{('reading ' + words)[:_WIDTH]:<{_WIDTH}}")
            self._stream.flush()

    def clear(self) -> None:
        """Take the line away."""
        with self._lock:
            if self._said:
                self._stream.write("\r" + " " * _WIDTH + "\r")
                self._stream.flush()
