"""The desired state of the last apply: what outside changes are reverted to while new commits wait for a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reconciler.model.address import PROTECT, SPEC, Address, KindName
from reconciler.model.kinds import CHILD_KINDS, parent_of, references_in
from reconciler.model.resource import DesiredResource, DesiredState, LiveState
from reconciler.model.values import Ref
from reconciler.plan.stale import AppliedSpec


def as_applied(desired: DesiredState, live: LiveState, applied: Mapping[Address, AppliedSpec]) -> DesiredState:
    """Return what is known of the desired state of the last apply. ``applied`` are the recorded specs of it.

    A resource has the digest of the spec that it was applied from: that spec is in the record, or is the present one.
    Left out is what was never applied, what was applied by somebody else from another commit, and what the spec no longer has and
    nobody needs to create again.
    """
    there = {address: resource.tags.get(SPEC) for address, resource in live.claims(desired.stack)}
    resources: dict[Address, DesiredResource] = {}
    for address in dict.fromkeys((*desired.resources, *applied)):
        spec, record = desired.resources.get(address), applied.get(address)
        if address not in there and (spec is None or record is None):
            continue
        digest = there.get(address) or (record.digest if record else None)
        if spec is not None and digest == spec.digest:
            resources[address] = spec
        elif record is not None and digest == record.digest and _is_enough(address, is_there=address in there):
            resources[address] = DesiredResource(
                address, record.properties, record.tags, record.digest, PROTECT in record.tags, record.ignore
            )
    while incomplete := [address for address, one in resources.items() if not _has_all(one, resources)]:
        for address in incomplete:
            del resources[address]
    return replace(desired, resources=resources)


def _is_enough(address: Address, *, is_there: bool) -> bool:
    """Return whether a record is all that a resource is made of: stream keys have sinks as well, and key pairs a public key."""
    return address.kind not in CHILD_KINDS and (is_there or address.kind is not KindName.PLAYBACK_KEY_PAIR)


def _has_all(resource: DesiredResource, resources: Mapping[Address, DesiredResource]) -> bool:
    """Return whether everything that a resource refers to, and belongs to, is in the same state."""
    needed = [
        each.address for each in references_in(resource.address.kind, resource.properties) if isinstance(each, Ref)
    ]
    return parent_of(resource.address) in resources and all(address in resources for address in needed)
