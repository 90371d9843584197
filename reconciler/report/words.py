"""How values, counts, actions, findings, times and durations are worded, for every view alike.

Takes values, returns text. Text that users or AWS wrote is sanitized for a terminal: control and direction characters are shown as escapes.
Times are in UTC; the script of the status pages shows them in local time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from reconciler.diff import FieldChange
from reconciler.drift import DriftStatus
from reconciler.model.address import KindName
from reconciler.model.kinds import KINDS
from reconciler.model.resource import Stream
from reconciler.model.target import Shards
from reconciler.plan.plan import (
    Action,
    ApplyResult,
    Base,
    LiveChannel,
    Outcome,
    Plan,
    Result,
    SettingChange,
    Step,
    Summary,
    TargetPlan,
    Verb,
)
from reconciler.plan.steps import Expected
from reconciler.report.actions import path_words, show_value
from reconciler.terminal import sanitize, short_commit, shortened

if TYPE_CHECKING:
    from reconciler.drift.report import AtDefault, AttributedCall, DriftReport, Finding, Ignored


def plural(count: int, one: str, many: str = "") -> str:
    """Return ``1 channel`` or ``2 channels``, with thousands separated."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def apply_state(result: ApplyResult) -> str:
    """Return how an apply ended in a word or two. Blocked actions are no failure."""
    if result.interrupted:
        return "interrupted"
    if result.complete:
        return "complete"
    failed = any(outcome.result is Result.FAILED for outcome in result.outcomes)
    return "partially failed" if failed else "incomplete"


def nonzero(counts: Mapping[str, int]) -> str:
    """Return the counts that are not zero, each with its word: ``41 in sync, 3 unmanaged``."""
    return ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)


def summary_words(summary: Summary) -> str:
    """Return the counts of a plan that are not zero: ``1 to create, 2 to update, 121 unchanged``."""
    counts = {
        "to create": summary.create,
        "to update": summary.update,
        "to replace": summary.replace,
        "to delete": summary.delete,
        "to adopt": summary.adopt,
        "to forget": summary.forget,
        "blocked": summary.blocked,
        "unchanged": summary.unchanged,
        "orphaned": summary.orphaned,
        "unmanaged": summary.unmanaged,
    }
    return nonzero(counts) or "nothing to do"


OVERVIEW_FROM = 4
"""From so many targets on, a report begins with all of them at a glance."""

_MIN_END_SECONDS = 5.0
_STATES = (
    "applied",
    "in sync",
    "unchanged",
    "with changes",
    "pending",
    "with drift",
    "incomplete",
    "interrupted",
    "failed",
)


class OverviewRow(NamedTuple):
    """A target in an overview: where it is, its state in words, and its counts or why it failed."""

    name: str
    account_id: str
    region: str
    state: str
    details: str = ""


def plan_states(plan: Plan) -> list[OverviewRow]:
    """Return the states of all targets of a plan, those that failed at the end. Of two revisions, none is in sync or out of it."""
    same = "unchanged" if plan.of_revisions else "in sync"
    return [
        OverviewRow(one.name, one.account_id, one.region, "with changes", summary_words(one.summary))
        if one.actions
        else OverviewRow(one.name, one.account_id, one.region, same)
        for one in plan.targets
    ] + failed_states({one.name: one.message for one in plan.failed})


def drift_states(reports: Iterable[DriftReport], failed: Mapping[str, str]) -> list[OverviewRow]:
    """Return the states of all targets of a drift report, those that failed at the end."""
    return [
        OverviewRow(one.name, one.account_id, one.region, "with drift" if one.drifted else "pending", drift_counts(one))
        if one.drifted or one.pending
        else OverviewRow(one.name, one.account_id, one.region, "in sync")
        for one in reports
    ] + failed_states(failed)


