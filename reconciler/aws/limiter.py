"""Paces calls below the published rates, and decides which failed calls are retried and when.

AWS limits each operation per account and region, so one ``Pacer`` serves all workers and targets of an account and region. Calls are spaced evenly.
A throttled call slows its operation down at once; the pace recovers with time. The more calls are throttled, the larger the step:
another client then uses the same rate. IVS operations have no idempotency token (service model), so a create is retried only if it was not executed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import assert_never

from reconciler.errors import AwsError
from reconciler.model.kinds import OPERATIONS, RATES, Repeat, pace_of
from reconciler.model.kinds.ivs import IVS

_SLOW_DOWN = 0.97
"""Factor of the smallest step down."""

_MAX_SLOW_DOWN = 0.8
"""Factor of the largest step down."""

_SLOW_DOWN_SECONDS = 1.0
"""Throttled calls within this time cause one step down."""

_WINDOW = 12
"""Number of calls over which the share of throttled ones is averaged."""

_JITTER = 0.1
"""Share of throttled calls that is attributed to network jitter."""

_STEEPNESS = 1.5
"""Growth of the step with the share of throttled calls above that."""

_RECOVERY = 0.005
"""Share of the full pace that is regained per second."""

_MIN_SHARE = 0.1
"""Lowest share of the full pace."""

_MAX_GAP_SECONDS = 1.0
"""Most seconds between two successes that count towards recovery: idle time says nothing about the rate."""


@dataclass(slots=True)
class _OperationPace:
    """The pace of one operation."""

    ceiling: float
    rate: float
    free_at: float = float("-inf")
    slowed_at: float = float("-inf")
    succeeded_at: float = float("inf")
    throttled_share: float = 0.0


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
        """Sleep until the next call of this operation may be sent."""
        seconds = self.reserve(operation)
        if seconds > 0:
            self._sleep(seconds)

    def reserve(self, operation: str) -> float:
        """Reserve the operation's next slot and return the seconds until then."""
        with self._lock:
            pace = self._pace(operation)
            now = self._clock()
            slot = max(now, pace.free_at)
            pace.free_at = slot + 1.0 / pace.rate
            return slot - now

    def succeeded(self, operation: str) -> None:
        """Recover some of the pace after a successful call."""
        with self._lock:
            pace = self._pace(operation)
            now = self._clock()
            pace.throttled_share -= pace.throttled_share / _WINDOW
            if pace.rate < pace.ceiling:
                gap = max(0.0, min(_MAX_GAP_SECONDS, now - pace.succeeded_at))
                pace.rate = min(pace.ceiling, pace.rate + _RECOVERY * pace.ceiling * gap)
            pace.succeeded_at = now

    def throttled(self, operation: str) -> None:
        """Slow down after a throttled call; several within one second count once."""
        with self._lock:
            pace = self._pace(operation)
            now = self._clock()
            pace.throttled_share += (1.0 - pace.throttled_share) / _WINDOW
            if now - pace.slowed_at >= _SLOW_DOWN_SECONDS:
                pace.slowed_at = now
                step = _SLOW_DOWN - _STEEPNESS * max(0.0, pace.throttled_share - _JITTER)
                pace.rate = max(_MIN_SHARE * pace.ceiling, pace.rate * max(_MAX_SLOW_DOWN, step))

    def rate(self, operation: str) -> float:
        """Return the current pace of an operation, in calls a second."""
        with self._lock:
            return self._pace(operation).rate

    def _pace(self, operation: str) -> _OperationPace:
        if operation not in self._paces:
            ceiling = pace_of(self._service, operation, self._rates)
            self._paces[operation] = _OperationPace(ceiling, ceiling)
        return self._paces[operation]


class Pacers:
    """Holds one pacer per account, region, endpoint and service. Thread-safe."""

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
        """Return the pacer of a service in an account and region. All endpoints of AWS share one, because AWS counts their calls together."""
        key = (account_id, region, "aws" if is_aws(endpoint_url) else endpoint_url.rstrip("/"), service)
        with self._lock:
            if key not in self._pacers:
                self._pacers[key] = Pacer(clock=self._clock, sleep=self._sleep, service=service, rates=self._rates)
            return self._pacers[key]


def is_aws(endpoint_url: str) -> bool:
    """Return whether an endpoint URL belongs to AWS."""
    return endpoint_url.rstrip("/").endswith((".amazonaws.com", ".api.aws"))


PROCESS_PACERS = Pacers()
"""The pacers of this process."""


MAX_THROTTLED = 12
"""Maximum requests for one call that is throttled."""

MAX_FAILED = 5
"""Maximum requests for one call if AWS or the connection fails."""

_FIRST_BACKOFF_SECONDS = 0.5
_MAX_BACKOFF_SECONDS = 20.0


_OTHER_READS = frozenset(
    {
        ("sts", "GetCallerIdentity"),
        ("sts", "AssumeRole"),
        ("cloudtrail", "LookupEvents"),
        ("cloudformation", "DescribeStackResources"),
    }
)
"""Read operations of services without kinds."""


def repeat_class(service: str, operation: str) -> Repeat:
    """Return the effect of sending an operation twice; ``Repeat.ONCE`` for an unknown one."""
    if (known := OPERATIONS.get((service, operation))) is not None:
        return known.repeat
    return Repeat.READ if (service, operation) in _OTHER_READS else Repeat.ONCE


def may_repeat(error: AwsError, repeat: Repeat, calls: int) -> bool:
    """Return whether a call that failed with this error may be sent again after this many requests."""
    if not error.retryable:
        return False
    if error.throttled:
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
    """Return the seconds to wait after ``calls`` requests: exponential, with full jitter. ``draw`` is a random number from 0 to 1."""
    return draw * min(_MAX_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2.0 ** (calls - 1))
