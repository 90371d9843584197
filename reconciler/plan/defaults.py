"""The fields that are at the service's default and that the spec does not name: what a report folds into a count, one by one. Pure."""

from __future__ import annotations

from reconciler.model.address import Address
from reconciler.model.kinds import FIELDS
from reconciler.model.normalise import default_of
from reconciler.model.resource import DesiredState, LiveState
from reconciler.model.tags import ID, STACK
from reconciler.plan.actions import TargetPlan
from reconciler.plan.findings import AtDefault


def at_default(plan: TargetPlan, desired: DesiredState, live: LiveState) -> tuple[AtDefault, ...]:
    """Return the resources that have such fields, by address; as many fields as the plan counted."""
    others = {arn for duplicate in plan.duplicates for arn in duplicate.others}
    found = []
    for kind, group in live.resources.items():
        for resource in group:
            if resource.tags.get(STACK) != desired.stack or ID not in resource.tags or resource.arn in others:
                continue
            address = Address(kind, resource.tags[ID])
            wanted = desired.resources.get(address)
            if wanted is None:
                continue
            named = resource.properties.keys() | wanted.properties.keys()
            fields = {name: default_of(kind, name, resource.properties) for name in FIELDS[kind] if name not in named}
            if fields:
                found.append(AtDefault(address, fields))
    return tuple(sorted(found, key=lambda one: one.address))
