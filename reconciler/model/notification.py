"""Who is to be told about what. Values only; ``spec`` reads them from the project file. Addresses that are secrets are names of environment variables here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Topic(StrEnum):
    """What a channel may want to hear of."""

    DRIFT = "drift"
    MISSING = "missing"
    DUPLICATE = "duplicate"
    PENDING = "pending"
    ORPHAN = "orphan"
    FOREIGN = "foreign"
    UNREADABLE = "unreadable"


DEFAULT_TOPICS = frozenset({Topic.DRIFT, Topic.MISSING, Topic.DUPLICATE, Topic.UNREADABLE})
"""What changed outside, and that nobody can tell; not what was merged and waits, which whoever merged it knows."""


class Way(StrEnum):
    """How a channel is reached."""

    SLACK = "slack"
    WEBHOOK = "webhook"
    SNS = "sns"
    EVENT_BRIDGE = "eventBridge"


@dataclass(frozen=True, slots=True)
class Channel:
    """One place where somebody is told.

    ``url_env`` and ``secret_env`` name the environment variables that hold a webhook's URL and its key for signatures.
    ``arn`` is an SNS topic's or an event bus's; ``profile`` and ``role_arn`` say with whose credentials it is reached.
    ``targets`` empty means all of them.
    """

    name: str
    way: Way
    url_env: str = ""
    secret_env: str = ""
    arn: str = ""
    profile: str | None = None
    role_arn: str | None = None
    topics: frozenset[Topic] = DEFAULT_TOPICS
    targets: frozenset[str] = frozenset()
