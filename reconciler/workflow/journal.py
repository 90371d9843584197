"""The journal of an apply, from which the next run reports where a killed apply ended. Nothing else depends on it.

One JSON object a line, appended to a file next to the record: a run began, a step started, a step finished (with the request id), the run ended.
It holds addresses, operations and request ids; no property, tag, message or secret.
A line is on disk before its call is sent. Threads that wait for the disk at the same time share one flush.
Incomplete and unknown lines are skipped.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from reconciler.files import open_private, read_private
from reconciler.model.address import Address
from reconciler.model.kinds import CREATED_BY, DELETED_BY
from reconciler.model.values import format_time
from reconciler.plan.plan import Result
from reconciler.workflow.records import FOLDER, ensure_folder, safe_name, why_unusable

if TYPE_CHECKING:
    from reconciler.apply import Event

_MAX_SIZE = 512 * 1024
"""Bytes of a journal after which the next run starts a new one; the previous one is kept next to it."""


class Journal:
    """The journal of one run of one target. Thread-safe.

    A disk that cannot be written interrupts nothing; ``trouble`` is the first error then.
    """

    def __init__(self, root: Path, target: str, account: str) -> None:
        self._run = uuid.uuid4().hex[:12]
        self.trouble = ""
        self._path = _path(root, target)
        self._cut = False
        self._handle: int | None = None
        self._lock = threading.Lock()
        self._flush_lock = threading.Lock()
        self._written = 0
        self._flushed = 0
        path = self._path
        try:
            ensure_folder(root)
            if path.exists() and path.lstat().st_size > _MAX_SIZE:
                path.replace(path.with_suffix(".old"))
            self._handle = open_private(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            with contextlib.suppress(OSError):  # another user's file
                os.fchmod(self._handle, 0o600)
            size = os.fstat(self._handle).st_size
            if size and os.pread(self._handle, 1, size - 1) != b"\n":
                self._cut = True
        except OSError as error:
            self._record_trouble(error)
        from reconciler.workflow.locks import process_identity  # noqa: PLC0415 - a plan reads journals and writes none

        pid = os.getpid()
        host, mark = socket.gethostname(), process_identity(pid)
        self._write("run", at=format_time(time.time()), account=account, pid=pid, host=host, mark=mark)

    def step_started(self, address: Address, operation: str) -> None:
        """Write that the first call of a step is about to be sent."""
        self._write("step", address=str(address), operation=operation)

    def event(self, event: Event) -> None:
        """Write that a step finished; other events are ignored."""
        from reconciler.apply import StepFinished  # noqa: PLC0415 - a plan reads journals, and needs nothing of apply

        if isinstance(event, StepFinished) and event.outcome.calls:
            outcome = event.outcome
            facts = {"outcome": outcome.result.value, "requestId": outcome.request_id, "code": outcome.error_code}
            known = {key: value for key, value in facts.items() if value}
            self._write("done", flush=False, address=str(event.address), operation=outcome.operation, **known)

    def recording(self, on_event: Callable[[Event], None]) -> Callable[[Event], None]:
        """Return an event handler that writes each event here and then calls ``on_event``."""

        def handle(event: Event) -> None:
            self.event(event)
            on_event(event)

        return handle

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write that the run ended, unless an exception ended it."""
        if kind is None:
            self._write("end", at=format_time(time.time()))
        # A call in flight may be about to write: then into this file or nowhere, not into one that got its descriptor.
        with self._flush_lock, self._lock:
            handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _write(self, event: str, *, flush: bool = True, **facts: object) -> None:
        line = (json.dumps({"run": self._run, "event": event, **facts}, separators=(",", ":")) + "\n").encode()
        try:
            with self._lock:
                if self._handle is None:
                    return
                # After an incomplete line, start a new one, so that this one can be read.
                data = b"\n" + line if self._cut else line
                self._cut = os.write(self._handle, data) < len(data)
                self._written += 1
                number = self._written
            if flush:
                self._flush(number)
        except OSError as error:
            self._record_trouble(error)

    def _record_trouble(self, error: OSError) -> None:
        self.trouble = self.trouble or why_unusable(f"{FOLDER}/{self._path.name}", error)

    def _flush(self, number: int) -> None:
        """Return when the line of this number is on disk; one flush serves all threads that wait for it."""
        with self._flush_lock:
            if self._handle is None or self._flushed >= number:
                return
            written = self._written
            os.fsync(self._handle)
            self._flushed = written


