"""Locks: one apply at a time on a target.

A lock is acquired before the account is read, renewed while the apply runs, and released at the end. It is kept in a file or in S3,
and says who holds it, since when, and until when it is valid. A holder that died does not renew it, so it expires by itself.
Losing a lock interrupts the apply: in-flight calls finish and no more start.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from reconciler import logs
from reconciler.aws.objects import S3LockBackend
from reconciler.errors import AwsError, LockHeld, UsageError, os_reason
from reconciler.files import locked, open_private
from reconciler.model.target import FileLock, LockHolder, S3Lock, Target, holder_from_json, holder_to_json
from reconciler.model.values import format_time

LEASE_SECONDS = 120.0
"""How long a lock is valid without a renewal."""

RENEW_SECONDS = 30.0
_POLL_SECONDS = 3.0
_MAX_SIZE = 65_536
_START_TIME = 19
"""Index of a process's start time in ``/proc/PID/stat``, counted from its state, which follows the name in parentheses (proc(5))."""

_LOG = logs.get("lock")


class LockBackend(Protocol):
    """Where a lock is kept. A token identifies one state of it; a write with an old token does nothing."""

    where: str

    def read(self) -> tuple[LockHolder | None, str]:
        """Return the current or last holder, and the token of this state."""

    def write(self, holder: LockHolder, token: str) -> str | None:
        """Write if the state is still that of the token; return the new token, or ``None`` otherwise."""

    def force(self, holder: LockHolder) -> None:
        """Write in any state."""


@dataclass(frozen=True, slots=True)
class LockClock:
    """The clock of lock holders: ``now`` in seconds since the epoch; ``wait`` returns early, and true, once its event is set."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    wait: Callable[[threading.Event, float], bool] = lambda event, seconds: event.wait(seconds)


@contextlib.contextmanager
def lock_targets(
    targets: tuple[Target, ...],
    command: str,
    *,
    timeout: float = 0.0,
    notify: Callable[[str], None] = lambda _text: None,
    clock: LockClock | None = None,
) -> Iterator[Mapping[str, threading.Event]]:
    """Hold the locks of these targets; yields, by target, an event that is set if its lock is lost.

    Waits up to ``timeout`` seconds for each. ``notify`` is called with messages for the user.
    Raises ``LockHeld`` when a lock is held by another run, ``AwsError`` and ``UsageError`` when a lock cannot be used.
    """
    clock = clock or LockClock()
    with contextlib.ExitStack() as stack:
        lost: dict[str, threading.Event] = {}
        # In the order of names, so that two runs with the same targets never wait for each other.
        for target in sorted(targets, key=lambda target: target.name):
            try:
                if backend := lock_backend(target, sleep=clock.sleep):
                    lease = _acquire(target.name, backend, new_holder(command, clock.now()), timeout, notify, clock)
                    lost[target.name] = stack.enter_context(lease.kept())
            except (AwsError, UsageError) as error:
                error.args = (f"{target.name}: {error}",)
                raise
        yield lost


def lock_backend(target: Target, *, sleep: Callable[[float], None] = time.sleep) -> LockBackend | None:
    """Return where the target's lock is kept, or ``None`` if it has none."""
    match target.lock:
        case None:
            return None
        case FileLock(path):
            return FileLockBackend(path)
        case S3Lock():
            return S3LockBackend(target.lock, target, sleep=sleep)


