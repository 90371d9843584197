"""Plans, results and drift reports as text for a terminal or a log; coloured when asked.

Identical creates, updates and adoptions are folded into one block with a count, and tags that everything created shares are shown once.
A delete or a replacement is never folded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from reconciler.drift import DriftStatus
from reconciler.model.kinds import KINDS
from reconciler.model.kinds.ivs import STOP_STREAM
from reconciler.model.resource import UnmanagedResource
from reconciler.model.target import Shards
from reconciler.plan.plan import Action, ApplyResult, Base, Outcome, Plan, Result, Step, TargetPlan, Verb
from reconciler.report.actions import (
    FOLD_FROM,
    ShownAction,
    ShownChange,
    created_words,
    fold_findings,
    group_title,
    members_line,
    own_id_hidden,
    path_words,
    show_value,
    shown_actions,
    shown_changes,
    unmanaged_words,
)
from reconciler.report.words import (
    HEADS,
    OVERRIDES,
    OVERVIEW_FROM,
    SETTINGS,
    WIDENS,
    OverviewRow,
    apply_state,
    blame_words,
    broadcast_words,
    comparison_words,
    defaults_heading,
    defaults_words,
    drift_counts,
    drift_states,
    headline,
    ignored_heading,
    ignored_words,
    in_sync_words,
    live_channels_words,
    outcome_words,
    overview_words,
    plan_states,
    plural,
    remedies,
    resources_words,
    settings_words,
    shards_line,
    summary_words,
    until_words,
)
from reconciler.terminal import sanitize, shortened

if TYPE_CHECKING:
    from reconciler.drift.report import DriftReport, Finding

Paint = Callable[[str, str], str]
"""Colours text by the name of a tone: ``good``, ``change``, ``bad``, ``note``, ``dim``, ``bold``."""

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
    Result.SKIPPED: "change",
    Result.BLOCKED: "note",
}
_LIST_LIMIT = 20
_MEMBERS_SHOWN = 6
_MAX_VALUE = 200


def plain(text: str, tone: str) -> str:
    """Return the text as it is."""
    del tone
    return text


def ansi(text: str, tone: str) -> str:
    """Return the text in a terminal's colours."""
    return f"\x1b[{_CODES[tone]}m{text}\x1b[0m"


def render_plan(plan: Plan, *, paint: Paint = plain, calls: bool = False) -> str:
    """Return the whole plan. ``calls`` shows each action by itself, with its AWS calls."""
    targets = [
        render_target(target, paint=paint, calls=calls, of_revisions=plan.of_revisions) for target in plan.targets
    ]
    if plan.options.allowances:
        targets.append(f"{OVERRIDES}: {paint(', '.join(plan.options.allowances), 'change')}\n")
    head = [paint(sanitize(comparison_words(plan)), "dim") + "\n"] if plan.of_revisions else []
    if plan.shards:
        head.append(shards_line(plan.shards, len(plan.targets) + len(plan.failed)) + "\n")
    overview = render_states(plan_states(plan), paint=paint, always=bool(plan.failed))
    return "\n".join(filter(None, (*head, overview, *_settings(plan.base, paint), *targets)))


def render_drifts(
    reports: Sequence[DriftReport],
    failed: Mapping[str, str],
    *,
    shards: Shards | None = None,
    paint: Paint = plain,
    verbose: bool = False,
) -> str:
    """Return the drift reports of all targets. ``failed`` are those that could not be read, and why; ``shards`` those that the targets are of."""
    each = [render_drift(report, paint=paint, verbose=verbose) for report in reports]
    head = [shards_line(shards, len(reports) + len(failed)) + "\n"] if shards else []
    end = "".join(f"{line}\n" for line in remedies(reports))
    overview = render_states(drift_states(reports, failed), paint=paint, always=bool(failed))
    return "\n".join(filter(None, (*head, overview, *each, end)))


_STATE_TONES = {
    "applied": "good",
    "in sync": "good",
    "unchanged": "good",
    "with changes": "change",
    "pending": "change",
    "with drift": "bad",
    "incomplete": "change",
    "interrupted": "bad",
    "failed": "bad",
}


def render_states(states: Sequence[OverviewRow], *, paint: Paint = plain, always: bool = False) -> str:
    """Return all targets at a glance, a line each; empty for a few targets, unless ``always``."""
    if len(states) < OVERVIEW_FROM and not always:
        return ""
    widths = [max(len(one[column]) for one in states) for column in range(4)]
    lines = [paint(f"{overview_words(states)}.", "bold"), ""]
    for one in states:
        name, account, region, state = (text.ljust(width) for text, width in zip(one[:4], widths, strict=True))
        state = paint(state, _STATE_TONES[one.state])
        lines.append(f"  {sanitize(name)}  {account}  {region}  {state}  {sanitize(one.details)}".rstrip())
    return "\n".join(lines) + "\n"


