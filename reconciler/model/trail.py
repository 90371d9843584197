"""Calls that changed something, as CloudTrail has them: values, without the values of parameters, which may hold secrets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One call that succeeded.

    ``at`` is an instant in ISO 8601, ``who`` the principal, ``source`` what the call was made with; ``ours`` says that this program made it.
    ``arns`` are the resources it was about, ``made`` those that it made.
    ``fields`` are the names of the parameters it gave, tags as ``tags/<key>``; ``None`` where CloudTrail left the parameters out.
    ``owner`` is the stack and id that its tags give, where it gave any.
    """

    id: str
    operation: str
    at: str
    who: str
    source: str
    ours: bool
    arns: frozenset[str] = frozenset()
    made: frozenset[str] = frozenset()
    fields: frozenset[str] | None = None
    owner: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Trail:
    """What was found, newest first. ``cut`` names the operations of which there is more; ``why_not`` says why nothing could be asked, or not all of it."""

    events: tuple[Event, ...] = ()
    cut: tuple[str, ...] = ()
    why_not: str = ""
