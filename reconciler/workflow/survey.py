"""Reads targets and plans them: for each, the connection, the live state and the plan (``Survey``).

All targets are read at the same time; results are in the project's order. A target that fails is reported next to the others,
so that one bad account does not hide the rest.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

from reconciler.aws.client import Answer, ReadCalls
from reconciler.aws.connection import Connection, connect
from reconciler.aws.denials import missing_permission
from reconciler.aws.reader import ReadRequest, read_live, read_stream_keys, read_streams
from reconciler.errors import AdoptionError, AwsError, UsageError
from reconciler.model.address import Address, KindName
from reconciler.model.kinds import CHILD_KINDS, DEFAULT_QUOTAS, LISTED, AppliedQuotas, Service, child_of
from reconciler.model.resource import DesiredState, LiveResource, LiveState, digest_of
from reconciler.model.target import Project, Shards, Target
from reconciler.model.values import format_time
from reconciler.network import descriptors, is_out_of_descriptors, out_of_descriptors
from reconciler.plan.decide import build_plan
from reconciler.plan.decision import NOTHING, Rotate
from reconciler.plan.guardrails import members_to_adopt, needs_applied_quotas, with_holds, with_quotas
from reconciler.plan.live_channels import Broadcasts, LiveRules, needs_streams, to_stop, with_live_channels
from reconciler.plan.pairing import name_of
from reconciler.plan.plan import Plan, PlanOptions, TargetPlan, Verb
from reconciler.plan.selection import kinds_to_read, unmatched_globs
from reconciler.plan.steps import Expected, reads_of
from reconciler.workflow.history import live_addresses, recorded_arns, recorded_kinds
from reconciler.workflow.journal import last_run
from reconciler.workflow.records import records_of

_AT_ONCE_PER_CPU, _MAX_AT_ONCE = 8, 32
"""A target in sync takes a quarter of a second of waiting and 25 ms of CPU time."""

_DESCRIPTORS, _OTHER_DESCRIPTORS = 8, 64
"""The most that a target at work holds open, and what the process needs besides."""

_SAME_LOCATION = "SameLocation"
_NO_ADOPTIONS: Mapping[str, Mapping[Address, str]] = MappingProxyType({})

T = TypeVar("T")
_WAKE_SECONDS = 0.5

Connect = Callable[[Target], contextlib.AbstractContextManager[Connection]]
"""Connects to a target: ``connect``, or a caller's own with another clock, or with a count of requests."""


class Progress(Protocol):
    """Receives the progress of work on targets, from several threads."""

    def __call__(self, target: str, calls: int, left: Expected | None, /) -> None:
        """Receive how many calls a target made, and how long the rest takes (``None`` if calls are not rate-limited by the client)."""

    def finished(self, target: str, /, *, failed: bool) -> None:
        """Receive that the work on a target has ended."""


class Survey(NamedTuple):
    """One target: its desired state, live state and plan. ``read_at`` is when the reading began, by the monotonic clock.

    ``commit`` is the commit of the spec, which an apply records; empty records none.
    """

    target: Target
    desired: DesiredState
    live: LiveState
    plan: TargetPlan
    connection: Connection
    read_at: float
    commit: str = ""


