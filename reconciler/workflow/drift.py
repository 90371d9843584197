"""The drift report of a target: the survey compared with the record of the last apply, and who made the changes, from CloudTrail.

The record of the last apply also says which addresses are expected to exist, and the journal says where a killed apply ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.drift.blame import blamed, operations_for
from reconciler.drift.classify import classify, select_findings
from reconciler.drift.report import DriftReport, at_default
from reconciler.model.address import ID, STACK, Address
from reconciler.model.kinds import CHILD_KINDS, KINDS, child_of, parent_of
from reconciler.model.target import Project
from reconciler.plan.guardrails import missing_from_lists
from reconciler.plan.plan import PlanOptions, Verb
from reconciler.workflow.history import applied_specs, complete_addresses, recorded_addresses
from reconciler.workflow.journal import last_run
from reconciler.workflow.survey import Survey

_MAX_CALLS = 8
"""Calls of an unfinished apply that are listed."""

_EVERYTHING = PlanOptions()


def last_applies(project: Project, surveys: Iterable[Survey]) -> tuple[dict[str, frozenset[Address]], tuple[str, ...]]:
    """Return by target the addresses that the last apply left, and where an apply ended that did not finish."""
    expected: dict[str, frozenset[Address]] = {}
    notes: list[str] = []
    for survey in surveys:
        expected[survey.target.name] = expected_addresses(project, survey)
        notes += unfinished_apply_notes(project, survey)
    return expected, tuple(notes)


def expected_addresses(project: Project, survey: Survey) -> frozenset[Address]:
    """Return the addresses that existed after the last apply, including one that did not finish.

    They are compared with what a plan would create. If it creates nothing, none are returned: the record of 5,000 channels takes 30 ms to read.
    """
    if not any(action.verb is Verb.CREATE for action in survey.plan.actions):
        return frozenset()
    root = Path(project.root)
    found = recorded_addresses(root, project.stack, survey.target.name, survey.live) or frozenset()
    last = last_run(root, survey.target.name)
    if last is None or last.ended or last.account not in ("", survey.live.account_id):
        return found
    return (found | last.created) - last.deleted


def unfinished_apply_notes(project: Project, survey: Survey) -> tuple[str, ...]:
    """Return where the last apply of a target ended if it did not finish; nothing otherwise."""
    name = survey.target.name
    last = last_run(Path(project.root), name)
    if last is None or last.ended:
        return ()
    if last.running:
        return (
            f"{name}: an apply started {last.started} is still running (process {last.pid}); nothing will be created twice",
        )
    head = f"{name}: the last apply, started {last.started}, did not finish"
    if not last.in_flight:
        return (f"{head}; no call was in flight",)
    calls = [_describe_call(address, operation, survey) for address, operation in list(last.in_flight)[:_MAX_CALLS]]
    more = len(last.in_flight) - len(calls)
    return (f"{head}; in-flight calls: {'; '.join(calls)}{f'; and {more} more' if more > 0 else ''}",)


def _describe_call(address: Address, operation: str, survey: Survey) -> str:
    inner = child_of(address) or address
    kind = KINDS[inner.kind]
    if kind.value_member and operation == kind.get:
        return f"publishing the {kind.title} of {parent_of(address)}"
    if operation in (kind.create, kind.delete):
        address = inner  # a channel's own steps replace its key when its stream is ended
    arns = _arns(address, survey)
    if operation != KINDS[address.kind].create:
        return f"{operation} for {address}" + ("" if arns else " (not found)")
    if not arns:
        return f"{operation} for {address} (not found)"
    desired = survey.desired.resources.get(address)
    unpublished = address.kind in CHILD_KINDS and desired is not None and desired.sink is None
    return f"{operation} for {address} (found: {' and '.join(arns)}" + (
        "; its encoder needs the value)" if unpublished else ")"
    )


def _arns(address: Address, survey: Survey) -> list[str]:
    stack = survey.desired.stack
    return [
        resource.arn
        for resource in survey.live.of(address.kind)
        if resource.tags.get(STACK) == stack and resource.tags.get(ID) == address.id
    ]


def drift_report(
    project: Project, survey: Survey, *, expand: bool = False, scope: PlanOptions = _EVERYTHING
) -> DriftReport:
    """Return the drift report of a target; with ``expand``, also the unset fields that use AWS defaults.

    ``scope`` restricts the report with ``only`` and ``exclude``.
    """
    partial = bool(scope.only or scope.exclude)
    root, name = Path(project.root), survey.target.name
    applied = complete_addresses(root, project.stack, name, survey.live)
    records = {} if not survey.plan.actions else applied_specs(root, project.stack, name, survey.live)
    report = classify(survey.plan, survey.desired, survey.live, applied=applied, records=records)
    doubts = (
        f"{found}: deleted outside, or no longer visible to the caller"
        for found in missing_from_lists(survey.plan, expected_addresses(project, survey))
    )
    fields = at_default(survey.plan, survey.desired, survey.live) if expand or partial else ()
    report = replace(report, default_fields=fields)
    if partial:
        report = select_findings(report, survey.plan, survey.live, project.stack, scope)
    return replace(
        report,
        notes=(*report.notes, *doubts, *unfinished_apply_notes(project, survey)),
        default_fields=report.default_fields if expand else (),
    )


def former_arns(project: Project, survey: Survey) -> dict[Address, str]:
    """Return the recorded ARNs that addresses had after the last apply."""
    found = applied_specs(Path(project.root), project.stack, survey.target.name, survey.live)
    return {address: one.arn for address, one in found.items() if one.arn}


def attribute_drift(project: Project, survey: Survey, report: DriftReport, days: int) -> DriftReport:
    """Return the report with the callers that CloudTrail names, up to this many days back. Without findings, CloudTrail is not queried."""
    operations = operations_for(report)
    if not operations:
        return report
    trail = survey.connection.trail(operations, datetime.now(UTC) - timedelta(days=days))
    return blamed(report, trail, project.stack, former_arns(project, survey), days)
