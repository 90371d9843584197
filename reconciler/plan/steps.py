"""Turns a decision into AWS calls, and estimates how long calls take.

Dependencies on other actions are added by ``order``. Parameters hold a ``Ref`` for an ARN that is not known yet.
An update sends the changed fields and those validated together with them; defaults are sent explicitly, because a missing field is left unchanged.
Operations have separate rates and run concurrently, so the slowest one determines the duration.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from reconciler.diff import FieldChange
from reconciler.model.address import DELIVERED, ID, MAX_TAGS_WITH_ATTEMPT, RETIRES, STACK, UNCOMPARED, WAITING, Address
from reconciler.model.kinds import BATCH_SIZE, CHILD_KINDS, FIELDS, KINDS, TAG, UNTAG, Field, Kind
from reconciler.model.resource import DesiredState, LiveResource
from reconciler.model.target import Sink, Store
from reconciler.model.values import Ref, Value
from reconciler.plan.decision import AS_DECIDED, Decision, PlanInputs, Planned, Treatment, channel_of
from reconciler.plan.pairing import is_unsettled
from reconciler.plan.plan import Reason, ReplaceOrder, Step, TargetPlan, Until, Verb

_NO_TAGS: Mapping[str, Value] = MappingProxyType({})


def plan_steps(inputs: PlanInputs, decisions: Sequence[Decision], treatments: Mapping[int, Treatment]) -> list[Planned]:
    """Return the decisions with their calls. ``treatments`` are by index."""
    unsettled = {
        resource.arn: resource
        for kind in KINDS.values()
        if kind.ready
        for resource in inputs.live.of(kind.name)
        if is_unsettled(resource)
    }
    new_keys = {
        channel_of(resource): address
        for address, resource in inputs.desired.resources.items()
        if address.kind in CHILD_KINDS
    }
    numbers: Counter[Address] = Counter()
    planned = []
    for index, decision in enumerate(decisions):
        treatment, address = treatments.get(index, AS_DECIDED), decision.address
        steps = _steps(decision, treatment, numbers[address] + 1, new_keys.get(address), unsettled)
        numbers[address] += len(steps)
        planned.append(Planned(decision, treatment, steps))
    return planned


def _steps(
    decision: Decision, treatment: Treatment, first: int, new_key: Address | None, unsettled: Mapping[str, LiveResource]
) -> tuple[Step, ...]:
    """Return the calls of one decision, each after the one before it; empty if it is blocked.

    ``first`` numbers the first step. ``new_key`` is the stream key of the spec that IVS creates together with a channel.
    ``unsettled`` are live resources, by ARN, that the service is still creating: a call that refers to one waits for it.
    """
    if decision.blocked or treatment.blocked:
        return ()
    steps: list[Step] = []
    for number, call in enumerate(_calls(decision, treatment, new_key, unsettled), start=first):
        steps.append(call._replace(id=f"{decision.address}#{number}", after=(steps[-1].id,) if steps else ()))
    return tuple(steps)


def _calls(
    decision: Decision, treatment: Treatment, new_key: Address | None, unsettled: Mapping[str, LiveResource]
) -> Iterator[Step]:
    kind = KINDS[decision.address.kind]
    match decision.verb:
        case Verb.CREATE if decision.reason is Reason.BORN_WITH_CHANNEL:
            yield from publishing_steps(kind, decision.publish_to, Ref(decision.address))
            yield from _tagging(decision, Ref(decision.address))
        case Verb.CREATE:
            yield from _creating(decision, kind, new_key, unsettled)
        case Verb.UPDATE | Verb.ADOPT:
            yield from _updating(decision, kind, unsettled)
        case Verb.REPLACE if treatment.order is ReplaceOrder.DELETE_FIRST:
            yield from _deleting(decision, kind)
            yield from _creating(decision, kind, new_key, unsettled)
        case Verb.REPLACE:
            yield from _creating(decision, kind, new_key, unsettled)
            if treatment.retires and decision.live:
                yield Step("", TAG, {"resourceArn": decision.live.arn, "tags": {RETIRES: treatment.retires}})
            elif treatment.may_delete:
                yield from _deleting(decision, kind)
        case Verb.DELETE:
            yield from _deleting(decision, kind)
        case Verb.FORGET if decision.live:
            # One call, so that none of the tags is left without the others; removing a tag that does not exist is no error.
            tags = [change.tag for change in decision.changes]
            yield Step("", UNTAG, {"resourceArn": decision.live.arn, "tagKeys": (*tags, *sorted(UNCOMPARED))})


def _creating(
    decision: Decision, kind: Kind, new_key: Address | None, unsettled: Mapping[str, LiveResource]
) -> Iterator[Step]:
    parameters = _create_parameters(decision)
    yield from _settling(parameters, unsettled)
    binds = {str(decision.address): kind.arn_path}
    if new_key is not None:
        binds[str(new_key)] = KINDS[new_key.kind].arn_path
    yield Step("", kind.create, parameters, binds=binds)
    if decision.publish_to:
        yield from publishing_steps(kind, decision.publish_to, Ref(decision.address))
        yield from recording_steps(decision.publish_to, Ref(decision.address))
    if kind.ready is not None:
        yield _wait(kind, Ref(decision.address))


def _updating(decision: Decision, kind: Kind, unsettled: Mapping[str, LiveResource]) -> Iterator[Step]:
    if decision.live is None:
        return
    parameters = update_parameters(kind, decision.wanted, decision.changes)
    owner = _owner_first(decision, changes_fields=bool(parameters))
    if owner:
        yield Step("", TAG, {"resourceArn": decision.live.arn, "tags": owner})
    if parameters and kind.update:
        if is_unsettled(decision.live):
            yield _wait(kind, decision.live.arn)
        yield from _settling(parameters, unsettled)
        yield Step("", kind.update, {kind.identifier: decision.live.arn, **parameters})
    yield from publishing_steps(kind, decision.publish_to, decision.live.arn)
    yield from _tagging(decision, decision.live.arn, owner)


def _owner_first(decision: Decision, *, changes_fields: bool) -> dict[str, Value]:
    """Return the owner tags that an adoption writes first, because the policy of ``iam-policy`` allows the other changes to own resources only.

    The digest of the spec is still written last. Near the limit of tags, others have to be removed first.
    """
    tags = [change for change in decision.changes if change.tag]
    many = decision.live is not None and len(decision.live.tags) > MAX_TAGS_WITH_ATTEMPT
    if decision.verb is not Verb.ADOPT or many or not (changes_fields or any(change.absent_after for change in tags)):
        return {}
    return {change.tag: change.after for change in tags if change.tag in (STACK, ID)}


def _tagging(decision: Decision, arn: Value, done: Mapping[str, Value] = _NO_TAGS) -> Iterator[Step]:
    """Remove first and write last: what is written records that all of it was done. ``done`` is written already."""
    changed = [change for change in decision.changes if change.tag]
    removed = tuple(change.tag for change in changed if change.absent_after)
    written: dict[str, Value] = {
        change.tag: change.after for change in changed if not change.absent_after and change.tag not in done
    }
    if (
        decision.desired is not None
        and len(decision.desired.tags) >= MAX_TAGS_WITH_ATTEMPT
        and any(change.absent_before for change in changed)
    ):
        removed += tuple(sorted(UNCOMPARED))  # to be replaced by others; removing a tag that does not exist is no error
    if removed:
        yield Step("", UNTAG, {"resourceArn": arn, "tagKeys": removed})
    if written:
        yield Step("", TAG, {"resourceArn": arn, "tags": written})


def _deleting(decision: Decision, kind: Kind) -> Iterator[Step]:
    if decision.live is None:
        return
    if is_unsettled(decision.live):
        yield _wait(kind, decision.live.arn)
    yield Step("", kind.delete, {kind.identifier: decision.live.arn})


def _settling(parameters: Mapping[str, Value], unsettled: Mapping[str, LiveResource]) -> Iterator[Step]:
    for value in parameters.values():
        if isinstance(value, str) and value in unsettled:
            yield _wait(KINDS[unsettled[value].kind], value)


def _wait(kind: Kind, arn: Value) -> Step:
    return Step("", kind.get, {kind.identifier: arn}, until=Until("state", kind.ready or "", kind.failed))


def _create_parameters(decision: Decision) -> dict[str, Value]:
    kind = KINDS[decision.address.kind]
    parameters: dict[str, Value] = {
        field.name: _whole(field, decision.wanted[field.name])
        for field in kind.fields
        if field.name in decision.wanted and field.name != kind.unique
    }
    if decision.desired is not None:
        if kind.unique:
            parameters[FIELDS[kind.name][kind.unique].spec_name] = decision.desired.public_key
        # The tag for an unpublished value is also set if only this run has a sink.
        parameters["tags"] = (
            tags_at_creation(decision.desired.tags, waiting=bool(decision.publish_to))
            if kind.value_member
            else dict(decision.desired.tags)
        )
    return parameters


def update_parameters(kind: Kind, wanted: Mapping[str, Value], changes: tuple[FieldChange, ...]) -> dict[str, Value]:
    """Return the fields that an update call has to send, each with its explicit value; empty if only tags change."""
    changed = {change.field for change in changes if not change.tag}
    names = changed.union(*(FIELDS[kind.name][name].together for name in changed))
    names |= {other for name in names for other in FIELDS[kind.name][name].together_if_set if other in wanted}
    return {
        field.name: _whole(field, wanted[field.name]) if field.name in wanted else field.default_beside(wanted)
        for field in kind.fields
        if field.name in names and field.applies(wanted)
    }


def _whole(field: Field, value: Value) -> Value:
    """Return an object with the members that its canonical form leaves out and the service requires once the object is given."""
    if (
        field.send_all_members
        and isinstance(value, Mapping)
        and isinstance(field.default, Mapping)
        and value != field.off
    ):
        return {**field.default, **value}
    return value


class Expected(NamedTuple):
    """The operation that determines the duration, how many of its calls are left, its rate per second, and how long that takes."""

    operation: str
    calls: int
    pace: float
    seconds: float


Call: TypeAlias = tuple[str, str]
"""An operation by the client of its service and its name: each has a rate of its own."""


def expected(calls: Mapping[Call, int], pace: Callable[[str, str], float]) -> Expected | None:
    """Return how long these calls take at a pace by client and operation, or ``None`` if there are none."""
    found = [
        Expected(call[1], count, pace(*call), count / pace(*call)) for call, count in sorted(calls.items()) if count > 0
    ]
    return max(found, key=lambda one: one.seconds, default=None)


def calls_of(plan: TargetPlan) -> Counter[Call]:
    """Return how often each operation is called when the plan is applied; waits count as one call."""
    return Counter(
        call_of(action.address, step.operation)
        for action in plan.actions
        if action.blocked is None
        for step in action.steps
    )


def call_of(address: Address, operation: str) -> Call:
    """Return an operation of a resource's service."""
    return KINDS[address.kind].service.client, operation


def reads_of(desired: DesiredState) -> Counter[Call]:
    """Return about how often each operation is called to read the resources of the spec; others in the account come on top."""
    found: Counter[Call] = Counter()
    for name, count in Counter(address.kind for address in desired.resources).items():
        kind = KINDS[name]
        found[kind.service.client, kind.list] = count if kind.created_with else -(-count // kind.page_size)
        if kind.batch:
            found[kind.service.client, kind.batch] = -(-count // BATCH_SIZE)
        elif not (kind.summary_complete or kind.created_with):
            found[kind.service.client, kind.get] = count
    return found


def tags_at_creation(tags: Mapping[str, str], *, waiting: bool) -> dict[str, str]:
    """Return the tags for the create call of a key that is to have these tags in the end."""
    created = {key: value for key, value in tags.items() if key != DELIVERED}
    return {**created, DELIVERED: WAITING} if waiting else created


def publishing_steps(kind: Kind, publish_to: tuple[Sink, ...], arn: Value) -> Iterator[Step]:
    """Yield the steps that publish a key's value."""
    for sink in publish_to:
        yield Step("", kind.get, {kind.identifier: arn}, deliver=sink)


def recording_steps(publish_to: tuple[Sink, ...], arn: Value) -> Iterator[Step]:
    """Yield the step that records where a key's value was published. A file is not recorded: only the caller keeps it."""
    lasting = [sink.mark for sink in publish_to if sink.store is not Store.FILE]
    if lasting:
        yield Step("", TAG, {"resourceArn": arn, "tags": {DELIVERED: lasting[-1]}})
    elif publish_to:
        yield Step("", UNTAG, {"resourceArn": arn, "tagKeys": (DELIVERED,)})
