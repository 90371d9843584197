"""Time as an argument: the real clock, and one that moves only when told to.

Everything in the sandbox that depends on time (a recording configuration becoming ACTIVE, a token
bucket refilling, a stream ending) asks a `Clock`, so a test with a `VirtualClock` never waits.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What the sandbox needs to know about time."""

    def now(self) -> float:
        """Seconds since the epoch; stored in the database, so comparable between processes."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go backwards; for token buckets."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait; a virtual clock moves on instead."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Wall-clock seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return the machine's monotonic seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block the calling thread."""
        time.sleep(seconds)


class VirtualClock:
    """A clock that stands still until `advance` (or a `sleep`) moves it."""

    def __init__(self, start: float = 1_767_225_600.0) -> None:
        """Start at a fixed instant, so that runs repeat (the default is 2026-01-01T00:00:00Z)."""
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the instant the clock stands at."""
        return self._now

    def monotonic(self) -> float:
        """Return that instant: nothing else moves this clock."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Move on by the time that would have been waited."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move on; going back would undo due-times already acted upon."""
        if not 0 <= seconds < math.inf:
            raise ValueError("a clock is advanced by a number of seconds, and not by a negative one")
        with self._lock:
            self._now += seconds
