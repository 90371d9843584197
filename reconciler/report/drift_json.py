"""The drift report for machines. Readers skip members they do not know."""

from __future__ import annotations

from reconciler.model.values import thaw
from reconciler.plan.actions import FieldChange
from reconciler.plan.drift import DriftReport


def drift_json(stack: str, reports: tuple[DriftReport, ...]) -> dict[str, object]:
    """Return the reports of all targets as one JSON object."""
    return {
        "formatVersion": "1.0",
        "stack": stack,
        "drifted": any(report.drifted for report in reports),
        "pending": any(report.pending for report in reports),
        "targets": [_target(report) for report in reports],
    }


def _target(report: DriftReport) -> dict[str, object]:
    return {
        "name": report.name,
        "accountId": report.account_id,
        "region": report.region,
        "drifted": report.drifted,
        "pending": report.pending,
        "managed": report.managed,
        "unchanged": report.unchanged,
        "findings": [
            {
                "address": str(finding.address),
                "standing": finding.standing.value,
                "explanation": finding.explanation,
                "arn": finding.arn,
                "changes": [_change(change) for change in finding.changes],
            }
            for finding in report.findings
        ],
        "foreign": [{"kind": foreign.kind.value, "arn": foreign.arn, "name": foreign.name, "owner": foreign.owner or None} for foreign in report.foreign],
        "notes": list(report.notes),
    }


def _change(change: FieldChange) -> dict[str, object]:
    """Return one difference; a side that is absent has no member."""
    result: dict[str, object] = {"path": change.path}
    if not change.absent_before:
        result["live"] = thaw(change.before)
    if not change.absent_after:
        result["spec"] = thaw(change.after)
    return result
