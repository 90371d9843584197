"""One apply at a time: the lock of a target is taken before its account is read, renewed while the apply runs, and released at the end.

A lock says who holds it, since when and from where, and until when it is to be respected.
Its holder moves that time on; a holder that died does not, so that nobody has to be asked.
Losing a lock stops an apply as a person would: calls in flight finish and no more start.

A lock in a file: who holds it, read and written under the system's own file lock, so that two processes of one machine never both believe to hold it.

Whether a process that left its name in a file is still there: the one that wrote it, and not another that was given its number since.

A mark is the start of the machine, the space of process numbers (a container has its own) and the moment the process began, as Linux tells them.
Where it does not tell, and for files from before marks, the number alone has to do.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Protocol

from reconciler import logs
from reconciler.aws.lock import S3Door
from reconciler.errors import AwsError, LockHeld, UsageError
from reconciler.file_lock import locked
from reconciler.model.lock import Holder, from_json, moment, to_json
from reconciler.model.target import FileLock, S3Lock, Target

_MAX_SIZE = 65_536


class FileLockBackend:
    """The file at a path. A token names one state of it. ``patience`` is how many seconds another process may have it open for."""

    def __init__(self, path: str, *, patience: float = 30.0) -> None:
        self.where = f"the lock file {path}"
        self._path = Path(path)
        self._patience = patience

    def read(self) -> tuple[Holder | None, str]:
        """Return who holds or held it, and the token of what was read. Raises ``UsageError``."""
        with self._open() as handle:
            return self._content(handle)

    def write(self, holder: Holder, token: str) -> str | None:
        """Write, if nothing has changed since the token; return the new token, or ``None`` when something has. Raises ``UsageError``."""
        with self._open() as handle:
            if self._token(os.pread(handle, _MAX_SIZE, 0)) != token:
                return None
            data = json.dumps(to_json(holder), indent=1).encode() + b"\n"
            os.pwrite(handle, data, 0)
            os.ftruncate(handle, len(data))
            os.fsync(handle)
            return self._token(data)

    def force(self, holder: Holder) -> None:
        """Write whatever stands there, understood or not. Raises ``UsageError``."""
        with self._open() as handle:
            token = self._token(os.pread(handle, _MAX_SIZE, 0))
        self.write(holder, token)

    def _content(self, handle: int) -> tuple[Holder | None, str]:
        data = os.pread(handle, _MAX_SIZE, 0)
        if not data:
            return None, ""
        try:
            return from_json(json.loads(data)), self._token(data)
        except (ValueError, RecursionError):
            raise UsageError(
                f"{self.where} holds something else than a lock; name another file, or release it with unlock --force"
            ) from None

    @staticmethod
    def _token(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest() if data else ""

    @contextlib.contextmanager
    def _open(self) -> Iterator[int]:
        """Open the file with nobody else inside."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UsageError(
                f"{self.where} cannot be opened ({(error.strerror or 'unknown').lower()}); name a file in a folder that can be written"
            ) from None
        try:
            if not locked(handle, self._patience):
                raise UsageError(
                    f"{self.where} is being read or written by another process for more than {self._patience:g} seconds, which takes no time; "
                    "look for one that is stopped, or name a file on a disk of this machine"
                )
            yield handle
        except OSError as error:
            raise UsageError(
                f"{self.where} cannot be used ({(error.strerror or 'unknown').lower()}); name a file on a disk of this machine"
            ) from None
        finally:
            os.close(handle)


_START_TIME = 19
"""Where the moment a process began stands in ``/proc/PID/stat``, counted from its state, which is behind the name in brackets (proc(5))."""


class ProcessState(Enum):
    """What became of a process."""

    THERE = "it is there, or nothing says that it is not"
    GONE = "it was of this machine, and is not there any more"
    UNKNOWN = "it is of another machine, another container, or an earlier start of this machine"


