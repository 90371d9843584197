"""One reconciliation of one target: read it, find drift, and, where that is the mode, plan and apply under every guardrail.

It walks the path that the verbs share. It decides nothing about when, and of what it finds it keeps only what receivers were notified of.
Whatever goes wrong becomes the ending of the run, so that one bad target stops no other.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import quote

from structlog.contextvars import bound_contextvars

from reconciler import logs
from reconciler.apply import Event
from reconciler.aws.client import OnRequest
from reconciler.aws.connection import Connection
from reconciler.aws.reader import read_streams
from reconciler.controller.state import Ending, Mode, Run
from reconciler.controller.store import Store, StoreError
from reconciler.drift.changes import NOTHING, Known
from reconciler.drift.report import DriftReport
from reconciler.errors import AwsError, PlanRefused, ReconcilerError
from reconciler.git.source import CheckedRevision
from reconciler.model.address import ID, STACK, Address
from reconciler.model.kinds import KINDS
from reconciler.model.target import Project, Target
from reconciler.plan.codec import fingerprint
from reconciler.plan.guardrails import Allowances, check
from reconciler.plan.plan import ApplyResult, OnAir, PlanOptions, Result, TargetPlan
from reconciler.workflow.drift import drift_report, expected_addresses
from reconciler.workflow.locks import LockClock, lock_targets
from reconciler.workflow.notifications import Delivery, TargetReading, UnreadableTarget, notify, reading_of
from reconciler.workflow.run import apply_plans
from reconciler.workflow.survey import Survey, combine_plans, plan_target, read_target, survey_targets

_OPTIONS = PlanOptions()
_MESSAGE_LINES = 5
_LOG = logs.get("controller")


@dataclass(frozen=True, slots=True)
class Tools:
    """What a reconciliation needs of the world: the way to AWS, time, the wish to stop, and who is notified and who counts."""

    connect: Callable[[Target, OnRequest], AbstractContextManager[Connection]]
    now: Callable[[], float]
    sleep: Callable[[float], None]
    monotonic: Callable[[], float]
    stop: threading.Event
    counted: Callable[[str, str, str, AwsError | None], None]
    """Takes stack, target, operation and error of every request."""
    tell: Callable[[Project, TargetReading], None]
    """Notifies the receivers of what was found."""


def reconcile_target(revision: CheckedRevision, name: str, mode: Mode, tools: Tools) -> Run | None:
    """Reconcile a target and return what came of it, or ``None`` when it was given up because the controller stops."""
    began = tools.monotonic()
    run = Run(name, mode, revision.commit.id, tools.now(), Ending.FAILED, looked=False, stack=revision.project.stack)
    if name in revision.problems:
        return replace(run, ending=Ending.BAD_SPEC, message="\n".join(map(str, revision.problems[name])))
    target = revision.project.targets[name]
    calls = Counter[str]()

    def counted(operation: str, error: AwsError | None) -> None:
        calls[operation] += 1
        tools.counted(run.stack, name, operation, error)

    try:
        run = _reconcile(revision, target, run, tools, counted)
    except ReconcilerError as error:
        if tools.stop.is_set():
            return None
        run = replace(run, message=str(error))
        if isinstance(error, AwsError):
            tools.tell(revision.project, UnreadableTarget(target, error))
    if run.report is not None:
        tools.tell(revision.project, reading_of(target, run.report))
    return replace(run, seconds=tools.monotonic() - began, calls=calls.total())


def _reconcile(revision: CheckedRevision, target: Target, run: Run, tools: Tools, counted: OnRequest) -> Run:
    """Go as far as the mode and the guardrails allow."""

    def give_up_if_stopping(_target: str, _calls: int, _left: object) -> None:
        if tools.stop.is_set():
            raise AwsError("given up, because the controller stops")

    with survey_targets(
        revision.project,
        (target,),
        _OPTIONS,
        desired=revision.desired,
        progress=give_up_if_stopping,
        opening=lambda each: tools.connect(each, counted),
        every_kind=True,
    ) as (survey,):
        account = replace(run, looked=True, account_id=survey.plan.account_id, region=survey.plan.region)
        run = _with_findings(replace(account, on_air=_live_channels(survey)), revision, survey)
        if run.mode is Mode.OBSERVE:
            return run
        run = _with_plan(run, revision, survey)
        if run.mode is Mode.PLAN or run.ending in (Ending.REFUSED, Ending.BLOCKED):
            return run
        try:
            result = _apply(revision, run, survey, tools)
        except PlanRefused as error:
            return replace(run, ending=Ending.REFUSED, message=str(error))
        except ReconcilerError as error:
            # What was found before holds; what of the plan was applied, the next reconciliation finds.
            return replace(run, ending=Ending.FAILED, message=str(error))
        return _with_result(run, revision, survey, result, tools) if result else run


def _with_findings(run: Run, revision: CheckedRevision, survey: Survey) -> Run:
    """Return the run with the drift that a survey shows."""
    report = drift_report(revision.project, survey)
    ending = Ending.DRIFTED if report.drifted else Ending.PENDING if report.pending else Ending.IN_SYNC
    return replace(
        run,
        ending=Ending.FAILED if report.unread else ending,
        message="\n".join(report.unread),
        counts=Counter(finding.standing for finding in report.findings),
        findings=report.findings,
        report=report,
        managed=report.managed,
        unchanged=report.unchanged,
        unmanaged=len(report.unmanaged),
        waiting_on_air=sum(
            action.blocked is not None and action.blocked.code == "live" for action in survey.plan.actions
        ),
    )


def _with_plan(run: Run, revision: CheckedRevision, survey: Survey) -> Run:
    """Return the run with the plan, refused where a guardrail says so and blocked where nothing of it could be applied."""
    if not survey.plan.is_empty:
        made = datetime.fromtimestamp(run.started, UTC)
        plan = combine_plans(revision.project, (survey,), _OPTIONS, git_commit=revision.commit.id, now=made)
        run = replace(run, plan=plan, plan_id=fingerprint(survey.plan))
    if refusals := check(
        survey.plan, revision.project.guardrails, Allowances(), expected_addresses(revision.project, survey)
    ):
        return replace(run, ending=Ending.REFUSED, message="\n".join(refusals))
    if run.mode is Mode.APPLY and _is_blocked(survey.plan):
        return replace(run, ending=Ending.BLOCKED, message=_blocked_message(survey.plan))
    return run


def _apply(revision: CheckedRevision, run: Run, survey: Survey, tools: Tools) -> ApplyResult | None:
    """Apply the plan under the target's lock. Raises ``PlanRefused`` where it is no longer the plan to apply."""
    # A plan that changes nothing needs no lock; applying it only records what is there.
    locked = () if survey.plan.is_empty else (survey.target,)
    with (
        bound_contextvars(target=run.target, commit=run.commit, plan=run.plan_id),
        lock_targets(
            locked,
            "run",
            say=lambda text: _LOG.warning("lock", reason=text),
            clock=LockClock(tools.now, tools.sleep),
        ) as lost,
    ):
        if lost and fingerprint(_survey_again(revision, survey).plan) != run.plan_id:
            raise PlanRefused("another run applied just before the lock was taken; the next reconciliation plans again")
        results = apply_plans(
            [(survey.plan, survey)],
            revision.project,
            _NoWatch(),
            stop=tools.stop,
            lost=lost,
            sleep=tools.sleep,
            clock=tools.monotonic,
            note=lambda text: _LOG.warning("not recorded", reason=text),
        )
    return results[0] if results else None


