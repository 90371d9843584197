"""Finds what changed since a plan was saved, and which changes were made outside, with the values to revert them to.

A plan is stale if the spec changed, or a live resource that it changes or depends on; a stale plan is refused as a whole.
The spec tag of a live resource is the digest of the spec it was last applied from. If the record of the last apply has that digest,
what differs from its values was modified outside, and the rest is pending.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from reconciler.diff import FieldChange, compare, compare_tags
from reconciler.model.address import PROTECT, SPEC, Address
from reconciler.model.kinds import CHILD_KINDS, KINDS, REFERENCES, kind_of, parent_of, references_in
from reconciler.model.resource import DesiredResource, DesiredState, LiveResource, LiveState, effective_properties
from reconciler.model.values import Ref, Value, as_json
from reconciler.plan.pairing import users_of
from reconciler.plan.plan import Action, Reason, TargetPlan, Verb


def changes_since_plan(saved: TargetPlan, desired: DesiredState, live: LiveState) -> tuple[str, ...]:
    """Return what changed since the plan was made, one line for each resource and field; empty if the plan still holds."""
    by_arn = {resource.arn: resource for kind in KINDS for resource in live.of(kind)}
    by_address = dict(live.claims(desired.stack))
    lines = list(_spec(saved, desired, by_address))
    for action in saved.actions:
        if action.blocked is None:
            lines += _action(action, by_arn, by_address, live)
    lines += _users(saved, live)
    return tuple(dict.fromkeys(lines))


def _spec(saved: TargetPlan, desired: DesiredState, by_address: Mapping[Address, LiveResource]) -> Iterator[str]:
    if saved.spec_digest == desired.digest:
        return
    planned = {action.address: action for action in saved.actions if action.verb is not Verb.DELETE}
    found = []
    for address, resource in desired.resources.items():
        action = planned.get(address)
        recorded = _recorded(action) if action else _written(by_address.get(address))
        if recorded != resource.digest:
            found.append(address)
    found += [action.address for action in planned.values() if action.address not in desired.resources]
    found += [
        action.address
        for action in saved.actions
        if action.verb is Verb.DELETE and action.reason is Reason.LEFT_SPEC and action.address in desired.resources
    ]
    names = ", ".join(str(address) for address in sorted(set(found)))
    yield f"the spec changed: {names}" if names else "the spec changed"


def _recorded(action: Action) -> str | None:
    """Return the digest of the spec that a planned action was made from: the one it writes, or the one written already."""
    for step in action.steps:
        tags = step.parameters.get("tags")
        if isinstance(tags, Mapping) and SPEC in tags:
            return str(tags[SPEC])
    return action.observed.tags.get(SPEC) if action.observed else None


def _written(live: LiveResource | None) -> str | None:
    return None if live is None else live.tags.get(SPEC)


def _action(
    action: Action, by_arn: Mapping[str, LiveResource], by_address: Mapping[Address, LiveResource], live: LiveState
) -> Iterator[str]:
    if action.address.kind in CHILD_KINDS and action.arn is None:
        # A key belongs to one channel, and a key created with its channel is as new as the channel.
        for channel in (step.parameters.get("channelArn") for step in action.steps):
            yield from (
                f"{action.address}: to be created, and exists now ({key.arn})"
                for key in live.of(action.address.kind)
                if key.properties.get("channelArn") == channel
            )
    elif action.arn is None:
        if action.address in by_address:
            yield f"{action.address}: to be created, and exists now ({by_address[action.address].arn})"
    elif parent_of(action.address).kind in live.not_read:
        pass  # the spec has no resource of its kind any more, which is reported already
    elif action.arn not in by_arn:
        yield f"{action.address}: {action.arn} no longer exists"
    else:
        yield from _fields(action, by_arn[action.arn])
    for step in action.steps:
        for name, value in step.parameters.items():
            if (
                name in (KINDS[action.address.kind].identifier, "resourceArn")
                or not isinstance(value, str)
                or value in by_arn
            ):
                continue
            # An ARN is known to be absent only if its kind was read.
            if (kind := kind_of(value)) and kind.name not in live.not_read:
                yield f"{action.address}: {value}, which it refers to, no longer exists"


def _fields(action: Action, resource: LiveResource) -> Iterator[str]:
    if action.observed is None:
        return
    observed = action.observed
    changes: tuple[FieldChange, ...] = compare(
        action.address.kind, observed.properties, resource.properties
    ) + compare_tags(observed.tags, resource.tags)
    shown = [change for change in changes if change.tag != SPEC]
    for change in shown or changes:  # the digest follows from the rest, if there is any
        before = "absent" if change.absent_before else as_json(change.before)
        after = "absent" if change.absent_after else as_json(change.after)
        yield f"{action.address}: {change.path} was {before} and is now {after}"
    failed = KINDS[action.address.kind].failed
    if observed.state != resource.state and failed in (observed.state, resource.state):
        yield f"{action.address}: its state was {observed.state} and is now {resource.state}"


def _users(saved: TargetPlan, live: LiveState) -> Iterator[str]:
    """Yield a line for each resource that has begun to use something that the plan deletes."""
    planned = {action.arn for action in saved.actions if REFERENCES.get(action.address.kind)}
    deleted = [
        (action, step.parameters[KINDS[action.address.kind].identifier])
        for action in saved.actions
        for step in action.steps
        if step.operation == KINDS[action.address.kind].delete
    ]
    if not deleted:
        return
    users = users_of(live)
    for action, arn in deleted:
        for user in users.get(str(arn), ()):
            if user.arn not in planned:
                title = KINDS[user.kind].title
                yield f"{action.address}: {title} {user.name or '(without a name)'} ({user.arn}) now uses {arn}"


class AppliedSpec(NamedTuple):
    """The spec of one resource as it was last applied. ``arn`` is empty if it was unknown; properties may hold ``Ref``s.

    ``ignore`` are the fields that were ignored then, so that their applied values are unknown.
    """

    digest: str
    properties: Mapping[str, Value]
    tags: Mapping[str, str]
    arn: str = ""
    ignore: frozenset[str] = frozenset()


def modified_outside(
    action: Action, spec: DesiredResource, applied: AppliedSpec | None, arns: Mapping[Address, str]
) -> tuple[FieldChange, ...] | None:
    """Return which of an action's changes were made outside since the last apply, or ``None`` if that is unknown.

    ``arns`` has the live resource of each address, for recorded references.
    """
    live = action.observed
    if applied is None or live is None or live.tags.get(SPEC) != applied.digest:
        return None
    before = {
        name: arns.get(value.address, value) if isinstance(value, Ref) else value
        for name, value in applied.properties.items()
    }
    ignore = spec.ignore | applied.ignore
    moved = (
        *compare(
            action.address.kind,
            live.properties,
            effective_properties(action.address.kind, live.properties, before, ignore),
        ),
        *compare_tags(live.tags, applied.tags, ignore),
    )
    paths = [change.path for change in moved]
    return tuple(change for change in action.changes if any(_overlap(change.path, path) for path in paths))


def _overlap(path: str, other: str) -> bool:
    """Return whether the paths are equal, or one is inside the other."""
    return path == other or path.startswith(other + "/") or other.startswith(path + "/")


def as_applied(desired: DesiredState, live: LiveState, applied: Mapping[Address, AppliedSpec]) -> DesiredState:
    """Return what is known of the desired state of the last apply. ``applied`` are the recorded specs of it.

    A resource has the digest of the spec that it was applied from: that spec is in the record, or is the present one.
    Left out is what was never applied, what was applied elsewhere from another commit, and what the spec no longer has, so
    that it need not be created again.
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
    # A rename, and what is to be forgotten, are pending as well.
    return desired._replace(resources=resources, moved={}, forget=frozenset())


def _is_enough(address: Address, *, is_there: bool) -> bool:
    """Return whether a record is all that a resource is made of: stream keys have sinks as well, and a credential cannot be read back."""
    return address.kind not in CHILD_KINDS and (is_there or not KINDS[address.kind].credential)


def _has_all(resource: DesiredResource, resources: Mapping[Address, DesiredResource]) -> bool:
    """Return whether everything that a resource refers to, and belongs to, is in the same state."""
    needed = [
        each.address for each in references_in(resource.address.kind, resource.properties) if isinstance(each, Ref)
    ]
    return parent_of(resource.address) in resources and all(address in resources for address in needed)
