"""A drift report as Markdown for a forge: an issue, a job summary, an artefact.

Comes in: the report of one target. Goes out: Markdown, with the same rules of escaping and fitting as a plan's.
Drift is shown as it happened, from what the spec says to what the account has; a pending change the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.plan.drift import DriftReport, Finding, Foreign, Standing
from reconciler.report.drift_words import (
    HEADS,
    TITLES,
    as_it_happened,
    blame_words,
    counted,
    defaults_words,
    headline,
    ignored_words,
    shows_changes,
)
from reconciler.report.markdown_fit import Block, Group, Line, Section, fit
from reconciler.report.markdown_text import code, cut_line, diff_lines, facts_line, fenced, prose, tag_code
from reconciler.report.words import is_own_record, path_words, plural, show_text
from reconciler.text import harmless

_MARKS: Mapping[Standing, str] = {
    Standing.DRIFT: "!",
    Standing.MISSING: "-",
    Standing.PENDING: "+",
    Standing.DUPLICATE: "!",
    Standing.ORPHAN: " ",
}
_NOTES, _FOREIGN, _IGNORED, _DEFAULTS = range(len(TITLES), len(TITLES) + 4)


def render_drift(
    report: DriftReport,
    *,
    limit: int | None = None,
    artefact_url: str | None = None,
    facts: Mapping[str, str] | None = None,
    reserve: int = 0,
) -> str:
    """Return the report of one target.

    ``limit`` is the most the text may have, in UTF-8 bytes, less ``reserve`` for what the caller puts around it; ``artefact_url`` is where the whole is.
    ``facts`` are further facts for the top, name and value.
    Raises ``ValueError`` when not even the counts fit.
    """
    counts = f"{headline(report)}: {counted(report)}"
    where = {"Account": report.account_id, "Region": report.region, **(facts or {})}
    if report.defaults:
        where["At the default"] = plural(report.defaults, "field")
    head = [f"### {code(report.name)}", f"**{counts}**", *facts_line(where)]
    blocks = tuple(
        _block(finding)
        for standing in TITLES
        for finding in report.of(standing)
        if shows_changes(finding) or finding.blame
    )
    section = Section("\n\n".join(head), f"**{code(report.name)}**: {counts}", tuple(_groups(report)), blocks)
    cut = cut_line("report", artefact_url)
    return fit([section], limit=None if limit is None else limit - reserve, cut=cut, last=f"{counts}.\n\n{cut}")


def _groups(report: DriftReport) -> Iterable[Group]:
    for weight, (standing, title) in enumerate(TITLES.items()):
        if found := report.of(standing):
            yield Group(
                f"{title}: {len(found):,}",
                tuple(_line(finding) for finding in found),
                weight,
                folded=standing is Standing.ORPHAN,
            )
    if report.notes:
        yield Group(
            f"Notes: {len(report.notes):,}", tuple(Line(f"# {harmless(note)}", "note") for note in report.notes), _NOTES
        )
    if report.foreign:
        yield Group(
            f"Foreign, left alone: {len(report.foreign):,}",
            tuple(_foreign(one) for one in report.foreign),
            _FOREIGN,
            folded=True,
        )
    if report.ignored:
        left = tuple(Line(harmless(f"  {ignored_words(one)}"), one.address.kind.value) for one in report.ignored)
        yield Group(f"Ignored, as asked: {report.ignored_differences:,}", left, _IGNORED, folded=True)
    if report.default_fields:
        fields = tuple(
            Line(harmless(f"  {defaults_words(one)}"), one.address.kind.value) for one in report.default_fields
        )
        yield Group(f"At the service's default: {report.defaults:,}", fields, _DEFAULTS, folded=True)


def _line(finding: Finding) -> Line:
    text = f"{_MARKS[finding.standing]} {finding.address}: "
    names = (
        [path_words(change.path) for change in finding.changes if not is_own_record(change)]
        if shows_changes(finding)
        else []
    )
    text += ", ".join(names) or finding.explanation
    if finding.standing in (Standing.DUPLICATE, Standing.ORPHAN) and finding.arn:
        text += f" {finding.arn}"
    if finding.blame and (who := dict.fromkeys(deed.who for deed in finding.blame.deeds)):
        text += f" (by {', '.join(who)})"
    return Line(harmless(text), finding.address.kind.value)


def _foreign(foreign: Foreign) -> Line:
    owner = f"of stack {show_text(foreign.owner)}" if foreign.owner else "of no stack"
    name = f" {show_text(foreign.name)}" if foreign.name else ""
    return Line(harmless(f"  {foreign.kind.value}{name}, {owner} {foreign.arn}"), foreign.kind.value)


def _block(finding: Finding) -> Block:
    parts = [
        f"<details><summary>{tag_code(str(finding.address))} {HEADS[finding.standing]}</summary>",
        prose(finding.explanation),
    ]
    if finding.arn:
        parts.append(code(finding.arn))
    if shows_changes(finding) and (lines := diff_lines(as_it_happened(finding))):
        drifted = finding.standing is Standing.DRIFT
        parts.append(
            "`-` the spec says, `+` the account has:" if drifted else "`-` the account has, `+` the spec says:"
        )
        parts.append(fenced(lines))
    parts += [prose(line) for line in blame_words(finding)]
    return Block(
        "\n\n".join(part for part in (*parts, "</details>") if part), None, list(TITLES).index(finding.standing)
    )
