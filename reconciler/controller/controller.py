"""The controller's loop: follows the branch, reconciles targets when they are due, and saves the results.

One thread owns all state and calls ``step``. Fetches and reconciliations run in executors, and their results come back
through an inbox, so that nothing here waits for git or AWS, and a target that hangs delays no other. ``Follower`` fetches the
branch and reads its newest commit in the fetcher's thread.
After a success, a target is due after its interval, with jitter. After a failure it is due soon, then later each time, up
to the interval or an hour, whichever is longer; soon as well while another run is changing it.
A new commit, or a request, makes it due at once.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from reconciler import logs
from reconciler.controller.config import Window
from reconciler.controller.reconcile import Dependencies, Granted, reconcile_target
from reconciler.controller.state import (
    APPLYING,
    FAILURES,
    OTHERS_INTERVAL_SECONDS,
    Mode,
    Others,
    Place,
    RepositoryState,
    Run,
    RunStatus,
    TargetState,
    read_others,
    unaccepted,
)
from reconciler.controller.store import Flags, Store, StoreError
from reconciler.errors import AwsError, internal_error
from reconciler.git.git import GitError, Trouble
from reconciler.git.source import CheckedRevision, Commit, ProjectRules, Source, load_revision
from reconciler.model.target import Project, Shards, targets_of_unknown_account
from reconciler.workflow.notifications import Delivery

FIRST_RETRY_SECONDS = 30.0
MAX_RETRY_SECONDS = 3600.0
SPREAD_SECONDS = 5.0
"""The time over which the targets are spread when a new commit makes all of them due."""

TARGETS_AT_ONCE = 4
_STACK = "stack"
"""The note that has the stack that is followed."""

TARGETS = "targets"
"""The note with the names of the targets of the followed commit, as JSON."""

_LOG = logs.get("controller")


@dataclass(frozen=True, slots=True)
class Schedule:
    """How often targets are reconciled, and in which mode. Times in seconds; ``jitter`` is a share of the interval, from 0 to 1."""

    interval: float = 600.0
    fetch: float = 60.0
    jitter: float = 0.1
    intervals: Mapping[str, float] = field(default_factory=dict)
    mode: Mode = Mode.OBSERVE
    modes: Mapping[str, Mode] = field(default_factory=dict)
    windows: tuple[Window, ...] = ()
    windows_of: Mapping[str, tuple[Window, ...]] = field(default_factory=dict)

    def interval_of(self, target: str) -> float:
        """Return the interval of a target."""
        return self.intervals.get(target, self.interval)

    def mode_of(self, target: str) -> Mode:
        """Return the mode of a target."""
        return self.modes.get(target, self.mode)

    def opens_at(self, target: str, now: float) -> float | None:
        """Return when a target may be applied next; ``None`` if it may now."""
        windows = self.windows_of.get(target, self.windows)
        if not windows or any(window.is_open(now) for window in windows):
            return None
        return min(window.opens_after(now) for window in windows)


def due(states: Iterable[TargetState], now: float, *, running: frozenset[str]) -> tuple[str, ...]:
    """Return the targets to reconcile now: requested ones, then the longest overdue. Suspended targets are left out."""
    ready = [
        state
        for state in states
        if not state.suspended and state.name not in running and (state.requested or state.due <= now)
    ]
    return tuple(state.name for state in sorted(ready, key=lambda state: (not state.requested, state.due, state.name)))


def next_due(states: Iterable[TargetState], now: float, *, running: frozenset[str]) -> float:
    """Return when the next target is due, or an hour from now if there is none."""
    return min(
        (state.due for state in states if not state.suspended and state.name not in running),
        default=now + MAX_RETRY_SECONDS,
    )


def state_after(state: TargetState, run: Run, schedule: Schedule, now: float, draw: float) -> TargetState:
    """Return a target's state after a run. ``draw`` is a random number from 0 to 1."""
    interval = schedule.interval_of(state.name)
    state = replace(state, last_run=run, last_read=run if run.account_read else state.last_read, commit=run.commit)
    opens_at = schedule.opens_at(state.name, now) if schedule.mode_of(state.name) in APPLYING else None
    if run.status in FAILURES:
        failures = state.failures + 1
        due = now + retry_delay(failures, max(MAX_RETRY_SECONDS, interval), draw)
        return replace(state, due=min(due, opens_at or due), failures=failures)
    due = now + interval * (1 + schedule.jitter * (2 * draw - 1))
    if run.postponed:
        due = min(due, now + retry_delay(1, interval, draw))
    return replace(state, due=min(due, opens_at or due), failures=0, last_success=now)


