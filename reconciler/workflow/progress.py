"""Forecasts of the rest of an apply or a read, at the target's call rates; the line that shows them; and Ctrl-C as a request to stop."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TextIO

from reconciler.aws.client import Answer, ReadCalls
from reconciler.model.kinds import Service
from reconciler.model.kinds.ivs import IVS
from reconciler.plan.steps import Call, Expected, expected
from reconciler.report.words import duration_words, plural, tally_words
from reconciler.terminal import screen, shortened, width_of

_MIN_REMAINING_SECONDS = 5.0
_REDRAW_SECONDS = 0.05
_ENOUGH_ENDED = 0.1
"""The part of the targets after which the expected end is shown."""

_MIN_TEXT = 9
"""Columns that a target's text takes at least."""


def local_now() -> datetime:
    """Return the wall clock, with its zone."""
    return datetime.now(UTC).astimezone()


@contextlib.contextmanager
def reading(stream: TextIO, targets: int = 1) -> Iterator[Meter | None]:
    """Show one line on a terminal while the live state of so many targets is read, and erase it at the end."""
    if not stream.isatty():
        yield None
        return
    line = Meter(stream, targets)
    if targets > 1:
        line.begin()
    try:
        yield line
    finally:
        line.clear()


class Meter:
    """A line on a terminal that is overwritten at each update: the calls of each target at work, and of several targets how many are done, failed and left. Thread-safe."""

    def __init__(self, stream: TextIO, targets: int = 1, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._targets = targets
        self._clock = clock
        self._began = clock()
        self._done = self._failed = 0
        self._lock = threading.Lock()
        self._texts: dict[str, str] = {}
        self._shown = 0
        self._shown_at = self._began - _REDRAW_SECONDS

    def begin(self) -> None:
        """Show that all targets are left: the first answers may take a while."""
        with self._lock:
            self._draw()

    def __call__(self, target: str, calls: int, left: Expected | None, /) -> None:
        """Show a target's number of calls, and the remaining time if it is known and long enough."""
        with self._lock:
            self._texts[target] = f"{target}: {plural(calls, 'call')}" + (
                f" (about {duration_words(left.seconds)} more, {left.calls:,} {left.operation})"
                if left is not None and left.seconds >= _MIN_REMAINING_SECONDS
                else ""
            )
            self._draw()

    def finished(self, target: str, /, *, failed: bool) -> None:
        """Count a target that has ended."""
        with self._lock:
            self._failed += failed
            self._done += not failed
            if self._targets > 1:
                self._texts.pop(target, None)
                self._draw()

    def _draw(self) -> None:
        now = self._clock()
        with screen() as free:
            if not free or now - self._shown_at < _REDRAW_SECONDS:
                return
            # One column stays free: a full line would move the cursor to the next one on some terminals.
            width = (width_of(self._stream) or 80) - 1
            parts = list(islice(self._texts.values(), width // _MIN_TEXT))
            if self._targets > 1:
                ended = self._done + self._failed
                # The first to end say little: as many others are nearly done.
                known = ended >= self._targets * _ENOUGH_ENDED
                seconds = (now - self._began) / ended * (self._targets - ended) if known and ended else 0.0
                tally = tally_words(self._targets, self._done, self._failed, seconds, local_now())
                # The text of a target says "target: 5 calls", so it cannot be taken for a count.
                parts.insert(0, tally)
            text = shortened(f"reading {', '.join(parts)}", width)
            self._stream.write(f"\r{text:<{self._shown}}")
            self._stream.flush()
            self._shown, self._shown_at = len(text), now

    def clear(self) -> None:
        """Erase the line."""
        with self._lock:
            if self._shown:
                self._stream.write("\r" + " " * self._shown + "\r")
                self._stream.flush()


class ForecastCalls:
    """Passes calls on, and reports how many there were and how long the rest takes (``None`` if calls are not rate-limited by the client)."""

    def __init__(
        self,
        calls: ReadCalls,
        expected_calls: Counter[Call],
        pace: Callable[[str, str], float | None],
        progress: Callable[[int, Expected | None], None],
    ) -> None:
        self._calls = calls
        self._left = expected_calls
        self._pace = pace
        self._progress = progress
        self._count = 0
        self._lock = threading.Lock()

    def call(self, operation: str, parameters: Mapping[str, object], service: Service | None = None, /) -> Answer:
        """Pass one call on."""
        answer = self._calls.call(operation, parameters, service)
        call = (service or IVS).client, operation
        with self._lock:
            self._count += 1
            self._left[call] -= 1
            paced = self._pace(*call) is not None
            left = expected(self._left, lambda client, name: self._pace(client, name) or 1.0) if paced else None
            self._progress(self._count, left)
        return answer


@contextlib.contextmanager
def interruptible(message: str = "") -> Iterator[threading.Event]:
    """Yield an event that is set by the first Ctrl-C or SIGTERM, and write ``message`` to stderr then. The second one ends the process as usual."""
    stop = threading.Event()
    previous: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, frame: object) -> None:
        # Nothing else is safe here: the main thread may hold any lock at this moment.
        del frame
        stop.set()
        signal.signal(number, previous[number])
        if message:
            with contextlib.suppress(OSError):
                sys.stderr.write(message)

    for number in previous:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
