"""The controller's status pages: all targets, one target, its plans and its reconciliations.

Each function returns HTML, or ``None`` if there is nothing to show under that name. The markup is in ``templates/``,
which share the reports' parts and style; pages are readable without scripts and link only to each other.
The chart of a target shows what drifted and what was pending over time, as the paths of an SVG.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from markupsafe import Markup

from reconciler.controller.controller import Snapshot
from reconciler.controller.state import Inventory, Run, RunStatus, TargetState
from reconciler.controller.store import DAY, Store
from reconciler.drift import DriftStatus
from reconciler.drift.report import Finding
from reconciler.model.address import KindName
from reconciler.model.kinds import KINDS
from reconciler.model.values import format_time
from reconciler.plan.plan import LiveChannel
from reconciler.report import html
from reconciler.report.words import STATUS_WORDS, duration, seconds, shards_words, time_tag
from reconciler.terminal import mask_urls, short_commit

SCRIPT = (files("reconciler.controller") / "templates" / "status.js").read_text(encoding="utf-8")
"""Served beside the pages: see ``status.html``."""

Query = Mapping[str, str]

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
_FINDINGS = 50
_PER_PAGE = 100
_CARDS_PER_PAGE = 60
_MAX_QUERY = 200
_CARD_STEPS = 48
_TABLE_ROWS = 60


def status(state: TargetState) -> str:
    """Return the status of a target in a word or two."""
    if state.suspended:
        return "suspended"
    return STATUSES[state.last_run.status] if state.last_run else "unknown"


_REPOSITORY = re.compile(
    r"(?:https://|ssh://(?:[\w.-]+@)?|(?:[\w.-]+@)(?=[\w.-]+:))(?P<host>[A-Za-z0-9.-]+)(?P<port>:[0-9]+)?[/:](?P<path>[\w.-]+(?:/[\w.-]+)+)/?"
)


def commit_url(repository: str, commit: str) -> str:
    """Return the web page of a commit, or an empty string for a repository that is not on a GitHub or GitLab host.

    A self-hosted forge counts if its host name begins with ``github.`` or ``gitlab.``.
    """
    found = _REPOSITORY.fullmatch(mask_urls(repository))
    if found is None or not re.fullmatch("[0-9a-f]{7,64}", commit):
        return ""
    host, path = found["host"].lower(), found["path"].removesuffix(".git")
    if any(part in (".", "..") for part in path.split("/")):
        return ""
    port = (found["port"] or "") if repository.startswith("https:") else ""
    if host.startswith("github.") and path.count("/") == 1:
        return f"https://{host}{port}/{path}/commit/{commit}"
    return f"https://{host}{port}/{path}/-/commit/{commit}" if host.startswith("gitlab.") else ""


def _found(run: Run) -> list[tuple[str, str, int]]:
    """Return class, words and count of each status; rare statuses only if the count is not zero."""
    always = (DriftStatus.DRIFT, DriftStatus.MISSING, DriftStatus.PENDING)
    counts = [(status, word, run.counts.get(status, 0)) for status, word in STATUS_WORDS.items()]
    return [(status.value, word, count) for status, word, count in counts if count or status in always]


def _viewers(run: Run) -> int:
    return sum(max(0, channel.viewers) for channel in run.live_channels)


def link(*parts: object) -> str:
    """Return the path of a target's page, or of one below it."""
    target, *rest = parts
    return "/".join(("/targets", *(quote(str(part), safe="") for part in (target, *rest))))


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of a list. ``query`` holds what was searched for and the filters, by name; ``total`` counts what fits."""

    path: str
    query: Query
    items: Sequence[Any]
    page: int
    pages: int
    first: int
    total: int

    @property
    def last(self) -> int:
        """The position of the last item, from 1."""
        return self.first + len(self.items) - 1

    @property
    def is_filtered(self) -> bool:
        """Whether anything is searched for."""
        return any(self.query.values())

    @classmethod
    def of(cls, path: str, asked: Query, names: Iterable[str], items: Sequence[Any], size: int) -> Listed:
        """Return the page that a query asks for; ``names`` are those of its filters."""
        pages = max(1, -(-len(items) // size))
        number = asked.get("page", "")
        page = min(pages, max(1, int(number))) if re.fullmatch("[0-9]{1,9}", number) else 1
        query = {name: _asked(asked, name) for name in ("q", *names)}
        begin = (page - 1) * size
        return cls(path, query, items[begin : begin + size], page, pages, begin + 1, len(items))


def _asked(query: Query, name: str) -> str:
    return query.get(name, "")[:_MAX_QUERY]


def _address(listed: Listed, **changes: object) -> str:
    """Return the address of a list with other filters, or of another of its pages."""
    query = {name: value for name, value in {**listed.query, **changes}.items() if value}
    return f"{listed.path}?{urlencode(query)}" if query else listed.path


def _fits(query: Query, *texts: str) -> bool:
    """Return whether every word that is searched for is in the texts."""
    text = "\n".join(texts).lower()
    return all(word in text for word in _asked(query, "q").lower().split())


DONE: Mapping[str, str] = {
    "refresh": "Fetch of the branch requested.",
    "reconcile": "Reconciliation requested.",
    "suspend": "Suspended.",
    "resume": "Resumed; reconciliation requested.",
}
"""By action, the message after it."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at a page. With ``csrf``, the value that every form sends back, there are buttons; ``at`` is the page."""

    may_sign_in: bool = False
    csrf: str = ""
    at: str = "/"
    done: str = ""

    @property
    def said(self) -> str:
        """What was just done, in words."""
        return DONE.get(self.done, "")


