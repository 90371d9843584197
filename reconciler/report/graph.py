"""The dependency graph of the resources that a plan changes: its edges, and its layout as a picture.

An edge goes from a resource to the one that needs it. A resource that the plan does not change has no node.
A reference is found where a change, a call or the live resource names another resource's address or ARN, and a stream key belongs to the channel of its id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reconciler.model.address import Address, KindName
from reconciler.model.kinds import CHILD_KINDS, KINDS, parent_of
from reconciler.model.values import Ref, Value
from reconciler.plan.plan import Action, TargetPlan, Verb
from reconciler.report.words import count_by_kind, plural

MAX_NODES = 60
MAX_LINES = 150
"""A plan with more resources or dependencies is drawn by kind: a picture of thousands of boxes shows nothing."""

_BOX, _ROW = (204, 34), 46
_KIND_BOX, _KIND_ROW = (204, 62), 84
_GAP, _MARGIN, _PADDING = 64, 12, 12


Point = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Line:
    """A line between two boxes, each given by its upper left corner; ``count`` is how many dependencies it represents."""

    start: Point
    end: Point
    count: int = 0


@dataclass(frozen=True, slots=True)
class Bar:
    """The part of a kind's box that shows the actions of one verb, or the blocked ones."""

    name: str
    count: int
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class KindBox:
    """All actions of one kind."""

    kind: KindName
    place: Point
    count: int
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A graph laid out from left to right in order of creation; all sizes in pixels.

    A small one has a box for each action, a large one a box for each kind; ``box`` is the size of a box.
    """

    label: str
    width: int
    height: int
    box: Point
    lines: tuple[Line, ...]
    actions: tuple[tuple[Action, Point], ...] = ()
    kinds: tuple[KindBox, ...] = ()


def draw(target: TargetPlan) -> Drawing:
    """Return the graph of a target with at least one action, laid out."""
    pairs = edges(target)
    dependencies = plural(len(pairs), "dependency", "dependencies")
    resources = plural(len(target.actions), "resource")
    if len(target.actions) <= MAX_NODES and len(pairs) <= MAX_LINES:
        places, width, height = _places([action.address for action in target.actions], pairs, _ROW, _BOX)
        lines = tuple(Line(places[needed], places[by]) for needed, by in pairs)
        boxes = tuple((action, places[action.address]) for action in target.actions)
        return Drawing(f"Dependency graph: {resources} and {dependencies}", width, height, _BOX, lines, actions=boxes)
    counts = count_by_kind(target)
    between = Counter((Address(needed.kind, ""), Address(by.kind, "")) for needed, by in pairs)
    places, width, height = _places([Address(kind, "") for kind in counts], sorted(between), _KIND_ROW, _KIND_BOX)
    return Drawing(
        f"Dependency graph by kind: {resources}, {dependencies}",
        width,
        height,
        _KIND_BOX,
        tuple(Line(places[needed], places[by], count) for (needed, by), count in sorted(between.items())),
        kinds=tuple(
            KindBox(kind, places[Address(kind, "")], verbs.total(), tuple(_bars(verbs)))
            for kind, verbs in counts.items()
        ),
    )


def _bars(verbs: Counter[Verb | None]) -> Iterator[Bar]:
    x = float(_PADDING)
    for verb in (*Verb, None):
        if verbs[verb]:
            width = (_KIND_BOX[0] - 2 * _PADDING) * verbs[verb] / verbs.total()
            yield Bar(verb.value if verb else "blocked", verbs[verb], x, max(width - 1, 1))
            x += width


def _places(
    addresses: Sequence[Address], pairs: Sequence[tuple[Address, Address]], row: int, box: Point
) -> tuple[Mapping[Address, Point], int, int]:
    """Return the upper left corner of each box, and the width and height of the whole."""
    columns = _columns(addresses, pairs)
    tallest = max(len(column) for column in columns)
    step = box[0] + _GAP
    places = {
        address: (_MARGIN + at * step, _MARGIN + (tallest - len(column)) * row // 2 + index * row)
        for at, column in enumerate(columns)
        for index, address in enumerate(column)
    }
    return places, len(columns) * step - _GAP + 2 * _MARGIN, tallest * row - (row - box[1]) + 2 * _MARGIN


def _columns(addresses: Sequence[Address], pairs: Sequence[tuple[Address, Address]]) -> list[list[Address]]:
    """Return the addresses in columns by rank, each next to the middle of its neighbours, so that few lines cross."""
    ranks = sorted({KINDS[address.kind].rank for address in addresses})
    columns = [[address for address in addresses if KINDS[address.kind].rank == rank] for rank in ranks]
    neighbours: dict[Address, list[Address]] = {address: [] for address in addresses}
    for needed, by in pairs:
        neighbours[needed].append(by)
        neighbours[by].append(needed)
    for _ in range(3):
        heights = {address: (index + 0.5) / len(column) for column in columns for index, address in enumerate(column)}
        for column in (*columns, *reversed(columns)):
            middles = {
                address: sum(heights[one] for one in neighbours[address]) / len(neighbours[address])
                if neighbours[address]
                else 1.0
                for address in column
            }
            column.sort(key=middles.__getitem__)
            heights.update({address: (index + 0.5) / len(column) for index, address in enumerate(column)})
    return columns


def edges(target: TargetPlan) -> tuple[tuple[Address, Address], ...]:
    """Return pairs of what is needed and what needs it, sorted, each once."""
    addresses = {action.address for action in target.actions}
    by_arn = {action.arn: action.address for action in target.actions if action.arn}
    found = {
        (one, other) if KINDS[one.kind].rank < KINDS[other.kind].rank else (other, one)
        for action in target.actions
        for one, other in ((action.address, named) for named in _named(action, by_arn))
        if other in addresses and KINDS[one.kind].rank != KINDS[other.kind].rank
    }
    return tuple(sorted(found))


def _named(action: Action, by_arn: Mapping[str, Address]) -> Iterator[Address]:
    if action.address.kind in CHILD_KINDS:
        yield parent_of(action.address)
    for change in action.changes:
        yield from _in_value((change.before, change.after), by_arn)
    for step in action.steps:
        yield from _in_value(tuple(step.parameters.values()), by_arn)
    if action.observed:
        yield from _in_value(tuple(action.observed.properties.values()), by_arn)


def _in_value(value: Value, by_arn: Mapping[str, Address]) -> Iterator[Address]:
    match value:
        case Ref():
            yield value.address
        case str():
            if value in by_arn:
                yield by_arn[value]
        case tuple():
            yield from _in_each(value, by_arn)
        case Mapping():
            yield from _in_each(value.values(), by_arn)
        case _:
            pass


def _in_each(values: Iterable[Value], by_arn: Mapping[str, Address]) -> Iterator[Address]:
    for value in values:
        yield from _in_value(value, by_arn)
