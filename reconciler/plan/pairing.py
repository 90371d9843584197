"""Matches live resources to addresses by their ownership tags, before anything is compared, and finds what a create would duplicate.

A managed resource has the tag of this stack; its address is its kind and id tag. Others are unmanaged and never changed.
An unmanaged resource without an owner can be adopted with the user's consent, by name or ARN. A stream key belongs to the address of its channel.
Several resources claim one address after a lost create, an interrupted replacement or copied tags: which is kept depends on live state only.

A namesake has the kind and name of a resource of the spec, or its public key, and has no owner or another stack as owner.
A create beside it would be a second channel with another playback URL, so it is blocked until the user adopts the namesake or asks for another one.
A public key exists once in an account and region, so a create beside its key pair is never possible.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from reconciler.errors import AdoptionError, Problem
from reconciler.model.address import ID, RETIRES, STACK, Address, KindName, is_valid_id
from reconciler.model.kinds import CHILD_KINDS, FIELDS, KINDS, LISTED, REFERENCES
from reconciler.model.resource import (
    DesiredResource,
    DesiredState,
    LastStream,
    LiveResource,
    LiveState,
    effective_properties,
)
from reconciler.model.values import Ref, Value, as_json
from reconciler.plan.plan import Blocked, PlanOptions, Reason

_NO_RECORD: Mapping[Address, str] = MappingProxyType({})


class Ownership(NamedTuple):
    """The live resources by owner.

    ``claims`` maps an address to the managed resources that claim it, in ARN order; more than one is a duplicate. Stream keys are not included.
    ``keys`` maps the ARN of a channel to its stream keys.
    ``users`` maps an ARN to the resources that refer to it, managed or not.
    ``consents`` maps an address to the unowned resource that may be adopted for it.
    ``namesakes`` maps an address without a resource to the ones that a create would duplicate.
    ``rivals`` maps one of these to others with the same name in the spec.
    ``untagged`` maps one to the resource that it had after the last apply and that has lost its owner tags.
    ``renamed`` maps one to managed resources that the spec no longer has, with its name or public key: probably it, under its former id.
    ``lookalikes`` maps one to an address that the spec no longer has, and that is probably its former one.
    ``contested`` maps an address to the resources that were to be renamed to it, and cannot: it has one of its own, or they are several.
    """

    claims: Mapping[Address, tuple[LiveResource, ...]]
    keys: Mapping[str, tuple[LiveResource, ...]]
    users: Mapping[str, tuple[LiveResource, ...]]
    consents: Mapping[Address, LiveResource]
    unmanaged: tuple[LiveResource, ...]
    namesakes: Mapping[Address, tuple[LiveResource, ...]]
    rivals: Mapping[Address, tuple[Address, ...]]
    untagged: Mapping[Address, LiveResource]
    renamed: Mapping[Address, tuple[LiveResource, ...]]
    lookalikes: Mapping[Address, Address]
    contested: Mapping[Address, tuple[LiveResource, ...]]
    managed: Mapping[KindName, int]
    notes: tuple[str, ...]


def classify(
    desired: DesiredState,
    live: LiveState,
    options: PlanOptions,
    adopt: Mapping[Address, str],
    recorded: Mapping[Address, str] = _NO_RECORD,
) -> Ownership:
    """Return the live resources by owner. ``recorded`` has the ARNs of the last apply. Raises ``AdoptionError`` with every adoption that is not possible."""
    claims: dict[Address, list[LiveResource]] = {}
    unmanaged: list[LiveResource] = []
    notes: list[str] = []
    managed: dict[KindName, int] = {}
    for kind in LISTED:
        count = 0
        for resource in sorted(live.of(kind), key=_arn):
            if resource.tags.get(STACK) != desired.stack:
                unmanaged.append(resource)
                continue
            count += 1
            identifier = resource.tags.get(ID, "")
            if is_valid_id(identifier):
                claims.setdefault(Address(kind, identifier), []).append(resource)
            else:
                notes.append(_invalid_id_note(resource, identifier))
        managed[kind] = count
    keys = _by_channel(live)
    managed |= {kind: sum(one.tags.get(STACK) == desired.stack for one in live.of(kind)) for kind in CHILD_KINDS}
    contested = _rename(claims, desired)
    settled = {address: tuple(group) for address, group in claims.items()}
    missing = [
        address
        for address in desired.resources
        if address not in settled and address.kind not in CHILD_KINDS and address not in contested
    ]
    recorded = {**{desired.moved.get(address, address): arn for address, arn in recorded.items()}, **recorded}
    untagged = find_untagged(desired, live, missing, recorded) if missing else {}
    namesakes = namesakes_in(desired, live, missing, options.take_over) if missing else {}
    consents = _consents(desired, live, options, adopt, settled, untagged, namesakes)
    adopted = {resource.arn for resource in consents.values()}
    return Ownership(
        claims=settled,
        keys=keys,
        users=users_of(live),
        consents=consents,
        unmanaged=tuple(unmanaged),
        namesakes={
            address: rest
            for address, group in namesakes.items()
            if (rest := tuple(one for one in group if one.arn not in adopted))
        },
        rivals=rivals_in({address: name_of(desired.resources[address]) for address in namesakes}),
        untagged=untagged,
        renamed=renamed_in(desired, settled, missing) if missing else {},
        lookalikes=lookalikes_in(desired, settled, missing) if missing else {},
        contested=contested,
        managed=managed,
        notes=tuple(notes),
    )


def _rename(
    claims: dict[Address, list[LiveResource]], desired: DesiredState
) -> dict[Address, tuple[LiveResource, ...]]:
    """Let the resources of renamed addresses claim the present ones. Return those that cannot, by present address; they claim nothing.

    Which of two resources is meant is unknown, and the other would be a duplicate, so neither is renamed.
    """
    sources: dict[Address, list[Address]] = {}
    for old, new in desired.moved.items():
        if old in claims and new in desired.resources and old not in desired.resources:
            sources.setdefault(new, []).append(old)
    contested: dict[Address, tuple[LiveResource, ...]] = {}
    for new, olds in sources.items():
        found = [resource for old in olds for resource in claims.pop(old)]
        if new in claims or len(olds) > 1:
            contested[new] = tuple(sorted(found, key=_arn))
        else:
            claims[new] = found
    return contested


def users_of(live: LiveState) -> dict[str, tuple[LiveResource, ...]]:
    """Return by ARN the resources that refer to it, in ARN order."""
    users: dict[str, list[LiveResource]] = {}
    for kind, fields in REFERENCES.items():
        for field in fields:
            for resource in live.of(kind):
                value = resource.properties.get(field.name)
                for arn in field.referred(value) if value is not None else ():
                    if isinstance(arn, str):
                        users.setdefault(arn, []).append(resource)
    return {arn: tuple(sorted(group, key=_arn)) for arn, group in users.items()}


def _by_channel(live: LiveState) -> dict[str, tuple[LiveResource, ...]]:
    keys: dict[str, list[LiveResource]] = {}
    for key in sorted((key for kind in CHILD_KINDS for key in live.of(kind)), key=_arn):
        keys.setdefault(str(key.properties.get("channelArn", "")), []).append(key)
    return {arn: tuple(group) for arn, group in keys.items()}


def _consents(
    desired: DesiredState,
    live: LiveState,
    options: PlanOptions,
    adopt: Mapping[Address, str],
    claims: Mapping[Address, tuple[LiveResource, ...]],
    untagged: Mapping[Address, LiveResource],
    namesakes: Mapping[Address, tuple[LiveResource, ...]],
) -> dict[Address, LiveResource]:
    """Return which resource may be adopted for which address: the one given by ARN, else with ``--adopt`` or ``--take-over`` the one certain match, if any.

    Certain are the resource of the last apply, the one that has this address in a stack to take over, one with the same public key,
    and one whose name no other resource and no other address has.
    """
    consents = _given_by_arn(desired, live, adopt, claims) if adopt else {}
    if not options.adopt and not options.take_over:
        return consents
    taken = {resource.arn for resource in consents.values()}

    def consent(address: Address, resource: LiveResource) -> None:
        if address not in consents and resource.arn not in taken:
            consents[address] = resource
            taken.add(resource.arn)

    def is_free(resource: LiveResource) -> bool:
        if resource.arn in taken:
            return False
        owner = resource.tags.get(STACK)
        return owner in options.take_over or (options.adopt and is_unowned(resource, desired.stack))

    for address, resource in untagged.items() if options.adopt else ():
        consent(address, resource)
    for address, group in of_stacks(options.take_over, live).items():
        if address in desired.resources and address not in claims and len(group) == 1:
            consent(address, group[0])
    for address, group in namesakes.items():
        if has_same_key(desired.resources[address], group[0]) and is_free(group[0]):
            consent(address, group[0])
    for address, resource in _by_unique_name(desired, consents, namesakes, is_free):
        consent(address, resource)
    return consents


def _by_unique_name(
    desired: DesiredState,
    consents: Mapping[Address, LiveResource],
    namesakes: Mapping[Address, tuple[LiveResource, ...]],
    is_free: Callable[[LiveResource], bool],
) -> list[tuple[Address, LiveResource]]:
    """Return the other addresses whose name one free resource has, and no other one of them."""
    by_name: dict[tuple[KindName, str], list[Address]] = {}
    for address in namesakes:
        if address not in consents:
            by_name.setdefault((address.kind, name_of(desired.resources[address])), []).append(address)
    found = []
    for (_, name), addresses in by_name.items():
        free = [one for one in namesakes[addresses[0]] if one.name == name and is_free(one)]
        if len(free) * len(addresses) == 1:
            found.append((addresses[0], free[0]))
    return found


def _given_by_arn(
    desired: DesiredState,
    live: LiveState,
    adopt: Mapping[Address, str],
    claims: Mapping[Address, tuple[LiveResource, ...]],
) -> dict[Address, LiveResource]:
    """Return the live resources of these ARNs by address. Raises ``AdoptionError``. A kind that could not be read is left out."""
    by_arn = {one.arn: one for kind in {address.kind for address in adopt} for one in live.of(kind)}
    found: dict[Address, LiveResource] = {}
    problems: list[Problem] = []
    first: dict[str, Address] = {}
    for address, arn in sorted(adopt.items()):
        if address.kind in live.unreadable:
            continue
        resource = by_arn.get(arn)
        problem = _why_not_adopted(address, arn, resource, desired, live, claims.get(address, ()))
        if other := first.get(arn):
            problem = f"{arn} is given for {other} too", "adopt it for one of them"
        first.setdefault(arn, address)
        if problem is not None:
            problems.append(Problem("", str(address), *problem))
        elif resource is not None:
            found[address] = resource
    if problems:
        raise AdoptionError(tuple(problems))
    return found


def _why_not_adopted(
    address: Address,
    arn: str,
    resource: LiveResource | None,
    desired: DesiredState,
    live: LiveState,
    claims: tuple[LiveResource, ...],
) -> tuple[str, str] | None:
    """Return why the resource of an ARN cannot be adopted for an address, and what to do."""
    title = KINDS[address.kind].title
    if address.kind in CHILD_KINDS:
        return "a stream key is adopted with its channel", "adopt the channel, with streamKey in its spec"
    if address not in desired.resources:
        return "not in the spec", f"add the {title} to the spec, then adopt {arn}"
    if others := [one.arn for one in claims if one.arn != arn]:
        return f"this stack manages {others[0]} under this address", f"use another id for the {title} {arn}"
    if resource is None or resource.kind is not address.kind:
        return f"{title} {arn} does not exist in account {live.account_id}, {live.region}", "check the ARN"
    identifier = resource.tags.get(ID, "")
    if resource.tags.get(STACK) == desired.stack and is_valid_id(identifier) and not claims:
        before = Address(address.kind, identifier)
        rename = f"write moved: {{{before}: {address}}} into a spec file"
        if before in desired.resources:
            rename = f"remove {before} from the spec, and {rename}"
        return f"this stack manages {arn} as {before}", f"to rename it to {address}, {rename}, then apply"
    return None


def _invalid_id_note(resource: LiveResource, identifier: str) -> str:
    wrong = f"its id tag {identifier!r} is not a valid id" if identifier else "it has no id tag"
    return f"{KINDS[resource.kind].title} {resource.arn} is owned by this stack, but {wrong}; it is not changed: adopt it with an address of the spec, or remove the tag {STACK}"


def _arn(resource: LiveResource) -> str:
    return resource.arn


class Choice(NamedTuple):
    """The resource to keep, and the others with the reason to delete them. ``why`` is the last stream, if that decided."""

    kept: LiveResource
    others: tuple[tuple[LiveResource, Reason], ...] = ()
    why: str = ""


def choose_resources(
    desired: DesiredState, owned: Ownership, last_streams: Mapping[str, LastStream]
) -> tuple[dict[Address, LiveResource], dict[Address, Choice]]:
    """Return the live resource by managed address, and the choices where several claim one."""
    kept: dict[Address, LiveResource] = {}
    choices: dict[Address, Choice] = {}
    # Claims are in the order of kinds, so the references of a channel are resolved before the channel.
    for address, group in owned.claims.items():
        if len(group) == 1:
            kept[address] = group[0]
            continue
        choices[address] = _choose(address, group, desired, owned, kept, last_streams)
        kept[address] = choices[address].kept
    return kept, choices


def _choose(
    address: Address,
    group: tuple[LiveResource, ...],
    desired: DesiredState,
    owned: Ownership,
    settled: Mapping[Address, LiveResource],
    last_streams: Mapping[str, LastStream],
) -> Choice:
    """Return which of the resources that claim an address to keep.

    A kind that can be updated keeps the one in use, since differences can be updated; other kinds keep one that already matches.
    In use means: referred to by most channels; for channels, live most recently, then having a stream key with our tag, because its creation was finished.
    The API has no creation time to compare.
    """
    in_order = sorted({last_streams[one.arn] for one in group if one.arn in last_streams}, reverse=True)
    can_update = KINDS[address.kind].update is not None
    spec = desired.resources.get(address)
    expected: Mapping[str, Value] = {}
    if spec is not None:
        expected = {name: _known(value, settled) for name, value in spec.properties.items()}

    def matches(resource: LiveResource) -> bool:
        return (
            spec is not None
            and not has_failed(resource)
            and effective_properties(address.kind, resource.properties, expected, spec.ignore) == resource.properties
        )

    def rank(resource: LiveResource) -> tuple[object, ...]:
        used = -len(owned.users.get(resource.arn, ()))
        unlike = not matches(resource)
        last = last_streams.get(resource.arn)
        last_live = len(in_order) if last is None else in_order.index(last)
        keyless = not any(key.tags.get(STACK) == desired.stack for key in owned.keys.get(resource.arn, ()))
        return (
            (has_failed(resource), used, last_live, unlike, keyless, resource.arn)
            if can_update
            else (unlike, has_failed(resource), RETIRES in resource.tags, used, resource.arn)
        )

    kept, *others = sorted(group, key=rank)
    replaced = not can_update and matches(kept)
    return Choice(
        kept,
        tuple(
            (other, Reason.SUPERSEDED if replaced and not matches(other) else Reason.DUPLICATE)
            for other in sorted(others, key=lambda resource: resource.arn)
        ),
        str(last_streams.get(kept.arn, "")),
    )


def _known(value: Value, settled: Mapping[Address, LiveResource]) -> Value:
    return settled[value.address].arn if isinstance(value, Ref) and value.address in settled else value


def has_failed(resource: LiveResource) -> bool:
    """Return whether the creation failed; such a resource can only be deleted (service model, ``CREATE_FAILED``)."""
    return resource.state is not None and resource.state == KINDS[resource.kind].failed


def is_unsettled(resource: LiveResource) -> bool:
    """Return whether the service is still creating or changing this resource."""
    return resource.state is not None and resource.state not in (
        KINDS[resource.kind].ready,
        KINDS[resource.kind].failed,
    )


_NAMESAKES_LISTED = 5
"""Namesakes that a message lists."""

_FACTS_LISTED = 4
"""Differences that it lists for each."""


def is_unowned(resource: LiveResource, stack: str) -> bool:
    """Return whether no stack can claim the resource: it has no owner tag, or this stack's without a valid id."""
    owner = resource.tags.get(STACK)
    return not owner or (owner == stack and not is_valid_id(resource.tags.get(ID, "")))


