"""How values, counts and actions are said, for every view alike.

Everything here takes values and returns text. User text is made harmless for a terminal: control and direction-changing characters are shown as escapes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from reconciler.model.values import Ref, Value, thaw
from reconciler.plan.actions import Action, FieldChange, OnAir, Plan, ReplaceOrder, Step, Summary, Verb
from reconciler.plan.estimate import Expected
from reconciler.text import harmless

SYMBOLS: Mapping[Verb, str] = {
    Verb.CREATE: "+",
    Verb.UPDATE: "~",
    Verb.REPLACE: "+/-",
    Verb.DELETE: "-",
    Verb.ADOPT: "=",
    Verb.FORGET: ".",
}


def symbol(action: Action) -> str:
    """Return the mark in front of an action: ``+/-`` creates first, ``-/+`` deletes first."""
    if action.order is ReplaceOrder.DELETE_FIRST:
        return "-/+"
    return SYMBOLS[action.verb]


def will(action: Action) -> str:
    """Return what will happen, as the rest of a sentence that begins with the address."""
    match action.verb:
        case Verb.CREATE:
            return "will be created"
        case Verb.UPDATE:
            return "will be updated in place"
        case Verb.REPLACE if action.order is ReplaceOrder.DELETE_FIRST:
            return "must be replaced: deleted, then created"
        case Verb.REPLACE:
            return "must be replaced: created, then deleted"
        case Verb.DELETE:
            return "will be deleted"
        case Verb.ADOPT:
            return "will be adopted"
        case Verb.FORGET:
            return "will be forgotten; it stays in the account"


def plural(count: int, one: str, many: str = "") -> str:
    """Return ``1 channel`` or ``2 channels``, with thousands separated."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def show_value(value: Value) -> str:
    """Return a value as a reader expects it: text in quotes, lists in brackets, references by address."""
    match value:
        case None:
            return "(none)"
        case Ref():
            return f"(known after apply: {harmless(str(value.address))})"
        case str():
            return show_text(value)
        case tuple():
            return "[" + ", ".join(show_value(item) for item in value) + "]"
        case Mapping():
            return "{" + ", ".join(f"{harmless(key)}: {show_value(item)}" for key, item in value.items()) + "}"
        case _:
            return json.dumps(thaw(value))


def show_text(text: str) -> str:
    """Return text in quotes, with everything that is not printable escaped."""
    return harmless(json.dumps(text, ensure_ascii=False))


def path_words(path: str) -> str:
    """Return a JSON pointer the way people write a field: ``/tags/a`` is ``tags.a``."""
    return ".".join(part.replace("~1", "/").replace("~0", "~") for part in path.strip("/").split("/"))


def members(change: FieldChange) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return the members that a list gains and loses, or ``None`` when the change is not between two lists of text."""
    before, after = change.before or (), change.after or ()
    if not (isinstance(before, tuple) and isinstance(after, tuple)) or not (before or after):
        return None
    if not all(isinstance(member, str) for member in (*before, *after)):
        return None
    gained = tuple(str(member) for member in after if member not in before)
    lost = tuple(str(member) for member in before if member not in after)
    return (gained, lost) if gained or lost else None


def is_own_record(change: FieldChange) -> bool:
    """Whether a change is only our bookkeeping: the tags that record owner, id and spec.

    Protection is not: whoever reviews a plan sees it granted and lifted.
    """
    return change.path.startswith("/tags/ivs-reconciler:") and change.path != "/tags/ivs-reconciler:protect"


def summary_words(summary: Summary) -> str:
    """Return the counts of a plan, in the order people ask for them."""
    due = [
        f"{summary.create:,} to create",
        f"{summary.update:,} to update",
        f"{summary.replace:,} to replace",
        f"{summary.delete:,} to delete",
        f"{summary.adopt:,} to adopt",
    ]
    if summary.forget:
        due.append(f"{summary.forget:,} to forget")
    rest = [f"{summary.unchanged:,} unchanged", f"{summary.foreign:,} foreign"]
    if summary.orphaned:
        rest.append(plural(summary.orphaned, "orphan"))
    if summary.blocked:
        rest.append(f"{summary.blocked:,} blocked")
    return ", ".join(due) + "; " + ", ".join(rest)


def title_of(plan: Plan) -> str:
    """Return what to call a plan: one that compares two revisions would do nothing."""
    return "Difference" if plan.of_revisions else "Plan"


def origin_of(plan: Plan) -> dict[str, str]:
    """Return where a plan comes from, name and value; what is not known is left out."""
    commit = plan.git_commit or ("the files at hand" if plan.of_revisions else "")
    base = (
        f"{plan.base.commit} ({plan.base.name})"
        if plan.base and plan.base.name not in plan.base.commit
        else plan.base.commit
        if plan.base
        else ""
    )
    found = {"Commit": commit, "Compared with" if plan.of_revisions else "Base": base}
    return {name: value for name, value in found.items() if value}


def until_words(step: Step) -> str:
    """Return what a step waits for, as the end of what its call is, or nothing."""
    until = step.until
    if until is None:
        return ""
    if until.absent:
        return f" until nothing has the {until.member} {until.equals}"
    return f" until {until.member} is {until.equals}"


def on_air_words(channels: Sequence[OnAir]) -> str:
    """Return how many channels are on air and how many watch: ``2 live channels, 1,204 viewers``."""
    known = sum(max(0, channel.viewers) for channel in channels)
    least = "at least " if any(channel.viewers < 0 for channel in channels) else ""
    return f"{plural(len(channels), 'live channel')}, {least}{plural(known, 'viewer')}"


def broadcast_words(channel: OnAir) -> str:
    """Return since when a channel is on air, and how many watch it."""
    health = f", {channel.health.lower()}" if channel.health not in ("HEALTHY", "UNKNOWN") else ""
    viewers = "viewers not counted" if channel.viewers < 0 else plural(channel.viewers, "viewer")
    return f"on air since {harmless(channel.since)}, {viewers}{harmless(health)}"


def duration_words(seconds: float) -> str:
    """Return a length of time as people say it: ``40 s``, ``17 min``, ``1 h 20 min``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return (
        f"{minutes} min" if minutes < 60 else f"{minutes // 60:,} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    )


def expected_words(expected: Expected) -> str:
    """Return how long calls take and which operation is the narrow one."""
    return f"about {duration_words(expected.seconds)} at the published rates: {plural(expected.calls, 'call')} of {expected.operation}, {expected.pace:.3g} a second"


def joined(words: Iterable[str]) -> str:
    """Return words as a list in a sentence."""
    items = list(words)
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1] if items else ""
