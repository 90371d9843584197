"""A drift report -> the same, with who did it, where CloudTrail can tell. One that found nothing asks nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from reconciler.model.target import Project
from reconciler.pipeline.drifting import former_arns
from reconciler.pipeline.survey import Survey
from reconciler.plan.blame import blamed, operations_for
from reconciler.plan.findings import DriftReport


def with_blame(project: Project, survey: Survey, report: DriftReport, days: int) -> DriftReport:
    """Ask CloudTrail about what was found, as far back as that many days."""
    operations = operations_for(report)
    if not operations:
        return report
    trail = survey.connection.trail(operations, datetime.now(UTC) - timedelta(days=days))
    return blamed(report, trail, project.stack, former_arns(project, survey), days)
