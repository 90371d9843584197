"""Files that several processes use: locked, with a bound on the wait, and replaced atomically."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from pathlib import Path

_POLL_SECONDS = 0.1


def locked(handle: int, patience: float) -> bool:
    """Lock an open file exclusively, until it is closed; ``False`` if another process kept it for ``patience`` seconds.

    A process that is stopped keeps the operating system's lock as long as it lives.
    Raises ``OSError``, for example on a file system without locks.
    """
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL_SECONDS)
        else:
            return True


def replace_file(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Write a file so that a reader finds the old content or the new one, which is on disk when this returns. Raises ``OSError``."""
    # No program that reads all files of one ending in this directory finds the new one before it is complete.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
