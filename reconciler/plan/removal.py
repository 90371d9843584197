"""What is due for managed resources that are not in the spec or are replaced, and which channels must stop using a resource before it can be deleted.

Without prune, a resource removed from the spec is an orphan: reported, and kept.
What an interrupted replacement left behind is deleted without prune, because the replacement was approved when it was applied.
A recording configuration, policy, ad or slate configuration is deleted after every channel stopped using it; while one still does, it is kept.
One that was replaced and that only channels of other owners use is neither deleted nor blocked: whether they stop is not this stack's decision.

A replacement creates first wherever the service allows it, so that nothing is ever missing.
For key pairs three things prevent it: a public key cannot be imported twice (observed, not documented), a region holds three key pairs (service quotas),
and another pair may still have the new public key.
A replaced key pair may be kept for a while, so that tokens signed with the old key stay valid until they expire.
A tag on the old pair says until when. This module reads no clock: the time is an input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from reconciler.diff import FieldChange, compare, names_of, tag_path
from reconciler.model.address import DELIVERED, ID, OWN, RETIRES, STACK, WAITING, Address, KindName
from reconciler.model.kinds import CHILD_KINDS, KINDS, REFERENCES, USERS, child_kind_of, child_of, references_in
from reconciler.model.resource import LiveResource, LiveState
from reconciler.model.values import Value, format_time
from reconciler.plan.decision import Decision, InUse, PlanInputs, Treatment, is_protected, moved_from, unseen_users
from reconciler.plan.pairing import Choice, has_failed
from reconciler.plan.plan import MAX_USERS, Blocked, Duplicate, Kept, Orphan, Reason, ReplaceOrder, Verb


class Removals(NamedTuple):
    """What is to be deleted, what would be deleted with prune, and, by ARN, what cannot be deleted because it stays in use.

    ``retagged`` stays, with other tags: what is forgotten, and what shares an address that was renamed. ``kept`` are the replaced resources that only other owners use.
    """

    deletes: tuple[Decision, ...]
    retagged: tuple[Decision, ...]
    in_use: Mapping[str, InUse]
    orphans: tuple[Orphan, ...]
    duplicates: tuple[Duplicate, ...]
    kept: tuple[Kept, ...]
    notes: tuple[str, ...]


def removals(inputs: PlanInputs, decisions: Sequence[Decision]) -> Removals:
    """Return the deletes that are due besides the decisions about the spec, and the orphans and duplicates that stay."""
    replaced = {
        decision.address for decision in decisions if decision.verb is Verb.REPLACE and decision.blocked is None
    }
    deletes: list[Decision] = []
    orphans: list[Orphan] = []
    notes: list[str] = []
    forgotten = tuple(_forgotten(inputs))
    let_go = {decision.live.arn for decision in forgotten if decision.live}
    renamed = _probably_renamed(inputs, decisions)
    for address, group in inputs.owned.claims.items():
        if address not in inputs.desired.resources:
            staying = tuple(live for live in group if live.arn not in let_go)
            _removed_from_spec(inputs, address, staying, deletes, orphans, renamed)
        elif address in inputs.choices:
            for other, reason in inputs.choices[address].others:
                # The kept duplicate is replaced, because none matched the spec, so the others are leftovers of a replacement.
                decision, note = _decide_other(
                    inputs, address, other, Reason.SUPERSEDED if address in replaced else reason
                )
                deletes += [decision] if decision else []
                notes += [note] if note else []
    deleted = {decision.live.arn for decision in deletes if decision.live and decision.blocked is None}
    duplicated = {
        address
        for address, choice in inputs.choices.items()
        if any(other.arn not in deleted for other, _ in choice.others)
    }
    for address, key in _keys_without_spec(inputs, duplicated):
        if key.arn not in let_go:
            _removed_from_spec(inputs, address, (key,), deletes, orphans, renamed)
    in_use = _in_use(inputs, (*decisions, *deletes), let_go)
    kept = tuple(filter(None, (_kept(inputs, decision, in_use) for decision in deletes)))
    explained = {one.arn for one in kept}
    due = tuple(decision for decision in deletes if decision.live is None or decision.live.arn not in explained)
    duplicates = tuple(
        Duplicate(address, choice.kept.arn, others)
        for address, choice in inputs.choices.items()
        if address not in inputs.desired.forget and (others := _unexplained(choice, due, explained))
    )
    moving = {decision.address for decision in decisions if decision.blocked is None}
    renames = _renames_beside(inputs, moving, {decision.live.arn for decision in due if decision.live})
    return Removals(due, (*forgotten, *renames), in_use, tuple(orphans), duplicates, kept, tuple(notes))


def _forgotten(inputs: PlanInputs) -> Iterator[Decision]:
    """Yield what is no longer to be managed: each resource of these addresses, and a channel's stream keys before the channel."""
    spec, unreadable = inputs.desired, inputs.live.unreadable
    if not spec.forget:
        return
    incomplete = _incomplete_spec(inputs)
    for address, group in inputs.owned.claims.items():
        key_address = child_of(address)
        whole = address in spec.forget and address not in spec.resources
        keys = key_address is not None and key_address not in spec.resources and (whole or key_address in spec.forget)
        for live in group:
            if keys and key_address is not None:
                for key in inputs.owned.keys.get(live.arn, ()):
                    if key.tags.get(STACK) == spec.stack:
                        yield _forget(key_address, key, incomplete)
            if whole:
                blocked = incomplete
                if keys and key_address is not None and key_address.kind in unreadable:
                    why = f"stream keys could not be read ({unreadable[key_address.kind]}), and are forgotten with their channel"
                    blocked = Blocked("unreadable", f"{why}; correct that, then run plan again")
                yield _forget(address, live, blocked)