def _settings(base: Base | None, paint: Paint) -> list[str]:
    lines = [
        paint(f"  ! {sanitize(text)} ({WIDENS})", "bad") if widens else f"    {sanitize(text)}"
        for text, widens in settings_words(base)
    ]
    return ["\n".join((paint(f"{SETTINGS}:", "bold"), *lines)) + "\n"] if lines else []


def render_target(target: TargetPlan, *, paint: Paint = plain, calls: bool = False, of_revisions: bool = False) -> str:
    """Return the plan of one account and region, or the comparison of two revisions for it."""
    account = f"account {target.account_id}, " if target.account_id else ""
    lines = [paint(f"{target.name}: {account}region {target.region}", "bold")]
    shown, shared = shown_actions(target.actions, each=calls)
    for one in shown:
        lines += ["", *_action(one, paint, calls=calls)]
    if shared:
        tags = ", ".join(f"{sanitize(path_words(path))} {show_value(value)}" for path, value in shared.items())
        lines += ["", f"  on {created_words(target.actions)}: {tags}"]
    lines += _live_channels(target, paint)
    lines += _orphans(target, paint)
    lines += _duplicates(target, paint)
    lines += _kept(target, paint)
    lines += ["", *(f"  note: {sanitize(note)}" for note in target.notes)] if target.notes else []
    if calls:
        lines += unmanaged_lines(target.unmanaged, paint, limit=len(target.unmanaged))
    if calls and target.not_read:
        lines += ["", f"  not read: {', '.join(KINDS[kind].titles for kind in target.not_read)} (none in the spec)"]
    lines.append("")
    name, counts = sanitize(target.name), in_sync_words(target)
    if target.actions:
        title = paint("Comparison" if of_revisions else "Plan", "bold")
        lines.append(f"{title} for {name}: {summary_words(target.summary)}.")
    elif of_revisions:
        lines.append(f"{paint('No changes', 'good')} in {name} ({counts}).")
    else:
        lines.append(f"{paint('No changes.', 'good')} {name} is in sync ({counts}).")
    return "\n".join(lines) + "\n"


def render_result(result: ApplyResult, *, paint: Paint = plain) -> str:
    """Return the counts of an apply's outcomes, and each that is not done, with AWS's message."""
    lines: list[str] = []
    for message, outcomes in _by_message(result).items():
        if len(outcomes) > 1:
            skipped = f"{plural(len(outcomes), 'action')} {outcomes[0].result.value}"
            lines.append(f"  {paint(skipped, _RESULTS[outcomes[0].result])} ({sanitize(message)})")
        else:
            lines += _outcome(outcomes[0], paint)
    state = apply_state(result)
    head = paint(f"Apply {state}", {"complete": "good", "incomplete": "change"}.get(state, "bad"))
    lines.append(
        f"{head} for {result.name}: {outcome_words(result.outcomes)} ({plural(result.calls, 'call')}, {result.seconds:.1f} s)."
    )
    if not result.complete:
        lines.append("Run plan to see what is left.")
    return "\n".join(lines) + "\n"


def _by_message(result: ApplyResult) -> dict[str, list[Outcome]]:
    """Return the outcomes that are not done; skipped ones with the same message together, many blocked ones too, any other by itself."""
    groups: dict[str, list[Outcome]] = {}
    blocked = Counter(outcome.message for outcome in result.outcomes if outcome.result is Result.BLOCKED)
    for outcome in result.outcomes:
        if outcome.result is Result.SKIPPED or (
            outcome.result is Result.BLOCKED and blocked[outcome.message] >= FOLD_FROM
        ):
            groups.setdefault(outcome.message, []).append(outcome)
        elif outcome.result is not Result.DONE:
            groups[f"{outcome.verb.value} {outcome.address}"] = [outcome]
    return groups


def _action(shown: ShownAction, paint: Paint, *, calls: bool) -> Iterable[str]:
    """Return the block of one action, or of several identical ones."""
    action, *others = shown.actions
    yield f"  {paint(f'{shown.symbol:>3}', _TONES[action.verb])} {paint(sanitize(shown.title), 'bold')} {shown.will}"
    if others:
        yield f"        {_members(shown.actions, paint)}"
    elif action.explanation:
        yield f"        {paint(sanitize(action.explanation), 'dim')}"
    if action.arn and not others and action.arn not in action.explanation:
        yield f"        {paint(sanitize(action.arn), 'dim')}"
    if action.blocked:
        yield f"        {paint('blocked', 'bad')} ({action.blocked.code}): {sanitize(action.blocked.message)}"
    for warning in action.warnings:
        yield f"        {paint('warning', 'bad')}: {sanitize(warning)}"
    width = max((len(change.name) for change in shown.changes), default=0)
    for change in shown.changes:
        yield _change(change, width, paint)
    # A broadcast is ended only with each of its calls in view.
    if calls or any(step.operation == STOP_STREAM for step in action.steps):
        for step in action.steps:
            yield f"        {paint('call', 'dim')} {_call(step)}"


