"""The operating system's file lock, waited for with a bound: a process that is stopped keeps it as long as it lives."""

from __future__ import annotations

import fcntl
import time

_POLL_SECONDS = 0.1


def locked(handle: int, patience: float) -> bool:
    """Lock an open file exclusively, until it is closed; ``False`` if another process kept it for ``patience`` seconds.

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
