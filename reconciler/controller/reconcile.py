"""One reconciliation of one target: read it, find drift and, depending on the mode, plan and apply with all guardrails.

Any error becomes the status of the run, so that one failing target stops no other.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import quote

from structlog.contextvars import bound_contextvars

from reconciler import logs
from reconciler.aws.client import OnRequest
from reconciler.aws.connection import Connection
from reconciler.aws.reader import read_streams
from reconciler.controller.state import (
    APPLYING,
    Inventory,
    ManagedResource,
    Mode,
    Place,
    Run,
    RunStatus,
    accept_hint,
    report_run,
)
from reconciler.controller.store import Store, StoreError
from reconciler.drift.changes import NOTHING, KnownFindings
from reconciler.drift.report import DriftReport
from reconciler.errors import AwsError, PlanRefused, ReconcilerError
from reconciler.git.source import CheckedRevision
from reconciler.model.address import ID, STACK, Address
from reconciler.model.kinds import KINDS
from reconciler.model.target import Project, Shards, Target
from reconciler.plan.codec import fingerprint
from reconciler.plan.guardrails import check, check_shard
from reconciler.plan.live_channels import APPLY_AGAIN
from reconciler.plan.plan import ApplyResult, LiveChannel, PlanOptions, Result, TargetPlan
from reconciler.plan.stale import as_applied
from reconciler.report.words import plural
from reconciler.workflow.drift import FindApplied, drift_report
from reconciler.workflow.history import applied_specs, find_unknown_commit
from reconciler.workflow.last_apply import expected_addresses
from reconciler.workflow.locks import LockClock, lock_targets
from reconciler.workflow.notifications import Delivery, TargetReading, UnreadableTarget, notify, reading_of
from reconciler.workflow.outputs import outputs_of, publish, survey_after
from reconciler.workflow.records import records_of
from reconciler.workflow.run import Silent, apply_plans
from reconciler.workflow.survey import Survey, combine_plans, plan_target, survey_one, survey_targets

_OPTIONS = PlanOptions()
_MESSAGE_LINES = 5
_LOG = logs.get("controller")


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What a reconciliation needs from outside: AWS, clocks, the stop event, and the observers of requests and results."""

    connect: Callable[[Target, OnRequest], AbstractContextManager[Connection]]
    now: Callable[[], float]
    sleep: Callable[[float], None]
    monotonic: Callable[[], float]
    stop: threading.Event
    on_request: Callable[[str, str, str, AwsError | None], None]
    """Called with stack, target, operation and error of every request."""
    notify: Callable[[Project, TargetReading], None]
    """Notifies the receivers of changed drift."""
    find_applied: FindApplied
    shard: Shards | None = None
    """The shard of the targets, if others have the rest."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The mode that a target has now.

    ``account`` is the account that it holds for, if that is known; ``reason`` says why it is less than the operator's mode.
    """

    mode: Mode
    account: str = ""
    reason: str = ""


def reconcile_target(revision: CheckedRevision, name: str, granted: Granted, deps: Dependencies) -> Run | None:
    """Reconcile a target and return the run, or ``None`` if it was interrupted by shutdown."""
    start = deps.monotonic()
    run = Run(
        name,
        granted.mode,
        revision.commit.id,
        deps.now(),
        RunStatus.FAILED,
        account_read=False,
        stack=revision.project.stack,
    )
    if name in revision.problems:
        return replace(run, status=RunStatus.BAD_SPEC, message="\n".join(map(str, revision.problems[name])))
    target = revision.project.targets[name]
    calls = Counter[str]()

    def count_request(operation: str, error: AwsError | None) -> None:
        calls[operation] += 1
        deps.on_request(run.stack, name, operation, error)

    try:
        run = _reconcile(revision, target, run, granted.account, deps, count_request)
    except ReconcilerError as error:
        if deps.stop.is_set():
            return None
        run = replace(run, message=str(error))
        if isinstance(error, AwsError):
            deps.notify(revision.project, UnreadableTarget(target, error))
    if run.report is not None:
        deps.notify(revision.project, reading_of(target, run.report))
    message = "\n".join(filter(None, (granted.reason, run.message)))
    run = replace(run, seconds=deps.monotonic() - start, calls=calls.total(), message=message)
    if unreported := report_run(revision.project, run):
        _LOG.warning("not reported to other controllers", target=name, reason=unreported)
    return run


