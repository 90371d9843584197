"""Actions and changes as all views show them: in words, identical ones folded into one, the tags that everything created shares only once.

Two actions are identical when they differ in nothing but their id: same kind, verb, reason and changes,
where a value or a reference that equals the resource's own id counts as the same.
Deletes and replacements are never folded: a reviewer sees each of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from reconciler.diff import FieldChange, tokens_of
from reconciler.model.address import PREFIX, PROTECT, Address
from reconciler.model.kinds import KINDS
from reconciler.model.resource import UnmanagedResource
from reconciler.model.values import Ref, Value, thaw
from reconciler.plan.plan import Action, ReplaceOrder, TargetPlan, Verb
from reconciler.terminal import sanitize

if TYPE_CHECKING:
    from reconciler.drift.report import Finding

FOLD_FROM = 4
"""The smallest number of identical resources that are folded into one block."""

OWN_ID = "(the id)"
"""Placeholder for a resource's own id in the block of a group."""

_FOLDED_VERBS = frozenset({Verb.CREATE, Verb.UPDATE, Verb.ADOPT, Verb.FORGET})
_Item = TypeVar("_Item", Action, "Finding")


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
    """Return what an action does, or would do if it were not blocked, as the rest of a sentence that begins with the address."""
    verb = "would" if action.blocked else "will"
    match action.verb:
        case Verb.CREATE:
            return f"{verb} be created"
        case Verb.UPDATE:
            return f"{verb} be updated in place"
        case Verb.REPLACE:
            order = "deleted, then created" if action.order is ReplaceOrder.DELETE_FIRST else "created, then deleted"
            return f"{'would' if action.blocked else 'must'} be replaced: {order}"
        case Verb.DELETE:
            return f"{verb} be deleted"
        case Verb.ADOPT:
            return f"{verb} be adopted"
        case Verb.FORGET:
            return f"{verb} no longer be managed; the resource is kept"


def show_value(value: Value) -> str:
    """Return a value as text: strings in quotes, lists in brackets, references by address."""
    match value:
        case None:
            return "(none)"
        case Ref():
            return f"(known after apply: {sanitize(str(value.address))})"
        case str():
            return show_text(value)
        case tuple():
            return "[" + ", ".join(show_value(item) for item in value) + "]"
        case Mapping():
            return "{" + ", ".join(f"{sanitize(key)}: {show_value(item)}" for key, item in value.items()) + "}"
        case _:
            return json.dumps(thaw(value))


def show_text(text: str) -> str:
    """Return a string in quotes, with unprintable characters escaped."""
    return sanitize(json.dumps(text, ensure_ascii=False))


def unmanaged_words(resource: UnmanagedResource) -> str:
    """Return the kind, the name and the owner of a resource that is not this stack's."""
    owner = f"owned by stack {show_text(resource.owner)}" if resource.owner else "no owner"
    name = f" {show_text(resource.name)}" if resource.name else ""
    return f"{resource.kind.value}{name}, {owner}"


def path_words(path: str) -> str:
    """Return a JSON pointer as a dotted field name: ``/tags/a`` is ``tags.a``."""
    return ".".join(tokens_of(path))


def is_own_record(change: FieldChange) -> bool:
    """Return whether a change is of an ownership tag (owner, id, spec).

    Protection is not: a reviewer sees it enabled and disabled.
    """
    return change.tag.startswith(PREFIX) and change.tag != PROTECT


class ShownChange(NamedTuple):
    """A changed field in words, sanitized: its dotted name, and both values, ``None`` where it is absent. A list of strings has members as well."""

    name: str
    before: str | None
    after: str | None
    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


class ShownAction(NamedTuple):
    """One action, or several identical ones: their address or count, the mark in front, what they do, and what a view shows of their changes."""

    actions: tuple[Action, ...]
    title: str
    symbol: str
    will: str
    changes: tuple[ShownChange, ...]


