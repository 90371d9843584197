"""What to notify a receiver of: decided from its last notification and from what was found now. Pure.

A state is what a receiver knows: the current findings, each with a digest of its content, and whether the target could be read.
The same state is never sent twice; a finding that changed is new, one that is gone is resolved.
While a target cannot be read, its findings stay as they are.
A first reading without findings sends nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.diff import FieldChange
from reconciler.drift import DriftStatus
from reconciler.drift.report import DriftReport, Finding
from reconciler.errors import AwsError
from reconciler.model.resource import UnmanagedResource
from reconciler.model.target import DEFAULT_TOPICS, Topic

_FORMAT = "1.0"


@dataclass(frozen=True, slots=True)
class KnownFindings:
    """What a receiver was last notified of. ``sent`` counts the messages; ``findings`` maps a finding's name to its digest; ``unreadable`` is AWS's code, or empty."""

    findings: Mapping[str, str] = field(default_factory=dict)
    unreadable: str = ""
    sent: int = 0

    def to_json(self) -> dict[str, object]:
        """Return the state as JSON."""
        return {
            "formatVersion": _FORMAT,
            "sent": self.sent,
            "unreadable": self.unreadable,
            "findings": dict(sorted(self.findings.items())),
        }

    @classmethod
    def from_json(cls, content: object) -> KnownFindings:
        """Read a state from JSON. Raises ``ValueError`` for anything else."""
        match content:
            case {
                "formatVersion": str(version),
                "sent": int(sent),
                "unreadable": str(unreadable),
                "findings": dict(findings),
            } if version == _FORMAT:
                return cls({str(name): str(digest) for name, digest in findings.items()}, unreadable, sent)
        raise ValueError("not a state of notifications")


NOTHING = KnownFindings()


@dataclass(frozen=True, slots=True)
class Item:
    """One finding in short: ``name`` is unique in a target, ``topic`` its status, ``paths`` the fields that differ."""

    name: str
    topic: Topic
    address: str
    explanation: str
    paths: tuple[str, ...] = ()
    who: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification: what is new, what was resolved (the names of findings), and how many findings of each topic there are, the new ones included.

    ``known`` is the state to record once it was sent. ``number`` counts the messages to this receiver about this target.
    ``failure`` says why the target cannot be read; ``readable_again`` that it could not at the last notification.
    """

    stack: str
    target: str
    account_id: str
    region: str
    new: tuple[Item, ...]
    resolved: tuple[str, ...]
    open: Mapping[Topic, int]
    known: KnownFindings
    failure: str = ""
    readable_again: bool = False

    @property
    def number(self) -> int:
        """The number of the message."""
        return self.known.sent

    def id_for(self, receiver: str) -> str:
        """Return the id of the message: the same at every attempt, so that a receiver can drop duplicates."""
        text = json.dumps([self.stack, self.target, receiver, self.known.to_json()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def changes_to_notify(
    stack: str, report: DriftReport, known: KnownFindings, topics: frozenset[Topic] = DEFAULT_TOPICS
) -> Notification | None:
    """Return the notification about a target that was read, or ``None`` if nothing changed since the last one."""
    items = {item.name: (item, digest) for item, digest in _items(report) if item.topic in topics}
    findings = {name: digest for name, (_, digest) in items.items()}
    before = _about(known, topics)
    if findings == before and not known.unreadable:
        return None
    return Notification(
        stack=stack,
        target=report.name,
        account_id=report.account_id,
        region=report.region,
        new=tuple(item for name, (item, digest) in items.items() if before.get(name) != digest),
        resolved=tuple(sorted(before.keys() - findings.keys())),
        open=Counter(item.topic for item, _ in items.values()),
        known=KnownFindings(findings, sent=known.sent + 1),
        readable_again=bool(known.unreadable),
    )


def failure_to_notify(
    stack: str,
    target: str,
    region: str,
    failure: AwsError,
    known: KnownFindings,
    topics: frozenset[Topic] = DEFAULT_TOPICS,
) -> Notification | None:
    """Return the notification about a target that could not be read, or ``None`` if it was sent already. Errors are compared by AWS's code, since their texts contain request ids."""
    code = failure.code or type(failure).__name__
    if Topic.UNREADABLE not in topics or known.unreadable == code:
        return None
    before = _about(known, topics)
    still_open = Counter(topic for name in before if (topic := _topic(name)) is not None)
    return Notification(
        stack, target, "", region, (), (), still_open, KnownFindings(before, code, known.sent + 1), failure=str(failure)
    )


def _about(known: KnownFindings, topics: frozenset[Topic]) -> dict[str, str]:
    """Return the recorded findings of these topics. A topic that is no longer configured is not reported as resolved."""
    return {name: digest for name, digest in known.findings.items() if _topic(name) in topics}


def _topic(name: str) -> Topic | None:
    word = name.partition(" ")[0]
    return Topic(word) if word in set(Topic) else None


def _items(report: DriftReport) -> list[tuple[Item, str]]:
    found = []
    for finding in report.findings:
        topic = Topic(finding.status.value)
        name = f"{topic.value} {finding.address}" + (
            f" {finding.arn}" if finding.status in (DriftStatus.DUPLICATE, DriftStatus.KEPT) else ""
        )
        paths = (
            tuple(change.path for change in finding.changes)
            if finding.status in (DriftStatus.DRIFT, DriftStatus.PENDING)
            else ()
        )
        who = tuple(dict.fromkeys(call.who for call in finding.blame.calls)) if finding.blame else ()
        found.append((Item(name, topic, str(finding.address), finding.explanation, paths, who), _digest(finding)))
    found += [
        (
            Item(
                f"{Topic.UNMANAGED.value} {unmanaged.arn}", Topic.UNMANAGED, unmanaged.arn, _unmanaged_words(unmanaged)
            ),
            unmanaged.owner,
        )
        for unmanaged in report.unmanaged
    ]
    return found


def _unmanaged_words(resource: UnmanagedResource) -> str:
    name = f" {resource.name}" if resource.name else ""
    return f"{resource.kind.value}{name}, {f'owned by stack {resource.owner}' if resource.owner else 'no owner'}"


def _digest(finding: Finding) -> str:
    """Return a digest of a finding's content. A missing resource has a constant one: its explanation depends on the available records."""
    if finding.status is DriftStatus.MISSING:
        return finding.status.value
    content = [finding.status.value, finding.arn, [_change(change) for change in finding.changes]]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _change(change: FieldChange) -> list[object]:
    return [change.path, change.before, change.after, change.absent_before, change.absent_after]
