"""What can be set about a sandbox: delays, buckets, resource quotas.

Documented quotas are from the user guide, page "service quotas"; delays stand for facts the
service does not promise ("a few seconds").
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.sandbox.assumptions import Assumptions


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
