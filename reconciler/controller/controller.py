"""The loop: follows the branch, looks at targets when they are due, keeps what came of it.

One thread owns all state and calls ``step``; fetching and looking happen in executors, whose results come back through an inbox.
So nothing here waits for git or for AWS, and one target that hangs holds up no other.
What is due when is decided in ``schedule``; what a look does, in ``runner``.

When each target, and the branch, is looked at next. State and time in, names and times out.

A look that went well comes again after the interval, spread by jitter so that targets do not march in step.
One that failed comes again soon, then later each time, up to an hour or the interval, whichever is longer.
A new commit makes every target due; so does a person.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue

from reconciler import logs
from reconciler.controller.follow import Fetched, Follower, fault_of, repository_after
from reconciler.controller.reconcile import Tools, reconcile_target
from reconciler.controller.state import FAILURES, Ending, Mode, RepositoryState, Run, TargetState
from reconciler.controller.store import Store, StoreError
from reconciler.errors import AwsError
from reconciler.git.git import GitError, Trouble
from reconciler.git.source import CheckedRevision, Source
from reconciler.workflow.notifications import Delivery

FIRST_RETRY = 30.0
LONGEST_RETRY = 3600.0
SPREAD = 5.0
"""Seconds over which targets are spread when all are due at once."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often. Times in seconds; ``jitter`` is a share of the interval, from 0 to 1."""

    interval: float = 600.0
    fetch: float = 60.0
    jitter: float = 0.1
    intervals: Mapping[str, float] = field(default_factory=dict)
    mode: Mode = Mode.OBSERVE
    modes: Mapping[str, Mode] = field(default_factory=dict)

    def of(self, target: str) -> float:
        """Return the interval of a target."""
        return self.intervals.get(target, self.interval)

    def mode_of(self, target: str) -> Mode:
        """Return what is done about a target."""
        return self.modes.get(target, self.mode)


def due(states: Iterable[TargetState], now: float, *, running: frozenset[str]) -> tuple[str, ...]:
    """Return the targets to look at now, the longest overdue first. A suspended one is never among them."""
    ready = [
        state
        for state in states
        if not state.suspended and state.name not in running and (state.asked or state.due <= now)
    ]
    return tuple(state.name for state in sorted(ready, key=lambda state: (not state.asked, state.due, state.name)))


def next_at(states: Iterable[TargetState], now: float, *, running: frozenset[str]) -> float:
    """Return when the next target is due, or an hour from now when none is."""
    return min(
        (state.due for state in states if not state.suspended and state.name not in running),
        default=now + LONGEST_RETRY,
    )


def after(state: TargetState, run: Run, pace: Pace, now: float, draw: float) -> TargetState:
    """Return a target's state after a look at it. ``draw`` is a random number from 0 to 1."""
    interval = pace.of(state.name)
    state = replace(state, last=run, known=run if run.looked else state.known, commit=run.commit)
    if run.ending in FAILURES:
        failures = state.failures + 1
        return replace(state, due=now + retry_after(failures, max(LONGEST_RETRY, interval), draw), failures=failures)
    return replace(state, due=now + interval * (1 + pace.jitter * (2 * draw - 1)), failures=0, last_success=now)


def on_new_commit(state: TargetState, now: float, draw: float) -> TargetState:
    """Return a target's state when the branch has moved: due at once, failed or not, because the cause may be gone."""
    return replace(state, due=min(state.due, now + SPREAD * draw))


def next_fetch(repository: RepositoryState, pace: Pace, draw: float) -> float:
    """Return when the branch is asked about again."""
    if repository.failures:
        return repository.tried_at + retry_after(repository.failures, max(LONGEST_RETRY / 4, pace.fetch), draw)
    return repository.tried_at + pace.fetch * (1 + pace.jitter * (2 * draw - 1))


def retry_after(failures: int, longest: float, draw: float) -> float:
    """Return the wait after so many failures in a row: doubled each time, the upper half of it left to chance."""
    whole = min(longest, FIRST_RETRY * 2.0 ** min(failures - 1, 20))
    return whole * (0.5 + 0.5 * draw)


TARGETS_AT_ONCE = 4

_LOG = logs.get("controller")


