"""Plans, results and drift reports as GitHub-flavoured Markdown: a comment, a job summary, an issue. Also right on GitLab.

Counts come first, then what a reviewer must see (deleted, replaced, blocked, keys), then one folded block for each resource,
or for several identical ones. With a limit, whole resources are left out and counted, never a part of one.
Users' text is put into code spans, fences and HTML code elements only; ``markdown_layout`` says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from reconciler.drift import DriftStatus
from reconciler.plan.plan import Action, ApplyResult, Base, Outcome, Plan, Reason, Result, Summary, TargetPlan, Verb
from reconciler.report.actions import (
    ShownAction,
    created_words,
    is_own_record,
    members_line,
    path_words,
    shared_actions,
    show_value,
    shown_actions,
    shown_changes,
    symbol,
    unmanaged_words,
)
from reconciler.report.markdown_layout import (
    Block,
    Group,
    Line,
    Section,
    code,
    count_cell,
    cut_line,
    diff_lines,
    facts_line,
    fenced,
    fit,
    not_listed,
    overview_lines,
    prose,
    tag_code,
    targets_table,
)
from reconciler.report.words import (
    BY_SEVERITY,
    HEADS,
    OVERVIEW_FROM,
    SETTINGS,
    TITLES,
    VERBS,
    WIDENS,
    Notice,
    apply_state,
    blame_words,
    broadcast_words,
    count_by_kind,
    defaults_words,
    drift_counts,
    drift_states,
    failed_states,
    headline,
    ignored_words,
    in_sync_words,
    in_time_order,
    join_words,
    live_channels_words,
    notable_changes,
    notice_of,
    origin_of,
    outcome_words,
    overview_words,
    plan_states,
    plural,
    result_states,
    settings_words,
    summary_words,
    title_of,
)
from reconciler.terminal import sanitize

if TYPE_CHECKING:
    from reconciler.drift.report import DriftReport, Finding

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
_LIVE, _WARNINGS, _DUPLICATES, _NOTES, _ORPHANS, _KEPT, _UNMANAGED = 3, 3, 5, 6, 7, 8, 9
# A forge's highlighter colours a line of a diff fence by its first character: + green, - red, ! orange.
_MARKS: Mapping[Verb, str] = {
    Verb.CREATE: "+",
    Verb.UPDATE: "! ~",
    Verb.REPLACE: "! +/-",
    Verb.DELETE: "-",
    Verb.ADOPT: "  =",
    Verb.FORGET: "  .",
}


def render_plan(plan: Plan) -> str:
    """Return the whole plan, with where it comes from."""
    facts = {**origin_of(plan), "Spec": plan.spec_digest, "Created": plan.created_at}
    title = f"## {title_of(plan)} for stack {code(plan.stack)}"
    return "\n\n".join(
        (
            title,
            *settings_lines(plan.base),
            *overview_lines(plan_states(plan)),
            render_targets(*plan.targets, facts=facts),
        )
    )


def settings_lines(base: Base | None) -> list[str]:
    """Return the settings that changed since the base as a heading and a list, or nothing."""
    lines = [f"- {code(text)} (**{WIDENS}**)" if widens else f"- {code(text)}" for text, widens in settings_words(base)]
    return [f"**{SETTINGS}:**", "\n".join(lines)] if lines else []


def render_targets(
    *targets: TargetPlan,
    limit: int | None = None,
    artefact_url: str | None = None,
    facts: Mapping[str, str] | None = None,
    reserve: int = 0,
) -> str:
    """Return the plans of accounts and regions; of several, a table first, then once what is the same in several of them.

    ``limit`` is the largest size of the text in UTF-8 bytes, ``reserve`` the part of it that the caller needs; ``artefact_url`` links the whole plan.
    ``facts`` are further names and values for the top.
    Raises ``ValueError`` when not even the counts fit.
    """
    if len(targets) == 1:
        sections = [_target(targets[0], facts or {})]
    else:
        sections = [_overview(targets, facts or {}), *_details(targets)]
    cut = cut_line("plan", artefact_url)
    total = Summary(*(sum(getattr(target.summary, name) for target in targets) for name in Summary._fields))
    lines = [
        Line("", kind if group.notice is Notice.KEYS else f"{group.notice.value.lower()} {kind}")
        for target in targets
        for group in notable_changes(target)
        for kind in (action.address.kind.value for action in group.actions)
    ]
    last = (
        f"Plan for {plural(len(targets), 'target')}: {summary_words(total)}.\n\n"
        + (not_listed(lines) + "\n\n" if lines else "")
        + cut
    )
    return fit(sections, limit=limit, reserve=reserve, cut=cut, last=last)


def render_results(
    *results: ApplyResult,
    limit: int | None = None,
    artefact_url: str | None = None,
    facts: Mapping[str, str] | None = None,
    reserve: int = 0,
    failed: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return the outcome of every action; of several targets, a table first. ``failed`` are targets that could not be read, and why.

    Other arguments and errors as of ``render_targets``.
    """
    several = len(results) + len(failed) > 1
    sections = [
        replace(_result(result, {}), of=result.name) if several else _result(result, facts or {}) for result in results
    ]
    outcomes = [outcome for result in results for outcome in result.outcomes]
    if several:
        shown = [one for one in Result if one is Result.DONE or any(outcome.result is one for outcome in outcomes)]
        rows = {
            result.name: [
                apply_state(result),
                *(count_cell(sum(outcome.result is one for outcome in result.outcomes)) for one in shown),
            ]
            for result in results
        }
        table = targets_table(["Apply", *(one.value.capitalize() for one in shown)], rows, left=1)
        states = [*result_states(results), *failed_states(failed)]
        overview = [f"**{overview_words(states)}**"] if len(states) >= OVERVIEW_FROM else []
        if failed:
            overview = overview_lines(states, limited=limit is not None)
        sections.insert(0, Section("\n\n".join((*facts_line(facts or {}), *overview, table)), table))
    cut = cut_line("result", artefact_url)
    ends = ", ".join(f"{state} ({count:,})" for state, count in Counter(map(apply_state, results)).items())
    effort = (
        f"{plural(sum(result.calls for result in results), 'call')}, {sum(result.seconds for result in results):.1f} s"
    )
    last = f"Apply {ends if several else apply_state(results[0])}: {outcome_words(outcomes)} ({effort}).\n\n{cut}"
    return fit(sections, limit=limit, reserve=reserve, cut=cut, last=last)


