"""Two applies in one process whose calls are let through one at a time, in an order drawn at random, on a clock that jumps when all are asleep.

Every call and every sleep of either apply stops at a ``Turnstile``. Once nothing new arrives for a moment, and no thread is at work, it lets one through:
a waiting call drawn at random, or, when all that is left are sleepers, the one that wakes first.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from reconciler.sandbox import VirtualClock

_QUIET = 0.0015
"""Seconds without a new arrival after which nobody is taken to be on the way."""


def others_work() -> bool:
    """Return whether another thread of this process runs, or waits for a processor or a disk; where a system does not tell, none does."""
    own = str(threading.get_native_id())
    for path in Path("/proc/self/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # a thread that has ended
            # The state follows the name in parentheses (proc(5)).
            if path.parent.name != own and path.read_text(encoding="utf-8").rpartition(") ")[2][0] in "RD":
                return True
    return False


@dataclass(eq=False)
class _Waiting:
    who: str
    until: float | None
    go: threading.Event = field(default_factory=threading.Event)


class Turnstile:
    """Lets one call through at a time. ``pace`` gives each apply a weight: how often it is drawn."""

    def __init__(self, rng: random.Random, clock: VirtualClock, pace: Mapping[str, float]) -> None:
        self._rng = rng
        self._clock = clock
        self._pace = pace
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._arrivals = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def before(self, who: str) -> Callable[[str, Mapping[str, object]], None]:
        """Return what each call of an apply does before it leaves."""
        return lambda _operation, _parameters: self._stop(who, None)

    def sleep(self, who: str) -> Callable[[float], None]:
        """Return the sleep of an apply."""
        return lambda seconds: self._stop(who, self._clock.now() + seconds)

    def _stop(self, who: str, until: float | None) -> None:
        waiting = _Waiting(who, until)
        with self._lock:
            self._waiting.append(waiting)
            self._arrivals += 1
        assert waiting.go.wait(120), "nobody let this call through"

    def _run(self) -> None:
        while not self._over.is_set():
            seen = self._arrivals
            time.sleep(_QUIET)
            if others_work():
                continue
            with self._lock:
                if self._arrivals != seen or not self._waiting:
                    continue
                chosen = self._chosen()
                self._waiting.remove(chosen)
            if chosen.until is not None and chosen.until > self._clock.now():
                self._clock.advance(chosen.until - self._clock.now())
            chosen.go.set()

    def _chosen(self) -> _Waiting:
        now = self._clock.now()
        ready = [waiting for waiting in self._waiting if waiting.until is None or waiting.until <= now]
        if not ready:
            return min(self._waiting, key=lambda waiting: waiting.until or 0.0)
        return self._rng.choices(ready, [self._pace[waiting.who] for waiting in ready])[0]
