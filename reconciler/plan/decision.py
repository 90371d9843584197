"""What is decided about one resource, what a decision is made from, and the helpers that decisions share.

``PlanInputs`` is everything that a decision may depend on. A ``Decision`` says what is due and why; a ``Treatment`` is what the rest of
the plan means for it. ``steps`` makes the calls from both, and ``decide`` the action.

A rotated stream key has tags in its create call for its rotation label, and for its value not being published yet.
The tag for the published value is written last, so after an interruption the next plan continues there: it reads the value again and creates
no other key. No plan contains the value: a step names its sink, and only the executor publishes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

from reconciler.diff import FieldChange
from reconciler.model.address import DELIVERED, ID, PREFIX, PROTECT, ROTATION, SPEC, STACK, WAITING, Address, KindName
from reconciler.model.kinds import DEFAULT_QUOTAS, USERS, parent_of
from reconciler.model.resource import DesiredResource, DesiredState, LiveResource, LiveState
from reconciler.model.target import Sink
from reconciler.model.values import Ref, Value
from reconciler.plan.pairing import Choice, Ownership
from reconciler.plan.plan import Blocked, PlanOptions, Reason, ReplaceOrder, Step, Verb

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""The time of a plan without a clock: no retention period is over yet."""

Bindings: TypeAlias = Mapping[Address, "str | Ref | None"]
"""By address, the ARN that references resolve to: known, bound by this plan, or ``None`` if the resource will not exist."""


class Rotate(NamedTuple):
    """What one run was asked for in addition to the spec: keys to rotate, a file for the value, and whether also while the channel is live."""

    addresses: frozenset[Address] = frozenset()
    file: Sink | None = None
    even_live: bool = False


NOTHING = Rotate()


class PlanInputs(NamedTuple):
    """Both states, the ownership, and what this run may do.

    ``limits`` are the applied quotas, ``rotate`` is what this run was asked to rotate, ``now`` when the plan is made.
    ``kept`` is the one managed resource of an address; ``choices`` has the choice for each address that several resources claim.
    """

    desired: DesiredState
    live: LiveState
    options: PlanOptions
    owned: Ownership
    kept: Mapping[Address, LiveResource]
    choices: Mapping[Address, Choice]
    limits: Mapping[KindName, int] = DEFAULT_QUOTAS
    rotate: Rotate = NOTHING
    now: datetime = BEGINNING


class Decision(NamedTuple):
    """What is due for one resource, and why.

    ``live`` is the live resource, ``desired`` the one of the spec.
    ``wanted`` are the target properties: live values for ignored fields, references resolved if the ARN is known.
    ``publish_to`` are the sinks for the value of a stream key.
    """

    address: Address
    verb: Verb
    reason: Reason
    explanation: str
    live: LiveResource | None = None
    desired: DesiredResource | None = None
    wanted: Mapping[str, Value] = {}
    changes: tuple[FieldChange, ...] = ()
    blocked: Blocked | None = None
    warnings: tuple[str, ...] = ()
    publish_to: tuple[Sink, ...] = ()


class InUse(NamedTuple):
    """Which channels keep using a resource, and why. ``by_others`` is true if one of them is not this stack's.

    ``others`` are the users if none of them is this stack's.
    """

    explanation: str
    by_others: bool
    others: tuple[LiveResource, ...] = ()


class Treatment(NamedTuple):
    """What the rest of the plan means for a decision: how a replacement is carried out, and why it is blocked.

    ``may_delete`` is false for a replacement that must not delete yet.
    ``retires`` is when a replaced key pair may be deleted; empty if it is deleted at once.
    """

    blocked: Blocked | None = None
    order: ReplaceOrder | None = None
    may_delete: bool = True
    retires: str = ""
    warnings: tuple[str, ...] = ()


AS_DECIDED = Treatment()


class Planned(NamedTuple):
    """A decision, what the rest of the plan means for it, and its calls."""

    decision: Decision
    treatment: Treatment
    steps: tuple[Step, ...]


