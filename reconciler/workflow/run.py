"""Applies plans, several targets at the same time, each with a journal while it runs and a record at the end."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from reconciler.apply import Event, Forecast, NewResources, StepFinished, execute
from reconciler.aws.reader import list_kind
from reconciler.model.address import is_commit
from reconciler.model.target import Project
from reconciler.plan.plan import ApplyResult
from reconciler.plan.steps import Call, call_of, calls_of, expected
from reconciler.workflow.history import find_unknown_commit, record_apply, record_commit
from reconciler.workflow.journal import Journal, close_last_run
from reconciler.workflow.locks import any_of
from reconciler.workflow.records import records_of
from reconciler.workflow.survey import CountedCalls, Survey, default_at_once, server_of, wait_for

FORECAST_INTERVAL = 1.0
_CONSEQUENCE = "drift cannot distinguish resources deleted outside from new ones"


class ApplyObserver(Protocol):
    """Receives the progress of an apply: a terminal, a stream of JSON, the controller's state.

    Each target calls from a thread of its own, several targets at the same time.
    """

    def observe(self, name: str, actions: int, /) -> AbstractContextManager[Callable[[Event], None]]:
        """Return a context with the handler for the events of one target's apply, of so many actions."""

    def finished(self, result: ApplyResult, /) -> None:
        """Receive the result of one target's apply."""


class Silent:
    """An observer that shows nothing: results are returned, and steps are logged."""

    def observe(self, _name: str, _actions: int, /) -> AbstractContextManager[Callable[[Event], None]]:
        """Ignore the events."""
        return nullcontext(lambda _event: None)

    def finished(self, result: ApplyResult, /) -> None:
        """Ignore the result."""


def apply_plans(  # noqa: PLR0913 - clocks are arguments, so that tests need no patching
    surveys: Sequence[Survey],
    project: Project,
    observer: ApplyObserver,
    *,
    stop: threading.Event,
    lost: Mapping[str, threading.Event] = MappingProxyType({}),
    at_once: int | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    draw: Callable[[], float] = random.random,
    note: Callable[[str], None] = lambda _text: None,
) -> tuple[ApplyResult, ...]:
    """Apply every plan that is not empty, ``at_once`` targets at the same time, and return the results in the order of the surveys.

    ``at_once`` is ``default_at_once`` if ``None``. One account and region is worked on by one thread at a time.
    Arguments are those of ``apply_target``. A target that fails stops no other; an unexpected exception of one is raised
    when all have ended. An interrupt of the calling thread does not wait for calls in flight, and no more start.
    """
    abandoned = threading.Event()
    places = {_place_of(survey): threading.Lock() for survey in surveys}

    def apply(survey: Survey) -> ApplyResult | None:
        with places[_place_of(survey)]:
            result = apply_target(
                survey,
                project,
                observer,
                stop=any_of(stop, abandoned, lost.get(survey.target.name)),
                sleep=sleep,
                clock=clock,
                draw=draw,
                note=note,
            )
            if len(surveys) > 1:
                survey.connection.rest()
            return result

    workers = max(1, min(at_once or default_at_once(), len(places)))
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="apply-target")
    try:
        # Each with the caller's context: the logs of a target name what the caller bound.
        ran = [pool.submit(copy_context().run, apply, survey) for survey in surveys]
        wait_for(ran)
    finally:
        abandoned.set()
        pool.shutdown(wait=False, cancel_futures=True)
    return tuple(result for future in ran if (result := future.result()) is not None)


def _place_of(survey: Survey) -> tuple[str, ...]:
    """Return what only one apply may change at a time: an account and region, or a sandbox's file."""
    if survey.target.sandbox is not None:
        return (server_of(survey.target),)
    return survey.connection.account_id, survey.connection.region


