"""Exports the live state of one target: which resources, under which ids, with which entries, in which files, and what could not be written whole.

Resources of the stack are written under their ids. Those of other stacks are left out, because their stack changes them.
Spec files are split by kind, by the value of a tag, or not at all; the adopt file is one more.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import yaml

from reconciler.export.entries import KeyMaterial, Writer, Written, assign_ids, is_managed, to_id
from reconciler.model.address import ID, STACK, Address, KindName
from reconciler.model.kinds import KINDS, LISTED
from reconciler.model.resource import LiveResource, LiveState
from reconciler.model.target import Project, Target
from reconciler.spec.yaml import parse_scalar

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
            f"{_listed([one.arn for one in waiting])} left out: other spec files have a resource of the same kind and name; plan --adopt adopts those whose name is unique"
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


_STR = "tag:yaml.org,2002:str"
_MAX_FLOW_WIDTH = 100
"""Characters of a mapping that is written on one line."""


class By(Enum):
    """What the files of an export are split by."""

    KIND = "kind"
    TAG = "tag"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Split:
    """How to split resources into files; ``key`` is the key of the tag."""

    by: By = By.KIND
    key: str = ""

    @classmethod
    def parse(cls, text: str) -> Split:
        """Return the split of ``kind``, ``none`` or ``tag:KEY``. Raises ``ValueError``."""
        if text.startswith("tag:") and len(text) > len("tag:"):
            return cls(By.TAG, text.removeprefix("tag:"))
        if text in (By.KIND.value, By.NONE.value):
            return cls(By(text))
        raise ValueError(f"{text!r} is not kind, none or tag:KEY")

    def file_of(self, resource: LiveResource) -> str:
        """Return the name of the file that holds the entry of a resource."""
        match self.by:
            case By.KIND:
                return LISTED[resource.kind].titles.replace(" ", "-") + ".yaml"
            case By.TAG:
                # Some file systems take names that differ in case for one.
                return (to_id(resource.tags.get(self.key, "")).lower() or "untagged") + ".yaml"
            case By.NONE:
                return "live.yaml"


def spec_files(entries: Iterable[Written], split: Split, schema: str = "") -> dict[str, str]:
    """Return the text of each spec file by name: sections in the order of creation, ids in order. ``schema`` is named for editors."""
    grouped: dict[str, dict[str, dict[str, Any]]] = {}
    order = {kind: rank for rank, kind in enumerate(LISTED)}
    for written in sorted(entries, key=lambda one: (order[one.address.kind], one.address.id)):
        sections = grouped.setdefault(split.file_of(written.resource), {})
        sections.setdefault(LISTED[written.address.kind].section, {})[written.address.id] = written.body
    head = f"# yaml-language-server: $schema={schema}\n" if schema else ""
    return {name: head + to_yaml(sections) for name, sections in sorted(grouped.items())}


def adopt_text(arns: Mapping[str, Mapping[Address, str]], *, by_target: bool) -> str:
    """Return the adopt file: a line for each resource, below its target if there are several."""
    lists = {
        name: _Lines({str(address): arn for address, arn in sorted(found.items())}) for name, found in arns.items()
    }
    return to_yaml(
        {"targets": lists} if by_target else _Lines({key: arn for one in lists.values() for key, arn in one.items()})
    )


def schema_path(folder: str, schemas: str) -> str:
    """Return the path of the schema of spec files, as a file in ``folder`` names it."""
    return os.path.relpath(os.path.join(schemas, "spec.schema.json"), folder)  # noqa: PTH118


class _Lines(dict[str, str]):
    """A mapping that is written with a line for each entry, however short it is."""


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # libyaml's is many times as fast
    """Writes mappings as a person does: short ones without nested mappings on one line."""


def _mapping(dumper: Any, value: Mapping[str, Any]) -> yaml.MappingNode:
    flat = not any(isinstance(item, Mapping) or (isinstance(item, str) and "\n" in item) for item in value.values())
    length = sum(len(str(key)) + len(str(item)) + 4 for key, item in value.items()) if flat else 0
    node: yaml.MappingNode = dumper.represent_mapping("tag:yaml.org,2002:map", value.items())
    node.flow_style = flat and length <= _MAX_FLOW_WIDTH
    return node


def _lines(dumper: Any, value: _Lines) -> yaml.MappingNode:
    node: yaml.MappingNode = dumper.represent_mapping("tag:yaml.org,2002:map", value.items())
    node.flow_style = False
    return node


def _list(dumper: Any, value: list[Any]) -> yaml.SequenceNode:
    node: yaml.SequenceNode = dumper.represent_sequence("tag:yaml.org,2002:seq", value)
    node.flow_style = not any(isinstance(item, Mapping) for item in value)
    return node


def _text(dumper: Any, value: str) -> yaml.ScalarNode:
    # Quoted is what YAML 1.2 reads as another type, as specs are read, and what YAML 1.1 does, such as NO.
    plain = value and parse_scalar(value) == value and dumper.resolve(yaml.ScalarNode, value, (True, False)) == _STR
    style = "|" if "\n" in value else None if plain else '"'
    node: yaml.ScalarNode = dumper.represent_scalar(_STR, value, style=style)
    return node


_Dumper.add_representer(dict, _mapping)
_Dumper.add_representer(_Lines, _lines)
_Dumper.add_representer(list, _list)
_Dumper.add_representer(str, _text)


def to_yaml(value: object) -> str:
    """Return a value as YAML in block style; an equal value always gives the same text."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text
