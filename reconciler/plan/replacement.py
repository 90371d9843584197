"""Which half of a replacement comes first, and what that means for viewers.

Create first wherever the service allows it, so that nothing is ever without what it needs.
Three things forbid it for key pairs: a public key cannot be imported twice (observed, not documented), a region holds three key pairs (service quotas),
and the new material may still be held by another pair.

Key pairs that were replaced and stay for a while, so that tokens signed with the old key count until they have run out.

A tag on the old pair says until when. The plan knows what time it is because it is told; nothing here looks at a clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from reconciler.diff import FieldChange, escape
from reconciler.model.address import RETIRES, Address, KindName
from reconciler.model.kinds import KINDS
from reconciler.model.resource import LiveResource
from reconciler.plan.decision import Draft, Scene, is_protected
from reconciler.plan.pairing import has_failed
from reconciler.plan.plan import Blocked, Reason, ReplaceOrder, Step, TargetPlan, Verb

_PATH = "/tags/" + escape(RETIRES)


def until_of(pair: LiveResource) -> datetime | None:
    """Return until when a pair is kept beside the one that replaced it, or ``None`` where its tags say nothing that can be read."""
    try:
        until = datetime.fromisoformat(pair.tags[RETIRES])
    except (KeyError, ValueError):
        return None
    return until if until.tzinfo is not None else until.replace(tzinfo=UTC)


def stamp(scene: Scene, overlap: int) -> str:
    """Return until when a pair that is replaced now is kept."""
    return _text(scene.now + timedelta(seconds=overlap))


def length(seconds: int) -> str:
    """Return a length of time as the spec writes it."""
    return f"{seconds // 86_400}d" if seconds % 86_400 == 0 else f"{seconds // 3_600}h"


def leftover(scene: Scene, address: Address, pair: LiveResource) -> tuple[Draft | None, str] | None:
    """Return what is due for a pair that another one took the place of, and what is to be noted; ``None`` where it is no matter of time."""
    if pair.kind is not KindName.PLAYBACK_KEY_PAIR:
        return None
    until, kept = until_of(pair), scene.kept[address]
    if until is not None and until > scene.now:
        return (
            None,
            f"{address}: {pair.arn} gave way to {kept.arn} and is kept beside it until {_text(until)}, for tokens that are signed with its key",
        )
    if until is not None and not is_protected(pair):
        why = f"it gave way to {kept.arn}, and the time that it was kept beside it ended at {_text(until)}"
        return Draft(address, Verb.DELETE, Reason.RETIRED, why, live=pair, wanted=pair.properties), ""
    overlap = scene.desired.resources[address].overlap
    if until is None and overlap:
        change = FieldChange(_PATH, None, stamp(scene, overlap), absent_before=True)
        why = f"it gave way to {kept.arn}, and is kept beside it for {length(overlap)}"
        return Draft(
            address, Verb.UPDATE, Reason.RETIRING, why, live=pair, wanted=pair.properties, changes=(change,)
        ), ""
    return None


def is_leftover(pair: LiveResource) -> bool:
    """Whether the pair's own tags say that it gave way to another."""
    return pair.kind is KindName.PLAYBACK_KEY_PAIR and until_of(pair) is not None


def counted_anew(plan: TargetPlan, later: timedelta) -> TargetPlan:
    """Return a plan that is applied so much later than it was made: pairs are kept from then on."""
    return replace(
        plan,
        actions=tuple(
            replace(action, steps=tuple(_moved(step, later) for step in action.steps)) for action in plan.actions
        ),
    )


def _moved(step: Step, later: timedelta) -> Step:
    tags = step.parameters.get("tags")
    if not isinstance(tags, Mapping) or RETIRES not in tags:
        return step
    until = datetime.fromisoformat(str(tags[RETIRES])) + later
    return replace(step, parameters={**step.parameters, "tags": {**tags, RETIRES: _text(until)}})


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def arrange(scene: Scene, drafts: Iterable[Draft], deletes: tuple[Draft, ...]) -> tuple[Draft, ...]:
    """Give each replacement its order and its warnings, and block an import whose public key is held by a pair that stays."""
    drafts = _without_held_material(scene, tuple(drafts), deletes)
    created = Counter(draft.address.kind for draft in drafts if draft.verb is Verb.CREATE and draft.blocked is None)
    room = {kind: slots(scene, kind) - created[kind] for kind in scene.limits}
    arranged: list[Draft] = []
    for draft in drafts:
        ordered = _ordered(scene, draft, room.get(draft.address.kind, 1)) if draft.verb is Verb.REPLACE else draft
        if ordered.retires:
            room[draft.address.kind] -= 1  # the place that it takes is not given back soon
        arranged.append(ordered)
    return tuple(arranged)


def slots(scene: Scene, kind: KindName) -> int:
    """Return how many more resources of a kind with a quota fit beside those that are live, anybody's."""
    return scene.limits[kind] - len(scene.live.of(kind))


