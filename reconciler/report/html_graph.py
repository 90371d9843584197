"""The dependency graph as a picture: inline SVG, coloured by the page's own style.

Comes in: a target's plan. Goes out: SVG, or nothing when there is nothing to draw.
A small plan shows every resource, in columns by when it is created.
A large one shows the kinds with their counts, because a picture of thousands of boxes tells nobody anything.
Placing is plain: columns by rank, and inside a column each box beside the middle of what it is tied to, so that few lines cross.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from reconciler.model.address import Address, KindName
from reconciler.model.kinds import KINDS
from reconciler.plan.actions import TargetPlan, Verb
from reconciler.report.graph import edges
from reconciler.report.notable import tally
from reconciler.report.words import plural, symbol
from reconciler.text import harmless

MAX_NODES = 60
MAX_EDGES = 150
_WIDTH, _HEIGHT, _ROW, _GAP, _EDGE = 204, 34, 46, 64, 12
_KIND_HEIGHT, _KIND_ROW = 62, 84
_LETTERS = 21


def picture(target: TargetPlan, anchors: Mapping[Address, str]) -> str:
    """Return the picture of one target; ``anchors`` gives the id of the part of the page that a box leads to."""
    pairs = edges(target)
    if len(target.actions) <= MAX_NODES and len(pairs) <= MAX_EDGES:
        return _resources(target, pairs, anchors)
    return _kinds(target, pairs)


def _resources(target: TargetPlan, pairs: Sequence[tuple[Address, Address]], anchors: Mapping[Address, str]) -> str:
    if not target.actions:
        return ""
    columns = _columns([action.address for action in target.actions], pairs)
    places, width, height = _places(columns, _ROW, _HEIGHT)
    parts = [_edge(places[needed], places[by], _HEIGHT) for needed, by in pairs]
    for action in target.actions:
        x, y = places[action.address]
        name = harmless(action.address.id)
        shown = name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "…"
        blocked = " blocked" if action.blocked else ""
        parts.append(
            f'<a href="#{anchors[action.address]}"><g class="node v-{action.verb.value}{blocked}" transform="translate({x} {y})">'
            f"<title>{escape(harmless(f'{action.verb.value} {action.address}'))}</title>"
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="8"/><rect class="edge" width="5" height="{_HEIGHT}" rx="2.5"/>'
            f'<text class="kind" x="16" y="13">{KINDS[action.kind].title}</text><text x="16" y="27">{escape(shown)}</text>'
            f'<text class="mark" x="{_WIDTH - 10}" y="22" text-anchor="end">{escape(symbol(action))}</text></g></a>'
        )
    what = f"{plural(len(target.actions), 'resource')} and {plural(len(pairs), 'dependency', 'dependencies')}"
    return _svg(parts, width, height, f"Dependency graph: {what}")


def _kinds(target: TargetPlan, pairs: Sequence[tuple[Address, Address]]) -> str:
    counts = tally(target)
    between = Counter((needed.kind, by.kind) for needed, by in pairs)
    columns = _columns(
        [Address(kind, "") for kind in counts],
        [(Address(one, ""), Address(other, "")) for one, other in sorted(between)],
    )
    places, width, height = _places(columns, _KIND_ROW, _KIND_HEIGHT)
    parts = [
        _edge(places[Address(one, "")], places[Address(other, "")], _KIND_HEIGHT, f"{count:,}")
        for (one, other), count in sorted(between.items())
    ]
    parts += [_kind(kind, row, places[Address(kind, "")]) for kind, row in counts.items()]
    return _svg(
        parts,
        width,
        height,
        f"Dependency graph of the kinds: {plural(len(target.actions), 'resource')}, {plural(len(pairs), 'dependency', 'dependencies')}",
    )


def _kind(kind: KindName, row: Counter[Verb | None], place: tuple[int, int]) -> str:
    total = sum(row.values())
    inner = _WIDTH - 24
    bars: list[str] = []
    at = 12.0
    for verb in (*Verb, None):
        if row[verb]:
            share = inner * row[verb] / total
            name = verb.value if verb else "blocked"
            bars.append(
                f'<rect class="bar v-{name}" x="{at:.1f}" y="44" width="{max(share - 1, 1):.1f}" height="8" rx="2"><title>{row[verb]:,} {name}</title></rect>'
            )
            at += share
    return (
        f'<g class="node" transform="translate({place[0]} {place[1]})"><rect width="{_WIDTH}" height="{_KIND_HEIGHT}" rx="8"/>'
        f'<text class="kind" x="12" y="18">{KINDS[kind].title}</text><text class="count" x="12" y="36">{total:,}</text>{"".join(bars)}</g>'
    )


def _columns(addresses: Sequence[Address], pairs: Sequence[tuple[Address, Address]]) -> list[list[Address]]:
    """Return the addresses in columns by rank, ordered so that what is tied together stands at about the same height."""
    ranks = sorted({KINDS[address.kind].rank for address in addresses})
    columns = [[address for address in addresses if KINDS[address.kind].rank == rank] for rank in ranks]
    ties: dict[Address, list[Address]] = {address: [] for address in addresses}
    for needed, by in pairs:
        ties[needed].append(by)
        ties[by].append(needed)
    for _ in range(3):
        heights = {address: (index + 0.5) / len(column) for column in columns for index, address in enumerate(column)}
        for column in (*columns, *reversed(columns)):
            middles = {
                address: sum(heights[tie] for tie in ties[address]) / len(ties[address]) if ties[address] else 1.0
                for address in column
            }
            column.sort(key=middles.__getitem__)
            heights.update({address: (index + 0.5) / len(column) for index, address in enumerate(column)})
    return columns


def _places(
    columns: Sequence[Sequence[Address]], row: int, box: int
) -> tuple[dict[Address, tuple[int, int]], int, int]:
    tallest = max(len(column) for column in columns)
    height = tallest * row - (row - box) + 2 * _EDGE
    places = {
        address: (_EDGE + at * (_WIDTH + _GAP), _EDGE + (tallest - len(column)) * row // 2 + index * row)
        for at, column in enumerate(columns)
        for index, address in enumerate(column)
    }
    return places, len(columns) * (_WIDTH + _GAP) - _GAP + 2 * _EDGE, height


def _edge(start: tuple[int, int], end: tuple[int, int], box: int, words: str = "") -> str:
    from_x, from_y = start[0] + _WIDTH, start[1] + box // 2
    to_x, to_y = end[0], end[1] + box // 2
    bend = (to_x - from_x) // 2
    line = f'<path class="tie" d="M{from_x} {from_y}C{from_x + bend} {from_y} {to_x - bend} {to_y} {to_x - 6} {to_y}"/>'
    line += f'<path class="tip" d="M{to_x - 8} {to_y - 4}l8 4l-8 4z"/>'
    if words:
        line += f'<text class="many" x="{to_x - 14}" y="{to_y - 8}" text-anchor="end">{words}</text>'
    return line


def _svg(parts: Sequence[str], width: int, height: int, words: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{escape(words)}">{"".join(parts)}</svg>'
