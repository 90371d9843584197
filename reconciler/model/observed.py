"""What ``status``, ``outputs`` and drift attribution read: counts, live channels, quotas, outputs and CloudTrail events, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from reconciler.model.address import Address, KindName
from reconciler.model.resource import Stream, UnmanagedResource


class KindCount(NamedTuple):
    """The number of resources of a kind: of this stack and others. ``unreadable`` says why they could not be counted."""

    kind: KindName
    managed: int = 0
    others: int = 0
    unreadable: str = ""


class Broadcast(NamedTuple):
    """A live channel. ``address`` is ``None`` for a channel of another owner; ``name`` is its name in AWS."""

    stream: Stream
    address: Address | None = None
    name: str = ""


class QuotaCount(NamedTuple):
    """The use of a quota. ``applied`` says that ``limit`` is from Service Quotas instead of the documented default."""

    name: str
    used: int
    limit: int
    adjustable: bool = False
    code: str = ""
    applied: bool = False

    @property
    def percent(self) -> float:
        """Return the used share, in per cent."""
        return 100.0 * self.used / self.limit if self.limit else 100.0


class Overview(NamedTuple):
    """One account and region. ``live_channels`` is sorted by viewers, most first; ``None`` if unreadable."""

    name: str
    account_id: str
    region: str
    kinds: tuple[KindCount, ...]
    live_channels: tuple[Broadcast, ...] | None
    quotas: tuple[QuotaCount, ...]
    notes: tuple[str, ...] = ()
    unmanaged: tuple[UnmanagedResource, ...] = ()


@dataclass(frozen=True, slots=True)
class TargetOutputs:
    """The outputs of one target's resources, by address and name. ``missing`` are addresses of the spec without a live resource."""

    name: str
    account_id: str
    region: str
    resources: Mapping[Address, Mapping[str, str]]
    missing: tuple[Address, ...]


class Event(NamedTuple):
    """A successful call, as CloudTrail recorded it, without parameter values, which may be secret.

    ``at`` is a time in ISO 8601, ``who`` the principal, ``source`` the client; ``ours`` says that ivs-reconciler made the call.
    ``arns`` are the resources in its parameters, ``made`` those it created.
    ``fields`` are the names of its parameters, tags as ``tags/<key>``; ``None`` if CloudTrail has none.
    ``owner`` is the stack and id in its tags, if any.
    """

    id: str
    operation: str
    at: str
    who: str
    source: str
    ours: bool
    arns: frozenset[str] = frozenset()
    made: frozenset[str] = frozenset()
    fields: frozenset[str] | None = None
    owner: tuple[str, str] | None = None


class Trail(NamedTuple):
    """The events found, newest first. ``truncated`` names operations with more events; ``error`` says why the read is incomplete."""

    events: tuple[Event, ...] = ()
    truncated: tuple[str, ...] = ()
    error: str = ""
