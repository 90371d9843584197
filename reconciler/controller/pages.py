"""The controller's status pages: all targets, one target, its plans and its reconciliations.

Each function returns HTML, or ``None`` if there is nothing to show under that name. The markup is in ``templates/``,
which share the reports' parts and style; pages are readable without scripts and link only to each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote

from reconciler.controller.controller import Snapshot
from reconciler.controller.state import Run, RunStatus, TargetState
from reconciler.controller.store import DAY, Store
from reconciler.drift.report import DriftStatus
from reconciler.git.git import without_credentials
from reconciler.report import html
from reconciler.report.words import TITLES, plural

STATUSES: Mapping[RunStatus, str] = {
    RunStatus.IN_SYNC: "in sync",
    RunStatus.APPLIED: "in sync",
    RunStatus.DRIFTED: "drift",
    RunStatus.PENDING: "pending",
    RunStatus.BLOCKED: "blocked",
    RunStatus.REFUSED: "refused",
    RunStatus.INCOMPLETE: "incomplete",
    RunStatus.BAD_SPEC: "bad spec",
    RunStatus.FAILED: "failed",
}
"""The status of a target after a reconciliation with this result."""

MOST_SEVERE_FIRST = (
    "failed",
    "bad spec",
    "incomplete",
    "refused",
    "drift",
    "blocked",
    "pending",
    "unknown",
    "suspended",
    "in sync",
)
_ALWAYS_COUNTED = ("in sync", "drift", "pending")
_RUNS = 50
_CARD_STEPS = 48
_PAGE_DAYS, _PAGE_STEPS = 7, 168


def status(state: TargetState) -> str:
    """Return the status of a target in a word or two."""
    if state.suspended:
        return "suspended"
    return STATUSES[state.last_run.status] if state.last_run else "unknown"


def time_tag(at: float) -> str:
    """Return a time, in seconds since the epoch, as ``2026-05-04 10:20:30 UTC``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def duration(seconds: float) -> str:
    """Return a duration in its largest unit: ``3 hours``."""
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "min")):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} min" if unit == "min" else plural(number, unit)
    return f"{int(max(0, seconds))} s"


def _found(run: Run) -> list[tuple[str, str, int]]:
    """Return class, words and count of each status; rare statuses only if the count is not zero."""
    always = (DriftStatus.DRIFT, DriftStatus.MISSING, DriftStatus.PENDING)
    counts = [(status, title.lower(), run.counts.get(status, 0)) for status, title in TITLES.items()]
    return [(status.value, word, count) for status, word, count in counts if count or status in always]


def _viewers(run: Run) -> int:
    return sum(max(0, channel.viewers) for channel in run.live_channels)


def _link(*parts: object) -> str:
    """Return the path of a target's page, or of one below it."""
    target, *rest = parts
    return "/".join(("/targets", *(quote(str(part), safe="") for part in (target, *rest))))


_PAGES = html.environment("reconciler.controller")
_PAGES.globals["newline"] = "\n"
_PAGES.filters.update(
    duration=duration,
    found=_found,
    link=_link,
    moment=time_tag,
    viewers=_viewers,
    without_credentials=without_credentials,
)


class Point(NamedTuple):
    """The highest counts of one span of time that had a reconciliation; ``at`` is where the span begins."""

    at: float
    drifted: int
    pending: int


@dataclass(frozen=True, slots=True)
class Plot:
    """Counts over time as SVG paths in a box; ``top`` is the count at its upper edge."""

    label: str
    top: int
    areas: Mapping[str, str]
    box: tuple[int, int]


WIDTH, HEIGHT = 600, 100


