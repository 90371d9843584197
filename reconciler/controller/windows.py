"""Windows of time in which the controller may apply: when one opens, as a cron expression in a time zone, and for how long.

Transitions of daylight saving time are those of Debian's cron, which cronsim reproduces.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from reconciler.model.target import seconds_of

_FORM = re.compile(r"(?P<cron>\S+(?: +\S+){4}) +for +(?P<duration>\S+)(?: +in +(?P<zone>\S+))?")
_EXAMPLE = "0 9 * * MON-FRI for 8h in Europe/Berlin"
_MOST_DAYS = 31
_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Window:
    """One window. Times are seconds since the epoch; it opens and closes with a minute."""

    cron: str
    duration: str
    zone: str = "UTC"

    def __str__(self) -> str:
        return f"{self.cron} for {self.duration} in {self.zone}"

    def is_open(self, at: float) -> bool:
        """Return whether it is open."""
        return self.opens_after(at // _MINUTE * _MINUTE - seconds_of(self.duration, days=_MOST_DAYS)) <= at

    def opens_after(self, at: float) -> float:
        """Return when it opens next, or infinity."""
        return _next_start(self.cron, self.zone, int(at // _MINUTE))


@functools.lru_cache(maxsize=1_024)
def _next_start(cron: str, zone: str, minute: int) -> float:
    """Return the first start after a minute. Raises ``CronSimError`` for what is no cron expression."""
    from cronsim import CronSim  # noqa: PLC0415 - of the extra, and only for windows

    begin = minute * _MINUTE
    for start in CronSim(cron, datetime.fromtimestamp(begin, ZoneInfo(zone))):
        # When clocks go back, a start of the first of two equal hours comes after the begin of the second.
        if start.timestamp() > begin:
            return float(start.timestamp())
    return math.inf


def parse_window(value: object) -> Window:
    """Return a window from text such as ``0 9 * * MON-FRI for 8h in Europe/Berlin``; UTC without a zone. Raises ``ValueError``."""
    from reconciler.extras import imports_of  # noqa: PLC0415 - as below

    with imports_of("--window", "controller"):
        from cronsim import CronSimError  # noqa: PLC0415
    found = _FORM.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        raise ValueError(f'is not a window such as "{_EXAMPLE}"')
    try:
        seconds_of(found["duration"], days=_MOST_DAYS)
    except ValueError as error:
        raise ValueError(f"has {found['duration']!r}, which {error}") from None
    window = Window(" ".join(found["cron"].split()), found["duration"], found["zone"] or "UTC")
    try:
        first = window.opens_after(0)
    except CronSimError as error:
        raise ValueError(f"is not a cron expression of five fields: {str(error).lower()}") from None
    except (OSError, ValueError, KeyError):
        raise ValueError(f"names no time zone that this machine knows: {window.zone}") from None
    if math.isinf(first):
        raise ValueError("never opens")
    return window
