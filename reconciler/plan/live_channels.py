"""Channels on air: what a plan would do to a running broadcast is held back, waits for its end, or ends it, as the rules say.

Service facts: a live channel can be neither updated nor deleted, and nobody can reconnect with a stream key that was deleted (service model).
Tags may be edited at any time.

The steps that wait for a broadcast to end, and those that end it and let the channel go on air again.

Service facts: an encoder reconnects by itself after a broadcast was stopped, unless its stream key is gone; a deleted key ends no broadcast;
a channel has one stream key at most, and a new one has a new value (service model, user guide).
So the order is: delete the key, stop the stream, wait until the channel is off air, change it, create a key.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.diff import unescape
from reconciler.model.address import PROTECT, STACK, Address, KindName
from reconciler.model.kinds import CHANNEL, STREAM_KEY
from reconciler.model.resource import DesiredResource, LiveResource, Stream
from reconciler.model.target import Guardrails, OnLive, Sink
from reconciler.model.values import Ref, Value
from reconciler.plan.decision import at_birth, handing_over, noted
from reconciler.plan.plan import Action, Blocked, OnAir, PlanOptions, Reason, Step, TargetPlan, Until, Verb
from reconciler.plan.removal import counted, hold

STOP = "StopStream"
IS_LIVE = "ListStreams"
STOP_SECONDS = 60
"""How long a stopped broadcast is waited for; the service takes a few seconds."""

_TAGS = "/tags/"


def waiting(action: Action, stream: Stream, seconds: int, touching: frozenset[str | None]) -> Action:
    """Return the action so that it begins to touch its channel once the broadcast has ended, for which it waits so long."""
    numbers = _numbers((action,), action.address)
    place = next(index for index, step in enumerate(action.steps) if step.operation in touching)
    touch = action.steps[place]
    wait = Step(
        next(numbers),
        IS_LIVE,
        {},
        touch.after,
        until=Until("channelArn", stream.channel_arn, absent=True, seconds=seconds),
    )
    steps = (*action.steps[:place], wait, replace(touch, after=(wait.id,)), *action.steps[place + 1 :])
    warning = f"{stream}: an apply goes on with it when the stream has ended, and gives up after {_length(seconds)}"
    return replace(action, steps=steps, warnings=(*action.warnings, warning))


def stopped(
    actions: Sequence[Action],
    stream: Stream,
    keys: Sequence[LiveResource],
    touching: frozenset[str | None],
    sinks: Mapping[Address, Sink],
) -> tuple[Action, ...]:
    """Return the actions so that the broadcast of one channel is ended before it is touched, and that it has a stream key in the end.

    ``keys`` are the channel's stream keys as they are; ``sinks`` says where the values of new ones go. An action on the key that deletes or creates one takes part with those steps.
    """
    result = list(actions)
    arn = stream.channel_arn
    channel = _find(
        actions,
        lambda action: (
            action.kind is KindName.CHANNEL
            and action.arn == arn
            and any(step.operation in touching for step in action.steps)
        ),
    )
    of_keys = {key.arn for key in keys}
    key = _find(
        actions,
        lambda action: (
            action.kind is KindName.STREAM_KEY
            and bool(action.steps)
            and (action.arn in of_keys or any(step.parameters.get("channelArn") == arn for step in action.steps))
        ),
    )
    if channel is None:
        if key is not None:
            result[key] = _alone(actions, actions[key], stream)
        return tuple(result)
    action = actions[channel]
    numbers = _numbers(actions, action.address)
    own_deletes = [] if key is None else [step for step in actions[key].steps if step.operation == STREAM_KEY.delete]
    own_creates = [] if key is None else [step for step in actions[key].steps if step.operation == STREAM_KEY.create]
    before = action.steps[0].after
    first: list[Step] = (
        [] if own_deletes else [Step(next(numbers), STREAM_KEY.delete, {"arn": one.arn}, before) for one in keys]
    )
    stop, idle = _ending(numbers, stream, tuple(step.id for step in (*first, *own_deletes)) or before)
    work = (replace(action.steps[0], after=(*before, idle.id)), *action.steps[1:])
    steps = [*first, stop, idle, *work]
    lost = f"{stream}: its stream key is deleted and the broadcast ended, and its viewers are cut off"
    if action.verb is Verb.DELETE:
        result[channel] = replace(action, steps=tuple(steps), warnings=(*action.warnings, lost))
        return tuple(result)
    new_key = "; THE CHANNEL THEN GETS A NEW STREAM KEY: the encoder has to be given its value before anybody can broadcast again"
    if own_creates and key is not None:
        result[key] = _after(actions[key], own_creates[0], work[-1].id)
    elif own_deletes:
        new_key = "; its stream key is deleted, as planned, and nobody can broadcast to it until it has a new one"
    elif key is not None:
        # Its tags were to be edited; the new key is made with them as they shall be.
        changed = actions[key]
        tags = _tags_after(changed, keys)
        result[key] = replace(
            changed,
            steps=_restored(_numbers(actions, changed.address), changed.address, arn, tags, work[-1].id, sinks),
            warnings=(
                *changed.warnings,
                "it is replaced by a new stream key, with a new value, because the broadcast is ended",
            ),
        )
    else:
        address = Address(KindName.STREAM_KEY, action.address.id)
        steps += _restored(numbers, address, arn, keys[0].tags if keys else {}, work[-1].id, sinks)
    result[channel] = replace(action, steps=tuple(steps), warnings=(*action.warnings, lost + new_key))
    return tuple(result)


def _alone(actions: Sequence[Action], action: Action, stream: Stream) -> Action:
    """Return an action that deletes the key of a channel which is not touched otherwise: the broadcast is ended right after."""
    place = next(index for index, step in enumerate(action.steps) if step.operation == STREAM_KEY.delete)
    delete = action.steps[place]
    stop, idle = _ending(_numbers(actions, action.address), stream, (delete.id,))
    rest = tuple(
        replace(step, after=tuple(idle.id if needed == delete.id else needed for needed in step.after))
        for step in action.steps[place + 1 :]
    )
    warning = f"{stream}: the broadcast is ended, and its viewers are cut off"
    return replace(action, steps=(*action.steps[: place + 1], stop, idle, *rest), warnings=(*action.warnings, warning))


def _ending(numbers: Iterator[str], stream: Stream, after: tuple[str, ...]) -> tuple[Step, Step]:
    stop = Step(next(numbers), STOP, {"channelArn": stream.channel_arn}, after)
    return stop, Step(
        next(numbers),
        IS_LIVE,
        {},
        (stop.id,),
        until=Until("channelArn", stream.channel_arn, absent=True, seconds=STOP_SECONDS),
    )


def _restored(
    numbers: Iterator[str],
    address: Address,
    arn: str,
    tags: Mapping[str, str],
    needed: str,
    sinks: Mapping[Address, Sink],
) -> tuple[Step, ...]:
    """Return the steps that give a channel a stream key again, and hand its value over."""
    deliver = (sinks[address],) if address in sinks else ()
    parameters: dict[str, Value] = {"channelArn": arn, "tags": dict(at_birth(tags, waiting=bool(deliver)))}
    create = Step("", STREAM_KEY.create, parameters, binds={str(address): f"{STREAM_KEY.member}.arn"})
    steps: list[Step] = []
    for step in (create, *handing_over(deliver, Ref(address)), *noted(deliver, Ref(address))):
        steps.append(replace(step, id=next(numbers), after=(steps[-1].id if steps else needed,)))
    return tuple(steps)


def _after(action: Action, step: Step, needed: str) -> Action:
    return replace(
        action, steps=tuple(replace(one, after=(*one.after, needed)) if one is step else one for one in action.steps)
    )


def _tags_after(action: Action, keys: Sequence[LiveResource]) -> dict[str, str]:
    """Return the tags that a key has once an action has edited them."""
    tags = dict(next((key.tags for key in keys if key.arn == action.arn), {}))
    for change in action.changes:
        if change.path.startswith(_TAGS):
            name = unescape(change.path.removeprefix(_TAGS))
            if change.absent_after:
                tags.pop(name, None)
            else:
                tags[name] = str(change.after)
    return tags


def _find(actions: Sequence[Action], fits: Callable[[Action], bool]) -> int | None:
    return next((index for index, action in enumerate(actions) if fits(action)), None)


def _numbers(actions: Sequence[Action], address: Address) -> Iterator[str]:
    """Yield ids for new steps of an address, after those that it has."""
    taken = [
        int(step.id.rpartition("#")[2]) for action in actions if action.address == address for step in action.steps
    ]
    return (f"{address}#{number}" for number in itertools.count(max(taken, default=0) + 1))


def _length(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"


_TOUCHING = frozenset({CHANNEL.update, CHANNEL.delete, STREAM_KEY.delete})


@dataclass(frozen=True, slots=True)
class LiveRules:
    """What may be done about channels on air.

    ``stop`` names the channels whose broadcast may be ended; ``in_spec`` are the addresses of the spec, ``sinks`` where the values of its stream keys go.
    ``even_live`` lets stream keys be made anew while their channel is on air: the broadcast goes on, and only another one needs the new key.
    """

    on_live: OnLive = OnLive.BLOCK
    deadline: int = 0
    stop: frozenset[str] = frozenset()
    in_spec: frozenset[Address] = frozenset()
    sinks: Mapping[Address, Sink] = field(default_factory=dict)
    even_live: bool = False

    @classmethod
    def of(
        cls,
        guardrails: Guardrails,
        options: PlanOptions,
        in_spec: Mapping[Address, DesiredResource],
        *,
        even_live: bool = False,
    ) -> LiveRules:
        """Return the rules of one run: what the caller said, and else the project's. No project alone ends a broadcast."""
        on_live = guardrails.on_live if options.wait_live is None else OnLive.WAIT
        deadline = guardrails.live_deadline if options.wait_live is None else options.wait_live
        sinks = {address: resource.sink for address, resource in in_spec.items() if resource.sink is not None}
        return cls(on_live, deadline, frozenset(options.stop_live), frozenset(in_spec), sinks, even_live)

    @property
    def wait_seconds(self) -> int:
        """How many seconds an apply waits for a broadcast to end."""
        return self.deadline if self.on_live is OnLive.WAIT else 0


