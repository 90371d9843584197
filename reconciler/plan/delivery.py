"""Making a stream key anew and handing its value over: which steps, and which tags say how far it has come.

A key that is made by a rotation says in its create call which label it was made for, and that its value waits.
Where the value went is written last, so that whatever stops in between, the next plan goes on from there: it reads the value once more and makes no other key.
The value itself is in no plan: a step names where it goes, and the executor sees to it that it goes nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from reconciler.model.address import Address
from reconciler.model.kinds import STREAM_KEY
from reconciler.model.resource import DesiredResource, LiveResource
from reconciler.model.sink import Sink, Store
from reconciler.model.tags import DELIVERED, ROTATION, WAITING
from reconciler.model.values import Value
from reconciler.plan.actions import Step


@dataclass(frozen=True, slots=True)
class Rotate:
    """What one run was asked for beside what the spec says: keys to make anew, a file for the value, and whether also while the channel is on air."""

    addresses: frozenset[Address] = frozenset()
    file: Sink | None = None
    even_live: bool = False


NOTHING = Rotate()


def sinks_of(resource: DesiredResource, asked: Rotate) -> tuple[Sink, ...]:
    """Return where the value of a key goes."""
    file = asked.file if resource.address in asked.addresses else None
    return tuple(sink for sink in (resource.sink, file) if sink is not None)


def rotation_due(live: LiveResource, resource: DesiredResource) -> str:
    """Return why a key is to be made anew because of its label, or nothing."""
    label, made_for = resource.tags.get(ROTATION), live.tags.get(ROTATION)
    if label is None or label == made_for:
        return ""
    return f'the spec asks for rotation "{label}", and this key was made for ' + (
        f'"{made_for}"' if made_for else "none"
    )


def delivery_due(live: LiveResource, deliver: tuple[Sink, ...]) -> bool:
    """Whether the value still has to be handed over."""
    return any(live.tags.get(DELIVERED) != sink.mark for sink in deliver)


def waits(live: LiveResource) -> bool:
    """Whether the key was made by a rotation that did not come to its end."""
    return live.tags.get(DELIVERED) == WAITING


def at_birth(tags: Mapping[str, str], *, waiting: bool) -> dict[str, str]:
    """Return the tags that a key is created with, when the finished one has these."""
    born = {key: value for key, value in tags.items() if key != DELIVERED}
    return {**born, DELIVERED: WAITING} if waiting else born


def handing_over(deliver: tuple[Sink, ...], arn: Value) -> Iterator[Step]:
    """Yield the steps that hand a key's value over."""
    for sink in deliver:
        yield Step("", STREAM_KEY.get, {"arn": arn}, deliver=sink)


def noted(deliver: tuple[Sink, ...], arn: Value) -> Iterator[Step]:
    """Yield the step that writes down that a key's value is where it belongs. A file is not remembered: it is whoever asked for it that keeps it."""
    lasting = [sink.mark for sink in deliver if sink.store is not Store.FILE]
    if lasting:
        yield Step("", "TagResource", {"resourceArn": arn, "tags": {DELIVERED: lasting[-1]}})
    elif deliver:
        yield Step("", "UntagResource", {"resourceArn": arn, "tagKeys": (DELIVERED,)})


def where_to(deliver: tuple[Sink, ...]) -> str:
    """Say what becomes of the value."""
    if deliver:
        return f"its value goes to {' and to '.join(map(str, deliver))}"
    return "no sink is named: whoever runs the encoder reads its value with aws ivs get-stream-key"
