"""Several live resources claim one address: which one is meant, and what becomes of the others.

A create whose answer was lost, or a replacement that was interrupted, leaves such a group behind; copied tags do too.
The choice depends on nothing but what is there, so that every run makes the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.diff import effective
from reconciler.model.address import Address
from reconciler.model.kinds import KINDS
from reconciler.model.resource import DesiredState, LastStream, LiveResource
from reconciler.model.tags import RETIRES, STACK
from reconciler.model.values import Ref, Value
from reconciler.plan.actions import Reason
from reconciler.plan.ownership import Ownership


@dataclass(frozen=True, slots=True)
class Choice:
    """The resource that is kept, and each other with the reason why it may go. ``why`` says what of its use spoke for the one kept."""

    kept: LiveResource
    others: tuple[tuple[LiveResource, Reason], ...] = ()
    why: str = ""


def settle(
    desired: DesiredState, owned: Ownership, last_streams: Mapping[str, LastStream]
) -> tuple[dict[Address, LiveResource], dict[Address, Choice]]:
    """Return the one live resource meant by each managed address, and the choice made where there were several."""
    kept: dict[Address, LiveResource] = {}
    choices: dict[Address, Choice] = {}
    # Claims come in the order of kinds: what a channel refers to is settled before the channel.
    for address, group in owned.claims.items():
        if len(group) == 1:
            kept[address] = group[0]
            continue
        choices[address] = _choose(address, group, desired, owned, kept, last_streams)
        kept[address] = choices[address].kept
    return kept, choices


def _choose(
    address: Address,
    group: tuple[LiveResource, ...],
    desired: DesiredState,
    owned: Ownership,
    settled: Mapping[Address, LiveResource],
    last_streams: Mapping[str, LastStream],
) -> Choice:
    """Choose one of the resources that claim an address.

    A kind that can be updated keeps the one in use, since a difference can be mended; the others keep one that already matches.
    What is in use is what most channels refer to, and of channels the one that was on air last; then the one whose stream key we tagged, which was done with.
    The service tells nobody how old a resource is.
    """
    in_order = sorted({last_streams[one.arn] for one in group if one.arn in last_streams}, reverse=True)
    can_update = KINDS[address.kind].update is not None
    spec = desired.resources.get(address)
    wanted: Mapping[str, Value] = {}
    if spec is not None:
        wanted = {name: _known(value, settled) for name, value in spec.properties.items()}

    def matches(resource: LiveResource) -> bool:
        return (
            spec is not None
            and not has_failed(resource)
            and effective(address.kind, resource.properties, wanted, spec.ignore) == resource.properties
        )

    def rank(resource: LiveResource) -> tuple[object, ...]:
        used = -len(owned.users.get(resource.arn, ()))
        unlike = not matches(resource)
        last = last_streams.get(resource.arn)
        off_air = len(in_order) if last is None else in_order.index(last)
        keyless = not any(key.tags.get(STACK) == desired.stack for key in owned.keys.get(resource.arn, ()))
        return (
            (has_failed(resource), used, off_air, unlike, keyless, resource.arn)
            if can_update
            else (unlike, has_failed(resource), RETIRES in resource.tags, used, resource.arn)
        )

    kept, *others = sorted(group, key=rank)
    replaced = not can_update and matches(kept)
    return Choice(
        kept,
        tuple(
            (other, Reason.SUPERSEDED if replaced and not matches(other) else Reason.DUPLICATE)
            for other in sorted(others, key=lambda resource: resource.arn)
        ),
        str(last_streams.get(kept.arn, "")),
    )


def _known(value: Value, settled: Mapping[Address, LiveResource]) -> Value:
    return settled[value.address].arn if isinstance(value, Ref) and value.address in settled else value


def has_failed(resource: LiveResource) -> bool:
    """Whether the service gave up making this resource; nothing but deletion helps then (service model, ``CREATE_FAILED``)."""
    return resource.state is not None and resource.state == KINDS[resource.kind].failed


def is_unsettled(resource: LiveResource) -> bool:
    """Whether the service is still making or changing this resource."""
    return resource.state is not None and resource.state not in (
        KINDS[resource.kind].ready,
        KINDS[resource.kind].failed,
    )
