"""Runs work on targets in processes of this machine: one interpreter uses one processor, however many threads it has.

Each worker is a new interpreter that is connected to this process by a socket and works on several targets in threads.
A worker that dies loses nothing: its targets are worked on again by another one. A target that takes too long is given up:
an apply is asked to stop first, so that its calls in flight finish, and its worker is killed if it does not.
A worker ends by itself when this process is gone: the calls in flight are finished and no more start.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, cast

from reconciler.errors import AwsError
from reconciler.executors import Control, Task, Work, finish
from reconciler.logs import configure
from reconciler.workflow.survey import Progress, default_at_once, outcome_of

R = TypeVar("R")

_MAX_PROCESSES = 8
"""By default; each takes about 90 MB."""

_MAX_AT_ONCE = 10
"""Targets at the same time in one process, by default: with 16, two processes take 320 MB in place of 256."""

_ATTEMPTS = 3
"""How often work is begun whose worker dies, before the target is reported as failed."""

_START_SECONDS = 60.0
"""How long a worker may take, besides, to start and begin with a target: a busy machine takes many seconds."""

_STOP_INTERVAL = 0.1
"""Seconds until a request to stop reaches the workers."""

_START = """\
import json, sys
settings = json.loads(sys.argv[1])
sys.path[:] = settings.pop("path")
from reconciler.executors.processes import serve
serve(**settings)
"""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How the workers log: the arguments of ``logs.configure``."""

    log_format: str = "auto"
    verbosity: int = 0
    no_color: bool = False


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker process. ``running`` has the deadline of each task that it works on; a ``retired`` one gets no more.

    ``stopped`` are the tasks that it was asked to end early.
    ``stopping`` has, of tasks that were given up and asked to stop, when it is killed if they have not ended.
    """

    process: subprocess.Popen[bytes]
    connection: Connection
    running: dict[int, float] = field(default_factory=dict)
    stopped: set[int] = field(default_factory=set)
    stopping: dict[int, float] = field(default_factory=dict)
    retired: bool = False

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True, slots=True)
class Processes:
    """Runs work in ``count`` processes, ``at_once`` targets at the same time in all; ``None`` is a default from the machine.

    A target is timed out after ``timeout`` seconds; work that can be stopped has ``grace`` more to finish its calls in flight.
    """

    in_checkout: ClassVar[bool] = True
    count: int | None = None
    at_once: int | None = None
    timeout: float = 3600.0
    logs: LogSettings = LogSettings()
    grace: float = 15.0

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
        count = max(1, min(self.count or min(os.cpu_count() or 1, _MAX_PROCESSES), len(tasks)))
        slots = -(-(self.at_once or count * min(default_at_once(), _MAX_AT_ONCE)) // count)
        run = _Run(work, tasks, count, slots, self, stops)
        finished = False
        try:
            results = finish(run, tasks, progress, ended)
            finished = True
        finally:
            run.close(kill=finished or not stops)
        return results


class _Run:
    """One call of ``Processes.run``."""

    def __init__(
        self,
        work: Work[Any],
        tasks: Sequence[Task],
        count: int,
        slots: int,
        settings: Processes,
        stops: Mapping[str, threading.Event],
    ) -> None:
        self._work = work
        self._tasks = tasks
        self._slots = slots
        self._timeout = settings.timeout
        self._grace = settings.grace
        self._stops = {index: stops[task.target.name] for index, task in enumerate(tasks) if task.target.name in stops}
        self._logs = settings.logs
        self._waiting = deque(range(len(tasks)))
        self._busy: set[tuple[str, ...]] = set()
        self._attempts: Counter[int] = Counter()
        self._workers = [self._start() for _ in range(count)]
        self.results: dict[int, object] = {}

    @property
    def finished(self) -> bool:
        """Whether every task has a result, and those that were given up have ended."""
        return len(self.results) == len(self._tasks) and not any(worker.stopping for worker in self._workers)

    def hand_out(self) -> None:
        """Give tasks to the workers, to the least busy one first, as long as one has capacity and a task's place is free."""
        skipped: list[int] = []
        while self._waiting:
            worker = min(self._workers, key=lambda one: (one.retired, len(one.running)))
            if worker.retired or len(worker.running) >= self._slots:
                break
            index = self._waiting.popleft()
            task = self._tasks[index]
            if task.place in self._busy:
                skipped.append(index)
                continue
            self._busy.add(task.place)
            worker.running[index] = time.monotonic() + self._timeout + _START_SECONDS
            self._attempts[index] += 1
            with contextlib.suppress(OSError):  # a worker that died is noticed by what it does not answer
                worker.connection.send(("run", index, self._work, task))
        self._waiting.extendleft(reversed(skipped))

    def collect(self) -> None:
        """Wait for results, a worker's death, a deadline or a request to stop."""
        self._pass_stops_on()
        ends = [end for one in self._workers for end in (*one.running.values(), *one.stopping.values())]
        seconds = max(0.0, min(ends, default=0.0) - time.monotonic())
        if self._stops:
            seconds = min(seconds, _STOP_INTERVAL)
        by_connection = {worker.connection: worker for worker in self._workers}
        for ready in wait(list(by_connection), timeout=seconds):
            worker = by_connection[cast("Connection", ready)]
            # All of it: what came while this thread was busy is not late.
            while worker.connection.poll():
                try:
                    index, result = worker.connection.recv()
                except (EOFError, OSError):
                    self._replace(worker)
                    break
                self._answered(worker, index, result)
        for worker in list(self._workers):
            self._give_up_late(worker)

    def close(self, *, kill: bool) -> None:
        """End the workers: at once, or when their calls in flight are finished, without waiting for that."""
        for worker in self._workers:
            if kill:
                worker.end()
            else:
                worker.connection.close()

    def _pass_stops_on(self) -> None:
        """Ask the workers to end early the tasks that are to stop, also one that is restarted because its worker died."""
        for worker in self._workers:
            for index in worker.running.keys() - worker.stopped:
                if index in self._stops and self._stops[index].is_set():
                    worker.stopped.add(index)
                    with contextlib.suppress(OSError):
                        worker.connection.send(("stop", index))

    def _answered(self, worker: _Worker, index: int, result: object) -> None:
        """Handle what a worker sent: that a task begins, or its result."""
        if index not in worker.running:  # it was given up
            if result is not None:
                worker.stopping.pop(index, None)
            return
        if result is None:
            worker.running[index] = time.monotonic() + self._timeout
            return
        del worker.running[index]
        self._busy.discard(self._tasks[index].place)
        if isinstance(result, BaseException) and not isinstance(result, AwsError):
            raise result
        self.results[index] = result.value if isinstance(result, _Value) else result

    def _replace(self, worker: _Worker) -> None:
        """Start another worker for one that died, and put its tasks first in the queue."""
        self._workers.remove(worker)
        worker.end()
        code = worker.process.returncode
        how = f"ended by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        for index in sorted(worker.running, reverse=True):
            self._busy.discard(self._tasks[index].place)
            if self._attempts[index] < _ATTEMPTS:
                self._waiting.appendleft(index)
                continue
            self.results[index] = AwsError(
                f"the worker process died {_ATTEMPTS} times while it worked on this target ({how}); "
                "if memory ran out, lower --targets-at-once",
                code="WorkerDied",
            )
        if not worker.retired:
            self._workers.append(self._start())

    def _give_up_late(self, worker: _Worker) -> None:
        now = time.monotonic()
        late = [index for index, end in worker.running.items() if end <= now]
        for index in late:
            del worker.running[index]
            if index in self._stops:
                worker.stopping[index] = now + self._grace
                with contextlib.suppress(OSError):
                    worker.connection.send(("stop", index))
            # Its place stays busy: the worker may still be at it.
            self.results[index] = AwsError(
                f"timed out after {self._timeout:,.0f} s without a result; raise --target-timeout if it needs more",
                code="TargetTimeout",
            )
            place = self._tasks[index].place
            for other in [one for one in self._waiting if self._tasks[one].place == place]:
                self._waiting.remove(other)
                self.results[other] = AwsError(
                    "not started: a task in the same account and region timed out", code="TargetTimeout"
                )
        if late and not worker.retired:
            worker.retired = True
            self._workers.append(self._start())
        worker.stopping = {index: end for index, end in worker.stopping.items() if end > now}
        if worker.retired and not worker.running and not worker.stopping:
            self._workers.remove(worker)
            worker.end()

    def _start(self) -> _Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            settings = {
                "path": sys.path,
                "descriptor": theirs.fileno(),
                "slots": self._slots,
                "log_format": self._logs.log_format,
                "verbosity": self._logs.verbosity,
                "no_color": self._logs.no_color,
            }
            process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable, "-c", _START, json.dumps(settings)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
        return _Worker(process, Connection(ours.detach()))


