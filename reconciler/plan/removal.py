"""What is due for managed resources that the spec does not ask for, and who has to let go of a resource before it can go.

Without prune, what left the spec is an orphan: shown, and left alone.
What an interrupted replacement left behind goes without prune, because the replacement was consented to when it was applied.
A recording configuration, policy, ad or slate configuration goes after every channel let go of it; while one does not, it stays.

Holding actions back after they were planned, with everything that waits for them, and counting what is left.

An action that is held back has no steps, so that nobody can run it by mistake; nothing else in the plan waits for a step that is gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from reconciler.diff import compare
from reconciler.model.address import ID, STACK, Address, KindName
from reconciler.model.kinds import KINDS, STREAM_KEY, Shape
from reconciler.model.resource import LiveResource
from reconciler.plan.decision import Draft, Scene, is_protected, names_of
from reconciler.plan.pairing import Choice, references_in
from reconciler.plan.plan import Action, Blocked, Duplicate, Orphan, Reason, ReplaceOrder, Step, Summary, Verb
from reconciler.plan.replacement import is_leftover, leftover

REFERENCED = frozenset(field.references for field in KINDS[KindName.CHANNEL].fields if field.shape is Shape.REFERENCE)
"""The kinds that a channel may refer to."""


@dataclass(frozen=True, slots=True)
class Removals:
    """What is to be deleted, and what would be if it were allowed."""

    deletes: tuple[Draft, ...]
    orphans: tuple[Orphan, ...]
    duplicates: tuple[Duplicate, ...]
    notes: tuple[str, ...]


def removals(scene: Scene, drafts: Iterable[Draft]) -> Removals:
    """Return the deletes that are due beside what is due for the spec, and the orphans and duplicates that stay."""
    replaced = {draft.address for draft in drafts if draft.verb is Verb.REPLACE and draft.blocked is None}
    deletes: list[Draft] = []
    orphans: list[Orphan] = []
    notes: list[str] = []
    for address, group in scene.owned.claims.items():
        if address not in scene.desired.resources:
            _left_spec(scene, address, group, deletes, orphans)
        elif address in scene.choices:
            for other, reason in scene.choices[address].others:
                # None of several was like the spec, and the one kept gives way to one that is: the others are leftovers from then on.
                draft, note = _other(scene, address, other, Reason.SUPERSEDED if address in replaced else reason)
                deletes += [draft] if draft else []
                notes += [note] if note else []
    for address, key in _keys_without_spec(scene):
        _left_spec(scene, address, (key,), deletes, orphans)
    duplicates = tuple(
        Duplicate(address, choice.kept.arn, others)
        for address, choice in scene.choices.items()
        if (others := _accidents(choice, deletes))
    )
    return Removals(tuple(deletes), tuple(orphans), duplicates, tuple(notes))


def _accidents(choice: Choice, due: Iterable[Draft]) -> tuple[str, ...]:
    """Return the others that claim an address, without the key pairs that gave way to the one kept."""
    retiring = {draft.live.arn for draft in due if draft.live and draft.reason is Reason.RETIRING}
    return tuple(other.arn for other, _ in choice.others if not is_leftover(other) and other.arn not in retiring)


def held(
    scene: Scene, drafts: Iterable[Draft], deletes: Iterable[Draft]
) -> tuple[tuple[Draft, ...], tuple[Draft, ...]]:
    """Keep what a channel does not let go of: a delete is blocked, a replacement leaves its delete half undone, and either says who holds on."""
    drafts, deletes = tuple(drafts), tuple(deletes)
    gone = {draft.live.arn for draft in deletes if draft.live and draft.blocked is None}
    of_channel = {draft.live.arn: draft for draft in drafts if draft.live and draft.live.kind is KindName.CHANNEL}
    names = {channel.arn: address for address, channel in scene.kept.items() if address.kind is KindName.CHANNEL}
    will_use: dict[str, list[Address]] = {}
    for draft in drafts:
        if draft.address.kind is KindName.CHANNEL and draft.blocked is None:
            for arn in references_in(draft.wanted):
                will_use.setdefault(arn, []).append(draft.address)

    def holders(live: LiveResource) -> list[LiveResource]:
        return [
            user
            for user in scene.owned.users.get(live.arn, ())
            if user.arn not in gone and live.arn in _refers_after(user, of_channel.get(user.arn))
        ]

    def checked(draft: Draft) -> Draft:
        live = draft.live
        if (
            live is None
            or draft.blocked
            or live.kind not in REFERENCED
            or draft.verb not in (Verb.DELETE, Verb.REPLACE)
        ):
            return draft
        if draft.verb is Verb.DELETE and KindName.CHANNEL in scene.live.unreadable:
            why = scene.live.unreadable[KindName.CHANNEL]
            return replace(
                draft,
                blocked=Blocked(
                    "unreadable", f"channels could not be read ({why}), so nobody knows which of them use it"
                ),
            )
        holding, coming = holders(live), will_use.get(live.arn, ())
        if not holding and not coming:
            return draft
        said = "; ".join(
            [_holding(scene, user, names.get(user.arn), of_channel.get(user.arn)) for user in holding]
            or [f"{user} names its ARN" for user in coming]
        )
        if draft.verb is Verb.REPLACE:
            return replace(
                draft,
                lets_go=False,
                warnings=(
                    *draft.warnings,
                    f"{live.arn} stays after its replacement, because it is still in use: {said}",
                ),
            )
        strangers = any(user.tags.get(STACK) != scene.desired.stack for user in holding)
        return replace(
            draft, blocked=Blocked("foreign" if strangers else "depends", f"{live.arn} is still in use: {said}")
        )

    return tuple(checked(draft) for draft in drafts), tuple(checked(draft) for draft in deletes)


def _refers_after(channel: LiveResource, draft: Draft | None) -> frozenset[str]:
    if draft is None or draft.blocked:
        return references_in(channel.properties)
    return references_in(draft.wanted)


def _holding(scene: Scene, channel: LiveResource, address: Address | None, draft: Draft | None) -> str:
    """Say who holds on, and why."""
    if address is not None and address not in scene.desired.resources:
        return f"{address} left the spec and stays"
    if draft is not None and draft.blocked:
        return f"{address} keeps it, because its own action is blocked"
    if address is not None:
        return f"{address} keeps it, by its ARN or because the field is ignored"
    owner = channel.tags.get(STACK)
    whose = (
        "no stack's"
        if owner is None
        else "this stack's, and stays"
        if owner == scene.desired.stack
        else f"stack {owner}'s"
    )
    return f"channel {channel.name or '(without a name)'} ({channel.arn}) is {whose}"


def _left_spec(
    scene: Scene, address: Address, group: tuple[LiveResource, ...], deletes: list[Draft], orphans: list[Orphan]
) -> None:
    for live in group:
        protected = is_protected(live)
        if not scene.options.prune:
            orphans.append(Orphan(address, live.arn, protected))
            continue
        also = "; its stream key goes with it" if address.kind is KindName.CHANNEL else ""
        deletes.append(_delete(address, live, Reason.LEFT_SPEC, f"it left the spec, and prune is granted{also}"))


def _other(scene: Scene, address: Address, other: LiveResource, reason: Reason) -> tuple[Draft | None, str]:
    kept = scene.kept[address]
    if (reason is Reason.SUPERSEDED or is_leftover(other)) and (due := leftover(scene, address, other)):
        return due
    if reason is Reason.SUPERSEDED:
        return _delete(
            address,
            other,
            reason,
            f"it is what an earlier replacement left behind; {kept.arn} is the one that is kept for this address",
        ), ""
    choice = scene.choices[address]
    claim = f"{address}: {KINDS[address.kind].title} {other.arn} claims the same address as {kept.arn}"
    if not scene.options.prune:
        used = f", which was {choice.why}," if choice.why else ""
        return None, f"{claim}{used} and is left alone; grant prune to delete it"
    if address.kind is KindName.CHANNEL and scene.live.streams_hidden:
        return (
            None,
            f"{claim} and is left alone, because which of them was on air last could not be seen ({scene.live.streams_hidden})",
        )
    if is_protected(other):
        return None, f"{claim} and is protected; change its {ID} tag by hand if it is wanted"
    differing = compare(address.kind, kept.properties, other.properties)
    unlike = f"; it differs in {names_of(differing)}" if differing else ""
    used = f", because it was {choice.why}" if choice.why else ""
    return _delete(
        address,
        other,
        reason,
        f"{kept.arn} is the one that is kept for this address{used}, and prune is granted{unlike}",
    ), ""


def _delete(address: Address, live: LiveResource, reason: Reason, explanation: str) -> Draft:
    blocked = None
    if is_protected(live):
        named = address if reason is Reason.LEFT_SPEC else live.arn
        blocked = Blocked(
            "protected", f"{named} is protected; put it back into the spec with protect: false, apply, then delete it"
        )
    return Draft(address, Verb.DELETE, reason, explanation, live=live, wanted=live.properties, blocked=blocked)


def _keys_without_spec(scene: Scene) -> list[tuple[Address, LiveResource]]:
    """Return our stream keys whose channel stays in the spec, without a stream key in it. A key whose channel goes needs no call of its own."""
    found = []
    for address, channel in scene.kept.items():
        if (
            address.kind is not KindName.CHANNEL
            or address not in scene.desired.resources
            or channel.arn not in scene.owned.keys
        ):
            continue
        key_address = Address(STREAM_KEY.name, address.id)
        if key_address not in scene.desired.resources:
            found += [
                (key_address, key)
                for key in scene.owned.keys[channel.arn]
                if key.tags.get(STACK) == scene.desired.stack
            ]
    return found


def hold(
    actions: tuple[Action, ...], blocks: Mapping[int, Blocked], dropped: Mapping[int, str] | None = None
) -> tuple[Action, ...]:
    """Block some actions, by their place, and leave others out altogether, and hold back whatever waits for them.

    ``dropped`` gives for each action left out the reason that its dependants are told.
    A replacement whose delete half waits for something held back keeps its create half: what it replaces stays until a later plan finds it let go.
    """
    left_out = dict(dropped or {})
    result = list(actions)
    owner = {step.id: index for index, action in enumerate(actions) for step in action.steps}
    followers: dict[str, list[int]] = {}
    for index, action in enumerate(actions):
        for step in action.steps:
            for needed in step.after:
                if owner.get(needed) != index:
                    followers.setdefault(needed, []).append(index)
    gone: list[tuple[str, str]] = []
    for index, why in left_out.items():
        gone += [(step.id, f"{actions[index].address}, which {why}") for step in actions[index].steps]
    for index, blocked in blocks.items():
        gone += [(step.id, f"{actions[index].address}, which is blocked") for step in actions[index].steps]
        result[index] = replace(actions[index], steps=(), blocked=blocked)
    while gone:
        lost, why = gone.pop()
        for index in followers.get(lost, ()):
            action = result[index]
            if index in left_out or action.blocked:
                continue
            result[index] = _without(action, lost, why)
            kept = {step.id for step in result[index].steps}
            gone += [(step.id, f"{action.address}, which is blocked") for step in action.steps if step.id not in kept]
    return tuple(action for index, action in enumerate(result) if index not in left_out)


def _without(action: Action, lost: str, why: str) -> Action:
    """Return the action as it is when one of the steps it waits for is gone."""
    hit = [step for step in action.steps if lost in step.after]
    if not hit:
        return action
    if (
        action.verb is Verb.REPLACE
        and action.order is ReplaceOrder.CREATE_FIRST
        and all(names_replaced(action, step) for step in hit)
    ):
        warning = f"{action.arn} stays after its replacement: its delete waits for {why}; a later plan deletes it"
        return replace(
            action,
            steps=tuple(step for step in action.steps if not names_replaced(action, step)),
            warnings=(*action.warnings, warning),
        )
    return replace(action, steps=(), blocked=Blocked("depends", f"it waits for {why}"))


def names_replaced(action: Action, step: Step) -> bool:
    """Whether a step of a replacement is about the resource that is replaced, not about the one that takes its place."""
    return step.parameters.get("arn") == action.arn


def counted(summary: Summary, actions: Iterable[Action]) -> Summary:
    """Return a summary with its counts of actions taken anew; the other counts stay."""
    verbs: Counter[Verb] = Counter()
    blocked = 0
    for action in actions:
        if action.blocked:
            blocked += 1
        else:
            verbs[action.verb] += 1
    return replace(
        summary,
        create=verbs[Verb.CREATE],
        update=verbs[Verb.UPDATE],
        replace=verbs[Verb.REPLACE],
        delete=verbs[Verb.DELETE],
        adopt=verbs[Verb.ADOPT],
        forget=verbs[Verb.FORGET],
        blocked=blocked,
    )
