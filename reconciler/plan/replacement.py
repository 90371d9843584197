"""Which half of a replacement comes first, what that means for viewers, and how long a replaced key pair is kept.

Create first wherever the service allows it, so that nothing is ever missing.
For key pairs three things prevent it: a public key cannot be imported twice (observed, not documented), a region holds three key pairs (service quotas),
and another pair may still have the new public key.

A replaced key pair may be kept for a while, so that tokens signed with the old key stay valid until they expire.
A tag on the old pair says until when. This module reads no clock: the time is an input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from reconciler.diff import FieldChange, escape
from reconciler.model.address import RETIRES, Address, KindName
from reconciler.model.kinds import CHILD_KINDS, KINDS
from reconciler.model.resource import LiveResource, LiveState
from reconciler.plan.decision import Decision, InUse, PlanInputs, Treatment, is_protected, unseen_users
from reconciler.plan.pairing import has_failed
from reconciler.plan.plan import Blocked, Reason, ReplaceOrder, Verb

_PATH = "/tags/" + escape(RETIRES)


def treatments(
    inputs: PlanInputs, decisions: Sequence[Decision], in_use: Mapping[str, InUse], free: Mapping[KindName, int]
) -> dict[int, Treatment]:
    """Return by decision index how each replacement is carried out, and what is blocked.

    ``in_use`` has, by ARN, what channels keep using, ``free`` how many more of each kind the quotas allow.
    """
    found = {index: Treatment(why) for index, why in _without_material(inputs, decisions).items()}
    created = Counter(
        decision.address.kind
        for index, decision in enumerate(decisions)
        if decision.verb is Verb.CREATE and not decision.blocked and index not in found
    )
    room = {kind: places - created[kind] for kind, places in free.items()}
    for index, decision in enumerate(decisions):
        if decision.live is None:
            continue
        kind, use = decision.address.kind, in_use.get(decision.live.arn)
        if decision.verb is Verb.REPLACE:
            blocked_by = found[index].blocked if index in found else None
            found[index] = _replacing(inputs, decision, blocked_by, use, room.get(kind, 1))
            if found[index].retires:
                room[kind] -= 1  # the place it uses is not freed soon
        elif decision.verb is Verb.DELETE and use is not None:
            code = "unmanaged" if use.by_others else "depends"
            found[index] = Treatment(Blocked(code, f"{decision.live.arn} is still in use: {use.said}"))
    return found


def held_material(live: LiveState) -> dict[str, str]:
    """Return the ARN of the key pair that has each public key, by fingerprint."""
    return {
        value: pair.arn
        for kind in KINDS.values()
        if kind.unique
        for pair in live.of(kind.name)
        if isinstance(value := pair.properties.get(kind.unique), str)
    }


def _replacing(
    inputs: PlanInputs, decision: Decision, blocked_by: Blocked | None, use: InUse | None, room: int
) -> Treatment:
    """Return how one replacement is carried out. ``blocked_by`` is why it is blocked, ``room`` how many more of its kind fit."""
    live, kind = decision.live, decision.address.kind
    if live is None or kind in CHILD_KINDS:
        return Treatment(blocked_by, ReplaceOrder.DELETE_FIRST)  # a channel has at most one key
    if KINDS[kind].unique:
        return _replacing_key_pair(inputs, decision, blocked_by, room)
    unused = live.arn not in inputs.owned.users and not unseen_users(inputs, kind)
    order, warnings = ReplaceOrder.CREATE_FIRST, []
    if use is not None:
        warnings.append(f"{live.arn} is kept after its replacement, because it is still in use: {use.said}")
    if has_failed(live) and unused:
        order = ReplaceOrder.DELETE_FIRST
    elif room < 1 and unused and use is None:
        order = ReplaceOrder.DELETE_FIRST
        warnings.append(
            f"all {inputs.limits[kind]:,} {KINDS[kind].titles} of the region's quota are used, so it is deleted before it is recreated; no channel uses it"
        )
    return Treatment(blocked_by, order, use is None, warnings=tuple(warnings))


def _replacing_key_pair(inputs: PlanInputs, decision: Decision, blocked_by: Blocked | None, room: int) -> Treatment:
    held = decision.live.properties.get(KINDS[decision.address.kind].unique) if decision.live else None
    limit = inputs.limits[decision.address.kind]
    material = decision.wanted.get(KINDS[decision.address.kind].unique)
    holder = held_material(inputs.live).get(str(material))
    overlap = decision.desired.overlap if decision.desired else 0
    if material == held:
        why = "a public key cannot be imported twice, so the pair is deleted before the import under its new name"
    elif holder is not None:
        why = f"its new public key is still used by {holder}, and a public key cannot be imported twice"
    elif overlap and not (decision.blocked or blocked_by):
        return _overlapping(inputs, overlap, limit, room)
    elif room < 1:
        why = f"all {limit} key pairs of the region's quota are used, so the new one cannot exist beside the old one"
    else:
        warning = "tokens signed with the old private key are rejected once the old pair is deleted; sign with the new key before you apply"
        return Treatment(blocked_by, ReplaceOrder.CREATE_FIRST, warnings=(warning,))
    until = "until the import that follows is done"
    if material != held:
        until = "until viewers have tokens signed with the new private key, valid from the import that follows"
    warning = f"viewers are locked out temporarily: {why}; from the delete on, tokens signed with the old key are rejected, {until}"
    return Treatment(blocked_by, ReplaceOrder.DELETE_FIRST, warnings=(warning,))


def _overlapping(inputs: PlanInputs, overlap: int, limit: int, room: int) -> Treatment:
    if room < 1:
        message = (
            f"the old key pair must be kept for {length(overlap)}, and all {limit} key pairs of the region's quota are used; "
            "delete an unused one, wait for the end of an earlier overlap, or remove rotation to delete the old one first"
        )
        return Treatment(Blocked("depends", message), ReplaceOrder.CREATE_FIRST)
    warning = (
        f"the old key pair is kept for {length(overlap)} and deleted by a later apply: sign with the new key at once, "
        "so that no token of the old key is used after that"
    )
    return Treatment(
        order=ReplaceOrder.CREATE_FIRST, lets_go=False, retires=_stamp(inputs.now, overlap), warnings=(warning,)
    )


def _without_material(inputs: PlanInputs, decisions: Sequence[Decision]) -> dict[int, Blocked]:
    """Return by decision index the imports whose public key belongs to a pair that stays."""
    held = held_material(inputs.live)
    imports = {
        index: (decision, held[material])
        for index, decision in enumerate(decisions)
        if KINDS[decision.address.kind].unique
        and decision.verb in (Verb.CREATE, Verb.REPLACE)
        and not decision.blocked
        and (material := str(decision.wanted.get(KINDS[decision.address.kind].unique))) in held
    }
    leaving = {
        decision.live.arn
        for decision in decisions
        if decision.live and not decision.blocked and decision.verb in (Verb.REPLACE, Verb.DELETE)
    }
    blocked: dict[int, Blocked] = {}
    while stays := {index: item for index, item in imports.items() if index not in blocked and item[1] not in leaving}:
        for index, (decision, holder) in stays.items():
            message = f"its public key is used by {holder}, which is kept, and a public key cannot be imported twice; delete that pair first"
            blocked[index] = Blocked("depends", message)
            # A blocked replacement keeps its public key, which may block the next.
            if decision.live:
                leaving.discard(decision.live.arn)
    return blocked


def until_of(pair: LiveResource) -> datetime | None:
    """Return until when a replaced pair is kept, or ``None`` if its tag is missing or invalid."""
    try:
        until = datetime.fromisoformat(pair.tags[RETIRES])
    except (KeyError, ValueError):
        return None
    return until if until.tzinfo is not None else until.replace(tzinfo=UTC)


def _stamp(now: datetime, overlap: int) -> str:
    """Return until when a pair that is replaced now is kept."""
    return _text(now + timedelta(seconds=overlap))


def length(seconds: int) -> str:
    """Return a duration as the spec writes it."""
    return f"{seconds // 86_400}d" if seconds % 86_400 == 0 else f"{seconds // 3_600}h"


def leftover(inputs: PlanInputs, address: Address, pair: LiveResource) -> tuple[Decision | None, str] | None:
    """Return the decision and the note for a pair that was replaced; ``None`` if its retention does not matter."""
    if not KINDS[pair.kind].unique:
        return None
    until, kept = until_of(pair), inputs.kept[address]
    if until is not None and until > inputs.now:
        return (
            None,
            f"{address}: {pair.arn} was replaced by {kept.arn} and is kept until {_text(until)}, for tokens signed with its key",
        )
    if until is not None and not is_protected(pair):
        why = f"replaced by {kept.arn}; the overlap ended at {_text(until)}"
        return Decision(address, Verb.DELETE, Reason.RETIRED, why, live=pair, wanted=pair.properties), ""
    overlap = inputs.desired.resources[address].overlap
    if until is None and overlap:
        change = FieldChange(_PATH, None, _stamp(inputs.now, overlap), absent_before=True)
        why = f"replaced by {kept.arn}, kept for {length(overlap)}"
        return Decision(
            address, Verb.UPDATE, Reason.RETIRING, why, live=pair, wanted=pair.properties, changes=(change,)
        ), ""
    return None


def is_leftover(pair: LiveResource) -> bool:
    """Return whether the pair's tags say that it was replaced."""
    return bool(KINDS[pair.kind].unique) and until_of(pair) is not None


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