@contextlib.contextmanager
def survey_targets(  # noqa: PLR0913 - a caller names each
    project: Project,
    targets: tuple[Target, ...],
    options: PlanOptions,
    *,
    desired: Mapping[str, DesiredState],
    adopt: Mapping[str, Mapping[Address, str]] = _NO_ADOPTIONS,
    progress: Progress | None = None,
    open_target: Connect = connect,
    rotate: Rotate = NOTHING,
    every_kind: bool = False,
    at_once: int | None = None,
    missed: dict[str, AwsError] | None = None,
) -> Iterator[tuple[Survey, ...]]:
    """Connect to every target, read it and plan it; the connections stay open inside the ``with``.

    ``at_once`` is how many targets are worked on at the same time; ``None`` is ``default_at_once``.
    ``adopt`` has, by target, the ARNs of the live resources to adopt for addresses.
    Raises ``AdoptionError`` for those that cannot be adopted, and ``AwsError`` with a line for each target that failed; with ``missed``,
    which receives the errors by target, only if no target could be read.
    ``every_kind`` also reads the kinds that a plan does not need, for what is unmanaged or orphaned.
    """
    with contextlib.ExitStack() as stack:
        many = len(targets) > (at_once or default_at_once())

        def read(target: Target) -> Survey | AdoptionError:
            connection = stack.enter_context(open_target(target))
            given = adopt.get(target.name, {})
            report = None if progress is None else partial(progress, target.name)
            spec = desired[target.name]
            try:
                return survey_one(
                    project, target, spec, connection, options, given, report, rotate, every_kind=every_kind
                )
            except AdoptionError as error:
                return error
            finally:
                if many:
                    connection.rest()

        found = checked_results(project, targets, map_targets(targets, read, at_once, progress))
        raise_failures(targets, found, missed)
        yield tuple(item for item in found if isinstance(item, Survey))


def survey_one(  # noqa: PLR0913 - a caller names each
    project: Project,
    target: Target,
    desired: DesiredState,
    connection: Connection,
    options: PlanOptions,
    given: Mapping[Address, str],
    progress: Callable[[int, Expected | None], None] | None,
    rotate: Rotate = NOTHING,
    *,
    every_kind: bool = False,
    outputs: bool = True,
) -> Survey:
    """Read and plan one target; without ``outputs`` live resources have none. Raises ``AwsError`` and ``AdoptionError``."""
    records_of(project).refresh(target.name)
    kinds = frozenset(LISTED) if every_kind else _needed_kinds(project, target, desired, options)
    began = time.monotonic()
    arns = frozenset(given.values())
    if options.adopt:
        here = LiveState(connection.account_id, connection.region, {})
        arns |= frozenset(recorded_arns(records_of(project), project.stack, target.name, here).values())
    live = read_target(connection, desired, options, arns, progress, kinds, outputs=outputs)
    plan = plan_target(project, target, desired, live, options, connection, given, rotate=rotate)
    return Survey(target, desired, live, plan, connection, began)


def checked_results(
    project: Project, targets: tuple[Target, ...], results: Sequence[Survey | AdoptionError | AwsError]
) -> list[Survey | AwsError]:
    """Return the surveys, or errors, of these targets, with errors for those in one account and region. Raises ``AdoptionError`` for all targets together."""
    problems = tuple(
        problem._replace(where=target.name)
        for target, result in zip(targets, results, strict=True)
        if isinstance(result, AdoptionError)
        for problem in result.problems
    )
    if problems:
        raise AdoptionError(problems)
    return _refuse_same_location(project, targets, [one for one in results if not isinstance(one, AdoptionError)])


def _refuse_same_location(
    project: Project, targets: tuple[Target, ...], found: list[Survey | AwsError]
) -> list[Survey | AwsError]:
    """Replace the surveys of targets that turned out to be in one account and region by errors: each would delete the other's resources.

    Targets that were not read count with the account that they state.
    """
    where: dict[tuple[str, str, str], list[str]] = {}
    read = {target.name: item for target, item in zip(targets, found, strict=True) if isinstance(item, Survey)}
    for target in project.targets.values():
        account = read[target.name].connection.account_id if target.name in read else target.stated_account
        if account is not None:
            where.setdefault((server_of(target), account, target.region), []).append(target.name)
    twins = {name: names for names in where.values() if len(names) > 1 for name in names}
    return [
        AwsError(
            f"targets {' and '.join(twins[target.name])} are in the same account and region, and each would delete the other's resources; "
            "merge them, or give each its own stack in its own project file. Nothing was changed",
            operation="GetCallerIdentity",
            code=_SAME_LOCATION,
        )
        if target.name in read and target.name in twins
        else item
        for target, item in zip(targets, found, strict=True)
    ]


