"""How values, counts and actions are said, for every view alike.

Everything here takes values and returns text. User text is made harmless for a terminal: control and direction-changing characters are shown as escapes.

How a drift report is said, for every view alike. Takes values, gives words and the changes in the direction in which they happened.

What a reviewer must see before anything else, for every view alike.

Comes in: a target's plan. Goes out: its actions in groups, each action in the first group that fits: deleted, replaced, blocked, touching keys.
A blocked action will not be carried out, so it stands under "blocked" whatever it would have done.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from reconciler.diff import FieldChange
from reconciler.drift.report import AtDefault, Deed, DriftReport, Finding, Ignored, Standing
from reconciler.model.address import KindName
from reconciler.model.kinds import KINDS
from reconciler.model.values import Ref, Value, thaw
from reconciler.plan.plan import Action, OnAir, Plan, ReplaceOrder, Step, Summary, TargetPlan, Verb
from reconciler.plan.steps import Expected
from reconciler.terminal import harmless

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


TITLES: Mapping[Standing, str] = {
    Standing.DRIFT: "Changed outside",
    Standing.MISSING: "Missing",
    Standing.DUPLICATE: "Duplicates",
    Standing.PENDING: "Pending, not applied yet",
    Standing.ORPHAN: "Left the spec",
}
"""Headings, heaviest first."""

HEADS: Mapping[Standing, str] = {
    Standing.DRIFT: "has changed outside",
    Standing.MISSING: "is missing",
    Standing.PENDING: "waits to be applied",
    Standing.DUPLICATE: "has a duplicate",
    Standing.ORPHAN: "left the spec",
}
"""The rest of a sentence that begins with the address."""


def headline(report: DriftReport) -> str:
    """Return the finding of the whole report."""
    if report.drifted:
        return "Drift"
    return "No drift, but changes wait to be applied" if report.pending else "No drift"


def counted(report: DriftReport) -> str:
    """Return the counts in the order people ask for them."""
    count = {standing: len(report.of(standing)) for standing in Standing}
    return (
        f"{count[Standing.DRIFT]:,} changed outside, {count[Standing.MISSING]:,} missing, {count[Standing.PENDING]:,} pending, "
        f"{count[Standing.ORPHAN]:,} orphaned, {count[Standing.DUPLICATE]:,} duplicate; "
        f"{report.unchanged:,} as the spec wants, {len(report.foreign):,} foreign{left_out(report)}"
    )


def left_out(report: DriftReport) -> str:
    """Return the count of what the caller asked to ignore, as the end of a list of counts; nothing where there is none."""
    return f", {report.ignored_differences:,} ignored" if report.ignored else ""


def ignored_head(report: DriftReport) -> str:
    """Return the heading over what the caller asked to ignore."""
    return f"{plural(report.ignored_differences, 'difference')} ignored, as asked"


def ignored_words(one: Ignored) -> str:
    """Return one resource's ignored differences: which fields, and what they would have counted as."""
    return f"{one.address}: {', '.join(path_words(change.path) for change in one.changes)} ({one.standing.value})"


def defaults_head(report: DriftReport) -> str:
    """Return the count of fields that are at the service's default."""
    return f"{plural(report.defaults, 'field')} that the spec does not name {'is' if report.defaults == 1 else 'are'} at the service's default"


def defaults_words(one: AtDefault) -> str:
    """Return one resource's fields at the service's default."""
    return f"{one.address}: {', '.join(f'{name} {show_value(value)}' for name, value in one.fields.items())}"


def deed_words(deed: Deed) -> str:
    """Return who did something, when, and by which call."""
    return f"{deed.who} at {deed.at}: {deed.call}, made with {deed.source}, event {deed.event}"


def blame_words(finding: Finding) -> tuple[str, ...]:
    """Return, a line each, who did it, and what else there is to say about that; nothing where nobody asked."""
    if finding.blame is None:
        return ()
    lines = [f"by {deed_words(deed)}" for deed in finding.blame.deeds]
    return (*lines, finding.blame.remark) if finding.blame.remark else tuple(lines)


def shows_changes(finding: Finding) -> bool:
    """Whether there are two sides to show: something live that differs from the spec."""
    return finding.standing in (Standing.DRIFT, Standing.PENDING) and finding.arn is not None


def as_it_happened(finding: Finding) -> tuple[FieldChange, ...]:
    """Return the changes with what came first as ``before``: the spec for drift, the account for pending changes."""
    if finding.standing is not Standing.DRIFT:
        return finding.changes
    return tuple(
        replace(
            change,
            before=change.after,
            after=change.before,
            absent_before=change.absent_after,
            absent_after=change.absent_before,
        )
        for change in finding.changes
    )


KEY_KINDS = frozenset({KindName.STREAM_KEY, KindName.PLAYBACK_KEY_PAIR})
"""The kinds that are credentials: whoever holds one can broadcast, or can let viewers in."""


class Notice(StrEnum):
    """Why an action is listed first, in order of weight. The value is the heading."""

    DELETED = "Deleted"
    REPLACED = "Replaced"
    BLOCKED = "Blocked, not carried out"
    KEYS = "Keys"


@dataclass(frozen=True, slots=True)
class Notable:
    """One group. ``also`` counts actions that belong here too but already stand in a group before."""

    notice: Notice
    actions: tuple[Action, ...]
    also: int = 0

    @property
    def title(self) -> str:
        """The heading with its count; it says where the rest of the keys is."""
        more = f" (and {self.also:,} listed above)" if self.also else ""
        return f"{self.notice.value}: {len(self.actions):,}{more}"


def notice_of(action: Action) -> Notice | None:
    """Return why an action is listed first, or ``None``."""
    if action.blocked:
        return Notice.BLOCKED
    if action.verb is Verb.DELETE:
        return Notice.DELETED
    if action.verb is Verb.REPLACE:
        return Notice.REPLACED
    return Notice.KEYS if action.kind in KEY_KINDS else None


def notables(target: TargetPlan) -> tuple[Notable, ...]:
    """Return the groups that have anything in them, heaviest first."""
    sorted_out: dict[Notice, list[Action]] = {notice: [] for notice in Notice}
    also = 0
    for action in target.actions:
        notice = notice_of(action)
        if notice is not None:
            sorted_out[notice].append(action)
            also += notice is not Notice.KEYS and action.kind in KEY_KINDS
    groups = (
        Notable(notice, tuple(actions), also if notice is Notice.KEYS else 0) for notice, actions in sorted_out.items()
    )
    return tuple(group for group in groups if group.actions or group.also)


def tally(target: TargetPlan) -> Mapping[KindName, Counter[Verb | None]]:
    """Return, for each kind that has actions, how many of each verb, and under ``None`` how many are blocked; kinds in the order of creation."""
    counts: dict[KindName, Counter[Verb | None]] = {kind: Counter() for kind in KINDS}
    for action in target.actions:
        counts[action.kind][None if action.blocked else action.verb] += 1
    return {kind: verbs for kind, verbs in counts.items() if verbs}
