"""Output that breaks while work is under way: a full disk behind a redirection, a reader that has left.

What was agreed to is carried out to its end; a change of an account must not stop half way because nobody listens.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class _Lasting:
    """A stream whose first failure is kept, and whose text goes nowhere from then on."""

    def __init__(self, stream: TextIO, failures: list[OSError]) -> None:
        self._stream = stream
        self._failures = failures

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._failed(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _failed(self, error: OSError) -> None:
        self._failures.append(error)
        silence(self._stream)


def silence(stream: TextIO) -> None:
    """Lead a stream nowhere, with what it still holds: it would fail again at every flush, the interpreter's last one included."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextlib.contextmanager
def outlasted() -> Iterator[list[OSError]]:
    """Let nothing fail of stdout and stderr meanwhile; yields their failures."""
    failures: list[OSError] = []
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast("TextIO", _Lasting(stream, failures)) for stream in before)
    try:
        yield failures
    finally:
        sys.stdout, sys.stderr = before
