"""The chart of a target: what drifted and what was pending over time, as the paths of an SVG.

A count holds until the next reconciliation. Where the account was not read nothing is known, and the chart says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from reconciler.controller.store import DAY, Store
from reconciler.report.words import duration, time_tag


class Span(NamedTuple):
    """A length of time that a chart may cover, in seconds and ``steps``. ``marks`` labels, of clock times or days, are under it."""

    title: str
    seconds: float
    steps: int
    marks: int
    clock: bool = False


HOUR = 3_600.0
_SHORTEST = 60.0
SPANS: Mapping[str, Span] = {
    "hour": Span("hour", HOUR, 60, 5, clock=True),
    "day": Span("day", DAY, 96, 5, clock=True),
    "week": Span("7 days", 7 * DAY, 168, 8),
    "month": Span("30 days", 30 * DAY, 180, 7),
}


class Point(NamedTuple):
    """The highest counts of one span of time that had a reconciliation, ``None`` if it could not read the account; ``at`` is where the span begins."""

    at: float
    drifted: int | None
    pending: int | None


@dataclass(frozen=True, slots=True)
class Plot:
    """Counts over time as SVG paths in a box; ``top`` is the count at its upper edge, ``unknown`` where nothing is known."""

    label: str
    top: int
    areas: Mapping[str, str]
    unknown: str
    box: tuple[int, int]
    points: Sequence[Point]


WIDTH, HEIGHT = 600, 100


def plot(points: Sequence[Point], since: float, until: float, *, label: str) -> Plot:
    """Return stepped areas of what drifted and what was pending, for at least one point.

    A count holds until the next point. Before the first point nothing is known, nor after one without counts.
    """
    top = max(max(point.drifted or 0, point.pending or 0) for point in points) or 1
    ends = [*(point.at for point in points[1:]), until]
    edges = [
        ((point.at - since) / (until - since) * WIDTH, (end - since) / (until - since) * WIDTH)
        for point, end in zip(points, ends, strict=True)
    ]
    paths = {
        "pending": _area(edges, [point.pending or 0 for point in points], top),
        "drift": _area(edges, [point.drifted or 0 for point in points], top),
    }
    gaps = [(0.0, edges[0][0])] + [edge for edge, point in zip(edges, points, strict=True) if point.drifted is None]
    unknown = "".join(f"M{left:.1f} 0H{right:.1f}V{HEIGHT}H{left:.1f}Z" for left, right in gaps if right > left)
    areas = {name: path for name, path in paths.items() if path}
    return Plot(label, top, areas, unknown, (WIDTH, HEIGHT), points)


def _area(edges: Sequence[tuple[float, float]], counts: Sequence[int], top: int) -> str:
    """Return the path of one stepped area; where the count is zero there is no line either."""
    path: list[str] = []
    before = 0
    for (left, right), count in zip(edges, counts, strict=True):
        if count and not before:
            path.append(f"M{left:.1f} {HEIGHT}")
        if count != before:
            path.append(f"V{HEIGHT - 4 - (HEIGHT - 8) * count / top:.1f}" if count else f"V{HEIGHT}Z")
        if count:
            path.append(f"H{right:.1f}")
        before = count
    if before:
        path.append(f"V{HEIGHT}Z")
    return "".join(path)


def span_of(name: str, now: float, store: Store, asked: str = "") -> tuple[str, Span]:
    """Return the span of time of a target's chart: the one asked for, or the longest of which the history fills a quarter, at most a week.

    The hour is shortened to the history, so that the first minutes are to be seen.
    """
    began = store.began(name)
    length = now - began if began is not None else 0.0
    fitting = [each for each in ("week", "day") if length >= SPANS[each].seconds / 4]
    chosen = asked if asked in SPANS else [*fitting, "hour"][0]
    span = SPANS[chosen]
    if chosen == "hour" and length < HOUR:
        seconds = max(_SHORTEST, length)
        span = span._replace(title=duration(seconds), seconds=seconds)
    return chosen, span


def history(name: str, now: float, store: Store, span: Span, steps: int) -> Plot | None:
    """Return the drift of a target in a span of time, or ``None`` when it was never reconciled."""
    since = now - span.seconds
    points = [Point(*each) for each in store.history(name, since, now, steps)]
    if not points:
        return None
    counts = [
        f"at most {max((count or 0 for count in each), default=0):,} {word}, now {each[-1] if each[-1] is not None else 'unknown'}"
        for word, each in (("drifted", [one.drifted for one in points]), ("pending", [one.pending for one in points]))
    ]
    return plot(points, since, now, label=f"Drift in the last {span.title}: {'; '.join(counts)}")


def marks(span: Span, now: float) -> list[tuple[float, str]]:
    """Return times that are evenly spread over a span, each with its label in UTC."""
    times = [now - span.seconds * (1 - at / (span.marks - 1)) for at in range(span.marks)]
    return [(at, time_tag(at)[11:16] if span.clock else time_tag(at)[5:10]) for at in times]


def changes(points: Sequence[Point]) -> list[Point]:
    """Return the points at which a count changes, the newest first."""
    changed = [point for at, point in enumerate(points) if not at or point[1:] != points[at - 1][1:]]
    return changed[::-1]