@dataclass(frozen=True, slots=True)
class _Value:
    """The result of work that did not fail."""

    value: object


def serve(*, descriptor: int, slots: int, log_format: str, verbosity: int, no_color: bool) -> None:
    """Be a worker: do what is asked for on the socket, several tasks at the same time, until the other end is closed."""
    # A terminal sends Ctrl-C to the workers too, and systemd SIGTERM. The process that asked decides what stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Clients of boto3 are freed by the collector only: as seldom as in the command itself, each worker would need 40 MB more.
    gc.set_threshold(50_000, 10, 10)
    configure(log_format, verbosity, no_color=no_color)
    stops: dict[int, threading.Event] = {}
    sending = threading.Lock()
    with Connection(descriptor) as connection, ThreadPoolExecutor(slots, thread_name_prefix="target") as pool:
        while True:
            try:
                message = connection.recv()
            except (EOFError, OSError):
                break
            if message[0] == "run":
                _, index, work, task = message
                stops[index] = threading.Event()
                pool.submit(_answer, connection, sending, index, work, task, stops[index])
            else:
                stops[message[1]].set()
        for stop in stops.values():
            stop.set()


def _answer(
    connection: Connection, sending: threading.Lock, index: int, work: Work[object], task: Task, stop: threading.Event
) -> None:
    """Do one task: send that it begins, and then its result or the exception that it raised."""
    result: object
    _send(connection, sending, pickle.dumps((index, None)))
    try:
        found = outcome_of(partial(work, task, Control(stop=stop)))
        result = found if isinstance(found, AwsError) else _Value(found)
    except BaseException as error:  # noqa: BLE001 - raised again in the process that asked
        error.add_note(f"in a worker process, target {task.target.name}:\n{traceback.format_exc()}")
        result = error
    try:
        data = pickle.dumps((index, result))
    except Exception as error:  # noqa: BLE001 - an exception may hold anything
        data = pickle.dumps((index, RuntimeError(f"{result!r} of target {task.target.name} cannot be sent: {error}")))
    _send(connection, sending, data)


def _send(connection: Connection, sending: threading.Lock, data: bytes) -> None:
    with sending, contextlib.suppress(OSError):  # the other end has gone
        connection.send_bytes(data)
