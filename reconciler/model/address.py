"""Addresses (``kind/id``, such as ``channel/main-stage``) and the tags that record ownership on managed resources.

A resource has at most 50 user tags. Keys that start with ``aws:`` do not count, and cannot be set or removed (service model, Tag Editor guide).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import NamedTuple, Self


class KindName(StrEnum):
    """The kinds of resources, as in the first half of an address."""

    RECORDING_CONFIGURATION = "recording-configuration"
    FAILOVER_SLATE_CONFIGURATION = "failover-slate-configuration"
    PLAYBACK_KEY_PAIR = "playback-key-pair"
    PLAYBACK_RESTRICTION_POLICY = "playback-restriction-policy"
    AD_CONFIGURATION = "ad-configuration"
    CHANNEL = "channel"
    STREAM_KEY = "stream-key"

    __hash__ = str.__hash__  # Enum's is written in Python, and addresses are looked up very often


class Address(NamedTuple):
    """The identity of a resource: its kind and the id in the spec.

    A tuple, because its hash is fast: a plan of 5,000 channels looks addresses up 60,000 times.
    """

    kind: KindName
    id: str

    def __str__(self) -> str:
        return "/".join(self)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the address in ``kind/id``. Raises ``ValueError``."""
        kind, slash, identifier = text.partition("/")
        if not slash or not identifier:
            raise ValueError(f"{text!r} is not an address; write kind/id, such as channel/main-stage")
        try:
            return cls(KindName(kind), identifier)
        except ValueError:
            known = ", ".join(name.value for name in KindName)
            raise ValueError(f"{kind!r} is not a kind; the kinds are {known}") from None


_VALID_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


def is_valid_id(text: str) -> bool:
    """Return whether a text can be the id of an address."""
    return _VALID_ID.fullmatch(text) is not None


PREFIX = "ivs-reconciler:"
STACK = PREFIX + "stack"
ID = PREFIX + "id"
SPEC = PREFIX + "spec"
PROTECT = PREFIX + "protect"
ROTATION = PREFIX + "rotation"
"""On a stream key: the rotation label that it was created with."""
DELIVERED = PREFIX + "delivered"
"""On a stream key: the sink its value was published to, or ``WAITING`` until then."""
RETIRES = PREFIX + "retires"
"""On a replaced playback key pair: when it may be deleted."""
ATTEMPT = PREFIX + "attempt"
"""On a new resource: the number of the attempt that created it, by which an apply finds it if the answer is lost. Never compared."""
COMMIT = PREFIX + "commit"
"""On one resource of a target: the git commit of the last apply, or ``UNKNOWN_COMMIT`` and a mark of that apply. Never compared."""
UNKNOWN_COMMIT = "unknown"
"""The last apply ran with uncommitted changes, in part, or outside a git repository, or could not create all resources."""
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
WAITING = "waiting"
OWNERSHIP = frozenset({STACK, ID, SPEC, PROTECT})
OWN = OWNERSHIP | {ROTATION, DELIVERED, RETIRES}
UNCOMPARED = frozenset({ATTEMPT, COMMIT})
"""Our tags that no spec decides."""

MAX_TAGS = 50
"""User tags that AWS allows on one resource."""

MAX_TAGS_WITH_ATTEMPT = 40
"""Most tags a resource may have to get one of ``UNCOMPARED`` too, so that there is always space for tags of users."""

MAX_SPEC_TAGS = MAX_TAGS - len(OWNERSHIP)
"""User tags that a spec may set on one resource: the limit minus the ownership tags."""


def is_commit(text: str) -> bool:
    """Return whether a text is the id of a git commit, which the tag ``COMMIT`` may have instead of anything else."""
    return _COMMIT.fullmatch(text) is not None


def comparable_tags(tags: Mapping[str, str], ignore: Iterable[str] = ()) -> dict[str, str]:
    """Return the tags that are compared: without ``aws:`` tags, ``UNCOMPARED``, and those that match an ``ignore`` pattern."""
    kept = {key: value for key, value in tags.items() if not key.startswith("aws:") and key not in UNCOMPARED}
    patterns = tuple(ignore)
    if not patterns:
        return kept
    return {
        key: value
        for key, value in kept.items()
        if key in OWN or not any(fnmatchcase(key, pattern) for pattern in patterns)
    }
