"""How a drift report is said, for every view alike. Takes values, gives words and the changes in the direction in which they happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reconciler.plan.actions import FieldChange
from reconciler.plan.findings import AtDefault, Deed, DriftReport, Finding, Ignored, Standing
from reconciler.report.words import path_words, plural, show_value

TITLES: Mapping[Standing, str] = {
    Standing.DRIFT: "Changed outside",
    Standing.MISSING: "Missing",
    Standing.DUPLICATE: "Duplicates",
    Standing.PENDING: "Pending, not applied yet",
    Standing.ORPHAN: "Left the spec",
}
"""Headings, heaviest first."""

HEADS: Mapping[Standing, str] = {
    Standing.DRIFT: "has changed outside",
    Standing.MISSING: "is missing",
    Standing.PENDING: "waits to be applied",
    Standing.DUPLICATE: "has a duplicate",
    Standing.ORPHAN: "left the spec",
}
"""The rest of a sentence that begins with the address."""


def headline(report: DriftReport) -> str:
    """Return the finding of the whole report."""
    if report.drifted:
        return "Drift"
    return "No drift, but changes wait to be applied" if report.pending else "No drift"


def counted(report: DriftReport) -> str:
    """Return the counts in the order people ask for them."""
    count = {standing: len(report.of(standing)) for standing in Standing}
    return (
        f"{count[Standing.DRIFT]:,} changed outside, {count[Standing.MISSING]:,} missing, {count[Standing.PENDING]:,} pending, "
        f"{count[Standing.ORPHAN]:,} orphaned, {count[Standing.DUPLICATE]:,} duplicate; "
        f"{report.unchanged:,} as the spec wants, {len(report.foreign):,} foreign{left_out(report)}"
    )


def left_out(report: DriftReport) -> str:
    """Return the count of what the caller asked to ignore, as the end of a list of counts; nothing where there is none."""
    return f", {report.ignored_differences:,} ignored" if report.ignored else ""


def ignored_head(report: DriftReport) -> str:
    """Return the heading over what the caller asked to ignore."""
    return f"{plural(report.ignored_differences, 'difference')} ignored, as asked"


def ignored_words(one: Ignored) -> str:
    """Return one resource's ignored differences: which fields, and what they would have counted as."""
    return f"{one.address}: {', '.join(path_words(change.path) for change in one.changes)} ({one.standing.value})"


def defaults_head(report: DriftReport) -> str:
    """Return the count of fields that are at the service's default."""
    return f"{plural(report.defaults, 'field')} that the spec does not name {'is' if report.defaults == 1 else 'are'} at the service's default"


def defaults_words(one: AtDefault) -> str:
    """Return one resource's fields at the service's default."""
    return f"{one.address}: {', '.join(f'{name} {show_value(value)}' for name, value in one.fields.items())}"


def deed_words(deed: Deed) -> str:
    """Return who did something, when, and by which call."""
    return f"{deed.who} at {deed.at}: {deed.call}, made with {deed.source}, event {deed.event}"


def blame_words(finding: Finding) -> tuple[str, ...]:
    """Return, a line each, who did it, and what else there is to say about that; nothing where nobody asked."""
    if finding.blame is None:
        return ()
    lines = [f"by {deed_words(deed)}" for deed in finding.blame.deeds]
    return (*lines, finding.blame.remark) if finding.blame.remark else tuple(lines)


def shows_changes(finding: Finding) -> bool:
    """Whether there are two sides to show: something live that differs from the spec."""
    return finding.standing in (Standing.DRIFT, Standing.PENDING) and finding.arn is not None


def as_it_happened(finding: Finding) -> tuple[FieldChange, ...]:
    """Return the changes with what came first as ``before``: the spec for drift, the account for pending changes."""
    if finding.standing is not Standing.DRIFT:
        return finding.changes
    return tuple(
        replace(
            change,
            before=change.after,
            after=change.before,
            absent_before=change.absent_after,
            absent_after=change.absent_before,
        )
        for change in finding.changes
    )