def on_new_commit(state: TargetState, now: float, draw: float) -> TargetState:
    """Return a target's state after a new commit: due at once, even after a failure, because the commit may fix the cause."""
    return replace(state, due=min(state.due, now + SPREAD_SECONDS * draw))


def next_fetch(repository: RepositoryState, schedule: Schedule, draw: float) -> float:
    """Return when the branch is fetched next."""
    if repository.failures:
        return repository.tried_at + retry_delay(repository.failures, max(MAX_RETRY_SECONDS / 4, schedule.fetch), draw)
    return repository.tried_at + schedule.fetch * (1 + schedule.jitter * (2 * draw - 1))


def retry_delay(failures: int, limit: float, draw: float) -> float:
    """Return the seconds to wait after consecutive failures: doubled each time, and at least half of that at random."""
    delay = min(limit, FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 20))
    return delay * (0.5 + 0.5 * draw)


class Observer:
    """Is called when something happens. This one ignores it."""

    def on_run(self, run: Run) -> None:
        """Handle a finished run. Called from the loop's thread."""

    def on_fetch(self, repository: RepositoryState) -> None:
        """Handle a finished fetch. Called from the loop's thread."""

    def on_request(self, stack: str, target: str, operation: str, error: AwsError | None) -> None:
        """Handle a request to AWS. Called from any thread."""

    def on_delivery(self, stack: str, delivery: Delivery) -> None:
        """Handle a notification that was sent or failed. Called from any thread."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to reconcile, and how often."""

    schedule: Schedule = field(default_factory=Schedule)
    rules: ProjectRules = field(default_factory=ProjectRules)
    targets: tuple[str, ...] = ()
    """Only these targets; all if empty."""
    shard: Shards | None = None
    """Only the targets of this shard."""
    at_once: int = TARGETS_AT_ONCE
    allow_rewind: bool = False
    """Whether the first fetch may bring a commit that does not descend from the followed one."""
    allow_new_stack: bool = False
    """Whether the first fetch may bring a commit of another stack."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the controller at one moment, for its readers. ``last_step`` is when the loop last ran."""

    stack: str
    repository: RepositoryState
    states: Mapping[str, TargetState]
    modes: Mapping[str, Mode]
    running: frozenset[str]
    last_step: float
    ready: bool
    now: float
    shard: Shards | None = None
    others: Others = field(default_factory=Others)


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The result of a fetch: a new revision, an error, or neither if the branch has not moved.

    ``resumed`` is from the mirror, ``first`` the first revision that the mirror follows.
    """

    revision: CheckedRevision | None
    trouble: GitError | None
    resumed: bool = False
    first: bool = False


class Follower:
    """Fetches the branch and reads its commits."""

    def __init__(
        self,
        source: Source,
        rules: ProjectRules,
        records: Path,
        *,
        allow_rewind: bool = False,
        allow_new_stack: bool = False,
    ) -> None:
        self._source = source
        self._rules = rules
        self._records = records
        self._is_open = False
        self._allow_rewind = allow_rewind
        self._allow_new_stack = allow_new_stack

    def fetch(self, current: CheckedRevision | None, stack: str = "") -> list[FetchResult]:
        """Fetch the branch and return the result. The first time, it comes after the commit followed before the restart.

        ``stack`` is the stack that is followed: a commit of another one is not, because everything would be created a second time.
        """
        results: list[FetchResult] = []
        if not self._is_open:
            self._is_open = True
            results += self._resume(stack)
            current = results[0].revision if results else None
        try:
            commit = self._source.fetch()
            # For the first commit that the forge answers with: an option that stays set must not allow the next rewind.
            allow_rewind, self._allow_rewind = self._allow_rewind, False
            allow_new_stack, self._allow_new_stack = self._allow_new_stack, False
            revision, is_first = None, self._source.followed_id() is None
            if current is None or commit.id != current.commit.id:
                if not allow_rewind:
                    self._source.check_descends(commit)
                revision = self._read(commit)
                if stack and not allow_new_stack:
                    _check_stack(revision, stack)
                self._source.follow(commit)
            results.append(FetchResult(revision, None, first=is_first))
        except GitError as error:
            results.append(FetchResult(None, error))
        return results

    def _resume(self, stack: str) -> list[FetchResult]:
        commit = self._source.open()
        if commit is None:
            return []
        try:
            revision = self._read(commit)
            if stack:
                _check_stack(revision, stack)
            return [FetchResult(revision, None, resumed=True)]
        except GitError:
            return []  # the fetch that follows reports it

    def _read(self, commit: Commit) -> CheckedRevision:
        with self._source.files(commit) as folder:
            return load_revision(
                folder,
                commit,
                self._rules,
                records=self._records,
                path=self._source.path,
                missing=self._source.missing(commit, folder),
            )


def _check_stack(revision: CheckedRevision, stack: str) -> None:
    found = revision.project.stack
    if found != stack:
        raise GitError(
            f"commit {revision.commit.short} renames the stack from {stack} to {found}, which would leave every resource of {stack} "
            "behind and create all of them again; it is not followed. Revert it, or restart with --allow-new-stack",
            Trouble.NEW_STACK,
        )


def repository_after(
    before: RepositoryState, fetched: FetchResult, revision: CheckedRevision | None, now: float
) -> RepositoryState:
    """Return the state of the branch after a fetch. ``revision`` is the one in use from now on."""
    state = replace(before, commit=revision.commit if revision else None, tried_at=now)
    if fetched.trouble is None:
        return replace(state, fetched_at=now, failures=0, trouble=None, message="")
    is_reached = fetched.trouble.trouble is not Trouble.UNREACHABLE and revision is not None
    return replace(
        state,
        fetched_at=now if is_reached else state.fetched_at,
        failures=state.failures + 1,
        trouble=fetched.trouble.trouble,
        message=str(fetched.trouble),
    )


class Controller:
    """The loop and its state. ``fetcher`` runs one fetch at a time; ``workers`` run reconciliations; ``records`` is the directory of the records of applies."""

    def __init__(
        self,
        source: Source,
        store: Store,
        settings: Settings,
        deps: Dependencies,
        *,
        records: Path,
        fetcher: Executor,
        workers: Executor,
        observer: Observer,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.wake = threading.Event()
        self._follower = Follower(
            source,
            settings.rules,
            records,
            allow_rewind=settings.allow_rewind,
            allow_new_stack=settings.allow_new_stack,
        )
        self._store = store
        self._settings = settings
        self._deps = deps
        self._fetcher = fetcher
        self._workers = workers
        self._observer = observer
        self._draw = draw
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._revision: CheckedRevision | None = None
        self._repository = RepositoryState(source.remote.url, source.remote.branch)
        self._stack = store.note(_STACK)
        self._states: dict[str, TargetState] = {}
        self._unsaved: Callable[[], None] | None = None
        self._unread = ""
        """Why the state cannot be read: who suspended or accepted a target is unknown, and nothing is applied."""
        self._is_damaged = False
        self._running: frozenset[str] = frozenset()
        self._reconciled: set[str] = set()
        self._fetching = self._fetch_again = False
        self._fetch_at = float("-inf")
        self._others = Others()
        self._others_at = float("-inf")
        self._last_step = deps.now()

    def request_fetch(self) -> None:
        """Fetch the branch in the next step. Thread-safe."""
        self._inbox.put(self._fetch_at_once)
        self.wake.set()

    def _fetch_at_once(self) -> None:
        # A fetch that is running may have asked the forge too early.
        self._fetch_again = self._fetching
        self._fetch_at = float("-inf")

    def has_target(self, name: str) -> bool:
        """Return whether there is such a target. Thread-safe."""
        return name in self._states

    def snapshot(self) -> Snapshot:
        """Return the current state. Thread-safe: what it reads is replaced, never changed."""
        states, repository, revision = self._states, self._repository, self._revision
        now = self._deps.now()
        is_complete = all(name in self._reconciled or state.suspended for name, state in states.items())
        return Snapshot(
            stack=revision.project.stack if revision else "",
            repository=repository,
            states=states,
            modes={name: self._granted(state).mode for name, state in states.items()},
            running=self._running,
            last_step=self._last_step,
            ready=bool(repository.fetched_at and revision and is_complete),
            now=now,
            shard=self._settings.shard,
            others=self._others,
        )

    def step(self) -> float:
        """Handle what has finished, start what is due, and return the time of the next step."""
        now = self._last_step = self._deps.now()
        self._process_inbox()
        self._read_requests()
        if self._deps.stop.is_set():
            return now
        if not self._fetching and self._fetch_at <= now:
            self._fetching, self._fetch_again = True, False
            self._fetcher.submit(self._follower.fetch, self._revision, self._stack).add_done_callback(self._on_fetched)
        self._read_others(now)
        free = self._settings.at_once - len(self._running)
        for name in due(self._states.values(), now, running=self._running)[: max(0, free)]:
            self._start(name)
        self._process_inbox()
        targets_at = next_due(self._states.values(), now, running=self._running)
        return targets_at if self._fetching else min(self._fetch_at, targets_at)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is running."""
        return not (self._running or self._fetching) and self._inbox.empty()

    def finish(self) -> None:
        """Wait for what is running, and save its results. Call it after the stop event is set."""
        self._workers.shutdown(wait=True)
        self._fetcher.shutdown(wait=True, cancel_futures=True)
        self._process_inbox()

    def _process_inbox(self) -> None:
        while True:
            try:
                message = self._inbox.get_nowait()
            except Empty:
                return
            message()

    def _read_requests(self) -> None:
        if self._unsaved:
            with contextlib.suppress(StoreError):
                self._unsaved()
        try:
            flags = self._store.flags()
        except StoreError as problem:
            self._on_unread("requests not read", problem)
            return
        self._unread = ""
        changed = {}
        for name, state in self._states.items():
            flag = flags.get(name, Flags())
            if flag != (state.suspended, state.requested, state.accepted):
                changed[name] = replace(state, **flag._asdict())
        if changed:
            self._states = {**self._states, **changed}

    def _on_unread(self, event: str, problem: StoreError) -> None:
        self._unread = str(problem)
        self._is_damaged |= problem.damaged
        _LOG.error(event, message=str(problem))

    def _read_others(self, now: float) -> None:
        """Start reading what other controllers reported, if it is time to."""
        if self._revision is not None and self._revision.project.state is not None and self._others_at <= now:
            self._others_at = now + OTHERS_INTERVAL_SECONDS
            future = self._fetcher.submit(read_others, self._revision.project, self._others)
            future.add_done_callback(self._on_others)

    def _on_others(self, future: Future[Others]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._others = future.result()

    # The branch

    def _on_fetched(self, future: Future[list[FetchResult]]) -> None:
        self._inbox.put(lambda: self._handle_fetch(future))
        self.wake.set()

    def _handle_fetch(self, future: Future[list[FetchResult]]) -> None:
        self._fetching = False
        if future.cancelled():
            return
        now = self._deps.now()
        error = future.exception()
        results = future.result() if error is None else [FetchResult(None, GitError(internal_error(error)))]
        for result in results:
            if result.revision is not None:
                self._use(result.revision, now, first=result.first)
            if result.resumed:
                continue
            repository = repository_after(self._repository, result, self._revision, now)
            if result.trouble is not None:
                _LOG.warning(
                    "branch not followed",
                    trouble=result.trouble.trouble.value,
                    message=str(result.trouble),
                    failures=repository.failures,
                )
            self._repository = repository
            self._fetch_at = now if self._fetch_again else next_fetch(repository, self._settings.schedule, self._draw())
            self._observer.on_fetch(repository)

    def _use(self, revision: CheckedRevision, now: float, *, first: bool) -> None:
        """Use another commit from now on. Targets that it lacks are dropped; their resources are kept."""
        places = {name: Place.of(target, revision.project) for name, target in revision.project.targets.items()}
        names = self._names_in(revision.project)
        # The operator just chose repository and modes. A mirror whose history was lost is no first use.
        is_first_use = not self._stack and first
        pinned = self._settings.rules.pin.targets.keys() - revision.problems if self._settings.rules.pin else ()
        self._stack = revision.project.stack

        def save() -> None:
            self._store.move(places, accept=places if is_first_use else pinned)
            self._store.write_note(_STACK, revision.project.stack)
            self._store.write_note(TARGETS, json.dumps(names))
            self._unsaved = None

        self._unsaved = save
        saved: Mapping[str, TargetState] = {}
        try:
            saved = self._store.states(names)
            save()
            saved = self._store.states(names)
        except StoreError as problem:
            self._on_unread("history not read or saved", problem)
        # What people decided is read again: it may have followed a target that was renamed.
        states = {
            name: replace(
                self._states.get(name) or saved.get(name) or TargetState(name),
                place=places[name],
                **_decided(saved.get(name)),
            )
            for name in names
        }
        self._warn_of_targets(revision.project)
        self._revision = revision
        self._states = {name: on_new_commit(state, now, self._draw()) for name, state in states.items()}
        self._repository = replace(self._repository, commit=revision.commit)
        _LOG.info(
            "commit followed",
            commit=revision.commit.id,
            verified=revision.commit.verified,
            targets=len(names),
            shard=str(self._settings.shard) if self._settings.shard else None,
            invalid=sorted(revision.problems),
        )

    def _names_in(self, project: Project) -> tuple[str, ...]:
        """Return the names of the targets that are reconciled here: those of the shard and of ``--target``."""
        shard, selected = self._settings.shard, self._settings.targets
        targets = shard.of(project.targets.values()) if shard else project.targets.values()
        return tuple(target.name for target in targets if not selected or target.name in selected)

    def _warn_of_targets(self, project: Project) -> None:
        """Log what the settings and a project's targets do not say of each other."""
        settings = self._settings
        configured = {*settings.targets, *settings.schedule.modes, *settings.schedule.intervals}
        if unknown := sorted(configured - project.targets.keys()):
            _LOG.warning("settings for unknown targets", targets=unknown)
        shard = settings.shard
        if shard and (unstated := targets_of_unknown_account(project.targets.values(), shard.total)):
            # Two of them in one account could be in different shards, and no controller would notice.
            _LOG.warning("targets without accountId in shards", targets=unstated)

    # The targets

    def _granted(self, state: TargetState) -> Granted:
        """Return the mode of a target: the operator's, or a lower one while its place is not accepted or the state cannot be read."""
        mode = self._settings.schedule.mode_of(state.name)
        if mode is Mode.OBSERVE:
            return Granted(mode)
        if self._unread or self._is_damaged:
            damage = "the state is damaged; move it away, or use another directory with --state"
            return Granted(Mode.OBSERVE, reason=f"nothing is applied: {self._unread or damage}")
        if state.place is None or state.accepted is None or not state.is_accepted:
            return Granted(Mode.OBSERVE, reason=unaccepted(state.name, state.accepted, state.place))
        # A missing branch may be a mistake: nothing is applied until it exists again.
        if mode in APPLYING and self._repository.trouble is Trouble.NO_BRANCH:
            mode = Mode.PLAN
        opens_at = self._settings.schedule.opens_at(state.name, self._deps.now()) if mode in APPLYING else None
        if opens_at is not None:
            reason = f"nothing is applied outside of the target's windows; the next opens at {_utc(opens_at)}"
            return Granted(Mode.PLAN, state.accepted.account, reason)
        return Granted(mode, state.accepted.account)

    def _start(self, name: str) -> None:
        revision = self._revision
        if revision is None:
            return
        if self._states[name].requested:
            with contextlib.suppress(StoreError):
                self._store.request(name, requested=False)
            self._states = {**self._states, name: replace(self._states[name], requested=False)}
        self._running |= {name}
        granted = self._granted(self._states[name])
        future = self._workers.submit(reconcile_target, revision, name, granted, self._deps)
        future.add_done_callback(lambda done: self._on_run(revision, name, granted.mode, done))

    def _on_run(self, revision: CheckedRevision, name: str, mode: Mode, future: Future[Run | None]) -> None:
        self._inbox.put(lambda: self._handle_run(revision, name, mode, future))
        self.wake.set()

    def _handle_run(self, revision: CheckedRevision, name: str, mode: Mode, future: Future[Run | None]) -> None:
        self._running -= {name}
        now = self._deps.now()
        error = future.exception()
        run = (
            future.result()
            if error is None
            else Run(
                name,
                mode,
                revision.commit.id,
                now,
                RunStatus.FAILED,
                message=internal_error(error),
                account_read=False,
                stack=revision.project.stack,
            )
        )
        before = self._states.get(name)
        if run is None or before is None:
            return
        # The store has the rest. In memory it would be megabytes for each target.
        report = run.report and run.report._replace(findings=(), unmanaged=(), addresses=())
        kept = replace(run, plan=None, result=None, report=report, inventory=None)
        state = state_after(before, kept, self._settings.schedule, now, self._draw())
        if self._revision is not None and self._revision.commit.id != run.commit:
            state = on_new_commit(state, now, self._draw())
        self._states = {**self._states, name: state}
        try:
            self._store.add_run(state, run, Place.of(revision.project.targets[name], revision.project))
        except StoreError as problem:
            self._is_damaged |= problem.damaged
            _LOG.error("run not saved", target=name, message=str(problem))
        self._observer.on_run(run)
        # Last: a run that is logged, and those of a ready controller, are in the store and the metrics.
        _log_run(run, state, now)
        self._reconciled.add(name)


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _decided(saved: TargetState | None) -> Mapping[str, Any]:
    """Return what people decided about a target, as far as it was read."""
    return {"suspended": saved.suspended, "accepted": saved.accepted} if saved else {}


def _log_run(run: Run, state: TargetState, now: float) -> None:
    """Log a run."""
    write = _LOG.warning if state.failures or run.status is RunStatus.REFUSED else _LOG.info
    write(
        "reconciled",
        target=run.target,
        mode=run.mode.value,
        commit=run.commit,
        status=run.status.value,
        plan=run.plan_id,
        drifted=run.drifted,
        pending=run.pending,
        done=run.done,
        blocked_by_live=run.blocked_by_live,
        calls=run.calls,
        seconds=round(run.seconds, 3),
        failures=state.failures,
        next_in=round(state.due - now, 1),
        message=run.message,
    )
