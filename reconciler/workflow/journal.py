"""A journal of what an apply was doing, so that the next run can say where the last one ended. Nothing depends on it.

One JSON object a line, appended beside the record: a run began, a step was begun, a step ended (with AWS's request id), the run ended.
It holds addresses, operations and request ids; no property, no tag, no message, no secret.
A line is on the disk before the call that it announces leaves. Workers that wait for the disk at the same time share one flush.
Lines that are cut or not understood are passed over.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from reconciler.model.address import Address
from reconciler.model.kinds import KINDS
from reconciler.plan.plan import Result
from reconciler.workflow.history import FOLDER, ensure_folder, safe_name, write_error

if TYPE_CHECKING:
    from reconciler.apply import Event

_MAX_SIZE = 512 * 1024
"""Bytes of a journal before the next run begins a new one; the one before is kept beside it."""

_CREATES = {kind.create: name for name, kind in KINDS.items()}
_DELETES = {kind.delete: name for name, kind in KINDS.items()}


class Journal:
    """The journal of one run of one target. Safe to share between threads.

    A disk that cannot be written to stops nothing; ``trouble`` says then what was the matter first.
    """

    def __init__(self, root: Path, target: str, account: str) -> None:
        self._run = uuid.uuid4().hex[:12]
        self.trouble = ""
        self._path = _path(root, target)
        self._cut = False
        self._handle: int | None = None
        self._lock = threading.Lock()
        self._flush = threading.Lock()
        self._written = 0
        self._flushed = 0
        path = self._path
        try:
            ensure_folder(root)
            if path.exists() and path.stat().st_size > _MAX_SIZE:
                path.replace(path.with_suffix(".old"))
            self._handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            size = os.fstat(self._handle).st_size
            if size and os.pread(self._handle, 1, size - 1) != b"\n":
                self._cut = True
        except OSError as error:
            self._failed(error)
        from reconciler.workflow.locks import process_identity  # noqa: PLC0415 - a plan reads journals and writes none

        pid = os.getpid()
        self._write(
            {
                "event": "run",
                "at": _now(),
                "account": account,
                "pid": pid,
                "host": socket.gethostname(),
                "mark": process_identity(pid),
            },
            lasting=True,
        )

    def before(self, address: Address, operation: str) -> None:
        """Write down that a step's first call is about to leave."""
        self._write({"event": "step", "address": str(address), "operation": operation}, lasting=True)

    def event(self, event: Event) -> None:
        """Write down that a step ended."""
        from reconciler.apply import StepFinished  # noqa: PLC0415 - a plan reads what an apply left, and needs nothing of the room of apply

        if isinstance(event, StepFinished) and event.outcome.calls:
            outcome = event.outcome
            facts = {"requestId": outcome.request_id, "code": outcome.error_code}
            line = {
                "event": "done",
                "address": str(event.address),
                "operation": outcome.operation,
                "outcome": outcome.result.value,
            }
            self._write({**line, **{key: value for key, value in facts.items() if value}}, lasting=False)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write down that the run came to its end, unless it was torn out of it."""
        if kind is None:
            self._write({"event": "end", "at": _now()}, lasting=True)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _write(self, content: Mapping[str, object], *, lasting: bool) -> None:
        if self._handle is None:
            return
        line = (json.dumps({"run": self._run, **content}, separators=(",", ":")) + "\n").encode()
        try:
            with self._lock:
                # Where the last line was cut, the next one is not to be lost with it.
                data = b"\n" + line if self._cut else line
                self._cut = os.write(self._handle, data) < len(data)
                self._written += 1
                ticket = self._written
            if lasting:
                self._last(self._handle, ticket)
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        self.trouble = self.trouble or write_error(self._path, error)

    def _last(self, handle: int, ticket: int) -> None:
        """Return when this line is on the disk; whoever waits meanwhile is served by the next flush, all at once."""
        with self._flush:
            if self._flushed >= ticket:
                return
            upto = self._written
            os.fsync(handle)
            self._flushed = upto


@dataclass(slots=True)
class LastRun:
    """What the journal tells of the last run: since when, whether it came to its end, and if not, what it did and what it was in the middle of."""

    started: str = ""
    account: str = ""
    ended: bool = False
    pid: int = 0
    host: str = ""
    mark: str = ""
    under_way: dict[tuple[Address, str], None] = field(default_factory=dict)
    made: set[Address] = field(default_factory=set)
    removed: set[Address] = field(default_factory=set)

    @property
    def running(self) -> bool:
        """Whether it may still be going on, on this machine."""
        from reconciler.workflow.locks import ProcessState, process_state  # noqa: PLC0415 - most runs come to their end

        return (
            not self.ended
            and self.pid != os.getpid()
            and process_state(self.host, self.pid, self.mark) is ProcessState.THERE
        )


def last_run(root: Path, target: str) -> LastRun | None:
    """Read what the last run of a target from here did, or ``None`` where nothing is known of it."""
    path = _path(root, target)
    for candidate in (path, path.with_suffix(".old")):
        found = _read(candidate)
        if found is not None:
            return found
    return None


def close_last_run(root: Path, target: str, account: str) -> None:
    """Write down that everything is in order, where the last run did not come to its end: there is nothing left to explain."""
    last = last_run(root, target)
    if last is not None and not last.ended and not last.running:
        with Journal(root, target, account):
            pass


def _read(path: Path) -> LastRun | None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return _read_ended(text) or _read_all(text)


def _read_ended(text: str) -> LastRun | None:
    """Return the last run where its end is written, without what it did: nobody asks, and the lines of 5,000 channels take 50 ms to read."""
    begun = text.rfind('"event":"run"')
    if begun < 0:
        return None
    line, _, rest = text[text.rfind("\n", 0, begun) + 1 :].partition("\n")
    try:
        content = json.loads(line)
        run = _run_of(content)
    except (KeyError, ValueError, TypeError, RecursionError):
        return None
    run.ended = f'{{"run":{json.dumps(content["run"])},"event":"end"' in rest
    return run if run.ended else None


def _read_all(text: str) -> LastRun | None:
    runs: dict[str, LastRun] = {}
    for line in _objects(text):
        try:
            name, event = str(line["run"]), line["event"]
            if event == "run":
                begun = _run_of(line)
                runs.pop(name, None)  # a run that begins again is the last one, wherever it stood before
                runs[name] = begun
            elif name in runs and event == "end":
                runs[name].ended = True
            elif name in runs:
                _add_step(runs[name], event, Address.parse(str(line["address"])), str(line["operation"]), line)
        except (KeyError, ValueError, TypeError):
            continue
    return next(reversed(runs.values()), None)


def _run_of(line: Mapping[str, Any]) -> LastRun:
    return LastRun(
        started=str(line["at"]),
        account=str(line.get("account", "")),
        pid=int(line["pid"]),
        host=str(line["host"]),
        mark=str(line.get("mark", "")),
    )


def _add_step(run: LastRun, event: object, address: Address, operation: str, line: Mapping[str, Any]) -> None:
    if event == "step":
        run.under_way[address, operation] = None
    elif event == "done":
        run.under_way.pop((address, operation), None)
        if line["outcome"] != Result.DONE.value:
            return
        if _CREATES.get(operation) is address.kind:
            run.made.add(address)
            run.removed.discard(address)
        elif _DELETES.get(operation) is address.kind and address not in run.made:
            run.removed.add(address)


def _objects(text: str) -> Iterator[Mapping[str, Any]]:
    for line in text.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            content = json.loads(line)
            if isinstance(content, dict):
                yield content


def _path(root: Path, target: str) -> Path:
    return root / FOLDER / f"journal-{safe_name(target)}.jsonl"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
