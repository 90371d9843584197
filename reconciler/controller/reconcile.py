"""One look at one target: read it, say what drifted, and, where that is the mode, carry out the plan under every guardrail of an apply.

It walks the path that the verbs share. It decides nothing about when, and keeps nothing.
Whatever goes wrong becomes the ending of the run, so that one bad target stops no other.

Notifications after a look: what each channel was told last is kept in the store, so that nothing is told twice, restarts included.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import quote

from structlog.contextvars import bound_contextvars

from reconciler import logs
from reconciler.apply import Event
from reconciler.aws.client import OnRequest
from reconciler.aws.connection import Connection
from reconciler.aws.reader import read_streams
from reconciler.controller.state import Ending, Mode, OnAir, Run
from reconciler.controller.store import Store, StoreError
from reconciler.drift.changes import NOTHING, Known
from reconciler.drift.report import DriftReport
from reconciler.errors import AwsError, PlanRefused, ReconcilerError
from reconciler.git.revision import CheckedRevision
from reconciler.model.address import ID, STACK, KindName
from reconciler.model.resource import LiveState
from reconciler.model.target import Project, Target
from reconciler.plan.codec import fingerprint
from reconciler.plan.guardrails import Allowances, check
from reconciler.plan.plan import ApplyResult, PlanOptions, Result, TargetPlan
from reconciler.workflow.drift import drift_of, expected
from reconciler.workflow.locks import Time, holding
from reconciler.workflow.notifications import Look, Telling, Unread, look_of, tell
from reconciler.workflow.run import carry_out
from reconciler.workflow.survey import Survey, plan_target, read_target, surveyed, whole_plan

_OPTIONS = PlanOptions()
_SAID = 5
_LOG = logs.get("controller")


@dataclass(frozen=True, slots=True)
class Tools:
    """What a look needs of the world: the way to AWS, time, the wish to stop, and somebody who counts requests."""

    connect: Callable[[Target, OnRequest], AbstractContextManager[Connection]]
    now: Callable[[], float]
    sleep: Callable[[float], None]
    monotonic: Callable[[], float]
    stop: threading.Event
    counted: Callable[[str, str, str, AwsError | None], None]
    """Told stack, target, operation and error of every request."""
    tell: Callable[[Project, Look], None]
    """Tells people what a look found."""


def look(revision: CheckedRevision, name: str, mode: Mode, tools: Tools) -> Run | None:
    """Look at a target and return what came of it, or ``None`` when it was given up because the controller stops."""
    began = tools.monotonic()
    run = Run(name, mode, revision.commit.id, tools.now(), Ending.FAILED, looked=False, stack=revision.project.stack)
    if name in revision.problems:
        text = "\n".join(str(problem) for problem in revision.problems[name])
        return replace(run, ending=Ending.BAD_SPEC, message=text)
    calls = Counter[str]()

    def counted(operation: str, error: AwsError | None) -> None:
        calls[operation] += 1
        tools.counted(run.stack, name, operation, error)

    try:
        run = _looked(revision, run, tools, counted)
    except ReconcilerError as error:
        if tools.stop.is_set():
            return None
        run = replace(run, ending=Ending.FAILED, message=str(error))
        if isinstance(error, AwsError):
            tools.tell(revision.project, Unread(revision.project.targets[name], error))
    if run.report is not None:
        tools.tell(revision.project, look_of(revision.project.targets[name], run.report))
    return replace(run, seconds=tools.monotonic() - began, calls=calls.total())


def _looked(revision: CheckedRevision, run: Run, tools: Tools, counted: OnRequest) -> Run:
    target = revision.project.targets[run.target]

    def unless_stopping(_target: str, _calls: int, _left: object) -> None:
        if tools.stop.is_set():
            raise AwsError("given up, because the controller stops")

    with surveyed(
        revision.project,
        (target,),
        _OPTIONS,
        desired=revision.desired,
        progress=unless_stopping,
        opening=lambda each: tools.connect(each, counted),
    ) as (survey,):
        run = replace(
            run, looked=True, account_id=survey.plan.account_id, region=survey.plan.region, on_air=_on_air(survey)
        )
        run = _found(run, _report(revision, survey), survey.plan)
        if run.mode is Mode.OBSERVE:
            return run
        made = datetime.fromtimestamp(run.started, UTC)
        plan = whole_plan(revision.project, (survey,), _OPTIONS, git_commit=revision.commit.id, now=made)
        if not survey.plan.is_empty:
            run = replace(run, plan=plan, plan_id=fingerprint(survey.plan))
        refused = check(survey.plan, revision.project.guardrails, Allowances(), expected(revision.project, survey))
        if refused:
            return replace(run, ending=Ending.REFUSED, message="\n".join(refused))
        if run.mode is Mode.PLAN:
            return run
        if not survey.plan.is_empty and all(action.blocked for action in survey.plan.actions):
            return replace(run, ending=Ending.BLOCKED, message=_blocked(survey.plan))
        try:
            # A plan that changes nothing needs no lock; carrying it out only remembers what stands.
            locked = () if survey.plan.is_empty else (target,)
            with (
                bound_contextvars(target=run.target, commit=run.commit, plan=run.plan_id),
                holding(locked, "run", say=_warn, clock=_clock_of(tools)) as lost,
            ):
                if lost and fingerprint(_again(revision, survey).plan) != run.plan_id:
                    return replace(
                        run,
                        ending=Ending.REFUSED,
                        message="somebody else applied just before the lock was taken; the next look plans anew",
                    )
                work = [(survey.plan, survey)]
                results = carry_out(
                    work,
                    revision.project,
                    _Silent(),
                    stop=tools.stop,
                    lost=lost,
                    sleep=tools.sleep,
                    clock=tools.monotonic,
                    note=_forgotten,
                )
        except PlanRefused as error:
            return replace(run, ending=Ending.REFUSED, message=str(error))
        except ReconcilerError as error:
            # What was found before stands; what of the plan was carried out, the next look finds.
            return replace(run, ending=Ending.FAILED, message=str(error))
        return _carried(revision, run, survey, results[0], tools) if results else run


def _carried(revision: CheckedRevision, run: Run, survey: Survey, result: ApplyResult, tools: Tools) -> Run:
    """Return the run after an apply: what is left is asked of the account again, not concluded."""
    counts = Counter(outcome.result for outcome in result.outcomes)
    run = replace(run, result=result, done=counts[Result.DONE])
    if result.interrupted or tools.stop.is_set():
        ending = Ending.APPLIED if result.complete else Ending.INCOMPLETE
        return replace(
            run, ending=ending, message="" if result.complete else "stopped on request; what is left is planned anew"
        )
    left = _again(revision, survey)
    plan = left.plan
    run = _found(run, _report(revision, left), plan)
    failed = [f"{outcome.address}: {outcome.message}" for outcome in result.outcomes if outcome.result is Result.FAILED]
    if failed:
        more = f"\nand {len(failed) - _SAID:,} more" if len(failed) > _SAID else ""
        return replace(run, ending=Ending.INCOMPLETE, message="\n".join(failed[:_SAID]) + more)
    if plan.is_empty:
        return replace(run, ending=Ending.APPLIED, message="")
    if all(action.blocked for action in plan.actions):
        return replace(run, ending=Ending.BLOCKED, message=_blocked(plan))
    return replace(
        run, ending=Ending.INCOMPLETE, message=f"{len(plan.actions):,} actions are due again right after the apply"
    )


def _again(revision: CheckedRevision, survey: Survey) -> Survey:
    """Read and plan once more, over the same connection."""
    target, desired, connection = survey.target, survey.desired, survey.connection
    live = read_target(connection, desired, _OPTIONS, {})
    return Survey(
        target,
        desired,
        live,
        plan_target(revision.project, target, desired, live, _OPTIONS, connection, {}),
        connection,
    )


def _clock_of(tools: Tools) -> Time:
    return Time(tools.now, tools.sleep)


def _warn(text: str) -> None:
    _LOG.warning("lock", reason=text)


def _forgotten(text: str) -> None:
    _LOG.warning("not remembered", reason=text)


def _report(revision: CheckedRevision, survey: Survey) -> DriftReport:
    return drift_of(revision.project, survey)


def _found(run: Run, report: DriftReport, plan: TargetPlan) -> Run:
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
        foreign=len(report.foreign),
        waiting_on_air=sum(action.blocked is not None and action.blocked.code == "live" for action in plan.actions),
    )


def _blocked(plan: TargetPlan) -> str:
    held = [f"{action.address}: {action.blocked.message}" for action in plan.actions if action.blocked]
    more = f"\nand {len(held) - _SAID:,} more" if len(held) > _SAID else ""
    return "\n".join(held[:_SAID]) + more


def _on_air(survey: Survey) -> tuple[OnAir, ...]:
    """Return the broadcasts of the stack's channels; other people's are not ours to show."""
    names = _channels(survey.live, survey.desired.stack)
    if not names:
        return ()
    streams = read_streams(survey.connection.gateway)
    found = (
        OnAir(names[arn], arn, stream.started_at, stream.viewers, stream.health)
        for arn, stream in streams.items()
        if arn in names
    )
    return tuple(sorted(found, key=lambda each: (-each.viewers, each.name)))


def _channels(live: LiveState, stack: str) -> dict[str, str]:
    return {
        channel.arn: channel.tags.get(ID, channel.name)
        for channel in live.of(KindName.CHANNEL)
        if channel.tags.get(STACK) == stack
    }


class _Silent:
    """Watches an apply for nobody: every step writes its own line to the log."""

    @contextmanager
    def watching(self, plan: TargetPlan) -> Iterator[Callable[[Event], None]]:
        """Return what takes the events."""
        del plan
        yield lambda _event: None

    def finished(self, plan: TargetPlan, result: ApplyResult) -> None:
        """Take the end."""


class StoreMemory:
    """What was told of one stack, kept as notes in the store."""

    def __init__(self, store: Store, stack: str) -> None:
        self._store = store
        self._stack = stack

    def known(self, channel: str, target: str, /) -> Known:
        """Return what the channel was told last."""
        text = self._store.note(self._key(channel, target))
        return Known.from_json(json.loads(text)) if text else NOTHING

    def keep(self, channel: str, target: str, known: Known, /) -> None:
        """Remember what the channel was just told. Raises ``OSError``."""
        try:
            self._store.write_note(self._key(channel, target), json.dumps(known.to_json()))
        except StoreError as error:
            raise OSError(str(error)) from None

    def _key(self, channel: str, target: str) -> str:
        return json.dumps(["told", self._stack, channel, target])


class Teller:
    """Tells the channels that a project names. ``pages`` is where people find the status page; messages link to it."""

    def __init__(
        self,
        store: Store,
        environment: Mapping[str, str],
        counted: Callable[[str, Telling], None],
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

    def __call__(self, project: Project, look: Look) -> None:
        """Tell what is new about one target. A channel that fails is told the next time."""
        name = look.name if isinstance(look, DriftReport) else look.target.name
        tellings = tell(
            project.notifications,
            project.stack,
            (look,),
            StoreMemory(self._store, project.stack),
            environment=self._environment,
            link=f"{self._pages}/targets/{quote(name, safe='')}" if self._pages else "",
            sleep=self._sleep,
            now=lambda: datetime.fromtimestamp(self._now(), UTC),
        )
        for telling in tellings:
            self._counted(project.stack, telling)
