"""Plan and result as text for a terminal or a log.

Comes in: a plan, a target's plan, or the result of an apply. Goes out: text, coloured when asked.
A destructive line is never folded away, and every action says why it is there.

The drift report as text: what changed outside, in the tense of things that have happened; what waits to be applied; what is not ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from reconciler.diff import FieldChange
from reconciler.drift.report import DriftReport, Finding, Standing
from reconciler.plan.live_channels import STOP
from reconciler.plan.plan import Action, ApplyResult, Outcome, Plan, Result, Step, TargetPlan, Verb
from reconciler.report.words import (
    blame_words,
    broadcast_words,
    defaults_head,
    defaults_words,
    ignored_head,
    ignored_words,
    is_own_record,
    left_out,
    members,
    on_air_words,
    origin_of,
    path_words,
    plural,
    show_text,
    show_value,
    summary_words,
    symbol,
    until_words,
    will,
)
from reconciler.terminal import harmless

Paint = Callable[[str, str], str]
"""Takes text and the name of a tone (``good``, ``change``, ``bad``, ``note``, ``dim``, ``bold``), gives text."""

_CODES: Mapping[str, str] = {"good": "32", "change": "33", "bad": "31", "note": "35", "dim": "2", "bold": "1"}
_TONES: Mapping[Verb, str] = {
    Verb.CREATE: "good",
    Verb.UPDATE: "change",
    Verb.REPLACE: "bad",
    Verb.DELETE: "bad",
    Verb.ADOPT: "note",
    Verb.FORGET: "note",
}
_RESULTS: Mapping[Result, str] = {
    Result.DONE: "good",
    Result.FAILED: "bad",
    Result.NOT_ATTEMPTED: "change",
    Result.BLOCKED: "note",
}
_LIST_LIMIT = 20


def plain(text: str, tone: str) -> str:
    """Return the text as it is."""
    del tone
    return text


def ansi(text: str, tone: str) -> str:
    """Return the text in a terminal's colours."""
    return f"\x1b[{_CODES[tone]}m{text}\x1b[0m"


def render_plan(plan: Plan, *, paint: Paint = plain, calls: bool = False) -> str:
    """Return the whole plan. ``calls`` shows the AWS calls of every action too."""
    targets = [render_target(target, paint=paint, calls=calls) for target in plan.targets]
    if not plan.of_revisions:
        return "\n".join(targets)
    origin = ", ".join(f"{name[0].lower()}{name[1:]} {harmless(value)}" for name, value in origin_of(plan).items())
    return "\n".join((paint(f"Difference of two revisions: {origin}; no account was asked", "dim") + "\n", *targets))


def render_target(target: TargetPlan, *, paint: Paint = plain, calls: bool = False) -> str:
    """Return the plan of one account and region."""
    account = f"account {target.account_id}, " if target.account_id else ""
    lines = [paint(f"{target.name}: {account}region {target.region}", "bold")]
    for action in target.actions:
        lines += ["", *_action(action, paint, calls=calls)]
    lines += _on_air(target, paint)
    lines += _orphans(target, paint)
    lines += _duplicates(target, paint)
    lines += ["", *(f"  note: {harmless(note)}" for note in target.notes)] if target.notes else []
    lines.append("")
    if target.is_empty:
        counts = f"{plural(target.summary.unchanged, 'resource')} as the spec wants, {target.summary.foreign:,} foreign"
        if target.summary.orphaned:
            counts += f", {plural(target.summary.orphaned, 'orphan')}"
        lines.append(f"{paint('No changes', 'good')} for {target.name}: {counts}.")
    else:
        lines.append(f"{paint('Plan', 'bold')} for {target.name}: {summary_words(target.summary)}.")
    return "\n".join(lines) + "\n"


def render_result(result: ApplyResult, *, paint: Paint = plain) -> str:
    """Return what became of every action: counts first, then everything that is not done, with AWS's own words."""
    counts = {wanted: sum(1 for outcome in result.outcomes if outcome.result is wanted) for wanted in Result}
    lines: list[str] = []
    for outcome in result.outcomes:
        if outcome.result is not Result.DONE:
            lines += _outcome(outcome, paint)
    head = paint("Apply complete", "good") if result.complete else paint("Apply incomplete", "bad")
    if result.interrupted:
        head = paint("Apply stopped on request", "bad")
    words = ", ".join(f"{count:,} {wanted.value}" for wanted, count in counts.items() if count or wanted is Result.DONE)
    lines.append(f"{head} for {result.name}: {words} ({plural(result.calls, 'call')}, {result.seconds:.1f} s).")
    if not result.complete:
        lines.append("Plan again to see what is left; what is done stays done.")
    return "\n".join(lines) + "\n"