@dataclass(slots=True)
class LastRun:
    """The last run in a journal: when it started, whether it ended and, if not, what it created and deleted and which calls were in flight."""

    started: str = ""
    account: str = ""
    ended: bool = False
    pid: int = 0
    host: str = ""
    mark: str = ""
    in_flight: dict[tuple[Address, str], None] = field(default_factory=dict)
    created: set[Address] = field(default_factory=set)
    deleted: set[Address] = field(default_factory=set)

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> LastRun:
        """Return the run that a ``run`` line begins. Raises ``KeyError``, ``ValueError`` and ``TypeError`` for another line."""
        return cls(
            started=str(line["at"]),
            account=str(line.get("account", "")),
            pid=int(line["pid"]),
            host=str(line["host"]),
            mark=str(line.get("mark", "")),
        )

    @property
    def running(self) -> bool:
        """Whether it is still running on this machine."""
        from reconciler.workflow.locks import ProcessState, process_state  # noqa: PLC0415 - most runs have ended

        return (
            not self.ended
            and self.pid != os.getpid()
            and process_state(self.host, self.pid, self.mark) is ProcessState.RUNNING
        )

    def add_step(self, event: object, address: Address, operation: str, line: Mapping[str, Any]) -> None:
        """Add what a ``step`` or ``done`` line says."""
        if event == "step":
            self.in_flight[address, operation] = None
        elif event == "done":
            self.in_flight.pop((address, operation), None)
            if line["outcome"] != Result.DONE.value:
                return
            if CREATED_BY.get(operation) is address.kind:
                self.created.add(address)
                self.deleted.discard(address)
            elif DELETED_BY.get(operation) is address.kind and address not in self.created:
                self.deleted.add(address)


def last_run(root: Path, target: str) -> LastRun | None:
    """Return the last run of a target in this project directory, or ``None`` if there is none."""
    path = _path(root, target)
    for candidate in (path, path.with_suffix(".old")):
        try:
            text = read_private(candidate, errors="replace")
        except OSError:
            continue
        found = _read_ended(text) or _read_all(text)
        if found is not None:
            return found
    return None


def close_last_run(root: Path, target: str, account: str) -> None:
    """Mark a killed last run as ended: the target is in sync, so there is nothing left to report."""
    last = last_run(root, target)
    if last is not None and not last.ended and not last.running:
        with Journal(root, target, account):
            pass


def _read_ended(text: str) -> LastRun | None:
    """Return the last run if it ended, without its steps: the lines of 5,000 channels take 50 ms to parse."""
    begun = text.rfind('"event":"run"')
    if begun < 0:
        return None
    line, _, rest = text[text.rfind("\n", 0, begun) + 1 :].partition("\n")
    try:
        content = json.loads(line)
        run = LastRun.of(content)
    except (KeyError, ValueError, TypeError, RecursionError):
        return None
    run.ended = f'{{"run":{json.dumps(content["run"])},"event":"end"' in rest
    return run if run.ended else None


def _read_all(text: str) -> LastRun | None:
    """Return the last run with its steps."""
    runs: dict[str, LastRun] = {}
    for line in _objects(text):
        try:
            name, event = str(line["run"]), line["event"]
            if event == "run":
                begun = LastRun.of(line)
                runs.pop(name, None)  # a run that starts again is the last one
                runs[name] = begun
            elif name in runs and event == "end":
                runs[name].ended = True
            elif name in runs:
                runs[name].add_step(event, Address.parse(str(line["address"])), str(line["operation"]), line)
        except (KeyError, ValueError, TypeError):
            continue
    return next(reversed(runs.values()), None)


def _objects(text: str) -> Iterator[Mapping[str, Any]]:
    for line in text.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            content = json.loads(line)
            if isinstance(content, dict):
                yield content


def _path(root: Path, target: str) -> Path:
    return root / FOLDER / f"journal-{safe_name(target)}.jsonl"
