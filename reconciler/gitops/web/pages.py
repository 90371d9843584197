"""The status pages: an overview of all targets, a page for each, its plans and its runs. Made here, readable without scripts, linking only to themselves.

Comes in: a snapshot of the controller, and its store to look things up. Goes out: HTML, or ``None`` for what is not there.
All text that is not ours goes through ``safe``.
"""

from __future__ import annotations

from collections import Counter
from urllib.parse import quote

from reconciler.gitops.controller import Snapshot
from reconciler.gitops.git import shown
from reconciler.gitops.state import Run, TargetState
from reconciler.gitops.store import DAY, Store
from reconciler.gitops.web.plot import Point, highest, plot
from reconciler.gitops.web.style import MORE_STYLE
from reconciler.gitops.web.words import HEAVIEST, ago, ahead, code, labelled, moment, span, stands, tag
from reconciler.plan.drift import Standing
from reconciler.report import html
from reconciler.report.drift_words import TITLES
from reconciler.report.html_drift import finding_card
from reconciler.report.html_parts import css_name, safe, tiles
from reconciler.report.html_style import STYLE
from reconciler.report.words import plural

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