def apply_states(plan: Plan, results: Iterable[ApplyResult]) -> list[OverviewRow]:
    """Return how the apply of each target of a plan ended, in the plan's order, and at the end those that could not be read."""
    by_name = {state.name: state for state in result_states(results)}
    return [
        by_name[one.name]._replace(account_id=one.account_id, region=one.region)
        if one.name in by_name
        else OverviewRow(one.name, one.account_id, one.region, "in sync")
        for one in plan.targets
        if one.name in by_name or not one.actions
    ] + failed_states({one.name: one.message for one in plan.failed})


def result_states(results: Iterable[ApplyResult]) -> list[OverviewRow]:
    """Return how the apply of each target ended."""
    return [OverviewRow(one.name, "", "", _apply_state(one), outcome_words(one.outcomes)) for one in results]


def _apply_state(result: ApplyResult) -> str:
    """Return ``apply_state`` as an overview names it."""
    state = apply_state(result)
    return {"complete": "applied", "partially failed": "failed"}.get(state, state)


def outcome_words(outcomes: Iterable[Outcome]) -> str:
    """Return the counts of an apply's outcomes: ``49 done, 1 failed``."""
    counts = Counter(outcome.result for outcome in outcomes)
    return ", ".join(f"{counts[one]:,} {one.value}" for one in Result if counts[one] or one is Result.DONE)


BY_SEVERITY = (Result.FAILED, Result.BLOCKED, Result.SKIPPED, Result.DONE)
"""The order in which a report lists the outcomes of an apply."""


def failed_states(failed: Mapping[str, str]) -> list[OverviewRow]:
    """Return the states of targets that could not be read, with the first line of each error."""
    return [OverviewRow(name, "", "", "failed", message.partition("\n")[0]) for name, message in failed.items()]


def overview_words(states: Sequence[OverviewRow]) -> str:
    """Return how many targets have each state: ``5 targets: 3 in sync, 1 with changes, 1 failed``."""
    counts = Counter(one.state for one in states)
    return f"{plural(len(states), 'target')}: {nonzero({state: counts[state] for state in _STATES})}"


def end_words(seconds: float, now: datetime) -> str:
    """Return when something ends that takes so many seconds: ``ends 14:03:10 (5 min)``, with the date if that is not today's."""
    end = now + timedelta(seconds=seconds)
    day = "" if end.date() == now.date() else f"{end:%Y-%m-%d} "
    return f"ends {day}{end:%H:%M:%S} ({duration_words(seconds)})"


def tally_words(targets: int, done: int, failed: int, seconds: float, now: datetime) -> str:
    """Return the progress over targets: ``300 targets: 12 done, 2 failed, 286 left, ends 14:03:10 (5 min)``; under five seconds without the end."""
    counts = nonzero({"done": done, "failed": failed, "left": targets - done - failed})
    return f"{plural(targets, 'target')}: {counts}" + (
        f", {end_words(seconds, now)}" if seconds >= _MIN_END_SECONDS else ""
    )


def in_sync_words(target: TargetPlan) -> str:
    """Return the counts of a plan without changes: ``3 resources, 1 orphaned``."""
    summary = target.summary
    return resources_words(
        summary.unchanged, orphaned=summary.orphaned, kept=len(target.kept), unmanaged=summary.unmanaged
    )


def resources_words(resources: int, *, orphaned: int = 0, kept: int = 0, unmanaged: int = 0) -> str:
    """Return the counts of a target in sync."""
    others = nonzero({"orphaned": orphaned, "kept": kept, "unmanaged": unmanaged})
    return plural(resources, "resource") + (f", {others}" if others else "")


def title_of(plan: Plan) -> str:
    """Return what a plan is called: ``Comparison`` for one of two revisions, which cannot be applied."""
    return "Comparison" if plan.of_revisions else "Plan"


def shards_words(shards: Shards) -> str:
    """Return which shards a report is about: ``1 of 4``, ``1 and 3 of 4``."""
    return f"{join_words(map(str, shards.included))} of {shards.total:,}"


