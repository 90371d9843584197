"""Settings of a sandbox: delays, buckets, assumptions, resource quotas, the clock.

An assumption is a choice where public sources do not say what the service does. The first option is the default; a
client that is tested under the others as well is right with either behaviour of the service.

Everything that depends on time (a recording configuration becoming ACTIVE, a token bucket, the end of a stream) reads
a `Clock`, so a test with a `VirtualClock` never waits.
"""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class ControlError(ValueError):
    """The sandbox refuses an option or a control operation."""


@dataclass(frozen=True, slots=True)
class Assumption:
    """What is assumed, and the options, the default first."""

    subject: str
    options: tuple[str, ...]


ASSUMPTIONS: Mapping[str, Assumption] = {
    "list-order": Assumption("order of lists (shuffled: a new order for each listing)", ("creation", "shuffled")),
    "list-pages": Assumption("size of pages (short: half, and an empty last page)", ("full", "short")),
    "batch-order": Assumption("order of batch answers", ("request", "shuffled")),
    "batch-code": Assumption("code of a batch error: HTTP status or name", ("status", "name")),
    "set-order": Assumption("order of countries, origins, renditions and storage in answers", ("kept", "sorted")),
    "unset-members": Assumption('unset members in answers: shown as "" or {}, or absent', ("shown", "absent")),
    "name-filter": Assumption("what filterByName matches", ("exact", "prefix")),
    "live-update": Assumption("updating a live channel", ("conflict", "validation", "accepted")),
    "unsettled-delete": Assumption("deleting a resource in CREATING or UPDATING", ("conflict", "accepted")),
    "unsettled-reference": Assumption("attaching a resource in CREATING", ("conflict", "validation", "accepted")),
    "unknown-reference": Assumption("attaching an unknown resource", ("not-found", "validation")),
    "attached-delete": Assumption("deleting an attached policy, ad or slate configuration", ("conflict", "accepted")),
    "idle-preset": Assumption("a preset for type BASIC or STANDARD", ("refused", "ignored")),
    "multitrack-update": Assumption("multitrack members omitted in an update", ("kept", "defaults")),
    "empty-ad-reference": Assumption('adConfigurationArn "" in an update', ("detaches", "refused")),
    "empty-lists": Assumption("an empty list in the update of a policy", ("clears", "ignored")),
    "duplicate-key": Assumption(
        "importing a known public key while the quota is used up: the error", ("conflict", "quota")
    ),
    "rate-burst": Assumption("calls that a full bucket allows at once", ("rate", "one")),
    "rate-counting": Assumption(
        "how calls are counted (seconds: the bucket is filled at each whole second)", ("refill", "seconds")
    ),
    "retained-tags": Assumption(
        "system tags of a resource that has left its CloudFormation stack (DeletionPolicy Retain)", ("kept", "removed")
    ),
    "retained-resource": Assumption(
        "DescribeStackResources for a resource that has left its stack (skipped: found as DELETE_SKIPPED)",
        ("unknown", "skipped"),
    ),
    "retry-after": Assumption("Retry-After header of a 429", ("absent", "present")),
}


class Assumptions:
    """The chosen options of one server process."""

    def __init__(self, given: Mapping[str, str] | None = None) -> None:
        """Choose the defaults, except for the given names."""
        self._started = dict(given or {})
        self._chosen: dict[str, str] = {}
        self.restore()

    def restore(self) -> None:
        """Choose the options of the start again."""
        self._chosen = {name: assumption.options[0] for name, assumption in ASSUMPTIONS.items()}
        for name, option in self._started.items():
            self.choose(name, option)

    def choose(self, name: str, option: str) -> None:
        """Choose an option of an assumption. Raises ControlError if either is unknown."""
        assumption = ASSUMPTIONS.get(name)
        if assumption is None:
            raise ControlError(f"unknown assumption {name!r}; known: {', '.join(ASSUMPTIONS)}")
        if option not in assumption.options:
            raise ControlError(f"{name} must be one of {', '.join(assumption.options)}, not {option!r}")
        self._chosen[name] = option

    def __getitem__(self, name: str) -> str:
        """Return the chosen option."""
        return self._chosen[name]

    def describe(self) -> list[dict[str, object]]:
        """Return all assumptions with the chosen option and all options."""
        return [
            {"name": name, "chosen": self._chosen[name], "options": list(each.options), "subject": each.subject}
            for name, each in ASSUMPTIONS.items()
        ]


@dataclass(frozen=True, slots=True)
class ResourceQuota:
    """A limit on the number of something in an account and region.

    name: how the sandbox's options and control operations name it; title and code: as in Service Quotas.
    """

    name: str
    title: str
    default: int
    adjustable: bool = False
    code: str = ""


_MAX_QUOTA = 1_000_000_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one server process.

    settle_seconds: duration of CREATING and UPDATING. stop_seconds: how long a stopped stream is still live.
    buckets: region by bucket name. Other buckets exist in every region, with `strict_buckets` in none.
    """

    settle_seconds: float
    stop_seconds: float
    buckets: Mapping[str, str]
    strict_buckets: bool
    assume: Assumptions


def applied_quota(connection: sqlite3.Connection, quota: ResourceQuota, account: str, region: str) -> int:
    """Return the value of a quota: the one set for the account and region, else the one set for all, else the default."""
    (found,) = connection.execute(
        "SELECT coalesce((SELECT value FROM settings WHERE name = ?), (SELECT value FROM settings WHERE name = ?))",
        (_key(quota, account, region), _key(quota)),
    ).fetchone()
    return quota.default if found is None else int(found)


def set_quota(
    connection: sqlite3.Connection, quota: ResourceQuota, value: int, account: str = "", region: str = ""
) -> None:
    """Set a quota for one account and region, or for all.

    Raises ControlError for a value out of range, or an account without a region.
    """
    if not 0 <= value <= _MAX_QUOTA:
        raise ControlError(f"a quota must be between 0 and {_MAX_QUOTA:,}")
    if bool(account) != bool(region):
        raise ControlError("a quota for one account needs its region as well: give both, or neither")
    connection.execute(
        "INSERT INTO settings VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (_key(quota, account, region), str(value)),
    )


def _key(quota: ResourceQuota, account: str = "", region: str = "") -> str:
    return f"quota:{account}/{region}/{quota.name}" if account else f"quota:{quota.name}"


class Clock(Protocol):
    """The time of a sandbox."""

    def now(self) -> float:
        """Return seconds since the epoch; stored in the database, so comparable between processes."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait; a virtual clock advances instead."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Return wall-clock seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Block the calling thread."""
        time.sleep(seconds)


class VirtualClock:
    """A clock that only `advance` and `sleep` move."""

    def __init__(self, start: float = 1_767_225_600.0) -> None:
        """Start at a fixed instant, so that runs repeat (the default is 2026-01-01T00:00:00Z)."""
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the current instant of this clock."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Advance instead of waiting."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Advance; a negative number of seconds raises ControlError, as what was due would be undone."""
        if not 0 <= seconds < math.inf:
            raise ControlError("seconds must be a number, 0 or more")
        with self._lock:
            self._now += seconds
