"""Drift reports as Markdown: a comment, a job summary, an issue; laid out as plans are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from reconciler.drift import DriftStatus
from reconciler.drift.report import DriftReport, Finding
from reconciler.report.actions import is_own_record, path_words, sides_of, unmanaged_words
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
    overview_lines,
    prose,
    tag_code,
    targets_table,
)
from reconciler.report.words import (
    HEADS,
    TITLES,
    blame_words,
    defaults_words,
    drift_counts,
    drift_states,
    headline,
    ignored_words,
    in_time_order,
    plural,
    shows_changes,
)
from reconciler.terminal import sanitize

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

    Other arguments and errors as of ``markdown.render_targets``.
    """
    if len(reports) == 1:
        sections = [_report(reports[0], facts or {})]
    else:
        sections = [
            _overview(reports, facts or {}),
            *(
                replace(section, of=report.name)
                for report in reports
                if (section := _report(report, {})).groups or section.blocks
            ),
        ]
    counts = f"{headline(*reports)}: {drift_counts(*reports)}"
    cut = cut_line("report", artefact_url)
    head = "\n\n".join((*overview_lines(drift_states(reports, failed)), ""))
    reserve += len(head.encode())
    return head + fit(sections, limit=limit, reserve=reserve, cut=cut, last=f"{counts}.\n\n{cut}")


def _overview(reports: Sequence[DriftReport], facts: Mapping[str, str]) -> Section:
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


def _report(report: DriftReport, facts: Mapping[str, str]) -> Section:
    counts = f"{headline(report)}: {drift_counts(report)}"
    where = {"Account": report.account_id, "Region": report.region, **facts}
    if report.defaults:
        where["AWS defaults"] = plural(report.defaults, "unset field")
    head = [f"### {code(report.name)}", f"**{counts}**", *facts_line(where)]
    blocks = tuple(
        _finding_block(finding)
        for status in TITLES
        for finding in report.of(status)
        if shows_changes(finding) or finding.blame
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
        if shows_changes(finding)
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
    if shows_changes(finding) and (lines := diff_lines(sides_of(in_time_order(finding)))):
        drifted = finding.status is DriftStatus.DRIFT
        parts.append("`-` expected, `+` actual:" if drifted else "`-` before, `+` after:")
        parts.append(fenced(lines))
    parts += [prose(line) for line in blame_words(finding)]
    return Block("\n\n".join(part for part in (*parts, "</details>") if part), None, list(TITLES).index(finding.status))
