"""Telling people: every channel about every target, once for each change of state.

Whether there is something to tell is decided in ``plan/news``, how it is said in ``report/news_words``; here it is sent and remembered.
Each channel has a memory of its own for each target, written as soon as the message was taken, so that one channel's failure repeats nothing elsewhere.
A message that could not be sent is not remembered, and the next run sends what is true by then.
No failure here is a failure of the run: it comes back as a value.

The memory of notifications as a file: what each channel was told last about each target.

The file holds names and digests, no property and no secret.
It is replaced as a whole, after every message; a lock beside it lets one run at a time tell.
A file that is no such memory is not overwritten: whoever named it is asked to name another.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeAlias, assert_never

from reconciler import logs
from reconciler.drift.changes import NOTHING, Known, News, failure_news, news
from reconciler.drift.report import DriftReport
from reconciler.errors import AwsError, PublishError, UsageError
from reconciler.file_lock import locked
from reconciler.model.target import Channel, Target, Way
from reconciler.report.messages import Message, message

_LOG = logs.get("notify")


@dataclass(frozen=True, slots=True)
class UnreadableTarget:
    """A target that could not be read, and why."""

    target: Target
    error: AwsError


TargetReading: TypeAlias = DriftReport | UnreadableTarget
"""What a run came to for one target."""


def reading_of(target: Target, report: DriftReport) -> TargetReading:
    """Return what a report comes to. One that leaves something out would say that it was resolved, so it counts as unread."""
    return (
        UnreadableTarget(target, AwsError("\n".join(report.unread), code="AccessDeniedException"))
        if report.unread
        else report
    )


class NotificationStore(Protocol):
    """What each channel was told last about each target. Whoever keeps it lets one run at a time tell."""

    def known(self, channel: str, target: str, /) -> Known:
        """Return what the channel was told last, ``NOTHING`` where it never was told anything."""

    def keep(self, channel: str, target: str, known: Known, /) -> None:
        """Remember what the channel was just told. Raises ``OSError`` where that is not possible."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one message. ``failure`` is empty where it was taken."""

    channel: str
    target: str
    id: str
    failure: str = ""

    def __str__(self) -> str:
        return f"notification {self.channel}, target {self.target}: {self.failure or 'sent'}"


