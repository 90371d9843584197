"""Whether a plan fits into the account's quotas at every moment of it.

Steps run beside one another, so the peak is that of the worst order the plan allows: everything is created as early as it can be, and deleted as late.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import replace

from reconciler.model.address import KindName
from reconciler.model.kinds import KINDS
from reconciler.model.quotas import QUOTAS, Applied, QuotaUse
from reconciler.model.resource import LiveState
from reconciler.plan.actions import Action, Step, TargetPlan

_MAKES: Mapping[str, KindName] = {KINDS[kind].create: kind for kind in QUOTAS}
_TAKES: Mapping[str, KindName] = {KINDS[kind].delete: kind for kind in QUOTAS}


def kinds_made(plan: TargetPlan) -> frozenset[KindName]:
    """Return the kinds with a quota of which the plan creates something."""
    return frozenset(
        _MAKES[step.operation] for action in plan.actions for step in action.steps if step.operation in _MAKES
    )


def must_ask(plan: TargetPlan) -> bool:
    """Whether somebody has to ask which quotas apply: the plan creates something of which AWS may grant more, or less, than it documents."""
    return any(QUOTAS[kind].adjustable for kind in kinds_made(plan))


def with_quotas(plan: TargetPlan, live: LiveState, applied: Applied) -> TargetPlan:
    """Return the plan with what it makes of the quotas of the kinds that it creates. A kind that could not be listed is not judged."""
    made = [kind for kind in QUOTAS if kind in kinds_made(plan) and kind not in live.unreadable]
    if not made:
        return replace(plan, quotas=())
    counts = {kind: len(live.of(kind)) for kind in made}
    peaks = _peaks(plan.actions, counts)
    uses = []
    for kind in made:
        quota = QUOTAS[kind]
        peak, after = peaks[kind]
        others = counts[kind] - plan.managed.get(kind, 0)
        uses.append(
            QuotaUse(
                kind,
                counts[kind],
                others,
                peak,
                after,
                applied.value(quota),
                quota.adjustable,
                quota.code,
                applied.is_applied(quota),
            )
        )
    notes = plan.notes
    if applied.why_not and any(use.adjustable for use in uses):
        notes = (
            *notes,
            f"the quotas that apply are not known ({applied.why_not}), so the documented defaults are assumed",
        )
    return replace(plan, quotas=tuple(uses), notes=notes)


def recounted(plan: TargetPlan, live: LiveState) -> TargetPlan:
    """Return a saved plan with its uses of quotas counted from what is there now; the quotas stay those that the plan knows."""
    known = {use.kind: use for use in plan.quotas}
    counts = {kind: len(live.of(kind)) for kind in known if kind not in live.unreadable}
    peaks = _peaks(plan.actions, counts)
    uses = (
        replace(
            use,
            now=counts[kind],
            others=max(0, counts[kind] - plan.managed.get(kind, 0)),
            peak=peaks[kind][0],
            after=peaks[kind][1],
        )
        if kind in counts
        else use
        for kind, use in known.items()
    )
    return replace(plan, quotas=tuple(uses))


def refusals(uses: Iterable[QuotaUse]) -> tuple[str, ...]:
    """Return why a plan cannot fit, a sentence for each quota it would go beyond."""
    return tuple(_refusal(use) for use in uses if use.peak > use.limit)


def _refusal(use: QuotaUse) -> str:
    kind = KINDS[use.kind]
    there = f"there is 1 {kind.title}" if use.now == 1 else f"there are {use.now:,} {kind.titles}"
    others = f", {use.others:,} of them not this stack's" if use.others else ""
    after = "" if use.after == use.peak else f", {use.after:,} in the end"
    source = "the applied quota" if use.applied else "the documented default"
    more = (
        f"AWS raises it on request: Service Quotas, ivs, {use.code}"
        if use.adjustable
        else "AWS does not raise it: delete some first"
    )
    return f"{there}{others}, and the plan makes {use.peak:,} of them{after}; the quota is {use.limit:,} ({source}); {more}; or leave something out with --exclude"


def _peaks(actions: Iterable[Action], counts: Mapping[KindName, int]) -> dict[KindName, tuple[int, int]]:
    """Return for each kind the most there is at any moment, and what there is at the end."""
    present = dict(counts)
    peak = dict(counts)
    for step in _worst_order([step for action in actions for step in action.steps]):
        kind = _MAKES.get(step.operation)
        if kind in present:
            present[kind] += 1
            peak[kind] = max(peak[kind], present[kind])
        elif (gone := _TAKES.get(step.operation)) in present:
            present[gone] -= 1
    return {kind: (peak[kind], present[kind]) for kind in counts}


def _worst_order(steps: list[Step]) -> Iterable[Step]:
    """Yield the steps so that each comes after what it waits for, deletes only when nothing else can go on."""
    place = {step.id: index for index, step in enumerate(steps)}
    waiting = [sum(needed in place for needed in step.after) for step in steps]
    followers: dict[str, list[int]] = {}
    for index, step in enumerate(steps):
        for needed in step.after:
            followers.setdefault(needed, []).append(index)
    ready = [(step.operation in _TAKES, index) for index, step in enumerate(steps) if not waiting[index]]
    heapq.heapify(ready)
    while ready:
        step = steps[heapq.heappop(ready)[1]]
        yield step
        for index in followers.get(step.id, ()):
            waiting[index] -= 1
            if not waiting[index]:
                heapq.heappush(ready, (steps[index].operation in _TAKES, index))
