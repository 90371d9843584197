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
    scale = WIDTH / (until - since)
    shapes = "".join(
        _area(name, [(each.at, counts[index]) for each, counts in ((point, (point.drifted, point.pending)) for point in points)], since, until, scale, top)
        for index, name in ((1, "pending"), (0, "drift"))
    )
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f'<path class="base" d="M0 {HEIGHT:.0f}H{WIDTH:.0f}"/>{shapes}</svg>'
    )


def highest(points: Sequence[Point]) -> int:
    """Return the top of the scale."""
    return max((max(point.drifted, point.pending) for point in points), default=0) or 1


def _area(name: str, values: Sequence[tuple[float, int]], since: float, until: float, scale: float, top: int) -> str:
    if not any(count for _, count in values):
        return ""
    path = [f"M{(values[0][0] - since) * scale:.1f} {HEIGHT:.0f}"]
    height = None
    for at, count in values:
        if count != height:
            path.append(f"H{max(0.0, (at - since) * scale):.1f}V{HEIGHT - 4 - (HEIGHT - 8) * count / top if count else HEIGHT:.1f}")
            height = count
    path.append(f"H{(until - since) * scale:.1f}V{HEIGHT:.0f}Z")
    return f'<path class="v-{name}" d="{"".join(path)}"/>'