def namesakes_in(
    desired: DesiredState, live: LiveState, missing: Iterable[Address], take_over: Iterable[str] = ()
) -> dict[Address, tuple[LiveResource, ...]]:
    """Return by missing address its namesakes in ARN order, those with its public key first, then those with its address in a stack to take over."""
    by_name: dict[tuple[KindName, str], list[LiveResource]] = {}
    by_key: dict[tuple[KindName, Value], list[LiveResource]] = {}
    stack = desired.stack
    for kind in LISTED:
        for resource in live.of(kind):
            if resource.tags.get(STACK) == stack and not is_unowned(resource, stack):
                continue
            by_name.setdefault((kind, resource.name), []).append(resource)
            if key := _public_key(resource):
                by_key.setdefault((kind, key), []).append(resource)
    by_address = of_stacks(take_over, live)
    found: dict[Address, tuple[LiveResource, ...]] = {}
    for address in missing if by_name else ():
        spec = desired.resources[address]
        same_key = by_key.get((address.kind, _public_key(spec)), ())
        same_name = by_name.get((address.kind, name_of(spec)), ())
        same_address = by_address.get(address, ())
        same = (*sorted(same_key, key=_arn), *sorted(same_address, key=_arn), *sorted(same_name, key=_arn))
        if group := {one.arn: one for one in same}:
            found[address] = tuple(group.values())
    return found