def process_identity(pid: int) -> str:
    """Return the mark of a process of this machine, or nothing where there is none to be had."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = Path("/proc/self/ns/pid").readlink()
        return f"{boot} {space} {_stat_fields(pid)[_START_TIME]}"
    except (OSError, ValueError, IndexError):
        return ""


def process_state(host: str, pid: int, mark: str) -> ProcessState:
    """Return what became of a process."""
    if host != socket.gethostname() or pid <= 0:
        return ProcessState.UNKNOWN
    ours = process_identity(os.getpid())
    if mark and ours and mark.rpartition(" ")[0] != ours.rpartition(" ")[0]:
        return ProcessState.UNKNOWN
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ProcessState.GONE
    except (OSError, OverflowError):
        pass  # it is somebody else's
    now = process_identity(pid)
    if (mark and now and mark != now) or _is_zombie(pid):
        return ProcessState.GONE
    return ProcessState.THERE


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended, and only its parent has not looked yet."""
    try:
        return _stat_fields(pid)[0] in ("Z", "X")
    except (OSError, ValueError, IndexError):
        return False


def _stat_fields(pid: int) -> list[str]:
    # A name may hold blanks and brackets.
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


LEASE_SECONDS = 120.0
"""How long a lock is to be respected without a sign of life."""

RENEW_SECONDS = 30.0
_POLL_SECONDS = 3.0
_LOG = logs.get("lock")


class LockBackend(Protocol):
    """Where a lock is written down. A token names one state of it; a write with an old token does nothing."""

    where: str

    def read(self) -> tuple[Holder | None, str]:
        """Return who holds or held it, and the token of what was read."""

    def write(self, holder: Holder, token: str) -> str | None:
        """Write if nothing has changed since the token; return the new token, or ``None`` when something has."""

    def force(self, holder: Holder) -> None:
        """Write whatever stands there."""


@dataclass(frozen=True, slots=True)
class LockClock:
    """The clocks and the patience of somebody who takes locks: ``now`` in seconds since the epoch, ``wait`` returns early, and true, once its event is set."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    wait: Callable[[threading.Event, float], bool] = lambda event, seconds: event.wait(seconds)


def lock_backend(target: Target, *, sleep: Callable[[float], None] = time.sleep) -> LockBackend | None:
    """Return where the target's lock is, or ``None`` when it has none."""
    match target.lock:
        case None:
            return None
        case FileLock(path):
            return FileLockBackend(path)
        case S3Lock():
            return S3Door(target.lock, target, sleep=sleep)


def new_holder(command: str, now: float, environment: Mapping[str, str] = os.environ) -> Holder:
    """Return who we are, as far as this machine and its CI tell."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = f"user {os.getuid()}"
    who = environment.get("GITHUB_ACTOR") or environment.get("GITLAB_USER_LOGIN") or user
    pid = os.getpid()
    return Holder(
        uuid.uuid4().hex[:12],
        who,
        socket.gethostname(),
        pid,
        command,
        now,
        now + LEASE_SECONDS,
        _run_url(environment),
        mark=process_identity(pid),
    )


def is_gone(holder: Holder) -> bool:
    """Whether the holder was a process of this machine that is not there any more. One that cannot be told is respected until its lock expires."""
    return process_state(holder.host, holder.pid, holder.mark) is ProcessState.GONE


@contextlib.contextmanager
def lock_targets(
    targets: tuple[Target, ...],
    command: str,
    *,
    patience: float = 0.0,
    say: Callable[[str], None] = lambda _text: None,
    clock: LockClock | None = None,
) -> Iterator[Mapping[str, threading.Event]]:
    """Hold the locks of these targets; yields, by target, an event that is set once its lock was lost.

    Waits up to ``patience`` seconds for each. ``say`` is told what a person should know.
    Raises ``LockHeld`` where somebody else holds one, ``AwsError`` and ``UsageError`` where a lock cannot be used.
    """
    clock = clock or LockClock()
    with contextlib.ExitStack() as stack:
        held: dict[str, threading.Event] = {}
        # In the order of names, whatever was asked for: two runs that want the same targets never wait for each other.
        for target in sorted(targets, key=lambda target: target.name):
            door = lock_backend(target, sleep=clock.sleep)
            if door is not None:
                held[target.name] = stack.enter_context(
                    _hold_lock(target.name, door, new_holder(command, clock.now()), patience, say, clock)
                )
        yield held


def either(stop: threading.Event, lost: threading.Event | None) -> threading.Event:
    """Return an event that is set when a person wants to stop, and when the lock was lost."""
    return stop if lost is None else _Either(stop, lost)


class _Either(threading.Event):
    """Set when one of two events is."""

    def __init__(self, first: threading.Event, second: threading.Event) -> None:
        super().__init__()
        self._both = (first, second)

    def is_set(self) -> bool:
        return super().is_set() or any(event.is_set() for event in self._both)


@dataclass(slots=True)
class _Lease:
    """A lock that is held: its last written state, and whether it was lost."""

    name: str
    door: LockBackend
    holder: Holder
    token: str
    say: Callable[[str], None]
    clock: LockClock
    over: threading.Event = field(default_factory=threading.Event)
    lost: threading.Event = field(default_factory=threading.Event)

    def keep(self) -> None:
        """Renew until it is over; runs in a thread of its own."""
        while not self.clock.wait(self.over, RENEW_SECONDS):
            if not self.renewed():
                return

    def renewed(self) -> bool:
        """Move the end on; ``False`` when the lock was lost."""
        fresh = replace(self.holder, expires=self.clock.now() + LEASE_SECONDS)
        try:
            token = self.door.write(fresh, self.token)
        except (AwsError, UsageError) as error:
            _LOG.warning("lock not renewed", target=self.name, reason=str(error))
            # Others respect it until it expires; so long may it be renewed late.
            if self.clock.now() < self.holder.expires - RENEW_SECONDS:
                return True
            return self._give_up(f"it could not be renewed ({error})")
        if token is None:
            return self._give_up("somebody else took it")
        self.holder, self.token = fresh, token
        return True

    def release(self) -> None:
        """Let go of it, unless it is somebody else's by now."""
        if self.lost.is_set():
            return
        try:
            self.door.write(replace(self.holder, released=True), self.token)
        except (AwsError, UsageError) as error:
            self.say(
                f"{self.name}: {self.door.where} could not be released ({error}); it expires at {moment(self.holder.expires)} by itself"
            )

    def _give_up(self, why: str) -> bool:
        self.lost.set()
        self.say(f"{self.name}: {self.door.where} was lost: {why}; calls in flight finish, no more start")
        return False