def _reconcile(
    revision: CheckedRevision, target: Target, run: Run, account_id: str, deps: Dependencies, on_request: OnRequest
) -> Run:
    """Read, plan and apply, as far as mode and guardrails allow; in another account than the mode holds for, only read."""
    with survey_targets(
        revision.project,
        (target,),
        _OPTIONS,
        desired=revision.desired,
        progress=_Interruptible(deps.stop),
        open_target=lambda each: deps.connect(each, on_request),
        every_kind=True,
    ) as (survey,):
        account = replace(run, account_read=True, account_id=survey.plan.account_id, region=survey.plan.region)
        run = _with_findings(replace(account, live_channels=_live_channels(survey)), revision, survey, deps)
        if account_id not in ("", run.account_id):
            reason = f"the credentials are for account {run.account_id}, but its mode applies to account {account_id}"
            place = replace(Place.of(target, revision.project), account=run.account_id)
            hint = f"the target is only observed; {accept_hint(run.target, place)}"
            return replace(run, mode=Mode.OBSERVE, message="\n".join(filter(None, (f"{reason}; {hint}", run.message))))
        if run.mode is Mode.OBSERVE:
            return run
        due = _due(revision, run.mode, survey)
        if run.mode is not Mode.HEAL or due.plan.actions:
            run = _with_plan(run, revision, due, deps.shard)
        if run.mode is Mode.PLAN or run.status in (RunStatus.REFUSED, RunStatus.BLOCKED):
            return run
        try:
            result, unpublished = _apply(revision, run, survey, due, deps)
        except PlanRefused as error:
            return replace(run, status=RunStatus.REFUSED, message=str(error), postponed=True)
        except ReconcilerError as error:
            # The findings are valid. The next reconciliation finds what was applied.
            return replace(run, status=RunStatus.FAILED, message=str(error))
        if result:
            run = _with_result(run, revision, survey, result, deps)
        elif run.mode is Mode.HEAL:
            # What waits for a person is kept for review, as in the mode plan.
            run = _with_plan(run, revision, survey, deps.shard)
        if unpublished:
            message = "\n".join(filter(None, (run.message, _shortened([f"outputs: {text}" for text in unpublished]))))
            run = replace(run, status=RunStatus.INCOMPLETE, message=message)
        return run


def _due(revision: CheckedRevision, mode: Mode, survey: Survey) -> Survey:
    """Return the survey with the plan that the mode is about: the whole, or with ``heal`` back to what was last applied."""
    if mode is not Mode.HEAL:
        return survey
    project, target = revision.project, survey.target._replace(prune=False)
    applied = applied_specs(records_of(project), project.stack, target.name, survey.live)
    desired = as_applied(survey.desired, survey.live, applied)
    plan = plan_target(project, target, desired, survey.live, _OPTIONS, survey.connection, {})
    return survey._replace(target=target, desired=desired, plan=plan._replace(orphans=()))


def _with_findings(run: Run, revision: CheckedRevision, survey: Survey, deps: Dependencies) -> Run:
    """Return the run with the drift that a survey found."""
    report = drift_report(revision.project, survey, deps.find_applied)
    status = RunStatus.DRIFTED if report.drifted else RunStatus.PENDING if report.pending else RunStatus.IN_SYNC
    return replace(
        run,
        status=RunStatus.FAILED if report.unread else status,
        message="\n".join(note for note in report.notes if note not in survey.plan.notes),
        counts=Counter(finding.status for finding in report.findings),
        findings=report.findings,
        report=report,
        managed=report.managed,
        unchanged=report.unchanged,
        unmanaged=len(report.unmanaged),
        inventory=_inventory(survey, report),
        blocked_by_live=sum(
            action.blocked is not None and action.blocked.code == "live" for action in survey.plan.actions
        ),
    )


def _inventory(survey: Survey, report: DriftReport) -> Inventory:
    found = sorted(survey.live.claims(survey.desired.stack), key=lambda each: (each[0], each[1].arn))
    managed = (
        ManagedResource(
            address, resource.arn, resource.name, resource.outputs.get("playbackUrl", ""), resource.state or ""
        )
        for address, resource in found
    )
    return Inventory(tuple(managed), report.unmanaged)


