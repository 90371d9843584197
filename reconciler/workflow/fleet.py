"""The work of ``plan`` and ``drift`` on one target, as an executor runs it, and what it found for all targets.

What a worker returns is small: of live state only what the caller needs, and of the spec only its digest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.aws.connection import Connection, connect
from reconciler.errors import AdoptionError, AwsError
from reconciler.model.address import Address
from reconciler.model.resource import DesiredState, LiveState
from reconciler.model.target import Project, Target
from reconciler.plan.plan import PlanOptions
from reconciler.workflow.executor import Control, Task
from reconciler.workflow.journal import last_run
from reconciler.workflow.survey import Survey, checked_results, combine_failures, survey_one

if TYPE_CHECKING:
    from reconciler.drift.classify import AppliedCommit
    from reconciler.drift.report import DriftReport, Ignore
    from reconciler.workflow.metrics_file import TargetCalls


def tasks_of(
    project: Project,
    targets: Sequence[Target],
    desired: Mapping[str, DesiredState],
    options: PlanOptions,
    adopt: Mapping[str, Mapping[Address, str]] | None = None,
) -> list[Task]:
    """Return the task of each target. ``adopt`` has, by target, the ARNs of the live resources to adopt for addresses."""
    return [
        Task(
            replace(project, targets={target.name: target}),
            target,
            desired[target.name],
            options,
            dict((adopt or {}).get(target.name, {})),
        )
        for target in targets
    ]


@dataclass(frozen=True, slots=True)
class Planning:
    """Reads and plans a target. The survey cannot call: its connection has ended."""

    def __call__(self, task: Task, control: Control) -> Survey | AdoptionError:
        """Return the survey of a target, or why its adoptions are not possible."""
        with connect(task.target) as connection:
            found = _survey(task, control, connection, task.options)
        return found if isinstance(found, AdoptionError) else _without_live_state(task, found, task.options)


@dataclass(frozen=True, slots=True)
class DriftFound:
    """What ``drift`` found in a target: ``survey`` is the error if it could not be read, and then there is no report.

    ``ignored`` are the ignore rules that matched a difference; ``calls`` counts the requests.
    """

    survey: Survey | AwsError
    calls: TargetCalls
    report: DriftReport | None = None
    ignored: frozenset[Ignore] = frozenset()


@dataclass(frozen=True, slots=True)
class DriftDetection:
    """Reads a target and reports its drift, restricted by ``scope``; ``days`` is how far back CloudTrail names callers, 0 for not at all.

    ``find_applied`` returns, for a project, a target and commits, the addresses of the commit that was applied last.
    """

    scope: PlanOptions
    find_applied: Callable[[Project, str, Iterable[str]], AppliedCommit]
    ignores: tuple[Ignore, ...] = ()
    days: int = 0
    expand: bool = False

    def __call__(self, task: Task, control: Control) -> DriftFound:
        """Return what was found in a target."""
        from reconciler.drift.report import without  # noqa: PLC0415 - a plan needs no drift reports
        from reconciler.workflow.drift import attribute_drift, drift_report  # noqa: PLC0415
        from reconciler.workflow.metrics_file import RunMetrics  # noqa: PLC0415
        from reconciler.workflow.outputs import stale_notes  # noqa: PLC0415

        project, metrics = task.project, RunMetrics()
        try:
            with metrics.connect(task.target) as connection:
                survey = _survey(task, control, connection, PlanOptions(), every_kind=True)
                if isinstance(survey, AdoptionError):
                    raise survey
                report = drift_report(
                    project,
                    survey,
                    expand=self.expand,
                    scope=self.scope,
                    find_applied=partial(self.find_applied, project),
                )
                report, matched = without(report, self.ignores)
                if project.outputs:
                    report = replace(report, notes=(*report.notes, *stale_notes(project, survey)))
                if self.days:
                    report = attribute_drift(project, survey, report, self.days)
        except AwsError as error:
            return DriftFound(error, metrics.calls_of(task.target.name))
        slim = _without_live_state(task, survey, self.scope)
        return DriftFound(slim, metrics.calls_of(task.target.name), report, frozenset(matched))


def _survey(
    task: Task, control: Control, connection: Connection, options: PlanOptions, *, every_kind: bool = False
) -> Survey | AdoptionError:
    try:
        found = survey_one(
            task.project,
            task.target,
            task.desired,
            connection,
            options,
            task.adopt,
            control.progress,
            every_kind=every_kind,
        )
    except AdoptionError as error:
        return error
    return found


def _without_live_state(task: Task, survey: Survey, scope: PlanOptions) -> Survey:
    """Return the survey without its connection and spec, and without live resources unless globs or an unfinished apply are compared with them."""
    live, name = survey.live, survey.target.name
    last = None if scope.only or scope.exclude else last_run(Path(task.project.root), name)
    if not (scope.only or scope.exclude) and (last is None or last.ended):
        live = LiveState(live.account_id, live.region, {}, unreadable=live.unreadable, not_read=live.not_read)
    desired = DesiredState(survey.desired.stack, {}, survey.desired.digest)
    return replace(survey, connection=survey.connection.released(), live=live, desired=desired)


@dataclass(slots=True)
class Fleet:
    """The surveys of the targets that could be read, in the project's order, and the errors of the others, by name.

    ``failure`` has a line for each of them.
    """

    surveys: tuple[Survey, ...]
    missed: dict[str, AwsError] = field(default_factory=dict)
    failure: AwsError | None = None


def fleet_of(
    project: Project,
    targets: tuple[Target, ...],
    desired: Mapping[str, DesiredState],
    results: Sequence[Survey | AdoptionError | AwsError],
) -> Fleet:
    """Return the fleet of the results of these targets. Raises ``AdoptionError``."""
    found = checked_results(project, targets, results)
    return Fleet(
        tuple(replace(one, desired=desired[one.target.name]) for one in found if isinstance(one, Survey)),
        {target.name: one for target, one in zip(targets, found, strict=True) if isinstance(one, AwsError)},
        combine_failures(targets, found),
    )