def server_of(target: Target) -> str:
    """Return the endpoint of a target, or the path of its sandbox's file; empty for AWS."""
    return os.path.realpath(target.sandbox) if target.sandbox else (target.endpoint_url or "").rstrip("/")


def _needed_kinds(project: Project, target: Target, desired: DesiredState, options: PlanOptions) -> frozenset[KindName]:
    """Return the kinds that a plan of this target reads: see ``kinds_to_read``."""
    root = Path(project.root)
    recorded = recorded_kinds(records_of(project), target.name)
    last = last_run(root, target.name)
    if last is not None and not last.ended:
        recorded |= {address.kind for address in last.created}
    return kinds_to_read(desired.kinds, options.of(target), recorded)


def default_at_once() -> int:
    """Return how many targets are worked on at the same time: as many as keep the processor busy, and as the file descriptors allow."""
    return max(
        1,
        min(
            _MAX_AT_ONCE, _AT_ONCE_PER_CPU * (os.cpu_count() or 1), (descriptors() - _OTHER_DESCRIPTORS) // _DESCRIPTORS
        ),
    )


def map_targets(
    targets: tuple[Target, ...],
    read: Callable[[Target], T],
    at_once: int | None = None,
    progress: Progress | None = None,
) -> list[T | AwsError]:
    """Call ``read`` for targets at the same time and return the results in their order. An interrupt does not wait for calls in flight.

    The ``AwsError`` of a target is its result, and so is running out of descriptors: the other targets continue.
    """

    def result(target: Target) -> T | AwsError:
        found = outcome_of(partial(read, target))
        if progress is not None:
            progress.finished(target.name, failed=has_failed(found))
        return found

    workers = max(1, min(at_once or default_at_once(), len(targets)))
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="target")
    finished = False
    try:
        found = []
        for one in [pool.submit(result, target) for target in targets]:
            wait_for((one,))
            found.append(one.result())
        finished = True
    finally:
        pool.shutdown(wait=finished, cancel_futures=not finished)
    return found


def wait_for(futures: Sequence[Future[Any]]) -> None:
    """Wait until all are done. In the main thread, a signal ends the wait: at once, or after half a second if another thread received it.

    Python runs a handler in the main thread only, and one that waits for a lock does not notice the signal of another thread.
    """
    while wait(futures, timeout=_WAKE_SECONDS).not_done:
        pass


def outcome_of(work: Callable[[], T]) -> T | AwsError:
    """Return what the work on a target returns, or its ``AwsError``; running out of descriptors is one too."""
    try:
        return work()
    except AwsError as error:
        return error
    except OSError as error:
        if not is_out_of_descriptors(error):
            raise
        return AwsError(out_of_descriptors(), code="TooManyOpenFiles")


def has_failed(found: object) -> bool:
    """Whether the work on a target failed: its result is an error, or reports one in place of the survey, as that of ``drift`` does."""
    return isinstance(getattr(found, "survey", found), AwsError)


def raise_failures(targets: tuple[Target, ...], found: Sequence[object], missed: dict[str, AwsError] | None) -> None:
    """Raise ``AwsError`` for the targets that could not be read; with ``missed`` put them there, unless nothing is left to work on.

    Targets in one account and region are an error of the project, which stops all.
    """
    failures = failures_by_target(targets, found)
    failure = combine_failures(failures)
    if failure is None:
        return
    if missed is None or len(failures) == len(targets) or any(one.code == _SAME_LOCATION for one in failures.values()):
        raise failure
    missed.update(failures)


def failures_by_target(targets: tuple[Target, ...], found: Sequence[object]) -> dict[str, AwsError]:
    """Return the errors among the results of these targets, by target."""
    return {target.name: one for target, one in zip(targets, found, strict=True) if isinstance(one, AwsError)}