def _result(result: ApplyResult, facts: Mapping[str, str]) -> Section:
    state, words = apply_state(result), outcome_words(result.outcomes)
    counts = Counter(outcome.result for outcome in result.outcomes)
    head = [
        f"### Apply of {code(result.name)}: {state}",
        f"**{words}** ({plural(result.calls, 'call')}, {result.seconds:.1f} s)",
        *facts_line(facts),
        *_result_table(result),
    ]
    if not result.complete:
        head.append("Run plan to see what is left.")
    groups = [
        Group(f"{one.value.capitalize()}: {counts[one]:,}", _outcomes(result, one), weight, folded=one is Result.DONE)
        for weight, one in enumerate(BY_SEVERITY)
        if counts[one]
    ]
    return Section("\n\n".join(head), f"**{code(result.name)}**: apply {state}: {words}", tuple(groups))


def _overview(targets: Sequence[TargetPlan], facts: Mapping[str, str]) -> Section:
    """Return the table of targets with all counts; its short form has no accounts, regions and facts."""
    total = {
        verb.value.capitalize(): [getattr(target.summary, verb.value) for target in targets]
        for verb in (Verb.CREATE, Verb.UPDATE, Verb.REPLACE, Verb.DELETE)
    }
    others = {
        name.capitalize(): [getattr(target.summary, name) for target in targets]
        for name in ("adopt", "forget", "blocked", "orphaned", "unmanaged")
    } | {"Live": [len(target.live_channels) for target in targets]}
    total |= {name: counts for name, counts in others.items() if any(counts)}
    total["Unchanged"] = [target.summary.unchanged for target in targets]
    counts = {target.name: [count_cell(column[at]) for column in total.values()] for at, target in enumerate(targets)}
    where = {
        target.name: [code(target.account_id) if target.account_id else "·", code(target.region)] for target in targets
    }
    table = targets_table(
        ["Account", "Region", *total], {name: [*where[name], *row] for name, row in counts.items()}, left=2
    )
    return Section("\n\n".join((*facts_line(facts), table)), targets_table(list(total), counts))


