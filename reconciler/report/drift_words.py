"""How a drift report is said, for Markdown and HTML alike. Takes values, gives words and the changes in the direction in which they happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reconciler.plan.actions import FieldChange
from reconciler.plan.drift import DriftReport, Finding, Standing

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
        f"{report.unchanged:,} as the spec wants, {len(report.foreign):,} foreign"
    )


def shows_changes(finding: Finding) -> bool:
    """Whether there are two sides to show: something live that differs from the spec."""
    return finding.standing in (Standing.DRIFT, Standing.PENDING) and finding.arn is not None


def as_it_happened(finding: Finding) -> tuple[FieldChange, ...]:
    """Return the changes with what came first as ``before``: the spec for drift, the account for pending changes."""
    if finding.standing is not Standing.DRIFT:
        return finding.changes
    return tuple(
        replace(change, before=change.after, after=change.before, absent_before=change.absent_after, absent_after=change.absent_before)
        for change in finding.changes
    )