def _incomplete_spec(inputs: PlanInputs) -> Blocked | None:
    """Return why nothing that the spec seems not to have may be deleted or forgotten, if a file of it was not read."""
    missing = inputs.desired.missing
    if not missing:
        return None
    more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
    return Blocked("incomplete-spec", f"its spec may be in a file that was not read: {missing[0]}{more}")


def _forget(address: Address, live: LiveResource, blocked: Blocked | None) -> Decision:
    changes = tuple(
        FieldChange(tag_path(key), value, None, absent_after=True)
        for key, value in sorted(live.tags.items())
        if key in OWN
    )
    warnings = []
    if is_protected(live):
        warnings.append("it is protected: forgetting does not delete it, but ends its protection")
    if (place := live.tags.get(DELIVERED, WAITING)) != WAITING:
        warnings.append(f"its value stays where it was published: {place}")
    return Decision(
        address,
        Verb.FORGET,
        Reason.FORGOTTEN,
        "only its owner tags are removed",
        live=live,
        wanted=live.properties,
        changes=changes,
        blocked=blocked,
        warnings=tuple(warnings),
    )


def _renames_beside(inputs: PlanInputs, moving: Container[Address], due: Container[str]) -> Iterator[Decision]:
    """Yield the rename of what stays beside the kept resource of a renamed address: replaced ones, and duplicates.

    ``moving`` are the addresses whose kept resource is renamed; ``due`` are ARNs that are changed anyway.
    """
    for address, choice in inputs.choices.items():
        if address not in moving:
            continue
        for other, _ in choice.others:
            if other.arn not in due and (former := moved_from(inputs.desired.moved, address, other)):
                change = FieldChange(tag_path(ID), former.id, address.id)
                why = f"moved from {former}, beside {choice.kept.arn}"
                yield Decision(
                    address, Verb.UPDATE, Reason.MOVED, why, live=other, wanted=other.properties, changes=(change,)
                )


def _probably_renamed(inputs: PlanInputs, decisions: Sequence[Decision]) -> dict[str, Address]:
    """Return by ARN what a blocked create would be made beside, with the address of the create: its delete would cost what the create cannot restore."""
    return {
        one.arn: decision.address
        for decision in decisions
        if decision.verb is Verb.CREATE and decision.blocked and decision.blocked.code == "renamed"
        for one in inputs.owned.renamed[decision.address]
    }


