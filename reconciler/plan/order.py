"""From decisions to actions in one total order: what depends on what, and what follows if an action is not carried out.

Steps wait for the step that creates or readies the resource they refer to; a delete waits for every channel that uses the resource;
an import waits for the delete that frees its public key or its quota.
Actions are ordered by (phase, rank, address): creates by rising rank, then deletes by falling rank.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from reconciler.model.address import KindName
from reconciler.model.kinds import KINDS, REFERENCES
from reconciler.model.resource import LiveResource
from reconciler.model.values import Ref, refs_in
from reconciler.plan.decision import Decision, Planned
from reconciler.plan.plan import Action, Blocked, Observed, Reason, ReplaceOrder, Step, Verb

Edges: TypeAlias = dict[str, set[str]]
"""By step, the steps of other actions that it waits for."""


class Verdict(NamedTuple):
    """What was found out about an action after it was planned: its remaining steps, why it is blocked, and warnings."""

    steps: tuple[Step, ...]
    blocked: Blocked | None = None
    warnings: tuple[str, ...] = ()


def actions_of(
    planned: Sequence[Planned],
    users: Mapping[str, tuple[LiveResource, ...]],
    free: Mapping[KindName, int],
    held: Mapping[str, str],
    limits: Mapping[KindName, int],
) -> list[Action]:
    """Return the actions of the decisions, in order, each step with the steps of other actions that must be done before it.

    ``users`` are the resources by the ARN they refer to, ``free`` the unused part of the quotas ``limits``,
    ``held`` the key pair that has each public key now.
    A create that exceeds a quota, or has to wait for a delete, gets a warning.
    """
    edges: Edges = {}
    _after_bindings(planned, edges)
    _after_users(planned, users, edges)
    _after_material(planned, held, edges)
    _after_forgotten_keys(planned, edges)
    _after_renames(planned, edges)
    warnings: dict[str, str] = {}
    for kind, places in free.items():
        quota = f"the quota is {limits[kind]:,} {KINDS[kind].titles} and is used up"
        for step, freed in _after_places(kind, planned, places, edges).items():
            warnings[step] = (
                f"{quota}, so it is created after the delete of {freed.rpartition('#')[0]}"
                if freed
                else f"{quota}; delete one first"
            )
    return sorted((_action(item, edges, warnings) for item in planned), key=action_key)


def blocked_verdicts(
    actions: Sequence[Action],
    blocks: Mapping[int, Blocked],
    dropped: Mapping[int, str],
    steps: Sequence[tuple[Step, ...]] | None = None,
) -> dict[int, Verdict]:
    """Return verdicts by index for blocked actions, and for those that depend on a blocked or skipped one.

    ``dropped`` has the reason for the dependents of each skipped action. ``steps`` replaces the actions' own steps.
    A blocked action has no steps, so it cannot be run by mistake; no step waits for a removed one.
    A replacement whose delete depends on one keeps its create: a later plan deletes the replaced resource.
    """
    steps = steps or [action.steps for action in actions]
    followers = _followers(steps)
    found = {index: Verdict((), blocked) for index, blocked in blocks.items()}
    gone = [
        (step.id, f"{actions[index].address}, which {why}") for index, why in dropped.items() for step in steps[index]
    ]
    gone += [(step.id, f"{actions[index].address}, which is blocked") for index in blocks for step in steps[index]]
    while gone:
        lost, why = gone.pop()
        for index in followers.get(lost, ()):
            left = found[index].steps if index in found else steps[index]
            if index in dropped or not any(lost in step.after for step in left):
                continue
            before = found[index].warnings if index in found else ()
            found[index] = _without(actions[index], left, lost, why, before)
            kept = {step.id for step in found[index].steps}
            gone += [(step.id, f"{actions[index].address}, which is blocked") for step in left if step.id not in kept]
    return found


def with_verdicts(
    actions: Sequence[Action], verdicts: Mapping[int, Verdict], dropped: Container[int] = ()
) -> tuple[Action, ...]:
    """Return the actions with the verdicts applied, by index, without the dropped ones."""
    return tuple(
        action._replace(
            steps=verdict.steps,
            blocked=verdict.blocked or action.blocked,
            warnings=(*action.warnings, *verdict.warnings),
        )
        if (verdict := verdicts.get(index))
        else action
        for index, action in enumerate(actions)
        if index not in dropped
    )


def names_replaced(action: Action, step: Step) -> bool:
    """Return whether a step of a replacement is about the replaced resource, not about the new one."""
    return step.parameters.get(KINDS[action.address.kind].identifier) == action.arn


def action_key(action: Action) -> tuple[int, int, str, str, str]:
    """Return the sort key of an action: a total order that depends only on its content."""
    address, last = action.address, action.verb is Verb.DELETE
    rank = KINDS[address.kind].rank
    return (int(last), -rank if last else rank, address.kind.value, address.id, action.arn or "")


def _action(planned: Planned, edges: Edges, warnings: Mapping[str, str]) -> Action:
    """Build an action from a decision and everything that was found out about it."""
    decision, treatment, steps = planned
    live = decision.live
    crowded = next(((warnings[step.id],) for step in steps if step.id in warnings), ())
    return Action(
        address=decision.address,
        verb=decision.verb,
        reason=decision.reason,
        explanation=decision.explanation,
        arn=None if live is None else live.arn,
        changes=decision.changes,
        steps=tuple(
            step._replace(after=tuple(sorted({*step.after, *edges[step.id]}))) if step.id in edges else step
            for step in steps
        ),
        observed=None if live is None else Observed(live.properties, live.tags, live.state),
        order=treatment.order,
        blocked=decision.blocked or treatment.blocked,
        warnings=(*decision.warnings, *treatment.warnings, *crowded),
    )


def _followers(steps: Sequence[tuple[Step, ...]]) -> dict[str, list[int]]:
    """Return, by step, the indices of the other actions that depend on it."""
    owner = {step.id: index for index, own in enumerate(steps) for step in own}
    followers: dict[str, list[int]] = {}
    for index, own in enumerate(steps):
        for step in own:
            for needed in step.after:
                if owner.get(needed) != index:
                    followers.setdefault(needed, []).append(index)
    return followers


def _without(action: Action, left: tuple[Step, ...], lost: str, why: str, before: tuple[str, ...]) -> Verdict:
    """Return the verdict on an action if a step that some of its own depend on is removed."""
    if (
        action.verb is Verb.REPLACE
        and action.order is ReplaceOrder.CREATE_FIRST
        and all(names_replaced(action, step) for step in left if lost in step.after)
    ):
        warning = f"{action.arn} is kept after its replacement: its delete depends on {why}; a later plan deletes it"
        return Verdict(tuple(step for step in left if not names_replaced(action, step)), None, (*before, warning))
    return Verdict((), Blocked("depends", f"depends on {why}"), before)


def _after_bindings(planned: Sequence[Planned], edges: Edges) -> None:
    ready: dict[str, str] = {}
    for decision, _, steps in planned:
        identifier = KINDS[decision.address.kind].identifier
        for step in steps:
            ready.update((address, step.id) for address in step.binds)
            if step.until is not None and isinstance(arn := step.parameters.get(identifier), Ref):
                ready[str(arn.address)] = step.id
    if not ready:
        return  # nothing is created, so every ARN is known
    for _, _, steps in planned:
        own = {step.id for step in steps}
        for step in steps:
            for value in step.parameters.values():
                for ref in refs_in(value):
                    needed = ready[str(ref.address)]
                    if needed not in own:
                        edges.setdefault(step.id, set()).add(needed)


def _after_users(planned: Sequence[Planned], users: Mapping[str, tuple[LiveResource, ...]], edges: Edges) -> None:
    released_by = {
        step.parameters[kind.identifier]: step.id
        for decision, _, steps in planned
        if REFERENCES.get((kind := KINDS[decision.address.kind]).name)
        for step in steps
        if step.operation in (kind.update, kind.delete)
    }
    for decision, step in _deletes(planned):
        for user in users.get(decision.live.arn if decision.live else "", ()):
            if user.arn in released_by:
                edges.setdefault(step.id, set()).add(released_by[user.arn])


def _after_material(planned: Sequence[Planned], held: Mapping[str, str], edges: Edges) -> None:
    freed = {decision.live.arn: step.id for decision, step in _deletes(planned) if decision.live}
    for decision, _, steps in planned:
        holder = held.get(str(decision.wanted.get(KINDS[decision.address.kind].unique)))
        if holder is None or holder not in freed or (decision.live and decision.live.arn == holder):
            continue
        for step in steps:
            if step.binds:
                edges.setdefault(step.id, set()).add(freed[holder])


def _after_forgotten_keys(planned: Sequence[Planned], edges: Edges) -> None:
    """Let a channel be forgotten after its stream keys: they are found by their channel only."""
    keys: dict[str, set[str]] = {}
    for decision, _, steps in planned:
        if decision.verb is Verb.FORGET and decision.live is not None:
            channel = str(decision.live.properties.get("channelArn", ""))
            keys.setdefault(channel, set()).update(step.id for step in steps)
    for decision, _, steps in planned:
        if decision.verb is Verb.FORGET and decision.live is not None and decision.live.arn in keys:
            for step in steps[:1]:
                edges.setdefault(step.id, set()).update(keys[decision.live.arn])


def _after_renames(planned: Sequence[Planned], edges: Edges) -> None:
    """Let the kept resource of a renamed address be renamed before what stays beside it: alone under the new address, the other would be taken for it."""
    kept = {decision.address: steps[-1].id for decision, _, steps in planned if decision.desired is not None and steps}
    for decision, _, steps in planned:
        if decision.reason is Reason.MOVED and decision.desired is None and steps and decision.address in kept:
            edges.setdefault(steps[0].id, set()).add(kept[decision.address])


def _after_places(kind: KindName, planned: Sequence[Planned], places: int, edges: Edges) -> dict[str, str]:
    """Let creates of a kind that exceed its quota wait for deletes that free it, unless that would close a cycle.

    Return their step ids, each with the id of the delete, or with an empty string if there is none.
    """
    makers, in_turn, deletes = _claims([item for item in planned if item.decision.address.kind is kind])
    places = max(places, 0)
    capacity = max(places - len(makers), 0)
    if len(makers) <= places and len(in_turn) <= capacity:
        return {}
    cycles = _Cycles(edges, planned)
    freed = {step.id: cycles.wait_for_one(step, deletes) for step in makers[places:]}
    # Several replacements share the free quota: each begins when an earlier one has ended.
    ends = [steps[-1] for steps in in_turn[:capacity]]
    for first, *_, last in in_turn[capacity:]:
        both = [*ends, *deletes]
        freed[first.id] = cycles.wait_for_one(first, both)
        ends = [*(step for step in ends if step in both), last]
        deletes = [step for step in deletes if step in both]
    return freed


def _claims(planned: Sequence[Planned]) -> tuple[list[Step], list[tuple[Step, ...]], list[Step]]:
    """Return the steps that use a place of the quota and keep it, the replacements that give one back, and the deletes that free one."""
    makers: list[Step] = []
    keeping: list[Step] = []
    in_turn: list[tuple[Step, ...]] = []
    for decision, treatment, steps in planned:
        if decision.verb is Verb.CREATE:
            makers += [step for step in steps if step.binds]
        elif treatment.order is ReplaceOrder.CREATE_FIRST and steps:
            if treatment.may_delete:
                in_turn.append(steps)
            else:
                # A replacement that does not delete yet keeps the old place and uses a new one.
                keeping += [step for step in steps if step.binds]
    deletes = [step for decision, step in _deletes(planned) if decision.verb is Verb.DELETE]
    return makers + keeping, in_turn, deletes


class _Cycles:
    """Keeps dependencies free of cycles."""

    def __init__(self, edges: Edges, planned: Sequence[Planned]) -> None:
        self._edges = edges
        self._direct = {step.id: step.after for item in planned for step in item.steps}

    def wait_for_one(self, step: Step, ends: list[Step]) -> str:
        """Let a step wait for the first of several that does not depend on it, remove that one, and return its id, or an empty string."""
        freed = next((end for end in ends if not self._reaches(end.id, step.id)), None)
        if freed is None:
            return ""
        ends.remove(freed)
        self._edges.setdefault(step.id, set()).add(freed.id)
        return freed.id

    def _reaches(self, start: str, goal: str) -> bool:
        seen, open_ends = {start}, [start]
        while open_ends:
            step = open_ends.pop()
            for needed in (*self._direct.get(step, ()), *self._edges.get(step, ())):
                if needed not in seen:
                    seen.add(needed)
                    open_ends.append(needed)
        return goal in seen


def _deletes(planned: Sequence[Planned]) -> list[tuple[Decision, Step]]:
    return [
        (decision, step)
        for decision, _, steps in planned
        for step in steps
        if step.operation == KINDS[decision.address.kind].delete
    ]
