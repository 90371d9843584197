"""The drift report of a target: the survey compared with the record of the last apply, and who made the changes, from CloudTrail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from reconciler.drift.blame import blamed, operations_for
from reconciler.drift.classify import AppliedCommit, classify, depends_on_record, select_findings
from reconciler.drift.report import DriftReport, at_default
from reconciler.model.address import Address
from reconciler.model.target import Project
from reconciler.plan.guardrails import missing_from_lists
from reconciler.plan.plan import PlanOptions
from reconciler.workflow.history import applied_specs, complete_addresses, recorded_commits
from reconciler.workflow.last_apply import expected_addresses, unfinished_apply_notes
from reconciler.workflow.records import records_of
from reconciler.workflow.survey import Survey

_EVERYTHING = PlanOptions()
FindApplied = Callable[[Project, str, Iterable[str]], AppliedCommit]
"""Returns, for a project, a target and the commits that its resources record, the addresses of the commit that was applied last."""


def drift_report(
    project: Project,
    survey: Survey,
    find_applied: FindApplied,
    *,
    expand: bool = False,
    scope: PlanOptions = _EVERYTHING,
) -> DriftReport:
    """Return the drift report of a target; with ``expand``, also the unset fields that use AWS defaults.

    ``scope`` restricts the report with ``only`` and ``exclude``.
    ``find_applied`` is called if there is no record of the last apply.
    """
    partial = bool(scope.only or scope.exclude)
    stored, name = records_of(project), survey.target.name
    applied = complete_addresses(stored, project.stack, name, survey.live) if survey.plan.actions else None
    records = {} if not survey.plan.actions else applied_specs(stored, project.stack, name, survey.live)
    commit = None
    if applied is None and depends_on_record(survey.plan):
        commits = recorded_commits(survey.live, project.stack)
        commit = find_applied(project, name, commits) if commits else None
    report = classify(survey.plan, survey.desired, survey.live, applied=applied, records=records, commit=commit)
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
    found = applied_specs(records_of(project), project.stack, survey.target.name, survey.live)
    return {address: one.arn for address, one in found.items() if one.arn}


def attribute_drift(project: Project, survey: Survey, report: DriftReport, days: int) -> DriftReport:
    """Return the report with the callers that CloudTrail names, up to this many days back. Without findings, CloudTrail is not queried."""
    operations = operations_for(report)
    if not operations:
        return report
    trail = survey.connection.trail(operations, datetime.now(UTC) - timedelta(days=days))
    return blamed(report, trail, project.stack, former_arns(project, survey), days)