def _kept(inputs: PlanInputs, decision: Decision, in_use: Mapping[str, InUse]) -> Kept | None:
    """Return what is kept in place of a delete: a replaced resource that only other owners use."""
    live = decision.live
    if live is None or decision.reason is not Reason.SUPERSEDED or decision.blocked or live.arn not in in_use:
        return None
    users = in_use[live.arn].others
    if not users:
        return None
    counts = Counter((user.kind, user.tags.get(STACK, "")) for user in users)
    usage = " and ".join(
        f"{KINDS[kind].with_count(count)} of {f'stack {owner}' if owner else 'no stack'}"
        for (kind, owner), count in sorted(counts.items(), key=lambda item: item[0][1])
    )
    return Kept(
        decision.address,
        live.arn,
        inputs.kept[decision.address].arn,
        f"in use by {usage}",
        len(users),
        tuple(user.as_unmanaged() for user in users[:MAX_USERS]),
    )


def _unexplained(choice: Choice, due: Iterable[Decision], kept: Container[str]) -> tuple[str, ...]:
    """Return the others that claim an address, without key pairs that the kept one replaced and what other owners use."""
    retiring = {decision.live.arn for decision in due if decision.live and decision.reason is Reason.RETIRING}
    return tuple(
        other.arn
        for other, _ in choice.others
        if not is_replaced_key_pair(other) and other.arn not in retiring and other.arn not in kept
    )


def _in_use(inputs: PlanInputs, decisions: Sequence[Decision], let_go: Container[str]) -> dict[str, InUse]:
    """Return, by ARN, what is to be deleted or replaced but stays in use. ``let_go`` are the ARNs to be forgotten."""
    leaving = [
        live
        for decision in decisions
        if (live := decision.live)
        and decision.blocked is None
        and USERS[live.kind]
        and decision.verb in (Verb.DELETE, Verb.REPLACE)
    ]
    if not leaving:
        return {}
    gone = {
        decision.live.arn
        for decision in decisions
        if decision.live and decision.verb is Verb.DELETE and decision.blocked is None
    }
    of_user = {
        decision.live.arn: decision
        for decision in decisions
        if decision.live and REFERENCES.get(decision.live.kind) and decision.verb is not Verb.DELETE
    }
    names = {user.arn: address for address, user in inputs.kept.items() if REFERENCES[address.kind]}
    will_use: dict[str, list[Address]] = {}
    for decision in decisions:
        if decision.blocked is None and decision.verb is not Verb.DELETE:
            for arn in _arns_in(decision.address.kind, decision.wanted):
                will_use.setdefault(arn, []).append(decision.address)
    found = {}
    for live in leaving:
        holding = [
            user
            for user in inputs.owned.users.get(live.arn, ())
            if user.arn not in gone and live.arn in _refers_after(user, of_user.get(user.arn))
        ]
        said = [_usage(inputs, user, names.get(user.arn), of_user.get(user.arn), let_go) for user in holding]
        said = said or [f"{user} names its ARN" for user in will_use.get(live.arn, ())]
        if said:
            of_others = [user for user in holding if user.tags.get(STACK) != inputs.desired.stack]
            found[live.arn] = InUse(
                "; ".join(said), bool(of_others), tuple(of_others) if len(of_others) == len(holding) else ()
            )
    return found


def _arns_in(kind: KindName, properties: Mapping[str, Value]) -> frozenset[str]:
    return frozenset(arn for arn in references_in(kind, properties) if isinstance(arn, str))


def _refers_after(user: LiveResource, decision: Decision | None) -> frozenset[str]:
    return _arns_in(user.kind, user.properties if decision is None or decision.blocked else decision.wanted)


