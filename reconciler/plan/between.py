"""Two desired states in, a plan's value out: what the spec of one revision would change where the spec of another is applied.

The older spec stands in the place of live state, so that replacements, orders, reasons and words are those of a real plan.
In that account a resource's ARN is its address: references read well, and nothing looks like an ARN that is none.
Nothing here can be applied: there are no calls, no ARNs, and nothing was observed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from reconciler.model.address import Address, KindName
from reconciler.model.kinds import KINDS
from reconciler.model.resource import DesiredResource, DesiredState, LiveResource, LiveState
from reconciler.model.target import Target
from reconciler.model.values import Ref, Value
from reconciler.plan.actions import Action, FieldChange, Orphan, PlanOptions, TargetPlan
from reconciler.plan.build import build_plan

EMPTY = DesiredState("", {}, "")
"""The spec where there was none: everything is new."""


def plan_between(
    base: DesiredState, head: DesiredState, options: PlanOptions, target: Target, *, notes: tuple[str, ...] = ()
) -> TargetPlan:
    """Return what would be done about one target if ``base`` were all there is and ``head`` were applied; ``notes`` come first among the plan's."""
    allowed = replace(options, prune=options.prune or target.prune)
    plan = build_plan(head, _as_live(base, head, target), allowed, target_name=target.name)
    return replace(
        plan,
        actions=tuple(_bare(action) for action in plan.actions),
        orphans=tuple(Orphan(orphan.address, "", orphan.protected) for orphan in plan.orphans),
        notes=(*notes, *_keys_left_alone(base, head), *plan.notes),
    )


def _as_live(base: DesiredState, head: DesiredState, target: Target) -> LiveState:
    resources: dict[KindName, list[LiveResource]] = {kind: [] for kind in KINDS}
    for address, resource in base.resources.items():
        if address.kind is not KindName.STREAM_KEY:
            resources[address.kind].append(_live(resource))
    # As a plan does: keys are looked at for the channels whose spec speaks of them, and every channel was born with one.
    for address in base.resources:
        key = Address(KindName.STREAM_KEY, address.id)
        if address.kind is KindName.CHANNEL and key in head.resources:
            known = base.resources.get(key)
            resources[KindName.STREAM_KEY].append(
                _live(known) if known else LiveResource(key.kind, str(key), {"channelArn": str(address)}, {})
            )
    return LiveState(
        target.account_id or "",
        target.region,
        {kind: tuple(sorted(found, key=_arn)) for kind, found in resources.items()},
    )


def _live(resource: DesiredResource) -> LiveResource:
    kind = KINDS[resource.address.kind]
    properties = {name: _by_address(value) for name, value in resource.properties.items()}
    return LiveResource(kind.name, str(resource.address), properties, resource.tags, kind.ready)


def _keys_left_alone(base: DesiredState, head: DesiredState) -> Iterator[str]:
    for address in sorted(base.resources):
        if (
            address.kind is KindName.STREAM_KEY
            and address not in head.resources
            and Address(KindName.CHANNEL, address.id) in head.resources
        ):
            yield f"{address}: its streamKey line left the spec; the key itself stays as it is until its channel is deleted"


def _bare(action: Action) -> Action:
    """Return the action without anything that speaks of an account."""
    return replace(
        action, arn=None, steps=(), observed=None, changes=tuple(_readable(change) for change in action.changes)
    )


def _readable(change: FieldChange) -> FieldChange:
    before, after = _by_address(change.before), _by_address(change.after)
    if before == after and isinstance(change.after, Ref):
        after = f"{change.after.address} (made anew)"
    return replace(change, before=before, after=after)


def _by_address(value: Value) -> Value:
    match value:
        case Ref():
            return str(value.address)
        case Mapping():
            return {key: _by_address(item) for key, item in value.items()}
        case tuple():
            return tuple(_by_address(item) for item in value)
        case _:
            return value


def _arn(resource: LiveResource) -> str:
    return resource.arn