SIGNED_OUT = Viewer()

_PAGES = html.environment("reconciler.controller")
_PAGES.globals["newline"] = "\n"
_PAGES.filters.update(
    address=_address,
    changes_of=lambda points: changes_in(points)[:_TABLE_ROWS],
    commit_url=commit_url,
    duration=duration,
    found=_found,
    iso=format_time,
    link=link,
    moment=time_tag,
    ready=lambda kind: KINDS[kind].ready,
    seconds=seconds,
    short_commit=short_commit,
    viewers=_viewers,
    without_credentials=mask_urls,
)


def _render(template: str, snapshot: Snapshot, viewer: Viewer, **values: object) -> str:
    return _PAGES.get_template(template).render(
        stack=snapshot.stack,
        repository=snapshot.repository,
        now=snapshot.now,
        shard=shards_words(snapshot.shard) if snapshot.shard else "",
        viewer=viewer,
        **values,
    )


def sign_in(to: str, problem: str = "") -> str:
    """Return the page to sign in on; ``to`` is the page to come back to."""
    return _PAGES.get_template("sign_in.html").render(title="Sign in", trail=[("Back", to)], to=to, problem=problem)


def message(title: str, text: str, name: str = "") -> str:
    """Return a page with one message, and links to all targets and to one."""
    trail = [("All targets", "/"), *([(name, link(name))] if name else [])]
    return _PAGES.get_template("message.html").render(title=title, text=text, trail=trail)