def shards_line(shards: Shards, targets: int) -> str:
    """Return the line that a report of some shards begins with."""
    which = f"Shard{'s' if len(shards.included) > 1 else ''} {shards_words(shards)}"
    return f"{which}." if targets else f"{which} {'have' if len(shards.included) > 1 else 'has'} no targets."


SHARD = "Shard"
"""What the shards of a report are called among its facts."""

OVERRIDES = "Guardrail overrides"
"""What a plan's options that lift guardrails are called in all views."""


def origin_of(plan: Plan) -> dict[str, str]:
    """Return where a plan comes from and which guardrails it lifts, name and value; unknown values are left out."""
    commit = plan.git_commit or ("working tree" if plan.of_revisions else "")
    base = (
        f"{plan.base.commit} ({plan.base.name})"
        if plan.base and plan.base.name not in plan.base.commit
        else plan.base.commit
        if plan.base
        else ""
    )
    found = {
        "Commit": commit,
        "Compared with" if plan.of_revisions else "Base": base,
        SHARD: shards_words(plan.shards) if plan.shards else "",
        OVERRIDES: ", ".join(plan.options.allowances),
    }
    return {name: value for name, value in found.items() if value}


def comparison_words(plan: Plan) -> str:
    """Return what two revisions a plan compares: ``Comparing 55ddbf4 with main (6a089e6); AWS was not queried``."""
    head = short_commit(plan.git_commit) if plan.git_commit else "the working tree"
    if not plan.base:
        return f"Comparing {head}; AWS was not queried"
    base = short_commit(plan.base.commit)
    if plan.base.name and plan.base.name not in plan.base.commit:
        base = f"{plan.base.name} ({base})"
    return f"Comparing {head} with {base}; AWS was not queried"


SETTINGS = "Settings changed in the project file"
_MAX_SETTINGS = 40
_MAX_VALUE = 120
WIDENS = "widens what an apply may do"


def settings_words(base: Base | None) -> list[tuple[str, bool]]:
    """Return a line for each setting that changed since a plan's base, and whether it widens what an apply may do; those first."""
    if base is None:
        return []
    changes = base.settings
    lines = [(_setting_words(change), change.widens) for change in changes[:_MAX_SETTINGS]]
    if len(changes) > _MAX_SETTINGS:
        lines.append((f"and {plural(len(changes) - _MAX_SETTINGS, 'more setting')}", False))
    if base.guardrails is not None:
        lines.append(("guardrails differ from those of the base; the stricter of both are used", False))
    return lines


def _setting_words(change: SettingChange) -> str:
    before, after = (
        "(not set)" if value is None else shortened(value, _MAX_VALUE) for value in (change.before, change.after)
    )
    return f"{change.path}: {before} -> {after}"


def until_words(step: Step) -> str:
    """Return what a step waits for, as the end of its call's text, or an empty string."""
    until = step.until
    if until is None:
        return ""
    if until.absent:
        return f" until nothing has the {until.member} {until.equals}"
    return f" until {until.member} is {until.equals}"


def live_channels_words(channels: Sequence[LiveChannel | Stream]) -> str:
    """Return how many channels are live and how many viewers they have: ``2 live channels, 1,204 viewers``."""
    known = sum(max(0, channel.viewers) for channel in channels)
    least = "at least " if any(channel.viewers < 0 for channel in channels) else ""
    return f"{plural(len(channels), 'live channel')}, {least}{plural(known, 'viewer')}"


def broadcast_words(channel: LiveChannel) -> str:
    """Return since when a channel is live, and how many viewers it has."""
    health = f", {channel.health.lower()}" if channel.health not in ("HEALTHY", "UNKNOWN") else ""
    return f"live since {sanitize(channel.since)}, {viewers_words(channel.viewers)}{sanitize(health)}"


def viewers_words(viewers: int) -> str:
    """Return a number of viewers, which is negative if it is unknown."""
    return "viewers not counted" if viewers < 0 else plural(viewers, "viewer")


