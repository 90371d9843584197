"""What can be set about a sandbox: delays, buckets, resource quotas.

Documented quotas are from the user guide, page "service quotas"; delays stand for facts the
service does not promise ("a few seconds").

What the public sources do not say, and what this sandbox does instead: one switch for each.

The first option of each is the one recommended and used unless asked otherwise; the others are there
so that a client can be shown to be right under either answer.

Time as an argument: the real clock, and one that moves only when told to.

Everything in the sandbox that depends on time (a recording configuration becoming ACTIVE, a token
bucket refilling, a stream ending) asks a `Clock`, so a test with a `VirtualClock` never waits.
"""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Assumption:
    """One open question and its possible answers, the usual one first."""

    question: str
    options: tuple[str, ...]


ASSUMPTIONS: Mapping[str, Assumption] = {
    "list-order": Assumption(
        "in which order lists come (shuffled: another order each time, the same within one listing)",
        ("creation", "shuffled"),
    ),
    "list-pages": Assumption("whether pages are full (short: half, and an empty one at the end)", ("full", "short")),
    "batch-order": Assumption("in which order batch answers come", ("request", "shuffled")),
    "batch-code": Assumption("what the code of a batch error is", ("status", "name")),
    "set-order": Assumption("in which order countries, origins, renditions and storage come back", ("kept", "sorted")),
    "unset-members": Assumption('whether members that are not set are shown, as "" or {}', ("shown", "absent")),
    "name-filter": Assumption("what filterByName finds", ("exact", "prefix")),
    "live-update": Assumption("what the update of a live channel answers", ("conflict", "validation", "accepted")),
    "unsettled-delete": Assumption("what deleting something in CREATING or UPDATING answers", ("conflict", "accepted")),
    "unsettled-reference": Assumption(
        "what attaching something in CREATING answers", ("conflict", "validation", "accepted")
    ),
    "unknown-reference": Assumption("what attaching something unknown answers", ("not-found", "validation")),
    "attached-delete": Assumption(
        "what deleting an attached policy, ad or slate configuration answers", ("conflict", "accepted")
    ),
    "idle-preset": Assumption("what a preset for BASIC or STANDARD does", ("refused", "ignored")),
    "multitrack-update": Assumption("what multitrack members left out of an update become", ("kept", "defaults")),
    "empty-ad-reference": Assumption('what adConfigurationArn "" does in an update', ("detaches", "refused")),
    "empty-lists": Assumption("what an empty list does in the update of a policy", ("clears", "ignored")),
    "duplicate-key": Assumption(
        "which comes first for a known public key while the quota is used up", ("conflict", "quota")
    ),
    "rate-burst": Assumption("how many calls a full bucket lets through at once", ("rate", "one")),
    "rate-counting": Assumption("how calls are counted (seconds: anew at every whole second)", ("refill", "seconds")),
    "retry-after": Assumption("whether a 429 says when to come back", ("absent", "present")),
}


class Assumptions:
    """The answers of one server process."""

    def __init__(self, given: Mapping[str, str] | None = None) -> None:
        """Start from the usual answers, with some replaced."""
        self._started = dict(given or {})
        self._chosen: dict[str, str] = {}
        self.restore()

    def restore(self) -> None:
        """Go back to how this process was started."""
        self._chosen = {name: assumption.options[0] for name, assumption in ASSUMPTIONS.items()}
        for name, option in self._started.items():
            self.choose(name, option)

    def choose(self, name: str, option: str) -> None:
        """Answer one question otherwise."""
        assumption = ASSUMPTIONS.get(name)
        if assumption is None:
            raise ValueError(f"no assumption {name!r}; there are {', '.join(ASSUMPTIONS)}")
        if option not in assumption.options:
            raise ValueError(f"{name}: {option!r} is not one of {', '.join(assumption.options)}")
        self._chosen[name] = option

    def __getitem__(self, name: str) -> str:
        """Return the answer that holds now."""
        return self._chosen[name]

    def describe(self) -> list[dict[str, object]]:
        """Return every question with its answer and the options."""
        return [
            {"name": name, "chosen": self._chosen[name], "options": list(each.options), "question": each.question}
            for name, each in ASSUMPTIONS.items()
        ]


