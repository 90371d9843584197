"""Plans, results of applies and drift reports as HTML: each is one self-contained page, readable without scripts.

The markup is in ``templates/``, with one style sheet and one script for all pages; the controller's status pages share them.
A template shows text as it is: ``environment`` sanitizes and escapes everything that is put into one.

A plan's page has a picture of the resources that it changes. An edge goes from a resource to the one that needs it: a reference is found where
a change, a call or the live resource names another resource's address or ARN, and a stream key belongs to the channel of its id.
A resource that the plan does not change has no node.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reconciler.diff import FieldChange
from reconciler.drift.report import DriftReport
from reconciler.model.address import Address, KindName
from reconciler.model.kinds import CHILD_KINDS, KINDS, parent_of
from reconciler.model.values import Ref, Value
from reconciler.plan.plan import Action, ApplyResult, Plan, Result, Step, TargetPlan, Verb
from reconciler.report import actions, words
from reconciler.report.words import BLOCKED, VERBS, Notice, apply_state, count_by_kind, counted_as, plural
from reconciler.terminal import same_start, sanitize

_NOTICE_CLASSES: Mapping[Notice, str] = {
    Notice.DELETED: "delete",
    Notice.REPLACED: "replace",
    Notice.BLOCKED: BLOCKED,
    Notice.KEYS: "update",
}
_MIN_MARKED, _MAX_MARKED = 10, 4000
"""Lengths of the texts in which the part that differs is marked."""

_MAX_CARDS = 5_000
"""How many actions a page lists; more than that make a page of tens of megabytes, which no browser scrolls."""

_ROUTINE = (Verb.UPDATE, Verb.ADOPT, Verb.CREATE)
"""What a page leaves out if there is more, the last one first. Everything else is always listed, and so is what is blocked."""

Trail = Sequence[tuple[str, str]]
"""The pages above one, the topmost first: words and address of each."""

_FOLDER = files("reconciler.report") / "templates"
STYLE = (_FOLDER / "style.css").read_text(encoding="utf-8")
SCRIPT = (_FOLDER / "script.js").read_text(encoding="utf-8")


def content_policy(script: str) -> str:
    """Return the content security policy of a page that runs this script and no other."""
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src {script_source(script)}; base-uri 'none'; form-action 'none'"


def script_source(script: str) -> str:
    """Return the source of an inline script in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@dataclass(frozen=True, slots=True)
class Text:
    """A value as text; ``middle`` is the part to mark, because it differs from the other side."""

    start: str
    middle: str = ""
    end: str = ""


@dataclass(frozen=True, slots=True)
class MarkedChange:
    """The two sides of a changed field; ``None`` where it is absent. A list of strings has members instead."""

    path: str
    left: Text | None = None
    right: Text | None = None
    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def marked_change(change: FieldChange) -> MarkedChange:
    """Return both sides of a change, with what differs marked if two values are alike for the most part."""
    path, left, right, *members = actions.shown_change(change)
    if left is None or right is None:
        return MarkedChange(path, None if left is None else Text(left), None if right is None else Text(right))
    if any(members):
        return MarkedChange(path, Text(left), Text(right), *members)
    if _MIN_MARKED <= min(len(left), len(right)) <= max(len(left), len(right)) <= _MAX_MARKED:
        start = same_start(left, right)
        end = same_start(left[start:][::-1], right[start:][::-1])
        if (start + end) * 2 >= min(len(left), len(right)):
            return MarkedChange(path, _marked(left, start, end), _marked(right, start, end))
    return MarkedChange(path, Text(left), Text(right))


def _marked(text: str, start: int, end: int) -> Text:
    return Text(text[:start], text[start : len(text) - end], text[len(text) - end :])


def css_class(word: str) -> str:
    """Return the class that colours one of our own words."""
    return "v-" + word.replace(" ", "-")


def _parameters(step: Step) -> str:
    shown = ", ".join(f"{key}: {actions.show_value(value)}" for key, value in step.parameters.items())
    return shown + words.until_words(step)


def _unchanged(target: TargetPlan, of_revisions: bool) -> str:
    counts = words.in_sync_words(target)
    return f"{target.name} ({counts})" if of_revisions else f"{target.name} is in sync ({counts})"


def _sanitized(value: object) -> str:
    return value if isinstance(value, Markup) else sanitize(str(value))


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


def _bars(verbs: Counter[str]) -> Iterator[Bar]:
    x = float(_PADDING)
    for verb in VERBS:
        if verbs[verb]:
            width = (_KIND_BOX[0] - 2 * _PADDING) * verbs[verb] / verbs.total()
            yield Bar(verb, verbs[verb], x, max(width - 1, 1))
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


