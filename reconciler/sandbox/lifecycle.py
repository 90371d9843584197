"""States that change with time, decided from stored due-times when read: no timers, no threads.

A document may hold a private note {"~next": {"at": instant, "state": name}}; from that instant on
the resource is in the named state. Notes never leave: no output shape has such a member.
"""

from __future__ import annotations

from reconciler.sandbox.model import JsonDict

NOTE = "~next"


def pending(document: JsonDict, *, state: str, then: str, at: float) -> JsonDict:
    """Return the document in a passing state, with the state it goes to."""
    return {**document, "state": state, NOTE: {"at": at, "state": then}}


def settled(document: JsonDict, now: float) -> JsonDict:
    """Return the document as it is at this instant."""
    note = document.get(NOTE)
    if note is None or now < note["at"]:
        return document
    return {**document, "state": note["state"]}
