"""Checks a plan against its limits, with the options that lift them, against the account's quotas, and against CloudFormation's stacks.

Limits are counted per kind over the actions that are not blocked. A delete removes a resource; replacements, also interrupted ones, do not count.
An update changes properties or rotates a stream key; a change of tags alone does not count.
Steps run concurrently, so the peak of a quota is counted in the worst possible order: creates first, deletes last.

The adoption of a resource that a CloudFormation stack holds is blocked: the next update or delete of that stack would change or delete it.
CloudFormation's resources are known by their system tags (every IVS type has them: ``cloudFormationSystemTags`` of the resource schemas).
Whether these tags go when a resource leaves its stack is not documented, so tags alone block nothing: CloudFormation is asked, if it may be.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from reconciler.model.address import Address, KindName
from reconciler.model.kinds import CREATED_BY, DELETED_BY, KINDS, LISTED, QUOTAS, AppliedQuotas
from reconciler.model.resource import LiveState, StackHold, StackMember
from reconciler.model.target import Guardrails, Project, Shards, targets_of_unknown_account
from reconciler.plan.order import blocked_verdicts, with_verdicts
from reconciler.plan.plan import Action, Blocked, PlanOptions, QuotaUse, Reason, Step, TargetPlan, Verb

_FEW = 2
"""Below this number of recorded resources of a kind, a missing one is plausible, and the plan is short enough to be read."""

_MANY = 10
"""From this number of recorded resources of a kind, a list that lacks most of them is not trusted."""


def check_shard(plan: TargetPlan, project: Project, shards: Shards) -> tuple[str, ...]:
    """Return why a plan with deletes must not be run in these shards: a target of another shard may be in the same account, and own what is deleted."""
    if not any(
        action.verb is Verb.DELETE and action.reason is Reason.LEFT_SPEC and action.blocked is None
        for action in plan.actions
    ):
        return ()
    # Only now, because it hashes every target of the project.
    unknown = targets_of_unknown_account(project.targets.values(), shards.total)
    if plan.region not in {project.targets[name].region for name in unknown}:
        return ()
    message = (
        f"it deletes orphaned resources, and a target outside shard {shards} may be in the same account and own them; "
        "add accountId to all targets"
    )
    return (message,)


def check(
    plan: TargetPlan, guardrails: Guardrails, options: PlanOptions, expected: Collection[Address] = ()
) -> tuple[str, ...]:
    """Return why the plan must not be run, one sentence for each limit; empty if it may.

    ``options`` lift limits; ``expected`` are the addresses recorded at the last apply.
    """
    refusals = (
        []
        if options.allow_missing
        else [
            f"{found}. Check the caller's permissions, or pass --allow-missing"
            for found in missing_from_lists(plan, expected)
        ]
    )
    total = sum(plan.managed.values())
    forgets_only = plan.actions and all(action.verb is Verb.FORGET for action in plan.actions)
    if plan.desired_count == 0 and total and not options.allow_empty and not forgets_only:
        refusals.append(
            f"the spec has no resources, but this stack manages {total:,} resource{'' if total == 1 else 's'}; check the path of the specs, or pass --allow-empty"
        )
    refusals += _over_limit(
        plan,
        _is_delete,
        "deleted",
        "--allow-deletes",
        guardrails.max_deletes,
        guardrails.max_delete_percent,
        options.allow_deletes,
    )
    refusals += _over_limit(
        plan,
        _is_update,
        "updated",
        "--allow-updates",
        guardrails.max_updates,
        guardrails.max_update_percent,
        options.allow_updates,
    )
    return (*refusals, *quota_refusals(plan.quotas))


def missing_from_lists(plan: TargetPlan, expected: Collection[Address]) -> list[str]:
    """Return a sentence for each kind of which AWS lists none, or few, of the resources recorded at the last apply and still in the spec.

    A list can be empty and succeed after a permission was narrowed; resources missing from it would be created a second time.
    Stream keys are not checked: they are listed for each channel, and a channel without a key is nothing unusual.
    """
    said = []
    missing = {
        action.address for action in plan.actions if action.verb is Verb.CREATE and action.blocked is None
    } & set(expected)
    for kind in LISTED.values():
        absent = sum(address.kind is kind.name for address in missing)
        recorded = sum(address.kind is kind.name for address in expected)
        if not absent or recorded < _FEW:
            continue
        if not plan.managed.get(kind.name) or (recorded >= _MANY and absent * 2 > recorded):
            listed = plan.managed.get(kind.name, 0)
            known = kind.with_count(recorded)
            said.append(
                f"AWS lists {listed:,} of the {known} recorded at the last apply, so {absent:,} would be recreated"
            )
    return said


def needs_applied_quotas(actions: Iterable[Action]) -> bool:
    """Return whether the applied quotas have to be read: something is created whose quota AWS may have changed."""
    return any(QUOTAS[kind].adjustable for kind in _kinds_made(actions))


def with_quotas(plan: TargetPlan, live: LiveState, applied: AppliedQuotas) -> TargetPlan:
    """Return a plan with the quotas of the kinds that it creates, with their use, and with a note if the applied ones are unknown."""
    quotas, notes = quota_uses(plan.actions, plan.managed, live, applied), plan.notes
    if applied.error and any(use.adjustable for use in quotas):
        notes = (*notes, f"applied quotas are unknown ({applied.error}); documented defaults are assumed")
    return plan._replace(quotas=quotas, notes=notes)


def quota_uses(
    actions: Sequence[Action], managed: Mapping[KindName, int], live: LiveState, applied: AppliedQuotas
) -> tuple[QuotaUse, ...]:
    """Return the quotas of the kinds that actions create, with their use. A kind that could not be listed is left out."""
    made = _kinds_made(actions)
    counts = {kind: len(live.of(kind)) for kind in QUOTAS if kind in made and kind not in live.unreadable}
    peaks = _peaks(actions, counts) if counts else {}
    return tuple(
        QuotaUse(
            kind,
            now,
            max(0, now - managed.get(kind, 0)),
            *peaks[kind],
            applied.value(QUOTAS[kind]),
            QUOTAS[kind].adjustable,
            QUOTAS[kind].code,
            applied.is_applied(QUOTAS[kind]),
        )
        for kind, now in counts.items()
    )


def quota_refusals(uses: Iterable[QuotaUse]) -> tuple[str, ...]:
    """Return why a plan does not fit, a sentence for each exceeded quota."""
    return tuple(_quota_refusal(use) for use in uses if use.peak > use.limit)


def _over_limit(
    plan: TargetPlan,
    counts: Callable[[Action], bool],
    done: str,
    flag: str,
    limit: int | None,
    percent: int | None,
    allowed: int | None,
) -> list[str]:
    """Return a refusal for each kind of which more would be ``done`` than the limits and ``allowed`` permit."""
    found = Counter(action.address.kind for action in plan.actions if action.blocked is None and counts(action))
    over = {
        kind: found[kind]
        for kind in KINDS
        if found[kind] > (allowed or 0) and _limits(found[kind], plan.managed, kind, limit, percent)
    }
    most = max(over.values(), default=0)
    return [
        f"{count:,} of {KINDS[kind].with_count(plan.managed.get(kind, 0), 'managed')} would be {done} "
        f"({' and '.join(_limits(count, plan.managed, kind, limit, percent))}); check the spec, or pass {flag} {most}"
        for kind, count in over.items()
    ]


def _limits(
    count: int, managed: Mapping[KindName, int], kind: KindName, limit: int | None, percent: int | None
) -> list[str]:
    """Return the limits that a count of one kind exceeds."""
    over = []
    if limit is not None and count > limit:
        over.append(f"the limit is {limit:,}")
    if percent is not None and count * 100 > percent * managed.get(kind, 0):
        over.append(f"the limit is {percent} %")
    return over


def _is_delete(action: Action) -> bool:
    return action.verb is Verb.DELETE and action.reason not in (Reason.SUPERSEDED, Reason.RETIRED)


def _is_update(action: Action) -> bool:
    return action.reason is Reason.ROTATION_DUE or (
        action.verb is Verb.UPDATE and action.reason is Reason.PROPERTIES_DIFFER
    )


def _kinds_made(actions: Iterable[Action]) -> frozenset[KindName]:
    """Return the kinds with a quota that actions create."""
    made = (CREATED_BY.get(step.operation) for action in actions for step in action.steps)
    return frozenset(kind for kind in made if kind is not None and kind in QUOTAS)


def _quota_refusal(use: QuotaUse) -> str:
    kind = KINDS[use.kind]
    there = f"there {'is' if use.now == 1 else 'are'} {kind.with_count(use.now)}"
    others = f", {use.others:,} of them unmanaged" if use.others else ""
    after = "" if use.after == use.peak else f", {use.after:,} in the end"
    source = "the applied quota" if use.applied else "the documented default"
    more = (
        f"request an increase in Service Quotas ({kind.service.prefix}, {use.code})"
        if use.adjustable
        else "AWS does not increase it: delete some first"
    )
    return f"{there}{others}, and the plan needs {use.peak:,}{after}; the quota is {use.limit:,} ({source}); {more}; or skip resources with --exclude"


def _peaks(actions: Iterable[Action], counts: Mapping[KindName, int]) -> dict[KindName, tuple[int, int]]:
    """Return for each kind the highest count at any moment, and the count at the end."""
    present = dict(counts)
    peak = dict(counts)
    for step in _worst_order([step for action in actions for step in action.steps]):
        kind = CREATED_BY.get(step.operation)
        if kind in present:
            present[kind] += 1
            peak[kind] = max(peak[kind], present[kind])
        elif (freed := DELETED_BY.get(step.operation)) in present:
            present[freed] -= 1
    return {kind: (peak[kind], present[kind]) for kind in counts}


def _worst_order(steps: list[Step]) -> Iterable[Step]:
    """Yield the steps in a valid order, deletes only if nothing else can be done."""
    place = {step.id: index for index, step in enumerate(steps)}
    waiting = [sum(needed in place for needed in step.after) for step in steps]
    followers: dict[str, list[int]] = {}
    for index, step in enumerate(steps):
        for needed in step.after:
            followers.setdefault(needed, []).append(index)
    ready = [(step.operation in DELETED_BY, index) for index, step in enumerate(steps) if not waiting[index]]
    heapq.heapify(ready)
    while ready:
        step = steps[heapq.heappop(ready)[1]]
        yield step
        for index in followers.get(step.id, ()):
            waiting[index] -= 1
            if not waiting[index]:
                heapq.heappush(ready, (steps[index].operation in DELETED_BY, index))


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


def with_holds(
    plan: TargetPlan, members: Mapping[str, StackMember], holds: Mapping[str, StackHold], take_over: Sequence[str]
) -> TargetPlan:
    """Return a plan in which the adoption of a resource that a stack holds, or may hold, is blocked, and what depends on it.

    ``members`` are those of ``members_to_adopt``, ``holds`` what CloudFormation said of them, both by ARN.
    """
    blocks = {}
    for index, action in enumerate(plan.actions):
        arn = action.arn or ""
        if _is_due(action) and (member := members.get(arn)):
            hold = holds.get(arn, StackHold(unknown="it was not asked"))
            if hold.stack:
                blocks[index] = Blocked("unmanaged", _held(arn, member._replace(stack=hold.stack)))
            elif hold.unknown and PREFIX + member.stack not in take_over:
                blocks[index] = Blocked("unmanaged", _unknown(arn, member, hold.unknown))
    if not blocks:
        return plan
    actions = with_verdicts(plan.actions, blocked_verdicts(plan.actions, blocks, {}))
    return plan._replace(actions=actions, summary=plan.summary.counting(actions))


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