def moved_from(moved: Mapping[Address, Address], address: Address, live: LiveResource) -> Address | None:
    """Return the former address of a resource that the spec renamed, if its tags still have it. ``moved`` is as in ``DesiredState``."""
    former = Address(live.kind, live.tags.get(ID, ""))
    owner = moved.get(parent_of(former))
    return former if owner is not None and owner == parent_of(address) and former != address else None


def channel_of(key: DesiredResource) -> Address:
    """Return the address of a stream key's channel."""
    channel = key.properties.get("channelArn")
    return channel.address if isinstance(channel, Ref) else parent_of(key.address)


def unseen_users(inputs: PlanInputs, kind: KindName) -> str:
    """Return why the users of a resource of this kind are unknown, or an empty string if all kinds that may refer to it were read."""
    return "; ".join(
        f"{user.titles} could not be read ({inputs.live.unreadable[user.name]}), so it is unknown which of them use it"
        for user in USERS[kind]
        if user.name in inputs.live.unreadable
    )


def why_different(names: str, keys: Iterable[str]) -> tuple[Reason, str]:
    """Return the reason of an update in place, and its explanation: the names of the fields that differ, and the keys of the tags."""
    differ = [f"{names} {'differ' if ', ' in names else 'differs'}"] if names else []
    # The recorded digest of the spec differs with anything else.
    if tags := ", ".join(key for key in keys if key != SPEC):
        differ.append(f"tags differ: {tags}")
    if not differ:
        return Reason.SPEC_RECORD, "only the recorded digest of the spec differs"
    return Reason.PROPERTIES_DIFFER if names else Reason.TAGS_DIFFER, "; ".join(differ)


def may_adopt(owner: str, inputs: PlanInputs) -> bool:
    """Return whether a resource of this owner, empty for none, may be adopted."""
    return owner in ("", inputs.desired.stack, *inputs.options.take_over)


def adoption_losses(fields: tuple[FieldChange, ...], tags: tuple[FieldChange, ...]) -> str:
    """Return the names of what an adoption would overwrite or remove: fields, tags but for our own, and the protection."""
    names = [change.field for change in fields]
    for change in tags:
        key = change.tag
        if key == PROTECT and change.absent_after:
            names.append("protect")
        elif not change.absent_before and not key.lower().startswith(PREFIX):
            names.append(f"tags.{key}")
    return ", ".join(dict.fromkeys(names))


def owner_phrase(live: LiveResource, inputs: PlanInputs) -> str:
    """Return the owner that a resource is taken over from, as a phrase; empty if there is no other."""
    owner = live.tags.get(STACK, "")
    return f" of stack {owner}" if owner not in ("", inputs.desired.stack) else ""


def is_protected(live: LiveResource) -> bool:
    """Return whether the live resource has the protect tag, also without protect in the spec."""
    return live.tags.get(PROTECT) == "true"


def sinks_of(resource: DesiredResource, asked: Rotate) -> tuple[Sink, ...]:
    """Return the sinks for the value of a key."""
    file = asked.file if resource.address in asked.addresses else None
    return tuple(sink for sink in (resource.sink, file) if sink is not None)


def why_rotate(live: LiveResource, resource: DesiredResource) -> str:
    """Return why a key has to be rotated: its label in the spec is another than it was made for. Empty if it need not be."""
    label, made_for = resource.tags.get(ROTATION), live.tags.get(ROTATION)
    if label is None or label == made_for:
        return ""
    before = f'"{made_for}"' if made_for else "(none)"
    return f'rotation label: {before} -> "{label}"'


def must_publish(live: LiveResource, publish_to: tuple[Sink, ...]) -> bool:
    """Return whether the value must still be published."""
    return any(live.tags.get(DELIVERED) != sink.mark for sink in publish_to)


def is_unpublished(live: LiveResource) -> bool:
    """Return whether the key was created by an interrupted rotation."""
    return live.tags.get(DELIVERED) == WAITING


def sink_words(publish_to: tuple[Sink, ...]) -> str:
    """Return where the value goes, as a phrase."""
    if publish_to:
        return f"its value is published to {' and to '.join(map(str, publish_to))}"
    return "no sink is configured: read its value with aws ivs get-stream-key"