def new_holder(command: str, now: float, environment: Mapping[str, str] = os.environ) -> LockHolder:
    """Return this process as a lock holder, with what is known about the machine and the CI run."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = f"user {os.getuid()}"
    pid = os.getpid()
    return LockHolder(
        uuid.uuid4().hex[:12],
        environment.get("GITHUB_ACTOR") or environment.get("GITLAB_USER_LOGIN") or user,
        socket.gethostname(),
        pid,
        command,
        now,
        now + LEASE_SECONDS,
        _run_url(environment),
        mark=process_identity(pid),
    )


def is_gone(holder: LockHolder) -> bool:
    """Whether the holder was a process of this machine that has ended. Where that is unknown, a lock is valid until it expires."""
    return process_state(holder.host, holder.pid, holder.mark) is ProcessState.GONE


def any_of(*events: threading.Event | None) -> threading.Event:
    """Return an event that is set when one of these is."""
    given = tuple(event for event in events if event is not None)
    return given[0] if len(given) == 1 else _AnyOf(given)


class _AnyOf(threading.Event):
    """Set when one of several events is."""

    def __init__(self, events: tuple[threading.Event, ...]) -> None:
        super().__init__()
        self._events = events

    def is_set(self) -> bool:
        return super().is_set() or any(event.is_set() for event in self._events)


@dataclass(slots=True)
class _Lease:
    """A lock that is held: its last written state, and whether it was lost."""

    name: str
    backend: LockBackend
    holder: LockHolder
    token: str
    notify: Callable[[str], None]
    clock: LockClock
    over: threading.Event = field(default_factory=threading.Event)
    lost: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def kept(self) -> Iterator[threading.Event]:
        """Renew the lock in a thread, and release it at the end; yields the event that is set if it is lost."""
        keeper = threading.Thread(target=self._keep, name=f"lock-{self.name}", daemon=True)
        keeper.start()
        try:
            yield self.lost
        finally:
            self.over.set()
            keeper.join()
            self._release()

    def _keep(self) -> None:
        while not self.clock.wait(self.over, RENEW_SECONDS):
            if not self._renew():
                return

    def _renew(self) -> bool:
        """Extend the lease; return false if the lock was lost."""
        updated = self.holder._replace(expires=self.clock.now() + LEASE_SECONDS)
        try:
            token = self.backend.write(updated, self.token)
        except (AwsError, UsageError) as error:
            _LOG.warning("lock not renewed", target=self.name, reason=str(error))
            # Others respect the lease until it expires, so the next renewal may still be in time.
            if self.clock.now() < self.holder.expires - RENEW_SECONDS:
                return True
            return self._give_up(f"it could not be renewed ({error})")
        if token is None:
            return self._give_up(self._who_changed_it())
        self.holder, self.token = updated, token
        return True

    def _who_changed_it(self) -> str:
        with contextlib.suppress(AwsError, UsageError):
            other, _ = self.backend.read()
            if other is None:
                return "it was removed"
            if other.released and other.run == self.holder.run:
                return "it was released by unlock"
        return "another run took it"

    def _release(self) -> None:
        """Release the lock, unless it is another run's by now."""
        if self.lost.is_set():
            return
        try:
            self.backend.write(self.holder._replace(released=True), self.token)
        except (AwsError, UsageError) as error:
            expiry = format_time(self.holder.expires)
            self.notify(f"{self.name}: {self.backend.where} could not be released ({error}); it expires at {expiry}")

    def _give_up(self, why: str) -> bool:
        self.lost.set()
        self.notify(
            f"{self.name}: {self.backend.where} was lost: {why}; waiting for in-flight calls; no new ones start"
        )
        return False


def _acquire(
    name: str, backend: LockBackend, holder: LockHolder, timeout: float, notify: Callable[[str], None], clock: LockClock
) -> _Lease:
    """Acquire the lock, waiting up to ``timeout`` seconds. Raises ``LockHeld``."""
    until = clock.now() + timeout
    reported = False
    while True:
        other, token = backend.read()
        now = clock.now()
        if other is None or not other.held_at(now) or is_gone(other):
            updated = holder._replace(since=now, expires=now + LEASE_SECONDS)
            written = backend.write(updated, token)
            if written is None:
                continue  # another run was faster
            if other is not None and not other.released:
                end = "the process has ended" if other.held_at(now) else f"it expired at {format_time(other.expires)}"
                notify(f"{name}: took {backend.where} from {other}: {end}")
            return _Lease(name, backend, updated, written, notify, clock)
        if now >= until:
            advice = (
                "the next reconciliation tries again" if holder.command == "run" else "wait with --lock-timeout 10m"
            )
            raise LockHeld(
                f"{name}: {backend.where} is held by {other} and expires at {format_time(other.expires)} unless renewed; "
                f"{advice}, or release it if that run has ended: ivs-reconciler unlock --target {name}"
            )
        if not reported:
            notify(f"{name}: waiting for {backend.where}, held by {other}")
            reported = True
        clock.sleep(min(_POLL_SECONDS, until - now))


def _run_url(environment: Mapping[str, str]) -> str:
    run = environment.get("GITHUB_RUN_ID")
    if run:
        return f"{environment.get('GITHUB_SERVER_URL', 'https://github.com')}/{environment.get('GITHUB_REPOSITORY', '')}/actions/runs/{run}"
    return environment.get("CI_JOB_URL") or environment.get("BUILD_URL") or ""


