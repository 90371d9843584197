"""Who holds a lock: a value with its JSON form. Times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from reconciler.terminal import sanitize

_FORMAT = "1.0"


@dataclass(frozen=True, slots=True)
class LockHolder:
    """One run that holds a lock, or held it and ``released`` it.

    ``who`` is a person or a role, ``url`` the page of the run; ``mark`` tells its process from a later one with the same number.
    The lock is void after ``expires``, which the holder keeps extending.
    """

    run: str
    who: str
    host: str
    pid: int
    command: str
    since: float
    expires: float
    url: str = ""
    released: bool = False
    mark: str = ""

    def held_at(self, now: float) -> bool:
        """Whether the lock is in force."""
        return not self.released and now < self.expires

    def __str__(self) -> str:
        place = self.url or f"process {self.pid}"
        return sanitize(f"{self.who} on {self.host} ({self.command}, since {format_time(self.since)}, {place})")


def format_time(seconds: float) -> str:
    """Return a time in ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_json(holder: LockHolder) -> dict[str, object]:
    """Return the JSON form."""
    return {
        "formatVersion": _FORMAT,
        **asdict(holder),
        "sinceTime": format_time(holder.since),
        "expiresTime": format_time(holder.expires),
    }


def from_json(content: object) -> LockHolder:
    """Read the JSON form. Raises ``ValueError`` for anything else."""
    if not isinstance(content, Mapping) or not str(content.get("formatVersion", "")).startswith("1."):
        raise ValueError("not a lock of this program")
    facts: Mapping[str, Any] = content
    try:
        return LockHolder(
            run=str(facts["run"]),
            who=str(facts["who"]),
            host=str(facts["host"]),
            pid=int(facts["pid"]),
            command=str(facts["command"]),
            since=float(facts["since"]),
            expires=float(facts["expires"]),
            url=str(facts.get("url", "")),
            released=bool(facts.get("released", False)),
            mark=str(facts.get("mark", "")),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError("not a lock of this program") from error