def overview(snapshot: Snapshot, store: Store, query: Query, viewer: Viewer = SIGNED_OUT) -> str:
    """Return the page of all targets, the most severe status first. ``query``: words ``q``, a ``status`` and a ``page``."""
    states = sorted(snapshot.states.values(), key=lambda state: (MOST_SEVERE_FIRST.index(status(state)), state.name))
    counts = Counter(map(status, states))
    known = [state.last_read for state in states if state.last_read]
    summary = ", ".join(f"{counts[word]} {word}" for word in MOST_SEVERE_FIRST if counts[word]) or "no targets yet"
    wanted = _asked(query, "status")
    fitting = [
        state
        for state in states
        if wanted in ("", status(state)) and _fits(query, state.name, status(state), *_places(state.last_read))
    ]
    listed = Listed.of("/", query, ["status"], fitting, _CARDS_PER_PAGE)
    return _render(
        "overview.html",
        snapshot,
        viewer,
        title=f"{snapshot.stack or 'controller'}: {summary}",
        counts=[(word, counts[word]) for word in MOST_SEVERE_FIRST[::-1] if counts[word] or word in _ALWAYS_COUNTED],
        count=len(states),
        live=sum(len(run.live_channels) for run in known),
        viewers=sum(map(_viewers, known)),
        old=sum(map(_is_old, states)),
        listed=listed,
        others=[
            (other, STATUSES[other.status]) for other in snapshot.others.targets if other.target not in snapshot.states
        ],
        others_trouble=snapshot.others.trouble,
        cards=[
            {
                "state": state,
                "status": status(state),
                "mode": snapshot.modes[state.name].value,
                "old": _is_old(state),
                **_card_history(state.name, snapshot.now, store),
            }
            for state in listed.items
        ],
    )


def _card_history(name: str, now: float, store: Store) -> Mapping[str, object]:
    """Return the small chart of a target: of the last day, or of the hour while there is little more."""
    chosen, span = span_of(name, now, store)
    span = SPANS["day"] if chosen == "week" else span
    return {"history": drift_plot(name, now, store, span, _CARD_STEPS), "span": span.title}


def _places(run: Run | None) -> tuple[str, ...]:
    return (run.account_id, run.region) if run else ()


def _is_old(state: TargetState) -> bool:
    """Return whether the figures are those of an earlier reconciliation, because the last one could not read the account."""
    return state.last_read is not None and state.last_run is not None and not state.last_run.account_read


def _above(snapshot: Snapshot, name: str = "") -> html.Trail:
    """Return the links back from a page of a target, or from the target's own page."""
    top = (f"All targets of {snapshot.stack}", "/")
    return (top, (name, link(name))) if name else (top,)


def target(snapshot: Snapshot, store: Store, name: str, query: Query, viewer: Viewer = SIGNED_OUT) -> str | None:
    """Return the page of one target. ``query``: the ``span`` of time of its chart."""
    state = snapshot.states.get(name)
    if state is None:
        return None
    chosen, span = span_of(name, snapshot.now, store, query.get("span", ""))
    found = state.last_read.findings if state.last_read else ()
    return _render(
        "target.html",
        snapshot,
        viewer,
        title=f"{name}: {status(state)}",
        trail=_above(snapshot),
        state=state,
        status=status(state),
        old=_is_old(state),
        mode=snapshot.modes[name].value,
        running=name in snapshot.running,
        alone=not snapshot.shard and all(other.target in snapshot.states for other in snapshot.others.targets),
        history=drift_plot(name, snapshot.now, store, span, span.steps),
        span=span,
        spans=[(each, one.title, each == chosen) for each, one in SPANS.items()],
        marks=span_marks(span, snapshot.now),
        findings=_worst_first(found),
        limit=_FINDINGS,
        runs=list(store.runs(name, _RUNS)),
    )


IN_SYNC, OUT_OF_SYNC, UNMANAGED, LIVE = "in sync", "out of sync", "unmanaged", "live"


@dataclass(frozen=True, slots=True)
class Row:
    """A resource in the list: its worst status, and everything known about it. ``id`` is the name if it is unmanaged."""

    kind: KindName
    id: str
    status: str = IN_SYNC
    arn: str = ""
    name: str = ""
    url: str = ""
    state: str = ""
    owner: str = ""
    findings: tuple[Finding, ...] = ()
    live: LiveChannel | None = None

    @property
    def label(self) -> str:
        """The address, for screen readers."""
        return f"{self.kind.value}/{self.id}"

    @property
    def owner_words(self) -> str:
        """Who owns an unmanaged resource; empty for a managed one."""
        if self.status != UNMANAGED:
            return ""
        return f"owned by stack {self.owner}" if self.owner else "no owner"

    def has(self, status: str) -> bool:
        """Return whether the resource is to be shown under a status, or under several, such as out of sync."""
        if status == OUT_OF_SYNC:
            return bool(self.findings)
        return status in ("", self.status) or (status == LIVE and self.live is not None)


