"""Plans, results and drift reports as GitHub-flavoured Markdown: a comment, a job summary, an issue. Also right on GitLab.

Counts come first, then what a reviewer must see (deleted, replaced, blocked, keys), then one folded block for each resource,
or for several identical ones. With a limit, whole resources are left out and counted, never a part of one.
Users' text is put into code spans, fences and HTML code elements only; ``markdown_layout`` says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields

from reconciler.drift.report import DriftReport, DriftStatus, Finding
from reconciler.model.resource import UnmanagedResource
from reconciler.model.values import Value
from reconciler.plan.plan import Action, ApplyResult, Outcome, Plan, Result, Summary, TargetPlan, Verb
from reconciler.report.folding import (
    fold_actions,
    group_title,
    members_line,
    own_id_hidden,
    shared_tags,
    without_shared_tags,
)
from reconciler.report.markdown_layout import (
    Block,
    Group,
    Line,
    Section,
    code,
    cut_line,
    diff_lines,
    facts_line,
    fenced,
    fit,
    not_listed,
    prose,
    tag_code,
)
from reconciler.report.words import (
    HEADS,
    SETTINGS,
    TITLES,
    WIDENS,
    Notice,
    blame_words,
    broadcast_words,
    count_by_kind,
    defaults_words,
    drift_counts,
    headline,
    ignored_words,
    in_time_order,
    is_own_record,
    live_channels_words,
    notable_changes,
    notice_of,
    origin_of,
    path_words,
    plural,
    resources_words,
    settings_words,
    show_text,
    show_value,
    shows_changes,
    summary_words,
    symbol,
    title_of,
    will,
)
from reconciler.terminal import sanitize

_WEIGHTS: Mapping[Verb, int] = {
    Verb.DELETE: 0,
    Verb.REPLACE: 0,
    Verb.UPDATE: 1,
    Verb.ADOPT: 2,
    Verb.FORGET: 2,
    Verb.CREATE: 3,
}
_NOTICE_WEIGHTS: Mapping[Notice, int] = {Notice.DELETED: 0, Notice.REPLACED: 1, Notice.BLOCKED: 2, Notice.KEYS: 4}
_MEMBERS_SHOWN = 50
_ON_AIR, _WARNINGS, _DUPLICATES, _NOTES, _ORPHANS = 3, 3, 5, 6, 7
# A forge's highlighter colours a line of a diff fence by its first character: + green, - red, ! orange.
_MARKS: Mapping[Verb, str] = {
    Verb.CREATE: "+",
    Verb.UPDATE: "! ~",
    Verb.REPLACE: "! +/-",
    Verb.DELETE: "-",
    Verb.ADOPT: "  =",
    Verb.FORGET: "  .",
}


def render_plan(
    plan: Plan,
    *,
    limit: int | None = None,
    artefact_url: str | None = None,
    facts: Mapping[str, str] | None = None,
    reserve: int = 0,
) -> str:
    """Return the whole plan.

    ``limit`` is the largest size of the text in UTF-8 bytes, ``reserve`` the part of it that the caller needs; ``artefact_url`` links the whole plan.
    ``facts`` are further names and values for the top.
    Raises ``ValueError`` when not even the counts fit.
    """
    known = {**origin_of(plan), "Spec": plan.spec_digest, "Created": plan.created_at, **(facts or {})}
    title = f"## {title_of(plan)} for stack {code(plan.stack)}"
    sections = [
        Section(
            "\n\n".join((title, *settings_lines(plan), *facts_line(known))), "\n\n".join((title, *settings_lines(plan)))
        ),
        *(_target(target, {}) for target in plan.targets),
    ]
    return _fitted(sections, plan.targets, limit, artefact_url, reserve)


def settings_lines(plan: Plan) -> list[str]:
    """Return the settings that changed since the base as a heading and a list, or nothing."""
    lines = [f"- {code(text)} (**{WIDENS}**)" if widens else f"- {code(text)}" for text, widens in settings_words(plan)]
    return [f"**{SETTINGS}:**", "\n".join(lines)] if lines else []


def render_target(
    target: TargetPlan,
    *,
    limit: int | None = None,
    artefact_url: str | None = None,
    facts: Mapping[str, str] | None = None,
    reserve: int = 0,
) -> str:
    """Return the plan of one account and region; arguments as of ``render_plan``."""
    return _fitted([_target(target, facts or {})], (target,), limit, artefact_url, reserve)


def render_result(
    result: ApplyResult,
    *,
    limit: int | None = None,
    artefact_url: str | None = None,
    facts: Mapping[str, str] | None = None,
    reserve: int = 0,
) -> str:
    """Return the outcome of every action; arguments as of ``render_plan``."""
    state = "complete" if result.complete else "partially failed"
    if result.interrupted:
        state = "interrupted"
    counts = Counter(outcome.result for outcome in result.outcomes)
    words = ", ".join(f"{counts[one]:,} {one.value}" for one in Result if counts[one] or one is Result.DONE)
    effort = f"{plural(result.calls, 'call')}, {result.seconds:.1f} s"
    head = [
        f"### Apply of {code(result.name)}: {state}",
        f"**{words}** ({effort})",
        *facts_line(facts or {}),
        *_result_table(result),
    ]
    if not result.complete:
        head.append("Run plan to see what is left.")
    sorts = (Result.FAILED, Result.BLOCKED, Result.SKIPPED, Result.DONE)
    groups = [
        Group(
            f"{sort.value.capitalize()}: {counts[sort]:,}",
            _outcomes(result, sort),
            weight,
            folded=sort is Result.DONE,
        )
        for weight, sort in enumerate(sorts)
        if counts[sort]
    ]
    section = Section("\n\n".join(head), f"**{code(result.name)}**: apply {state}: {words}", tuple(groups))
    cut = cut_line("result", artefact_url)
    return fit([section], limit=_less(limit, reserve), cut=cut, last=f"Apply {state}: {words} ({effort}).\n\n{cut}")


def _fitted(
    sections: list[Section], targets: Iterable[TargetPlan], limit: int | None, artefact_url: str | None, reserve: int
) -> str:
    cut = cut_line("plan", artefact_url)
    if limit is None:
        return fit(sections, limit=None, cut=cut, last="")
    known = tuple(targets)
    total = Summary(*(sum(getattr(target.summary, one.name) for target in known) for one in fields(Summary)))
    lines = [
        Line("", f"{group.notice.value.partition(',')[0].lower()} {action.kind.value}")
        for target in known
        for group in notable_changes(target)
        for action in group.actions
    ]
    last = (
        f"Plan for {plural(len(known), 'target')}: {summary_words(total)}.\n\n"
        + (not_listed(lines) + "\n\n" if lines else "")
        + cut
    )
    return fit(sections, limit=_less(limit, reserve), cut=cut, last=last)


def _less(limit: int | None, reserve: int) -> int | None:
    return None if limit is None else limit - reserve


def _target(target: TargetPlan, facts: Mapping[str, str]) -> Section:
    where = {"Account": target.account_id, "Region": target.region, **facts}
    summary = target.summary
    if target.is_empty:
        resources = resources_words(summary.unchanged, orphaned=summary.orphaned, unmanaged=summary.unmanaged)
        counts = f"No changes. In sync ({resources})"
    else:
        counts = summary_words(summary)
    if target.live_channels:
        counts += f"; {live_channels_words(target.live_channels)}"
    head = [f"### {code(target.name)}", f"**{counts}**", *facts_line(where), *_table(target)]
    shared = shared_tags(target.actions)
    if shared:
        tags = {path_words(path): show_value(value) for path, value in shared.items()}
        created = plural(sum(action.verb is Verb.CREATE for action in target.actions), "created resource")
        head.append(f"On all {created}: {' · '.join(code(f'{name} {value}') for name, value in tags.items())}")
    return Section(
        "\n\n".join(head),
        f"**{code(target.name)}**: {counts}",
        tuple(_groups(target)),
        tuple(_block(group, shared) for group in fold_actions(target.actions)),
    )


def _table(target: TargetPlan) -> list[str]:
    counts = count_by_kind(target)
    if not counts:
        return []
    verbs: list[Verb | None] = [
        verb for verb in Verb if verb not in (Verb.ADOPT, Verb.FORGET) or any(row[verb] for row in counts.values())
    ]
    verbs += [None] if any(row[None] for row in counts.values()) else []
    titles = " | ".join(verb.value.capitalize() if verb else "Blocked" for verb in verbs)
    rows = [
        f"| {kind.value} | {' | '.join(_cell(row[verb]) for verb in verbs)} | {target.managed.get(kind, 0):,} |"
        for kind, row in counts.items()
    ]
    return ["\n".join((f"| Kind | {titles} | Managed |", "| :-- |" + " --: |" * (len(verbs) + 1), *rows))]


def _result_table(result: ApplyResult) -> list[str]:
    counts = Counter((outcome.verb, outcome.result) for outcome in result.outcomes)
    verbs = [verb for verb in Verb if any(counts[verb, one] for one in Result)]
    if not verbs:
        return []
    rows = [
        f"| {verb.value.capitalize()} | {' | '.join(_cell(counts[verb, one]) for one in Result)} |" for verb in verbs
    ]
    return [
        "\n".join(
            (
                f"| Action | {' | '.join(one.value.capitalize() for one in Result)} |",
                "| :-- |" + " --: |" * len(Result),
                *rows,
            )
        )
    ]


def _cell(count: int) -> str:
    return f"{count:,}" if count else "·"


def _groups(target: TargetPlan) -> Iterable[Group]:
    for group in notable_changes(target):
        yield Group(group.title, tuple(_line(action) for action in group.actions), _NOTICE_WEIGHTS[group.notice])
    live_channels = [
        Line(sanitize(f"! {channel.address}: {broadcast_words(channel)}"), channel.address.kind.value)
        for channel in target.live_channels
    ]
    warnings = [
        Line(sanitize(f"! {action.address}: {text}"), action.kind.value)
        for action in target.actions
        for text in action.warnings
    ]
    duplicates = [
        Line(sanitize(f"! {one.address}: kept {one.kept}; other {', '.join(one.others)}"), one.address.kind.value)
        for one in target.duplicates
    ]
    notes = [Line(f"# {sanitize(note)}", "note") for note in target.notes]
    orphans = [
        Line(
            sanitize(f"  {one.address} {one.arn}".rstrip() + (" (protected)" if one.protected else "")),
            one.address.kind.value,
        )
        for one in target.orphans
    ]
    for title, lines, weight in (
        ("Live", live_channels, _ON_AIR),
        ("Warnings", warnings, _WARNINGS),
        ("Duplicate", duplicates, _DUPLICATES),
        ("Notes", notes, _NOTES),
        ("Orphaned, kept because prune is disabled (--prune)", orphans, _ORPHANS),
    ):
        if lines:
            yield Group(f"{title}: {len(lines):,}", tuple(lines), weight, folded=weight == _ORPHANS)


def _mark(action: Action) -> str:
    return f"! {symbol(action)}" if action.verb is Verb.REPLACE else _MARKS[action.verb]


def _line(action: Action) -> Line:
    text = f"{_mark(action)} {action.address}"
    if action.blocked:
        text = f"! {symbol(action)} {action.address}: would be {_PARTICIPLES[action.verb]}; {action.blocked.code}: {action.blocked.message}"
    elif action.verb is Verb.REPLACE:
        text += f": {', '.join(path_words(change.path) for change in action.changes if not is_own_record(change)) or _reason(action)}"
    else:
        text += f": {_reason(action)}"
    return Line(sanitize(text), action.kind.value)


def _reason(action: Action) -> str:
    return action.reason.value.replace("-", " ")


_PARTICIPLES: Mapping[Verb, str] = {
    Verb.CREATE: "created",
    Verb.UPDATE: "updated",
    Verb.REPLACE: "replaced",
    Verb.DELETE: "deleted",
    Verb.ADOPT: "adopted",
    Verb.FORGET: "forgotten",
}


def _block(group: tuple[Action, ...], shared: Mapping[str, Value]) -> Block:
    """Return the details of one action, or of several identical ones."""
    action = group[0]
    addresses = [one.address for one in group]
    blocked = " (blocked)" if action.blocked else ""
    name = str(action.address) if len(group) == 1 else group_title(addresses)
    parts = [f"<details><summary>{tag_code(symbol(action))} {tag_code(name)} {will(action)}{blocked}</summary>"]
    changes = without_shared_tags(action, shared)
    if len(group) > 1:
        changes = own_id_hidden(changes, action.address)
        parts.append(code(members_line(addresses, limit=_MEMBERS_SHOWN)))
    elif action.explanation:
        parts.append(prose(action.explanation))
    if action.arn and len(group) == 1:
        parts.append(code(action.arn))
    if action.blocked:
        parts.append(f"**Blocked** ({code(action.blocked.code)}): {prose(action.blocked.message)}")
    parts += [f"**Warning:** {prose(warning)}" for warning in action.warnings]
    if lines := diff_lines(changes):
        parts.append(fenced(lines))
    if action.steps:
        each = "" if len(group) == 1 else ", each"
        parts.append(f"AWS calls{each}: {', '.join(code(step.operation) for step in action.steps)}")
    parts.append("</details>")
    urgent = action.blocked or action.warnings
    line = None
    if len(group) > 1:
        text = f"{_mark(action)} {group_title(addresses)}: {members_line(addresses, limit=_MEMBERS_SHOWN)}"
        line = Line(sanitize(text), action.kind.value, len(group))
    if notice_of(action):
        line = None
    elif len(group) == 1:
        line = _line(action)
    return Block("\n\n".join(parts), line, 0 if urgent else _WEIGHTS[action.verb])


def _outcomes(result: ApplyResult, sort: Result) -> tuple[Line, ...]:
    return tuple(_outcome(outcome) for outcome in result.outcomes if outcome.result is sort)


def _outcome(outcome: Outcome) -> Line:
    mark = {Result.DONE: "+", Result.FAILED: "-", Result.BLOCKED: "!", Result.SKIPPED: "!"}[outcome.result]
    text = f"{mark} {outcome.verb.value} {outcome.address}"
    if outcome.message:
        text += f": {outcome.message}"
    if outcome.request_id and outcome.result is not Result.DONE:
        text += f" (request {outcome.request_id})"
    return Line(sanitize(text), outcome.address.kind.value)


_FINDING_MARKS: Mapping[DriftStatus, str] = {
    DriftStatus.DRIFT: "!",
    DriftStatus.MISSING: "-",
    DriftStatus.PENDING: "+",
    DriftStatus.DUPLICATE: "!",
    DriftStatus.ORPHAN: " ",
}
_DRIFT_NOTES, _UNMANAGED, _IGNORED, _DEFAULTS = range(len(TITLES), len(TITLES) + 4)


def render_drift(
    report: DriftReport,
    *,
    limit: int | None = None,
    artefact_url: str | None = None,
    facts: Mapping[str, str] | None = None,
    reserve: int = 0,
) -> str:
    """Return the report of one target.

    Arguments and errors as of ``render_plan``.
    """
    counts = f"{headline(report)}: {drift_counts(report)}"
    where = {"Account": report.account_id, "Region": report.region, **(facts or {})}
    if report.defaults:
        where["AWS defaults"] = plural(report.defaults, "unset field")
    head = [f"### {code(report.name)}", f"**{counts}**", *facts_line(where)]
    blocks = tuple(
        _finding_block(finding)
        for status in TITLES
        for finding in report.of(status)
        if shows_changes(finding) or finding.blame
    )
    section = Section("\n\n".join(head), f"**{code(report.name)}**: {counts}", tuple(_finding_groups(report)), blocks)
    cut = cut_line("report", artefact_url)
    return fit([section], limit=None if limit is None else limit - reserve, cut=cut, last=f"{counts}.\n\n{cut}")


def _finding_groups(report: DriftReport) -> Iterable[Group]:
    for weight, (status, title) in enumerate(TITLES.items()):
        if found := report.of(status):
            yield Group(
                f"{title}: {len(found):,}",
                tuple(_finding_line(finding) for finding in found),
                weight,
                folded=status is DriftStatus.ORPHAN,
            )
    if report.notes:
        yield Group(
            f"Notes: {len(report.notes):,}",
            tuple(Line(f"# {sanitize(note)}", "note") for note in report.notes),
            _DRIFT_NOTES,
        )
    if report.unmanaged:
        yield Group(
            f"Unmanaged: {len(report.unmanaged):,}",
            tuple(_unmanaged(one) for one in report.unmanaged),
            _UNMANAGED,
            folded=True,
        )
    if report.ignored:
        left = tuple(Line(sanitize(f"  {ignored_words(one)}"), one.address.kind.value) for one in report.ignored)
        yield Group(f"Ignored (--ignore): {report.ignored_differences:,}", left, _IGNORED, folded=True)
    if report.default_fields:
        fields = tuple(
            Line(sanitize(f"  {defaults_words(one)}"), one.address.kind.value) for one in report.default_fields
        )
        yield Group(f"Unset fields with AWS defaults: {report.defaults:,}", fields, _DEFAULTS, folded=True)


def _finding_line(finding: Finding) -> Line:
    text = f"{_FINDING_MARKS[finding.status]} {finding.address}: "
    names = (
        [path_words(change.path) for change in finding.changes if not is_own_record(change)]
        if shows_changes(finding)
        else []
    )
    text += ", ".join(names) or finding.explanation
    if finding.status in (DriftStatus.DUPLICATE, DriftStatus.ORPHAN) and finding.arn:
        text += f" {finding.arn}"
    if finding.blame and (who := dict.fromkeys(call.who for call in finding.blame.calls)):
        text += f" (by {', '.join(who)})"
    return Line(sanitize(text), finding.address.kind.value)


def _unmanaged(resource: UnmanagedResource) -> Line:
    owner = f"owned by stack {show_text(resource.owner)}" if resource.owner else "no owner"
    name = f" {show_text(resource.name)}" if resource.name else ""
    return Line(sanitize(f"  {resource.kind.value}{name}, {owner} {resource.arn}"), resource.kind.value)


def _finding_block(finding: Finding) -> Block:
    parts = [
        f"<details><summary>{tag_code(str(finding.address))} {HEADS[finding.status]}</summary>",
        prose(finding.explanation),
    ]
    if finding.arn:
        parts.append(code(finding.arn))
    if shows_changes(finding) and (lines := diff_lines(in_time_order(finding))):
        drifted = finding.status is DriftStatus.DRIFT
        parts.append("`-` expected, `+` actual:" if drifted else "`-` before, `+` after:")
        parts.append(fenced(lines))
    parts += [prose(line) for line in blame_words(finding)]
    return Block("\n\n".join(part for part in (*parts, "</details>") if part), None, list(TITLES).index(finding.status))
