"""Blocks adoptions of resources that a CloudFormation stack holds: the next update or delete of that stack would change or delete them.

CloudFormation's resources are known by their system tags (every IVS type has them: ``cloudFormationSystemTags`` of the resource schemas).
Whether these tags go when a resource leaves its stack is not documented, so tags alone block nothing: CloudFormation is asked, if it may be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.model.resource import LiveState, StackHold, StackMember
from reconciler.plan.order import Verdict, blocked_verdicts
from reconciler.plan.plan import Action, Blocked, Verb

PREFIX = "aws:cloudformation:"
"""In ``--take-over``, before the name of a stack that may not be asked."""


def members_to_adopt(actions: Sequence[Action], live: LiveState) -> dict[str, StackMember]:
    """Return by ARN the resources to be adopted that have the tags of a CloudFormation stack."""
    due = {action.arn for action in actions if _is_due(action)}
    kinds = {action.address.kind for action in actions if _is_due(action)}
    return {
        one.arn: one.member_of
        for kind in kinds
        for one in live.of(kind)
        if one.member_of is not None and one.arn in due
    }


def hold_verdicts(
    actions: Sequence[Action],
    members: Mapping[str, StackMember],
    holds: Mapping[str, StackHold],
    take_over: Sequence[str],
) -> dict[int, Verdict]:
    """Return verdicts on the adoptions of resources that a stack holds, or may hold, and on what depends on them."""
    blocks = {}
    for index, action in enumerate(actions):
        arn = action.arn or ""
        if _is_due(action) and (member := members.get(arn)):
            hold = holds.get(arn, StackHold(unknown="it was not asked"))
            if hold.stack:
                blocks[index] = Blocked("unmanaged", _held(arn, member._replace(stack=hold.stack)))
            elif hold.unknown and PREFIX + member.stack not in take_over:
                blocks[index] = Blocked("unmanaged", _unknown(arn, member, hold.unknown))
    return blocked_verdicts(actions, blocks, {}) if blocks else {}


def _is_due(action: Action) -> bool:
    return action.verb is Verb.ADOPT and action.blocked is None


def _held(arn: str, member: StackMember) -> str:
    name = member.logical_id or "the resource"
    return (
        f"{arn} belongs to CloudFormation stack {member.stack}, whose next update or delete could change or delete it. "
        f"1. In the template, write DeletionPolicy: Retain and UpdateReplacePolicy: Retain beside Type of {name}, and deploy. "
        f"2. Delete {name} from the template, and deploy: the stack's events show DELETE_SKIPPED for it. 3. Adopt it"
    )


def _unknown(arn: str, member: StackMember, why: str) -> str:
    return (
        f"{arn} has the tags of CloudFormation stack {member.stack} ({member.logical_id}), and whether the stack still holds it is unknown: {why}. "
        "Allow that call (iam-policy lists it). "
        f"Or check with aws cloudformation describe-stack-resources --physical-resource-id {arn}; if no stack has it, "
        f"use --take-over {PREFIX}{member.stack}; if one has, write DeletionPolicy: Retain beside its Type, deploy, delete it from the template, and deploy again"
    )
