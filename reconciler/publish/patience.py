"""Waiting as long as a forge asks, within reason: how long to wait is for the forge to say, how long is too long for us.

A call that was answered with "too many" was not carried out, so it can be repeated whatever it is.
A call that broke off may have been, so only one that may happen twice is repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

LONGEST_WAIT = 90.0
"""Seconds that one run waits for a forge, all waits together."""

_TRIES = 4
_SECONDARY_WAIT = 60.0


@dataclass(slots=True)
class Patience:
    """How long this run is still willing to wait. ``sleep`` and ``now`` are the clock."""

    left: float = LONGEST_WAIT
    sleep: Callable[[float], None] = field(default=time.sleep)
    now: Callable[[], float] = field(default=time.time)

    def call(
        self, work: Callable[[], T], wait_of: Callable[[Exception, int], float | None], of: tuple[type[Exception], ...]
    ) -> T:
        """Do the work, again after each wait that ``wait_of`` names for its failure and try; ``None`` or too long a wait lets the failure through."""
        for attempt in range(_TRIES):
            try:
                return work()
            except of as error:
                wait = wait_of(error, attempt)
                if wait is None or wait > self.left or attempt == _TRIES - 1:
                    raise
                self.left -= wait
                self.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def asked_by(self, status: int, headers: Mapping[str, str], message: str) -> float | None:
        """Return the seconds that an answer asks us to wait, or ``None`` where it does not speak of limits."""
        if status not in (403, 429):
            return None
        lower = {name.lower(): value for name, value in headers.items()}
        after = lower.get("retry-after", "")
        if after.isascii() and after.isdigit():
            return float(after)
        secondary = "secondary rate limit" in message.lower() or "abuse" in message.lower()
        spent = lower.get("x-ratelimit-remaining") == "0"
        reset = lower.get("x-ratelimit-reset") or lower.get("ratelimit-reset") or ""
        if (spent or (status == 429 and not secondary)) and reset.isascii() and reset.isdigit():
            return max(0.0, float(reset) - self.now()) + 1
        return _SECONDARY_WAIT if secondary or status == 429 else None


def backoff(attempt: int) -> float:
    """Return the seconds to wait after a call that broke off."""
    return float(2**attempt)