@dataclass(frozen=True, slots=True)
class Broadcasts:
    """The running broadcasts by the ARN of their channel, and the stream keys of the channels whose broadcast may be ended.

    ``hidden`` gives, for a channel whose stream keys the caller may not see, AWS's reason.
    """

    streams: Mapping[str, Stream]
    keys: Mapping[str, tuple[LiveResource, ...]] = field(default_factory=dict)
    hidden: Mapping[str, str] = field(default_factory=dict)


def needs_streams(plan: TargetPlan) -> bool:
    """Whether the plan touches a channel that may be on air, so that somebody has to ask."""
    return any(_channel(action) for action in plan.actions)


def with_unknown_named(plan: TargetPlan, rules: LiveRules) -> TargetPlan:
    """Return the plan with a note for each channel that the caller named and that neither the spec nor the plan knows."""
    known = {str(address) for address in (*rules.in_spec, *(action.address for action in plan.actions))}
    notes = [f"no channel matches --stop-live {address}" for address in sorted(rules.stop - known)]
    return replace(plan, notes=(*plan.notes, *(note for note in notes if note not in plan.notes))) if notes else plan


def to_stop(plan: TargetPlan, streams: Mapping[str, Stream], rules: LiveRules) -> tuple[str, ...]:
    """Return the ARNs of the channels whose broadcast is to be ended: their stream keys have to be known for that."""
    return tuple(
        dict.fromkeys(
            _channel(action)
            for action in plan.actions
            if _disturbs(action, streams) and str(_address(action)) in rules.stop and not _obstacle(action, rules)
        )
    )