def _details(targets: Sequence[TargetPlan]) -> Iterable[Section]:
    """Yield a section for each set of targets that have actions in common, then one for each target with anything of its own."""
    alone: dict[int, tuple[Action, ...]] = {}
    for members, actions in shared_actions(targets):
        if len(members) == 1:
            alone[members[0]] = actions
        else:
            names = [targets[at].name for at in members]
            words = f"all {len(names):,} targets" if len(names) == len(targets) else _names(names)
            common = _part(targets[members[0]], actions)
            counts = summary_words(common.summary)
            head = [f"### {words[0].upper()}{words[1:]}", f"**{counts}** in each"]
            yield _section(common, head, f"**{words}**: {counts} in each", times=len(members))
    for at, target in enumerate(targets):
        actions = alone.get(at, ())
        if len(actions) == len(target.actions):
            if actions or any(_remarks(target)):
                yield replace(_target(target, {}), of=target.name)
        elif actions or any(_remarks(target)):
            rest = _part(target, actions)
            counts = _counts_words(rest, summary_words(rest.summary) if actions else "")
            title = f"Only {code(target.name)}" if actions else code(target.name)
            head = [f"### {title}", *([f"**{counts}**"] if counts else [])]
            brief = f"**{title}**" + (f": {counts}" if counts else "")
            yield replace(_section(rest, head, brief), of=target.name)


def _part(target: TargetPlan, actions: tuple[Action, ...]) -> TargetPlan:
    """Return the part of a target's plan with some of its actions, which alone are counted."""
    return target._replace(actions=actions, summary=Summary().counting(actions))


def _names(names: Sequence[str]) -> str:
    shown = [code(name) for name in names[:_MEMBERS_SHOWN]]
    more = len(names) - len(shown)
    return join_words((*shown, plural(more, "more target"))) if more else join_words(shown)


def _counts_words(target: TargetPlan, counts: str) -> str:
    live = live_channels_words(target.live_channels) if target.live_channels else ""
    return "; ".join(filter(None, (counts, live)))


def _target(target: TargetPlan, facts: Mapping[str, str]) -> Section:
    where = {"Account": target.account_id, "Region": target.region, **facts}
    counts = summary_words(target.summary) if target.actions else f"No changes ({in_sync_words(target)})"
    counts = _counts_words(target, counts)
    head = [f"### {code(target.name)}", f"**{counts}**", *facts_line(where), *_table(target)]
    return _section(target, head, f"**{code(target.name)}**: {counts}")


def _section(target: TargetPlan, head: Sequence[str], brief: str, *, times: int = 1) -> Section:
    """Return the details of a target, or of what ``times`` targets have in common, below their heading."""
    shown, shared = shown_actions(target.actions)
    if shared:
        tags = {path_words(path): show_value(value) for path, value in shared.items()}
        said = (
            f"On {created_words(target.actions)}: {' · '.join(code(f'{name} {value}') for name, value in tags.items())}"
        )
        head = [*head, said]
    remarks = _remarks(target) if times == 1 else ()
    return Section(
        "\n\n".join(head), brief, (*_notable(target, times), *remarks), tuple(_block(one, times) for one in shown)
    )


def _table(target: TargetPlan) -> list[str]:
    counts = count_by_kind(target)
    if not counts:
        return []
    always = (Verb.CREATE, Verb.UPDATE, Verb.REPLACE, Verb.DELETE)
    verbs = [verb for verb in VERBS if verb in always or any(row[verb] for row in counts.values())]
    titles = " | ".join(verb.capitalize() for verb in verbs)
    rows = [
        f"| {kind.value} | {' | '.join(count_cell(row[verb]) for verb in verbs)} | {target.managed.get(kind, 0):,} |"
        for kind, row in counts.items()
    ]
    return ["\n".join((f"| Kind | {titles} | Managed |", "| :-- |" + " --: |" * (len(verbs) + 1), *rows))]


