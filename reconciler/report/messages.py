"""Notifications as messages: one text for people, one JSON object for programs.

Names of fields and findings are included, values are not: the readers of a receiver are not known here, and the report has the values.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from reconciler.drift.changes import Item, Notification
from reconciler.model.target import Topic
from reconciler.report.actions import path_words
from reconciler.report.words import join_words, plural
from reconciler.terminal import sanitize

_LINES = 20
_ITEMS = 200
_SUBJECT = 100
"""The most characters of an SNS subject (SNS API reference, Publish)."""

_DRIFT_STATUS = {
    Topic.DRIFT: "drifted",
    Topic.MISSING: "missing",
    Topic.UNTAGGED: "without owner tags",
    Topic.DUPLICATE: "duplicate",
    Topic.PENDING: "pending",
    Topic.ORPHAN: "orphaned",
    Topic.KEPT: "kept",
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
        f"{notification.open[topic]:,} {words}"
        for topic, words in _DRIFT_STATUS.items()
        if notification.open.get(topic)
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
        lines += [f"New: {len(notification.new):,}", *(f"• {_item(item)}" for item in notification.new[:_LINES])]
        lines += [f"… and {len(notification.new) - _LINES:,} more"] if len(notification.new) > _LINES else []
    if notification.resolved:
        lines += [
            f"Resolved: {len(notification.resolved):,}",
            *(f"• {sanitize(name)}" for name in notification.resolved[:_LINES]),
        ]
        lines += [f"… and {len(notification.resolved) - _LINES:,} more"] if len(notification.resolved) > _LINES else []
    still = sum(notification.open.values()) - len(notification.new)
    if still > 0 and not notification.failure:
        lines.append(f"{plural(still, 'earlier finding')} still open.")
    if link:
        lines.append(sanitize(link))
    return "\n".join(lines)


def _item(item: Item) -> str:
    words = f"{item.address}: {_DRIFT_STATUS[item.topic]}"
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
