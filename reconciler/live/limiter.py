"""Keeps calls to the published rates, so that AWS never has to refuse one.

Each operation has its own bucket at AWS, so each has its own pace here.
Calls of one operation are spaced evenly, a hair below the published rate, with no burst.
When AWS refuses all the same (somebody else spends the same rate), the pace gives way at once and creeps back with every success.
Clock and sleep come from outside; one pacer is shared by every worker of an account and region.

Rates are those of the user guide's page "service quotas" (calls a second, for each account and region, not adjustable).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reconciler.model.address import KindName
from reconciler.model.kinds import KINDS

SHARE = 0.99
"""How much of the published rate is used: what is left absorbs jitter on the way."""

_GIVE_WAY = 0.97
_GIVE_WAY_SECONDS = 1.0
_CREEP = 0.004
"""Calls a second won back by each success."""

_KIND_RATES: Mapping[KindName, float] = {
    KindName.RECORDING_CONFIGURATION: 3.0,
    KindName.PLAYBACK_KEY_PAIR: 3.0,
    KindName.AD_CONFIGURATION: 3.0,  # UpdateAdConfiguration has no row of its own; its siblings' rate is assumed
    KindName.FAILOVER_SLATE_CONFIGURATION: 3.0,  # no rows yet; the rate of the other configurations is assumed
    KindName.PLAYBACK_RESTRICTION_POLICY: 5.0,
    KindName.CHANNEL: 5.0,
    KindName.STREAM_KEY: 5.0,
}

RATES: Mapping[str, float] = {
    **{
        operation: _KIND_RATES[kind.name]
        for kind in KINDS.values()
        for operation in (kind.create, kind.get, kind.list, kind.delete, kind.update)
        if operation is not None
    },
    "BatchGetChannel": 5.0,
    "BatchGetStreamKey": 5.0,
    "GetStream": 5.0,
    "ListStreams": 5.0,
    "StopStream": 5.0,
    "GetStreamSession": 5.0,
    "ListStreamSessions": 5.0,
    "PutMetadata": 5.0,
    "InsertAdBreak": 1.0,
    "StartViewerSessionRevocation": 10.0,
    "BatchStartViewerSessionRevocation": 2.0,
    "TagResource": 10.0,
    "UntagResource": 10.0,
    "ListTagsForResource": 10.0,
}
"""Published calls a second of each operation."""

UNPUBLISHED = 3.0
"""The rate assumed for an operation without a row: the lowest that whole families of operations have."""


@dataclass(slots=True)
class _Lane:
    """The pace of one operation."""

    ceiling: float
    rate: float
    free_at: float = float("-inf")
    gave_way_at: float = float("-inf")


class Pacer:
    """Spaces the calls of each operation. Safe to share between threads."""

    def __init__(self, *, clock: Callable[[], float], sleep: Callable[[float], None], rates: Mapping[str, float] = RATES) -> None:
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
            if lane.rate < lane.ceiling:
                lane.rate = min(lane.ceiling, lane.rate + _CREEP)

    def throttled(self, operation: str) -> None:
        """Give way: AWS refused a call for its rate. Refusals within one second count once."""
        with self._lock:
            lane = self._lane(operation)
            now = self._clock()
            if now - lane.gave_way_at >= _GIVE_WAY_SECONDS:
                lane.gave_way_at = now
                lane.rate *= _GIVE_WAY

    def rate(self, operation: str) -> float:
        """Return the present pace of an operation, in calls a second."""
        with self._lock:
            return self._lane(operation).rate

    def _lane(self, operation: str) -> _Lane:
        lane = self._lanes.get(operation)
        if lane is None:
            pace = SHARE * self._rates.get(operation, UNPUBLISHED)
            lane = self._lanes[operation] = _Lane(ceiling=pace, rate=pace)
        return lane