def _usage(
    inputs: PlanInputs, user: LiveResource, address: Address | None, decision: Decision | None, let_go: Container[str]
) -> str:
    """Return who uses a resource, and why it keeps using it."""
    if user.arn in let_go:
        return f"{address or user.arn} is to be forgotten, and keeps using it"
    if address is not None and address not in inputs.desired.resources:
        return f"{address} is orphaned and uses it"
    if decision is not None and decision.blocked:
        return f"{address} uses it and its action is blocked"
    if address is not None:
        return f"{address} uses it, by ARN or in an ignored field"
    owner = user.tags.get(STACK)
    whose = (
        "no stack's"
        if owner is None
        else "managed and not deleted"
        if owner == inputs.desired.stack
        else f"stack {owner}'s"
    )
    return f"{KINDS[user.kind].title} {user.name or '(without a name)'} ({user.arn}) is {whose}"


def _removed_from_spec(
    inputs: PlanInputs,
    address: Address,
    group: tuple[LiveResource, ...],
    deletes: list[Decision],
    orphans: list[Orphan],
    renamed: Mapping[str, Address],
) -> None:
    for live in group:
        protected = is_protected(live)
        if not inputs.options.prune:
            orphans.append(Orphan(address, live.arn, protected))
            continue
        inner = child_kind_of(address.kind)
        also = f"; deletes its {inner.title} as well" if inner else ""
        delete = _delete(inputs, address, live, Reason.LEFT_SPEC, f"removed from the spec (prune enabled){also}")
        if (key := child_of(address)) in inputs.desired.forget and delete.blocked is None:
            why = f"{key} is to be forgotten and kept, and would be deleted with it; forget {address} instead, or remove {key} from forget"
            delete = delete._replace(blocked=Blocked("depends", why))
        if live.arn in renamed and delete.blocked is None:
            new = renamed[live.arn]
            delete = delete._replace(
                blocked=Blocked("renamed", f"probably renamed to {new}, which has its kind and name; see that action")
            )
        deletes.append(delete)


def _decide_other(
    inputs: PlanInputs, address: Address, other: LiveResource, reason: Reason
) -> tuple[Decision | None, str]:
    """Return the decision and the note for a resource whose address another one keeps."""
    kept = inputs.kept[address]
    if (reason is Reason.SUPERSEDED or is_replaced_key_pair(other)) and (
        due := replaced_key_pair(inputs, address, other)
    ):
        return due
    if reason is Reason.SUPERSEDED:
        return _delete(inputs, address, other, reason, f"left over from an earlier replacement; {kept.arn} is kept"), ""
    choice = inputs.choices[address]
    claim = f"{address}: {KINDS[address.kind].title} {other.arn} has the same address as {kept.arn}"
    if not inputs.options.prune:
        used = f", which {choice.why}," if choice.why else ""
        return None, f"{claim}{used} and is kept because prune is disabled"
    if KINDS[address.kind].live and inputs.live.streams_hidden:
        return (
            None,
            f"{claim} and is kept, because it is unknown which of them was live last ({inputs.live.streams_hidden})",
        )
    if is_protected(other):
        return None, f"{claim} and is protected; change its {ID} tag by hand to keep it"
    differing = compare(address.kind, kept.properties, other.properties)
    unlike = f"; it differs in {names_of(differing)}" if differing else ""
    used = f", because it {choice.why}" if choice.why else ""
    return _delete(
        inputs, address, other, reason, f"{kept.arn} is kept for this address{used}; prune is enabled{unlike}"
    ), ""


def _delete(inputs: PlanInputs, address: Address, live: LiveResource, reason: Reason, explanation: str) -> Decision:
    blocked = None
    if is_protected(live):
        named = address if reason is Reason.LEFT_SPEC else live.arn
        blocked = Blocked(
            "protected", f"{named} is protected; restore it in the spec with protect: false, apply, then delete it"
        )
    elif incomplete := _incomplete_spec(inputs):
        blocked = incomplete
    elif why := unseen_users(inputs, live.kind):
        blocked = Blocked("unreadable", why)
    return Decision(address, Verb.DELETE, reason, explanation, live=live, wanted=live.properties, blocked=blocked)


