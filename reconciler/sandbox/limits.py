"""Call-rate quotas: a token bucket for each account, region and operation.

Rates are documented and not adjustable (user guide: service quotas). The size of a burst is not published: a capacity
equal to the rate is assumed, and can be set. Nor is the way of counting: besides buckets that refill continuously there
are windows, which are filled at each whole second.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.sandbox.registry import HANDLERS, SERVICES
from reconciler.sandbox.settings import Assumptions, Clock, ControlError
from reconciler.sandbox.state.store import Store
from reconciler.sandbox.wire import ApiError, is_number


class RateLimiter:
    """The rates of a sandbox. The buckets are in the store, so that processes that serve one file share them."""

    def __init__(
        self, store: Store, clock: Clock, assume: Assumptions, rates: Mapping[str, float] | bool = False
    ) -> None:
        """`rates`: False for no limit, True for the documented rates, or a mapping that replaces some of them."""
        self._store, self._clock, self._assume = store, clock, assume
        self._started = rates
        self._rates = _table(rates)
        self._burst: float | None = None
        self._windows = False

    def set(self, rates: Mapping[str, float] | bool, *, burst: float | None = None, windows: bool = False) -> None:
        """Change the rates and fill all buckets.

        burst: the capacity of every bucket (default: its rate, at least 1).
        windows: fill buckets at each whole second only.
        """
        if burst is not None and not (is_number(burst) and burst >= 1):
            raise ControlError("burst must be 1 or more")
        self._rates = _table(rates)
        self._burst, self._windows = burst, windows
        with self._store.transaction(write=True) as connection:
            connection.execute("DELETE FROM buckets")

    @property
    def rates(self) -> dict[str, float] | None:
        """The rates set or documented, in calls a second by operation; None for no limit."""
        return None if self._rates is None else {name: rate for (_, name), rate in self._rates.items()}

    def restore(self) -> None:
        """Set the rates of the start again."""
        self.set(self._started)

    def take(self, account: str, region: str, service: str, operation: str) -> None:
        """Refill the bucket of a call by the time passed, and take a token.

        Raises ApiError (429) if it exceeds the rate.
        """
        rates = self._rates
        if rates is None:
            return
        rate = rates.get((service, operation), SERVICES[service].default_rate)
        capacity = self._burst or (max(1.0, rate) if self._assume["rate-burst"] == "rate" else 1.0)
        windows = self._windows or self._assume["rate-counting"] == "seconds"
        key = (account, region, f"{service}:{operation}")
        with self._store.transaction(write=True) as connection:
            now = self._clock.now()
            found = connection.execute(
                "SELECT tokens, at FROM buckets WHERE account = ? AND region = ? AND operation = ?", key
            ).fetchone()
            tokens, at = found or (capacity, now)
            refill = (int(now) - int(at)) * capacity if windows else (now - at) * rate
            # No time has passed if the machine's clock was set back.
            tokens = min(capacity, tokens + max(0.0, refill))
            passed = tokens >= 1
            connection.execute("INSERT OR REPLACE INTO buckets VALUES (?, ?, ?, ?, ?)", (*key, tokens - passed, now))
        if not passed:
            raise ApiError("ThrottlingException", f"Operation: {service}:{operation} exceeded call rate: {rate:g}")


def _table(rates: Mapping[str, float] | bool) -> dict[tuple[str, str], float] | None:
    """Return the rate of each operation of each service, None for no limit; "*" is the rate of undocumented ones."""
    if not isinstance(rates, bool | Mapping):
        raise ControlError("rates must be true, false, or numbers by operation")
    given = {} if isinstance(rates, bool) else dict(rates)
    if not all(is_number(rate) and rate > 0 for rate in given.values()):
        raise ControlError("a call rate must be more than 0 a second")
    known = {operation for _, operation in HANDLERS}
    unknown = [name for name in given if name not in known and name != "*"]
    if unknown:
        raise ControlError(f"unknown operation {unknown[0]!r}")
    if rates is False:
        return None
    table = {}
    for service, operation in HANDLERS:
        row = SERVICES[service]
        table[service, operation] = given.get(operation, row.rates.get(operation, given.get("*", row.default_rate)))
    return table
