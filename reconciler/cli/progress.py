"""What a person sees while long work runs: nothing unless stderr is a terminal."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TextIO

_WIDTH = 78


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
        self._calls: dict[str, int] = {}

    def __call__(self, target: str, calls: int) -> None:
        """Show that a target has come to so many calls."""
        with self._lock:
            self._calls[target] = calls
            words = ", ".join(f"{name}: {count:,} calls" for name, count in self._calls.items())
            self._stream.write(f"\r{('reading ' + words)[:_WIDTH]:<{_WIDTH}}")
            self._stream.flush()

    def clear(self) -> None:
        """Take the line away."""
        with self._lock:
            if self._calls:
                self._stream.write("\r" + " " * _WIDTH + "\r")
                self._stream.flush()
