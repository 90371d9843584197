"""One apply at a time: the lock of a target is taken before its account is read, renewed while the apply runs, and released at the end.

A lock says who holds it, since when and from where, and until when it is to be respected.
Its holder moves that time on; a holder that died does not, so that nobody has to be asked.
Losing a lock stops an apply as a person would: calls in flight finish and no more start.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from reconciler import log
from reconciler.errors import AwsError, LockHeld, UsageError
from reconciler.live.lock_s3 import S3Door
from reconciler.model.holder import Holder, moment
from reconciler.model.target import FileLock, S3Lock, Target
from reconciler.pipeline.lock_file import FileDoor
from reconciler.pipeline.process import Fate, fate_of, mark_of

LEASE_SECONDS = 120.0
"""How long a lock is to be respected without a sign of life."""

RENEW_SECONDS = 30.0
_LOOK_SECONDS = 3.0
_LOG = log.get("lock")


class Door(Protocol):
    """Where a lock is written down. A token names one state of it; a write with an old token does nothing."""

    where: str

    def read(self) -> tuple[Holder | None, str]:
        """Return who holds or held it, and the token of what was read."""

    def write(self, holder: Holder, token: str) -> str | None:
        """Write if nothing has changed since the token; return the new token, or ``None`` when something has."""

    def force(self, holder: Holder) -> None:
        """Write whatever stands there."""


@dataclass(frozen=True, slots=True)
class Time:
    """The clocks and the patience of somebody who takes locks: ``now`` in seconds since the epoch, ``wait`` returns early, and true, once its event is set."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    wait: Callable[[threading.Event, float], bool] = lambda event, seconds: event.wait(seconds)


def door_of(target: Target, *, sleep: Callable[[float], None] = time.sleep) -> Door | None:
    """Return where the target's lock is, or ``None`` when it has none."""
    match target.lock:
        case None:
            return None
        case FileLock(path):
            return FileDoor(path)
        case S3Lock():
            return S3Door(target.lock, target, sleep=sleep)


def this_run(command: str, now: float, environment: Mapping[str, str] = os.environ) -> Holder:
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
        mark=mark_of(pid),
    )


def is_dead(holder: Holder) -> bool:
    """Whether the holder was a process of this machine that is not there any more. One that cannot be told is respected until its lock expires."""
    return fate_of(holder.host, holder.pid, holder.mark) is Fate.GONE


@contextlib.contextmanager
def holding(
    targets: tuple[Target, ...],
    command: str,
    *,
    patience: float = 0.0,
    say: Callable[[str], None] = lambda _text: None,
    clock: Time | None = None,
) -> Iterator[Mapping[str, threading.Event]]:
    """Hold the locks of these targets; yields, by target, an event that is set once its lock was lost.

    Waits up to ``patience`` seconds for each. ``say`` is told what a person should know.
    Raises ``LockHeld`` where somebody else holds one, ``AwsError`` and ``UsageError`` where a lock cannot be used.
    """
    clock = clock or Time()
    with contextlib.ExitStack() as stack:
        held: dict[str, threading.Event] = {}
        # In the order of names, whatever was asked for: two runs that want the same targets never wait for each other.
        for target in sorted(targets, key=lambda target: target.name):
            door = door_of(target, sleep=clock.sleep)
            if door is not None:
                held[target.name] = stack.enter_context(
                    _held(target.name, door, this_run(command, clock.now()), patience, say, clock)
                )
        yield held


def stopping(stop: threading.Event, lost: threading.Event | None) -> threading.Event:
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
    door: Door
    holder: Holder
    token: str
    say: Callable[[str], None]
    clock: Time
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
def _held(
    name: str, door: Door, holder: Holder, patience: float, say: Callable[[str], None], clock: Time
) -> Iterator[threading.Event]:
    lease = _Lease(name, door, *_taken(name, door, holder, patience, say, clock), say, clock)
    keeper = threading.Thread(target=lease.keep, name=f"lock-{name}", daemon=True)
    keeper.start()
    try:
        yield lease.lost
    finally:
        lease.over.set()
        keeper.join()
        lease.release()


def _taken(
    name: str, door: Door, holder: Holder, patience: float, say: Callable[[str], None], clock: Time
) -> tuple[Holder, str]:
    """Take the lock and return what was written. Raises ``LockHeld``."""
    until = clock.now() + patience
    told = False
    while True:
        other, token = door.read()
        now = clock.now()
        if other is None or not other.held_at(now) or is_dead(other):
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
        clock.sleep(min(_LOOK_SECONDS, until - now))


def _run_url(environment: Mapping[str, str]) -> str:
    run = environment.get("GITHUB_RUN_ID")
    if run:
        return f"{environment.get('GITHUB_SERVER_URL', 'https://github.com')}/{environment.get('GITHUB_REPOSITORY', '')}/actions/runs/{run}"
    return environment.get("CI_JOB_URL") or environment.get("BUILD_URL") or ""
