"""The command line at a terminal, with a user who reads it and types."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.preloaded import Process

_SECONDS = 120
_OWN_TERMINAL = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
BACKGROUND = (
    "import subprocess, sys; sys.exit(subprocess.run([sys.executable, *sys.argv[1:]], process_group=0).returncode)"
)
"""Runs a command in the background of its terminal."""


class Screen:
    """What the terminal shows, and the keyboard."""

    def __init__(self, handle: int, process: subprocess.Popen[bytes]) -> None:
        self.text = ""
        self._handle = handle
        self._process = process

    def until(self, words: str, times: int = 1) -> None:
        """Wait until a text is shown so many times."""
        end = time.monotonic() + _SECONDS
        while self.text.count(words) < times:
            assert self._more(end), f"{words!r} did not come: {self.text}"

    def type(self, keys: str) -> None:
        os.write(self._handle, keys.encode())

    def end(self) -> int:
        """Return the exit code, with all that was written."""
        while self._more(time.monotonic() + _SECONDS):
            pass
        code = self._process.wait(_SECONDS)
        assert "Traceback" not in self.text, self.text
        return code

    def _more(self, end: float) -> bool:
        ready, _, _ = select.select([self._handle], [], [], max(0.0, end - time.monotonic()))
        try:
            read = os.read(self._handle, 65536) if ready else b""
        except OSError:  # Linux, once nobody holds the other side
            read = b""
        self.text += read.decode(errors="replace")
        return bool(read)


@contextmanager
def at_terminal(
    folder: Path, *words: str, env: Mapping[str, str], wrapped: str = "", stdout: int | None = None
) -> Iterator[Screen]:
    """Run ``ivs-reconciler`` at a terminal of its own; ``wrapped`` is a Python program that runs it, ``stdout`` is where its report goes instead."""
    ours, theirs = pty.openpty()
    options: dict[str, Any] = {
        "cwd": folder,
        # So wide that no sentence is wrapped.
        "env": {**os.environ, "TERM": "xterm", "COLUMNS": "500", **env},
        "stdin": theirs,
        "stdout": theirs if stdout is None else stdout,
        "stderr": theirs,
        "start_new_session": True,
    }
    process: subprocess.Popen[bytes]
    if wrapped:
        program = [sys.executable, "-c", f"{_OWN_TERMINAL}\n{wrapped}", "-m", "reconciler", *words]
        process = subprocess.Popen(program, **options)
    else:
        process = Process(words, before=_OWN_TERMINAL, **options)
    os.close(theirs)
    try:
        yield Screen(ours, process)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