def apply_target(
    survey: Survey,
    project: Project,
    observer: ApplyObserver,
    *,
    stop: threading.Event,
    note: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    draw: Callable[[], float] = random.random,
) -> ApplyResult | None:
    """Apply the plan of one target and return its result; an empty plan is only recorded, and ``None`` is returned.

    Once ``stop`` is set, in-flight calls finish and no more start. ``note`` is called if the journal or the record cannot be written.
    """
    root, records, plan = Path(project.root), records_of(project), survey.plan
    if not plan.actions:
        close_last_run(root, plan.name, plan.account_id)
        commit = _record_known_commit(survey, note) if not stop.is_set() else ""
        record_apply(records, project.stack, plan, survey.live, None, survey.desired, commit)
        return None
    gateway = survey.connection.gateway
    lists = CountedCalls(gateway)
    new_resources = NewResources(
        partial(list_kind, lists),
        project.stack,
        (resource.arn for resources in survey.live.resources.values() for resource in resources),
        read_at=survey.read_at,
        clock=clock,
    )
    journal = Journal(root, plan.name, plan.account_id)
    not_opened = journal.trouble
    if not_opened:
        note(f"{plan.name}: no journal is written ({not_opened}); if this apply dies, the next run cannot report where")
    commit, unrecorded = "", ""
    if survey.commit and not stop.is_set():
        commit, unrecorded = record_commit(lists, plan, survey.live, survey.desired, survey.commit)
    coming = calls_of(plan)
    with journal, observer.observe(plan.name, len(plan.actions)) as on_event:
        result = execute(
            plan,
            gateway,
            on_event=with_forecasts(coming, journal.recording(on_event), gateway.pace, clock),
            stop=stop,
            sleep=sleep,
            clock=clock,
            new_resources=new_resources,
            before_step=journal.step_started,
            draw=draw,
            publish=survey.connection.publish,
        )
    if survey.commit and not result.interrupted:
        later, failed = record_commit(lists, plan, survey.live, survey.desired, survey.commit, result)
        commit, unrecorded = later or commit, failed or unrecorded
    if unrecorded:
        note(f"{plan.name}: the commit of this apply was not recorded ({unrecorded}); {_CONSEQUENCE}")
    result = result._replace(calls=result.calls + lists.count)
    observer.finished(result)
    if journal.trouble and not not_opened:
        note(f"{plan.name}: the journal of this apply is incomplete ({journal.trouble})")
    not_recorded = record_apply(records, project.stack, plan, survey.live, result, survey.desired, commit)
    if not_recorded:
        note(f"{plan.name}: the record of this apply was not written ({not_recorded}); {_CONSEQUENCE}")
    return result


def _record_known_commit(survey: Survey, note: Callable[[str], None]) -> str:
    """Record the commit of a target in sync if that of the last apply is unknown, and return it; empty if nothing was recorded.

    An older commit stays: no tag is written with every commit that changes nothing here.
    """
    is_whole = is_commit(survey.commit) and not survey.desired.missing
    if not is_whole or find_unknown_commit(survey.plan, survey.live, survey.desired.stack) is None:
        return ""
    commit, failed = record_commit(survey.connection.gateway, survey.plan, survey.live, survey.desired, survey.commit)
    if failed:
        note(f"{survey.plan.name}: the commit of this apply was not recorded ({failed}); {_CONSEQUENCE}")
    return commit


def with_forecasts(
    left: Counter[Call],
    on_event: Callable[[Event], None],
    pace: Callable[[str, str], float | None],
    clock: Callable[[], float],
) -> Callable[[Event], None]:
    """Return an event handler that calls ``on_event`` and adds forecasts. ``left`` are the calls to come. There are none unless all calls are rate-limited by the client."""
    if any(pace(*call) is None for call in left):
        return on_event
    began = clock()
    last = began - FORECAST_INTERVAL

    def forecast() -> None:
        nonlocal last
        now = clock()
        rest = expected(left, lambda service, operation: pace(service, operation) or 1.0)
        if rest is not None and now - last >= FORECAST_INTERVAL:
            last = now
            names: Counter[str] = Counter()
            for (_, operation), count in left.items():
                names[operation] += count
            on_event(Forecast(+names, rest, now - began))

    def handle(event: Event) -> None:
        on_event(event)
        if isinstance(event, StepFinished):
            left[call_of(event.address, event.outcome.operation)] -= 1
            forecast()

    forecast()
    return handle