def shown_actions(actions: Sequence[Action], *, each: bool = False) -> tuple[list[ShownAction], Mapping[str, Value]]:
    """Return the actions of a target as they are shown, and the tags that all created resources share.

    ``each`` shows every action by itself with all of its tags.
    """
    shared = {} if each else shared_tags(actions)
    groups = [(action,) for action in actions] if each else fold_actions(actions)
    return list(map(partial(_shown, shared=shared), groups)), shared


def _shown(group: tuple[Action, ...], shared: Mapping[str, Value]) -> ShownAction:
    action = group[0]
    changes: Iterable[FieldChange] = action.changes
    if shared and is_create(action):
        changes = [one for one in changes if not (one.absent_before and shared.get(one.path) == one.after)]
    title = str(action.address)
    if len(group) > 1:
        changes = () if _is_unknown(action) else own_id_hidden(changes, action.address)
        title = group_title([one.address for one in group])
    return ShownAction(group, title, symbol(action), will(action), shown_changes(changes))


def shown_changes(changes: Iterable[FieldChange]) -> tuple[ShownChange, ...]:
    """Return changes in words, without those of ownership tags."""
    return tuple(map(shown_change, (change for change in changes if not is_own_record(change))))


def shown_change(change: FieldChange) -> ShownChange:
    """Return one change in words."""
    name = sanitize(path_words(change.path))
    before = None if change.absent_before else show_value(change.before)
    after = None if change.absent_after else show_value(change.after)
    old, new = change.before or (), change.after or ()
    if before is None or after is None or not (isinstance(old, tuple) and isinstance(new, tuple)):
        return ShownChange(name, before, after)
    if not all(isinstance(member, str) for member in (*old, *new)):
        return ShownChange(name, before, after)
    gained, lost = [one for one in new if one not in old], [one for one in old if one not in new]
    kept = [one for one in new if one in old] if gained or lost else []
    return ShownChange(
        name, before, after, *(tuple(show_text(str(one)) for one in group) for group in (gained, lost, kept))
    )


def fold_actions(actions: Iterable[Action]) -> list[tuple[Action, ...]]:
    """Return the actions in groups of identical ones, in the order of each group's first; a group of one is not folded."""
    return _fold(actions, _action_key)


def fold_findings(findings: Iterable[Finding]) -> list[tuple[Finding, ...]]:
    """Return the findings of a drift report in groups of identical ones, in the order of each group's first."""
    return _fold(findings, _finding_key)


def shared_actions(targets: Sequence[TargetPlan]) -> list[tuple[tuple[int, ...], tuple[Action, ...]]]:
    """Return the actions by the targets, as indexes, that have them: the most common first, each action once.

    An action that several targets have is shown as it is in the first, without its ARN.
    """
    holders: dict[Hashable, list[tuple[int, Action]]] = {}
    for at, target in enumerate(targets):
        seen: Counter[Hashable] = Counter()
        for action in target.actions:
            key = _whole_key(action)
            holders.setdefault((key, seen[key]), []).append((at, action))
            seen[key] += 1
    groups: dict[tuple[int, ...], list[Action]] = {}
    for found in holders.values():
        action = found[0][1] if len(found) == 1 else found[0][1]._replace(arn=None)
        groups.setdefault(tuple(at for at, _ in found), []).append(action)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[0]), group[0]))
    return [(members, tuple(actions)) for members, actions in ordered]


def shared_tags(actions: Sequence[Action]) -> Mapping[str, Value]:
    """Return path and value of the tags that every created resource gets, if more than one is created."""
    created = [action for action in actions if is_create(action)]
    if len(created) < 2:
        return {}
    tags = [
        {
            change.path: change.after
            for change in action.changes
            if change.tag and change.absent_before and not is_own_record(change)
        }
        for action in created
    ]
    first, *others = tags
    return {path: value for path, value in first.items() if all(other.get(path) == value for other in others)}