def _keys_without_spec(inputs: PlanInputs, duplicated: Container[Address]) -> list[tuple[Address, LiveResource]]:
    """Return our stream keys whose channel stays in the spec without a stream key. A key whose channel is deleted needs no call of its own.

    ``duplicated`` are the addresses of which several resources stay: their keys stay too, because a key decides which of
    two channels is kept, and without it the next plan could keep the other one.
    """
    found = []
    for address, channel in inputs.kept.items():
        if channel.arn not in inputs.owned.keys or address in duplicated:
            continue
        key_address = child_of(address)
        if key_address is None or address not in inputs.desired.resources:
            continue
        if key_address not in inputs.desired.resources:
            found += [
                (key_address, key)
                for key in inputs.owned.keys[channel.arn]
                if key.tags.get(STACK) == inputs.desired.stack
            ]
    return found


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
    capacity = {kind: places - created[kind] for kind, places in free.items()}
    for index, decision in enumerate(decisions):
        if decision.live is None:
            continue
        kind, use = decision.address.kind, in_use.get(decision.live.arn)
        if decision.verb is Verb.REPLACE:
            blocked_by = found[index].blocked if index in found else None
            found[index] = _replacing(inputs, decision, blocked_by, use, capacity.get(kind, 1))
            if found[index].retires:
                capacity[kind] -= 1  # the place it uses is not freed soon
        elif decision.verb is Verb.DELETE and use is not None:
            code = "unmanaged" if use.by_others else "depends"
            found[index] = Treatment(Blocked(code, f"{decision.live.arn} is still in use: {use.explanation}"))
    return found


def pairs_by_public_key(live: LiveState) -> dict[str, str]:
    """Return the ARN of the key pair that has each public key, by fingerprint."""
    return {
        value: pair.arn
        for kind in KINDS.values()
        if kind.unique
        for pair in live.of(kind.name)
        if isinstance(value := pair.properties.get(kind.unique), str)
    }


def _replacing(
    inputs: PlanInputs, decision: Decision, blocked_by: Blocked | None, use: InUse | None, capacity: int
) -> Treatment:
    """Return how one replacement is carried out. ``blocked_by`` is why it is blocked, ``capacity`` how many more of its kind fit."""
    live, kind = decision.live, decision.address.kind
    if live is None or kind in CHILD_KINDS:
        return Treatment(blocked_by, ReplaceOrder.DELETE_FIRST)  # a channel has at most one key
    if KINDS[kind].unique:
        return _replacing_key_pair(inputs, decision, blocked_by, capacity)
    unused = live.arn not in inputs.owned.users and not unseen_users(inputs, kind)
    order, warnings = ReplaceOrder.CREATE_FIRST, []
    if use is not None:
        warnings.append(f"{live.arn} is kept after its replacement, because it is still in use: {use.explanation}")
    if has_failed(live) and unused:
        order = ReplaceOrder.DELETE_FIRST
    elif capacity < 1 and unused and use is None:
        order = ReplaceOrder.DELETE_FIRST
        warnings.append(
            f"all {inputs.limits[kind]:,} {KINDS[kind].titles} of the region's quota are used, so it is deleted before it is recreated; no channel uses it"
        )
    return Treatment(blocked_by, order, use is None, warnings=tuple(warnings))


