"""A drift report and the events of an apply as their JSON has them, read back as values: what another run has found, shown here.

Members that are not known are passed over, since later versions may add some.

The drift report for machines. Readers skip members they do not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from reconciler.diff import FieldChange
from reconciler.drift.report import AttributedCall, Blame, DriftReport, DriftStatus, Finding, Ignored, UnmanagedResource
from reconciler.model.address import Address, KindName
from reconciler.model.values import thaw
from reconciler.plan.codec import DamagedPlanError, Node
from reconciler.plan.plan import ApplyResult, Outcome, Result, Verb

EVENTS, DRIFT = "the events of an apply", "a drift report"


def read_drift(content: object) -> tuple[str, tuple[DriftReport, ...]]:
    """Return the stack and the reports of ``drift --format json``. Raises ``DamagedPlanError``."""
    node = Node(content, "")
    _version(node)
    options = node.node("options") if node.has("options") else None
    only, exclude = (options.texts("only"), options.texts("exclude")) if options else ((), ())
    return node.text("stack"), tuple(
        replace(_report(target), only=only, exclude=exclude) for target in node.nodes("targets")
    )


def read_events(lines: Sequence[object]) -> tuple[str, tuple[ApplyResult, ...]]:
    """Return the stack and what became of each target, from the lines of ``apply --format json``. Raises ``DamagedPlanError``."""
    stack = ended = ""
    results = []
    for number, line in enumerate(lines, 1):
        node = Node(line, f"line {number}")
        sort = node.text("type")
        if sort == "version":
            _version(node)
        elif sort == "plan":
            stack = node.node("plan").text("stack")
        elif sort == "result" and node.has("target"):
            results.append(_result(node))
        elif sort in ("refused", "error"):
            ended = node.text("message")
    if ended and not results:
        raise DamagedPlanError(f"no apply: {ended}")
    if not stack:
        raise DamagedPlanError("the line with the plan is missing")
    return stack, tuple(results)


def sort_of(text: str) -> str:
    """Say which output of ours a text is that is no plan; empty where it is none that is known."""
    if text.startswith('{"type"'):
        return EVENTS
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(content, dict):
        return ""
    sorts = {
        "drifted": DRIFT,
        "problems": "the output of validate",
        "fingerprints": "the marker of an applied plan",
        "$schema": "a JSON Schema",
    }
    known = next((sort for key, sort in sorts.items() if key in content), "")
    return known or (
        "the output of status" if {"stack", "targets"} <= content.keys() and "options" not in content else ""
    )


def _version(node: Node) -> None:
    if not node.text("formatVersion").startswith("1."):
        raise DamagedPlanError(f"its format is {node.text('formatVersion')}; this version reads 1.0")


def _report(node: Node) -> DriftReport:
    return DriftReport(
        name=node.text("name"),
        account_id=node.text("accountId"),
        region=node.text("region"),
        findings=tuple(_finding(finding) for finding in node.nodes("findings")),
        unmanaged=tuple(
            UnmanagedResource(
                one.parsed("kind", KindName), one.text("arn"), one.text("name"), one.optional_text("owner") or ""
            )
            for one in node.nodes("unmanaged")
        ),
        managed=node.number("managed"),
        unchanged=node.number("unchanged"),
        drifted=node.flag("drifted"),
        pending=node.flag("pending"),
        notes=node.texts("notes"),
        defaults=node.number("defaults") if node.has("defaults") else 0,
        ignored=tuple(_ignored(one) for one in node.nodes("ignored")) if node.has("ignored") else (),
        unread=node.texts("unread") if node.has("unread") else (),
    )


def _finding(node: Node) -> Finding:
    return Finding(
        node.parsed("address", Address.parse),
        node.parsed("status", DriftStatus),
        node.text("explanation"),
        node.optional_text("arn"),
        tuple(_change(change) for change in node.nodes("changes")),
        wanted=node.has("wanted") and node.flag("wanted"),
        blame=_blame(node.node("blame")) if node.has("blame") else None,
    )


def _blame(node: Node) -> Blame:
    calls = (
        AttributedCall(one.text("who"), one.text("at"), one.text("source"), one.text("event"), one.text("eventId"))
        for one in node.nodes("by")
    )
    return Blame(tuple(calls), node.optional_text("remark") or "")


def _ignored(node: Node) -> Ignored:
    changes = tuple(_change(change) for change in node.nodes("changes"))
    return Ignored(node.parsed("address", Address.parse), node.parsed("status", DriftStatus), node.text("arn"), changes)


def _change(node: Node) -> FieldChange:
    live, spec = node.has("live"), node.has("spec")
    return FieldChange(
        node.text("path"),
        node.value("live") if live else None,
        node.value("spec") if spec else None,
        absent_before=not live,
        absent_after=not spec,
    )


def _result(node: Node) -> ApplyResult:
    return ApplyResult(
        node.text("target"),
        tuple(
            Outcome(
                one.parsed("address", Address.parse),
                one.parsed("action", Verb),
                one.parsed("outcome", Result),
                one.optional_text("message") or "",
                one.optional_text("requestId") or "",
                one.optional_text("arn"),
            )
            for one in node.nodes("outcomes")
        ),
        interrupted=node.flag("interrupted"),
        calls=node.number("calls"),
        seconds=node.decimal("seconds"),
    )


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
                "status": finding.status.value,
                "explanation": finding.explanation,
                "arn": finding.arn,
                "wanted": finding.wanted,
                "changes": [_drift_json_change(change) for change in finding.changes],
                **({} if finding.blame is None else {"blame": _drift_json_blame(finding.blame)}),
            }
            for finding in report.findings
        ],
        "unmanaged": [
            {
                "kind": unmanaged.kind.value,
                "arn": unmanaged.arn,
                "name": unmanaged.name,
                "owner": unmanaged.owner or None,
            }
            for unmanaged in report.unmanaged
        ],
        "ignored": [
            {
                "address": str(one.address),
                "status": one.status.value,
                "arn": one.arn,
                "changes": [_drift_json_change(change) for change in one.changes],
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


def _drift_json_blame(blame: Blame) -> dict[str, object]:
    return {
        "by": [
            {"who": call.who, "at": call.at, "source": call.source, "event": call.operation, "eventId": call.event}
            for call in blame.calls
        ],
        "remark": blame.remark or None,
    }


def _drift_json_change(change: FieldChange) -> dict[str, object]:
    """Return one difference; a side that is absent has no member."""
    result: dict[str, object] = {"path": change.path}
    if not change.absent_before:
        result["live"] = thaw(change.before)
    if not change.absent_after:
        result["spec"] = thaw(change.after)
    return result