def with_streams(plan: TargetPlan, broadcasts: Broadcasts, rules: LiveRules) -> TargetPlan:
    """Return the plan with the channels on air that it touches, and with what the rules say done about each."""
    streams = broadcasts.streams
    blocks: dict[int, Blocked] = {}
    changed = list(plan.actions)
    stopping: list[str] = []
    for index, action in enumerate(plan.actions):
        if not _disturbs(action, streams):
            continue
        stream, address = streams[_channel(action)], _address(action)
        if rules.even_live and action.reason is Reason.ROTATION_DUE:
            changed[index] = replace(
                action,
                warnings=(
                    *action.warnings,
                    f"{stream}: the broadcast goes on, and no encoder can reconnect with the old key",
                ),
            )
            continue
        if str(address) not in rules.stop:
            if rules.on_live is OnLive.WAIT:
                changed[index] = waiting(action, stream, rules.deadline, _TOUCHING)
            else:
                blocks[index] = Blocked("live", f"{stream}; {_advice(address, rules)}")
        elif obstacle := _obstacle(action, rules) or _keys_in_the_way(action, stream.channel_arn, broadcasts):
            blocks[index] = Blocked(obstacle.code, f"{stream}; {obstacle.message}")
        elif stream.channel_arn not in stopping:
            stopping.append(stream.channel_arn)
    actions = hold(tuple(changed), blocks) if blocks else tuple(changed)
    for arn in stopping:
        actions = stopped(actions, streams[arn], broadcasts.keys.get(arn, ()), _TOUCHING, rules.sinks)
    on_air = {
        arn: _seen(_address(action), streams[arn]) for action in plan.actions if (arn := _channel(action)) in streams
    }
    return replace(
        plan,
        actions=actions,
        summary=counted(plan.summary, actions),
        on_air=tuple(sorted(on_air.values(), key=lambda channel: (channel.address, channel.arn))),
        wait_live=rules.wait_seconds,
    )


