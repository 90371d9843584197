"""What an account holds and what is on air in it, at one moment: counts, broadcasts, quotas. Values only.

Calls that changed something, as CloudTrail has them: values, without the values of parameters, which may hold secrets.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.model.address import Address, KindName
from reconciler.model.resource import Stream


@dataclass(frozen=True, slots=True)
class KindCount:
    """How many resources of a kind there are: this stack's, and others'. ``unreadable`` says why they could not be counted."""

    kind: KindName
    managed: int = 0
    others: int = 0
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A channel on air. ``address`` is ``None`` where the channel is not this stack's; ``name`` is what it calls itself."""

    stream: Stream
    address: Address | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class QuotaCount:
    """How much of a quota is used. ``applied`` says that ``limit`` came from Service Quotas; else it is the documented default."""

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


@dataclass(frozen=True, slots=True)
class Overview:
    """One account and region. ``live_channels`` is in the order of viewers, most first, and ``None`` where it could not be seen."""

    name: str
    account_id: str
    region: str
    kinds: tuple[KindCount, ...]
    live_channels: tuple[Broadcast, ...] | None
    quotas: tuple[QuotaCount, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """One call that succeeded.

    ``at`` is an instant in ISO 8601, ``who`` the principal, ``source`` what the call was made with; ``ours`` says that this program made it.
    ``arns`` are the resources it was about, ``made`` those that it made.
    ``fields`` are the names of the parameters it gave, tags as ``tags/<key>``; ``None`` where CloudTrail left the parameters out.
    ``owner`` is the stack and id that its tags give, where it gave any.
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


@dataclass(frozen=True, slots=True)
class Trail:
    """What was found, newest first. ``cut`` names the operations of which there is more; ``why_not`` says why nothing could be asked, or not all of it."""

    events: tuple[Event, ...] = ()
    cut: tuple[str, ...] = ()
    why_not: str = ""