def _with_plan(run: Run, revision: CheckedRevision, survey: Survey, shard: Shards | None) -> Run:
    """Return the run with its plan: refused by a guardrail, blocked if all actions are, or else unchanged in status."""
    if survey.plan.actions:
        created_at = datetime.fromtimestamp(run.started, UTC)
        plan = combine_plans(revision.project, (survey,), _OPTIONS, git_commit=revision.commit.id, now=created_at)
        run = replace(run, plan=plan, plan_id=fingerprint(survey.plan))
    refusals = check(
        survey.plan, revision.project.guardrails_of(run.target), _OPTIONS, expected_addresses(revision.project, survey)
    )
    if refusals := (*refusals, *(check_shard(survey.plan, revision.project, shard) if shard else ())):
        return replace(run, status=RunStatus.REFUSED, message="\n".join(refusals))
    if run.mode in APPLYING and _is_blocked(survey.plan):
        return replace(run, status=RunStatus.BLOCKED, message=_blocked_message(survey.plan))
    return run


def _apply(
    revision: CheckedRevision, run: Run, survey: Survey, due: Survey, deps: Dependencies
) -> tuple[ApplyResult | None, list[str]]:
    """Apply the plan that is due with the target locked; return the result, and which outputs could not be published. Raises ``PlanRefused`` if the target changed meanwhile."""
    # An empty plan needs no lock, unless it corrects a tag: applying it only records the resources.
    commit = run.commit if run.mode is not Mode.HEAL else ""
    writes = due.plan.actions or (commit and find_unknown_commit(due.plan, due.live, due.desired.stack))
    locked = (due.target,) if writes else ()
    # The record keeps what is in the spec and was not touched.
    recorded = due.desired._replace(resources={**survey.desired.resources, **due.desired.resources})
    with (
        bound_contextvars(target=run.target, commit=run.commit, plan=run.plan_id),
        lock_targets(
            locked, "run", notify=lambda text: _LOG.warning("lock", reason=text), clock=LockClock(deps.now, deps.sleep)
        ) as lost,
    ):
        if lost and fingerprint(_due(revision, run.mode, _repeat_survey(revision, survey)).plan) != fingerprint(
            due.plan
        ):
            raise PlanRefused("another run applied before the lock was acquired; the next reconciliation plans again")
        results = apply_plans(
            [due._replace(desired=recorded, commit=commit)],
            revision.project,
            Silent(),
            stop=deps.stop,
            lost=lost,
            sleep=deps.sleep,
            clock=deps.monotonic,
            note=lambda text: _LOG.warning("not recorded", reason=text),
        )
        published = _publish(revision, due, results, deps)
    return (results[0] if results else None), published


def _publish(
    revision: CheckedRevision, survey: Survey, results: Sequence[ApplyResult], deps: Dependencies
) -> list[str]:
    """Publish the outputs after an apply, and return what could not be published."""
    if not revision.project.outputs or deps.stop.is_set() or any(result.interrupted for result in results):
        return []
    try:
        for result in results:
            survey = survey_after(survey, result)
        done = publish(revision.project, [(survey, outputs_of(survey))], _OPTIONS, {})
    except AwsError as error:
        return [f"the outputs could not be read: {error}"]
    if done.written or done.deleted:
        _LOG.info("outputs published", target=survey.target.name, written=len(done.written), deleted=len(done.deleted))
    for text in done.skipped:
        _LOG.warning("outputs skipped", target=survey.target.name, reason=text)
    return done.failures


def _with_result(run: Run, revision: CheckedRevision, survey: Survey, result: ApplyResult, deps: Dependencies) -> Run:
    """Return the run after an apply. What is left is read from the account again."""
    counts = Counter(outcome.result for outcome in result.outcomes)
    run = replace(run, result=result, done=counts[Result.DONE])
    if result.interrupted or deps.stop.is_set():
        if result.complete:
            return replace(run, status=RunStatus.APPLIED, message="")
        return replace(
            run, status=RunStatus.INCOMPLETE, message="interrupted by shutdown; the next reconciliation plans the rest"
        )
    left = _repeat_survey(revision, survey)
    run = _with_findings(run, revision, left, deps)
    failed = [f"{outcome.address}: {outcome.message}" for outcome in result.outcomes if outcome.result is Result.FAILED]
    if failed:
        return replace(run, status=RunStatus.INCOMPLETE, message=_shortened(failed))
    due = _due(revision, run.mode, left).plan
    if not due.actions:
        # With heal, pending changes may be left.
        return run if left.plan.actions else replace(run, status=RunStatus.APPLIED, message="")
    if _is_blocked(due):
        return replace(run, status=RunStatus.BLOCKED, message=_blocked_message(due))
    return replace(
        run, status=RunStatus.INCOMPLETE, message=f"{plural(len(due.actions), 'action')} still pending after the apply"
    )


