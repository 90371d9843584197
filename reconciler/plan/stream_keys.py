"""What is due for a stream key of the spec, and which calls that takes.

Service facts: creating a channel creates a stream key with it, untagged; a channel has one key at most;
deleting the channel deletes its key (service model, user guide).
So a key is taken over rather than made, and its channel says which key is meant.
"""

from __future__ import annotations

from reconciler.diff import additions
from reconciler.model.address import KindName
from reconciler.model.resource import DesiredResource, LiveResource
from reconciler.model.tags import STACK
from reconciler.model.values import Ref
from reconciler.plan.actions import Blocked, Reason, Verb
from reconciler.plan.draft import Bindings, Draft, Scene, channel_of
from reconciler.plan.reasons import tag_changes, why_update


def decide(scene: Scene, resource: DesiredResource, bindings: Bindings) -> Draft | None:
    """Return a draft when the stream key is not as it should be."""
    channel = channel_of(resource)
    arn = bindings.get(channel)
    if isinstance(arn, str) and KindName.STREAM_KEY not in scene.live.unreadable:
        return _of_live_channel(scene, resource, arn)
    blocked = None
    if arn is None:
        blocked = Blocked("depends", f"it belongs to {channel}, which will not be there; see why that is blocked")
    elif isinstance(arn, str):
        why = scene.live.unreadable[KindName.STREAM_KEY]
        blocked = Blocked("unreadable", f"stream keys could not be read ({why}); see to that, then plan again")
    born = isinstance(arn, Ref)
    return Draft(
        resource.address,
        Verb.CREATE,
        Reason.BORN_WITH_CHANNEL if born else Reason.NOT_IN_ACCOUNT,
        f"IVS makes it together with {channel}; it is taken over and tagged" if born else "it is in the spec; whether it is in the account is not known",
        desired=resource,
        wanted=resource.properties,
        changes=additions(KindName.STREAM_KEY, resource.properties, resource.tags),
        blocked=blocked,
    )


def _of_live_channel(scene: Scene, resource: DesiredResource, channel_arn: str) -> Draft | None:
    wanted = {"channelArn": channel_arn}
    live, owner = meant(scene, channel_arn)
    if live is None:
        return Draft(
            resource.address,
            Verb.CREATE,
            Reason.NOT_IN_ACCOUNT,
            "its channel has no stream key",
            desired=resource,
            wanted=wanted,
            changes=additions(KindName.STREAM_KEY, wanted, resource.tags),
        )
    changes = tag_changes(scene, live, resource)
    if owner == scene.desired.stack:
        if not changes:
            return None
        reason, explanation = why_update((), changes)
        return Draft(resource.address, Verb.UPDATE, reason, explanation, live=live, desired=resource, wanted=wanted, changes=changes)
    blocked = None
    if owner:
        blocked = Blocked(
            "foreign",
            f"{live.arn} belongs to another stack: it carries the tag {STACK}={owner}; have that stack forget it (or remove the tag), then plan again",
        )
    return Draft(
        resource.address,
        Verb.ADOPT,
        Reason.BORN_WITH_CHANNEL,
        "the channel is this stack's, its stream key is not"
        if owner
        else "the channel is this stack's and its stream key carries no stack's tag; it is taken over and tagged",
        live=live,
        desired=resource,
        wanted=wanted,
        changes=changes,
        blocked=blocked,
    )


def meant(scene: Scene, channel_arn: str) -> tuple[LiveResource | None, str]:
    """Return the key of a channel and the stack it belongs to: ours before nobody's before another stack's, then by ARN."""
    stack = scene.desired.stack

    def rank(key: LiveResource) -> tuple[int, str]:
        owner = key.tags.get(STACK, "")
        return (0 if owner == stack else 1 if not owner else 2, key.arn)

    keys = scene.owned.keys.get(channel_arn, ())
    if not keys:
        return None, ""
    key = min(keys, key=rank)
    return key, key.tags.get(STACK, "")