def _action(action: Action, paint: Paint, *, calls: bool) -> Iterable[str]:
    tone = _TONES[action.verb]
    yield f"  {paint(f'{symbol(action):>3}', tone)} {paint(harmless(str(action.address)), 'bold')} {will(action)}"
    yield f"        {paint(harmless(action.explanation), 'dim')}"
    if action.arn:
        yield f"        {paint(harmless(action.arn), 'dim')}"
    if action.blocked:
        yield f"        {paint('blocked', 'bad')} ({action.blocked.code}): {harmless(action.blocked.message)}"
    for warning in action.warnings:
        yield f"        {paint('warning', 'bad')}: {harmless(warning)}"
    shown = [change for change in action.changes if not is_own_record(change)]
    width = max((len(harmless(path_words(change.path))) for change in shown), default=0)
    for change in shown:
        yield from _change(change, width, paint)
    # Whoever lets a broadcast be ended sees each call of it.
    if calls or any(step.operation == STOP for step in action.steps):
        for step in action.steps:
            yield f"        {paint('call', 'dim')} {_call(step)}"


def _change(change: FieldChange, width: int, paint: Paint) -> Iterable[str]:
    name = harmless(path_words(change.path)).ljust(width)
    if change.absent_before:
        yield f"        {paint('+', 'good')} {name}  {show_value(change.after)}"
    elif change.absent_after:
        yield f"        {paint('-', 'bad')} {name}  {show_value(change.before)}"
    elif (sets := members(change)) is not None:
        gained, lost = sets
        words = [paint(f"+{show_text(member)}", "good") for member in gained] + [
            paint(f"-{show_text(member)}", "bad") for member in lost
        ]
        yield f"        {paint('~', 'change')} {name}  {' '.join(words)}"
    else:
        yield f"        {paint('~', 'change')} {name}  {show_value(change.before)} -> {show_value(change.after)}"


def _call(step: Step) -> str:
    shown = ", ".join(f"{harmless(key)}: {_short(show_value(value))}" for key, value in step.parameters.items())
    return f"{step.operation}({shown}){harmless(until_words(step))}"


