"""Stable logical identity: ``kind/id``, such as ``channel/main-stage``. The ARN is the remote identity.

The tags by which ownership is written on every managed resource, and which tags are compared.

Service facts: at most 50 user tags on a resource; keys beginning with ``aws:`` are the system's, do not count, and can be neither set nor removed (service model, Tag Editor guide).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import NamedTuple, Self


class KindName(StrEnum):
    """The kinds of resource that are kept, by the first half of their address."""

    RECORDING_CONFIGURATION = "recording-configuration"
    FAILOVER_SLATE_CONFIGURATION = "failover-slate-configuration"
    PLAYBACK_KEY_PAIR = "playback-key-pair"
    PLAYBACK_RESTRICTION_POLICY = "playback-restriction-policy"
    AD_CONFIGURATION = "ad-configuration"
    CHANNEL = "channel"
    STREAM_KEY = "stream-key"

    __hash__ = str.__hash__  # an enum's own is written in Python, and addresses are looked up by the ten thousand


class Address(NamedTuple):
    """Identity that can be sorted, printed and parsed.

    A tuple, because a plan of 5,000 channels looks addresses up 60,000 times: with the hash of a dataclass, written in Python, that was half of its time.
    """

    kind: KindName
    id: str

    def __str__(self) -> str:
        return f"{self.kind.value}/{self.id}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``kind/id``. Raises ``ValueError`` naming what is wrong."""
        kind, slash, identifier = text.partition("/")
        if not slash or not identifier:
            raise ValueError(f"{text!r} is not an address; write kind/id, such as channel/main-stage")
        try:
            return cls(KindName(kind), identifier)
        except ValueError:
            known = ", ".join(name.value for name in KindName)
            raise ValueError(f"{kind!r} is not a kind; the kinds are {known}") from None


PREFIX = "ivs-reconciler:"
STACK = PREFIX + "stack"
ID = PREFIX + "id"
SPEC = PREFIX + "spec"
PROTECT = PREFIX + "protect"
ROTATION = PREFIX + "rotation"
"""On a stream key: the label of the spec that it was made for."""
DELIVERED = PREFIX + "delivered"
"""On a stream key: the sink that has its value, written last; or ``WAITING``."""
RETIRES = PREFIX + "retires"
"""On a playback key pair that was replaced: until when it is kept."""
ATTEMPT = PREFIX + "attempt"
"""On what a create made: the number of the try that made it, by which a run knows its own where the answer was lost. It is no part of the spec and compared with nothing."""
WAITING = "waiting"
OWNERSHIP = frozenset({STACK, ID, SPEC, PROTECT})
OWN = OWNERSHIP | {ROTATION, DELIVERED, RETIRES}

MAX_TAGS = 50
"""User tags that the service allows on one resource."""

MAX_TAGS_WITH_ATTEMPT = 40
"""Tags that a resource may have and still carry ``ATTEMPT``, so that it never takes the place of one that somebody needs."""

MAX_SPEC_TAGS = MAX_TAGS - len(OWNERSHIP)
"""User tags that a spec may give one resource: the service's limit less our own."""


def comparable(tags: Mapping[str, str], ignore: Iterable[str] = ()) -> dict[str, str]:
    """Return the tags that take part in comparisons: no ``aws:`` tags, no number of a try, none that match an ignored pattern."""
    kept = {key: value for key, value in tags.items() if not key.startswith("aws:") and key != ATTEMPT}
    patterns = tuple(ignore)
    if not patterns:
        return kept
    return {
        key: value
        for key, value in kept.items()
        if key in OWN or not any(fnmatchcase(key, pattern) for pattern in patterns)
    }
