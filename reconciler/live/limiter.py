"""Keeps calls to the published rates, so that AWS never has to refuse one.

Each operation has its own bucket at AWS, so each has its own pace here.
Calls of one operation are spaced evenly, a hair below the published rate, with no burst.
AWS counts for each account and region, so one pacer serves every worker and every target that means the same; ``Pacers`` sees to that.

When AWS refuses all the same, the pace gives way at once and creeps back with time.
A rare refusal is jitter on the way, and a small step down is enough.
When a good part of the calls is refused, somebody else spends the same rate, and the steps are larger, so that their calls get through too.
Clock and sleep come from outside.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reconciler.model.rates import RATES, pace_of

_GIVE_WAY = 0.97
"""What is left of the pace after a step down."""

_GIVE_WAY_MOST = 0.8
"""What is left after the largest step."""

_GIVE_WAY_SECONDS = 1.0
"""Refusals within this time count as one."""

_RECENT = 12
"""How many calls the share of refused ones looks back on."""

_JITTER = 0.1
"""A share of refused calls up to this is taken for jitter."""

_STEEPNESS = 1.5
"""How much larger a step grows with the share of refused calls beyond that."""

_CREEP = 0.005
"""How much of the full pace is won back in a second."""

_LEAST = 0.1
"""The share of the full pace that is never given up, so that the way back is not too long."""

_LONGEST_GAP = 1.0
"""Seconds between two successes that count as one second at most: nothing is learnt while nothing is sent."""


@dataclass(slots=True)
class _Lane:
    """The pace of one operation."""

    ceiling: float
    rate: float
    free_at: float = float("-inf")
    gave_way_at: float = float("-inf")
    succeeded_at: float = float("inf")
    refused: float = 0.0


class Pacer:
    """Spaces the calls of each operation. Safe to share between threads."""

    def __init__(
        self, *, clock: Callable[[], float], sleep: Callable[[float], None], rates: Mapping[str, float] = RATES
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._rates = rates
        self._lanes: dict[str, _Lane] = {}
        self._lock = threading.Lock()

    def wait(self, operation: str) -> None:
        """Return when the next call of this operation may be sent."""
        seconds = self.reserve(operation)
        if seconds > 0:
            self._sleep(seconds)

    def reserve(self, operation: str) -> float:
        """Take the next free moment of this operation and return how many seconds away it is."""
        with self._lock:
            lane = self._lane(operation)
            now = self._clock()
            moment = max(now, lane.free_at)
            lane.free_at = moment + 1.0 / lane.rate
            return moment - now

    def succeeded(self, operation: str) -> None:
        """Win back a little of the pace, never above our share of the published rate."""
        with self._lock:
            lane = self._lane(operation)
            now = self._clock()
            lane.refused -= lane.refused / _RECENT
            if lane.rate < lane.ceiling:
                gap = max(0.0, min(_LONGEST_GAP, now - lane.succeeded_at))
                lane.rate = min(lane.ceiling, lane.rate + _CREEP * lane.ceiling * gap)
            lane.succeeded_at = now

    def throttled(self, operation: str) -> None:
        """Give way: AWS refused a call for its rate. Refusals within one second count once."""
        with self._lock:
            lane = self._lane(operation)
            now = self._clock()
            lane.refused += (1.0 - lane.refused) / _RECENT
            if now - lane.gave_way_at >= _GIVE_WAY_SECONDS:
                lane.gave_way_at = now
                step = _GIVE_WAY - _STEEPNESS * max(0.0, lane.refused - _JITTER)
                lane.rate = max(_LEAST * lane.ceiling, lane.rate * max(_GIVE_WAY_MOST, step))

    def rate(self, operation: str) -> float:
        """Return the present pace of an operation, in calls a second."""
        with self._lock:
            return self._lane(operation).rate

    def _lane(self, operation: str) -> _Lane:
        lane = self._lanes.get(operation)
        if lane is None:
            pace = pace_of(operation, self._rates)
            lane = self._lanes[operation] = _Lane(ceiling=pace, rate=pace)
        return lane


class Pacers:
    """One pacer for each place that counts calls: an account and a region of one service address. Safe to share between threads."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        rates: Mapping[str, float] = RATES,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._rates = rates
        self._pacers: dict[tuple[str, str, str], Pacer] = {}
        self._lock = threading.Lock()

    def of(self, account_id: str, region: str, endpoint_url: str) -> Pacer:
        """Return the pacer of an account and region; whichever address of AWS is used, AWS counts once."""
        key = (account_id, region, "aws" if is_aws(endpoint_url) else endpoint_url.rstrip("/"))
        with self._lock:
            if key not in self._pacers:
                self._pacers[key] = Pacer(clock=self._clock, sleep=self._sleep, rates=self._rates)
            return self._pacers[key]


def is_aws(endpoint_url: str) -> bool:
    """Whether an address is one of AWS's own."""
    return endpoint_url.rstrip("/").endswith((".amazonaws.com", ".api.aws"))


OURS = Pacers()
"""The pacers of this process."""
