"""The status pages: an overview of all targets, a page for each, its plans and its runs. Made here, readable without scripts, linking only to themselves.

Comes in: a snapshot of the controller, and its store to look things up. Goes out: HTML, or ``None`` for what is not there.
All text that is not ours goes through ``safe``.

Counts over time as a picture: two stepped areas in a box, drawn here and not in the browser. Values in, SVG out.

What the status pages add to the look of the reports.

How times, endings and lengths are said on the status pages. Values in, text out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote

from reconciler.controller.controller import Snapshot
from reconciler.controller.state import Ending, Run, TargetState
from reconciler.controller.store import DAY, Store
from reconciler.drift.report import Standing
from reconciler.git.git import shown
from reconciler.report import html
from reconciler.report.html import STYLE, css_name, finding_card, safe, tiles
from reconciler.report.words import TITLES, plural

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


MORE_STYLE = """
.v-applied,.v-suspended-off{--c:var(--create)}.v-drifted,.v-incomplete,.v-bad-spec{--c:var(--delete)}
.v-refused,.v-held-back{--c:var(--blocked)}.v-suspended,.v-unknown{--c:var(--forget)}.v-on-air{--c:var(--replace)}
.top{display:flex;gap:.8rem;align-items:baseline;flex-wrap:wrap;justify-content:space-between}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(19rem,100%),1fr));gap:.8rem;margin:1rem 0}
.card{display:block;background:var(--card);border:1px solid var(--line);border-left:5px solid var(--c);border-radius:12px;padding:.8rem 1rem;
text-decoration:none;color:inherit;min-width:0}
.card:hover{background:var(--soft)}.card h3{font-size:1.05rem;margin:0;overflow-wrap:anywhere;min-width:0}
.card .top{margin-bottom:.35rem;flex-wrap:nowrap}.card p{margin:.2rem 0;font-size:.88rem;color:var(--dim);overflow-wrap:anywhere}.card p b{color:var(--ink)}
.card .bad{color:var(--c);display:-webkit-box;-webkit-line-clamp:2;-webkit-box-orient:vertical;overflow:hidden}
.tag{white-space:nowrap}.tiles li{min-width:0;overflow-wrap:anywhere}
.plot{display:block;width:100%;height:9rem}.card .plot{height:2rem;margin-top:.5rem}
.plot path{fill:color-mix(in srgb,var(--c) 28%,transparent);stroke:var(--c);stroke-width:1.5;vector-effect:non-scaling-stroke}
.plot .base{fill:none;stroke:var(--line)}
.scale{display:flex;justify-content:space-between;color:var(--dim);font-size:.78rem;font-variant-numeric:tabular-nums;margin:.2rem 0}
.key{display:flex;gap:1rem;font-size:.82rem;color:var(--dim)}.key i{display:inline-block;width:.8rem;height:.8rem;border-radius:3px;background:var(--c);
margin-right:.35rem;vertical-align:-1px}
.said{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.9rem;margin:.3rem 0 0;font-family:var(--mono)}
.runs{width:100%;border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
.runs th{font-weight:500;color:var(--dim);text-align:left;padding:.3rem .5rem .3rem 0;white-space:nowrap}
.runs td{border-top:1px solid var(--line);padding:.35rem .5rem .35rem 0;vertical-align:top;white-space:nowrap}
.runs td.wrap{white-space:normal;overflow-wrap:anywhere;min-width:12rem}
.runs .num{text-align:right;padding-right:1.2rem}
.calm.v-unknown b{color:var(--ink)}
nav{font-size:.88rem;margin-bottom:.8rem}
"""


STANDS = {
    Ending.IN_SYNC: "in sync",
    Ending.APPLIED: "in sync",
    Ending.DRIFTED: "drift",
    Ending.PENDING: "pending",
    Ending.BLOCKED: "held back",
    Ending.REFUSED: "refused",
    Ending.INCOMPLETE: "incomplete",
    Ending.BAD_SPEC: "bad spec",
    Ending.FAILED: "failed",
}
"""How a target stands after a look that ended so."""

HEAVIEST = (
    "failed",
    "bad spec",
    "incomplete",
    "refused",
    "drift",
    "held back",
    "pending",
    "unknown",
    "suspended",
    "in sync",
)
"""What needs somebody comes first."""


def stands(state: TargetState) -> str:
    """Return how a target stands, in two words."""
    if state.suspended:
        return "suspended"
    return STANDS[state.last.ending] if state.last else "unknown"


def moment(at: float) -> str:
    """Return a time as people and programs read it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def ago(at: float, now: float) -> str:
    """Return how long ago something was, with the time itself for whoever points at it (HTML)."""
    if not at:
        return "never"
    return (
        f'<span title="{moment(at)}">{span(now - at)} ago</span>'
        if now - at >= 1
        else f'<span title="{moment(at)}">just now</span>'
    )


def ahead(at: float, now: float) -> str:
    """Return in how long something is due (HTML)."""
    return f'<span title="{moment(at)}">in {span(at - now)}</span>' if at - now >= 1 else "now"


def span(seconds: float) -> str:
    """Return a length of time, in its largest unit."""
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "min")):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} min" if unit == "min" else plural(number, unit)
    return f"{int(max(0, seconds))} s"


