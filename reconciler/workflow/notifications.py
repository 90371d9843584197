"""Notifications: every receiver of a target is notified once of each change of its state.

``drift/changes`` decides whether there is something to notify of; here the message is written, sent and recorded.
A message is one text for people and one JSON object for programs. Names of fields and findings are included, values are not:
the readers of a receiver are not known here, and the report has the values.
Each receiver has a state of its own for each target, written as soon as a message was accepted, so that the failure of one receiver
repeats nothing at another. A message that failed is not recorded: the next run sends the state of that time.
A failure is returned as a value; it never fails the run.

The URL of a webhook is a secret: it is never printed or logged, and redirects are not followed. A message that was rejected, or certainly
did not arrive, is retried a few times. One that may have arrived is not: the next run decides.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import responses
from pathlib import Path
from typing import Protocol, TypeAlias, assert_never
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError

from reconciler import __version__, logs
from reconciler.aws.notifications import publish, put_event
from reconciler.drift.changes import NOTHING, Item, KnownFindings, Notification, changes_to_notify, failure_to_notify
from reconciler.drift.report import DriftReport
from reconciler.errors import AwsError, PublishError, UsageError, os_reason
from reconciler.files import locked, open_private, read_private, replace_file
from reconciler.model.target import Receiver, ReceiverType, Target, Topic
from reconciler.model.values import format_time
from reconciler.network import ca_bundle, is_loopback, why_unreachable
from reconciler.report.actions import path_words
from reconciler.report.words import STATUS_WORDS, join_words, plural
from reconciler.terminal import sanitize

_FORMAT = "1.0"

LOCK_TIMEOUT_SECONDS = 120.0
"""How long a run waits for another one that notifies: a message takes seconds, and the next run sends what was not sent."""

_MAX_HOLDER = 200
_LOG = logs.get("notify")


@dataclass(frozen=True, slots=True)
class UnreadableTarget:
    """A target that could not be read, and why."""

    target: Target
    error: AwsError

    @property
    def name(self) -> str:
        """The target's name, as a report has it."""
        return self.target.name


TargetReading: TypeAlias = DriftReport | UnreadableTarget
"""The result of reading one target."""


def reading_of(target: Target, report: DriftReport) -> TargetReading:
    """Return the reading of a report. An incomplete report counts as unreadable: its missing findings would be reported as resolved."""
    if report.unread:
        return UnreadableTarget(target, AwsError("\n".join(report.unread), code="AccessDeniedException"))
    return report


_LINES = 20
_ITEMS = 200
_SUBJECT = 100
"""The most characters of an SNS subject (SNS API reference, Publish)."""