def of_stacks(stacks: Iterable[str], live: LiveState) -> dict[Address, tuple[LiveResource, ...]]:
    """Return the resources of other stacks by the address that they have there."""
    found: dict[Address, tuple[LiveResource, ...]] = {}
    for stack in dict.fromkeys(stacks):
        for address, resource in live.claims(stack):
            if address.kind in LISTED:
                found[address] = (*found.get(address, ()), resource)
    return found


def renamed_in(
    desired: DesiredState, claims: Mapping[Address, tuple[LiveResource, ...]], missing: Iterable[Address]
) -> dict[Address, tuple[LiveResource, ...]]:
    """Return by missing address the managed resources that the spec no longer has and that have its name or public key, in ARN order."""
    leaving: dict[tuple[KindName, Value], list[LiveResource]] = {}
    for address, group in claims.items():
        if address not in desired.resources:
            for resource in group:
                leaving.setdefault((resource.kind, resource.name), []).append(resource)
                if key := _public_key(resource):
                    leaving.setdefault((resource.kind, (key,)), []).append(resource)
    found: dict[Address, tuple[LiveResource, ...]] = {}
    for address in missing if leaving else ():
        spec = desired.resources[address]
        same = (*leaving.get((address.kind, name_of(spec)), ()), *leaving.get((address.kind, (_public_key(spec),)), ()))
        if same:
            found[address] = tuple(sorted({one.arn: one for one in same}.values(), key=_arn))
    return found


