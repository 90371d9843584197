"""The holder of a lock, and its JSON form. Times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from reconciler.terminal import sanitize

_FORMAT = "1.0"


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The run that holds a lock, or has ``released`` it.

    ``who`` is a user or role, ``url`` the page of the CI run; ``mark`` distinguishes its process from a later one with the same ``pid``.
    The lock is invalid after ``expires``, which the holder extends.
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
        """Return whether the lock is held at a time."""
        return not self.released and now < self.expires

    def __str__(self) -> str:
        place = self.url or f"process {self.pid}"
        return sanitize(f"{self.who} on {self.host} ({self.command}, since {format_time(self.since)}, {place})")


def format_time(seconds: float) -> str:
    """Return a time in ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_json(holder: LockHolder) -> dict[str, object]:
    """Return the holder as JSON."""
    return {
        "formatVersion": _FORMAT,
        **asdict(holder),
        "sinceTime": format_time(holder.since),
        "expiresTime": format_time(holder.expires),
    }


def from_json(content: object) -> LockHolder:
    """Return the holder from its JSON. Raises ``ValueError``."""
    if not isinstance(content, Mapping) or not str(content.get("formatVersion", "")).startswith("1."):
        raise ValueError("not a lock of ivs-reconciler")
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
        raise ValueError("not a lock of ivs-reconciler") from error