def _with_result(run: Run, revision: CheckedRevision, survey: Survey, result: ApplyResult, tools: Tools) -> Run:
    """Return the run after an apply: what is left is read from the account again, not concluded."""
    counts = Counter(outcome.result for outcome in result.outcomes)
    run = replace(run, result=result, done=counts[Result.DONE])
    if result.interrupted or tools.stop.is_set():
        if result.complete:
            return replace(run, ending=Ending.APPLIED, message="")
        return replace(
            run, ending=Ending.INCOMPLETE, message="stopped on request; the next reconciliation plans the rest"
        )
    left = _survey_again(revision, survey)
    run = _with_findings(run, revision, left)
    failed = [f"{outcome.address}: {outcome.message}" for outcome in result.outcomes if outcome.result is Result.FAILED]
    if failed:
        return replace(run, ending=Ending.INCOMPLETE, message=_shortened(failed))
    if left.plan.is_empty:
        return replace(run, ending=Ending.APPLIED, message="")
    if _is_blocked(left.plan):
        return replace(run, ending=Ending.BLOCKED, message=_blocked_message(left.plan))
    due = len(left.plan.actions)
    return replace(run, ending=Ending.INCOMPLETE, message=f"{due:,} actions are due again right after the apply")


def _survey_again(revision: CheckedRevision, survey: Survey) -> Survey:
    """Read and plan once more, over the same connection."""
    target, desired, connection = survey.target, survey.desired, survey.connection
    live = read_target(connection, desired, _OPTIONS, {})
    plan = plan_target(revision.project, target, desired, live, _OPTIONS, connection, {})
    return Survey(target, desired, live, plan, connection)


