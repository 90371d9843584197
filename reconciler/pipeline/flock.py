"""The system's own file lock, waited for and not for ever: a process that was stopped, or waits for a disk, keeps it as long as it lives."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable

_LOOK_SECONDS = 0.1


def locked(
    handle: int,
    patience: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Lock an open file against everybody else; ``False`` when somebody else kept it for so many seconds. It is free again once the file is closed. Raises ``OSError``."""
    until = clock() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock() >= until:
                return False
            sleep(_LOOK_SECONDS)
        else:
            return True