def lookalikes_in(
    desired: DesiredState, claims: Mapping[Address, tuple[LiveResource, ...]], missing: Collection[Address]
) -> dict[Address, Address]:
    """Return by missing address the one that it probably had: the only one of its kind to leave the spec, alike but for a name that is the id."""
    leaving = [address for address in claims if address not in desired.resources and address not in desired.forget]
    found: dict[Address, Address] = {}
    for kind in {address.kind for address in leaving}:
        old = [address for address in leaving if address.kind is kind]
        new = [address for address in missing if address.kind is kind]
        if len(old) == len(new) == 1 and _is_alike(desired.resources[new[0]], old[0], claims[old[0]][0]):
            found[new[0]] = old[0]
    return found


def _is_alike(spec: DesiredResource, former: Address, live: LiveResource) -> bool:
    """Return whether a new resource is like one under its former id. References may follow a rename, and are not compared."""
    compared = [name for name, field in FIELDS[live.kind].items() if name != "name" and not field.references]
    return (name_of(spec), live.name) == (spec.address.id, former.id) and all(
        spec.properties.get(name) == live.properties.get(name) for name in compared
    )


def find_untagged(
    desired: DesiredState, live: LiveState, missing: Iterable[Address], recorded: Mapping[Address, str]
) -> dict[Address, LiveResource]:
    """Return, by address, the live resources that lost their owner tags.

    They are unowned, and have the ARN that the last apply ``recorded`` for an address that is ``missing`` now.
    """
    wanted = {recorded[address]: address for address in missing if address in recorded}
    return {
        wanted[resource.arn]: resource
        for kind in LISTED
        for resource in (live.of(kind) if wanted else ())
        if resource.arn in wanted and wanted[resource.arn].kind is kind and is_unowned(resource, desired.stack)
    }