def _short(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _on_air(target: TargetPlan, paint: Paint) -> list[str]:
    if not target.on_air:
        return []
    lines = ["", f"  {paint('on air', 'bad')}: {on_air_words(target.on_air)}"]
    lines += [
        f"      {harmless(str(channel.address))}  {broadcast_words(channel)}" for channel in target.on_air[:_LIST_LIMIT]
    ]
    if len(target.on_air) > _LIST_LIMIT:
        lines.append(f"      … and {len(target.on_air) - _LIST_LIMIT:,} more")
    return lines


def _orphans(target: TargetPlan, paint: Paint) -> list[str]:
    if not target.orphans:
        return []
    stay = "stays" if len(target.orphans) == 1 else "stay"
    head = (
        f"  {plural(len(target.orphans), 'managed resource')} left the spec and {stay}, because prune was not granted"
    )
    lines = ["", f"{head} (--prune, or prune: true on the target):"]
    for orphan in target.orphans[:_LIST_LIMIT]:
        arn = f"  {paint(harmless(orphan.arn), 'dim')}" if orphan.arn else ""
        lines.append(f"      {harmless(str(orphan.address))}{arn}{'  (protected)' if orphan.protected else ''}")
    if len(target.orphans) > _LIST_LIMIT:
        lines.append(f"      … and {len(target.orphans) - _LIST_LIMIT:,} more")
    return lines


def _duplicates(target: TargetPlan, paint: Paint) -> list[str]:
    lines: list[str] = []
    for duplicate in target.duplicates:
        lines += [
            "",
            f"  {paint('duplicate', 'bad')} {harmless(str(duplicate.address))}: {plural(len(duplicate.others) + 1, 'live resource')} claim it",
        ]
        lines.append(f"      kept   {harmless(duplicate.kept)}")
        lines += [f"      other  {harmless(arn)}" for arn in duplicate.others]
    return lines


def _outcome(outcome: Outcome, paint: Paint) -> Iterable[str]:
    request = f" (request {outcome.request_id})" if outcome.request_id else ""
    said = harmless(f"{outcome.verb.value} {outcome.address}: {outcome.message}{request}")
    yield f"  {paint(outcome.result.value, _RESULTS[outcome.result])}  {said}"


_FOREIGN_LIMIT = 20
_HEADS = {
    Standing.DRIFT: ("has changed", "bad"),
    Standing.MISSING: ("is missing", "bad"),
    Standing.PENDING: ("waits to be applied", "change"),
    Standing.DUPLICATE: ("has a duplicate", "note"),
    Standing.ORPHAN: ("left the spec", "note"),
}


def render_drift(report: DriftReport, *, paint: Paint = plain) -> str:
    """Return the report of one target."""
    lines = [paint(harmless(f"{report.name}: account {report.account_id}, region {report.region}"), "bold")]
    for standing in _HEADS:
        for finding in report.of(standing):
            lines += ["", *_finding(finding, paint)]
    lines += _foreign(report, paint)
    lines += _left_out(report, paint)
    lines += ["", *(f"  note: {harmless(note)}" for note in report.notes)] if report.notes else []
    lines += ["", _last_line(report, paint)]
    return "\n".join(lines) + "\n"


def _finding(finding: Finding, paint: Paint) -> Iterable[str]:
    head, tone = _HEADS[finding.standing]
    yield f"  {paint(harmless(str(finding.address)), 'bold')} {paint(head, tone)}"
    yield f"      {paint(harmless(finding.explanation), 'dim')}"
    if finding.arn:
        yield f"      {paint(harmless(finding.arn), 'dim')}"
    for line in blame_words(finding):
        yield f"      {harmless(line)}"
    if finding.standing in (Standing.DRIFT, Standing.PENDING) and finding.arn:
        shown = [change for change in finding.changes if not is_own_record(change)]
        width = max((len(path_words(change.path)) for change in shown), default=0)
        for change in shown:
            yield _drift_text_change(change, width, outside=finding.standing is Standing.DRIFT, paint=paint)


def _drift_text_change(change: FieldChange, width: int, *, outside: bool, paint: Paint) -> str:
    """Say a change as it happened: for drift from the spec to what is live, for pending changes from what is live to the spec."""
    name = harmless(path_words(change.path)).ljust(width)
    live = "(absent)" if change.absent_before else show_value(change.before)
    spec = "(absent)" if change.absent_after else show_value(change.after)
    sets = members(change)
    if sets is not None and not change.absent_before and not change.absent_after:
        gained, lost = (sets[1], sets[0]) if outside else sets
        words = [paint(f"+{show_text(member)}", "good") for member in gained] + [
            paint(f"-{show_text(member)}", "bad") for member in lost
        ]
        return f"      {paint('~', 'change')} {name}  {' '.join(words)}"
    if outside:
        return f"      {paint('~', 'change')} {name}  the spec says {spec}, the account has {live}"
    return f"      {paint('~', 'change')} {name}  {live} -> {spec}"


def _foreign(report: DriftReport, paint: Paint) -> list[str]:
    if not report.foreign:
        return []
    lines = ["", f"  {plural(len(report.foreign), 'foreign resource')}, left alone:"]
    for foreign in report.foreign[:_FOREIGN_LIMIT]:
        owner = f"of stack {show_text(foreign.owner)}" if foreign.owner else "of no stack"
        name = f" {show_text(foreign.name)}" if foreign.name else ""
        lines.append(f"      {foreign.kind.value}{name}, {owner}  {paint(harmless(foreign.arn), 'dim')}")
    if len(report.foreign) > _FOREIGN_LIMIT:
        lines.append(f"      … and {len(report.foreign) - _FOREIGN_LIMIT:,} more")
    return lines


def _left_out(report: DriftReport, paint: Paint) -> list[str]:
    """Return what is only counted: what the caller asked to ignore, and what is at the service's default, one by one where that was asked for."""
    lines: list[str] = []
    if report.ignored:
        lines += [
            "",
            f"  {ignored_head(report)}:",
            *(f"      {harmless(ignored_words(one))}" for one in report.ignored),
        ]
    if report.default_fields:
        lines += [
            "",
            f"  {defaults_head(report)}:",
            *(f"      {paint(harmless(defaults_words(one)), 'dim')}" for one in report.default_fields),
        ]
    elif report.defaults:
        lines += ["", f"  {defaults_head(report)} (-v names them)"]
    return lines


def _last_line(report: DriftReport, paint: Paint) -> str:
    counts = {standing: len(report.of(standing)) for standing in _HEADS}
    words = ", ".join(
        (
            f"{counts[Standing.DRIFT]:,} changed outside",
            f"{counts[Standing.MISSING]:,} missing",
            f"{counts[Standing.PENDING]:,} pending",
            f"{counts[Standing.ORPHAN]:,} orphaned",
            f"{counts[Standing.DUPLICATE]:,} duplicate",
            f"{report.unchanged:,} as the spec wants",
            f"{len(report.foreign):,} foreign",
        )
    ) + left_out(report)
    if report.drifted:
        head = paint("Drift", "bad")
    elif report.pending:
        head = paint("No drift, but changes wait to be applied", "change")
    else:
        head = paint("No drift", "good")
    return f"{head} for {harmless(report.name)}: {words}."
