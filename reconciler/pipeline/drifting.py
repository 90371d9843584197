"""A target that was looked at -> its drift report, with what this machine remembers of its last apply."""

from __future__ import annotations

from pathlib import Path

from reconciler.model.target import Project
from reconciler.pipeline.record import last_applied, remembered
from reconciler.pipeline.survey import Survey
from reconciler.plan.drift import DriftReport, classify


def drift_of(project: Project, survey: Survey) -> DriftReport:
    """Return what is drift, pending, missing, foreign or double in a target."""
    root, name = Path(project.root), survey.target.name
    applied = remembered(root, project.stack, name, survey.live)
    records = {} if survey.plan.is_empty else last_applied(root, project.stack, name, survey.live)
    return classify(survey.plan, survey.desired, survey.live, applied=applied, records=records)