def has_same_key(spec: DesiredResource, resource: LiveResource) -> bool:
    """Return whether both have one public key."""
    key = _public_key(spec)
    return bool(key) and key == _public_key(resource)


def name_of(spec: DesiredResource) -> str:
    """Return the name in AWS that a resource of the spec will have; it may be empty."""
    return str(spec.properties.get("name") or "")


def rivals_in(names: Mapping[Address, str]) -> dict[Address, tuple[Address, ...]]:
    """Return by address the others of its kind that have the same name in the spec; none for a name that is used once."""
    groups: dict[tuple[KindName, str], list[Address]] = {}
    for address, name in names.items():
        groups.setdefault((address.kind, name), []).append(address)
    return {
        address: tuple(other for other in sorted(group) if other != address)
        for group in groups.values()
        for address in (group if len(group) > 1 else ())
    }


def beside_namesakes(
    spec: DesiredResource, group: tuple[LiveResource, ...], rivals: tuple[Address, ...], stack: str
) -> Blocked:
    """Return why a create is blocked by these namesakes, and the ways out. ``rivals`` are other addresses of this name."""
    kind = KINDS[spec.address.kind]
    if has_same_key(spec, group[0]):
        return Blocked("unmanaged", _same_key(spec, group[0], stack))
    shared = "name" if all(one.name == name_of(spec) for one in group) else "name or address"
    beside = f"use --create-beside {spec.address}"
    if len(group) > 1:
        listed = [_with_facts(one, group, stack) for one in group[:_NAMESAKES_LISTED]]
        if len(group) > _NAMESAKES_LISTED:
            listed.append(f"and {len(group) - _NAMESAKES_LISTED:,} more")
        of_stack = "" if any(is_unowned(one, stack) for one in group) else " --take-over STACK"
        return Blocked(
            "unmanaged",
            f"{kind.with_count(len(group), 'unmanaged')} have this {shared}: {'; '.join(listed)}; "
            f"to adopt one, run adopt {spec.address} ARN{of_stack}; to create another one beside them, {beside}",
        )
    (one,) = group
    if not is_unowned(one, stack):
        owner = one.tags[STACK]
        return Blocked(
            "unmanaged",
            f"a {kind.title} of stack {owner} has this {shared}: {one.arn}; if this stack was renamed, restore its name; "
            f"to adopt it, use --take-over {owner}; to create another one beside it, {beside}",
        )
    held = f" (CloudFormation stack {one.member_of.stack})" if one.member_of else ""
    adopt = f"to adopt it, run adopt {spec.address} {one.arn}, or use --adopt"
    if rivals:
        others = f"{' and '.join(map(str, rivals))} {'has' if len(rivals) == 1 else 'have'} this name too"
        adopt = f"{others}; to adopt it for this one, run adopt {spec.address} {one.arn}"
    return Blocked(
        "unmanaged",
        f"an unmanaged {kind.title} has this {shared}: {one.arn}{held}; {adopt}; to create another one beside it, {beside}",
    )


