"""Says while work runs what is left of it and how long that takes at the present pace: of an apply, and of reading an account.

The wish to stop, as a signal brings it: the first lets calls in flight finish, the second ends the process as usual.
"""

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
"""The least time between two forecasts."""


def with_forecasts(
    plan: TargetPlan,
    on_event: Callable[[Event], None],
    pace: Callable[[str, str], float | None],
    clock: Callable[[], float],
) -> Callable[[Event], None]:
    """Return what takes the events of an apply, passes them on, and adds a forecast now and then; none where no pace is kept."""
    left = calls_of(plan)
    if any(pace(*call) is None for call in left):
        return on_event
    began = clock()
    told = began - FORECAST_INTERVAL

    def forecast() -> None:
        nonlocal told
        now = clock()
        coming = expected(left, lambda service, operation: pace(service, operation) or 1.0)
        if coming is not None and now - told >= FORECAST_INTERVAL:
            told = now
            names: Counter[str] = Counter()
            for (_, operation), count in left.items():
                names[operation] += count
            on_event(Forecast(+names, coming, now - began))

    def event(one: Event) -> None:
        on_event(one)
        if isinstance(one, StepFinished):
            left[call_of(one.address, one.outcome.operation)] -= 1
            forecast()

    forecast()
    return event


class ForecastCalls:
    """Passes calls on and tells how many there were and how long those take that are still to come, or ``None`` where no pace is kept."""

    def __init__(
        self,
        calls: ReadCalls,
        coming: Counter[Call],
        pace: Callable[[str, str], float | None],
        progress: Callable[[int, Expected | None], None],
    ) -> None:
        self._calls = calls
        self._coming = coming
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
            self._coming[call] -= 1
            paced = self._pace(*call) is not None
            left = expected(self._coming, lambda client, name: self._pace(client, name) or 1.0) if paced else None
            self._progress(self._count, left)
        return answer


@contextlib.contextmanager
def interruptible(said: str = "") -> Iterator[threading.Event]:
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
