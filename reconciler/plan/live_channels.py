"""Live channels: an action that would disturb a stream is blocked, waits for its end, or ends it, as the rules say.

Service facts: a live channel can be neither updated nor deleted, and an encoder cannot reconnect with a deleted stream key;
an encoder reconnects by itself after a stream was stopped, unless its stream key is gone; deleting a key ends no stream;
a channel has at most one stream key, and a new one has a new value (service model, user guide). Tags may be edited at any time.
So ending a stream takes these steps: delete the key, stop the stream, wait until the channel is not live, change it, create a key.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from reconciler.model.address import PROTECT, STACK, Address, KindName
from reconciler.model.kinds import KINDS
from reconciler.model.kinds.ivs import CHANNEL, LIST_STREAMS, STOP_STREAM, STREAM_KEY
from reconciler.model.resource import DesiredResource, LiveResource, LiveState, Stream
from reconciler.model.target import Guardrails, OnLive, Sink
from reconciler.model.values import Ref, Value
from reconciler.plan.decision import is_protected
from reconciler.plan.order import Verdict, blocked_verdicts, with_verdicts
from reconciler.plan.plan import Action, Blocked, LiveChannel, PlanOptions, Reason, Step, TargetPlan, Until, Verb
from reconciler.plan.steps import publishing_steps, recording_steps, tags_at_creation

APPLY_AGAIN = "apply again when the stream has ended"
"""What to do about an action that a broadcast blocks, unless something applies it by itself."""

STOP_SECONDS = 60
"""How long to wait for a stopped stream to end; the service takes a few seconds."""

_TOUCHING = frozenset({CHANNEL.update, CHANNEL.delete, STREAM_KEY.delete})


class LiveRules(NamedTuple):
    """What may be done about live channels.

    ``stop`` names the channels whose stream may be ended; ``in_spec`` are the addresses of the spec, ``sinks`` those for the values of its stream keys.
    ``even_live`` lets stream keys be rotated while their channel is live: the stream continues, and only the next one needs the new key.
    """

    on_live: OnLive = OnLive.BLOCK
    deadline: int = 0
    stop: frozenset[str] = frozenset()
    in_spec: frozenset[Address] = frozenset()
    sinks: Mapping[Address, Sink] = MappingProxyType({})
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
        """Return the rules of one run: the caller's options, else the project's. The project file alone never ends a stream."""
        on_live = guardrails.on_live if options.wait_live is None else OnLive.WAIT
        deadline = guardrails.live_deadline if options.wait_live is None else options.wait_live
        sinks = {address: resource.sink for address, resource in in_spec.items() if resource.sink is not None}
        return cls(on_live, deadline, frozenset(options.stop_live), frozenset(in_spec), sinks, even_live)

    @property
    def wait_seconds(self) -> int:
        """How many seconds an apply waits for a stream to end."""
        return self.deadline if self.on_live is OnLive.WAIT else 0


class Broadcasts(NamedTuple):
    """The active streams by the ARN of their channel, and the stream keys of the channels whose stream may be ended.

    ``hidden`` has AWS's reason for each channel whose stream keys could not be read; ``unseen`` is its reason if streams could not be listed.
    """

    streams: Mapping[str, Stream] = {}
    keys: Mapping[str, tuple[LiveResource, ...]] = {}
    hidden: Mapping[str, str] = {}
    unseen: str = ""


class _Change(NamedTuple):
    """The steps that an action gets because its channel is live, and a warning."""

    steps: tuple[Step, ...]
    warning: str = ""


def needs_streams(actions: Sequence[Action]) -> bool:
    """Return whether an action changes a channel that may be live, so that the active streams have to be read."""
    return any(_channel(action) for action in actions)


def with_live_channels(
    plan: TargetPlan, live: LiveState, rules: LiveRules, broadcasts: Broadcasts | None
) -> TargetPlan:
    """Return a plan with the live channels that it changes, in which what would disturb a stream is blocked, waits, or ends it.

    ``broadcasts`` is ``None`` if the plan changes no channel that may be live.
    """
    actions, live_channels = plan.actions, plan.live_channels
    notes = (*plan.notes, *(note for note in _stop_notes(plan, rules) if note not in plan.notes))
    if broadcasts is not None and not broadcasts.unseen:
        live_channels = _touched(actions, broadcasts.streams)
    if broadcasts is not None and (broadcasts.streams or broadcasts.unseen):
        channels = (channel for kind in KINDS.values() if kind.live for channel in live.of(kind.name))
        protected = frozenset(channel.arn for channel in channels if is_protected(channel))
        actions = with_verdicts(actions, _verdicts(actions, broadcasts, rules, protected))
    return plan._replace(
        actions=actions,
        summary=plan.summary.counting(actions),
        notes=notes,
        live_channels=live_channels,
        wait_live=rules.wait_seconds,
    )


def _stop_notes(plan: TargetPlan, rules: LiveRules) -> Iterator[str]:
    """Yield a note for each channel of ``--stop-live`` that neither the spec nor the plan has."""
    if not rules.stop:
        return
    known = {str(address) for address in (*rules.in_spec, *(action.address for action in plan.actions))}
    yield from (f"no channel matches --stop-live {address}" for address in sorted(rules.stop - known))


def to_stop(actions: Sequence[Action], streams: Mapping[str, Stream], rules: LiveRules) -> tuple[str, ...]:
    """Return the ARNs of the channels whose stream is to be ended: their stream keys have to be read for that."""
    return tuple(
        dict.fromkeys(
            _channel(action)
            for action in actions
            if _disturbs(action, streams) and str(_address(action)) in rules.stop and not _obstacle(action, rules)
        )
    )


def _touched(actions: Sequence[Action], streams: Mapping[str, Stream]) -> tuple[LiveChannel, ...]:
    """Return the live channels that actions change, by address."""
    found = {arn: _seen(_address(action), streams[arn]) for action in actions if (arn := _channel(action)) in streams}
    return tuple(sorted(found.values(), key=lambda channel: (channel.address, channel.arn)))


def _verdicts(
    actions: Sequence[Action], broadcasts: Broadcasts, rules: LiveRules, protected: frozenset[str]
) -> dict[int, Verdict]:
    """Return verdicts by index for the actions that would disturb an active stream, and for their dependents.

    ``protected`` holds the ARNs of protected channels.
    If streams could not be listed, what might disturb one is blocked, and the rest continues.
    """
    streams = broadcasts.streams
    steps = [action.steps for action in actions]
    without_key = frozenset(_channel(action) for action in actions if _deletes_key(action))
    warnings: defaultdict[int, list[str]] = defaultdict(list)
    blocks: dict[int, Blocked] = {}
    to_end: dict[str, Stream] = {}
    for index, action in enumerate(actions):
        if broadcasts.unseen and _channel(action) and _touches(action):
            said = f"cannot tell whether the channel is live ({broadcasts.unseen}); correct that, then run plan again"
            blocks[index] = Blocked("unreadable", said)
        if not _disturbs(action, streams):
            continue
        stream = streams[_channel(action)]
        if rules.even_live and action.reason is Reason.ROTATION_DUE:
            warnings[index].append(f"{stream}: the broadcast continues; an encoder cannot reconnect with the old key")
        elif blocked := _blocked(action, stream, broadcasts, rules, protected, without_key):
            blocks[index] = blocked
        elif str(_address(action)) in rules.stop:
            to_end[stream.channel_arn] = stream
        else:
            steps[index], warning = _waiting(actions, steps, index, stream, rules.deadline)
            warnings[index].append(warning)
    held = blocked_verdicts(actions, blocks, {}, steps)
    for index, verdict in held.items():
        steps[index] = verdict.steps
        warnings[index] += verdict.warnings
    for arn, stream in to_end.items():
        for index, change in _ending(actions, steps, stream, broadcasts.keys.get(arn, ()), rules.sinks).items():
            steps[index] = change.steps
            warnings[index] += [change.warning] if change.warning else []
    return {
        index: Verdict(steps[index], held[index].blocked if index in held else None, tuple(warnings[index]))
        for index, action in enumerate(actions)
        if index in warnings or steps[index] is not action.steps
    }


def _seen(address: Address, stream: Stream) -> LiveChannel:
    return LiveChannel(address, stream.channel_arn, stream.started_at, stream.viewers, stream.health)


def _address(action: Action) -> Address:
    """Return the address of the channel that an action on it, or on its stream key, is about."""
    return Address(KindName.CHANNEL, action.address.id)


def _channel(action: Action) -> str:
    """Return the ARN of the channel that an action concerns and that may be live, or an empty string."""
    match action.address.kind:
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
    """Return whether an action would disturb an active stream and does not handle it yet."""
    return _channel(action) in streams and _touches(action)


def _touches(action: Action) -> bool:
    """Return whether an action changes what a stream needs, without a step that waits for the stream or ends it."""
    if not any(step.operation in _TOUCHING for step in action.steps):
        return False
    return not any(
        step.operation == STOP_STREAM or (step.operation == LIST_STREAMS and step.until) for step in action.steps
    )


def _deletes_key(action: Action) -> bool:
    """Return whether an action deletes a stream key, and creates no other."""
    return action.address.kind is KindName.STREAM_KEY and action.verb is Verb.DELETE and bool(action.steps)


def _blocked(
    action: Action,
    stream: Stream,
    broadcasts: Broadcasts,
    rules: LiveRules,
    protected: frozenset[str],
    without_key: frozenset[str],
) -> Blocked | None:
    """Return why an action is blocked while its channel is live: by the rules, or because the stream cannot be ended.

    ``without_key`` has the ARNs of the channels whose stream key the plan deletes.
    """
    address = _address(action)
    if str(address) not in rules.stop:
        return None if rules.on_live is OnLive.WAIT else Blocked("live", f"{stream}; {_advice(address, rules)}")
    is_protected = stream.channel_arn in protected
    loses_key = stream.channel_arn in without_key
    obstacle = _obstacle(action, rules, is_protected=is_protected, loses_key=loses_key) or _key_obstacle(
        action, stream.channel_arn, broadcasts
    )
    return Blocked(obstacle.code, f"{stream}; {obstacle.message}") if obstacle else None


def _obstacle(
    action: Action, rules: LiveRules, *, is_protected: bool = False, loses_key: bool = False
) -> Blocked | None:
    """Return why the stream is not ended although the caller asked for it."""
    if is_protected or (action.observed is not None and action.observed.tags.get(PROTECT) == "true"):
        return Blocked(
            "protected",
            f"{_address(action) if is_protected else action.address} is protected, so its broadcast is not ended; apply again when it has ended",
        )
    if action.verb is Verb.ADOPT:
        return Blocked(
            "live", "it is not managed yet, so its broadcast is not ended; adopt it when the broadcast has ended"
        )
    restored = Address(KindName.STREAM_KEY, action.address.id) in rules.in_spec
    if action.address.kind is KindName.CHANNEL and action.verb is not Verb.DELETE and not restored and not loses_key:
        return Blocked(
            "live",
            "ending it deletes the stream key, which is not in the spec, so an interrupted run would leave the channel without one; "
            f"add streamKey: {{}} to {action.address} and apply first",
        )
    return None


def _key_obstacle(action: Action, arn: str, broadcasts: Broadcasts) -> Blocked | None:
    """Return why the stream is not ended although the caller asked for it: its stream key cannot be read, or is owned by another stack."""
    if arn in broadcasts.hidden:
        return Blocked(
            "unreadable", f"its stream key is needed to end it, and could not be read ({broadcasts.hidden[arn]})"
        )
    keys = broadcasts.keys.get(arn, ())
    ours = action.observed.tags.get(STACK) if action.observed else None
    others_key = next((key for key in keys if key.tags.get(STACK, ours) != ours), None)
    if others_key is None:
        return None
    return Blocked(
        "unmanaged",
        f"its stream key {others_key.arn} is owned by stack {others_key.tags[STACK]} and is not deleted to end a broadcast",
    )


def _advice(address: Address, rules: LiveRules) -> str:
    if rules.on_live is OnLive.STOP:
        return f"{APPLY_AGAIN}, or end it with --stop-live {address}"
    return APPLY_AGAIN


def _waiting(
    actions: Sequence[Action], steps: Sequence[tuple[Step, ...]], index: int, stream: Stream, seconds: int
) -> _Change:
    """Let an action wait for the end of the stream, up to a limit, before it changes its channel."""
    own = steps[index]
    place = next(at for at, step in enumerate(own) if step.operation in _TOUCHING)
    touch = own[place]
    until = Until("channelArn", stream.channel_arn, absent=True, seconds=seconds)
    wait = Step(next(_numbers(actions, steps, actions[index].address)), LIST_STREAMS, {}, touch.after, until=until)
    return _Change(
        (*own[:place], wait, touch._replace(after=(wait.id,)), *own[place + 1 :]),
        f"{stream}: apply waits for the end of the stream, at most {_length(seconds)}",
    )


def _ending(
    actions: Sequence[Action],
    steps: Sequence[tuple[Step, ...]],
    stream: Stream,
    keys: Sequence[LiveResource],
    sinks: Mapping[Address, Sink],
) -> dict[int, _Change]:
    """Return changes by index that end the stream of one channel before it is changed, and give it a stream key in the end.

    ``steps`` are the current steps of each action, ``keys`` the channel's live stream keys; ``sinks`` are those for new values.
    An action on the key contributes its delete or create.
    """
    channel, key = _on_channel(actions, steps, stream.channel_arn), _on_key(actions, steps, stream.channel_arn, keys)
    if channel is None:
        return {} if key is None else {key: _ending_alone(actions, steps, key, stream)}
    action, work = actions[channel], steps[channel]
    numbers = _numbers(actions, steps, action.address)
    deletes = [] if key is None else [step for step in steps[key] if step.operation == STREAM_KEY.delete]
    before = work[0].after
    first: list[Step] = []
    if not deletes:
        first = [Step(next(numbers), STREAM_KEY.delete, {"arn": one.arn}, before) for one in keys]
    stop, idle = _stop(numbers, stream, tuple(step.id for step in (*first, *deletes)) or before)
    own = (*first, stop, idle, work[0]._replace(after=(*before, idle.id)), *work[1:])
    lost = f"{stream}: its stream key is deleted and the broadcast is ended; viewers are disconnected"
    if action.verb is Verb.DELETE:
        return {channel: _Change(own, lost)}
    new = "; THE CHANNEL GETS A NEW STREAM KEY: configure the encoder with its value before the next broadcast"
    last, arn = work[-1].id, stream.channel_arn
    if key is None:
        address = Address(KindName.STREAM_KEY, action.address.id)
        restored = _restored(numbers, address, arn, keys[0].tags if keys else {}, last, sinks)
        return {channel: _Change((*own, *restored), lost + new)}
    creates = next((step for step in steps[key] if step.operation == STREAM_KEY.create), None)
    if creates is not None:
        after = tuple(one._replace(after=(*one.after, last)) if one is creates else one for one in steps[key])
        return {channel: _Change(own, lost + new), key: _Change(after)}
    if deletes:
        none = "; its stream key is deleted as planned, and no broadcast is possible until it has a new one"
        return {channel: _Change(own, lost + none)}
    # Its tags were to be edited; the new key is created with the final tags.
    tags, address = _tags_after(actions[key], keys), actions[key].address
    restored = _restored(_numbers(actions, steps, address), address, arn, tags, last, sinks)
    warning = "replaced by a new stream key with a new value, because the broadcast is ended"
    return {channel: _Change(own, lost + new), key: _Change(restored, warning)}


def _on_channel(actions: Sequence[Action], steps: Sequence[tuple[Step, ...]], arn: str) -> int | None:
    """Return the index of the action that changes a channel."""
    return next(
        (
            index
            for index, action in enumerate(actions)
            if action.address.kind is KindName.CHANNEL
            and action.arn == arn
            and any(step.operation in _TOUCHING for step in steps[index])
        ),
        None,
    )


def _on_key(
    actions: Sequence[Action], steps: Sequence[tuple[Step, ...]], channel: str, keys: Sequence[LiveResource]
) -> int | None:
    """Return the index of the action on a channel's stream key, if it has steps."""
    arns = {key.arn for key in keys}
    return next(
        (
            index
            for index, action in enumerate(actions)
            if action.address.kind is KindName.STREAM_KEY
            and steps[index]
            and (action.arn in arns or any(step.parameters.get("channelArn") == channel for step in steps[index]))
        ),
        None,
    )