@dataclass(frozen=True, slots=True)
class ResourceQuota:
    """How many of a thing an account may have in a region."""

    title: str
    default: int
    adjustable: bool = False
    code: str = ""


# The largest number of anything that may be allowed: SQLite counts further, but nobody needs to.
MOST = 1_000_000_000_000

# User guide: service quotas; codes from the AWS General Reference. The failover slate quota is
# published nowhere: the one of its sibling, the ad configuration, is assumed.
RESOURCE_QUOTAS: Mapping[str, ResourceQuota] = {
    "channels": ResourceQuota("Channels", 5_000, adjustable=True, code="L-C01DFF58"),
    "recording-configurations": ResourceQuota("Recording configurations", 20, adjustable=True, code="L-90ABAB37"),
    "playback-keys": ResourceQuota("Playback authorization key pairs", 3),
    "playback-restriction-policies": ResourceQuota("Playback restriction policies", 3),
    "ad-configurations": ResourceQuota("Ad configurations", 20),
    "failover-slate-configurations": ResourceQuota("Failover slate configurations", 20),
    "stream-keys-per-channel": ResourceQuota("Stream keys per channel", 1),
    "concurrent-streams": ResourceQuota("Concurrent streams", 100, adjustable=True, code="L-FD1EB8A7"),
    "concurrent-views": ResourceQuota("Concurrent views", 15_000, adjustable=True, code="L-77A18D5D"),
    "stream-takeovers": ResourceQuota("Stream takeovers per stream", 100, adjustable=True, code="L-41152BE7"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The knobs of one server process; what is open about the service is in `assume`.

    `buckets` maps a bucket name to its region; a name that is not in it exists in whatever region
    asks, unless `strict_buckets` is set.
    """

    settle_seconds: float = 0.2
    stop_seconds: float = 0.2
    buckets: Mapping[str, str] = field(default_factory=dict)
    strict_buckets: bool = False
    assume: Assumptions = field(default_factory=Assumptions)


def quota(connection: sqlite3.Connection, name: str, account: str = "", region: str = "") -> int:
    """Return the applied value of a resource quota: the account's in the region, else everybody's, else AWS's default."""
    (found,) = connection.execute(
        "SELECT coalesce((SELECT value FROM settings WHERE name = ?), (SELECT value FROM settings WHERE name = ?))",
        (_key(name, account, region), _key(name)),
    ).fetchone()
    return RESOURCE_QUOTAS[name].default if found is None else int(found)


def set_quota(connection: sqlite3.Connection, name: str, value: int, account: str = "", region: str = "") -> None:
    """Change a resource quota, as AWS Support would: of one account in one region, or (both empty) of everybody."""
    if name not in RESOURCE_QUOTAS:
        raise ValueError(f"no quota {name!r}; there are {', '.join(RESOURCE_QUOTAS)}")
    if not 0 <= value <= MOST:
        raise ValueError(f"a quota lies between 0 and {MOST:,}")
    if bool(account) != bool(region):
        raise ValueError("a quota is of an account in a region: give both, or neither")
    connection.execute(
        "INSERT INTO settings VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (_key(name, account, region), str(value)),
    )


def _key(name: str, account: str = "", region: str = "") -> str:
    return f"quota:{account}/{region}/{name}" if account else f"quota:{name}"


class Clock(Protocol):
    """What the sandbox needs to know about time."""

    def now(self) -> float:
        """Seconds since the epoch; stored in the database, so comparable between processes."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go backwards; for token buckets."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait; a virtual clock moves on instead."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Wall-clock seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return the machine's monotonic seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block the calling thread."""
        time.sleep(seconds)


class VirtualClock:
    """A clock that stands still until `advance` (or a `sleep`) moves it."""

    def __init__(self, start: float = 1_767_225_600.0) -> None:
        """Start at a fixed instant, so that runs repeat (the default is 2026-01-01T00:00:00Z)."""
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the instant the clock stands at."""
        return self._now

    def monotonic(self) -> float:
        """Return that instant: nothing else moves this clock."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Move on by the time that would have been waited."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move on; going back would undo due-times already acted upon."""
        if not 0 <= seconds < math.inf:
            raise ValueError("a clock is advanced by a number of seconds, and not by a negative one")
        with self._lock:
            self._now += seconds
