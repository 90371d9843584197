"""Plan and result as one self-contained page: for a phone or a desk, light or dark, with nothing fetched from anywhere.

Comes in: a plan, or the result of an apply. Goes out: HTML.
Counts first, then what a reviewer must see, the dependency graph, and one folded part for each resource, with filter and search where scripts run.
All text that is not ours goes through ``html_parts.safe``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from reconciler.model.address import Address
from reconciler.model.kinds import KINDS
from reconciler.plan.actions import Action, ApplyResult, Outcome, Plan, Result, TargetPlan, Verb
from reconciler.report.html_graph import picture
from reconciler.report.html_page import page
from reconciler.report.html_parts import address, calls, changes, css_name, facts, paths, safe, share, tiles, tools
from reconciler.report.notable import Notice, notables, tally
from reconciler.report.words import broadcast_words, on_air_words, origin_of, plural, symbol, title_of, will

BLOCKED = "blocked"
_NOTICE_CLASSES: Mapping[Notice, str] = {
    Notice.DELETED: "delete",
    Notice.REPLACED: "replace",
    Notice.BLOCKED: BLOCKED,
    Notice.KEYS: "update",
}
_LIST_LIMIT = 200
_UNFOLDED = 12
"""A plan of up to so many actions is shown with everything open."""


def render_plan(plan: Plan, *, extra: Mapping[str, str] | None = None) -> str:
    """Return the page of a plan. ``extra`` gives further facts for the top, name and value, such as fingerprint or base commit."""
    known = {**origin_of(plan), "Spec": plan.spec_digest, "Made": plan.created_at, **(extra or {})}
    options = {
        "Prune": "granted" if plan.options.prune else "",
        "Adopt": "granted" if plan.options.adopt else "",
        "Only": ", ".join(plan.options.only),
        "Without": ", ".join(plan.options.exclude),
        "May be stopped on air": ", ".join(plan.options.stop_live),
    }
    parts = [
        f"<header><h1><small>{title_of(plan)}</small>{safe(plan.stack)}</h1>{facts({**known, **options})}</header>"
    ]
    parts += [_overview(target, at) for at, target in enumerate(plan.targets)]
    verbs = Counter(_sort(action) for target in plan.targets for action in target.actions)
    if verbs:
        kinds = Counter(action.kind for target in plan.targets for action in target.actions)
        parts.append(tools({name: verbs[name] for name in (*Verb, BLOCKED)}, {kind: kinds[kind] for kind in KINDS}))
    for at, target in enumerate(plan.targets):
        if target.actions and len(plan.targets) > 1:
            parts.append(f"<h2>{safe(target.name)}</h2>")
        parts += [
            _action(action, f"t{at}-{index}", unfolded=verbs.total() <= _UNFOLDED)
            for index, action in enumerate(target.actions)
        ]
    return page(f"{title_of(plan)} for {plan.stack}", "\n".join(parts))


def render_result(result: ApplyResult, *, extra: Mapping[str, str] | None = None) -> str:
    """Return the page of what became of an apply; ``extra`` as of ``render_plan``."""
    state = "Apply complete" if result.complete else "Apply incomplete"
    if result.interrupted:
        state = "Apply stopped on request"
    counts = Counter(outcome.result for outcome in result.outcomes)
    known = {"Calls": f"{result.calls:,}", "Time": f"{result.seconds:.1f} s", **(extra or {})}
    numbers = tiles((css_name(one.value)[2:], one.value, counts[one]) for one in Result)
    bar = share((css_name(one.value)[2:], counts[one]) for one in Result)
    advice = "" if result.complete else '<p class="rest">Plan again to see what is left; what is done stays done.</p>'
    parts = [
        f"<header><h1><small>{state}</small>{safe(result.name)}</h1>{facts(known)}</header>",
        f'<section class="panel">{numbers}{bar}{advice}</section>',
    ]
    if result.outcomes:
        kinds = Counter(outcome.address.kind for outcome in result.outcomes)
        parts.append(tools({one.value: counts[one] for one in Result}, {kind: kinds[kind] for kind in KINDS}))
    order = (Result.FAILED, Result.BLOCKED, Result.NOT_ATTEMPTED, Result.DONE)
    parts += [_outcome(outcome) for wanted in order for outcome in result.outcomes if outcome.result is wanted]
    return page(f"{state}: {result.name}", "\n".join(parts))


def _overview(target: TargetPlan, at: int) -> str:
    anchors = {action.address: f"t{at}-{index}" for index, action in enumerate(target.actions)}
    parts = [f"<section><h2>{safe(target.name)}</h2>{facts({'Account': target.account_id, 'Region': target.region})}"]
    rest = f"{target.summary.unchanged:,} unchanged, {target.summary.foreign:,} foreign"
    if target.is_empty:
        still = f"{plural(target.summary.unchanged, 'resource')} as the spec wants, {target.summary.foreign:,} foreign"
        parts.append(f'<div class="panel calm"><b>No changes</b>{still}</div>')
    else:
        parts.append(f'<div class="panel">{_counts(target)}<p class="rest">{rest}</p>{_kinds(target)}</div>')
    parts += _alerts(target, anchors)
    parts += _leftovers(target)
    if drawn := picture(target, anchors) if target.actions else "":
        parts.append(
            f'<details class="panel graph" open><summary>What depends on what</summary><div class="wide">{drawn}</div></details>'
        )
    parts.append("</section>")
    return "\n".join(parts)


def _counts(target: TargetPlan) -> str:
    summary = target.summary
    every = [
        ("create", "to create", summary.create),
        ("update", "to update", summary.update),
        ("replace", "to replace", summary.replace),
        ("delete", "to delete", summary.delete),
        ("adopt", "to adopt", summary.adopt),
        ("forget", "to forget", summary.forget),
        (BLOCKED, "blocked", summary.blocked),
    ]
    shown = [
        (name, words, count)
        for name, words, count in every
        if count or name in ("create", "update", "replace", "delete")
    ]
    return tiles(shown) + share((name, count) for name, _, count in every)


def _kinds(target: TargetPlan) -> str:
    counts = tally(target)
    columns: list[Verb | None] = [verb for verb in (*Verb, None) if any(row[verb] for row in counts.values())]
    head = "".join(f"<th>{verb.value if verb else BLOCKED}</th>" for verb in columns)
    rows = "".join(
        f'<tr><th scope="row">{KINDS[kind].title}</th>{"".join(_cell(verb, row[verb]) for verb in columns)}<td>{target.managed.get(kind, 0):,}</td></tr>'
        for kind, row in counts.items()
    )
    return f'<div class="wide"><table class="kinds"><thead><tr><th>Kind</th>{head}<th>managed now</th></tr></thead><tbody>{rows}</tbody></table></div>'


def _cell(verb: Verb | None, count: int) -> str:
    return f'<td class="hit v-{verb.value if verb else BLOCKED}">{count:,}</td>' if count else '<td class="nil">·</td>'


def _alerts(target: TargetPlan, anchors: Mapping[Address, str]) -> Iterable[str]:
    for group in notables(target):
        items = (
            f'<li><a href="#{anchors[action.address]}">{address(action.address)}</a> <span>{_why(action)}</span></li>'
            for action in group.actions
        )
        yield _alert(_NOTICE_CLASSES[group.notice], group.title, items)
    if target.on_air:
        items = (
            f"<li>{address(channel.address)} <span>{safe(broadcast_words(channel))}</span></li>"
            for channel in target.on_air
        )
        yield _alert("delete", f"On air: {on_air_words(target.on_air)}", items)
    warned = [(action, text) for action in target.actions for text in action.warnings]
    if warned:
        yield _alert(
            "update",
            f"Warnings: {len(warned):,}",
            (f"<li>{address(action.address)} {safe(text)}</li>" for action, text in warned),
        )


def _alert(name: str, title: str, items: Iterable[str]) -> str:
    return f'<div class="panel alert v-{name}"><h3>{title}</h3><ul>{"".join(items)}</ul></div>'


def _why(action: Action) -> str:
    if action.blocked:
        return f"would be {_PARTICIPLES[action.verb]}; {safe(action.blocked.code)}: {safe(action.blocked.message)}"
    return safe(action.explanation)


_PARTICIPLES: Mapping[Verb, str] = {
    Verb.CREATE: "created",
    Verb.UPDATE: "updated",
    Verb.REPLACE: "replaced",
    Verb.DELETE: "deleted",
    Verb.ADOPT: "adopted",
    Verb.FORGET: "forgotten",
}


def _leftovers(target: TargetPlan) -> Iterable[str]:
    if target.duplicates:
        items = (
            f"<li>{address(one.address)} <span>kept {safe(one.kept)}; other {safe(', '.join(one.others))}</span></li>"
            for one in target.duplicates
        )
        yield _alert(BLOCKED, f"Claimed by more than one live resource: {len(target.duplicates):,}", items)
    if target.orphans:
        items = (
            f"<li>{address(one.address)} {f'<code>{safe(one.arn)}</code>' if one.arn else ''}{' (protected)' if one.protected else ''}</li>"
            for one in target.orphans[:_LIST_LIMIT]
        )
        more = f"<li>and {len(target.orphans) - _LIST_LIMIT:,} more</li>" if len(target.orphans) > _LIST_LIMIT else ""
        head = f"{plural(len(target.orphans), 'managed resource')} left the spec; prune was not granted, so nothing is deleted"
        yield f'<details class="panel"><summary>{head}</summary><ul class="plain">{"".join(items)}{more}</ul></details>'
    if target.notes:
        yield f'<div class="panel"><h3>Notes</h3><ul class="plain">{"".join(f"<li>{safe(note)}</li>" for note in target.notes)}</ul></div>'


def _sort(action: Action) -> str:
    return BLOCKED if action.blocked else action.verb.value


def _action(action: Action, anchor: str, *, unfolded: bool) -> str:
    sort = _sort(action)
    head = f'<details class="act v-{action.verb.value}" id="{anchor}" data-verb="{sort}" data-kind="{action.kind.value}"{" open" if unfolded else ""}>'
    parts = [
        head,
        f'<summary><span class="sign">{symbol(action)}</span>{address(action.address)}<span class="say">{will(action)}</span>',
    ]
    if not unfolded and action.verb in (Verb.UPDATE, Verb.REPLACE):
        parts.append(paths(action.changes))
    if action.blocked:
        parts.append(f'<span class="tag v-blocked">{BLOCKED}</span>')
    parts.append('</summary><div class="in">')
    if action.explanation:
        parts.append(f"<p>{safe(action.explanation)}</p>")
    if action.blocked:
        parts.append(
            f'<p class="warn v-blocked">Blocked ({safe(action.blocked.code)}): {safe(action.blocked.message)}</p>'
        )
    parts += [f'<p class="warn v-update">{safe(warning)}</p>' for warning in action.warnings]
    parts += [changes(action.changes), calls(action.steps)]
    if action.arn:
        parts.append(f'<p class="arn"><code>{safe(action.arn)}</code></p>')
    return "".join((*parts, "</div></details>"))


def _outcome(outcome: Outcome) -> str:
    unfolded = "" if outcome.result is Result.DONE else " open"
    head = (
        f'<details class="act {css_name(outcome.result.value)}" data-verb="{outcome.result.value}" data-kind="{outcome.address.kind.value}"{unfolded}>'
        f'<summary><span class="tag">{outcome.result.value}</span>{address(outcome.address)}<span class="say">{outcome.verb.value}</span></summary>'
        '<div class="in">'
    )
    parts = [f"<p>{safe(outcome.message)}</p>"] if outcome.message else []
    parts.append(facts({"ARN": outcome.arn or "", "Request": outcome.request_id}))
    if outcome.steps:
        parts.append(_steps(outcome))
    return f"{head}{''.join(parts)}</div></details>"


def _steps(outcome: Outcome) -> str:
    rows = "".join(
        f'<tr><th scope="row">{safe(step.operation)}</th><td class="hit {css_name(step.result.value)}">{step.result.value}</td><td>{step.calls:,}</td>'
        f"<td>{step.seconds:.2f}</td><td><code>{safe(step.request_id)}</code></td><td>{safe(f'{step.error_code} {step.message}'.strip())}</td></tr>"
        for step in outcome.steps
    )
    head = "".join(f"<th>{words}</th>" for words in ("AWS call", "", "requests", "seconds", "request id", "answer"))
    return f'<div class="wide"><table class="kinds"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