def labelled(pairs: list[tuple[str, str]]) -> str:
    """Return names and values as a line of facts; values are HTML already, and empty ones are left out."""
    rows = "".join(f"<div><dt>{safe(name)}</dt><dd>{value}</dd></div>" for name, value in pairs if value)
    return f'<dl class="facts">{rows}</dl>'


def code(text: str) -> str:
    """Return text as code (HTML)."""
    return f"<code>{safe(text)}</code>" if text else ""


def tag(word: str) -> str:
    """Return one of our own words as a coloured mark (HTML)."""
    return f'<span class="tag v-{word.replace(" ", "-")}">{word}</span>'


REFRESH_SECONDS = 60
_RUNS = 50
_FINDINGS = 500
_UNFOLDED = 12
_CARD_SPAN, _CARD_STEPS = DAY, 48
_PAGE_SPAN, _PAGE_STEPS = 7 * DAY, 168


def overview(snapshot: Snapshot, store: Store) -> str:
    """Return the page of all targets."""
    states = sorted(snapshot.states.values(), key=lambda state: (HEAVIEST.index(stands(state)), state.name))
    counts = Counter(map(stands, states))
    parts = [
        f"<header><h1><small>Controller</small>{safe(snapshot.stack) or 'no commit yet'}</h1>{_repository(snapshot)}</header>",
        _trouble(snapshot),
    ]
    if states:
        numbers = [
            (word.replace(" ", "-"), word, counts[word])
            for word in HEAVIEST[::-1]
            if counts[word] or word in ("in sync", "drift", "pending")
        ]
        on_air = [each for state in states if state.known for each in state.known.on_air]
        watching = sum(max(0, each.viewers) for each in on_air)
        live = f'<p class="rest">{plural(len(on_air), "channel")} on air, {plural(watching, "viewer")}</p>'
        parts.append(f'<section class="panel">{tiles(numbers)}{live}</section>')
        parts.append(f'<div class="grid">{"".join(_card(state, snapshot, store) for state in states)}</div>')
    else:
        parts.append(
            '<section class="panel calm v-unknown"><b>No target yet</b>They appear here with the first commit that can be read.</section>'
        )
    return _shell(f"{snapshot.stack or 'controller'}: {_title(counts)}", "".join(parts))


def _title(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[word]} {word}" for word in HEAVIEST if counts[word]) or "no target yet"


def _repository(snapshot: Snapshot) -> str:
    repository = snapshot.repository
    commit = repository.commit
    return labelled(
        [
            ("Repository", code(shown(repository.url))),
            ("Branch", code(repository.branch)),
            ("Commit", f"{code(commit.short)} {safe(commit.subject)}" if commit else ""),
            ("By", safe(commit.author) if commit else ""),
            ("Signature", "verified" if commit and commit.verified else ""),
            ("Fetched", ago(repository.fetched_at, snapshot.now)),
        ]
    )


def _trouble(snapshot: Snapshot) -> str:
    repository = snapshot.repository
    if repository.trouble is None:
        return ""
    still = (
        f"Still working with commit {repository.commit.short}."
        if repository.commit
        else "There is no commit to work with yet."
    )
    return f'<div class="panel alert v-failed"><h3>The branch is not followed: {repository.trouble.value}</h3><p class="said">{_lines(repository.message)}</p>{still}</div>'


