"""Exports the live state of one target: which resources, under which ids, with which entries, and what could not be written whole.

Resources of the stack are written under their ids. Those of other stacks are left out, because their stack changes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

from reconciler.export.entries import KeyMaterial, Writer, Written
from reconciler.export.ids import assign_ids, is_managed
from reconciler.model.address import ID, STACK, Address, KindName
from reconciler.model.kinds import KINDS, LISTED
from reconciler.model.resource import LiveResource, LiveState
from reconciler.model.target import Project, Target

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Filters:
    """Which resources to export; every filter that is set must match. Of ``names``, which are globs, and ``arns`` one has to; of ``tags`` all.

    A tag with the value ``None`` matches any value. ``arns`` ``None`` matches any ARN.
    """

    kinds: frozenset[KindName] = frozenset(LISTED)
    tags: tuple[tuple[str, str | None], ...] = ()
    names: tuple[str, ...] = ()
    arns: frozenset[str] | None = None

    def match(self, resource: LiveResource) -> bool:
        """Return whether a resource is to be exported."""
        return (
            resource.kind in self.kinds
            and all(key in resource.tags and (value is None or resource.tags[key] == value) for key, value in self.tags)
            and (not self.names or any(fnmatchcase(resource.name, glob) for glob in self.names))
            and (self.arns is None or resource.arn in self.arns)
        )

    def unmatched(self, resources: Sequence[LiveResource]) -> list[str]:
        """Return a line for each ARN and name that no resource has."""
        lines = [
            f"--arn {arn}: not found"
            for arn in sorted((self.arns or frozenset()) - {resource.arn for resource in resources})
        ]
        names = {resource.name for resource in resources}
        return lines + [
            f"--name {glob}: no resource has such a name"
            for glob in self.names
            if not any(fnmatchcase(name, glob) for name in names)
        ]


class Selection(NamedTuple):
    """The resources to export. ``managed`` are the addresses of all that the stack manages, by ARN.

    ``notes`` say what is left out on purpose, ``gaps`` what cannot be exported.
    """

    resources: tuple[LiveResource, ...]
    managed: Mapping[str, Address]
    notes: tuple[str, ...]
    gaps: tuple[str, ...]


def select(live: LiveState, stack: str, filters: Filters) -> Selection:
    """Return the resources of this stack and of no stack that match the filters."""
    found: list[LiveResource] = []
    gaps = [
        f"{KINDS[kind].titles} could not be read: {reason}"
        for kind, reason in live.unreadable.items()
        if kind in filters.kinds
    ]
    others: Counter[str] = Counter()
    claimed: set[Address] = set()
    for kind in LISTED:
        for resource in live.of(kind):
            if not filters.match(resource):
                continue
            row, owner = KINDS[kind], resource.tags.get(STACK)
            if owner and owner != stack:
                others[owner] += 1
            elif row.failed and resource.state == row.failed:
                gaps.append(
                    f"{row.title} {resource.arn} is in state {resource.state} and can only be deleted; it is left out"
                )
            elif is_managed(resource, stack) and (address := Address(kind, resource.tags[ID])) in claimed:
                gaps.append(f"{address}: {resource.arn} is a second resource of this address; it is left out")
            else:
                if is_managed(resource, stack):
                    claimed.add(address)
                found.append(resource)
    notes = tuple(
        f"{count:,} {'resource' if count == 1 else 'resources'} of stack {owner} left out"
        for owner, count in sorted(others.items())
    )
    managed = {
        one.arn: Address(kind, one.tags[ID]) for kind in LISTED for one in live.of(kind) if is_managed(one, stack)
    }
    return Selection(tuple(found), managed, notes, tuple(gaps))


@dataclass(frozen=True, slots=True)
class Known:
    """What is known from other places, and completes what AWS reports.

    ``taken`` are the addresses that other spec files define, with their names in AWS.
    ``moved`` are addresses that they no longer have, with the present one, or ``None`` for a resource that they forget. ``names`` are names in another tool by ARN, the shortest first.
    ``public_keys`` are public keys by fingerprint. ``stream_keys`` are the stream keys to export, by ARN of their channel.
    """

    taken: Mapping[Address, str] = field(default_factory=dict)
    moved: Mapping[Address, Address | None] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    public_keys: Mapping[str, KeyMaterial] = field(default_factory=dict)
    stream_keys: Mapping[str, LiveResource] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Export:
    """The entries of one target. ``adopt`` are the ARNs of those that the stack does not manage yet."""

    target: Target
    account_id: str
    entries: tuple[Written, ...]
    adopt: Mapping[Address, str]
    notes: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()


def export(selection: Selection, project: Project, target: Target, account_id: str, known: Known) -> Export:
    """Return the entries of the selected resources, in the order of creation."""
    stack = project.stack
    # What other spec files define is not written twice, but may be referred to by its id.
    present = {arn: known.moved.get(address, address) for arn, address in selection.managed.items()}
    defined = {arn: address for arn, address in present.items() if address is not None and address in known.taken}
    forgotten = [one for one in selection.resources if present.get(one.arn, one) is None]
    made = {*defined.values()}
    unmade = {(address.kind, name) for address, name in known.taken.items() if address not in made}
    waiting = [one for one in selection.resources if (one.kind, one.name) in unmade and not is_managed(one, stack)]
    skipped = {one.arn for one in (*waiting, *forgotten)}
    resources = [one for one in selection.resources if one.arn not in skipped]
    own = {selection.managed[one.arn] for one in resources if one.arn in selection.managed}
    others = {address for address in selection.managed.values() if address not in own}
    addresses = assign_ids(resources, stack, known.names, {*known.taken, *known.moved, *others})
    writer = Writer(project, target, account_id, {**defined, **addresses}, known.public_keys)
    entries: list[Written] = []
    gaps = list(selection.gaps)
    for resource in resources:
        if resource.arn not in addresses:
            continue
        written = writer.entry(addresses[resource.arn], resource, known.stream_keys.get(resource.arn))
        gaps += written.gaps
        if written.body is None:
            del writer.addresses[resource.arn]
        else:
            entries.append(written)
    notes = list(selection.notes)
    if known_already := sorted(str(defined[one.arn]) for one in resources if one.arn not in addresses):
        notes.append(f"{_listed(known_already)} left out: already in other spec files")
    if forgotten:
        notes.append(f"{_listed([str(selection.managed[one.arn]) for one in forgotten])} left out: the spec forgets it")
    if waiting:
        notes.append(
            f"{_listed([one.arn for one in waiting])} left out: other spec files have a resource of the same kind and name, which plan --adopt adopts"
        )
    unknown = [str(one.address) for one in entries if one.body and KINDS[one.address.kind].unique in one.body]
    if unknown:
        notes.append(
            f"{_listed(unknown)} without a PEM: written by fingerprint, which can be adopted and never created; --keys DIR finds PEM files"
        )
    adopt = {one.address: one.resource.arn for one in entries if not is_managed(one.resource, stack)}
    return Export(target, account_id, tuple(entries), adopt, tuple(notes), tuple(gaps))


def _listed(names: list[str]) -> str:
    if len(names) > _SHOWN:
        return f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN:,} more"
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