def combine_failures(failures: Mapping[str, AwsError]) -> AwsError | None:
    """Return the failures of targets as one error, a line each, with the code of the first; ``None`` if there are none."""
    if not failures:
        return None
    lines = [f"{name}: {_with_request(failure)}" for name, failure in failures.items()]
    first = next(iter(failures.values()))
    return AwsError(
        "\n".join(lines), operation=first.operation, code=first.code, status=first.status, request_id=first.request_id
    )


def _with_request(failure: AwsError) -> str:
    """Return an error's text with its operation, code and request id, where the text does not name them already."""
    text = str(failure)
    head = f"{failure.operation}: " if failure.operation and failure.operation not in text else ""
    facts = [
        fact
        for fact in (failure.code, failure.request_id and f"request {failure.request_id}")
        if fact and fact not in text
    ]
    return f"{head}{text} ({', '.join(facts)})" if facts else f"{head}{text}"


def read_target(
    connection: Connection,
    desired: DesiredState,
    options: PlanOptions,
    full_arns: frozenset[str] = frozenset(),
    progress: Callable[[int, Expected | None], None] | None = None,
    kinds: frozenset[KindName] = frozenset(LISTED),
    *,
    outputs: bool = True,
) -> LiveState:
    """Return the live state of these kinds that a plan of this spec needs, of one account and region.

    ``full_arns`` are unowned resources that may be adopted.
    """
    names: dict[KindName, set[str]] = {}
    ids: dict[KindName, set[str]] = {}
    for address, resource in desired.resources.items() if options.adopt or options.take_over else ():
        if address.kind not in CHILD_KINDS:
            names.setdefault(address.kind, set()).add(name_of(resource))
            ids.setdefault(address.kind, set()).add(address.id)
    request = ReadRequest(
        stack=desired.stack,
        stream_key_channels=_channels_with_keys(desired),
        adopt_names={kind: frozenset(found) for kind, found in names.items()},
        ignore_tags=desired.ignore_tags,
        needed=frozenset(address.kind for address in desired.resources),
        full_arns=full_arns,
        take_over=frozenset(options.take_over),
        adopt_ids={kind: frozenset(found) for kind, found in ids.items()},
        kinds=kinds,
        outputs=outputs,
    )
    calls: ReadCalls = connection.gateway
    if progress is not None:
        from reconciler.workflow.progress import ForecastCalls  # noqa: PLC0415 - it imports apply, which a plan without a progress display does not need

        calls = ForecastCalls(connection.gateway, reads_of(desired), connection.gateway.pace, progress)
    return read_live(calls, request, account_id=connection.account_id, region=connection.region)


def _channels_with_keys(desired: DesiredState) -> frozenset[str]:
    """Return the ids of the channels whose stream keys a plan needs: those of the spec, under former ids too, and those to forget."""
    found = {address.id for address in desired.resources if address.kind in CHILD_KINDS}
    found |= {old.id for old, new in desired.moved.items() if child_of(new) in desired.resources}
    found |= {address.id for address in desired.forget if address.kind in CHILD_KINDS or child_of(address)}
    return frozenset(found)