def _card(state: TargetState, snapshot: Snapshot, store: Store) -> str:
    known = state.known
    said = [
        f"{snapshot.modes[state.name].value}, looked at {ago(state.last.started, snapshot.now) if state.last else 'never'}"
    ]
    if known:
        said.append(
            f"<b>{known.managed:,}</b> managed, <b>{known.drifted:,}</b> drifted, <b>{known.pending:,}</b> pending"
        )
    if known and known.on_air:
        viewers = sum(max(0, each.viewers) for each in known.on_air)
        said.append(f"{tag('on air')} {plural(len(known.on_air), 'channel')}, {plural(viewers, 'viewer')}")
    lines = "".join(f"<p>{line}</p>" for line in said)
    message = f'<p class="bad">{safe(state.last.message)}</p>' if state.last and state.last.message else ""
    word = stands(state)
    return (
        f'<a class="card {css_name(word)}" href="{_link(state.name)}"><div class="top"><h3>{safe(state.name)}</h3>{tag(word)}</div>'
        f"{lines}{message}{_spark(state.name, snapshot.now, store)}</a>"
    )


def _spark(name: str, now: float, store: Store) -> str:
    points = [Point(*each) for each in store.history(name, now - _CARD_SPAN, now, _CARD_STEPS)]
    return (
        plot(points, now - _CARD_SPAN, now, label=f"drift of {safe(name)} over a day")
        if any(point.drifted or point.pending for point in points)
        else ""
    )


def target(snapshot: Snapshot, store: Store, name: str) -> str | None:
    """Return the page of one target."""
    state = snapshot.states.get(name)
    if state is None:
        return None
    word, last, known = stands(state), state.last, state.known
    facts = [
        ("Account", code(known.account_id) if known else ""),
        ("Region", code(known.region) if known else ""),
        ("Mode", snapshot.modes[name].value),
        ("Commit", code(state.commit[:10])),
        ("Looked at", "now" if name in snapshot.running else ago(last.started if last else 0, snapshot.now)),
        ("Last success", ago(state.last_success, snapshot.now)),
        ("Next look", "when resumed" if state.suspended else ahead(state.due, snapshot.now)),
        ("Failures in a row", f"{state.failures:,}" if state.failures else ""),
    ]
    parts = [
        f'<nav><a href="/">All targets of {safe(snapshot.stack)}</a></nav><header><h1><small>Target</small>{safe(name)} {tag(word)}</h1>{labelled(facts)}</header>',
        _trouble(snapshot),
    ]
    if last and last.message:
        parts.append(
            f'<div class="panel alert {css_name(word)}"><h3>{word.capitalize()}</h3><p class="said">{_lines(last.message)}</p></div>'
        )
    if known:
        parts += [_counts(known), _live(known, snapshot.now)]
    parts += [_plot(name, snapshot.now, store), _findings(known) if known else "", _runs(name, snapshot.now, store)]
    return _shell(f"{name}: {word}", "".join(parts))


def _counts(run: Run) -> str:
    numbers = [(standing.value, title.lower(), run.counts.get(standing, 0)) for standing, title in TITLES.items()]
    shown_counts = [
        each
        for each in numbers
        if each[2] or each[0] in (Standing.DRIFT.value, Standing.MISSING.value, Standing.PENDING.value)
    ]
    waiting = f", {plural(run.waiting_on_air, 'change')} held back by a channel on air" if run.waiting_on_air else ""
    rest = f"{run.managed:,} managed, {run.unchanged:,} as the spec wants, {run.foreign:,} foreign{waiting}"
    return f'<section class="panel">{tiles(shown_counts)}<p class="rest">{rest}</p></section>'


def _live(run: Run, now: float) -> str:
    if not run.on_air:
        return ""
    rows = "".join(
        f'<tr><td class="wrap">{code(each.name)}</td><td class="num">{"unknown" if each.viewers < 0 else f"{each.viewers:,}"}</td>'
        f"<td>{safe(each.health.lower())}</td><td>{safe(each.since)}</td></tr>"
        for each in run.on_air
    )
    head = '<tr><th>Channel</th><th class="num">Viewers</th><th>Health</th><th>Since</th></tr>'
    seen = f'<p class="rest">As of {ago(run.started, now)}.</p>'
    return f'<section class="panel"><h3>{plural(len(run.on_air), "channel")} on air</h3><div class="wide"><table class="runs">{head}{rows}</table></div>{seen}</section>'