def created_words(actions: Iterable[Action]) -> str:
    """Return ``both created resources``, or ``all 12 created resources``: those that share tags."""
    count = sum(map(is_create, actions))
    return f"{'both' if count == 2 else f'all {count:,}'} created resources"


def is_create(action: Action) -> bool:
    """Return whether an action creates a resource, and is not blocked."""
    return action.verb is Verb.CREATE and not action.blocked


def own_id_hidden(changes: Iterable[FieldChange], address: Address) -> tuple[FieldChange, ...]:
    """Return the changes of a folded block: a new name that is the id is left out, other uses of the id are a placeholder."""

    def hide(value: Value) -> Value:
        if not _is_own(value, address):
            return value
        return Ref(Address(value.address.kind, "…")) if isinstance(value, Ref) else OWN_ID

    return tuple(
        change._replace(before=hide(change.before), after=hide(change.after))
        for change in changes
        if not (change.absent_before and change.path == "/name" and change.after == address.id)
    )


def members_line(addresses: Sequence[Address], *, limit: int) -> str:
    """Return the ids of a group: ``cam-01, cam-02 and 58 more``."""
    shown = ", ".join(address.id for address in addresses[:limit])
    more = len(addresses) - limit
    return f"{shown} and {more:,} more" if more > 0 else shown


def group_title(addresses: Sequence[Address]) -> str:
    """Return the count and the kind of a group: ``60 channels``."""
    return KINDS[addresses[0].kind].with_count(len(addresses))


def _fold(items: Iterable[_Item], key_of: Callable[[_Item], Hashable | None]) -> list[tuple[_Item, ...]]:
    groups: dict[Hashable, list[_Item]] = {}
    for index, item in enumerate(items):
        key = key_of(item)
        groups.setdefault(("alone", index) if key is None else key, []).append(item)
    folded: list[tuple[_Item, ...]] = []
    for group in groups.values():
        folded += [tuple(group)] if len(group) >= FOLD_FROM else [(item,) for item in group]
    return folded


def _action_key(action: Action) -> Hashable | None:
    if action.verb not in _FOLDED_VERBS or action.warnings:
        return None
    blocked = action.blocked and (action.blocked.code, _without_id(action.blocked.message, action.address))
    explanation = _without_id(action.explanation, action.address)
    return (
        action.address.kind,
        action.verb,
        action.reason,
        explanation,
        blocked,
        () if _is_unknown(action) else _changes_key(action.changes, action.address),
    )


def _is_unknown(action: Action) -> bool:
    """Return whether it is unknown if the resource exists: its fields say nothing then, and it is one of all of its kind."""
    return action.verb is Verb.CREATE and action.blocked is not None and action.blocked.code == "unreadable"


def _finding_key(finding: Finding) -> Hashable | None:
    if finding.blame is not None:
        return None
    explanation = _without_id(finding.explanation, finding.address)
    kind = finding.address.kind
    return (kind, finding.status, explanation, finding.arn is None, _changes_key(finding.changes, finding.address))


def _whole_key(action: Action) -> Hashable:
    """Return everything that a view shows of an action, but for ARNs."""
    changes = tuple(repr(change) for change in action.changes if not is_own_record(change))
    steps = tuple(step.operation for step in action.steps)
    shown = (action.address, action.verb, action.reason, action.explanation, action.order, action.blocked)
    return (*shown, action.warnings, changes, steps)


def _changes_key(changes: Iterable[FieldChange], address: Address) -> Hashable:
    return tuple(
        (
            change.path,
            change.absent_before,
            change.absent_after,
            _value_key(change.before, address),
            _value_key(change.after, address),
        )
        for change in changes
        if not is_own_record(change)
    )


def _value_key(value: Value, address: Address) -> str:
    return OWN_ID if _is_own(value, address) else repr(value)


def _is_own(value: Value, address: Address) -> bool:
    return value == address.id or (isinstance(value, Ref) and value.address.id == address.id)


def _without_id(text: str, address: Address) -> str:
    return text.replace(f"/{address.id}", f"/{OWN_ID}")