def duration_words(seconds: float) -> str:
    """Return a duration in seconds as ``40 s``, ``17 min`` or ``1 h 20 min``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return (
        f"{minutes} min" if minutes < 60 else f"{minutes // 60:,} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    )


def expected_words(expected: Expected) -> str:
    """Return how long calls take, and which operation limits the rate."""
    calls = f"{expected.calls:,} {expected.operation}"
    return f"about {duration_words(expected.seconds)} at the published rates ({calls} at {expected.pace:.3g}/s)"


def join_words(words: Iterable[str]) -> str:
    """Return words as a list in a sentence."""
    items = list(words)
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1] if items else ""


_MAX_NAMES = 8


def names_words(names: Sequence[str]) -> str:
    """Return names as a list in a sentence, the last ones of many as their number: ``dev, prod and 298 more``."""
    more = len(names) - _MAX_NAMES + 1
    return join_words(names if more <= 1 else (*names[:-more], f"{more:,} more"))


TITLES: Mapping[DriftStatus, str] = {
    DriftStatus.DRIFT: "Drifted",
    DriftStatus.MISSING: "Missing",
    DriftStatus.UNTAGGED: "Without owner tags",
    DriftStatus.DUPLICATE: "Duplicate",
    DriftStatus.PENDING: "Pending",
    DriftStatus.ORPHAN: "Orphaned",
    DriftStatus.KEPT: "Kept",
}
"""Headings, most severe first."""

STATUS_WORDS: Mapping[DriftStatus, str] = {status: title.lower() for status, title in TITLES.items()}
"""The words of counts and of pages, most severe first."""

HEADS: Mapping[DriftStatus, str] = {
    DriftStatus.DRIFT: "has drifted",
    DriftStatus.MISSING: "is missing",
    DriftStatus.UNTAGGED: "has lost its owner tags",
    DriftStatus.PENDING: "has pending changes",
    DriftStatus.DUPLICATE: "has a duplicate",
    DriftStatus.ORPHAN: "is orphaned",
    DriftStatus.KEPT: "has a former resource that is kept",
}
"""The rest of a sentence that begins with the address."""


def headline(*reports: DriftReport) -> str:
    """Return the result of whole reports in a word or two."""
    if any(report.drifted for report in reports):
        return "Drift"
    return "No drift, changes pending" if any(report.pending for report in reports) else "No drift"


_REMEDIES: Mapping[DriftStatus, str] = {
    DriftStatus.DRIFT: "Run apply to restore the values of the spec, or drift --accept ADDRESS to write the live values into the spec.",
    DriftStatus.MISSING: "Run apply to recreate what is missing, or remove it from the spec.",
}


def remedies(reports: Iterable[DriftReport]) -> list[str]:
    """Return how to revert and how to accept the drift of reports, a line for each status that allows both."""
    found = {finding.status for report in reports for finding in report.findings}
    return [line for status, line in _REMEDIES.items() if status in found]


def drift_counts(*reports: DriftReport) -> str:
    """Return the counts of drift reports that are not zero, added up."""
    found = Counter(finding.status for report in reports for finding in report.findings)
    counts = {word: found[status] for status, word in STATUS_WORDS.items()} | {
        "in sync": sum(report.unchanged for report in reports),
        "unmanaged": sum(len(report.unmanaged) for report in reports),
        "ignored": sum(report.ignored_differences for report in reports),
    }
    return nonzero(counts) or "no resources"


def ignored_heading(report: DriftReport) -> str:
    """Return the heading of the differences that ``--ignore`` left out."""
    return f"{plural(report.ignored_differences, 'difference')} ignored (--ignore)"


def ignored_words(one: Ignored) -> str:
    """Return one resource's ignored fields and the status they would have had."""
    return f"{one.address}: {', '.join(path_words(change.path) for change in one.changes)} ({one.status.value})"


def defaults_heading(report: DriftReport) -> str:
    """Return the count of unset fields that have AWS's default value."""
    return f"{plural(report.defaults, 'unset field')} {'uses' if report.defaults == 1 else 'use'} AWS defaults"


