"""The work of ``plan``, ``drift`` and ``apply`` on one target, as an executor runs it, and what it found for all targets.

What a worker returns is small: of live state only what the caller needs, and of the spec only its digest.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from reconciler.aws.connection import Connection, connect
from reconciler.errors import AdoptionError, AwsError, StalePlan
from reconciler.executors import Control, Executor, Task
from reconciler.model.address import Address, is_commit
from reconciler.model.resource import DesiredState, LiveState
from reconciler.model.target import Project, Target
from reconciler.plan.plan import ApplyResult, Outcome, PlanOptions, Result, TargetPlan
from reconciler.workflow.history import find_unknown_commit
from reconciler.workflow.journal import last_run
from reconciler.workflow.survey import (
    Progress,
    Survey,
    checked_results,
    combine_failures,
    failures_by_target,
    raise_failures,
    survey_one,
)

if TYPE_CHECKING:
    from reconciler.drift.classify import AppliedCommit
    from reconciler.drift.report import DriftReport, Ignore
    from reconciler.model.resource import TargetOutputs
    from reconciler.workflow.drift import FindApplied, TargetCalls
    from reconciler.workflow.outputs import Published
    from reconciler.workflow.run import ApplyObserver


def read_all(
    executor: Executor, tasks: Sequence[Task], project: Project, progress: Progress | None, missed: dict[str, AwsError]
) -> tuple[Survey, ...]:
    """Return the surveys of the targets that could be read, for an apply; ``missed`` receives the errors of the others.

    Raises ``AwsError`` if none could be read, ``AdoptionError`` and ``StalePlan``.
    """
    targets = tuple(task.target for task in tasks)
    results = executor.run(Planning(to_apply=True), tasks, progress=progress)
    fleet = fleet_of(project, targets, {task.target.name: task.desired for task in tasks}, results)
    raise_failures(targets, [fleet.missed.get(target.name) for target in targets], missed)
    return fleet.surveys


def tasks_of(
    project: Project,
    targets: Sequence[Target],
    desired: Mapping[str, DesiredState],
    options: PlanOptions,
    adopt: Mapping[str, Mapping[Address, str]] | None = None,
    approved: Mapping[str, TargetPlan] | None = None,
) -> list[Task]:
    """Return the task of each target. By target, ``adopt`` has the ARNs of the live resources to adopt for addresses, and ``approved`` the plan."""
    return [
        Task(
            project._replace(targets={target.name: target}),
            target,
            desired[target.name],
            options,
            dict((adopt or {}).get(target.name, {})),
            (approved or {}).get(target.name),
        )
        for target in targets
    ]


class Planning(NamedTuple):
    """Reads and plans a target. The survey cannot call: its connection has ended.

    ``to_apply`` says that an apply comes next, which records the live state of a target with nothing to do.
    """

    to_apply: bool = False

    def __call__(self, task: Task, control: Control) -> Survey | AdoptionError | StalePlan:
        """Return the survey of a target with what to run of its approved plan, if it has one; or why its adoptions or that plan are refused."""
        with connect(task.target) as connection:
            found = _survey(task, control, connection, task.options, outputs=False)
        if isinstance(found, AdoptionError):
            return found
        if task.approved is not None:
            from reconciler.workflow.saved_plans import plan_to_run, stale_lines  # noqa: PLC0415 - a plan needs no saved ones

            if changed := stale_lines(task.approved, found):
                return StalePlan.because(changed)
            try:
                found = found._replace(plan=plan_to_run(task.approved, found))
            except StalePlan as error:
                return error
        if self.to_apply and not found.plan.actions:
            return _released(found, found.live)
        return _without_live_state(task, found, task.options)


def _is_settled(survey: Survey) -> bool:
    """Whether an apply makes no call for a target, and only records its live state."""
    if survey.plan.actions:
        return False
    return not is_commit(survey.commit) or not find_unknown_commit(survey.plan, survey.live, survey.desired.stack)


class Applied(NamedTuple):
    """The apply of one target: ``result`` is ``None`` if its plan is empty; ``refused`` says why nothing was run.

    ``notes`` say what could not be recorded. ``outputs`` were read afterwards, if they were asked for and could be;
    ``published`` is what of them went to Parameter Store.
    """

    result: ApplyResult | None = None
    refused: str = ""
    notes: tuple[str, ...] = ()
    outputs: TargetOutputs | None = None
    published: Published | None = None


class Applying(NamedTuple):
    """Plans a target again and runs what was approved. If a worker that died had started that, the rest of it.

    ``outputs`` says whether to read the outputs afterwards. They are published to Parameter Store if the project file says so;
    files are of the process that asked.
    """

    outputs: bool = False

    def __call__(self, task: Task, control: Control) -> Applied:
        """Return how the apply ended."""
        from reconciler.workflow.run import Silent, apply_target  # noqa: PLC0415 - a plan needs nothing of apply
        from reconciler.workflow.saved_plans import rest_to_run  # noqa: PLC0415

        assert task.approved is not None
        notes: list[str] = []
        with connect(task.target) as connection:
            survey = _survey(task, control, connection, task.options)
            if isinstance(survey, AdoptionError):
                return Applied(refused=str(survey))
            if survey.live.account_id != task.approved.account_id:
                return Applied(refused=f"the credentials are for account {survey.live.account_id} now")
            try:
                plan, done = rest_to_run(task.approved, survey)
            except StalePlan as error:
                return Applied(refused=str(error))
            survey = survey._replace(plan=plan, commit=task.commit)
            result = apply_target(survey, task.project, Silent(), stop=control.stop, note=notes.append)
            outputs, published = self._publish_outputs(task, control, survey, result)
        if done:
            before = (Outcome(one.address, one.verb, Result.DONE, "done before", arn=one.arn) for one in done)
            rest = result or ApplyResult(plan.name, ())
            result = rest._replace(outcomes=(*before, *rest.outcomes))
        return Applied(result, notes=tuple(notes), outputs=outputs, published=published)

    def _publish_outputs(
        self, task: Task, control: Control, survey: Survey, result: ApplyResult | None
    ) -> tuple[TargetOutputs | None, Published | None]:
        if not self.outputs:
            return None, None
        from reconciler.workflow.outputs import outputs_of, publish_parameters, survey_after  # noqa: PLC0415

        try:
            after = survey if result is None else survey_after(survey, result)
            found = outputs_of(after)
        except AwsError:
            return None, None
        # An apply that lost its lock was stopped: another run may be publishing.
        if control.stop.is_set():
            return found, None
        return found, publish_parameters(task.project, [(after, found)], task.options)


@dataclass(slots=True)
class ApplyElsewhere:
    """Applies plans through an executor, with the arguments and the result of ``apply_plans``; ``tasks`` are those of all targets.

    ``outputs`` has the outputs of the targets afterwards, with ``with_outputs``, and ``published`` what workers published of them.
    """

    executor: Executor
    tasks: Sequence[Task]
    with_outputs: bool = False
    outputs: dict[str, TargetOutputs] = field(default_factory=dict)
    published: dict[str, Published] = field(default_factory=dict)

    def __call__(
        self,
        surveys: Sequence[Survey],
        project: Project,
        observer: ApplyObserver,
        *,
        stop: threading.Event,
        lost: Mapping[str, threading.Event] = MappingProxyType({}),
        at_once: int | None = None,
        note: Callable[[str], None] = lambda _text: None,
    ) -> tuple[ApplyResult, ...]:
        """Apply the plans and return the results, in the order of the surveys. The events of a target are reported when it has ended."""
        from reconciler.apply import ActionFinished  # noqa: PLC0415 - a plan needs nothing of apply
        from reconciler.workflow.locks import any_of  # noqa: PLC0415
        from reconciler.workflow.run import Silent, apply_plans  # noqa: PLC0415

        if not self.with_outputs:  # which are read by the worker
            settled = {survey.target.name: survey for survey in surveys if _is_settled(survey)}
            apply_plans([*settled.values()], project, Silent(), stop=stop, lost=lost, at_once=at_once, note=note)
            surveys = [survey for survey in surveys if survey.target.name not in settled]
        by_name = {task.target.name: task for task in self.tasks}
        names = [survey.target.name for survey in surveys]
        tasks = [
            by_name[name]._replace(approved=survey.plan, commit=survey.commit)
            for name, survey in zip(names, surveys, strict=True)
        ]
        stops = {name: any_of(stop, lost.get(name)) for name in names}
        results: dict[int, ApplyResult] = {}

        def ended(index: int, found: Applied | AwsError) -> None:
            plan = surveys[index].plan
            result = _result_of(plan, found)
            if isinstance(found, Applied):
                for text in found.notes:
                    note(text)
                if found.outputs is not None:
                    self.outputs[plan.name] = found.outputs
                if found.published is not None:
                    self.published[plan.name] = found.published
            if result is None:
                return
            with observer.observe(result.name, len(plan.actions)) as on_event:
                for outcome in result.outcomes:
                    on_event(ActionFinished(outcome))
            observer.finished(result)
            results[index] = result

        if tasks:
            self.executor.run(Applying(self.with_outputs), tasks, stops=stops, ended=ended)
        return tuple(results[index] for index in sorted(results))


def _result_of(plan: TargetPlan, found: Applied | AwsError) -> ApplyResult | None:
    """Return the result of a target; of one that failed as a whole or was refused, with that as the outcome of each action."""
    if isinstance(found, Applied) and not found.refused:
        return found.result
    if isinstance(found, Applied):
        sort, message = Result.SKIPPED, f"refused: {' '.join(found.refused.split())}"
    else:
        sort, message = Result.FAILED, f"{found}; run plan to see what is left"
    if not plan.actions:
        return None
    return ApplyResult(plan.name, tuple(Outcome(one.address, one.verb, sort, message) for one in plan.actions))


class DriftFound(NamedTuple):
    """What ``drift`` found in a target: ``survey`` is the error if it could not be read, and then there is no report.

    ``ignored`` are the ignore rules that matched a difference; ``calls`` counts the requests.
    ``commits`` are those of the last apply whose specs were needed and not found.
    """

    survey: Survey | AwsError
    calls: TargetCalls
    report: DriftReport | None = None
    ignored: frozenset[Ignore] = frozenset()
    commits: tuple[str, ...] = ()


class DriftDetection(NamedTuple):
    """Reads a target and reports its drift, restricted by ``scope``; ``days`` is how far back CloudTrail names callers, 0 for not at all."""

    scope: PlanOptions
    find_applied: FindApplied
    ignores: tuple[Ignore, ...] = ()
    days: int = 0
    expand: bool = False

    def __call__(self, task: Task, control: Control) -> DriftFound:
        """Return what was found in a target."""
        from reconciler.drift.report import without_ignored  # noqa: PLC0415 - a plan needs no drift reports
        from reconciler.workflow.drift import RunMetrics, attribute_drift, drift_report  # noqa: PLC0415
        from reconciler.workflow.outputs import stale_notes  # noqa: PLC0415

        project, metrics, unknown = task.project, RunMetrics(), list[str]()

        def find_applied(project: Project, target: str, commits: Iterable[str]) -> AppliedCommit:
            found = task.applied or self.find_applied(project, target, commits)
            if found.addresses is None:
                unknown.extend(commits)
            return found

        try:
            with metrics.connect(task.target) as connection:
                survey = _survey(task, control, connection, PlanOptions(), every_kind=True)
                if isinstance(survey, AdoptionError):
                    raise survey
                report = drift_report(project, survey, find_applied, expand=self.expand, scope=self.scope)
                report, matched = without_ignored(report, self.ignores)
                if project.outputs:
                    report = report._replace(notes=(*report.notes, *stale_notes(project, survey)))
                if self.days:
                    report = attribute_drift(project, survey, report, self.days)
        except AwsError as error:
            return DriftFound(error, metrics.calls_of(task.target.name))
        slim = _without_live_state(task, survey, self.scope)
        return DriftFound(slim, metrics.calls_of(task.target.name), report, frozenset(matched), tuple(unknown))


def detect_drift(
    executor: Executor, work: DriftDetection, tasks: Sequence[Task], project: Project, progress: Progress | None
) -> list[DriftFound | AwsError]:
    """Return what was found in each target, in their order.

    A worker without the git repository cannot find the spec of the commit that was applied last. It is found here, and the target is read again.
    """
    found = executor.run(work, tasks, progress=progress)
    if executor.in_checkout:
        return found
    again = {
        index: tasks[index]._replace(applied=work.find_applied(project, tasks[index].target.name, one.commits))
        for index, one in enumerate(found)
        if isinstance(one, DriftFound) and one.commits
    }
    for index, one in zip(again, executor.run(work, list(again.values())) if again else (), strict=True):
        first = found[index]
        if isinstance(one, DriftFound) and isinstance(first, DriftFound):
            counts = Counter(first.calls.counts) + Counter(one.calls.counts)
            found[index] = one._replace(calls=one.calls._replace(counts=counts))
        else:
            found[index] = one
    return found


def _survey(
    task: Task,
    control: Control,
    connection: Connection,
    options: PlanOptions,
    *,
    every_kind: bool = False,
    outputs: bool = True,
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
            outputs=outputs,
        )
    except AdoptionError as error:
        return error
    return found


def _without_live_state(task: Task, survey: Survey, scope: PlanOptions) -> Survey:
    """Return the survey without its connection and spec, and without live resources unless globs or an unfinished apply are compared with them, or they lack the commit of the last apply."""
    live, name = survey.live, survey.target.name
    last = None if scope.has_globs else last_run(Path(task.project.root), name)
    if not scope.has_globs and (last is None or last.ended):
        shown = find_unknown_commit(survey.plan, live, survey.desired.stack) if not survey.plan.actions else None
        kept = {} if shown is None else {shown.kind: (shown,)}
        live = LiveState(live.account_id, live.region, kept, unreadable=live.unreadable, not_read=live.not_read)
    return _released(survey, live)


def _released(survey: Survey, live: LiveState) -> Survey:
    """Return the survey with this live state, and without its connection and spec."""
    desired = DesiredState(survey.desired.stack, {}, survey.desired.digest)
    return survey._replace(connection=survey.connection.released(), live=live, desired=desired)


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
    results: Sequence[Survey | AdoptionError | StalePlan | AwsError],
) -> Fleet:
    """Return the fleet of the results of these targets. Raises ``AdoptionError`` and ``StalePlan``, each with the lines of all targets."""
    stale = [str(one) for one in results if isinstance(one, StalePlan)]
    if stale:
        raise StalePlan("\n".join(stale))
    found = checked_results(project, targets, [one for one in results if not isinstance(one, StalePlan)])
    failures = failures_by_target(targets, found)
    return Fleet(
        tuple(one._replace(desired=desired[one.target.name]) for one in found if isinstance(one, Survey)),
        failures,
        combine_failures(failures),
    )
