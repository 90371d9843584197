"""Runs work on targets at the workers of a Dask cluster, which may be other machines (the extra ``dask``).

A worker needs this version of ``ivs-reconciler`` and credentials of its own; it gets the spec of a target and its record of the last apply,
and returns what it found and the new record, which is written here. No secret travels: Dask passes pickles on, unencrypted unless TLS is set up.
Dask runs a task again whose worker died: reads are repeated, and an apply is safe to repeat.
A task whose result is not awaited any more is cancelled by Dask: its calls in flight are finished and no more start.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, cast

from reconciler import __version__
from reconciler.errors import AwsError, UsageError, imports_of
from reconciler.executors import Control, Task, Work, finish
from reconciler.files import open_private, read_private, replace_file
from reconciler.network import why_unreachable
from reconciler.report.words import join_words
from reconciler.workflow.journal import last_run
from reconciler.workflow.records import FOLDER, ensure_folder, safe_name
from reconciler.workflow.survey import Progress, outcome_of

R = TypeVar("R")

_CONNECT_SECONDS = 10.0
_POLL_SECONDS = 0.25

_STOPS: dict[str, threading.Event] = {}
"""At a worker: the event that ends each task of it early, by key."""

_AT_WORKER = (
    "__import__('pkgutil').resolve_name('reconciler.executors.dask_cluster:work_at_worker')(version, key, data)"
)
"""What a worker evaluates: one that got a function of a package that it lacks would end, and so would the next that Dask gives it to."""

_OWN_SETTINGS = ("Configuration", "Credentials", "NoCredentials", "PartialCredentials")
"""Codes of errors that depend on the environment of the worker."""

_TLS = "DASK_DISTRIBUTED__COMM__TLS__"
_TLS_VARIABLES = (f"{_TLS}CA_FILE", f"{_TLS}CLIENT__CERT", f"{_TLS}CLIENT__KEY")


@dataclass(frozen=True, slots=True)
class DaskCluster:
    """Runs work at the workers of the cluster with this scheduler, such as ``tcp://10.0.0.5:8786``.

    ``at_once`` is how many targets are worked on at the same time; ``None`` is as many as the workers have threads.
    A target is timed out after ``timeout`` seconds, and all that are left when the cluster has had no workers for ``patience`` seconds.
    """

    in_checkout: ClassVar[bool] = False
    address: str
    at_once: int | None = None
    timeout: float = 3600.0
    patience: float = 60.0

    def run(
        self,
        work: Work[R],
        tasks: Sequence[Task],
        *,
        progress: Progress | None = None,
        stops: Mapping[str, threading.Event] = MappingProxyType({}),
        ended: Callable[[int, R | AwsError], None] = lambda _index, _found: None,
    ) -> list[R | AwsError]:
        """Return the result of each task. See ``Executor``. Raises ``UsageError`` if the cluster cannot be used."""
        with imports_of("--executor dask", "dask"):
            from distributed import Client  # noqa: PLC0415 - an optional package
        local = [task.target.name for task in tasks if task.target.sandbox is not None]
        if local:
            raise UsageError(
                f"target {local[0]} has a sandbox, which is a file of this machine; use --executor threads or processes"
            )
        # Its messages about connections would be mixed with the report; what matters of them is reported below.
        for name in list(logging.root.manager.loggerDict):
            if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        try:
            open_client: Any = Client
            client = open_client(self.address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError, TypeError) as error:
            raise UsageError(_unreachable(self.address, error)) from None
        run = _Run(client, self, work, tasks, stops)
        try:
            run.wait_for_worker()
            return finish(run, tasks, progress, ended)
        finally:
            run.close()


class _Run:
    """One call of ``DaskCluster.run``."""

    def __init__(
        self,
        client: Any,
        cluster: DaskCluster,
        work: Work[Any],
        tasks: Sequence[Task],
        stops: Mapping[str, threading.Event],
    ) -> None:
        self._client = client
        self._cluster = cluster
        self._work = work
        self._tasks = tasks
        self._stops = stops
        self._name = uuid.uuid4().hex[:12]
        self._waiting = deque(range(len(tasks)))
        self._busy: set[tuple[str, ...]] = set()
        self._running: dict[int, tuple[Any, float]] = {}
        self._sent: dict[int, dict[str, str]] = {}
        self._done: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._stopping: threading.Thread | None = None
        self._last_worker = time.monotonic()
        self.results: dict[int, object] = {}

    @property
    def finished(self) -> bool:
        """Whether every task has a result."""
        return len(self.results) == len(self._tasks)

    def wait_for_worker(self) -> None:
        """Return when there is a worker. Raises ``UsageError`` if there is none."""
        try:
            self._client.wait_for_workers(1, timeout=self._cluster.patience)
        except TimeoutError:
            raise UsageError(
                f"the Dask cluster at {self._cluster.address} has no workers; start one with dask worker {self._cluster.address}"
            ) from None

    def hand_out(self) -> None:
        """Submit tasks, as many as the workers have threads for: a task in a queue would use up its time."""
        threads = sum(self._threads().values())
        if threads:
            self._last_worker = time.monotonic()
        at_once = self._cluster.at_once or max(1, threads)
        skipped: list[int] = []
        while self._waiting and len(self._running) < at_once:
            index = self._waiting.popleft()
            task = self._tasks[index]
            if task.place in self._busy:
                skipped.append(index)
                continue
            self._busy.add(task.place)
            self._sent[index] = _records_to_send(task)
            data = pickle.dumps((self._work, task, self._sent[index], self._stop_of(index).is_set()))
            key = self._key(index)
            given = {"version": __version__, "key": key, "data": data}
            future = self._client.submit(eval, _AT_WORKER, given, key=key, pure=False, retries=0)
            self._running[index] = future, time.monotonic() + self._cluster.timeout
            future.add_done_callback(partial(_note, self._done, index))
        self._waiting.extendleft(reversed(skipped))

    def _threads(self) -> Mapping[str, int]:
        try:
            return cast("Mapping[str, int]", self._client.nthreads())
        except Exception:  # noqa: BLE001 - a lost connection raises many things; noticed by ``collect``
            return {}

    def collect(self) -> None:
        """Wait for a result, a deadline, a request to stop, or the loss of the connection."""
        with contextlib.suppress(queue.Empty):
            index = self._done.get(timeout=_POLL_SECONDS)
            # All of them: what came while this thread was busy is not late.
            while True:
                if index in self._running:
                    self._finish(index)
                index = self._done.get_nowait()
        self._stop([index for index in self._running if self._stop_of(index).is_set()])
        now = time.monotonic()
        for index in [index for index, (_, end) in self._running.items() if end <= now]:
            future, _ = self._running.pop(index)
            # Its place stays busy: the worker may still be at it.
            future.cancel()
            self.results[index] = AwsError(
                f"timed out after {self._cluster.timeout:,.0f} s without a result; raise --target-timeout if it needs more",
                code="TargetTimeout",
            )
            self._free_waiting(self._tasks[index].place)
        if self._client.status != "running":
            self._lose(self._lost())
        elif now - self._last_worker > self._cluster.patience:
            self._lose(
                AwsError(
                    f"the Dask cluster at {self._cluster.address} has no workers any more; see their logs, start some, and run again",
                    code="NoWorkers",
                )
            )

    def close(self) -> None:
        """Close the connection, which cancels the tasks that still run."""
        with contextlib.suppress(Exception):
            self._client.close(timeout=5)

    def _free_waiting(self, place: tuple[str, ...]) -> None:
        """Give up the tasks that wait for a place whose task hangs."""
        for index in [index for index in self._waiting if self._tasks[index].place == place]:
            self._waiting.remove(index)
            self.results[index] = AwsError(
                "not started: a task in the same account and region timed out", code="TargetTimeout"
            )

    def _key(self, index: int) -> str:
        return f"ivs-reconciler-{self._name}-{index}"

    def _stop_of(self, index: int) -> threading.Event:
        return self._stops.get(self._tasks[index].target.name, _NEVER)

    def _stop(self, indexes: Sequence[int]) -> None:
        """Ask the workers to end tasks early; again until they have, because Dask may begin a task again elsewhere."""
        if indexes and (self._stopping is None or not self._stopping.is_alive()):
            keys = [self._key(index) for index in indexes]
            # In a thread: a worker that hangs does not answer.
            self._stopping = threading.Thread(target=self._send_stop, args=(keys,), daemon=True)
            self._stopping.start()

    def _send_stop(self, keys: Sequence[str]) -> None:
        with contextlib.suppress(Exception):  # a lost connection raises many things; noticed by ``collect``
            self._client.run(stop_at_worker, keys, on_error="ignore")

    def _finish(self, index: int) -> None:
        future, _ = self._running.pop(index)
        self._busy.discard(self._tasks[index].place)
        if future.status == "finished":
            outcome, records = pickle.loads(future.result())  # noqa: S301 - of our own worker, behind the same scheduler
            _keep_records(self._tasks[index], self._sent[index], records)
            if isinstance(outcome, BaseException) and not isinstance(outcome, AwsError):
                raise outcome
            self.results[index] = _at_worker(outcome.value if isinstance(outcome, _Value) else outcome)
        elif future.status == "error":
            self.results[index] = _failure(future.exception())
        else:
            self.results[index] = self._lost()
        future.release()

    def _lost(self) -> AwsError:
        return AwsError(
            f"the connection to the Dask scheduler at {self._cluster.address} was lost; the state of its workers is unknown; run plan again",
            code="SchedulerLost",
        )

    def _lose(self, why: AwsError) -> None:
        """Keep the results that came, and give up the other targets."""
        while not self._done.empty():
            index = self._done.get()
            if index in self._running and self._running[index][0].status == "finished":
                self._finish(index)
        self._running.clear()
        for index in range(len(self._tasks)):
            self.results.setdefault(index, why)


_NEVER = threading.Event()


def _note(done: queue.SimpleQueue[int], index: int, _future: object) -> None:
    done.put(index)


def _at_worker(found: object) -> object:
    """Return what a worker found; an error of its credentials says where they are missing."""
    error = getattr(found, "survey", found)
    if isinstance(error, AwsError) and error.code in _OWN_SETTINGS:
        error.args = (f"{error} (at the Dask worker)",)
    return found


def _unreachable(address: str, error: Exception) -> str:
    """Return why there is no connection to the scheduler, and what to do."""
    where = f"the Dask scheduler at {address} cannot be reached"
    if isinstance(error, TypeError) and address.startswith("tls:"):  # Dask's for no or half a certificate
        return f"{where}: no TLS certificate is configured here; set {join_words(_TLS_VARIABLES)} to its files"
    reason = why_unreachable(error)
    reason = "no answer" if reason in ("OSError", "TimeoutError") else reason  # Dask's, without a cause
    return f"{where} ({reason}); check that it runs there, and its TLS settings"


def _failure(error: BaseException | None) -> AwsError:
    """Return the error of a task that Dask could not carry out."""
    name = type(error).__name__
    if isinstance(error, ModuleNotFoundError) or name == "DeserializationError":
        return AwsError(
            f"the Dask worker cannot load ivs-reconciler ({error}); install version {__version__} there",
            code="WorkerSetup",
        )
    if name == "KilledWorker":
        return AwsError("the Dask workers of this target died repeatedly; see their logs", code="WorkerDied")
    return AwsError(f"the Dask worker failed ({name}: {error})", code="WorkerFailed")


@dataclass(frozen=True, slots=True)
class _Value:
    """The result of work that did not fail."""

    value: object


class _Stop(threading.Event):
    """At a worker: set if the task is to end early, because that was asked for or because its result will not be used."""

    def __init__(self, worker: Any, key: str) -> None:
        super().__init__()
        self._worker = worker
        self._key = key

    @property
    def abandoned(self) -> bool:
        """Whether the task was cancelled, as when the process that asked is gone, or the worker closes, so that another one begins it again."""
        task = self._worker.state.tasks.get(self._key)
        return (
            task is None
            or task.state not in ("executing", "long-running")
            or self._worker.status.name in ("closing", "closed", "failed")
        )

    def is_set(self) -> bool:
        return super().is_set() or self.abandoned


def stop_at_worker(keys: Sequence[str]) -> None:
    """End these tasks early, if they run at this worker."""
    for key in keys:
        if key in _STOPS:
            _STOPS[key].set()


def work_at_worker(version: str, key: str, data: bytes) -> bytes:
    """Do a task at a worker; return its outcome and the records that it wrote, pickled.

    The project's folder is a temporary one, with the records of the target. Raises ``Reschedule`` for a task that another worker should do.
    """
    from distributed import Reschedule, get_worker  # noqa: PLC0415 - an optional package

    outcome: object
    found: dict[str, str] = {}
    if version != __version__:
        outcome = AwsError(
            f"the Dask worker has ivs-reconciler {__version__}, and this is {version}; install the same version",
            code="WorkerSetup",
        )
        return pickle.dumps((outcome, found))
    work, task, records, stopped = pickle.loads(data)  # noqa: S301 - Dask's own tasks are pickles too
    stop = _STOPS[key] = _Stop(get_worker(), key)
    if stopped:
        stop.set()
    try:
        with tempfile.TemporaryDirectory(prefix="ivs-reconciler-") as folder:
            ensure_folder(Path(folder))
            for name, text in records.items():
                replace_file(Path(folder, FOLDER, name), text)
            here = task._replace(project=task.project._replace(root=folder))
            try:
                result = outcome_of(partial(work, here, Control(stop=stop)))
                outcome = result if isinstance(result, AwsError) else _Value(result)
            except Exception as error:  # noqa: BLE001 - raised again in the process that asked
                outcome = error
            found = _read_records(Path(folder), task)
        if stop.abandoned:
            raise Reschedule
    finally:
        _STOPS.pop(key, None)
    return pickle.dumps((outcome, found))


def _names(task: Task) -> tuple[str, ...]:
    name = safe_name(task.target.name)
    return (*(() if task.project.state else (f"applied-{name}.json",)), f"journal-{name}.jsonl")


def _read_records(root: Path, task: Task) -> dict[str, str]:
    found = {}
    for name in _names(task):
        with contextlib.suppress(OSError, ValueError):
            found[name] = read_private(root / FOLDER / name)
    return found


def _records_to_send(task: Task) -> dict[str, str]:
    """Return the files of the last apply that a worker needs; the journal only of an apply that did not finish."""
    root = Path(task.project.root)
    found = _read_records(root, task)
    last = last_run(root, task.target.name)
    if last is None or last.ended:
        found = {name: text for name, text in found.items() if not name.startswith("journal-")}
    return found


def _keep_records(task: Task, sent: Mapping[str, str], records: Mapping[str, str]) -> None:
    """Write what a worker recorded; a disk that cannot be written fails no apply."""
    root = Path(task.project.root)
    for name, text in records.items():
        if text == sent.get(name):
            continue
        path = root / FOLDER / name
        with contextlib.suppress(OSError):
            ensure_folder(root)
            if not name.startswith("journal-"):
                replace_file(path, text)
                continue
            handle = open_private(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            with os.fdopen(handle, "a", encoding="utf-8") as journal:
                journal.write(text.removeprefix(sent.get(name, "")))
