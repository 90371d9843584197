"""Finds live resources that a create would duplicate, and resources that lost their owner tags. Pure.

A namesake has the kind and name of a resource of the spec, or its public key, and has no owner or another stack as owner.
A create beside it would be a second channel with another playback URL, so it is blocked until the user adopts the namesake or asks for another one.
A public key exists once in an account and region, so a create beside its key pair is never possible.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping

from reconciler.model.address import ID, STACK, Address, KindName, is_valid_id
from reconciler.model.kinds import FIELDS, KINDS, LISTED
from reconciler.model.resource import DesiredResource, DesiredState, LiveResource, LiveState
from reconciler.model.values import Value, thaw
from reconciler.plan.plan import Blocked

_LISTED = 5
"""Namesakes that a message lists."""

_FACTS = 4
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


def untagged_in(
    desired: DesiredState, live: LiveState, missing: Iterable[Address], recorded: Mapping[Address, str]
) -> dict[Address, LiveResource]:
    """Return by missing address the unowned resource that the record of the last apply has for it."""
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


def explain(
    spec: DesiredResource, group: tuple[LiveResource, ...], rivals: tuple[Address, ...], stack: str
) -> tuple[str, Blocked]:
    """Return why a create is blocked by these namesakes, in short and with the ways out. ``rivals`` are other addresses of this name."""
    kind = KINDS[spec.address.kind]
    if has_same_key(spec, group[0]):
        return f"a {kind.title} with this public key exists", Blocked("unmanaged", _same_key(spec, group[0], stack))
    beside = f"use --create-beside {spec.address}"
    adopt = f"adopt {spec.address} {group[0].arn}"
    ways = f"to adopt it, run {adopt}, or use --adopt; to create another one beside it, {beside}"
    if len(group) > 1:
        listed = [_with_facts(one, group, stack) for one in group[:_LISTED]]
        if len(group) > _LISTED:
            listed.append(f"and {len(group) - _LISTED:,} more")
        of_stack = "" if any(is_unowned(one, stack) for one in group) else " --take-over STACK"
        ways = f"to adopt one, run adopt {spec.address} ARN{of_stack}; to create another one beside them, {beside}"
        shared = "name" if all(one.name == name_of(spec) for one in group) else "name or address"
        head = f"{len(group):,} unmanaged {kind.titles} have this {shared}"
        return head, Blocked("unmanaged", f"{'; '.join(listed)}; {ways}")
    (one,) = group
    if not is_unowned(one, stack):
        owner = one.tags[STACK]
        return f"stack {owner} has a {kind.title} of this name", Blocked(
            "unmanaged",
            f"{one.arn} of stack {owner} has the same kind and name; if this stack was renamed, restore its name; "
            f"to adopt it, use --take-over {owner}; to create another one beside it, {beside}",
        )
    if rivals:
        ways = (
            f"{' and '.join(map(str, rivals))} {'has' if len(rivals) == 1 else 'have'} this name too; "
            f"to adopt it for this one, run {adopt}; to create another one beside it, {beside}"
        )
    return f"an unmanaged {kind.title} has this name", Blocked(
        "unmanaged", f"{one.arn} has the same kind and name and {_owner_words(one)}; {ways}"
    )


def explain_renamed(spec: DesiredResource, group: tuple[LiveResource, ...]) -> tuple[str, Blocked]:
    """Return why a create is blocked by resources that were removed from the spec, in short and with the ways out."""
    address, kind = spec.address, KINDS[spec.address.kind]
    same_key = any(has_same_key(spec, one) for one in group)
    what = "public key" if same_key else "name"
    lines = [f"moved: {{{Address(one.kind, one.tags[ID])}: {address}}}" for one in group[:_LISTED]]
    former = " and ".join(f"{Address(one.kind, one.tags[ID])} ({one.arn})" for one in group[:_LISTED])
    beside = "" if same_key else f"; to create another one, use --create-beside {address}"
    return f"a {kind.title} of this stack that was removed from the spec has this {what}", Blocked(
        "renamed",
        f"{former} {'has' if len(group) == 1 else 'have'} the same {what if same_key else 'kind and name'}; "
        f"to rename it, write {' or '.join(lines)} into the spec{beside}",
    )


def without_public_key(spec: DesiredResource, group: tuple[LiveResource, ...]) -> tuple[str, Blocked]:
    """Return why a key pair of which the spec has the fingerprint alone is not created, in short and with the ways out."""
    listed = [
        f"; {one.arn} has this name and fingerprint {key}" for one in group[:_LISTED] if (key := _public_key(one))
    ]
    return "its public key is not in the spec", Blocked(
        "no-public-key",
        f"no {KINDS[spec.address.kind].title} in the account has fingerprint {_public_key(spec)}{''.join(listed)}; "
        "correct the fingerprint, or write publicKeyMaterial to import the key",
    )


def _same_key(spec: DesiredResource, pair: LiveResource, stack: str) -> str:
    head = f"{pair.arn} has the same public key, which cannot be imported twice"
    if not is_unowned(pair, stack):
        return f"{head}, and is owned by stack {pair.tags[STACK]}; use another key pair, or adopt that one with --take-over {pair.tags[STACK]}"
    if pair.name != name_of(spec):
        return f"{head}; to adopt it, write name: {json.dumps(pair.name, ensure_ascii=False)} into the spec, then run adopt {spec.address} {pair.arn}, or use --adopt"
    return f"{head}; to adopt it, run adopt {spec.address} {pair.arn}, or use --adopt"


def _owner_words(resource: LiveResource) -> str:
    member = resource.member_of
    return "no owner" if member is None else f"the tags of CloudFormation stack {member.stack}"


def _with_facts(resource: LiveResource, group: tuple[LiveResource, ...], stack: str) -> str:
    """Return an ARN with what tells the resource from the others, as far as it was read."""
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
                    facts.append(f"{name} {json.dumps(thaw(value), ensure_ascii=False)}")
    facts += [
        f"tag {key}={value}"
        for key, value in sorted(resource.tags.items())
        if key != STACK and any(one.tags.get(key) != value for one in group)
    ]
    return f"{resource.arn} ({', '.join(facts[:_FACTS])})" if facts else resource.arn


def _arn(resource: LiveResource) -> str:
    return resource.arn


def _public_key(resource: DesiredResource | LiveResource) -> Value:
    """Return what identifies the public key of a key pair; ``None`` for other kinds, and if it was not read."""
    kind = resource.kind if isinstance(resource, LiveResource) else resource.address.kind
    return resource.properties.get(KINDS[kind].unique)
