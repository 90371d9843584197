"""Where the work on targets runs: threads of this process, worker processes, the workers of a Dask cluster.

Plan, drift and apply give an ``Executor`` the same function and a ``Task`` for each target, and get the results in the order of the tasks.
A task and a result can be pickled and hold no secret: what runs a task uses the credentials of its own environment.
One account and region is worked on by one task at a time, because its call rates are shared.

``Threads`` is here, ``processes`` and ``dask_cluster`` run work elsewhere, ``fleet`` is the work of plan, drift and apply on one target.
Imports ``workflow`` and what is below it; only ``cli`` chooses an executor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol, TypeVar, cast

from reconciler.errors import AwsError
from reconciler.model.address import Address
from reconciler.model.resource import DesiredState
from reconciler.model.target import Project, Target
from reconciler.plan.plan import PlanOptions, TargetPlan
from reconciler.workflow.survey import Progress, has_failed, map_targets, server_of

if TYPE_CHECKING:
    from reconciler.drift.classify import AppliedCommit
    from reconciler.plan.steps import Expected

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Task(NamedTuple):
    """What work on one target takes. ``project`` is the project file with this target only.

    ``adopt`` has the ARNs of the live resources to adopt for addresses. ``approved`` is the plan to apply, and ``commit`` what the apply records.
    ``applied`` is the commit of the last apply, where git could be asked for it before.
    """

    project: Project
    target: Target
    desired: DesiredState
    options: PlanOptions
    adopt: Mapping[Address, str] = {}
    approved: TargetPlan | None = None
    commit: str = ""
    applied: AppliedCommit | None = None

    @property
    def place(self) -> tuple[str, ...]:
        """What one task works on at a time: an account and region of one endpoint, or a sandbox's file."""
        target = self.target
        if target.sandbox is not None:
            return (server_of(target),)
        account = target.account_id or target.role_arn or target.profile or ""
        return (server_of(target), account, target.region)


@dataclass(frozen=True, slots=True)
class Control:
    """How the caller and the work on one target reach each other while it runs.

    ``progress`` is called with the number of calls and how long the rest takes. Once ``stop`` is set, no more calls start.
    """

    progress: Callable[[int, Expected | None], None] | None = None
    stop: threading.Event = field(default_factory=threading.Event)


class Work(Protocol[R_co]):
    """Work on one target: a function, or a frozen value with settings, that can be pickled. Raises ``AwsError`` if it failed."""

    def __call__(self, task: Task, control: Control, /) -> R_co:
        """Do the work and return its result."""


class Executor(Protocol):
    """Runs work on targets. ``in_checkout`` says whether the work finds the git repository of the project."""

    in_checkout: ClassVar[bool]

    def run(
        self,
        work: Work[R],
        tasks: Sequence[Task],
        *,
        progress: Progress | None = None,
        stops: Mapping[str, threading.Event] = MappingProxyType({}),
        ended: Callable[[int, R | AwsError], None] = lambda _index, _found: None,
    ) -> list[R | AwsError]:
        """Return the result of each task, in their order: what the work returned, or why it failed; the other tasks continue.

        ``stops`` has, by target, the event that ends its work early. ``ended`` receives the index and the result of each task
        in the thread of the caller, from processes and other machines when it ends. Other exceptions of the work are raised, and no more tasks start.
        """


class Running(Protocol):
    """Work that runs elsewhere. ``results`` has what ended, by the index of its task, in the order in which it ended."""

    results: dict[int, object]

    @property
    def finished(self) -> bool:
        """Whether nothing is left to wait for."""

    def hand_out(self) -> None:
        """Begin tasks, as many as may run."""

    def collect(self) -> None:
        """Wait for something to end."""


def finish(
    running: Running, tasks: Sequence[Task], progress: Progress | None, ended: Callable[[int, R | AwsError], None]
) -> list[R | AwsError]:
    """Wait for the work, and report each result once, when it ends. Return all, as ``Executor.run`` does."""
    reported = 0
    while not running.finished:
        running.hand_out()
        running.collect()
        for index, found in islice(running.results.items(), reported, None):
            reported += 1
            ended(index, cast("R | AwsError", found))
            if progress is not None:
                progress.finished(tasks[index].target.name, failed=has_failed(found))
    return cast("list[R | AwsError]", [running.results[index] for index in range(len(tasks))])


@dataclass(frozen=True, slots=True)
class Threads:
    """Runs work in threads of this process, ``at_once`` targets at the same time; ``None`` is ``default_at_once``."""

    in_checkout: ClassVar[bool] = True
    at_once: int | None = None

    def run(
        self,
        work: Work[R],
        tasks: Sequence[Task],
        *,
        progress: Progress | None = None,
        stops: Mapping[str, threading.Event] = MappingProxyType({}),
        ended: Callable[[int, R | AwsError], None] = lambda _index, _found: None,
    ) -> list[R | AwsError]:
        """Return the result of each task. See ``Executor``."""
        by_name = {task.target.name: task for task in tasks}
        places: dict[tuple[str, ...], threading.Lock] = {task.place: threading.Lock() for task in tasks}

        def each(target: Target) -> R:
            task = by_name[target.name]
            report = None if progress is None else _reported(progress, target.name)
            with places[task.place]:
                return work(task, Control(report, stops.get(target.name) or threading.Event()))

        results = map_targets(tuple(task.target for task in tasks), each, self.at_once, progress)
        for index, found in enumerate(results):
            ended(index, found)
        return results


def _reported(progress: Progress, name: str) -> Callable[[int, Expected | None], None]:
    return lambda calls, left: progress(name, calls, left)