_FILTERS = {
    "spec_first": words.spec_first,
    "blame_words": words.blame_words,
    "broadcast_words": words.broadcast_words,
    "nonzero": words.nonzero,
    "css_class": css_class,
    "defaults_heading": words.defaults_heading,
    "defaults_words": words.defaults_words,
    "draw": draw,
    "headline": words.headline,
    "ignored_heading": words.ignored_heading,
    "ignored_words": words.ignored_words,
    "unchanged_words": _unchanged,
    "kind_title": lambda kind: KINDS[kind].title,
    "notables": words.notable_changes,
    "notice_class": _NOTICE_CLASSES.__getitem__,
    "number": lambda count: f"{count:,}",
    "live_channels_words": words.live_channels_words,
    "parameters": _parameters,
    "path": actions.path_words,
    "plural": words.plural,
    "marked_change": marked_change,
    "status_word": words.STATUS_WORDS.__getitem__,
    "symbol": actions.symbol,
    "text": actions.show_text,
    "will": actions.will,
}


def environment(*packages: str) -> Environment:
    """Return an environment that finds templates in these packages, then in the reports', with the reports' filters.

    Every value that is put into a template is sanitized and escaped; an unknown name is an error.
    """
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in (*packages, "reconciler.report")]),
        autoescape=True,
        auto_reload=False,
        finalize=_sanitized,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters.update(_FILTERS)
    made.tests.update(ownership_tag=actions.is_own_record)
    made.globals.update(style=STYLE, script=SCRIPT, policy=content_policy(SCRIPT))
    return made


_REPORTS = environment()


def render_plan(plan: Plan, *, extra: Mapping[str, str] | None = None, trail: Trail = ()) -> str:
    """Return the page of a plan. ``extra`` gives further facts for the top, by name; ``trail`` links back to the pages above it."""
    options = {
        "Prune": "enabled" if plan.options.prune else "",
        "Adopt": ("with changes" if plan.options.adopt_with_changes else "enabled") if plan.options.adopt else "",
        "Only": ", ".join(plan.options.only),
        "Exclude": ", ".join(plan.options.exclude),
        "Streams to stop": ", ".join(plan.options.stop_live),
    }
    origin = {**words.origin_of(plan), "Spec": plan.spec_digest, "Created": plan.created_at}
    shown = _listed(plan)
    listed = [target.actions[index] for target, indices in zip(plan.targets, shown, strict=True) for index in indices]
    verbs = Counter(map(counted_as, listed))
    targets = [
        _target(target, at, indices) for at, (target, indices) in enumerate(zip(plan.targets, shown, strict=True))
    ]
    heading = words.title_of(plan)
    return _REPORTS.get_template("plan.html").render(
        title=f"{heading} for {plan.stack}",
        heading=heading,
        trail=trail,
        plan=plan,
        settings=words.settings_words(plan.base),
        settings_heading=words.SETTINGS,
        widens_words=words.WIDENS,
        origin={**origin, **(extra or {}), **options},
        targets=targets,
        totals=_totals(targets, VERBS),
        states=words.plan_states(plan),
        overview_words=words.overview_words,
        count=len(listed),
        verbs=[(name, name, verbs[name]) for name in VERBS],
        kinds=_kinds(action.address.kind for action in listed),
    )


def _listed(plan: Plan) -> list[list[int]]:
    """Return, for each target, the indices of the actions that the page lists."""
    routine = sorted(
        (_ROUTINE.index(action.verb), at, index)
        for at, target in enumerate(plan.targets)
        for index, action in enumerate(target.actions)
        if action.verb in _ROUTINE and not action.blocked
    )
    others = sum(len(target.actions) for target in plan.targets) - len(routine)
    left_out = {(at, index) for _, at, index in routine[max(_MAX_CARDS - others, 0) :]}
    return [
        [index for index in range(len(target.actions)) if (at, index) not in left_out]
        for at, target in enumerate(plan.targets)
    ]


