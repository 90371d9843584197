"""Times and durations as the status pages write them, in UTC; the pages' script shows them in local time."""

from __future__ import annotations

from datetime import UTC, datetime

from reconciler.report.words import plural


def time_tag(at: float) -> str:
    """Return a time, in seconds since the epoch, as ``2026-05-04 10:20:30 UTC``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(at: float) -> str:
    """Return a time as ``2026-05-04T10:20:30Z``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(text: str) -> float:
    """Return the time that AWS wrote as seconds since the epoch, or 0 for what is no time."""
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        return 0.0


def duration(seconds: float) -> str:
    """Return a duration in its largest unit: ``3 hours``."""
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "min")):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} min" if unit == "min" else plural(number, unit)
    return f"{int(max(0, seconds))} s"