def _members(group: Sequence[Action | Finding], paint: Paint) -> str:
    more = " (-v lists them)" if len(group) > _MEMBERS_SHOWN else ""
    return paint(sanitize(members_line([one.address for one in group], limit=_MEMBERS_SHOWN)) + more, "dim")


def _change(change: ShownChange, width: int, paint: Paint) -> str:
    name = change.name.ljust(width)
    if change.before is None:
        return f"        {paint('+', 'good')} {name}  {change.after}"
    if change.after is None:
        return f"        {paint('-', 'bad')} {name}  {change.before}"
    if change.gained or change.lost:
        return f"        {paint('~', 'change')} {name}  {_gained_and_lost(change.gained, change.lost, paint)}"
    return f"        {paint('~', 'change')} {name}  {change.before} -> {change.after}"


def _gained_and_lost(gained: Iterable[str], lost: Iterable[str], paint: Paint) -> str:
    return " ".join(
        (*(paint(f"+{member}", "good") for member in gained), *(paint(f"-{member}", "bad") for member in lost))
    )


def _call(step: Step) -> str:
    shown = ", ".join(
        f"{sanitize(key)}: {shortened(show_value(value), _MAX_VALUE)}" for key, value in step.parameters.items()
    )
    return f"{step.operation}({shown}){sanitize(until_words(step))}"


def _live_channels(target: TargetPlan, paint: Paint) -> list[str]:
    if not target.live_channels:
        return []
    lines = ["", f"  {paint(live_channels_words(target.live_channels), 'bad')}:"]
    lines += [
        f"      {sanitize(str(channel.address))}  {broadcast_words(channel)}"
        for channel in target.live_channels[:_LIST_LIMIT]
    ]
    return lines + more_lines(len(target.live_channels))


def _orphans(target: TargetPlan, paint: Paint) -> list[str]:
    if not target.orphans:
        return []
    are = "is" if len(target.orphans) == 1 else "are"
    head = f"{plural(len(target.orphans), 'orphaned resource')} {are} kept because prune is disabled"
    lines = ["", f"  {head} (--prune, or prune: true on the target):"]
    for orphan in target.orphans[:_LIST_LIMIT]:
        arn = f"  {paint(sanitize(orphan.arn), 'dim')}" if orphan.arn else ""
        lines.append(f"      {sanitize(str(orphan.address))}{arn}{'  (protected)' if orphan.protected else ''}")
    return lines + more_lines(len(target.orphans))


def more_lines(count: int, limit: int = _LIST_LIMIT) -> list[str]:
    """Return the line at the end of a list that was cut at a limit; none if it was not."""
    return [f"      … and {count - limit:,} more"] if count > limit else []


def _duplicates(target: TargetPlan, paint: Paint) -> list[str]:
    lines: list[str] = []
    for duplicate in target.duplicates:
        lines += [
            "",
            f"  {paint('duplicate', 'bad')} {sanitize(str(duplicate.address))}: {plural(len(duplicate.others) + 1, 'live resource')} claim it",
        ]
        lines.append(f"      kept   {sanitize(duplicate.kept)}")
        lines += [f"      other  {sanitize(arn)}" for arn in duplicate.others]
    return lines


def _kept(target: TargetPlan, paint: Paint) -> list[str]:
    lines: list[str] = []
    for kept in target.kept:
        lines += [
            "",
            f"  {paint('kept', 'note')} {sanitize(str(kept.address))}: {sanitize(kept.usage)}",
            f"      {sanitize(kept.arn)}, replaced by {sanitize(kept.replaced_by)}",
            *(f"      used by {unmanaged_words(one)}  {paint(sanitize(one.arn), 'dim')}" for one in kept.users),
            *more_lines(kept.used_by, len(kept.users)),
        ]
    return lines


def _outcome(outcome: Outcome, paint: Paint) -> Iterable[str]:
    request = f" (request {outcome.request_id})" if outcome.request_id else ""
    message = sanitize(f"{outcome.verb.value} {outcome.address}: {outcome.message}{request}")
    yield f"  {paint(outcome.result.value, _RESULTS[outcome.result])}  {message}"