def notify(
    channels: Iterable[Channel],
    stack: str,
    looks: Iterable[TargetReading],
    memory: NotificationStore,
    *,
    environment: Mapping[str, str],
    link: str = "",
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[Delivery, ...]:
    """Tell every channel what is new to it. Returns what was sent or failed; nothing for a channel that knows already."""
    tellings: list[Delivery] = []
    listening = tuple(channels)
    for look in looks:
        name = look.name if isinstance(look, DriftReport) else look.target.name
        for channel in listening:
            if channel.targets and name not in channel.targets:
                continue
            found = _notification(stack, look, memory.known(channel.name, name), channel)
            if found is not None:
                tellings.append(_notify(channel, found, memory, environment, link, sleep, now))
    return tuple(tellings)


def _notification(stack: str, look: TargetReading, known: Known, channel: Channel) -> News | None:
    if isinstance(look, DriftReport):
        return news(stack, look, known, channel.topics)
    return failure_news(stack, look.target.name, look.target.region, look.error, known, channel.topics)


def _notify(
    channel: Channel,
    found: News,
    memory: NotificationStore,
    environment: Mapping[str, str],
    link: str,
    sleep: Callable[[float], None],
    now: Callable[[], datetime],
) -> Delivery:
    made = message(found, channel.name, at=now().strftime("%Y-%m-%dT%H:%M:%SZ"), link=link)
    try:
        send(channel, made, group=f"{found.stack}/{found.target}", environment=environment, sleep=sleep)
    except (PublishError, AwsError) as error:
        failure = (
            f"{error} ({error.code})"
            if isinstance(error, AwsError) and error.code and error.code not in str(error)
            else str(error)
        )
        _LOG.warning("notification failed", channel=channel.name, target=found.target, id=made.id, why=failure)
        return Delivery(channel.name, found.target, made.id, failure)
    _LOG.info(
        "notification sent",
        channel=channel.name,
        target=found.target,
        id=made.id,
        new=len(found.new),
        resolved=len(found.resolved),
    )
    try:
        memory.keep(channel.name, found.target, found.known)
    except OSError as error:
        # It was told, and would be told again: that is worth a word.
        return Delivery(
            channel.name,
            found.target,
            made.id,
            f"sent, but that cannot be remembered ({(error.strerror or 'unknown').lower()}); it will be sent again",
        )
    return Delivery(channel.name, found.target, made.id)


def send(
    channel: Channel, made: Message, *, group: str, environment: Mapping[str, str], sleep: Callable[[float], None]
) -> None:
    """Send one message to one channel. Raises ``PublishError`` or ``AwsError``; neither names a URL."""
    match channel.way:
        case Way.SLACK:
            from reconciler.forge.webhook import post  # noqa: PLC0415 - most runs send nothing

            post(_variable(environment, channel.url_env), made.slack(), identity=made.id, sleep=sleep)
        case Way.WEBHOOK:
            from reconciler.forge.webhook import post  # noqa: PLC0415

            secret = _variable(environment, channel.secret_env) if channel.secret_env else ""
            post(_variable(environment, channel.url_env), made.json(), identity=made.id, secret=secret, sleep=sleep)
        case Way.SNS:
            from reconciler.aws.notifications import publish  # noqa: PLC0415

            publish(channel, subject=made.subject, text=made.text, identity=made.id, group=group, sleep=sleep)
        case Way.EVENT_BRIDGE:
            from reconciler.aws.notifications import put_event  # noqa: PLC0415

            put_event(channel, detail=made.json().decode(), resources=(), sleep=sleep)
        case _:
            assert_never(channel.way)


def _variable(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise PublishError(f"the environment variable {name} is not set; set it, or remove the channel")
    return value


_FORMAT = "1.0"

LOCK_TIMEOUT_SECONDS = 120.0
"""How long a run waits for another that tells: messages take seconds, and one that is not sent is sent by the next run."""

_LONGEST_NAME = 200


class NotificationFile:
    """What was told, of one stack, kept in one file."""

    def __init__(self, path: Path, stack: str) -> None:
        self._path = path
        self._stack = stack
        self._told = self._read()

    def known(self, channel: str, target: str, /) -> Known:
        """Return what the channel was told last."""
        return self._told.get((channel, target), NOTHING)

    def keep(self, channel: str, target: str, known: Known, /) -> None:
        """Remember what the channel was just told, on disk before this returns. Raises ``OSError``."""
        self._told[channel, target] = known
        told = [
            {"channel": one, "target": other, **state.to_json()} for (one, other), state in sorted(self._told.items())
        ]
        text = json.dumps({"formatVersion": _FORMAT, "stack": self._stack, "told": told}, indent=1) + "\n"
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).replace(self._path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise

    def _read(self) -> dict[tuple[str, str], Known]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            if content["formatVersion"] != _FORMAT or content["stack"] != self._stack:
                raise UsageError(
                    f"{self._path}: keeps what was told of another stack, or by a newer version; name another file with --state"
                )
            return {(one["channel"], one["target"]): Known.from_json(one) for one in content["told"]}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UsageError(
                f"{self._path}: cannot be read ({(error.strerror or 'unknown').lower()}); name another file with --state"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                f"{self._path}: does not keep what was told; name another file with --state, or remove it, and what stands is told once more"
            ) from None


@contextlib.contextmanager
def open_notification_file(
    path: Path, stack: str, *, patience: float = LOCK_TIMEOUT_SECONDS
) -> Iterator[NotificationFile]:
    """Open the memory for one run; another run waits until this one is done, and gives up after ``patience`` seconds.

    Raises ``UsageError`` where it cannot be kept, or another run does not come to its end.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("a+", encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be kept there ({(error.strerror or 'unknown').lower()}); name another file with --state"
        ) from None
    with lock:
        if not locked(lock.fileno(), patience):
            lock.seek(0)
            holder = lock.read(_LONGEST_NAME).strip()
            raise UsageError(
                f"{path}: another run has been telling for more than {patience:g} seconds{f' ({holder})' if holder.isprintable() and holder else ''}; "
                "what stands is told by the next run; end that one if it is stuck"
            )
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            lock.flush()
        yield NotificationFile(path, stack)