def beside_renamed(spec: DesiredResource, group: tuple[LiveResource, ...]) -> Blocked:
    """Return why a create is blocked by resources that were removed from the spec, and the ways out."""
    address = spec.address
    same_key = any(has_same_key(spec, one) for one in group)
    lines = [f"moved: {{{Address(one.kind, one.tags[ID])}: {address}}}" for one in group[:_NAMESAKES_LISTED]]
    former = " and ".join(f"{Address(one.kind, one.tags[ID])} ({one.arn})" for one in group[:_NAMESAKES_LISTED])
    beside = "" if same_key else f"; to create another one, use --create-beside {address}"
    return Blocked(
        "renamed",
        f"{former}, removed from the spec, {'has' if len(group) == 1 else 'have'} this {'public key' if same_key else 'name'}; "
        f"to rename it, write {' or '.join(lines)} into the spec{beside}",
    )


def without_public_key(spec: DesiredResource, group: tuple[LiveResource, ...]) -> Blocked:
    """Return why a key pair of which the spec has the fingerprint alone is not created, and the ways out."""
    listed = [
        f"; {one.arn} has this name and fingerprint {key}"
        for one in group[:_NAMESAKES_LISTED]
        if (key := _public_key(one))
    ]
    return Blocked(
        "no-public-key",
        f"its public key is not in the spec, and no {KINDS[spec.address.kind].title} in the account has fingerprint {_public_key(spec)}{''.join(listed)}; "
        "correct the fingerprint, or write publicKeyMaterial to import the key",
    )


