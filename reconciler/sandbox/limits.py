"""Call-rate quotas: a token bucket for each account, region and operation.

Rates are documented and not adjustable (user guide: service quotas). How large a burst may be is
not published: capacity equal to the rate is assumed, and may be set. How the service counts is not
published either: besides the bucket that refills all the time there is one that is full again at
every whole second.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.sandbox.clock import Clock
from reconciler.sandbox.wire import ApiError

DEFAULT_RATE = 5.0
# UpdateAdConfiguration and the slate operations have no published rate: 3, as their siblings.
RATES: Mapping[str, float] = {
    "InsertAdBreak": 1,
    "BatchStartViewerSessionRevocation": 2,
    **dict.fromkeys(
        (
            "CreateAdConfiguration",
            "GetAdConfiguration",
            "ListAdConfigurations",
            "UpdateAdConfiguration",
            "DeleteAdConfiguration",
            "ImportPlaybackKeyPair",
            "GetPlaybackKeyPair",
            "ListPlaybackKeyPairs",
            "DeletePlaybackKeyPair",
            "CreateRecordingConfiguration",
            "GetRecordingConfiguration",
            "ListRecordingConfigurations",
            "DeleteRecordingConfiguration",
            "CreateFailoverSlateConfiguration",
            "GetFailoverSlateConfiguration",
            "ListFailoverSlateConfigurations",
            "UpdateFailoverSlateConfiguration",
            "DeleteFailoverSlateConfiguration",
        ),
        3.0,
    ),
    "StartViewerSessionRevocation": 10,
    "TagResource": 10,
    "UntagResource": 10,
    "ListTagsForResource": 10,
    "PutMetadata": 155,
}


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimiter:
    """The buckets of one server process; safe to use from many threads."""

    def __init__(self, clock: Clock, rates: Mapping[str, float] | bool = False) -> None:
        """`rates`: False for no limit, True for the documented ones, or some of them replaced."""
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, str, str], _Bucket] = {}
        self._rates: dict[str, float] | None = None
        self._burst: float | None = None
        self._windows = False
        self.set(rates)

    def set(self, rates: Mapping[str, float] | bool, *, burst: float | None = None, windows: bool = False) -> None:
        """Change the rates; all buckets are full again.

        burst: the capacity of every bucket (default: its rate, at least 1).
        windows: buckets are filled at every whole second, and not in between.
        """
        given = {} if isinstance(rates, bool) else dict(rates)
        if any(rate <= 0 for rate in given.values()):
            raise ValueError("a call rate is more than 0 a second")
        if burst is not None and burst < 1:
            raise ValueError("a burst is 1 call or more")
        with self._lock:
            self._buckets.clear()
            self._burst, self._windows = burst, windows
            self._rates = {**RATES, **given} if rates is not False else None

    def take(self, account: str, region: str, operation: str) -> None:
        """Let the call through, or answer that it came too fast."""
        rates = self._rates
        if rates is None:
            return
        rate = rates.get(operation, rates.get("*", DEFAULT_RATE))
        capacity = self._burst or max(1.0, rate)
        now = self._clock.monotonic()
        with self._lock:
            key = (account, region, operation)
            bucket = self._buckets.setdefault(key, _Bucket(capacity, now))
            refill = (int(now) - int(bucket.at)) * capacity if self._windows else (now - bucket.at) * rate
            bucket.tokens = min(capacity, bucket.tokens + refill)
            bucket.at = now
            if bucket.tokens < 1:
                raise ApiError(
                    "ThrottlingException",
                    f"Operation: ivs:{operation} exceeded call rate: {rate:g}",
                )
            bucket.tokens -= 1
