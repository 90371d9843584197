"""Forecasts of the rest of an apply or a read, at the target's call rates; and Ctrl-C as a request to stop."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from reconciler.apply import Event, Forecast, StepFinished
from reconciler.aws.client import Answer, ReadCalls
from reconciler.model.kinds import Service
from reconciler.model.kinds.ivs import IVS
from reconciler.plan.plan import TargetPlan
from reconciler.plan.steps import Call, Expected, call_of, calls_of, expected

FORECAST_INTERVAL = 1.0
"""Seconds between two forecasts, at least."""


def with_forecasts(
    plan: TargetPlan,
    on_event: Callable[[Event], None],
    pace: Callable[[str, str], float | None],
    clock: Callable[[], float],
) -> Callable[[Event], None]:
    """Return an event handler that calls ``on_event`` and adds forecasts. There are none unless all calls are rate-limited by the client."""
    left = calls_of(plan)
    if any(pace(*call) is None for call in left):
        return on_event
    began = clock()
    last = began - FORECAST_INTERVAL

    def forecast() -> None:
        nonlocal last
        now = clock()
        rest = expected(left, lambda service, operation: pace(service, operation) or 1.0)
        if rest is not None and now - last >= FORECAST_INTERVAL:
            last = now
            names: Counter[str] = Counter()
            for (_, operation), count in left.items():
                names[operation] += count
            on_event(Forecast(+names, rest, now - began))

    def handle(event: Event) -> None:
        on_event(event)
        if isinstance(event, StepFinished):
            left[call_of(event.address, event.outcome.operation)] -= 1
            forecast()

    forecast()
    return handle


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