_TOPIC_WORDS = {
    **{Topic(status.value): word for status, word in STATUS_WORDS.items()},
    Topic.UNMANAGED: "unmanaged",
    Topic.UNREADABLE: "unreadable",
}


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent to one receiver. ``body`` is for programs, ``text`` for people; ``subject`` is ASCII without line ends."""

    id: str
    subject: str
    text: str
    body: dict[str, object]

    def json(self) -> bytes:
        """Return the body as it is sent and signed."""
        return json.dumps(self.body, ensure_ascii=False).encode()

    def slack(self) -> bytes:
        """Return the JSON of a Slack-compatible webhook; ``&``, ``<`` and ``>`` are escaped, since they mention people and make links."""
        text = self.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("`", "'")
        return json.dumps({"text": text}).encode()


def message(notification: Notification, receiver: str, *, at: str, link: str = "") -> Message:
    """Return the message for one receiver. ``at`` is an instant in ISO 8601, ``link`` the URL of the whole report."""
    identifier = notification.id_for(receiver)
    return Message(
        identifier, _subject(notification), _text(notification, link), _body(notification, identifier, at, link)
    )


def _head(notification: Notification) -> str:
    where = f"{sanitize(notification.stack)} / {sanitize(notification.target)}"
    if notification.failure:
        return f"{where}: cannot be read"
    if not notification.open:
        return f"{where}: all resolved" if notification.resolved else f"{where}: readable again, no findings"
    return f"{where}: {', '.join(_counts(notification))}"


def _counts(notification: Notification) -> list[str]:
    return [
        f"{notification.open[topic]:,} {words}" for topic, words in _TOPIC_WORDS.items() if notification.open.get(topic)
    ]


def _subject(notification: Notification) -> str:
    text = "".join(char if " " <= char <= "~" else "?" for char in f"ivs-reconciler: {_head(notification)}")
    return text if len(text) <= _SUBJECT else text[: _SUBJECT - 3] + "..."


def _text(notification: Notification, link: str) -> str:
    lines = [_head(notification)]
    if notification.failure:
        lines.append(sanitize(notification.failure.replace("\n", " ")))
        if notification.open:
            lines.append(f"Last known: {', '.join(_counts(notification))}.")
    elif notification.readable_again:
        lines.append("The target is readable again.")
    if notification.new:
        lines += _listed("New", [_item(item) for item in notification.new])
    if notification.resolved:
        lines += _listed("Resolved", [sanitize(name) for name in notification.resolved])
    still = sum(notification.open.values()) - len(notification.new)
    if still > 0 and not notification.failure:
        lines.append(f"{plural(still, 'earlier finding')} still open.")
    if link:
        lines.append(sanitize(link))
    return "\n".join(lines)


def _listed(title: str, items: Sequence[str]) -> list[str]:
    more = len(items) - _LINES
    lines = [f"{title}: {len(items):,}", *(f"• {item}" for item in items[:_LINES])]
    return [*lines, f"… and {more:,} more"] if more > 0 else lines


def _item(item: Item) -> str:
    words = f"{item.address}: {_TOPIC_WORDS[item.topic]}"
    if item.topic is Topic.UNMANAGED:
        words += f" {item.explanation}"
    if item.paths:
        words += f" in {join_words(path_words(path) for path in item.paths[:6])}"
    if item.who:
        words += f", by {join_words(item.who)}"
    return sanitize(words)


def _body(notification: Notification, identifier: str, at: str, link: str) -> dict[str, object]:
    return {
        "formatVersion": "1.0",
        "id": identifier,
        "at": at,
        "stack": notification.stack,
        "target": notification.target,
        "accountId": notification.account_id or None,
        "region": notification.region,
        "number": notification.number,
        "state": "unreadable" if notification.failure else "open" if notification.open else "clear",
        "summary": _head(notification),
        "failure": notification.failure or None,
        "new": [
            {
                "topic": item.topic.value,
                "address": item.address,
                "explanation": item.explanation,
                "paths": list(item.paths),
                "who": list(item.who),
            }
            for item in notification.new[:_ITEMS]
        ],
        "resolved": list(notification.resolved[:_ITEMS]),
        "counts": {
            "new": len(notification.new),
            "resolved": len(notification.resolved),
            "open": {topic.value: notification.open[topic] for topic in Topic if notification.open.get(topic)},
        },
        "link": link or None,
    }


class NotificationStore(Protocol):
    """What each receiver was last notified of, by target. Only one run at a time may use it."""

    def known(self, receiver: str, target: str, /) -> KnownFindings:
        """Return what the receiver was last notified of, ``NOTHING`` if it never was."""

    def keep(self, receiver: str, target: str, known: KnownFindings, /) -> None:
        """Record what the receiver was notified of. Raises ``OSError``."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The result of one message. ``failure`` is empty if it was accepted."""

    receiver: str
    target: str
    id: str
    failure: str = ""

    def __str__(self) -> str:
        return f"notification to {self.receiver}, target {self.target}: {self.failure or 'sent'}"