def without_streams(plan: TargetPlan, why: str) -> TargetPlan:
    """Return the plan for a caller who may not see what is on air: what might disturb a broadcast is held back, and the rest goes on."""
    said = f"whether the channel is on air could not be seen ({why}); see to that, then plan again"
    blocks = {
        index: Blocked("unreadable", said)
        for index, action in enumerate(plan.actions)
        if _channel(action) and _touches(action)
    }
    actions = hold(plan.actions, blocks)
    return replace(plan, actions=actions, summary=counted(plan.summary, actions))


def _seen(address: Address, stream: Stream) -> OnAir:
    return OnAir(address, stream.channel_arn, stream.started_at, stream.viewers, stream.health)


def _address(action: Action) -> Address:
    """Return the address of the channel that an action on it, or on its stream key, is about."""
    return Address(KindName.CHANNEL, action.address.id)


def _channel(action: Action) -> str:
    """Return the ARN of the channel that an action touches and that may be on air, or nothing."""
    match action.kind:
        case KindName.CHANNEL:
            return action.arn or ""
        case KindName.STREAM_KEY if action.observed:
            return str(action.observed.properties.get("channelArn", ""))
        case KindName.STREAM_KEY:
            named = (step.parameters.get("channelArn") for step in action.steps)
            return next((arn for arn in named if isinstance(arn, str)), "")
        case _:
            return ""


def _disturbs(action: Action, streams: Mapping[str, Stream]) -> bool:
    """Whether an action would disturb a running broadcast and nothing is planned about that yet."""
    return _channel(action) in streams and _touches(action)


def _touches(action: Action) -> bool:
    """Whether an action touches what a broadcast needs, and nothing is planned about the broadcast yet."""
    if not any(step.operation in _TOUCHING for step in action.steps):
        return False
    return not any(step.operation == STOP or (step.operation == IS_LIVE and step.until) for step in action.steps)


def _obstacle(action: Action, rules: LiveRules) -> Blocked | None:
    """Return why the broadcast is not ended although the caller asked for it."""
    if action.observed is not None and action.observed.tags.get(PROTECT) == "true":
        return Blocked(
            "protected",
            f"{action.address} is protected, and the broadcast of a protected channel is never ended; apply again when it is over",
        )
    if action.verb is Verb.ADOPT:
        return Blocked(
            "live", "it is not this stack's yet, and a foreign broadcast is never ended; adopt it when it is over"
        )
    restored = Address(KindName.STREAM_KEY, action.address.id) in rules.in_spec
    if action.kind is KindName.CHANNEL and action.verb is not Verb.DELETE and not restored:
        return Blocked(
            "live",
            "ending it takes away the stream key, and the spec does not say that there is one, so a run that is interrupted would leave the channel without; "
            f"add streamKey: {{}} to {action.address} and apply that first",
        )
    return None


def _keys_in_the_way(action: Action, arn: str, broadcasts: Broadcasts) -> Blocked | None:
    """Return why the broadcast is not ended although the caller asked for it: its stream key cannot be seen, or is another stack's."""
    if arn in broadcasts.hidden:
        return Blocked(
            "unreadable", f"its stream key has to be known to end it, and could not be read ({broadcasts.hidden[arn]})"
        )
    keys = broadcasts.keys.get(arn, ())
    ours = action.observed.tags.get(STACK) if action.observed else None
    strange = next((key for key in keys if key.tags.get(STACK, ours) != ours), None)
    if strange is None:
        return None
    return Blocked(
        "foreign",
        f"its stream key {strange.arn} belongs to stack {strange.tags[STACK]}, and nothing foreign is deleted to end a broadcast",
    )


def _advice(address: Address, rules: LiveRules) -> str:
    if rules.on_live is OnLive.STOP:
        return f"apply again when the stream has ended, or end it with --stop-live {address}"
    return "apply again when the stream has ended"