class FileLockBackend:
    """A lock in a file, read and written under the system's file lock, so that two processes never both believe to hold it.

    ``timeout`` is how many seconds to wait for another process that has the file open.
    """

    def __init__(self, path: str, *, timeout: float = 30.0) -> None:
        self.where = f"the lock file {path}"
        self._path = Path(path)
        self._timeout = timeout

    def read(self) -> tuple[LockHolder | None, str]:
        """Return the current or last holder, and the token of this state. Raises ``UsageError``."""
        try:
            with self._open(create=False) as handle:
                data = os.pread(handle, _MAX_SIZE, 0)
        except FileNotFoundError:
            return None, ""
        if not data:
            return None, ""
        try:
            return holder_from_json(data), self._token(data)
        except ValueError:
            raise UsageError(
                f"{self.where} is not a lock; choose another file, or release it with unlock --force"
            ) from None

    def write(self, holder: LockHolder, token: str) -> str | None:
        """Write if the state is still that of the token; return the new token, or ``None`` otherwise. Raises ``UsageError``."""
        with self._open() as handle:
            if self._token(os.pread(handle, _MAX_SIZE, 0)) != token:
                return None
            return self._write(handle, holder)

    def force(self, holder: LockHolder) -> None:
        """Write in any state, a lock or not. Raises ``UsageError``."""
        with self._open() as handle:
            self._write(handle, holder)

    def _write(self, handle: int, holder: LockHolder) -> str:
        data = holder_to_json(holder)
        os.pwrite(handle, data, 0)
        os.ftruncate(handle, len(data))
        os.fsync(handle)
        return self._token(data)

    @staticmethod
    def _token(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest() if data else ""

    @contextlib.contextmanager
    def _open(self, *, create: bool = True) -> Iterator[int]:
        """Open the file exclusively. Raises ``FileNotFoundError`` if it is not there and is not to be created."""
        try:
            if create:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = open_private(self._path, os.O_RDWR | (os.O_CREAT if create else 0))
        except OSError as error:
            if not create and isinstance(error, FileNotFoundError):
                raise
            raise UsageError(
                f"{self.where} cannot be opened ({os_reason(error)}); choose a file in a writable directory"
            ) from None
        try:
            if not locked(handle, self._timeout):
                raise UsageError(
                    f"{self.where} has been in use by another process for more than {self._timeout:g} seconds; "
                    "check for a stopped process, or choose a file on a local disk"
                )
            yield handle
        except OSError as error:
            raise UsageError(
                f"{self.where} cannot be used ({os_reason(error)}); choose a file on a local disk"
            ) from None
        finally:
            os.close(handle)


class ProcessState(Enum):
    """Whether a process that wrote its id into a file is still running."""

    RUNNING = "it is running, or may be running"
    GONE = "it ran on this machine, and has ended"
    UNKNOWN = "it runs on another machine, in another container, or ran before this machine was restarted"


def process_identity(pid: int) -> str:
    """Return what distinguishes a process of this machine from a later one with the same id; empty if unknown.

    It is made of the machine's boot id, the PID namespace (each container has its own) and the start time of the process.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").readlink()
        return f"{boot} {namespace} {_stat_fields(pid)[_START_TIME]}"
    except (OSError, ValueError, IndexError):
        return ""


def process_state(host: str, pid: int, identity: str) -> ProcessState:
    """Return whether a process is running. Without an identity, the id alone decides."""
    if host != socket.gethostname() or pid <= 0:
        return ProcessState.UNKNOWN
    own = process_identity(os.getpid())
    if identity and own and identity.rpartition(" ")[0] != own.rpartition(" ")[0]:
        return ProcessState.UNKNOWN
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ProcessState.GONE
    except (OSError, OverflowError):
        pass  # a process of another user
    now = process_identity(pid)
    if (identity and now and identity != now) or _is_zombie(pid):
        return ProcessState.GONE
    return ProcessState.RUNNING


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended, and its parent has not read its exit status yet."""
    try:
        return _stat_fields(pid)[0] in ("Z", "X")
    except (OSError, ValueError, IndexError):
        return False


def _stat_fields(pid: int) -> list[str]:
    # The name of a process may hold spaces and parentheses.
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
