"""What depends on what among the resources a plan touches, and that as Graphviz and Mermaid text.

Comes in: a target's plan. Goes out: edges from the resource that is needed to the one that needs it.
Only resources that the plan touches are known here; one that stays as it is has no node.
A reference is found where a change, a call or the live resource names another resource's address or ARN, and a stream key belongs to the channel of its id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from reconciler.model.address import Address, KindName
from reconciler.model.kinds import KINDS
from reconciler.model.values import Ref, Value
from reconciler.plan.plan import Action, TargetPlan, Verb
from reconciler.report.words import symbol
from reconciler.terminal import harmless

COLOURS: Mapping[Verb, str] = {
    Verb.CREATE: "#1a7f37",
    Verb.UPDATE: "#9a6700",
    Verb.REPLACE: "#8250df",
    Verb.DELETE: "#cf222e",
    Verb.ADOPT: "#0969da",
    Verb.FORGET: "#6e7781",
}
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9 /_.-]")


def edges(target: TargetPlan) -> tuple[tuple[Address, Address], ...]:
    """Return pairs of what is needed and what needs it, sorted, each once."""
    addresses = {action.address for action in target.actions}
    by_arn = {action.arn: action.address for action in target.actions if action.arn}
    found = {
        (one, other) if KINDS[one.kind].rank < KINDS[other.kind].rank else (other, one)
        for action in target.actions
        for one, other in ((action.address, named) for named in _named(action, by_arn))
        if other in addresses and KINDS[one.kind].rank != KINDS[other.kind].rank
    }
    return tuple(sorted(found))


def dot(target: TargetPlan) -> str:
    """Return the graph for Graphviz."""
    names = {action.address: f"n{index}" for index, action in enumerate(target.actions)}
    lines = ["digraph plan {", "  rankdir=LR;", '  node [shape=box, style=rounded, fontname="monospace"];']
    lines += [
        f'  {names[action.address]} [label="{_dot_text(f"{symbol(action)} {action.address}")}", color="{COLOURS[action.verb]}"];'
        for action in target.actions
    ]
    lines += [f"  {names[needed]} -> {names[by]};" for needed, by in edges(target)]
    return "\n".join((*lines, "}")) + "\n"


def mermaid(target: TargetPlan) -> str:
    """Return the graph for Mermaid."""
    names = {action.address: f"n{index}" for index, action in enumerate(target.actions)}
    lines = ["flowchart LR"]
    lines += [
        f'  {names[action.address]}["{_mermaid_text(f"{symbol(action)} {action.address}")}"]:::{action.verb.value}'
        for action in target.actions
    ]
    lines += [f"  {names[needed]} --> {names[by]}" for needed, by in edges(target)]
    used = {action.verb for action in target.actions}
    lines += [f"  classDef {verb.value} stroke:{colour}" for verb, colour in COLOURS.items() if verb in used]
    return "\n".join(lines) + "\n"


def _named(action: Action, by_arn: Mapping[str, Address]) -> Iterator[Address]:
    if action.kind is KindName.STREAM_KEY:
        yield Address(KindName.CHANNEL, action.address.id)
    for change in action.changes:
        yield from _in_value((change.before, change.after), by_arn)
    for step in action.steps:
        yield from _in_value(tuple(step.parameters.values()), by_arn)
    if action.observed:
        yield from _in_value(tuple(action.observed.properties.values()), by_arn)


def _in_value(value: Value, by_arn: Mapping[str, Address]) -> Iterator[Address]:
    match value:
        case Ref():
            yield value.address
        case str():
            if value in by_arn:
                yield by_arn[value]
        case tuple():
            yield from _in_each(value, by_arn)
        case Mapping():
            yield from _in_each(value.values(), by_arn)
        case _:
            pass


def _in_each(values: Iterable[Value], by_arn: Mapping[str, Address]) -> Iterator[Address]:
    for value in values:
        yield from _in_value(value, by_arn)


def _dot_text(text: str) -> str:
    return harmless(text).replace("\\", "\\\\").replace('"', '\\"')


def _mermaid_text(text: str) -> str:
    # Mermaid reads "#" and a number as the character of that number; everything that could mean something is written so.
    return _NOT_PLAIN.sub(lambda found: f"#{ord(found[0])};", harmless(text))