def _result_table(result: ApplyResult) -> list[str]:
    counts = Counter((outcome.verb, outcome.result) for outcome in result.outcomes)
    verbs = [verb for verb in Verb if any(counts[verb, one] for one in Result)]
    if not verbs:
        return []
    rows = [
        f"| {verb.value.capitalize()} | {' | '.join(count_cell(counts[verb, one]) for one in Result)} |"
        for verb in verbs
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


def _notable(target: TargetPlan, times: int) -> Iterable[Group]:
    each = f", in each of {times:,} targets" if times > 1 else ""
    for group in notable_changes(target):
        lines = tuple(replace(_line(action), count=times) for action in group.actions)
        yield Group(group.title + each, lines, _NOTICE_WEIGHTS[group.notice])
    warnings = tuple(
        Line(sanitize(f"! {action.address}: {text}"), action.address.kind.value, times)
        for action in target.actions
        for text in action.warnings
    )
    if warnings:
        yield Group(f"Warnings: {len(warnings):,}{each}", warnings, _WARNINGS)


def _remarks(target: TargetPlan) -> Iterable[Group]:
    """Yield what is known of a target besides its actions."""
    live_channels = [
        Line(sanitize(f"! {channel.address}: {broadcast_words(channel)}"), channel.address.kind.value)
        for channel in target.live_channels
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
    kept = [
        Line(sanitize(f"  {one.address} {one.arn}: {one.explanation}"), one.address.kind.value) for one in target.kept
    ]
    for title, lines, weight in (
        ("Live", live_channels, _LIVE),
        ("Duplicate", duplicates, _DUPLICATES),
        ("Notes", notes, _NOTES),
        ("Orphaned, kept because prune is disabled (--prune)", orphans, _ORPHANS),
        ("Kept, in use by other owners", kept, _KEPT),
        (
            "Unmanaged, not changed",
            [Line(sanitize(f"  {unmanaged_words(one)} {one.arn}"), one.kind.value) for one in target.unmanaged],
            _UNMANAGED,
        ),
    ):
        if lines:
            yield Group(f"{title}: {len(lines):,}", tuple(lines), weight, folded=weight >= _ORPHANS)


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
    return Line(sanitize(text), action.address.kind.value)


def _reason(action: Action) -> str:
    match action.reason:
        case Reason.LEFT_SPEC:
            return "removed from the spec"
        case Reason.BORN_WITH_CHANNEL:
            return "created with its channel"
        case Reason.DELIVERY_DUE:
            return "publication due"
        case reason:
            return reason.value.replace("-", " ")


_PARTICIPLES: Mapping[Verb, str] = {
    Verb.CREATE: "created",
    Verb.UPDATE: "updated",
    Verb.REPLACE: "replaced",
    Verb.DELETE: "deleted",
    Verb.ADOPT: "adopted",
    Verb.FORGET: "forgotten",
}


def _block(shown: ShownAction, times: int) -> Block:
    """Return the details of one action, or of several identical ones."""
    group, action = shown.actions, shown.actions[0]
    members = members_line([one.address for one in group], limit=_MEMBERS_SHOWN)
    blocked = " (blocked)" if action.blocked else ""
    parts = [f"<details><summary>{tag_code(shown.symbol)} {tag_code(shown.title)} {shown.will}{blocked}</summary>"]
    if len(group) > 1:
        parts.append(code(members))
    elif action.explanation:
        parts.append(prose(action.explanation))
    if action.arn and len(group) == 1 and action.arn not in action.explanation:
        parts.append(code(action.arn))
    if action.blocked:
        parts.append(f"**Blocked** ({code(action.blocked.code)}): {prose(action.blocked.message)}")
    parts += [f"**Warning:** {prose(warning)}" for warning in action.warnings]
    if lines := diff_lines(shown.changes):
        parts.append(fenced(lines))
    if action.steps:
        each = "" if len(group) == 1 else ", each"
        parts.append(f"AWS calls{each}: {', '.join(code(step.operation) for step in action.steps)}")
    parts.append("</details>")
    urgent = action.blocked or action.warnings
    line = None
    if len(group) > 1:
        text = f"{_mark(action)} {shown.title}: {members}"
        line = Line(sanitize(text), action.address.kind.value, len(group) * times)
    if notice_of(action):
        line = None
    elif len(group) == 1:
        line = replace(_line(action), count=times)
    return Block("\n\n".join(parts), line, 0 if urgent else _WEIGHTS[action.verb])


def _outcomes(result: ApplyResult, of: Result) -> tuple[Line, ...]:
    return tuple(_outcome(outcome) for outcome in result.outcomes if outcome.result is of)


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
    DriftStatus.UNTAGGED: "!",
    DriftStatus.PENDING: "+",
    DriftStatus.DUPLICATE: "!",
    DriftStatus.ORPHAN: " ",
    DriftStatus.KEPT: " ",
}
_DRIFT_NOTES, _UNMANAGED, _IGNORED, _DEFAULTS = range(len(TITLES), len(TITLES) + 4)


def render_drift(
    *reports: DriftReport,
    limit: int | None = None,
    artefact_url: str | None = None,
    facts: Mapping[str, str] | None = None,
    reserve: int = 0,
    failed: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return the reports of targets; of several, a table first. ``failed`` are targets that could not be read, and why.

    Other arguments and errors as of ``render_targets``.
    """
    if len(reports) == 1:
        sections = [_drift_section(reports[0], facts or {})]
    else:
        sections = [
            _drift_overview(reports, facts or {}),
            *(
                replace(section, of=report.name)
                for report in reports
                if (section := _drift_section(report, {})).groups or section.blocks
            ),
        ]
    counts = f"{headline(*reports)}: {drift_counts(*reports)}"
    cut = cut_line("report", artefact_url)
    head = "\n\n".join((*overview_lines(drift_states(reports, failed), limited=limit is not None), ""))
    reserve += len(head.encode())
    return head + fit(sections, limit=limit, reserve=reserve, cut=cut, last=f"{counts}.\n\n{cut}")


def _drift_overview(reports: Sequence[DriftReport], facts: Mapping[str, str]) -> Section:
    """Return the table of targets with all counts; its short form has no accounts, regions and facts."""
    columns = {title: [len(report.of(status)) for report in reports] for status, title in TITLES.items()} | {
        "Unmanaged": [len(report.unmanaged) for report in reports],
        "Ignored": [report.ignored_differences for report in reports],
    }
    columns = {title: counts for title, counts in columns.items() if any(counts)} | {
        "In sync": [report.unchanged for report in reports]
    }
    counts = {report.name: [count_cell(column[at]) for column in columns.values()] for at, report in enumerate(reports)}
    result = {report.name: [headline(report), *counts[report.name]] for report in reports}
    where = {report.name: [code(report.account_id), code(report.region), *result[report.name]] for report in reports}
    table = targets_table(["Account", "Region", "Result", *columns], where, left=3)
    short = targets_table(["Result", *columns], result, left=1)
    return Section("\n\n".join((*facts_line(facts), table)), short)


def _drift_section(report: DriftReport, facts: Mapping[str, str]) -> Section:
    counts = f"{headline(report)}: {drift_counts(report)}"
    where = {"Account": report.account_id, "Region": report.region, **facts}
    if report.defaults:
        where["AWS defaults"] = plural(report.defaults, "unset field")
    head = [f"### {code(report.name)}", f"**{counts}**", *facts_line(where)]
    blocks = tuple(
        _finding_block(finding)
        for status in TITLES
        for finding in report.of(status)
        if finding.has_two_sides or finding.blame
    )
    return Section("\n\n".join(head), f"**{code(report.name)}**: {counts}", tuple(_finding_groups(report)), blocks)


def _finding_groups(report: DriftReport) -> Iterable[Group]:
    for weight, (status, title) in enumerate(TITLES.items()):
        if found := report.of(status):
            yield Group(
                f"{title}: {len(found):,}",
                tuple(_finding_line(finding) for finding in found),
                weight,
                folded=status in (DriftStatus.ORPHAN, DriftStatus.KEPT),
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
            tuple(Line(sanitize(f"  {unmanaged_words(one)} {one.arn}"), one.kind.value) for one in report.unmanaged),
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
        if finding.has_two_sides
        else []
    )
    text += ", ".join(names) or finding.explanation
    if (
        finding.status in (DriftStatus.UNTAGGED, DriftStatus.DUPLICATE, DriftStatus.ORPHAN, DriftStatus.KEPT)
        and finding.arn
    ):
        text += f" {finding.arn}"
    if finding.blame and (who := dict.fromkeys(call.who for call in finding.blame.calls)):
        text += f" (by {', '.join(who)})"
    return Line(sanitize(text), finding.address.kind.value)


def _finding_block(finding: Finding) -> Block:
    parts = [
        f"<details><summary>{tag_code(str(finding.address))} {HEADS[finding.status]}</summary>",
        prose(finding.explanation),
    ]
    if finding.arn:
        parts.append(code(finding.arn))
    if finding.has_two_sides and (lines := diff_lines(shown_changes(in_time_order(finding)))):
        drifted = finding.status is DriftStatus.DRIFT
        parts.append("`-` expected, `+` actual:" if drifted else "`-` before, `+` after:")
        parts.append(fenced(lines))
    parts += [prose(line) for line in blame_words(finding)]
    return Block("\n\n".join(part for part in (*parts, "</details>") if part), None, list(TITLES).index(finding.status))