@contextlib.contextmanager
def _hold_lock(
    name: str, door: LockBackend, holder: Holder, patience: float, say: Callable[[str], None], clock: LockClock
) -> Iterator[threading.Event]:
    lease = _Lease(name, door, *_acquire(name, door, holder, patience, say, clock), say, clock)
    keeper = threading.Thread(target=lease.keep, name=f"lock-{name}", daemon=True)
    keeper.start()
    try:
        yield lease.lost
    finally:
        lease.over.set()
        keeper.join()
        lease.release()


def _acquire(
    name: str, door: LockBackend, holder: Holder, patience: float, say: Callable[[str], None], clock: LockClock
) -> tuple[Holder, str]:
    """Take the lock and return what was written. Raises ``LockHeld``."""
    until = clock.now() + patience
    told = False
    while True:
        other, token = door.read()
        now = clock.now()
        if other is None or not other.held_at(now) or is_gone(other):
            fresh = replace(holder, since=now, expires=now + LEASE_SECONDS)
            written = door.write(fresh, token)
            if written is not None:
                if other is not None and not other.released:
                    end = "the process is gone" if other.held_at(now) else f"it expired at {moment(other.expires)}"
                    say(f"{name}: {door.where} was taken over from {other}: {end}")
                return fresh, written
            continue  # somebody was quicker; look who
        if now >= until:
            raise LockHeld(
                f"{name}: {door.where} is held by {other}, and expires at {moment(other.expires)} unless it is renewed; "
                f"wait with --lock-timeout 10m, or, if that run is surely over, release it with: ivs-reconciler unlock --target {name}"
            )
        if not told:
            say(f"{name}: waiting for {door.where}, held by {other}")
            told = True
        clock.sleep(min(_POLL_SECONDS, until - now))


def _run_url(environment: Mapping[str, str]) -> str:
    run = environment.get("GITHUB_RUN_ID")
    if run:
        return f"{environment.get('GITHUB_SERVER_URL', 'https://github.com')}/{environment.get('GITHUB_REPOSITORY', '')}/actions/runs/{run}"
    return environment.get("CI_JOB_URL") or environment.get("BUILD_URL") or ""
