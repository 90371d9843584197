"""Chooses the ids of exported resources: the same in every export of an account, whatever the order of AWS's lists.

A resource that the stack manages keeps its id. The others are named by the first of these that no other resource has:
the names they have in another tool, their name in AWS, and either of them, or the kind, with the last part of the ARN.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from reconciler.model.address import ID, STACK, Address, KindName, is_valid_id
from reconciler.model.resource import LiveResource

_LONGEST = 128
_OTHER = re.compile(r"[^A-Za-z0-9_-]+")


def is_managed(resource: LiveResource, stack: str) -> bool:
    """Return whether the stack manages the resource, under a valid id."""
    return resource.tags.get(STACK) == stack and is_valid_id(resource.tags.get(ID, ""))


def to_id(text: str) -> str:
    """Return the text as an id: other characters become ``-``; empty if nothing is left."""
    return _OTHER.sub("-", text).strip("-_")[:_LONGEST].rstrip("-_")


def assign_ids(
    resources: Iterable[LiveResource], stack: str, names: Mapping[str, tuple[str, ...]], taken: Collection[Address] = ()
) -> dict[str, Address]:
    """Return the address of each resource by ARN.

    ``names`` are names from another tool by ARN, the shortest first; ``taken`` are addresses that other spec files define.
    If several resources claim one address of the stack, the first ARN keeps it.
    """
    by_kind: dict[KindName, list[LiveResource]] = {}
    for resource in sorted(resources, key=lambda one: one.arn):
        by_kind.setdefault(resource.kind, []).append(resource)
    found: dict[str, Address] = {}
    for kind, group in by_kind.items():
        used = {address.id for address in taken if address.kind is kind}
        pending: list[LiveResource] = []
        for resource in group:
            identifier = resource.tags.get(ID, "")
            if is_managed(resource, stack) and identifier not in used:
                used.add(identifier)
                found[resource.arn] = Address(kind, identifier)
            elif not is_managed(resource, stack):
                pending.append(resource)
        for arn, identifier in _unique(pending, names, used):
            found[arn] = Address(kind, identifier)
    return found


def _unique(
    pending: list[LiveResource], names: Mapping[str, tuple[str, ...]], used: set[str]
) -> Iterator[tuple[str, str]]:
    """Yield the ARN and the id of each resource of one kind. Resources that want the same id all get a longer one."""
    wishes = {resource.arn: _wishes(resource, names.get(resource.arn, ())) for resource in pending}
    for level in range(max(map(len, wishes.values()), default=0)):
        wanted: dict[str, list[LiveResource]] = {}
        for resource in pending:
            if level < len(wishes[resource.arn]):
                wanted.setdefault(wishes[resource.arn][level], []).append(resource)
        alone = {group[0].arn: wish for wish, group in wanted.items() if len(group) == 1 and wish not in used}
        used.update(alone.values())
        yield from alone.items()
        pending = [resource for resource in pending if resource.arn not in alone]
    for resource in pending:
        last = to_id(resource.arn.rpartition("/")[2])
        base = next(iter(wishes[resource.arn]), resource.kind.value)
        identifier = f"{base[: _LONGEST - len(last) - 1]}-{last}"
        while identifier in used:  # another resource has this text as its name
            identifier = f"{resource.kind.value}-{identifier}"[:_LONGEST]
        used.add(identifier)
        yield resource.arn, identifier


def _wishes(resource: LiveResource, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(wish for name in (*names, resource.name) if (wish := to_id(name))))