_ROW_STATUSES = (*STATUS_WORDS.values(), IN_SYNC, UNMANAGED)
"""The statuses of rows, the worst first."""


def _worst_first(findings: Iterable[Finding]) -> list[Finding]:
    order = list(STATUS_WORDS)
    return sorted(findings, key=lambda finding: order.index(finding.status))


def _rows(run: Run, inventory: Inventory) -> list[Row]:
    """Return the resources of a target: those out of sync first, then in sync, then unmanaged, each by address."""
    live = {channel.arn: channel for channel in run.live_channels}
    findings: dict[str, list[Finding]] = {}
    for finding in _worst_first(run.findings):
        findings.setdefault(finding.arn or str(finding.address), []).append(finding)
    rows = [
        _out_of_sync(
            Row(*each.address, arn=each.arn, name=each.name, url=each.url, state=each.state, live=live.get(each.arn)),
            findings.pop(each.arn, ()),
        )
        for each in inventory.managed
    ]
    rows += [_out_of_sync(Row(*found[0].address, arn=found[0].arn or ""), found) for found in findings.values()]
    rows += [
        Row(each.kind, each.name, UNMANAGED, each.arn, owner=each.owner, live=live.get(each.arn))
        for each in inventory.unmanaged
    ]
    return sorted(rows, key=lambda row: (_ROW_STATUSES.index(row.status), row.kind, row.id, row.arn))


def _out_of_sync(row: Row, findings: Sequence[Finding]) -> Row:
    """Return a row with its findings, the worst first, if there are any."""
    return replace(row, status=STATUS_WORDS[findings[0].status], findings=tuple(findings)) if findings else row


def resources(snapshot: Snapshot, store: Store, name: str, query: Query, viewer: Viewer = SIGNED_OUT) -> str | None:
    """Return the page of a target's resources, managed and unmanaged. ``query``: words ``q``, a ``status``, a ``kind`` and a ``page``."""
    state = snapshot.states.get(name)
    if state is None:
        return None
    run = state.last_read
    rows = _rows(run, store.inventory(name) or Inventory()) if run else []
    statuses = Counter(row.status for row in rows)
    kinds = Counter(row.kind for row in rows)
    wanted, kind = _asked(query, "status"), _asked(query, "kind")
    fitting = [
        row
        for row in rows
        if row.has(wanted)
        and kind in ("", row.kind)
        and _fits(query, f"{row.kind}/{row.id}", row.arn, row.name, row.url, row.owner)
    ]
    counted = {
        OUT_OF_SYNC: sum(bool(row.findings) for row in rows),
        **{word: statuses[word] for word in _ROW_STATUSES},
        LIVE: sum(row.live is not None for row in rows),
    }
    return _render(
        "resources.html",
        snapshot,
        viewer,
        title=f"{name}: resources",
        trail=_above(snapshot, name),
        name=name,
        known=run,
        old=_is_old(state),
        listed=Listed.of(link(name, "resources"), query, ["status", "kind"], fitting, _PER_PAGE),
        statuses=[(word, word, count) for word, count in counted.items() if count],
        kinds=[(one.value, KINDS[one].titles, kinds[one]) for one in KINDS if kinds[one]],
    )


def _commit(snapshot: Snapshot, commit: str) -> str:
    """Return a commit, linked to its web page if there is one."""
    href = commit_url(snapshot.repository.url, commit)
    return Markup('<a href="{}" rel="noopener noreferrer">{}</a>').format(href, commit) if href else commit


def plan(snapshot: Snapshot, store: Store, name: str, plan_id: str) -> str | None:
    """Return the page of a plan, as ``plan --format html`` writes it."""
    found = store.plan(name, plan_id) if name in snapshot.states else None
    if found is None:
        return None
    extra = {"Fingerprint": plan_id, "Commit": _commit(snapshot, found.git_commit or "")}
    return html.render_plan(found, extra=extra, trail=_above(snapshot, name))