def holders(scene: Scene) -> dict[str, str]:
    """Return the ARN of this stack's key pair that holds each public key, by fingerprint."""
    return {
        fingerprint: pair.arn
        for pair in scene.live.of(KindName.PLAYBACK_KEY_PAIR)
        if isinstance(fingerprint := pair.properties.get("fingerprint"), str)
    }


def _ordered(scene: Scene, draft: Draft, room: int) -> Draft:
    live = draft.live
    if live is None or draft.order is not None:
        return draft
    if live.kind is KindName.PLAYBACK_KEY_PAIR:
        return _key_pair(scene, draft, live.properties.get("fingerprint"), room)
    unused = live.arn not in scene.owned.users and KindName.CHANNEL not in scene.live.unreadable
    if has_failed(live) and unused:
        return replace(draft, order=ReplaceOrder.DELETE_FIRST)
    if room < 1 and unused and draft.lets_go:
        why = f"all {scene.limits[live.kind]:,} {KINDS[live.kind].titles} that a region can hold are taken, so it is deleted before it is created anew; no channel uses it"
        return replace(draft, order=ReplaceOrder.DELETE_FIRST, warnings=(*draft.warnings, why))
    return replace(draft, order=ReplaceOrder.CREATE_FIRST)


def _key_pair(scene: Scene, draft: Draft, held: object, room: int) -> Draft:
    material = draft.wanted.get("fingerprint")
    holder = holders(scene).get(material) if isinstance(material, str) else None
    if material == held:
        why = "a public key cannot be imported twice, so the pair is deleted before it is imported under its new name"
    elif holder is not None:
        why = f"its new public key is still held by {holder}, and a public key cannot be imported twice"
    elif draft.desired is not None and draft.desired.overlap and draft.blocked is None:
        return _overlapping(scene, draft, draft.desired.overlap, room)
    elif room < 1:
        why = f"all {scene.limits[draft.address.kind]} key pairs that a region can hold are taken, so there is no room for the new one beside the old one"
    else:
        warning = "tokens signed with the old private key are refused once the old pair is deleted; let the new key sign before you apply"
        return replace(draft, order=ReplaceOrder.CREATE_FIRST, warnings=(*draft.warnings, warning))
    until = "until the import that follows is done"
    if material != held:
        until = "until viewers get tokens signed with the new private key, which count from the import that follows"
    warning = f"viewers are locked out for a while: {why}; from the delete on, tokens signed with the old key are refused, {until}"
    return replace(draft, order=ReplaceOrder.DELETE_FIRST, warnings=(*draft.warnings, warning))


def _overlapping(scene: Scene, draft: Draft, overlap: int, room: int) -> Draft:
    if room < 1:
        limit = scene.limits[KindName.PLAYBACK_KEY_PAIR]
        message = (
            f"its old key pair is to stay beside the new one for {length(overlap)}, and all {limit} key pairs that a region can hold are taken; "
            "delete one that is not needed, wait until one that gave way earlier is over, or leave rotation out to delete the old one first"
        )
        return replace(draft, order=ReplaceOrder.CREATE_FIRST, blocked=Blocked("depends", message))
    warning = (
        f"the old key pair stays for {length(overlap)} from the apply on, and a later apply deletes it: let the new key sign at once, "
        "so that no token signed with the old one outlives it"
    )
    return replace(
        draft,
        order=ReplaceOrder.CREATE_FIRST,
        warnings=(*draft.warnings, warning),
        retires=stamp(scene, overlap),
        lets_go=False,
    )


def _without_held_material(scene: Scene, drafts: tuple[Draft, ...], deletes: tuple[Draft, ...]) -> tuple[Draft, ...]:
    if not any(draft.address.kind is KindName.PLAYBACK_KEY_PAIR for draft in drafts):
        return drafts
    held = holders(scene)
    while True:
        # A blocked replacement keeps its material, which may block the next.
        leaving = {
            draft.live.arn
            for draft in (*drafts, *deletes)
            if draft.live and draft.blocked is None and draft.verb in (Verb.REPLACE, Verb.DELETE)
        }
        checked = tuple(_checked(draft, held, leaving) for draft in drafts)
        if checked == drafts:
            return drafts
        drafts = checked


def _checked(draft: Draft, held: dict[str, str], leaving: set[str]) -> Draft:
    if (
        draft.address.kind is not KindName.PLAYBACK_KEY_PAIR
        or draft.blocked
        or draft.verb not in (Verb.CREATE, Verb.REPLACE)
    ):
        return draft
    holder = held.get(str(draft.wanted.get("fingerprint")))
    if holder is None or holder in leaving:
        return draft
    message = f"its public key is held by {holder}, which stays, and a public key cannot be imported twice; delete that pair first"
    return replace(draft, blocked=Blocked("depends", message))