def _replacing_key_pair(inputs: PlanInputs, decision: Decision, blocked_by: Blocked | None, capacity: int) -> Treatment:
    held = decision.live.properties.get(KINDS[decision.address.kind].unique) if decision.live else None
    limit = inputs.limits[decision.address.kind]
    material = decision.wanted.get(KINDS[decision.address.kind].unique)
    holder = pairs_by_public_key(inputs.live).get(str(material))
    overlap = decision.desired.overlap if decision.desired else 0
    if material == held:
        why = "a public key cannot be imported twice, so the pair is deleted before the import under its new name"
    elif holder is not None:
        why = f"its new public key is still used by {holder}, and a public key cannot be imported twice"
    elif overlap and not (decision.blocked or blocked_by):
        return _overlapping(inputs, overlap, limit, capacity)
    elif capacity < 1:
        why = f"all {limit} key pairs of the region's quota are used, so the new one cannot exist beside the old one"
    else:
        warning = "tokens signed with the old private key are rejected once the old pair is deleted; sign with the new key before you apply"
        return Treatment(blocked_by, ReplaceOrder.CREATE_FIRST, warnings=(warning,))
    until = "until the import that follows is done"
    if material != held:
        until = "until viewers have tokens signed with the new private key, valid from the import that follows"
    warning = f"viewers are locked out temporarily: {why}; from the delete on, tokens signed with the old key are rejected, {until}"
    return Treatment(blocked_by, ReplaceOrder.DELETE_FIRST, warnings=(warning,))


def _overlapping(inputs: PlanInputs, overlap: int, limit: int, capacity: int) -> Treatment:
    if capacity < 1:
        message = (
            f"the old key pair must be kept for {duration_text(overlap)}, and all {limit} key pairs of the region's quota are used; "
            "delete an unused one, wait for the end of an earlier overlap, or remove rotation to delete the old one first"
        )
        return Treatment(Blocked("depends", message), ReplaceOrder.CREATE_FIRST)
    warning = (
        f"the old key pair is kept for {duration_text(overlap)} and deleted by a later apply: sign with the new key at once, "
        "so that no token of the old key is used after that"
    )
    return Treatment(
        order=ReplaceOrder.CREATE_FIRST,
        may_delete=False,
        retires=_end_of_overlap(inputs.now, overlap),
        warnings=(warning,),
    )


def _without_material(inputs: PlanInputs, decisions: Sequence[Decision]) -> dict[int, Blocked]:
    """Return by decision index the imports whose public key belongs to a pair that stays."""
    held = pairs_by_public_key(inputs.live)
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


def kept_until(pair: LiveResource) -> datetime | None:
    """Return until when a replaced pair is kept, or ``None`` if its tag is missing or invalid."""
    try:
        until = datetime.fromisoformat(pair.tags[RETIRES])
    except (KeyError, ValueError):
        return None
    return until if until.tzinfo is not None else until.replace(tzinfo=UTC)


def _end_of_overlap(now: datetime, overlap: int) -> str:
    """Return until when a pair that is replaced now is kept."""
    return format_time(now + timedelta(seconds=overlap))


def duration_text(seconds: int) -> str:
    """Return a duration as the spec writes it."""
    return f"{seconds // 86_400}d" if seconds % 86_400 == 0 else f"{seconds // 3_600}h"


def replaced_key_pair(inputs: PlanInputs, address: Address, pair: LiveResource) -> tuple[Decision | None, str] | None:
    """Return the decision and the note for a pair that was replaced; ``None`` if its retention does not matter."""
    if not KINDS[pair.kind].unique:
        return None
    until, kept = kept_until(pair), inputs.kept[address]
    if until is not None and until > inputs.now:
        return (
            None,
            f"{address}: {pair.arn} was replaced by {kept.arn} and is kept until {format_time(until)}, for tokens signed with its key",
        )
    if until is not None and not is_protected(pair):
        why = f"replaced by {kept.arn}; the overlap ended at {format_time(until)}"
        return Decision(address, Verb.DELETE, Reason.RETIRED, why, live=pair, wanted=pair.properties), ""
    overlap = inputs.desired.resources[address].overlap
    if until is None and overlap:
        change = FieldChange(tag_path(RETIRES), None, _end_of_overlap(inputs.now, overlap), absent_before=True)
        why = f"replaced by {kept.arn}, kept for {duration_text(overlap)}"
        return Decision(
            address, Verb.UPDATE, Reason.RETIRING, why, live=pair, wanted=pair.properties, changes=(change,)
        ), ""
    return None


def is_replaced_key_pair(pair: LiveResource) -> bool:
    """Return whether the pair's tags say that it was replaced."""
    return bool(KINDS[pair.kind].unique) and kept_until(pair) is not None