def _ending_alone(actions: Sequence[Action], steps: Sequence[tuple[Step, ...]], index: int, stream: Stream) -> _Change:
    """End a stream right after the delete of its key, if the channel itself is not changed."""
    own = steps[index]
    place = next(at for at, step in enumerate(own) if step.operation == STREAM_KEY.delete)
    delete = own[place]
    stop, idle = _stop(_numbers(actions, steps, actions[index].address), stream, (delete.id,))
    rest = tuple(
        step._replace(after=tuple(idle.id if needed == delete.id else needed for needed in step.after))
        for step in own[place + 1 :]
    )
    warning = f"{stream}: the broadcast is ended; viewers are disconnected"
    return _Change((*own[: place + 1], stop, idle, *rest), warning)


def _stop(numbers: Iterator[str], stream: Stream, after: tuple[str, ...]) -> tuple[Step, Step]:
    stop = Step(next(numbers), STOP_STREAM, {"channelArn": stream.channel_arn}, after)
    until = Until("channelArn", stream.channel_arn, absent=True, seconds=STOP_SECONDS)
    return stop, Step(next(numbers), LIST_STREAMS, {}, (stop.id,), until=until)


def _restored(
    numbers: Iterator[str],
    address: Address,
    arn: str,
    tags: Mapping[str, str],
    needed: str,
    sinks: Mapping[Address, Sink],
) -> tuple[Step, ...]:
    """Return the steps that give a channel a stream key again, and publish its value."""
    publish_to = (sinks[address],) if address in sinks else ()
    parameters: dict[str, Value] = {"channelArn": arn, "tags": dict(tags_at_creation(tags, waiting=bool(publish_to)))}
    create = Step("", STREAM_KEY.create, parameters, binds={str(address): STREAM_KEY.arn_path})
    steps: list[Step] = []
    for step in (
        create,
        *publishing_steps(STREAM_KEY, publish_to, Ref(address)),
        *recording_steps(publish_to, Ref(address)),
    ):
        steps.append(step._replace(id=next(numbers), after=(steps[-1].id if steps else needed,)))
    return tuple(steps)


def _tags_after(action: Action, keys: Sequence[LiveResource]) -> dict[str, str]:
    """Return the tags of a key after an action has edited them."""
    tags = dict(next((key.tags for key in keys if key.arn == action.arn), {}))
    for change in action.changes:
        if change.tag and change.absent_after:
            tags.pop(change.tag, None)
        elif change.tag:
            tags[change.tag] = str(change.after)
    return tags


def _numbers(actions: Sequence[Action], steps: Sequence[tuple[Step, ...]], address: Address) -> Iterator[str]:
    """Yield unused step ids of an address."""
    taken = [
        int(step.id.rpartition("#")[2])
        for action, own in zip(actions, steps, strict=True)
        if action.address == address
        for step in own
    ]
    return (f"{address}#{number}" for number in itertools.count(max(taken, default=0) + 1))


def _length(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"