def _plot(name: str, now: float, store: Store) -> str:
    since = now - _PAGE_SPAN
    points = [Point(*each) for each in store.history(name, since, now, _PAGE_STEPS)]
    top = highest(points)
    most = max((point.drifted for point in points), default=0)
    label = f"Drift over seven days: at most {plural(most, 'resource')} drifted"
    days = "".join(f"<span>{moment(since + _PAGE_SPAN * step / 7)[5:10]}</span>" for step in range(8))
    key = '<div class="key"><span class="v-drift"><i></i>drifted</span><span class="v-pending"><i></i>pending</span></div>'
    body = (
        f'<div class="scale"><span>{top:,}</span>{key}</div>{plot(points, since, now, label=label)}<div class="scale">{days}</div>'
        if points
        else "<p>No look yet.</p>"
    )
    return f'<section class="panel"><h3>Drift over seven days</h3>{body}</section>'


def _findings(run: Run) -> str:
    if not run.findings:
        return ""
    order = [finding for standing in TITLES for finding in run.findings if finding.standing is standing]
    cards = "".join(finding_card(finding, unfolded=len(order) <= _UNFOLDED) for finding in order[:_FINDINGS])
    more = f'<p class="rest">and {len(order) - _FINDINGS:,} more</p>' if len(order) > _FINDINGS else ""
    return f"<section><h2>Not as the spec says</h2>{cards}{more}</section>"


def _runs(name: str, now: float, store: Store) -> str:
    rows = "".join(
        f'<tr><td><a href="{_link(name, "runs", str(number))}">{ago(run.started, now)}</a></td><td>{tag(run.ending.value)}</td><td>{run.mode.value}</td>'
        f'<td>{code(run.commit[:10])}</td><td class="num">{run.drifted:,}</td><td class="num">{run.pending:,}</td><td class="num">{run.done:,}</td>'
        f'<td class="num">{run.calls:,}</td><td class="num">{run.seconds:.1f} s</td><td>{_plan_link(name, run)}</td></tr>'
        for number, run in store.runs(name, _RUNS)
    )
    heads = ("When", "Ended", "Mode", "Commit", "Drifted", "Pending", "Done", "Calls", "Took", "Plan")
    head = "".join(
        f"<th{' class=num' if word in ('Drifted', 'Pending', 'Done', 'Calls', 'Took') else ''}>{word}</th>"
        for word in heads
    )
    return (
        f'<section class="panel"><h3>Last looks</h3><div class="wide"><table class="runs"><tr>{head}</tr>{rows}</table></div></section>'
        if rows
        else ""
    )


def _plan_link(name: str, run: Run) -> str:
    return (
        f'<a href="{_link(name, "plans", run.plan_id)}">{code(run.plan_id.removeprefix("sha256:")[:10])}</a>'
        if run.plan_id
        else ""
    )


def plan(snapshot: Snapshot, store: Store, name: str, plan_id: str) -> str | None:
    """Return the page of a plan, as ``plan --format html`` would show it."""
    found = store.plan(name, plan_id) if name in snapshot.states else None
    return html.render_plan(found, extra={"Fingerprint": plan_id}) if found else None


def run(snapshot: Snapshot, store: Store, name: str, number: int) -> str | None:
    """Return the page of one run: what became of its apply, or how it ended."""
    found = store.run(name, number) if name in snapshot.states else None
    if found is None:
        return None
    one, result = found
    if result is not None:
        return html.render_result(
            result, extra={"Began": moment(one.started), "Commit": one.commit, "Plan": one.plan_id}
        )
    facts = [
        ("Began", moment(one.started)),
        ("Took", span(one.seconds)),
        ("Mode", one.mode.value),
        ("Commit", code(one.commit)),
        ("Account", code(one.account_id)),
        ("Calls", f"{one.calls:,}"),
        ("Plan", _plan_link(name, one)),
    ]
    said = f'<div class="panel"><p class="said">{_lines(one.message)}</p></div>' if one.message else ""
    head = f'<nav><a href="{_link(name)}">{safe(name)}</a></nav><header><h1><small>Look at {safe(name)}</small>{tag(one.ending.value)}</h1>{labelled(facts)}</header>'
    return _shell(f"{name}: {one.ending.value}", f"{head}{said}{_counts(one) if one.looked else ''}")


def _link(*parts: str) -> str:
    return "/targets/" + "/".join(quote(part, safe="") for part in parts)


def _lines(text: str) -> str:
    return "\n".join(safe(line) for line in text.splitlines())


def _shell(title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex"><meta http-equiv="refresh" content="{REFRESH_SECONDS}">'
        f"<title>{safe(title)}</title><style>{STYLE}{MORE_STYLE}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )
