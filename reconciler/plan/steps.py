"""One decision in, its AWS calls out: which operations, with which parameters, one after another.

What waits for steps of other actions is added by ``order``. Parameters hold a ``Ref`` where an ARN is not known yet.
A call names what changes and what the service judges together with it; a default is said out loud, because a field left out stays as it is.

How long calls take at a given pace: what is said before the question, and shown while work runs.

Operations have rates of their own and run beside one another, so the slowest of them, the narrow one, decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from reconciler.diff import FieldChange, unescape
from reconciler.model.address import ATTEMPT, MAX_TAGS_WITH_ATTEMPT, RETIRES, Address, KindName
from reconciler.model.kinds import ADVANCED_TYPES, FIELDS, KINDS, STREAM_KEY, Kind
from reconciler.model.normalise import default_of
from reconciler.model.resource import DesiredState, LiveResource
from reconciler.model.values import Ref, Value
from reconciler.plan.decision import AS_DECIDED, Decision, Treatment, at_birth, handing_over, noted
from reconciler.plan.pairing import is_unsettled
from reconciler.plan.plan import Reason, ReplaceOrder, Step, TargetPlan, Until, Verb

_TAGS = "/tags/"


def steps_for(
    decision: Decision,
    treatment: Treatment = AS_DECIDED,
    *,
    first: int = 1,
    born: Address | None = None,
    unsettled: Mapping[str, LiveResource] | None = None,
) -> tuple[Step, ...]:
    """Return the calls of one decision, each after the one before it; none when it is blocked.

    ``first`` numbers the first step. ``born`` is the stream key that comes with a channel and that the spec speaks of.
    ``unsettled`` are live resources, by ARN, that the service is still making: a call that names one waits for it.
    """
    if decision.blocked or treatment.blocked:
        return ()
    steps: list[Step] = []
    for number, call in enumerate(_calls(decision, treatment, born, unsettled or {}), start=first):
        steps.append(replace(call, id=f"{decision.address}#{number}", after=(steps[-1].id,) if steps else ()))
    return tuple(steps)


def _calls(
    decision: Decision, treatment: Treatment, born: Address | None, unsettled: Mapping[str, LiveResource]
) -> Iterator[Step]:
    kind = KINDS[decision.address.kind]
    match decision.verb:
        case Verb.CREATE if decision.reason is Reason.BORN_WITH_CHANNEL:
            yield from handing_over(decision.deliver, Ref(decision.address))
            yield from _tagging(decision, Ref(decision.address))
        case Verb.CREATE:
            yield from _creating(decision, kind, born, unsettled)
        case Verb.UPDATE | Verb.ADOPT:
            yield from _updating(decision, kind, unsettled)
        case Verb.REPLACE if treatment.order is ReplaceOrder.DELETE_FIRST:
            yield from _deleting(decision, kind)
            yield from _creating(decision, kind, born, unsettled)
        case Verb.REPLACE:
            yield from _creating(decision, kind, born, unsettled)
            if treatment.retires and decision.live:
                yield Step("", "TagResource", {"resourceArn": decision.live.arn, "tags": {RETIRES: treatment.retires}})
            elif treatment.lets_go:
                yield from _deleting(decision, kind)
        case Verb.DELETE:
            yield from _deleting(decision, kind)
        case Verb.FORGET:
            # Forgetting is planned by its own command, which knows which tags are ours to remove.
            return


def _creating(
    decision: Decision, kind: Kind, born: Address | None, unsettled: Mapping[str, LiveResource]
) -> Iterator[Step]:
    parameters = _create_parameters(decision)
    yield from _settling(parameters, unsettled)
    binds = {str(decision.address): f"{kind.member}.arn"}
    if born is not None:
        binds[str(born)] = f"{STREAM_KEY.member}.arn"
    yield Step("", kind.create, parameters, binds=binds)
    if decision.deliver:
        yield from handing_over(decision.deliver, Ref(decision.address))
        yield from noted(decision.deliver, Ref(decision.address))
    if kind.ready is not None:
        yield _wait(kind, Ref(decision.address))


def _updating(decision: Decision, kind: Kind, unsettled: Mapping[str, LiveResource]) -> Iterator[Step]:
    if decision.live is None:
        return
    parameters = update_parameters(kind, decision.wanted, decision.changes)
    if parameters and kind.update:
        if is_unsettled(decision.live):
            yield _wait(kind, decision.live.arn)
        yield from _settling(parameters, unsettled)
        yield Step("", kind.update, {"arn": decision.live.arn, **parameters})
    yield from handing_over(decision.deliver, decision.live.arn)
    yield from _tagging(decision, decision.live.arn)


def _tagging(decision: Decision, arn: Value) -> Iterator[Step]:
    """Remove first and write last: what is written records that all of it was done."""
    changed = [
        (unescape(change.path.removeprefix(_TAGS)), change)
        for change in decision.changes
        if change.path.startswith(_TAGS)
    ]
    removed = tuple(key for key, change in changed if change.absent_after)
    written: dict[str, Value] = {key: change.after for key, change in changed if not change.absent_after}
    if (
        decision.desired is not None
        and len(decision.desired.tags) >= MAX_TAGS_WITH_ATTEMPT
        and any(change.absent_before for _, change in changed)
    ):
        removed += (ATTEMPT,)  # gives its place to another; to remove what is not there is no error
    if removed:
        yield Step("", "UntagResource", {"resourceArn": arn, "tagKeys": removed})
    if written:
        yield Step("", "TagResource", {"resourceArn": arn, "tags": written})


def _deleting(decision: Decision, kind: Kind) -> Iterator[Step]:
    if decision.live is None:
        return
    if is_unsettled(decision.live):
        yield _wait(kind, decision.live.arn)
    yield Step("", kind.delete, {"arn": decision.live.arn})


def _settling(parameters: Mapping[str, Value], unsettled: Mapping[str, LiveResource]) -> Iterator[Step]:
    for value in parameters.values():
        if isinstance(value, str) and value in unsettled:
            yield _wait(KINDS[unsettled[value].kind], value)


def _wait(kind: Kind, arn: Value) -> Step:
    return Step("", kind.get, {"arn": arn}, until=Until("state", kind.ready or "", kind.failed))


def _create_parameters(decision: Decision) -> dict[str, Value]:
    kind = decision.address.kind
    parameters: dict[str, Value] = {
        name: _whole(kind, name, decision.wanted[name])
        for name in FIELDS[kind]
        if name in decision.wanted and name != "fingerprint"
    }
    if decision.desired is not None:
        if kind is KindName.PLAYBACK_KEY_PAIR:
            parameters["publicKeyMaterial"] = decision.desired.public_key
        # A rotated key waits to be handed over also where only this run knows a place for it.
        parameters["tags"] = (
            at_birth(decision.desired.tags, waiting=bool(decision.deliver))
            if kind is KindName.STREAM_KEY
            else dict(decision.desired.tags)
        )
    return parameters


def update_parameters(kind: Kind, wanted: Mapping[str, Value], changes: tuple[FieldChange, ...]) -> dict[str, Value]:
    """Return the fields that an update call has to send, each with its explicit value; nothing when only tags change."""
    changed = {change.field for change in changes if not change.path.startswith(_TAGS)}
    names = changed.union(*(FIELDS[kind.name][name].together for name in changed))
    if kind.name is KindName.CHANNEL and names:
        # The service knows a preset for ADVANCED types only, and an ad configuration only beside TS without multitrack input.
        if wanted.get("type") not in ADVANCED_TYPES:
            names.discard("preset")
        if "adConfigurationArn" in wanted and not names.isdisjoint(("containerFormat", "multitrackInputConfiguration")):
            names.add("adConfigurationArn")
    return {
        name: _whole(kind.name, name, wanted[name]) if name in wanted else default_of(kind.name, name, wanted)
        for name in FIELDS[kind.name]
        if name in names
    }


def _whole(kind: KindName, name: str, value: Value) -> Value:
    """Spell out an object whose canonical form leaves out members that the service may ask for once the object is given."""
    if name == "thumbnailConfiguration" and isinstance(value, Mapping) and value.get("recordingMode") != "DISABLED":
        default = default_of(kind, name, {})
        return {**default, **value} if isinstance(default, Mapping) else value
    return value


_LIST_PAGE = 100
_BATCH = 50


@dataclass(frozen=True, slots=True)
class Expected:
    """The narrow operation, how many of its calls are left, how many are made a second, and how long that takes."""

    operation: str
    calls: int
    pace: float
    seconds: float


def expected(calls: Mapping[str, int], pace: Callable[[str], float]) -> Expected | None:
    """Return how long these calls take, or ``None`` when there are none."""
    found = [
        Expected(operation, count, pace(operation), count / pace(operation))
        for operation, count in sorted(calls.items())
        if count > 0
    ]
    return max(found, key=lambda one: one.seconds, default=None)


def calls_of(plan: TargetPlan) -> Counter[str]:
    """Return how often each operation is called when the plan is carried out; waits count as one call."""
    return Counter(step.operation for action in plan.actions if action.blocked is None for step in action.steps)


def reads_of(desired: DesiredState) -> Counter[str]:
    """Return about how often each operation is called to read what the spec speaks of; what else is in the account comes on top."""
    count = Counter(address.kind for address in desired.resources)
    channels = count[KindName.CHANNEL]
    return Counter(
        {
            "ListChannels": -(-channels // _LIST_PAGE),
            "BatchGetChannel": -(-channels // _BATCH),
            "ListStreamKeys": count[KindName.STREAM_KEY],
            "GetRecordingConfiguration": count[KindName.RECORDING_CONFIGURATION],
            "GetPlaybackKeyPair": count[KindName.PLAYBACK_KEY_PAIR],
        }
    )