def plan_target(
    project: Project,
    target: Target,
    desired: DesiredState,
    live: LiveState,
    options: PlanOptions,
    connection: Connection,
    adopt: Mapping[Address, str],
    *,
    rotate: Rotate = NOTHING,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> TargetPlan:
    """Return the plan of one target.

    Active streams are listed only if the plan changes a channel, applied quotas are read only if it creates something that counts,
    and CloudFormation is asked only about resources to adopt that have its tags.
    """
    allowed, at = options.of(target), now()
    build = partial(build_plan, desired, live, allowed, target_name=target.name, adopt=adopt, rotate=rotate, now=at)
    plan = build()
    # What is to be created, or adopted by its name, may exist without its owner tags. The record of 5,000 channels takes 30 ms to read.
    if without := {action.address for action in plan.actions if action.verb in (Verb.CREATE, Verb.ADOPT)}:
        recorded = recorded_arns(records_of(project), project.stack, target.name, live)
        if any(desired.moved.get(address, address) in without for address in recorded):
            build = partial(build, recorded=recorded)
            plan = build()
    applied = AppliedQuotas()
    if needs_applied_quotas(plan.actions):
        applied = connection.quotas()
        if applied.limits != DEFAULT_QUOTAS:
            del plan  # two plans of 50,000 creates would need 130 MB more
            plan = build(limits=applied.limits)
    if members := members_to_adopt(plan.actions, live):
        plan = with_holds(plan, members, connection.stacks(sorted(members)), options.take_over)
    rules = LiveRules.of(project.guardrails_of(target.name), options, desired.resources, even_live=rotate.even_live)
    broadcasts = _read_streams(connection.gateway) if needs_streams(plan.actions) else None
    if broadcasts is not None:
        to_end = to_stop(plan.actions, broadcasts.streams, rules)
        broadcasts = _read_keys(broadcasts, to_end, connection.gateway)
    return with_quotas(with_live_channels(plan, live, rules, broadcasts), live, applied)


def _read_streams(calls: ReadCalls) -> Broadcasts:
    """Return the active streams, or the reason why they may not be listed. Raises ``AwsError`` for any other failure."""
    try:
        return Broadcasts(read_streams(calls))
    except AwsError as error:
        return Broadcasts(unseen=missing_permission(error))


def _read_keys(broadcasts: Broadcasts, channels: Iterable[str], calls: ReadCalls) -> Broadcasts:
    """Add the stream keys of the channels whose stream will be ended, by ARN."""
    keys: dict[str, tuple[LiveResource, ...]] = {}
    hidden: dict[str, str] = {}
    for arn in channels:
        try:
            keys[arn] = read_stream_keys(calls, arn)
        except AwsError as error:
            hidden[arn] = missing_permission(error)
    return broadcasts._replace(keys=keys, hidden=hidden)


def combine_plans(
    project: Project,
    surveys: tuple[Survey, ...],
    options: PlanOptions,
    *,
    git_commit: str | None,
    now: datetime | None = None,
    shards: Shards | None = None,
) -> Plan:
    """Return the targets' plans as the one plan that is shown, saved and applied."""
    return Plan(
        stack=project.stack,
        created_at=format_time(now or datetime.now(UTC)),
        git_commit=git_commit,
        spec_digest="sha256:" + digest_of({survey.target.name: survey.desired.digest for survey in surveys}),
        options=options,
        targets=tuple(survey.plan for survey in surveys),
        shards=shards,
    )


def check_globs(
    options: PlanOptions,
    desired: Mapping[str, DesiredState],
    surveys: Sequence[Survey],
    elsewhere: Mapping[str, DesiredState],
) -> None:
    """Raise ``UsageError`` for globs that match nothing in any target. If something could not be read, that is unknown and nothing is raised.

    ``elsewhere`` has the desired states of targets that are in other shards.
    """
    if not options.has_globs or len(surveys) < len(desired) or any(survey.live.unreadable for survey in surveys):
        return
    known = {address for states in (desired, elsewhere) for state in states.values() for address in state.resources}
    known |= {address for survey in surveys for address in live_addresses(survey.live, survey.desired.stack)}
    unmatched = unmatched_globs(options.only, options.exclude, known)
    if unmatched:
        raise UsageError("\n".join(unmatched))


class CountedCalls:
    """Passes calls on and counts them."""

    def __init__(self, calls: ReadCalls) -> None:
        self._calls = calls
        self.count = 0
        self._lock = threading.Lock()

    def call(self, operation: str, parameters: Mapping[str, object], service: Service | None = None, /) -> Answer:
        """Pass one call on."""
        answer = self._calls.call(operation, parameters, service)
        with self._lock:
            self.count += 1
        return answer
