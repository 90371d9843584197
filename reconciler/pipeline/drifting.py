"""A target that was looked at -> its drift report, with what this machine remembers of its last apply."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from reconciler.model.address import Address
from reconciler.model.target import Project
from reconciler.pipeline.recall import expected, explained
from reconciler.pipeline.record import last_applied, remembered
from reconciler.pipeline.survey import Survey
from reconciler.plan.actions import PlanOptions
from reconciler.plan.defaults import at_default
from reconciler.plan.drift import DriftReport, classify
from reconciler.plan.guard import gone

_WHOLE = PlanOptions()


def drift_of(project: Project, survey: Survey, *, expand: bool = False, scope: PlanOptions = _WHOLE) -> DriftReport:
    """Return what is drift, pending, missing, foreign or double in a target; with ``expand`` also which fields are at the service's default.

    ``scope`` says with ``only`` and ``exclude`` what of it is told.
    """
    partial = bool(scope.only or scope.exclude)
    root, name = Path(project.root), survey.target.name
    applied = remembered(root, project.stack, name, survey.live)
    records = {} if survey.plan.is_empty else last_applied(root, project.stack, name, survey.live)
    report = classify(survey.plan, survey.desired, survey.live, applied=applied, records=records)
    doubts = (
        f"{found}: deleted outside, or the caller may not see them any more"
        for found in gone(survey.plan, expected(project, survey))
    )
    fields = at_default(survey.plan, survey.desired, survey.live) if expand or partial else ()
    report = replace(report, default_fields=fields)
    if partial:
        from reconciler.plan.narrow import narrowed  # noqa: PLC0415 - few ask for a part

        report = narrowed(report, survey.plan, survey.live, project.stack, scope)
    return replace(
        report,
        notes=(*report.notes, *doubts, *explained(project, survey)),
        default_fields=report.default_fields if expand else (),
    )


def former_arns(project: Project, survey: Survey) -> dict[Address, str]:
    """Return the ARNs that addresses had after the last apply from here, where that is remembered."""
    found = last_applied(Path(project.root), project.stack, survey.target.name, survey.live)
    return {address: one.arn for address, one in found.items() if one.arn}
