"""What is due for a stream key of the spec.

Service facts: creating a channel creates a stream key with it, untagged; a channel has at most one key;
deleting the channel deletes its key (service model, user guide).
So a key is adopted rather than created, and its channel identifies it.
A key of this stack with another rotation label than the spec's is rotated; a key that is being adopted is not: its label counts from then on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.diff import FieldChange, additions, compare_tags, keys_of
from reconciler.model.address import DELIVERED, ID, ROTATION, STACK, Address, KindName
from reconciler.model.resource import DesiredResource, LiveResource
from reconciler.model.target import Sink
from reconciler.model.values import Ref, Value
from reconciler.plan.decision import (
    Bindings,
    Decision,
    PlanInputs,
    adoption_losses,
    channel_of,
    is_unpublished,
    may_adopt,
    moved_from,
    must_publish,
    sink_words,
    sinks_of,
    why_different,
    why_rotate,
)
from reconciler.plan.plan import Blocked, Reason, Verb


def decide(inputs: PlanInputs, resource: DesiredResource, bindings: Bindings) -> Decision | None:
    """Return a decision if the stream key differs from the spec."""
    channel = channel_of(resource)
    arn = bindings.get(channel)
    if channel in inputs.owned.untagged and channel not in inputs.owned.consents:
        arn = None  # its stream keys were not read
    if isinstance(arn, str) and KindName.STREAM_KEY not in inputs.live.unreadable:
        return _of_live_channel(inputs, resource, arn)
    blocked = None
    if arn is None:
        blocked = Blocked("depends", f"depends on {channel}, which is blocked")
    elif isinstance(arn, str):
        why = inputs.live.unreadable[KindName.STREAM_KEY]
        blocked = Blocked("unreadable", f"stream keys could not be read ({why}); correct that, then run plan again")
    with_channel = isinstance(arn, Ref)
    publish_to = sinks_of(resource, inputs.rotate)
    return Decision(
        resource.address,
        Verb.CREATE,
        Reason.BORN_WITH_CHANNEL if with_channel else Reason.NOT_IN_ACCOUNT,
        f"created by IVS together with {channel}; will be adopted and tagged{f', and {sink_words(publish_to)}' if publish_to else ''}"
        if with_channel
        else "unknown whether it exists",
        desired=resource,
        wanted=resource.properties,
        changes=additions(KindName.STREAM_KEY, resource.properties, resource.tags),
        blocked=blocked,
        publish_to=publish_to,
    )


def _of_live_channel(inputs: PlanInputs, resource: DesiredResource, channel_arn: str) -> Decision | None:
    wanted = {"channelArn": channel_arn}
    publish_to = sinks_of(resource, inputs.rotate)
    live, owner = key_of_channel(inputs, resource, channel_arn)
    if live is None:
        return Decision(
            resource.address,
            Verb.CREATE,
            Reason.NOT_IN_ACCOUNT,
            f"the channel has no stream key; {sink_words(publish_to)}",
            desired=resource,
            wanted=wanted,
            changes=additions(KindName.STREAM_KEY, wanted, resource.tags),
            publish_to=publish_to,
        )
    changes = _tag_changes(inputs, live, resource)
    asked = resource.address in inputs.rotate.addresses and not (publish_to and is_unpublished(live))
    if owner in (inputs.desired.stack, "") and (
        why := "rotation requested" if asked else owner and why_rotate(live, resource)
    ):
        return _rotated(resource, live, wanted, changes, why, publish_to)
    if owner == inputs.desired.stack:
        return _updated(inputs, resource, live, wanted, changes, publish_to)
    whose = f"belongs to stack {owner}" if owner else "has no owner"
    blocked, explanation = None, f"the channel's stream key {whose}"
    if not may_adopt(owner, inputs):
        blocked = Blocked(
            "unmanaged",
            f"{live.arn} is owned by another stack (tag {STACK}={owner}); forget it in that stack, or use --take-over {owner}",
        )
    elif (lost := adoption_losses((), changes)) and not inputs.options.adopt_with_changes:
        blocked = Blocked(
            "unmanaged",
            f"{live.arn} differs in {lost}; write the live values into the spec, adopt it, then change the spec, or use --adopt-with-changes",
        )
    else:
        explanation += f"; {sink_words(publish_to)}" if publish_to else ""
    return Decision(
        resource.address,
        Verb.ADOPT,
        Reason.BORN_WITH_CHANNEL,
        explanation,
        live=live,
        desired=resource,
        wanted=wanted,
        changes=changes,
        blocked=blocked,
        publish_to=publish_to,
    )


def _rotated(
    resource: DesiredResource,
    live: LiveResource,
    wanted: Mapping[str, Value],
    changes: tuple[FieldChange, ...],
    why: str,
    publish_to: tuple[Sink, ...],
) -> Decision:
    """Return the replacement of a key. An active stream continues without its key; only the next one needs the new value."""
    warning = f"new broadcasts need the new key; {sink_words(publish_to)}"
    return Decision(
        resource.address,
        Verb.REPLACE,
        Reason.ROTATION_DUE,
        why,
        live=live,
        desired=resource,
        wanted=wanted,
        changes=changes,
        warnings=(warning,),
        publish_to=publish_to,
    )


def _updated(
    inputs: PlanInputs,
    resource: DesiredResource,
    live: LiveResource,
    wanted: Mapping[str, Value],
    changes: tuple[FieldChange, ...],
    publish_to: tuple[Sink, ...],
) -> Decision | None:
    if publish_to and must_publish(live, publish_to):
        why = (
            "created by an interrupted rotation; no other key is created"
            if is_unpublished(live)
            else "its value is not published yet"
        )
        explanation = f"{why}; {sink_words(publish_to)}"
        return Decision(
            resource.address,
            Verb.UPDATE,
            Reason.DELIVERY_DUE,
            explanation,
            live=live,
            desired=resource,
            wanted=wanted,
            changes=changes,
            publish_to=publish_to,
        )
    if not changes:
        return None
    reason, explanation = why_different("", keys_of(changes))
    if former := moved_from(inputs.desired.moved, resource.address, live):
        reason, explanation = Reason.MOVED, f"moved from {former} with its channel"
    return Decision(
        resource.address, Verb.UPDATE, reason, explanation, live=live, desired=resource, wanted=wanted, changes=changes
    )


def _tag_changes(inputs: PlanInputs, live: LiveResource, resource: DesiredResource) -> tuple[FieldChange, ...]:
    """Return the tags that differ. The tag of an unpublished value stays until a sink is configured, or the key is rotated."""
    kept = resource.sink is None and is_unpublished(live) and resource.address not in inputs.rotate.addresses
    return tuple(
        change
        for change in compare_tags(live.tags, resource.tags, resource.ignore, inputs.desired.ignore_tags)
        if not (kept and change.tag == DELIVERED)
    )


def waiting_notes(inputs: PlanInputs) -> Iterator[str]:
    """Yield a note for each key with an unpublished value and no sink: an apply cannot publish it."""
    for keys in inputs.owned.keys.values():
        for key in keys:
            if not is_unpublished(key) or key.tags.get(STACK) != inputs.desired.stack:
                continue
            address = Address(KindName.STREAM_KEY, key.tags.get(ID, ""))
            resource = inputs.desired.resources.get(address)
            if resource is not None and not sinks_of(resource, inputs.rotate):
                yield (
                    f"{address}: created by an interrupted rotation, and its value may not be published; "
                    f"add a sink to the spec and apply, or run rotate stream-key {address} --to-file PATH; neither creates another key"
                )


def key_of_channel(inputs: PlanInputs, resource: DesiredResource, channel_arn: str) -> tuple[LiveResource | None, str]:
    """Return the key of a channel and the stack that owns it: ours first, then one without an owner, then another stack's.

    A channel has at most one key, so the others were deleted a moment ago and are still listed:
    a key with the spec's label is newer than those with another, and one with an unpublished value is newer than those without.
    """
    stack, label = inputs.desired.stack, resource.tags.get(ROTATION)

    def rank(key: LiveResource) -> tuple[int, bool, bool, str]:
        owner = key.tags.get(STACK, "")
        return (
            0 if owner == stack else 1 if not owner else 2,
            key.tags.get(ROTATION) != label,
            not is_unpublished(key),
            key.arn,
        )

    keys = inputs.owned.keys.get(channel_arn, ())
    if not keys:
        return None, ""
    key = min(keys, key=rank)
    return key, key.tags.get(STACK, "")
