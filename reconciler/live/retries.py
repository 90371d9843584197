"""Which calls may be sent a second time, and how long to wait before.

No IVS operation takes an idempotency token (service model), so what may be repeated depends on what the call does.
Reads, updates and tag calls give the same result however often they arrive; a repeated delete finds nothing, which is what it wanted.
A repeated create makes a second resource: it is sent again only when AWS said that it did nothing, or when it never left.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import assert_never

from reconciler.errors import AwsError
from reconciler.model.kinds import KINDS

NOT_FOUND = "ResourceNotFoundException"

THROTTLES = frozenset(
    {
        "ThrottlingException",
        "Throttling",
        "ThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "SlowDown",
        "TooManyUpdates",
    }
)
"""Error codes by which AWS services refuse a call for its rate; IVS's own is the first, with status 429, and the last is Parameter Store's."""

MAX_THROTTLED = 12
"""Requests sent for one call while AWS keeps refusing for the rate."""

MAX_FAILED = 5
"""Requests sent for one call while AWS or the way to it keeps failing."""

_FIRST_SECONDS = 0.5
_LONGEST_SECONDS = 20.0


class Repeat(Enum):
    """What sending a call twice does."""

    READ = "read"
    """Nothing is changed by it."""
    SAME = "same"
    """The second call changes what the first did, to the same value."""
    DELETE = "delete"
    """The second call finds nothing."""
    ONCE = "once"
    """The second call does it again."""


_CLASSES: Mapping[str, Repeat] = {
    **{operation: Repeat.READ for kind in KINDS.values() for operation in (kind.get, kind.list)},
    **dict.fromkeys(
        (
            "BatchGetChannel",
            "BatchGetStreamKey",
            "ListTagsForResource",
            "GetStream",
            "ListStreams",
            "GetStreamSession",
            "ListStreamSessions",
        ),
        Repeat.READ,
    ),
    **dict.fromkeys(("GetCallerIdentity", "AssumeRole", "LookupEvents"), Repeat.READ),
    **{kind.update: Repeat.SAME for kind in KINDS.values() if kind.update is not None},
    **dict.fromkeys(("TagResource", "UntagResource", "StopStream"), Repeat.SAME),
    **{kind.delete: Repeat.DELETE for kind in KINDS.values()},
    **{kind.create: Repeat.ONCE for kind in KINDS.values()},
}


def class_of(operation: str) -> Repeat:
    """Return what repeating the operation does; an operation not known here is taken to do its work again."""
    return _CLASSES.get(operation, Repeat.ONCE)


def is_throttle(error: AwsError) -> bool:
    """Whether AWS refused the call for its rate, so that nothing was done."""
    return error.status == 429 or error.code in THROTTLES


def may_repeat(error: AwsError, repeat: Repeat, calls: int) -> bool:
    """Whether a call that failed like this may be sent again after this many requests."""
    if not error.retryable:
        return False
    if is_throttle(error):
        return calls < MAX_THROTTLED
    if calls >= MAX_FAILED:
        return False
    match repeat:
        case Repeat.READ | Repeat.SAME | Repeat.DELETE:
            return True
        case Repeat.ONCE:
            return not error.ambiguous
    assert_never(repeat)


def pause(calls: int, draw: float) -> float:
    """Return the seconds to wait after this many requests; ``draw`` is a random number from 0 to 1 (full jitter)."""
    return draw * min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** (calls - 1))
