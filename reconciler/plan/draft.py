"""What the deciding modules hand one another before there are actions.

A ``Scene`` is everything a decision may look at; a ``Draft`` is a decision about one resource, from which ``steps`` makes calls and ``build`` an action.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

from reconciler.model.address import Address, KindName
from reconciler.model.quotas import DEFAULTS
from reconciler.model.resource import DesiredResource, DesiredState, LiveResource, LiveState
from reconciler.model.sink import Sink
from reconciler.model.values import Ref, Value
from reconciler.plan.actions import Blocked, FieldChange, Observed, PlanOptions, Reason, ReplaceOrder, Verb
from reconciler.plan.delivery import NOTHING, Rotate
from reconciler.plan.duplicates import Choice
from reconciler.plan.ownership import Ownership

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""The time of a plan that knows none: nothing is over yet."""

Bindings: TypeAlias = Mapping[Address, "str | Ref | None"]
"""By address, the ARN that others reach a resource by: known, bound by this plan, or none because it is not going to be there."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Both states, who owns what, and what this run may do.

    ``limits`` are the quotas that apply. ``rotate`` is what this run was asked to make anew, ``now`` when the plan is made.
    ``kept`` is the one live resource of ours that is meant by an address; ``choices`` says for the addresses that several claimed what was chosen.
    """

    desired: DesiredState
    live: LiveState
    options: PlanOptions
    owned: Ownership
    kept: Mapping[Address, LiveResource]
    choices: Mapping[Address, Choice]
    limits: Mapping[KindName, int] = field(default_factory=lambda: DEFAULTS)
    rotate: Rotate = NOTHING
    now: datetime = BEGINNING


@dataclass(frozen=True, slots=True)
class Draft:
    """A decision about one resource.

    ``live`` is what is there, ``desired`` what the spec says.
    ``wanted`` are the properties it shall have: ignored fields as they are, references resolved where the ARN is known.
    ``lets_go`` is false for a replacement whose delete half has to stay undone.
    ``deliver`` is where the value of a stream key goes once it is there.
    ``retires`` is until when a key pair that is replaced stays; empty when it goes at once.
    """

    address: Address
    verb: Verb
    reason: Reason
    explanation: str
    live: LiveResource | None = None
    desired: DesiredResource | None = None
    wanted: Mapping[str, Value] = field(default_factory=dict)
    changes: tuple[FieldChange, ...] = ()
    order: ReplaceOrder | None = None
    blocked: Blocked | None = None
    warnings: tuple[str, ...] = ()
    lets_go: bool = True
    deliver: tuple[Sink, ...] = ()
    retires: str = ""

    @property
    def observed(self) -> Observed | None:
        """What planning saw of the live resource."""
        return None if self.live is None else Observed(self.live.properties, self.live.tags, self.live.state)

    @property
    def binding(self) -> str | Ref | None:
        """The ARN that others reach this resource by: known, bound by this plan, or none because it is not going to be there."""
        match self.verb:
            case Verb.CREATE:
                return None if self.blocked else Ref(self.address)
            case Verb.REPLACE if self.blocked is None:
                return Ref(self.address)
            case Verb.REPLACE if self.reason is Reason.CREATE_FAILED:
                return None
            case Verb.ADOPT if self.blocked is not None:
                return None
            case _:
                return self.live.arn if self.live else None


def channel_of(key: DesiredResource) -> Address:
    """Return the address of the channel that a stream key of the spec belongs to."""
    channel = key.properties.get("channelArn")
    return channel.address if isinstance(channel, Ref) else Address(KindName.CHANNEL, key.address.id)
