"""Channels on air: what a plan would do to a running broadcast is held back, waits for its end, or ends it, as the rules say.

Service facts: a live channel can be neither updated nor deleted, and nobody can reconnect with a stream key that was deleted (service model).
Tags may be edited at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from reconciler.model.address import Address, KindName
from reconciler.model.kinds import CHANNEL, STREAM_KEY
from reconciler.model.resource import DesiredResource, LiveResource, Stream
from reconciler.model.sink import Sink
from reconciler.model.tags import PROTECT, STACK
from reconciler.model.target import Guardrails, OnLive
from reconciler.plan.actions import Action, Blocked, OnAir, PlanOptions, Reason, TargetPlan, Verb
from reconciler.plan.hold import counted, hold
from reconciler.plan.stopping import IS_LIVE, STOP, stopped, waiting

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