def defaults_words(one: AtDefault) -> str:
    """Return one resource's unset fields with AWS's default values."""
    return f"{one.address}: {', '.join(f'{name} {show_value(value)}' for name, value in one.fields.items())}"


def call_words(call: AttributedCall) -> str:
    """Return who made a call, when, and which."""
    return f"{call.who} at {call.at}: {call.operation} with {call.source}, event {call.event}"


def blame_words(finding: Finding) -> tuple[str, ...]:
    """Return a line for each attributed call and one for the remark; empty without ``--blame``."""
    if finding.blame is None:
        return ()
    lines = [f"by {call_words(call)}" for call in finding.blame.calls]
    return (*lines, finding.blame.remark) if finding.blame.remark else tuple(lines)


def in_time_order(finding: Finding) -> tuple[FieldChange, ...]:
    """Return the changes with the older value first: from spec to live for drift, from live to spec for pending changes."""
    return spec_first(finding) if finding.status is DriftStatus.DRIFT else finding.changes


def spec_first(finding: Finding) -> tuple[FieldChange, ...]:
    """Return the changes with the value of the spec as the first side, and the live value as the second."""
    return tuple(
        change._replace(
            before=change.after,
            after=change.before,
            absent_before=change.absent_after,
            absent_after=change.absent_before,
        )
        for change in finding.changes
    )


KEY_KINDS = frozenset(kind.name for kind in KINDS.values() if kind.credential)
"""The kinds that are credentials: with them one can broadcast, or admit viewers."""


class Notice(StrEnum):
    """Why an action is listed first, most severe first. The value is the heading."""

    DELETED = "To delete"
    REPLACED = "To replace"
    BLOCKED = "Blocked"
    KEYS = "Stream keys and key pairs"


class Notable(NamedTuple):
    """One group. ``also`` counts actions that belong here too but are listed in an earlier group."""

    notice: Notice
    actions: tuple[Action, ...]
    also: int = 0

    @property
    def title(self) -> str:
        """The heading with its counts."""
        if not self.actions:
            return f"{self.notice.value}: {self.also:,}, listed above"
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
    return Notice.KEYS if action.address.kind in KEY_KINDS else None


def notable_changes(target: TargetPlan) -> tuple[Notable, ...]:
    """Return the groups that are not empty, most severe first."""
    by_notice: dict[Notice, list[Action]] = {notice: [] for notice in Notice}
    also = 0
    for action in target.actions:
        notice = notice_of(action)
        if notice is not None:
            by_notice[notice].append(action)
            also += notice is not Notice.KEYS and action.address.kind in KEY_KINDS
    groups = (
        Notable(notice, tuple(actions), also if notice is Notice.KEYS else 0) for notice, actions in by_notice.items()
    )
    return tuple(group for group in groups if group.actions or group.also)


BLOCKED = "blocked"
VERBS = (*(verb.value for verb in Verb), BLOCKED)
"""What an action is counted as."""


def counted_as(action: Action) -> str:
    """Return which of ``VERBS`` an action is counted as: its own, unless it is blocked."""
    return BLOCKED if action.blocked else action.verb.value


def count_by_kind(target: TargetPlan) -> Mapping[KindName, Counter[str]]:
    """Return, for each kind that has actions, how many there are of each of ``VERBS``; kinds in the order of creation."""
    counts: dict[KindName, Counter[str]] = {kind: Counter() for kind in KINDS}
    for action in target.actions:
        counts[action.address.kind][counted_as(action)] += 1
    return {kind: verbs for kind, verbs in counts.items() if verbs}


def time_tag(at: float) -> str:
    """Return a time, in seconds since the epoch, as ``2026-05-04 10:20:30 UTC``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def seconds(text: str) -> float:
    """Return the time that AWS wrote as seconds since the epoch, or 0 for what is no time."""
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        return 0.0


def duration(seconds: float) -> str:
    """Return a duration in its largest unit: ``3 hours``."""
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "min")):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} min" if unit == "min" else plural(number, unit)
    return f"{int(max(0, seconds))} s"