def _same_key(spec: DesiredResource, pair: LiveResource, stack: str) -> str:
    head = f"{pair.arn} has the same public key, which cannot be imported twice"
    if not is_unowned(pair, stack):
        return f"{head}, and is owned by stack {pair.tags[STACK]}; use another key pair, or adopt that one with --take-over {pair.tags[STACK]}"
    if pair.name != name_of(spec):
        return f"{head}; to adopt it, write name: {as_json(pair.name)} into the spec, then run adopt {spec.address} {pair.arn}, or use --adopt"
    return f"{head}; to adopt it, run adopt {spec.address} {pair.arn}, or use --adopt"


def _with_facts(resource: LiveResource, group: tuple[LiveResource, ...], stack: str) -> str:
    """Return an ARN with what distinguishes its resource from the others, as far as it was read."""
    facts = []
    if owner := resource.tags.get(STACK):
        facts.append("this stack, without an id" if owner == stack else f"stack {owner}")
    if resource.member_of:
        facts.append(f"CloudFormation stack {resource.member_of.stack}")
    if len({one.complete for one in group}) == 1:
        for name, field in FIELDS[resource.kind].items():
            if any(name in one.properties for one in group):
                values = [one.properties.get(name, field.default_beside(one.properties)) for one in group]
                value = resource.properties.get(name, field.default_beside(resource.properties))
                if any(other != value for other in values):
                    facts.append(f"{name} {as_json(value)}")
    facts += [
        f"tag {key}={value}"
        for key, value in sorted(resource.tags.items())
        if key != STACK and any(one.tags.get(key) != value for one in group)
    ]
    return f"{resource.arn} ({', '.join(facts[:_FACTS_LISTED])})" if facts else resource.arn


def _public_key(resource: DesiredResource | LiveResource) -> Value:
    """Return what identifies the public key of a key pair; ``None`` for other kinds, and if it was not read."""
    kind = resource.kind if isinstance(resource, LiveResource) else resource.address.kind
    return resource.properties.get(KINDS[kind].unique)