def notify(
    receivers: Iterable[Receiver],
    stack: str,
    readings: Iterable[TargetReading],
    store: NotificationStore,
    *,
    environment: Mapping[str, str],
    link: str = "",
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[Delivery, ...]:
    """Notify every receiver of what is new to it, and return what was sent or failed; nothing for a receiver that is up to date."""
    deliveries: list[Delivery] = []
    configured = tuple(receivers)
    for reading in readings:
        for receiver in configured:
            if receiver.targets and reading.name not in receiver.targets:
                continue
            found = _notification(stack, reading, store.known(receiver.name, reading.name), receiver)
            if found is None:
                continue
            created = message(found, receiver.name, at=format_time(now()), link=link)
            failure = _deliver(receiver, found, created, store, environment, sleep)
            deliveries.append(Delivery(receiver.name, found.target, created.id, failure))
    return tuple(deliveries)


def _notification(stack: str, reading: TargetReading, known: KnownFindings, receiver: Receiver) -> Notification | None:
    if isinstance(reading, DriftReport):
        return changes_to_notify(stack, reading, known, receiver.topics)
    target = reading.target
    return failure_to_notify(stack, target.name, target.region, reading.error, known, receiver.topics)


def _deliver(
    receiver: Receiver,
    found: Notification,
    created: Message,
    store: NotificationStore,
    environment: Mapping[str, str],
    sleep: Callable[[float], None],
) -> str:
    """Send a message and record it; return why that failed, which the caller reports, or nothing."""
    try:
        send(receiver, created, group=f"{found.stack}/{found.target}", environment=environment, sleep=sleep)
    except (PublishError, AwsError) as error:
        failure = str(error)
        if isinstance(error, AwsError) and error.code and error.code not in failure:
            failure = f"{failure} ({error.code})"
        return failure
    _LOG.info(
        "notification sent",
        receiver=receiver.name,
        target=found.target,
        id=created.id,
        new=len(found.new),
        resolved=len(found.resolved),
    )
    try:
        store.keep(receiver.name, found.target, found.known)
    except OSError as error:
        return f"sent, but not recorded ({os_reason(error)}); it will be sent again"
    return ""


def send(
    receiver: Receiver, created: Message, *, group: str, environment: Mapping[str, str], sleep: Callable[[float], None]
) -> None:
    """Send one message to one receiver. Raises ``PublishError`` or ``AwsError``; neither contains a URL."""
    match receiver.type:
        case ReceiverType.SLACK:
            post_webhook(_variable(environment, receiver.url_env), created.slack(), identity=created.id, sleep=sleep)
        case ReceiverType.WEBHOOK:
            secret = _variable(environment, receiver.secret_env) if receiver.secret_env else ""
            url = _variable(environment, receiver.url_env)
            post_webhook(url, created.json(), identity=created.id, secret=secret, sleep=sleep)
        case ReceiverType.SNS:
            publish(receiver, subject=created.subject, text=created.text, identity=created.id, group=group, sleep=sleep)
        case ReceiverType.EVENT_BRIDGE:
            put_event(receiver, detail=created.json().decode(), resources=(), sleep=sleep)
        case _:
            assert_never(receiver.type)


def _variable(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise PublishError(f"environment variable {name} is not set; set it, or remove the receiver")
    return value


class NotificationFile:
    """What the receivers of one stack were last notified of, in one file.

    The file holds names and digests, no property and no secret. It is replaced atomically after every message.
    A file of another format is never overwritten.
    """

    def __init__(self, path: Path, stack: str) -> None:
        self._path = path
        self._stack = stack
        self._states = self._read()

    def known(self, receiver: str, target: str, /) -> KnownFindings:
        """Return what the receiver was last notified of."""
        return self._states.get((receiver, target), NOTHING)

    def keep(self, receiver: str, target: str, known: KnownFindings, /) -> None:
        """Record what the receiver was notified of, on disk before this returns. Raises ``OSError``."""
        self._states[receiver, target] = known
        states = [
            {"receiver": name, "target": target, **state.to_json()}
            for (name, target), state in sorted(self._states.items())
        ]
        text = json.dumps({"formatVersion": _FORMAT, "stack": self._stack, "receivers": states}, indent=1) + "\n"
        replace_file(self._path, text)

    def _read(self) -> dict[tuple[str, str], KnownFindings]:
        try:
            content = json.loads(read_private(self._path))
            if content["formatVersion"] != _FORMAT or content["stack"] != self._stack:
                raise UsageError(
                    f"{self._path}: is the notification state of another stack or a newer version; choose another file with --state"
                )
            return {(one["receiver"], one["target"]): KnownFindings.from_json(one) for one in content["receivers"]}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UsageError(
                f"{self._path}: cannot be read ({os_reason(error)}); choose another file with --state"
            ) from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UsageError(
                f"{self._path}: is not a notification state; choose another file with --state, or remove it to send the current state again"
            ) from None


@contextlib.contextmanager
def open_notification_file(
    path: Path, stack: str, *, timeout: float = LOCK_TIMEOUT_SECONDS
) -> Iterator[NotificationFile]:
    """Open the file for one run; other runs wait until this one is done, and give up after ``timeout`` seconds.

    Raises ``UsageError`` if the file cannot be written, or if another run does not finish in time.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = open_private(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_APPEND | os.O_CREAT)
        lock = os.fdopen(handle, "a+", encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({os_reason(error)}); choose another file with --state") from None
    with lock:
        if not locked(lock.fileno(), timeout):
            lock.seek(0)
            holder = lock.read(_MAX_HOLDER).strip()
            raise UsageError(
                f"{path}: another run has been notifying for more than {timeout:g} seconds{f' ({holder})' if holder.isprintable() and holder else ''}; "
                "the next run will send what is left; stop that run if it hangs"
            )
        with contextlib.suppress(OSError):  # a full disk: the lock works nevertheless
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            lock.flush()
        yield NotificationFile(path, stack)


POST_ATTEMPTS = 4
POST_TIMEOUT_SECONDS = 15.0
_MAX_RETRY_AFTER = 30.0
_SLACK_ERROR = re.compile(r"[a-z][a-z_]{1,60}")
_RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})

SIGNATURE_HEADER = "X-Ivs-Reconciler-Signature-256"
IDENTITY_HEADER = "X-Ivs-Reconciler-Id"

_POSTING = threading.local()
# urllib3 logs the path of every request, and here the path is the secret.
for _name in ("urllib3.connection", "urllib3.connectionpool"):
    logging.getLogger(_name).addFilter(lambda _record: not getattr(_POSTING, "now", False))


def post_webhook(
    url: str,
    body: bytes,
    *,
    identity: str,
    secret: str = "",
    sleep: Callable[[float], None] = time.sleep,
    draw: Callable[[], float] = random.random,
    timeout: float = POST_TIMEOUT_SECONDS,
) -> None:
    """Post JSON, signed if there is a ``secret``. ``timeout`` is in seconds, for connecting and for each read.

    ``identity`` is the message's id, the same in each attempt.
    Raises ``PublishError``, which names neither the URL nor its host; it is ``ambiguous`` if the message may have arrived.
    """
    _check_url(url)
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "User-Agent": f"ivs-reconciler/{__version__}",
        IDENTITY_HEADER: identity,
    }
    if secret:
        headers[SIGNATURE_HEADER] = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    _POSTING.now = True
    try:
        with _http_client(url) as manager:
            for attempt in range(1, POST_ATTEMPTS + 1):
                wait = _post_once(manager, url, body, headers, timeout, last=attempt == POST_ATTEMPTS)
                if wait is None:
                    return
                sleep(wait or draw() * 2.0**attempt)
    finally:
        _POSTING.now = False


def _check_url(url: str) -> None:
    """Raise ``PublishError`` for a URL that would expose the message or itself in transit."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise PublishError("invalid URL; use https://host/path") from None
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise PublishError("invalid URL; use https://host/path")
    if parts.username is not None:
        raise PublishError("the URL contains a user name; use a secret path or a signature")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise PublishError("the URL must begin with https://; http is allowed for localhost only")


def _http_client(url: str) -> urllib3.PoolManager:
    """Return a client that uses the environment's proxy for this host, if there is one."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = None if is_loopback(host) or proxy_bypass(host) else getproxies().get(parts.scheme)
    if not proxy:
        return urllib3.PoolManager(ca_certs=ca_bundle())
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    user = urlsplit(proxy).netloc.rpartition("@")[0]
    return urllib3.ProxyManager(
        proxy,
        proxy_headers=urllib3.make_headers(proxy_basic_auth=unquote(user)) if user else None,
        ca_certs=ca_bundle(),
    )


def _post_once(
    manager: urllib3.PoolManager, url: str, body: bytes, headers: Mapping[str, str], timeout: float, *, last: bool
) -> float | None:
    """Send once and return ``None``, or the seconds to wait before the next attempt; ``0`` if the receiver names none."""
    sent = False

    def content() -> Iterator[bytes]:
        nonlocal sent
        sent = True
        yield body

    try:
        answer = manager.request(
            "POST",
            url,
            body=content(),
            headers=headers,
            timeout=timeout,
            retries=False,
            redirect=False,
            preload_content=False,
        )
    except HTTPError as error:
        if sent:
            raise PublishError(
                "no answer in time; it may have arrived, and is sent again with the same id in the next run",
                ambiguous=True,
            ) from None
        if last:
            raise PublishError(f"cannot connect ({why_unreachable(error)})") from None
        return 0.0
    try:
        if 200 <= answer.status < 300:
            return None
        if last or answer.status not in _RETRIED_STATUSES:
            raise PublishError(_rejection(answer))
        return _retry_after(answer.headers.get("Retry-After"))
    finally:
        answer.close()


def _rejection(answer: urllib3.BaseHTTPResponse) -> str:
    if 300 <= answer.status < 400:
        return f"HTTP {answer.status}: redirects are not followed; use the final URL"
    try:
        body = answer.read(200).decode("utf-8", "replace").strip()
    except HTTPError:
        body = ""
    # Slack answers with one word, such as channel_is_archived; other bodies may contain anything.
    reasons = [responses.get(answer.status, ""), body if _SLACK_ERROR.fullmatch(body) else ""]
    return f"HTTP {answer.status}" + "".join(f", {reason}" for reason in reasons if reason)


def _retry_after(text: str | None) -> float:
    return min(float(text), _MAX_RETRY_AFTER) if text and text.isascii() and text.isdigit() else 0.0
