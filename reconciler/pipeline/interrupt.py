"""The wish to stop, as a signal brings it: the first lets calls in flight finish, the second ends the process as usual."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def stoppable(said: str = "") -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop, and say so on stderr where there is something to say."""
    stop = threading.Event()
    previous: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, frame: object) -> None:
        # Nothing else may be done here: the main thread may be inside any lock at this moment.
        del frame
        stop.set()
        signal.signal(number, previous[number])
        if said:
            with contextlib.suppress(OSError):
                sys.stderr.write(said)

    for number in previous:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
