"""Telling people: every channel about every target, once for each change of state.

Whether there is something to tell is decided in ``plan/news``, how it is said in ``report/news_words``; here it is sent and remembered.
Each channel has a memory of its own for each target, written as soon as the message was taken, so that one channel's failure repeats nothing elsewhere.
A message that could not be sent is not remembered, and the next run sends what is true by then.
No failure here is a failure of the run: it comes back as a value.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeAlias, assert_never

from reconciler import log
from reconciler.errors import AwsError, PublishError
from reconciler.model.notification import Channel, Way
from reconciler.model.target import Target
from reconciler.plan.drift import DriftReport
from reconciler.plan.news import Known, News, failure_news, news
from reconciler.report.news_words import Message, message

_LOG = log.get("notify")


@dataclass(frozen=True, slots=True)
class Unread:
    """A target that could not be read, and why."""

    target: Target
    error: AwsError


Look: TypeAlias = DriftReport | Unread
"""What a run came to for one target."""


def look_of(target: Target, report: DriftReport) -> Look:
    """Return what a report comes to. One that leaves something out would say that it was resolved, so it counts as unread."""
    return Unread(target, AwsError("\n".join(report.unread), code="AccessDeniedException")) if report.unread else report


class Memory(Protocol):
    """What each channel was told last about each target. Whoever keeps it lets one run at a time tell."""

    def known(self, channel: str, target: str, /) -> Known:
        """Return what the channel was told last, ``NOTHING`` where it never was told anything."""

    def keep(self, channel: str, target: str, known: Known, /) -> None:
        """Remember what the channel was just told. Raises ``OSError`` where that is not possible."""


@dataclass(frozen=True, slots=True)
class Telling:
    """What became of one message. ``failure`` is empty where it was taken."""

    channel: str
    target: str
    id: str
    failure: str = ""

    def __str__(self) -> str:
        return f"notification {self.channel}, target {self.target}: {self.failure or 'sent'}"


def tell(
    channels: Iterable[Channel],
    stack: str,
    looks: Iterable[Look],
    memory: Memory,
    *,
    environment: Mapping[str, str],
    link: str = "",
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[Telling, ...]:
    """Tell every channel what is new to it. Returns what was sent or failed; nothing for a channel that knows already."""
    tellings: list[Telling] = []
    listening = tuple(channels)
    for look in looks:
        name = look.name if isinstance(look, DriftReport) else look.target.name
        for channel in listening:
            if channel.targets and name not in channel.targets:
                continue
            found = _news(stack, look, memory.known(channel.name, name), channel)
            if found is not None:
                tellings.append(_tell(channel, found, memory, environment, link, sleep, now))
    return tuple(tellings)


def _news(stack: str, look: Look, known: Known, channel: Channel) -> News | None:
    if isinstance(look, DriftReport):
        return news(stack, look, known, channel.topics)
    return failure_news(stack, look.target.name, look.target.region, look.error, known, channel.topics)


def _tell(
    channel: Channel,
    found: News,
    memory: Memory,
    environment: Mapping[str, str],
    link: str,
    sleep: Callable[[float], None],
    now: Callable[[], datetime],
) -> Telling:
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
        return Telling(channel.name, found.target, made.id, failure)
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
        return Telling(
            channel.name,
            found.target,
            made.id,
            f"sent, but that cannot be remembered ({(error.strerror or 'unknown').lower()}); it will be sent again",
        )
    return Telling(channel.name, found.target, made.id)


def send(
    channel: Channel, made: Message, *, group: str, environment: Mapping[str, str], sleep: Callable[[float], None]
) -> None:
    """Send one message to one channel. Raises ``PublishError`` or ``AwsError``; neither names a URL."""
    match channel.way:
        case Way.SLACK:
            from reconciler.publish.webhook import post  # noqa: PLC0415 - most runs send nothing

            post(_from(environment, channel.url_env), made.slack(), identity=made.id, sleep=sleep)
        case Way.WEBHOOK:
            from reconciler.publish.webhook import post  # noqa: PLC0415

            secret = _from(environment, channel.secret_env) if channel.secret_env else ""
            post(_from(environment, channel.url_env), made.json(), identity=made.id, secret=secret, sleep=sleep)
        case Way.SNS:
            from reconciler.live.announce import publish  # noqa: PLC0415

            publish(channel, subject=made.subject, text=made.text, identity=made.id, group=group, sleep=sleep)
        case Way.EVENT_BRIDGE:
            from reconciler.live.announce import put_event  # noqa: PLC0415

            put_event(channel, detail=made.json().decode(), resources=(), sleep=sleep)
        case _:
            assert_never(channel.way)


def _from(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise PublishError(f"the environment variable {name} is not set; set it, or remove the channel")
    return value
