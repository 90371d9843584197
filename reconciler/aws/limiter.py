"""Keeps calls to the published rates, so that AWS never has to refuse one.

Each operation has its own bucket at AWS, so each has its own pace here.
Calls of one operation are spaced evenly, a hair below the published rate, with no burst.
AWS counts for each account and region, so one pacer serves every worker and every target that means the same; ``Pacers`` sees to that.

When AWS refuses all the same, the pace gives way at once and creeps back with time.
A rare refusal is jitter on the way, and a small step down is enough.
When a good part of the calls is refused, somebody else spends the same rate, and the steps are larger, so that their calls get through too.
Clock and sleep come from outside.

Which calls may be sent a second time, and how long to wait before.

No IVS operation takes an idempotency token (service model), so what may be repeated depends on what the call does.
Reads, updates and tag calls give the same result however often they arrive; a repeated delete finds nothing, which is what it wanted.
A repeated create makes a second resource: it is sent again only when AWS said that it did nothing, or when it never left.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import assert_never

from reconciler.errors import AwsError
from reconciler.model.kinds import OPERATIONS, Repeat
from reconciler.model.kinds.ivs import IVS
from reconciler.model.quotas import RATES, pace_of

_SLOW_DOWN = 0.97
"""The share of the pace that is left after a step down."""

_LARGEST_SLOW_DOWN = 0.8
"""The share that is left after the largest step."""

_SLOW_DOWN_SECONDS = 1.0
"""Refusals within this time count as one."""

_WINDOW = 12
"""How many calls the share of refused ones looks back on."""

_JITTER = 0.1
"""A share of throttled calls up to this is considered jitter."""

_STEEPNESS = 1.5
"""How much larger a step gets with the share of throttled calls beyond that."""

_RECOVERY = 0.005
"""The share of the full pace that is regained in a second."""

_LOWEST_SHARE = 0.1
"""The smallest share of the full pace, so that recovery is not too slow."""

_LONGEST_GAP = 1.0
"""Seconds between two successes that count as one second at most: nothing is learnt while nothing is sent."""


@dataclass(slots=True)
class _OperationPace:
    """The pace of one operation."""

    ceiling: float
    rate: float
    free_at: float = float("-inf")
    slowed_at: float = float("-inf")
    succeeded_at: float = float("inf")
    refused: float = 0.0


class Pacer:
    """Spaces the calls of each operation of a service. Thread-safe."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        service: str = IVS.client,
        rates: Mapping[tuple[str, str], float] = RATES,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._service = service
        self._rates = rates
        self._paces: dict[str, _OperationPace] = {}
        self._lock = threading.Lock()

    def wait(self, operation: str) -> None:
        """Return when the next call of this operation may be sent."""
        seconds = self.reserve(operation)
        if seconds > 0:
            self._sleep(seconds)

    def reserve(self, operation: str) -> float:
        """Reserve the operation's next slot and return the seconds until then."""
        with self._lock:
            lane = self._pace(operation)
            now = self._clock()
            moment = max(now, lane.free_at)
            lane.free_at = moment + 1.0 / lane.rate
            return moment - now

    def succeeded(self, operation: str) -> None:
        """Regain a little of the pace, at most our share of the published rate."""
        with self._lock:
            lane = self._pace(operation)
            now = self._clock()
            lane.refused -= lane.refused / _WINDOW
            if lane.rate < lane.ceiling:
                gap = max(0.0, min(_LONGEST_GAP, now - lane.succeeded_at))
                lane.rate = min(lane.ceiling, lane.rate + _RECOVERY * lane.ceiling * gap)
            lane.succeeded_at = now

    def throttled(self, operation: str) -> None:
        """Slow down after a throttled call. Several within one second count once."""
        with self._lock:
            lane = self._pace(operation)
            now = self._clock()
            lane.refused += (1.0 - lane.refused) / _WINDOW
            if now - lane.slowed_at >= _SLOW_DOWN_SECONDS:
                lane.slowed_at = now
                step = _SLOW_DOWN - _STEEPNESS * max(0.0, lane.refused - _JITTER)
                lane.rate = max(_LOWEST_SHARE * lane.ceiling, lane.rate * max(_LARGEST_SLOW_DOWN, step))

    def rate(self, operation: str) -> float:
        """Return the current pace of an operation, in calls a second."""
        with self._lock:
            return self._pace(operation).rate

    def _pace(self, operation: str) -> _OperationPace:
        lane = self._paces.get(operation)
        if lane is None:
            pace = pace_of(self._service, operation, self._rates)
            lane = self._paces[operation] = _OperationPace(ceiling=pace, rate=pace)
        return lane


class Pacers:
    """One pacer for each account, region and service of one address, where AWS counts calls. Thread-safe."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        rates: Mapping[tuple[str, str], float] = RATES,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._rates = rates
        self._pacers: dict[tuple[str, str, str, str], Pacer] = {}
        self._lock = threading.Lock()

    def of(self, account_id: str, region: str, endpoint_url: str, service: str = IVS.client) -> Pacer:
        """Return the pacer of a service in an account and region. All addresses of AWS share one, as AWS counts them together."""
        key = (account_id, region, "aws" if is_aws(endpoint_url) else endpoint_url.rstrip("/"), service)
        with self._lock:
            if key not in self._pacers:
                self._pacers[key] = Pacer(clock=self._clock, sleep=self._sleep, service=service, rates=self._rates)
            return self._pacers[key]


def is_aws(endpoint_url: str) -> bool:
    """Whether an address belongs to AWS."""
    return endpoint_url.rstrip("/").endswith((".amazonaws.com", ".api.aws"))


PROCESS_PACERS = Pacers()
"""The pacers of this process."""


NOT_FOUND = "ResourceNotFoundException"

THROTTLES = frozenset(
    {
        "ThrottlingException",
        "Throttling",
        "ThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "SlowDown",
        "TooManyUpdates",
    }
)
"""Error codes of throttled calls; IVS's own is the first, with status 429, the last is Parameter Store's."""

MAX_THROTTLED = 12
"""Most requests sent for one call that is throttled."""

MAX_FAILED = 5
"""Most requests sent for one call when AWS or the connection fails."""

_FIRST_SECONDS = 0.5
_LONGEST_SECONDS = 20.0


_OTHER_READS = frozenset({("sts", "GetCallerIdentity"), ("sts", "AssumeRole"), ("cloudtrail", "LookupEvents")})
"""Operations of services that have no kinds, and that change nothing."""


def repeat_class(service: str, operation: str) -> Repeat:
    """Return the effect of repeating an operation; an unknown one is assumed to have its effect again."""
    if (known := OPERATIONS.get((service, operation))) is not None:
        return known.repeat
    return Repeat.READ if (service, operation) in _OTHER_READS else Repeat.ONCE


def is_throttle(error: AwsError) -> bool:
    """Whether the call was throttled, so that nothing was done."""
    return error.status == 429 or error.code in THROTTLES


def may_repeat(error: AwsError, repeat: Repeat, calls: int) -> bool:
    """Whether a call that failed with this error may be sent again after this many requests."""
    if not error.retryable:
        return False
    if is_throttle(error):
        return calls < MAX_THROTTLED
    if calls >= MAX_FAILED:
        return False
    match repeat:
        case Repeat.READ | Repeat.SAME | Repeat.DELETE:
            return True
        case Repeat.ONCE:
            return not error.ambiguous
    assert_never(repeat)


def backoff_seconds(calls: int, draw: float) -> float:
    """Return the seconds to wait after this many requests; ``draw`` is a random number from 0 to 1 (full jitter)."""
    return draw * min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** (calls - 1))