def _repeat_survey(revision: CheckedRevision, survey: Survey) -> Survey:
    """Read and plan again, with the same connection."""
    return survey_one(
        revision.project, survey.target, survey.desired, survey.connection, _OPTIONS, {}, None, every_kind=True
    )


def _is_blocked(plan: TargetPlan) -> bool:
    """Return whether there are actions, and all of them are blocked."""
    return bool(plan.actions) and all(action.blocked for action in plan.actions)


def _blocked_message(plan: TargetPlan) -> str:
    return _shortened(
        [
            f"{action.address}: {action.blocked.message.replace(APPLY_AGAIN, 'it is applied when the stream has ended')}"
            for action in plan.actions
            if action.blocked
        ]
    )


def _shortened(lines: list[str]) -> str:
    more = [f"and {len(lines) - _MESSAGE_LINES:,} more"] if len(lines) > _MESSAGE_LINES else []
    return "\n".join(lines[:_MESSAGE_LINES] + more)


def _live_channels(survey: Survey) -> tuple[LiveChannel, ...]:
    """Return the stack's live channels, the most watched first."""
    ours = {
        channel.arn: Address(channel.kind, channel.tags.get(ID, channel.name))
        for kind in KINDS.values()
        if kind.live
        for channel in survey.live.of(kind.name)
        if channel.tags.get(STACK) == survey.desired.stack
    }
    if not ours:
        return ()
    found = [
        LiveChannel(ours[arn], arn, stream.started_at, stream.viewers, stream.health)
        for arn, stream in read_streams(survey.connection.gateway).items()
        if arn in ours
    ]
    return tuple(sorted(found, key=lambda each: (-each.viewers, each.name)))


@dataclass(frozen=True, slots=True)
class _Interruptible:
    """Ends the reading of a target at its next call once ``stop`` is set."""

    stop: threading.Event

    def __call__(self, _target: str, _calls: int, _left: object, /) -> None:
        """Raise ``AwsError`` if asked to stop."""
        if self.stop.is_set():
            raise AwsError("interrupted by shutdown")

    def finished(self, target: str, /, *, failed: bool) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class _StoredNotifications:
    """What each receiver was last notified of, for one stack, in the controller's store."""

    store: Store
    stack: str

    def known(self, receiver: str, target: str, /) -> KnownFindings:
        """Return what the receiver was last notified of."""
        text = self.store.note(self._key(receiver, target))
        return KnownFindings.from_json(json.loads(text)) if text else NOTHING

    def keep(self, receiver: str, target: str, known: KnownFindings, /) -> None:
        """Keep what the receiver was just notified of. Raises ``OSError``."""
        try:
            self.store.write_note(self._key(receiver, target), json.dumps(known.to_json()))
        except StoreError as error:
            raise OSError(str(error)) from None

    def _key(self, receiver: str, target: str) -> str:
        return json.dumps(["notified", self.stack, receiver, target])


@dataclass(frozen=True, slots=True)
class Notifier:
    """Notifies the receivers of a project. Messages link to the status page at ``public_url``."""

    store: Store
    environment: Mapping[str, str]
    on_delivery: Callable[[str, Delivery], None]
    now: Callable[[], float]
    sleep: Callable[[float], None]
    public_url: str = ""

    def __call__(self, project: Project, reading: TargetReading) -> None:
        """Notify of what changed for one target. A receiver that fails is notified the next time."""
        deliveries = notify(
            project.receivers,
            project.stack,
            (reading,),
            _StoredNotifications(self.store, project.stack),
            environment=self.environment,
            link=f"{self.public_url.rstrip('/')}/targets/{quote(reading.name, safe='')}" if self.public_url else "",
            sleep=self.sleep,
            now=lambda: datetime.fromtimestamp(self.now(), UTC),
        )
        for delivery in deliveries:
            if delivery.failure:
                _LOG.warning(
                    "notification failed",
                    receiver=delivery.receiver,
                    target=delivery.target,
                    id=delivery.id,
                    reason=delivery.failure,
                )
            self.on_delivery(project.stack, delivery)