def plot(points: Sequence[Point], since: float, until: float, *, label: str) -> Plot:
    """Return stepped areas of what drifted and what was pending, for at least one point.

    A count holds until the next point. Before the first point nothing is drawn, because nothing is known.
    """
    top = max(max(point.drifted, point.pending) for point in points) or 1
    ends = [*(point.at for point in points[1:]), until]
    edges = [
        ((point.at - since) / (until - since) * WIDTH, (end - since) / (until - since) * WIDTH)
        for point, end in zip(points, ends, strict=True)
    ]
    paths = {
        "pending": _area(edges, [point.pending for point in points], top),
        "drift": _area(edges, [point.drifted for point in points], top),
    }
    return Plot(label, top, {name: path for name, path in paths.items() if path}, (WIDTH, HEIGHT))


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


def _render(template: str, snapshot: Snapshot, **values: object) -> str:
    return _PAGES.get_template(template).render(
        stack=snapshot.stack, repository=snapshot.repository, now=snapshot.now, **values
    )


def overview(snapshot: Snapshot, store: Store) -> str:
    """Return the page of all targets, the most severe status first."""
    states = sorted(snapshot.states.values(), key=lambda state: (MOST_SEVERE_FIRST.index(status(state)), state.name))
    counts = Counter(map(status, states))
    known = [state.last_read for state in states if state.last_read]
    summary = ", ".join(f"{counts[word]} {word}" for word in MOST_SEVERE_FIRST if counts[word]) or "no targets yet"
    return _render(
        "overview.html",
        snapshot,
        title=f"{snapshot.stack or 'controller'}: {summary}",
        counts=[
            (word.replace(" ", "-"), word, counts[word])
            for word in MOST_SEVERE_FIRST[::-1]
            if counts[word] or word in _ALWAYS_COUNTED
        ],
        live=sum(len(run.live_channels) for run in known),
        viewers=sum(map(_viewers, known)),
        cards=[
            {
                "state": state,
                "status": status(state),
                "mode": snapshot.modes[state.name].value,
                "history": _history(state.name, snapshot.now, store, days=1, steps=_CARD_STEPS),
            }
            for state in states
        ],
    )


def _history(name: str, now: float, store: Store, days: int, steps: int) -> Plot | None:
    """Return the drift of a target in the last days, or ``None`` when it was not reconciled in them."""
    since = now - days * DAY
    points = [Point(*each) for each in store.history(name, since, now, steps)]
    if not points:
        return None
    most = plural(max(point.drifted for point in points), "resource")
    return plot(points, since, now, label=f"Drift in the last {plural(days, 'day')}: at most {most}")


def target(snapshot: Snapshot, store: Store, name: str) -> str | None:
    """Return the page of one target."""
    state = snapshot.states.get(name)
    if state is None:
        return None
    found = state.last_read.findings if state.last_read else ()
    return _render(
        "target.html",
        snapshot,
        title=f"{name}: {status(state)}",
        state=state,
        status=status(state),
        mode=snapshot.modes[name].value,
        running=name in snapshot.running,
        history=_history(name, snapshot.now, store, days=_PAGE_DAYS, steps=_PAGE_STEPS),
        days=[time_tag(snapshot.now - ago * DAY)[5:10] for ago in range(_PAGE_DAYS, -1, -1)],
        findings=[finding for status in TITLES for finding in found if finding.status is status],
        runs=list(store.runs(name, _RUNS)),
    )


def plan(snapshot: Snapshot, store: Store, name: str, plan_id: str) -> str | None:
    """Return the page of a plan, as ``plan --format html`` writes it."""
    found = store.plan(name, plan_id) if name in snapshot.states else None
    return html.render_plan(found, extra={"Fingerprint": plan_id}) if found else None


def run(snapshot: Snapshot, store: Store, name: str, number: int) -> str | None:
    """Return the page of one reconciliation: the outcomes of its apply, or else its result."""
    found = store.run(name, number) if name in snapshot.states else None
    if found is None:
        return None
    one, result = found
    if result is not None:
        extra = {"Started": time_tag(one.started), "Commit": one.commit, "Plan": one.plan_id}
        return html.render_result(result, extra=extra)
    word = one.status.value.replace("-", " ")
    return _PAGES.get_template("run.html").render(title=f"{name}: {word}", run=one, status=word)
