"""The drift report for machines. Readers skip members they do not know."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.model.values import thaw
from reconciler.plan.actions import FieldChange
from reconciler.plan.findings import Blame, DriftReport


def drift_json(
    stack: str,
    reports: tuple[DriftReport, ...],
    failed: Mapping[str, str] | None = None,
    *,
    only: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
) -> dict[str, object]:
    """Return the reports of all targets as one JSON object. ``failed`` are the targets that could not be read, and why; ``only`` and ``exclude`` what was asked for."""
    return {
        "formatVersion": "1.0",
        "stack": stack,
        "options": {"only": list(only), "exclude": list(exclude)},
        "drifted": any(report.drifted for report in reports),
        "pending": any(report.pending for report in reports),
        "targets": [_target(report) for report in reports],
        "failed": [{"name": name, "message": message} for name, message in (failed or {}).items()],
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
        "defaults": report.defaults,
        "findings": [
            {
                "address": str(finding.address),
                "standing": finding.standing.value,
                "explanation": finding.explanation,
                "arn": finding.arn,
                "wanted": finding.wanted,
                "changes": [_change(change) for change in finding.changes],
                **({} if finding.blame is None else {"blame": _blame(finding.blame)}),
            }
            for finding in report.findings
        ],
        "foreign": [
            {"kind": foreign.kind.value, "arn": foreign.arn, "name": foreign.name, "owner": foreign.owner or None}
            for foreign in report.foreign
        ],
        "ignored": [
            {
                "address": str(one.address),
                "standing": one.standing.value,
                "arn": one.arn,
                "changes": [_change(change) for change in one.changes],
            }
            for one in report.ignored
        ],
        "notes": list(report.notes),
        "unread": list(report.unread),
        **(
            {
                "defaultFields": [
                    {"address": str(one.address), "fields": {name: thaw(value) for name, value in one.fields.items()}}
                    for one in report.default_fields
                ]
            }
            if report.default_fields
            else {}
        ),
    }


def _blame(blame: Blame) -> dict[str, object]:
    return {
        "by": [
            {"who": deed.who, "at": deed.at, "source": deed.source, "event": deed.call, "eventId": deed.event}
            for deed in blame.deeds
        ],
        "remark": blame.remark or None,
    }


def _change(change: FieldChange) -> dict[str, object]:
    """Return one difference; a side that is absent has no member."""
    result: dict[str, object] = {"path": change.path}
    if not change.absent_before:
        result["live"] = thaw(change.before)
    if not change.absent_after:
        result["spec"] = thaw(change.after)
    return result