def _target(target: TargetPlan, at: int, listed: Sequence[int]) -> Mapping[str, object]:
    """Return what the template shows of one target beside its plan. A link to an action that is not listed leads to the target."""
    all_of = Counter(map(counted_as, target.actions))
    left_out = all_of - Counter(counted_as(target.actions[index]) for index in listed)
    anchors = dict.fromkeys((action.address for action in target.actions), f"t{at}")
    summary = target.summary
    counts = [(name, name if name == BLOCKED else f"to {name}", getattr(summary, name)) for name in VERBS]
    kinds = count_by_kind(target)
    return {
        "plan": target,
        **_heading(at, target.name, target.account_id, target.region),
        "anchors": {**anchors, **{target.actions[index].address: f"t{at}-{index}" for index in listed}},
        "listed": listed,
        "left_out": left_out.total(),
        "left_out_words": words.nonzero({f"to {verb}": left_out[verb] for verb in VERBS}),
        "counts": [each for each in counts if each[2]],
        "rest": words.nonzero(
            {
                "unchanged": summary.unchanged,
                "orphaned": summary.orphaned,
                "kept": len(target.kept),
                "unmanaged": summary.unmanaged,
            }
        ),
        "verbs": [verb for verb in VERBS if any(row[verb] for row in kinds.values())],
        "kinds": kinds,
        "warnings": [(action, warning) for action in target.actions for warning in action.warnings],
    }


def _heading(at: int, name: str, account_id: str, region: str) -> Mapping[str, object]:
    """Return the anchor of a target and what the list of all targets shows of it."""
    return {"anchor": f"t{at}", "name": name, "where": " · ".join(filter(None, (account_id, region)))}


def _totals(targets: Sequence[Mapping[str, Any]], order: Iterable[str]) -> list[tuple[str, str, int]]:
    """Return the counts of all targets together, by their classes in this order."""
    totals: dict[str, tuple[str, int]] = {}
    for target in targets:
        for name, shown, count in target["counts"]:
            totals[name] = (shown, totals.get(name, (shown, 0))[1] + count)
    return [(name, *totals[name]) for name in order if name in totals]


def _kinds(found: Iterable[KindName]) -> list[tuple[KindName, int]]:
    """Return how many there are of each kind, in order of creation."""
    counts = Counter(found)
    return [(kind, counts[kind]) for kind in KINDS]


def render_result(result: ApplyResult, *, extra: Mapping[str, str] | None = None, trail: Trail = ()) -> str:
    """Return the page of an apply's outcomes; ``extra`` and ``trail`` as for ``render_plan``."""
    counts = Counter(outcome.result for outcome in result.outcomes)
    heading = f"Apply {apply_state(result)}"
    if counts[Result.BLOCKED] and not counts[Result.FAILED]:
        heading += f": {plural(counts[Result.BLOCKED], 'action')} blocked"
    return _REPORTS.get_template("result.html").render(
        title=f"{heading}: {result.name}",
        heading=heading,
        trail=trail,
        result=result,
        origin={"API calls": f"{result.calls:,}", "Duration": f"{result.seconds:.1f} s", **(extra or {})},
        counts=[(one.value.replace(" ", "-"), one.value, counts[one]) for one in Result if counts[one]],
        kinds=_kinds(outcome.address.kind for outcome in result.outcomes),
        outcomes=sorted(result.outcomes, key=lambda outcome: words.BY_SEVERITY.index(outcome.result)),
    )


def render_drift(
    reports: Sequence[DriftReport],
    *,
    stack: str,
    extra: Mapping[str, str] | None = None,
    failed: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return the page of the drift reports of all targets; ``extra`` as for ``render_plan``. ``failed`` are targets that could not be read, and why."""
    findings = [finding for report in reports for finding in report.findings]
    statuses = Counter(finding.status for finding in findings)
    targets = [_drift(report, at) for at, report in enumerate(reports)]
    return _REPORTS.get_template("drift.html").render(
        title=f"Drift report for {stack}",
        stack=stack,
        extra=extra or {},
        targets=targets,
        totals=_totals(targets, words.TITLES),
        states=words.drift_states(reports, failed),
        overview_words=words.overview_words,
        count=len(findings),
        statuses=[(status.value, word, statuses[status]) for status, word in words.STATUS_WORDS.items()],
        kinds=_kinds(finding.address.kind for finding in findings),
    )


def _drift(report: DriftReport, at: int) -> Mapping[str, object]:
    counts = [(status.value, word, len(report.of(status))) for status, word in words.STATUS_WORDS.items()]
    rest = {"in sync": report.unchanged, "unmanaged": len(report.unmanaged), "ignored": report.ignored_differences}
    return {
        "report": report,
        **_heading(at, report.name, report.account_id, report.region),
        "counts": [each for each in counts if each[2]],
        "rest": words.nonzero(rest),
        "findings": [finding for status in words.TITLES for finding in report.of(status)],
    }
