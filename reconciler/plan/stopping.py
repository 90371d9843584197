"""The steps that wait for a broadcast to end, and those that end it and let the channel go on air again.

Service facts: an encoder reconnects by itself after a broadcast was stopped, unless its stream key is gone; a deleted key ends no broadcast;
a channel has one stream key at most, and a new one has a new value (service model, user guide).
So the order is: delete the key, stop the stream, wait until the channel is off air, change it, create a key.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from reconciler.diff import unescape
from reconciler.model.address import Address, KindName
from reconciler.model.kinds import STREAM_KEY
from reconciler.model.resource import LiveResource, Stream
from reconciler.model.sink import Sink
from reconciler.model.values import Ref, Value
from reconciler.plan.actions import Action, Step, Until, Verb
from reconciler.plan.delivery import at_birth, handing_over, noted

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