class Observer:
    """Is notified of what happens; this one ignores it."""

    def ran(self, before: TargetState, after: TargetState, run: Run) -> None:
        """Take the end of a reconciliation of one target. Called from the loop's thread."""

    def fetched(self, repository: RepositoryState) -> None:
        """Take the end of an attempt to fetch. Called from the loop's thread."""

    def counted(self, stack: str, target: str, operation: str, error: AwsError | None) -> None:
        """Take one request to AWS. Called from any thread."""

    def told(self, stack: str, telling: Delivery) -> None:
        """Take one notification that was sent, or failed. Called from any thread."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the controller works, apart from where things are."""

    pace: Pace = field(default_factory=Pace)
    config: str | None = None
    targets: tuple[str, ...] = ()
    """Only these targets; none named means all."""
    at_once: int = TARGETS_AT_ONCE


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How everything stands, for those who only look."""

    stack: str
    repository: RepositoryState
    states: Mapping[str, TargetState]
    modes: Mapping[str, Mode]
    running: frozenset[str]
    beat: float
    ready: bool
    now: float


class Controller:
    """Everything that is known, and what happens next. ``fetcher`` runs one job at a time; ``workers`` run looks."""

    def __init__(
        self,
        source: Source,
        store: Store,
        settings: Settings,
        tools: Tools,
        *,
        memory: Path,
        fetcher: Executor,
        workers: Executor,
        observer: Observer,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.wake = threading.Event()
        self._follower = Follower(source, settings.config, memory)
        self._store = store
        self._settings = settings
        self._tools = tools
        self._fetcher = fetcher
        self._workers = workers
        self._observer = observer
        self._draw = draw
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._revision: CheckedRevision | None = None
        self._repository = RepositoryState(source.remote.url, source.remote.branch)
        self._states: dict[str, TargetState] = {}
        self._running: frozenset[str] = frozenset()
        self._looked: set[str] = set()
        self._fetching = self._fetch_again = False
        self._fetch_at = float("-inf")
        self._beat = tools.now()

    def fetch_soon(self) -> None:
        """Want the branch to be asked about in the next step. May be called from any thread."""
        self._inbox.put(self._fetch_now)
        self.wake.set()

    def _fetch_now(self) -> None:
        # One that is under way may have asked the forge a moment too early.
        self._fetch_again = self._fetching
        self._fetch_at = float("-inf")

    def knows(self, name: str) -> bool:
        """Whether there is such a target. May be called from any thread."""
        return name in self._states

    def snapshot(self) -> Snapshot:
        """Return how everything stands. May be called from any thread: what it reads is replaced, never changed."""
        states, repository, revision = self._states, self._repository, self._revision
        now = self._tools.now()
        seen = all(name in self._looked or state.suspended for name, state in states.items())
        return Snapshot(
            stack=revision.project.stack if revision else "",
            repository=repository,
            states=states,
            modes={name: self._mode(name) for name in states},
            running=self._running,
            beat=self._beat,
            ready=bool(repository.fetched_at and revision and seen),
            now=now,
        )

    def step(self) -> float:
        """Take in what has ended, start what is due, and return when there may be something to do again."""
        now = self._beat = self._tools.now()
        self._take_in()
        self._read_wishes()
        if self._tools.stop.is_set():
            return now
        if not self._fetching and self._fetch_at <= now:
            self._fetching, self._fetch_again = True, False
            self._fetcher.submit(self._follower.fetch, self._revision).add_done_callback(self._on_fetched)
        free = self._settings.at_once - len(self._running)
        for name in due(self._states.values(), now, running=self._running)[: max(0, free)]:
            self._start(name)
        self._take_in()
        targets_at = next_at(self._states.values(), now, running=self._running)
        return targets_at if self._fetching else min(self._fetch_at, targets_at)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not (self._running or self._fetching) and self._inbox.empty()

    def finish(self) -> None:
        """Wait for what is under way and keep what came of it. Call it once the wish to stop is known."""
        self._workers.shutdown(wait=True)
        self._fetcher.shutdown(wait=True, cancel_futures=True)
        self._take_in()

    def _take_in(self) -> None:
        while True:
            try:
                message = self._inbox.get_nowait()
            except Empty:
                return
            message()

    def _read_wishes(self) -> None:
        try:
            flags = self._store.flags()
        except StoreError as problem:
            _LOG.error("wishes not read", message=str(problem))
            return
        changed = {}
        for name, state in self._states.items():
            suspended, asked = flags.get(name, (False, False))
            if (suspended, asked) != (state.suspended, state.asked):
                changed[name] = replace(state, suspended=suspended, asked=asked)
        if changed:
            self._states = {**self._states, **changed}

    # Following the branch

    def _on_fetched(self, future: Future[list[Fetched]]) -> None:
        self._inbox.put(lambda: self._take_fetched(future))
        self.wake.set()

    def _take_fetched(self, future: Future[list[Fetched]]) -> None:
        self._fetching = False
        if future.cancelled():
            return
        now = self._tools.now()
        error = future.exception()
        found = future.result() if error is None else [Fetched(None, GitError(fault_of(error)))]
        for each in found:
            if each.revision is not None:
                self._adopt(each.revision, now)
            if each.resumed:
                continue
            repository = repository_after(self._repository, each, self._revision, now)
            if each.trouble is not None:
                _LOG.warning(
                    "branch not followed",
                    trouble=each.trouble.trouble.value,
                    message=str(each.trouble),
                    failures=repository.failures,
                )
            self._repository = repository
            self._fetch_at = now if self._fetch_again else next_fetch(repository, self._settings.pace, self._draw())
            self._observer.fetched(repository)

    def _adopt(self, revision: CheckedRevision, now: float) -> None:
        """Work with another commit from now on. Targets that left the project are forgotten here; nothing happens to what they hold."""
        wanted = self._settings.targets
        names = tuple(name for name in revision.project.targets if not wanted or name in wanted)
        try:
            kept = self._store.states(names)
        except StoreError as problem:
            _LOG.error("history not read", message=str(problem))
            kept = {}
        states = {name: self._states.get(name) or kept.get(name) or TargetState(name) for name in names}
        meant = {*wanted, *self._settings.pace.modes, *self._settings.pace.intervals}
        if strangers := sorted(meant - revision.project.targets.keys()):
            _LOG.warning("settings name targets that the project has not", targets=strangers)
        self._revision = revision
        self._states = {name: on_new_commit(state, now, self._draw()) for name, state in states.items()}
        self._repository = replace(self._repository, commit=revision.commit)
        _LOG.info(
            "commit",
            commit=revision.commit.id,
            verified=revision.commit.verified,
            targets=len(names),
            unreadable=sorted(revision.problems),
        )

    # Looking at targets

    def _mode(self, name: str) -> Mode:
        mode = self._settings.pace.mode_of(name)
        # A branch that is gone may mean anything; whoever sees to it finds everything as it was.
        return Mode.PLAN if mode is Mode.APPLY and self._repository.trouble is Trouble.NO_BRANCH else mode

    def _start(self, name: str) -> None:
        revision = self._revision
        if revision is None:
            return
        if self._states[name].asked:
            with contextlib.suppress(StoreError):
                self._store.ask(name, asked=False)
            self._states = {**self._states, name: replace(self._states[name], asked=False)}
        self._running |= {name}
        mode = self._mode(name)
        future = self._workers.submit(reconcile_target, revision, name, mode, self._tools)
        future.add_done_callback(lambda done: self._on_run(revision, name, mode, done))

    def _on_run(self, revision: CheckedRevision, name: str, mode: Mode, future: Future[Run | None]) -> None:
        self._inbox.put(lambda: self._take_run(revision, name, mode, future))
        self.wake.set()

    def _take_run(self, revision: CheckedRevision, name: str, mode: Mode, future: Future[Run | None]) -> None:
        self._running -= {name}
        now = self._tools.now()
        error = future.exception()
        run = (
            future.result()
            if error is None
            else Run(
                name,
                mode,
                revision.commit.id,
                now,
                Ending.FAILED,
                message=fault_of(error),
                looked=False,
                stack=revision.project.stack,
            )
        )
        before = self._states.get(name)
        if run is None or before is None:
            return
        state = after(before, run, self._settings.pace, now, self._draw())
        if self._revision is not None and self._revision.commit.id != run.commit:
            state = on_new_commit(state, now, self._draw())
        self._states = {**self._states, name: state}
        _log_run(run, state, now)
        try:
            self._store.add(state, run)
        except StoreError as problem:
            _LOG.error("run not kept", target=name, message=str(problem))
        self._observer.ran(before, state, run)
        self._looked.add(name)  # last, so that a controller that is ready has its runs in the store and the metrics


def _log_run(run: Run, state: TargetState, now: float) -> None:
    """Write the one line of a run."""
    write = _LOG.warning if state.failures or run.ending is Ending.REFUSED else _LOG.info
    write(
        "run",
        target=run.target,
        mode=run.mode.value,
        commit=run.commit,
        ending=run.ending.value,
        plan=run.plan_id,
        drifted=run.drifted,
        pending=run.pending,
        done=run.done,
        waiting_on_air=run.waiting_on_air,
        calls=run.calls,
        seconds=round(run.seconds, 3),
        failures=state.failures,
        next_in=round(state.due - now, 1),
        message=run.message,
    )
