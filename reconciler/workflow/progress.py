"""Forecasts of the rest of an apply or a read, at the target's call rates; the line that shows them; and Ctrl-C as a request to stop."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

from reconciler.aws.client import Answer, ReadCalls
from reconciler.model.kinds import Service
from reconciler.model.kinds.ivs import IVS
from reconciler.plan.steps import Call, Expected, expected
from reconciler.report.words import duration_words, plural
from reconciler.terminal import screen, width_of

_MIN_REMAINING_SECONDS = 5.0


@contextlib.contextmanager
def reading(stream: TextIO) -> Iterator[Meter | None]:
    """Show one line that counts the calls of each target while live state is read, and erase it at the end."""
    if not stream.isatty():
        yield None
        return
    line = Meter(stream)
    try:
        yield line
    finally:
        line.clear()


class Meter:
    """A line on a terminal that is overwritten at each update. Thread-safe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._texts: dict[str, str] = {}
        self._shown = 0

    def __call__(self, target: str, calls: int, left: Expected | None) -> None:
        """Show a target's number of calls, and the remaining time if it is known and long enough."""
        with self._lock, screen() as free:
            self._texts[target] = f"{target}: {plural(calls, 'call')}" + (
                f" (about {duration_words(left.seconds)} more, {left.calls:,} {left.operation})"
                if left is not None and left.seconds >= _MIN_REMAINING_SECONDS
                else ""
            )
            if not free:
                return
            # One column stays free: a full line would move the cursor to the next one on some terminals.
            width = (width_of(self._stream) or 80) - 1
            text = "reading " + ", ".join(self._texts.values())
            text = text if len(text) <= width else text[: width - 1] + "…"
            self._stream.write(f"\r{text:<{self._shown}}")
            self._stream.flush()
            self._shown = len(text)

    def clear(self) -> None:
        """Erase the line."""
        with self._lock:
            if self._texts:
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
