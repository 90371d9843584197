"""Carrying out what was planned: one target after the other, told as it goes, remembered at the end."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, TypeAlias

from reconciler.apply import Event, NewResources, execute
from reconciler.aws.reader import whole_list
from reconciler.model.target import Project
from reconciler.plan.plan import ApplyResult, TargetPlan
from reconciler.workflow.history import record_apply
from reconciler.workflow.journal import Journal, close_last_run
from reconciler.workflow.locks import either
from reconciler.workflow.progress import with_forecasts
from reconciler.workflow.survey import CountedCalls, Survey

PlannedTargets: TypeAlias = Sequence[tuple[TargetPlan, Survey]]
"""The plans to carry out, each with the open connection and the live state it was made from."""


class ApplyObserver(Protocol):
    """Is told how an apply goes: a person's screen, a stream of JSON, the controller's record."""

    def watching(self, plan: TargetPlan, /) -> AbstractContextManager[Callable[[Event], None]]:
        """Return what takes the events of one target's apply while the context lasts."""

    def finished(self, plan: TargetPlan, result: ApplyResult, /) -> None:
        """Take the end of one target's apply."""


def apply_plans(
    work: PlannedTargets,
    project: Project,
    watch: ApplyObserver,
    *,
    stop: threading.Event,
    lost: Mapping[str, threading.Event] = MappingProxyType({}),
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    draw: Callable[[], float] = random.random,
    note: Callable[[str], None] = lambda _text: None,
) -> tuple[ApplyResult, ...]:
    """Carry out every plan that is not empty and return what became of each. ``note`` is told what cannot be remembered of it; no apply fails of that.

    Once ``stop`` is set, calls in flight finish and no more start; so it is for a target whose event in ``lost`` is set, because its lock was lost.
    """
    root = Path(project.root)
    results: list[ApplyResult] = []
    for plan, survey in work:
        result, trouble = None, ""
        if plan.is_empty:
            close_last_run(root, plan.name, plan.account_id)
        else:
            looks = CountedCalls(survey.connection.gateway)
            new_resources = NewResources(
                partial(whole_list, looks),
                project.stack,
                (resource.arn for resources in survey.live.resources.values() for resource in resources),
                read_at=survey.read_at,
                clock=clock,
            )
            journal = Journal(root, plan.name, plan.account_id)
            trouble = journal.trouble
            if trouble:
                note(
                    f"{plan.name}: no journal is kept ({trouble}); should this apply not come to its end, the next run cannot tell where it was"
                )
            with journal, watch.watching(plan) as on_event:

                def told(
                    event: Event, journal: Journal = journal, on_event: Callable[[Event], None] = on_event
                ) -> None:
                    journal.event(event)
                    on_event(event)

                gateway = survey.connection.gateway
                result = execute(
                    plan,
                    gateway,
                    on_event=with_forecasts(plan, told, gateway.pace, clock),
                    stop=either(stop, lost.get(plan.name)),
                    sleep=sleep,
                    clock=clock,
                    new_resources=new_resources,
                    before_step=journal.before,
                    draw=draw,
                    publish=survey.connection.deliver,
                )
            result = replace(result, calls=result.calls + looks.count)
            watch.finished(plan, result)
            results.append(result)
            if journal.trouble and not trouble:
                note(f"{plan.name}: the journal of this apply has gaps ({journal.trouble})")
        forgotten = record_apply(root, project.stack, plan, survey.live, result, survey.desired)
        if forgotten and result is not None:
            note(
                f"{plan.name}: what stands now is not remembered ({forgotten}); drift cannot tell what is deleted outside from what was never applied"
            )
    return tuple(results)