def run(snapshot: Snapshot, store: Store, name: str, number: int, viewer: Viewer = SIGNED_OUT) -> str | None:
    """Return the page of one reconciliation: the outcomes of its apply, or else its result."""
    found = store.run(name, number) if name in snapshot.states else None
    if found is None:
        return None
    one, result = found
    if result is not None:
        extra = {"Started": time_tag(one.started), "Commit": _commit(snapshot, one.commit), "Plan": one.plan_id}
        return html.render_result(result, extra=extra, trail=_above(snapshot, name))
    word = one.status.value.replace("-", " ")
    return _render(
        "run.html", snapshot, viewer, title=f"{name}: {word}", trail=_above(snapshot, name), run=one, status=word
    )


class Span(NamedTuple):
    """A length of time that a chart may cover, in seconds and ``steps``. ``marks`` labels, of clock times or days, are under it."""

    title: str
    seconds: float
    steps: int
    marks: int
    clock: bool = False


HOUR = 3_600.0
_MIN_SPAN_SECONDS = 60.0
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


_WIDTH, _HEIGHT = 600, 100


def plot(points: Sequence[Point], since: float, until: float, *, label: str) -> Plot:
    """Return stepped areas of what drifted and what was pending, for at least one point.

    A count holds until the next point. Before the first point nothing is known, nor after one without counts.
    """
    top = max(max(point.drifted or 0, point.pending or 0) for point in points) or 1
    ends = [*(point.at for point in points[1:]), until]
    edges = [
        ((point.at - since) / (until - since) * _WIDTH, (end - since) / (until - since) * _WIDTH)
        for point, end in zip(points, ends, strict=True)
    ]
    paths = {
        "pending": _area(edges, [point.pending or 0 for point in points], top),
        "drift": _area(edges, [point.drifted or 0 for point in points], top),
    }
    gaps = [(0.0, edges[0][0])] + [edge for edge, point in zip(edges, points, strict=True) if point.drifted is None]
    unknown = "".join(f"M{left:.1f} 0H{right:.1f}V{_HEIGHT}H{left:.1f}Z" for left, right in gaps if right > left)
    areas = {name: path for name, path in paths.items() if path}
    return Plot(label, top, areas, unknown, (_WIDTH, _HEIGHT), points)


def _area(edges: Sequence[tuple[float, float]], counts: Sequence[int], top: int) -> str:
    """Return the path of one stepped area; where the count is zero there is no line either."""
    path: list[str] = []
    before = 0
    for (left, right), count in zip(edges, counts, strict=True):
        if count and not before:
            path.append(f"M{left:.1f} {_HEIGHT}")
        if count != before:
            path.append(f"V{_HEIGHT - 4 - (_HEIGHT - 8) * count / top:.1f}" if count else f"V{_HEIGHT}Z")
        if count:
            path.append(f"H{right:.1f}")
        before = count
    if before:
        path.append(f"V{_HEIGHT}Z")
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
        seconds = max(_MIN_SPAN_SECONDS, length)
        span = span._replace(title=duration(seconds), seconds=seconds)
    return chosen, span


def drift_plot(name: str, now: float, store: Store, span: Span, steps: int) -> Plot | None:
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


def span_marks(span: Span, now: float) -> list[tuple[float, str]]:
    """Return times that are evenly spread over a span, each with its label in UTC."""
    times = [now - span.seconds * (1 - at / (span.marks - 1)) for at in range(span.marks)]
    return [(at, time_tag(at)[11:16] if span.clock else time_tag(at)[5:10]) for at in times]


def changes_in(points: Sequence[Point]) -> list[Point]:
    """Return the points at which a count changes, the newest first."""
    changed = [point for at, point in enumerate(points) if not at or point[1:] != points[at - 1][1:]]
    return changed[::-1]
