"""Counts over time as a picture: two stepped areas in a box, drawn here and not in the browser. Values in, SVG out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 600.0, 100.0


class Point(NamedTuple):
    """What was counted in one span of time that had a look."""

    at: float
    drifted: int
    pending: int


def plot(points: Sequence[Point], since: float, until: float, *, label: str) -> str:
    """Return the picture. It stretches to whatever box it is put into, so all words stand outside of it.

    A count holds until the next look; before the first one nothing is drawn, because nothing is known.
    """
    top = highest(points)
    ends = [*(point.at for point in points[1:]), until]
    edges = [
        ((point.at - since) / (until - since) * WIDTH, (end - since) / (until - since) * WIDTH)
        for point, end in zip(points, ends, strict=True)
    ]
    pending = _area("pending", edges, [point.pending for point in points], top)
    drifted = _area("drift", edges, [point.drifted for point in points], top)
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f'<path class="base" d="M0 {HEIGHT:.0f}H{WIDTH:.0f}"/>{pending}{drifted}</svg>'
    )


def highest(points: Sequence[Point]) -> int:
    """Return the top of the scale."""
    return max((max(point.drifted, point.pending) for point in points), default=0) or 1


def _area(name: str, edges: Sequence[tuple[float, float]], counts: Sequence[int], top: int) -> str:
    """Return one stepped area; where nothing is counted there is no line either."""
    path: list[str] = []
    before = 0
    for (left, right), count in zip(edges, counts, strict=True):
        if count and not before:
            path.append(f"M{left:.1f} {HEIGHT:.0f}")
        if count != before:
            path.append(f"V{HEIGHT - 4 - (HEIGHT - 8) * count / top:.1f}" if count else f"V{HEIGHT:.0f}Z")
        if count:
            path.append(f"H{right:.1f}")
        before = count
    if before:
        path.append(f"V{HEIGHT:.0f}Z")
    return f'<path class="v-{name}" d="{"".join(path)}"/>' if path else ""
