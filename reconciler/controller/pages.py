"""The controller's status pages: all targets, one target, its plans and its reconciliations.

Each function returns HTML, or ``None`` if there is nothing to show under that name. The markup is in ``templates/``,
which share the reports' parts and style; pages are readable without scripts and link only to each other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup

from reconciler.controller import chart
from reconciler.controller.controller import Snapshot
from reconciler.controller.state import Inventory, Run, RunStatus, TargetState
from reconciler.controller.store import Store
from reconciler.drift import DriftStatus
from reconciler.drift.report import Finding
from reconciler.git.git import without_credentials
from reconciler.model.address import KindName
from reconciler.model.kinds import KINDS
from reconciler.plan.plan import LiveChannel
from reconciler.report import html
from reconciler.report.words import TITLES, duration, iso, seconds, shards_words, time_tag

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
_LONGEST_QUERY = 200
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
    found = _REPOSITORY.fullmatch(without_credentials(repository))
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
    counts = [(status, title.lower(), run.counts.get(status, 0)) for status, title in TITLES.items()]
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
    return query.get(name, "")[:_LONGEST_QUERY]


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
    changes_of=lambda points: chart.changes(points)[:_TABLE_ROWS],
    commit_url=commit_url,
    duration=duration,
    found=_found,
    iso=iso,
    link=link,
    moment=time_tag,
    ready=lambda kind: KINDS[kind].ready,
    seconds=seconds,
    viewers=_viewers,
    without_credentials=without_credentials,
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
    chosen, span = chart.span_of(name, now, store)
    span = chart.SPANS["day"] if chosen == "week" else span
    return {"history": chart.history(name, now, store, span, _CARD_STEPS), "span": span.title}


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
    chosen, span = chart.span_of(name, snapshot.now, store, query.get("span", ""))
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
        history=chart.history(name, snapshot.now, store, span, span.steps),
        span=span,
        spans=[(each, one.title, each == chosen) for each, one in chart.SPANS.items()],
        marks=chart.marks(span, snapshot.now),
        findings=[finding for status in TITLES for finding in found if finding.status is status],
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


_STATUS_WORDS = {status: title.lower() for status, title in TITLES.items()}
_WORST_FIRST = (*_STATUS_WORDS.values(), IN_SYNC, UNMANAGED)


def _rows(run: Run, inventory: Inventory) -> list[Row]:
    """Return the resources of a target: those out of sync first, then in sync, then unmanaged, each by address."""
    live = {channel.arn: channel for channel in run.live_channels}
    findings: dict[str, list[Finding]] = {}
    for status in TITLES:
        for finding in run.findings:
            if finding.status is status:
                findings.setdefault(finding.arn or str(finding.address), []).append(finding)
    rows = [
        _row(Row(each.address.kind, each.address.id, arn=each.arn, name=each.name, url=each.url, state=each.state, live=live.get(each.arn)), findings.pop(each.arn, []))
        for each in inventory.managed
    ]  # fmt: skip
    rows += [_row(Row(*one[0].address, arn=one[0].arn or ""), one) for one in findings.values()]
    rows += [
        Row(each.kind, each.name, UNMANAGED, each.arn, owner=each.owner, live=live.get(each.arn))
        for each in inventory.unmanaged
    ]
    return sorted(rows, key=lambda row: (_WORST_FIRST.index(row.status), row.kind, row.id, row.arn))


def _row(row: Row, findings: Sequence[Finding]) -> Row:
    return replace(row, status=_STATUS_WORDS[findings[0].status], findings=tuple(findings)) if findings else row


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
        **{word: statuses[word] for word in _WORST_FIRST},
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