def _is_blocked(plan: TargetPlan) -> bool:
    """Whether there is something to do, and all of it is blocked."""
    return not plan.is_empty and all(action.blocked for action in plan.actions)


def _blocked_message(plan: TargetPlan) -> str:
    return _shortened([f"{action.address}: {action.blocked.message}" for action in plan.actions if action.blocked])


def _shortened(lines: list[str]) -> str:
    more = [f"and {len(lines) - _MESSAGE_LINES:,} more"] if len(lines) > _MESSAGE_LINES else []
    return "\n".join(lines[:_MESSAGE_LINES] + more)


def _live_channels(survey: Survey) -> tuple[OnAir, ...]:
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
        OnAir(ours[arn], arn, stream.started_at, stream.viewers, stream.health)
        for arn, stream in read_streams(survey.connection.gateway).items()
        if arn in ours
    ]
    return tuple(sorted(found, key=lambda each: (-each.viewers, each.name)))


class _NoWatch:
    """Shows an apply to nobody: every step writes its own line to the log."""

    def watching(self, _plan: TargetPlan, /) -> AbstractContextManager[Callable[[Event], None]]:
        """Return what takes the events."""
        return nullcontext(lambda _event: None)

    def finished(self, plan: TargetPlan, result: ApplyResult, /) -> None:
        """Take the end."""


class _StoreMemory:
    """What receivers were last notified of for one stack, kept as notes in the store."""

    def __init__(self, store: Store, stack: str) -> None:
        self._store = store
        self._stack = stack

    def known(self, channel: str, target: str, /) -> Known:
        """Return what the receiver was last notified of."""
        text = self._store.note(self._key(channel, target))
        return Known.from_json(json.loads(text)) if text else NOTHING

    def keep(self, channel: str, target: str, known: Known, /) -> None:
        """Keep what the receiver was just notified of. Raises ``OSError``."""
        try:
            self._store.write_note(self._key(channel, target), json.dumps(known.to_json()))
        except StoreError as error:
            raise OSError(str(error)) from None

    def _key(self, channel: str, target: str) -> str:
        return json.dumps(["told", self._stack, channel, target])


class Teller:
    """Notifies the receivers that a project names. ``pages`` is the URL of the status page; messages link to it."""

    def __init__(
        self,
        store: Store,
        environment: Mapping[str, str],
        counted: Callable[[str, Delivery], None],
        *,
        now: Callable[[], float],
        sleep: Callable[[float], None],
        pages: str = "",
    ) -> None:
        self._store = store
        self._environment = environment
        self._counted = counted
        self._now = now
        self._sleep = sleep
        self._pages = pages.rstrip("/")

    def __call__(self, project: Project, look: TargetReading) -> None:
        """Notify of what is new about one target. A receiver that fails is notified the next time."""
        name = look.name if isinstance(look, DriftReport) else look.target.name
        tellings = notify(
            project.notifications,
            project.stack,
            (look,),
            _StoreMemory(self._store, project.stack),
            environment=self._environment,
            link=f"{self._pages}/targets/{quote(name, safe='')}" if self._pages else "",
            sleep=self._sleep,
            now=lambda: datetime.fromtimestamp(self._now(), UTC),
        )
        for telling in tellings:
            self._counted(project.stack, telling)
