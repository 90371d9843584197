"""Limits on what one run may do, and the exact words that lift them.

A limit is counted for each kind, over what would really be carried out: blocked actions do not count.
Deletes are resources that leave; a replacement puts another in its place and is not one, nor is the end of an interrupted replacement.
Updates are changes of properties, and stream keys that are made anew; an edit of tags alone is not one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from reconciler.model.address import Address, KindName
from reconciler.model.kinds import KINDS, STREAM_KEY
from reconciler.model.target import Guardrails
from reconciler.plan import quota
from reconciler.plan.actions import Action, Reason, TargetPlan, Verb

_FEW = 2
"""Of a kind with a single resource, one that is gone is an ordinary loss, and a plan of one create is easily read."""

_MANY = 10
"""From how many resources of a kind on it is not believed that most of them went at once."""


@dataclass(frozen=True, slots=True)
class Allowances:
    """What the caller of one run acknowledged: up to so many deletes and updates of any one kind, a spec without resources, a list without ours."""

    deletes: int | None = None
    updates: int | None = None
    empty: bool = False
    believe_empty: bool = False


def check(
    plan: TargetPlan, guardrails: Guardrails, allow: Allowances, expected: Collection[Address] = ()
) -> tuple[str, ...]:
    """Return why the plan must not be carried out as it is, one sentence for each limit; nothing when it may.

    ``expected`` are the addresses that are remembered to stand here.
    """
    refusals = (
        []
        if allow.believe_empty
        else [
            f"{found}; check that the caller may see them, or rerun with --believe-empty"
            for found in gone(plan, expected)
        ]
    )
    total = sum(plan.managed.values())
    if plan.desired_count == 0 and total and not allow.empty:
        refusals.append(
            f"the spec has no resources, but this stack manages {_count(total, 'resource', 'resources')} here; check the path of the specs, or rerun with --allow-empty"
        )
    refusals += _over(
        plan,
        _is_delete,
        "deleted",
        "--allow-deletes",
        guardrails.max_deletes,
        guardrails.max_delete_percent,
        allow.deletes,
    )
    refusals += _over(
        plan,
        _is_update,
        "updated",
        "--allow-updates",
        guardrails.max_updates,
        guardrails.max_update_percent,
        allow.updates,
    )
    return (*refusals, *quota.refusals(plan.quotas))


def gone(plan: TargetPlan, expected: Collection[Address]) -> list[str]:
    """Say of which kinds the list shows none, or few, of those that are remembered to stand here and are in the spec still.

    A list can be empty and yet succeed, when a permission was narrowed; what it does not show would be made a second time.
    Stream keys are listed for each channel, and a channel without a key is nothing unusual.
    """
    said = []
    missing = {
        action.address for action in plan.actions if action.verb is Verb.CREATE and action.blocked is None
    } & set(expected)
    for kind in KINDS.values():
        absent = sum(address.kind is kind.name for address in missing)
        stood = sum(address.kind is kind.name for address in expected)
        if kind is STREAM_KEY or not absent or stood < _FEW:
            continue
        if not plan.managed.get(kind.name) or (stood >= _MANY and absent * 2 > stood):
            shown = "none" if not plan.managed.get(kind.name) else f"only {plan.managed[kind.name]:,}"
            said.append(
                f"{_count(stood, kind.title, kind.titles)} of this stack stood here after the last apply, the list now shows {shown}, and {absent:,} would be made anew"
            )
    return said


def _over(
    plan: TargetPlan,
    counts: Callable[[Action], bool],
    done: str,
    flag: str,
    limit: int | None,
    percent: int | None,
    allowed: int | None,
) -> list[str]:
    found = Counter(action.kind for action in plan.actions if action.blocked is None and counts(action))
    over = {
        kind: found[kind]
        for kind in KINDS
        if found[kind] > (allowed or 0) and _limits(found[kind], plan.managed, kind, limit, percent)
    }
    most = max(over.values(), default=0)
    return [
        f"{count:,} of {_count(plan.managed.get(kind, 0), 'managed ' + KINDS[kind].title, 'managed ' + KINDS[kind].titles)} would be {done} "
        f"({' and '.join(_limits(count, plan.managed, kind, limit, percent))}); check the spec, or rerun with {flag} {most}"
        for kind, count in over.items()
    ]


def _limits(
    count: int, managed: Mapping[KindName, int], kind: KindName, limit: int | None, percent: int | None
) -> list[str]:
    """Return the limits that a count of one kind is over."""
    over = []
    if limit is not None and count > limit:
        over.append(f"the limit is {limit:,}")
    if percent is not None and count * 100 > percent * managed.get(kind, 0):
        over.append(f"the limit is {percent} %")
    return over


def _is_delete(action: Action) -> bool:
    return action.verb is Verb.DELETE and action.reason not in (Reason.SUPERSEDED, Reason.RETIRED)


def _is_update(action: Action) -> bool:
    return action.reason is Reason.ROTATION_DUE or (
        action.verb is Verb.UPDATE and action.reason is Reason.PROPERTIES_DIFFER
    )


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