_FINDING_TONES: Mapping[DriftStatus, str] = {
    DriftStatus.DRIFT: "bad",
    DriftStatus.MISSING: "bad",
    DriftStatus.UNTAGGED: "bad",
    DriftStatus.PENDING: "change",
    DriftStatus.DUPLICATE: "note",
    DriftStatus.ORPHAN: "note",
    DriftStatus.KEPT: "note",
}


def render_drift(report: DriftReport, *, paint: Paint = plain, verbose: bool = False) -> str:
    """Return the drift report of one target. ``verbose`` shows each finding by itself."""
    lines = [paint(sanitize(f"{report.name}: account {report.account_id}, region {report.region}"), "bold")]
    for status in _FINDING_TONES:
        found = report.of(status)
        for group in [(finding,) for finding in found] if verbose else fold_findings(found):
            lines += ["", *_findings(group, paint)]
    lines += unmanaged_lines(report.unmanaged, paint)
    lines += _left_out(report, paint)
    lines += ["", *(f"  note: {sanitize(note)}" for note in report.notes)] if report.notes else []
    lines += ["", _last_line(report, paint)]
    return "\n".join(lines) + "\n"


def _findings(group: tuple[Finding, ...], paint: Paint) -> Iterable[str]:
    """Return the block of one finding, or of several identical ones."""
    finding = group[0]
    addresses = [one.address for one in group]
    name = sanitize(str(finding.address)) if len(group) == 1 else group_title(addresses)
    head = HEADS[finding.status]
    if len(group) > 1:
        head = head.replace("has ", "have ", 1).replace("is ", "are ", 1).replace(" its ", " their ")
    yield f"  {paint(name, 'bold')} {paint(head, _FINDING_TONES[finding.status])}"
    changes = finding.changes
    if len(group) > 1:
        changes = own_id_hidden(changes, finding.address)
        yield f"      {_members(group, paint)}"
    elif finding.explanation:
        yield f"      {paint(sanitize(finding.explanation), 'dim')}"
    if finding.arn and len(group) == 1:
        yield f"      {paint(sanitize(finding.arn), 'dim')}"
    for line in blame_words(finding):
        yield f"      {sanitize(line)}"
    if finding.has_two_sides:
        shown = shown_changes(changes)
        width = max((len(change.name) for change in shown), default=0)
        for change in shown:
            yield _finding_change(change, width, drifted=finding.status is DriftStatus.DRIFT, paint=paint)


def _finding_change(change: ShownChange, width: int, *, drifted: bool, paint: Paint) -> str:
    """Return one changed field: expected and actual for drift, before and after for a pending change."""
    name = change.name.ljust(width)
    live, spec = change.before or "(absent)", change.after or "(absent)"
    if change.gained or change.lost:
        shown = [f"{paint('missing', 'note')} {member}" for member in change.gained]
        shown += [f"{paint('unexpected', 'change')} {member}" for member in change.lost]
        words = ", ".join(shown) if drifted else _gained_and_lost(change.gained, change.lost, paint)
        return f"      {paint('~', 'change')} {name}  {words}"
    if drifted:
        return f"      {paint('~', 'change')} {name}  expected {spec}, actual {live}"
    return f"      {paint('~', 'change')} {name}  {live} -> {spec}"


def unmanaged_lines(resources: Sequence[UnmanagedResource], paint: Paint, *, limit: int = _LIST_LIMIT) -> list[str]:
    """Return a line for each resource that is not this stack's, with its owner, up to a limit."""
    if not resources:
        return []
    return [
        "",
        f"  {plural(len(resources), 'unmanaged resource')}, not changed:",
        *(f"      {unmanaged_words(one)}  {paint(sanitize(one.arn), 'dim')}" for one in resources[:limit]),
        *more_lines(len(resources), limit),
    ]


def _left_out(report: DriftReport, paint: Paint) -> list[str]:
    """Return what is only counted: ignored differences and unset fields, one by one where the report has them."""
    lines: list[str] = []
    if report.ignored:
        lines += [
            "",
            f"  {ignored_heading(report)}:",
            *(f"      {sanitize(ignored_words(one))}" for one in report.ignored),
        ]
    if report.default_fields:
        lines += [
            "",
            f"  {defaults_heading(report)}:",
            *(f"      {paint(sanitize(defaults_words(one)), 'dim')}" for one in report.default_fields),
        ]
    elif report.defaults:
        lines += ["", f"  {defaults_heading(report)} (-v lists them)"]
    return lines


def _last_line(report: DriftReport, paint: Paint) -> str:
    tone = "bad" if report.drifted else "change" if report.pending else "good"
    name = sanitize(report.name)
    if report.findings or report.ignored:
        return f"{paint(headline(report), tone)} in {name}: {drift_counts(report)}."
    counts = resources_words(report.unchanged, unmanaged=len(report.unmanaged))
    return f"{paint('No drift.', tone)} {name} is in sync ({counts})."
