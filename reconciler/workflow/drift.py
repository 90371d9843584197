"""The drift report of a target: the survey compared with the record of the last apply, and who made the changes, from CloudTrail.

Also the metrics of a run of ``drift``, for node_exporter's textfile collector. Their file is replaced atomically, so that
a collector never reads half of it, and is readable for other users.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

from reconciler.aws.connection import Connection, connect
from reconciler.drift.classify import (
    AppliedCommit,
    classify,
    depends_on_record,
    operations_for,
    select_findings,
    with_blame,
)
from reconciler.drift.report import DriftReport, at_default
from reconciler.errors import AwsError, UsageError, os_reason
from reconciler.files import replace_file
from reconciler.model.target import Project, Target
from reconciler.plan.guardrails import missing_from_lists
from reconciler.plan.plan import PlanOptions
from reconciler.report import metrics
from reconciler.workflow.history import applied_specs, complete_addresses, recorded_arns, recorded_commits
from reconciler.workflow.last_apply import expected_addresses, unfinished_apply_notes
from reconciler.workflow.records import records_of
from reconciler.workflow.survey import Survey

_EVERYTHING = PlanOptions()
_NO_COMMIT = AppliedCommit(
    "",
    None,
    "no resource has its commit as a tag; the next apply of the whole target from a clean work tree records it",
)
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
    stored, name = records_of(project), survey.target.name
    applied = complete_addresses(stored, project.stack, name, survey.live) if survey.plan.actions else None
    records = {} if not survey.plan.actions else applied_specs(stored, project.stack, name, survey.live)
    commit = None
    if applied is None and depends_on_record(survey.plan):
        commits = recorded_commits(survey.live, project.stack)
        commit = find_applied(project, name, commits) if commits else _NO_COMMIT
    report = classify(survey.plan, survey.desired, survey.live, applied=applied, records=records, commit=commit)
    doubts = (
        f"{found}: deleted outside, or no longer visible to the caller"
        for found in missing_from_lists(survey.plan, expected_addresses(project, survey))
    )
    fields = at_default(survey.plan, survey.desired, survey.live) if expand or scope.has_globs else ()
    report = report._replace(default_fields=fields)
    if scope.has_globs:
        report = select_findings(report, survey.plan, survey.live, project.stack, scope)
    return report._replace(
        notes=(*report.notes, *doubts, *unfinished_apply_notes(project, survey)),
        default_fields=report.default_fields if expand else (),
    )


def attribute_drift(project: Project, survey: Survey, report: DriftReport, days: int) -> DriftReport:
    """Return the report with the callers that CloudTrail names, up to this many days back. Without findings, CloudTrail is not queried."""
    operations = operations_for(report)
    if not operations:
        return report
    trail = survey.connection.trail(operations, datetime.now(UTC) - timedelta(days=days))
    former = recorded_arns(records_of(project), project.stack, survey.target.name, survey.live)
    return with_blame(report, trail, project.stack, former, days)


class TargetCalls(NamedTuple):
    """The requests to one target, by operation and outcome, and when they began and ended, by a monotonic clock."""

    began: float
    ended: float
    counts: Mapping[tuple[str, str], int]


class RunMetrics:
    """Counts the requests to each target, and how long they took. Thread-safe."""

    def __init__(
        self, *, now: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._calls: dict[str, Counter[tuple[str, str]]] = {}
        self._spans: dict[str, tuple[float, float]] = {}

    @contextlib.contextmanager
    def connect(self, target: Target) -> Iterator[Connection]:
        """Connect to a target and count its requests."""
        began = self._monotonic()
        with self._lock:
            self._spans[target.name] = began, began
        with connect(target, on_request=partial(self._count, target.name)) as connection:
            yield connection

    def _count(self, target: str, operation: str, error: AwsError | None) -> None:
        outcome = metrics.OK if error is None else metrics.THROTTLED if error.throttled else metrics.FAILED
        with self._lock:
            self._calls.setdefault(target, Counter())[operation, outcome] += 1
            self._spans[target] = self._spans[target][0], self._monotonic()

    def calls_of(self, target: str) -> TargetCalls:
        """Return what was counted for one target."""
        began, ended = self._spans.get(target, (0.0, 0.0))
        return TargetCalls(began, ended, dict(self._calls.get(target, {})))

    def add(self, target: str, calls: TargetCalls) -> None:
        """Add what was counted for one target elsewhere."""
        self._spans[target] = calls.began, calls.ended
        self._calls.setdefault(target, Counter()).update(calls.counts)

    def sample(self, stack: str, target: str, report: DriftReport | None) -> metrics.Sample:
        """Return the sample of one target; ``report`` is ``None`` if the target could not be read."""
        began, ended = self._spans.get(target, (0.0, 0.0))
        at = self._now()
        known = report if report is not None and not report.unread else None
        return metrics.Sample(
            stack,
            target,
            ran_at=at,
            seconds=ended - began,
            last_success=0.0 if known is None else at,
            in_sync=None if known is None else metrics.is_in_sync(known),
            counts={} if known is None else metrics.counts_of(known),
            ignored=report.ignored_differences if report is not None else 0,
            calls=dict(self._calls.get(target, {})),
        )


def write_metrics(path: Path, samples: Iterable[metrics.Sample]) -> None:
    """Write the samples; a run that failed keeps the last success of the existing file. Raises ``UsageError``."""
    before: dict[tuple[str, str], float] = {}
    with contextlib.suppress(OSError, ValueError):
        before = metrics.last_successes(path.read_text(encoding="utf-8"))
    kept = [replace(one, last_success=one.last_success or before.get((one.stack, one.target), 0.0)) for one in samples]
    try:
        replace_file(path, metrics.render(kept), mode=0o644)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be written ({os_reason(error)}); choose another file with --prometheus"
        ) from None
