"""The drift report as text: what changed outside, in the tense of things that have happened; what waits to be applied; what is not ours."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.plan.actions import FieldChange
from reconciler.plan.drift import DriftReport, Finding, Standing
from reconciler.report.drift_words import (
    blame_words,
    defaults_head,
    defaults_words,
    ignored_head,
    ignored_words,
    left_out,
)
from reconciler.report.text import Paint, plain
from reconciler.report.words import is_own_record, members, path_words, plural, show_text, show_value
from reconciler.text import harmless

_FOREIGN_LIMIT = 20
_HEADS = {
    Standing.DRIFT: ("has changed", "bad"),
    Standing.MISSING: ("is missing", "bad"),
    Standing.PENDING: ("waits to be applied", "change"),
    Standing.DUPLICATE: ("has a duplicate", "note"),
    Standing.ORPHAN: ("left the spec", "note"),
}


def render_drift(report: DriftReport, *, paint: Paint = plain) -> str:
    """Return the report of one target."""
    lines = [paint(harmless(f"{report.name}: account {report.account_id}, region {report.region}"), "bold")]
    for standing in _HEADS:
        for finding in report.of(standing):
            lines += ["", *_finding(finding, paint)]
    lines += _foreign(report, paint)
    lines += _left_out(report, paint)
    lines += ["", *(f"  note: {harmless(note)}" for note in report.notes)] if report.notes else []
    lines += ["", _last_line(report, paint)]
    return "\n".join(lines) + "\n"


def _finding(finding: Finding, paint: Paint) -> Iterable[str]:
    head, tone = _HEADS[finding.standing]
    yield f"  {paint(harmless(str(finding.address)), 'bold')} {paint(head, tone)}"
    yield f"      {paint(harmless(finding.explanation), 'dim')}"
    if finding.arn:
        yield f"      {paint(harmless(finding.arn), 'dim')}"
    for line in blame_words(finding):
        yield f"      {harmless(line)}"
    if finding.standing in (Standing.DRIFT, Standing.PENDING) and finding.arn:
        shown = [change for change in finding.changes if not is_own_record(change)]
        width = max((len(path_words(change.path)) for change in shown), default=0)
        for change in shown:
            yield _change(change, width, outside=finding.standing is Standing.DRIFT, paint=paint)


def _change(change: FieldChange, width: int, *, outside: bool, paint: Paint) -> str:
    """Say a change as it happened: for drift from the spec to what is live, for pending changes from what is live to the spec."""
    name = harmless(path_words(change.path)).ljust(width)
    live = "(absent)" if change.absent_before else show_value(change.before)
    spec = "(absent)" if change.absent_after else show_value(change.after)
    sets = members(change)
    if sets is not None and not change.absent_before and not change.absent_after:
        gained, lost = (sets[1], sets[0]) if outside else sets
        words = [paint(f"+{show_text(member)}", "good") for member in gained] + [
            paint(f"-{show_text(member)}", "bad") for member in lost
        ]
        return f"      {paint('~', 'change')} {name}  {' '.join(words)}"
    if outside:
        return f"      {paint('~', 'change')} {name}  the spec says {spec}, the account has {live}"
    return f"      {paint('~', 'change')} {name}  {live} -> {spec}"


def _foreign(report: DriftReport, paint: Paint) -> list[str]:
    if not report.foreign:
        return []
    lines = ["", f"  {plural(len(report.foreign), 'foreign resource')}, left alone:"]
    for foreign in report.foreign[:_FOREIGN_LIMIT]:
        owner = f"of stack {show_text(foreign.owner)}" if foreign.owner else "of no stack"
        name = f" {show_text(foreign.name)}" if foreign.name else ""
        lines.append(f"      {foreign.kind.value}{name}, {owner}  {paint(harmless(foreign.arn), 'dim')}")
    if len(report.foreign) > _FOREIGN_LIMIT:
        lines.append(f"      … and {len(report.foreign) - _FOREIGN_LIMIT:,} more")
    return lines


def _left_out(report: DriftReport, paint: Paint) -> list[str]:
    """Return what is only counted: what the caller asked to ignore, and what is at the service's default, one by one where that was asked for."""
    lines: list[str] = []
    if report.ignored:
        lines += [
            "",
            f"  {ignored_head(report)}:",
            *(f"      {harmless(ignored_words(one))}" for one in report.ignored),
        ]
    if report.default_fields:
        lines += [
            "",
            f"  {defaults_head(report)}:",
            *(f"      {paint(harmless(defaults_words(one)), 'dim')}" for one in report.default_fields),
        ]
    elif report.defaults:
        lines += ["", f"  {defaults_head(report)} (-v names them)"]
    return lines


def _last_line(report: DriftReport, paint: Paint) -> str:
    counts = {standing: len(report.of(standing)) for standing in _HEADS}
    words = ", ".join(
        (
            f"{counts[Standing.DRIFT]:,} changed outside",
            f"{counts[Standing.MISSING]:,} missing",
            f"{counts[Standing.PENDING]:,} pending",
            f"{counts[Standing.ORPHAN]:,} orphaned",
            f"{counts[Standing.DUPLICATE]:,} duplicate",
            f"{report.unchanged:,} as the spec wants",
            f"{len(report.foreign):,} foreign",
        )
    ) + left_out(report)
    if report.drifted:
        head = paint("Drift", "bad")
    elif report.pending:
        head = paint("No drift, but changes wait to be applied", "change")
    else:
        head = paint("No drift", "good")
    return f"{head} for {harmless(report.name)}: {words}."
