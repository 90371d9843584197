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

from reconciler.sandbox.ivs.registry import HANDLERS
from reconciler.sandbox.settings import Assumptions, Clock
from reconciler.sandbox.store import Store
from reconciler.sandbox.wire import ApiError, is_number

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

    def take(self, rate: float, capacity: float, now: float, *, windows: bool) -> bool:
        """Refill by the time that has passed, and take one call's token if there is one.

        The clock of a machine may be set back; no time has passed then.
        """
        refill = (int(now) - int(self.at)) * capacity if windows else (now - self.at) * rate
        self.tokens = min(capacity, self.tokens + max(0.0, refill))
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class RateLimiter:
    """The buckets; safe to use from many threads.

    With a store they are in its file, so that one account has one bucket however many processes serve
    the file; the time in them is then the wall clock's. Whether rates hold, and which, each process
    decides for itself.
    """

    def __init__(
        self,
        clock: Clock,
        rates: Mapping[str, float] | bool = False,
        *,
        store: Store | None = None,
        assume: Assumptions | None = None,
    ) -> None:
        """`rates`: False for no limit, True for the documented ones, or some of them replaced."""
        self._clock = clock
        self._store = store
        self._assume = assume or Assumptions()
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, str, str], _Bucket] = {}
        self._started = rates
        self._rates = _table(rates)
        self._burst: float | None = None
        self._windows = False

    def set(self, rates: Mapping[str, float] | bool, *, burst: float | None = None, windows: bool = False) -> None:
        """Change the rates; all buckets are full again.

        burst: the capacity of every bucket (default: its rate, at least 1).
        windows: buckets are filled at every whole second, and not in between.
        """
        if burst is not None and not (is_number(burst) and burst >= 1):
            raise ValueError("a burst is 1 call or more")
        table = _table(rates)
        with self._lock:
            self._buckets.clear()
            self._burst, self._windows = burst, windows
            self._rates = table
        if self._store is not None:
            with self._store.transaction(write=True) as connection:
                connection.execute("DELETE FROM buckets")

    @property
    def rates(self) -> dict[str, float] | None:
        """The rates that hold now, a second; None for no limit."""
        return None if self._rates is None else dict(self._rates)

    def restore(self) -> None:
        """Go back to the rates this process was started with."""
        self.set(self._started)

    def take(self, account: str, region: str, operation: str) -> None:
        """Let the call through, or answer that it came too fast."""
        rates = self._rates
        if rates is None:
            return
        rate = rates.get(operation, rates.get("*", DEFAULT_RATE))
        capacity = self._burst or (max(1.0, rate) if self._assume["rate-burst"] == "rate" else 1.0)
        windows = self._windows or self._assume["rate-counting"] == "seconds"
        key = (account, region, operation)
        passed = (
            self._take_here(key, rate, capacity, windows)
            if self._store is None
            else self._take_stored(self._store, key, rate, capacity, windows)
        )
        if not passed:
            raise ApiError("ThrottlingException", f"Operation: ivs:{operation} exceeded call rate: {rate:g}")

    def _take_here(self, key: tuple[str, str, str], rate: float, capacity: float, windows: bool) -> bool:
        now = self._clock.monotonic()
        with self._lock:
            return self._buckets.setdefault(key, _Bucket(capacity, now)).take(rate, capacity, now, windows=windows)

    def _take_stored(
        self, store: Store, key: tuple[str, str, str], rate: float, capacity: float, windows: bool
    ) -> bool:
        with store.transaction(write=True) as connection:
            now = self._clock.now()
            found = connection.execute(
                "SELECT tokens, at FROM buckets WHERE account = ? AND region = ? AND operation = ?", key
            ).fetchone()
            bucket = _Bucket(*found) if found else _Bucket(capacity, now)
            passed = bucket.take(rate, capacity, now, windows=windows)
            connection.execute(
                "INSERT OR REPLACE INTO buckets VALUES (?, ?, ?, ?, ?)", (*key, bucket.tokens, bucket.at)
            )
        return passed


def _table(rates: Mapping[str, float] | bool) -> dict[str, float] | None:
    if not isinstance(rates, bool | Mapping):
        raise TypeError("rates are true, false, or numbers by operation")
    given = {} if isinstance(rates, bool) else dict(rates)
    if not all(is_number(rate) and rate > 0 for rate in given.values()):
        raise ValueError("a call rate is more than 0 a second")
    unknown = [name for name in given if name not in HANDLERS and name != "*"]
    if unknown:
        raise ValueError(f"no operation {unknown[0]!r} to set a call rate for")
    return {**RATES, **given} if rates is not False else None
