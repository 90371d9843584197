"""Chooses the ids of exported resources, and writes their entries: the fields of the spec, without what has no effect there.

Ids are the same in every export of an account, in any order of AWS's lists. A resource that the stack manages keeps its id. The others
are named by the first of these that no other resource has: the names they have in another tool, their name in AWS, and either of them, or the
kind, with the last part of the ARN.

Left out are the service's defaults, what the project's ``defaults`` already say, ``aws:`` tags and our own. A default of the project that the
resource does not have is taken off with ``null``, or with the service's default. Every entry is checked by the models and rules of ``spec``:
a value that a spec cannot hold is left out, named in ``ignoreChanges`` so that it stays as it is, and reported.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.model.address import (
    DELIVERED,
    ID,
    PREFIX,
    PROTECT,
    ROTATION,
    STACK,
    Address,
    KindName,
    comparable_tags,
    is_valid_id,
)
from reconciler.model.kinds import FIELDS, KINDS, Field, Shape
from reconciler.model.resource import LiveResource, canonical
from reconciler.model.target import Project, Store, Target
from reconciler.model.values import Value, thaw
from reconciler.spec.desired import Defaults
from reconciler.spec.model_errors import faults_of
from reconciler.spec.models import MODELS
from reconciler.spec.problems import Fault, Problems
from reconciler.spec.resources import Entry
from reconciler.spec.rules import (
    REFERENCES,
    SIBLINGS,
    WITH_DEFAULTS,
    TargetLocation,
    faults_in,
    tag_count_fault,
    tag_faults,
)
from reconciler.spec.templates import placeholder_values
from reconciler.spec.yaml import Source

_MAX_ID = 128
_OTHER = re.compile(r"[^A-Za-z0-9_-]+")


def is_managed(resource: LiveResource, stack: str) -> bool:
    """Return whether the stack manages the resource, under a valid id."""
    return resource.tags.get(STACK) == stack and is_valid_id(resource.tags.get(ID, ""))


def to_id(text: str) -> str:
    """Return the text as an id: other characters become ``-``; empty if nothing is left."""
    return _OTHER.sub("-", text).strip("-_")[:_MAX_ID].rstrip("-_")


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
    candidates = {resource.arn: _candidates(resource, names.get(resource.arn, ())) for resource in pending}
    for level in range(max(map(len, candidates.values()), default=0)):
        wanted: dict[str, list[LiveResource]] = {}
        for resource in pending:
            if level < len(candidates[resource.arn]):
                wanted.setdefault(candidates[resource.arn][level], []).append(resource)
        alone = {
            group[0].arn: candidate for candidate, group in wanted.items() if len(group) == 1 and candidate not in used
        }
        used.update(alone.values())
        yield from alone.items()
        pending = [resource for resource in pending if resource.arn not in alone]
    for resource in pending:
        last = to_id(resource.arn.rpartition("/")[2])
        base = next(iter(candidates[resource.arn]), resource.kind.value)
        identifier = f"{base[: _MAX_ID - len(last) - 1]}-{last}"
        while identifier in used:  # another resource has this text as its name
            identifier = f"{resource.kind.value}-{identifier}"[:_MAX_ID]
        used.add(identifier)
        yield resource.arn, identifier


def _candidates(resource: LiveResource, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(candidate for name in (*names, resource.name) if (candidate := to_id(name))))


KeyMaterial = str | Mapping[str, str]
"""A public key as a spec writes it: PEM text, or ``{file: path}``."""

_NOT_MERGED = frozenset({"protect", "ignoreChanges"})
"""Fields of ``defaults.channel`` that are not properties."""


@dataclass(frozen=True, slots=True)
class Written:
    """The entry of one resource; ``body`` is ``None`` if no spec can hold it. ``gaps`` say what could not be written.

    ``key_arn`` is that of the stream key in the entry of a channel.
    """

    address: Address
    resource: LiveResource
    body: dict[str, Any] | None
    gaps: tuple[str, ...] = ()
    key_arn: str = ""


@dataclass(slots=True)
class Writer:
    """Writes entries for one target of a project.

    ``addresses`` are those of the resources that a reference may name, by ARN; other references are written as ARNs.
    ``public_keys`` are known public keys by fingerprint.
    """

    project: Project
    target: Target
    account_id: str
    addresses: dict[str, Address]
    public_keys: Mapping[str, KeyMaterial] = field(default_factory=dict)
    _defaults: Defaults = field(init=False)

    def __post_init__(self) -> None:
        names = placeholder_values(self.project.stack, self.target)
        self._defaults = Defaults(self.project, {"accountId": self.account_id, **names}, Problems())

    def entry(self, address: Address, resource: LiveResource, stream_key: LiveResource | None = None) -> Written:
        """Return the entry of a resource, with its stream key if it is given."""
        blank = _entry(address, {})
        body: dict[str, Any] = {}
        if resource.name != self._defaults.name_of(blank, Problems()):
            body["name"] = resource.name
        body |= self._fields(address.kind, resource.properties, blank)
        tags = self._tags(resource.tags, self._defaults.tags_of(blank, of_channel=address.kind is WITH_DEFAULTS))
        if tags:
            body["tags"] = tags
        if resource.tags.get(PROTECT):
            body["protect"] = True
        if stream_key is not None:
            body["streamKey"] = self._stream_key(stream_key, blank)
        written = self._checked(address, resource, body)
        return replace(written, key_arn=stream_key.arn) if stream_key and "streamKey" in body else written

    def _fields(self, kind: KindName, properties: Mapping[str, Value], blank: Entry) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for row in KINDS[kind].fields:
            if row.name != "name" and row.name in properties:
                name, value = self._field(row, properties[row.name])
                fields[name] = value
        if kind is not WITH_DEFAULTS:
            return fields
        for name, default in self._defaults.merge_fields(blank).items():
            if name in _NOT_MERGED or SIBLINGS.get(name) in fields:
                continue
            row = FIELDS[kind][REFERENCES[name][0] if name in REFERENCES else name]
            if name not in fields and row.name not in properties:
                if name in REFERENCES or canonical(kind, {row.name: default}):
                    fields[name] = _service_default(row)
            elif name in fields and _same(kind, row, default, fields[name], properties):
                del fields[name]
        return fields

    def _field(self, row: Field, value: Value) -> tuple[str, Any]:
        """Return the name and value of a property in a spec."""
        if row.references is not None and isinstance(value, str):
            known = self.addresses.get(value)
            return (row.spec_name, known.id) if known is not None and row.spec_name else (row.name, value)
        if row.spec_name and row.references is None:
            material = self.public_keys.get(str(value))
            return (row.name, value) if material is None else (row.spec_name, material)
        return row.name, thaw(value)

    def _tags(self, tags: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str | None]:
        own = {
            key: value
            for key, value in comparable_tags(tags, self.project.ignore_tags).items()
            if not key.lower().startswith((PREFIX, "aws:"))
        }
        found: dict[str, str | None] = {key: value for key, value in sorted(own.items()) if defaults.get(key) != value}
        return found | {key: None for key in sorted(defaults) if key not in own}

    def _stream_key(self, key: LiveResource, blank: Entry) -> dict[str, Any]:
        body: dict[str, Any] = {}
        if tags := self._tags(key.tags, self._defaults.tags_of(blank, of_channel=False)):
            body["tags"] = tags
        if label := key.tags.get(ROTATION):
            body["rotation"] = label
        store, colon, name = key.tags.get(DELIVERED, "").partition(":")
        if colon and store in (Store.SECRETS_MANAGER.value, Store.PARAMETER_STORE.value):
            member = "arn" if name.startswith("arn:") else "name"
            body["sink"] = {store: {member: name}}
        if key.tags.get(STACK) == self.project.stack:
            # A default label that the managed key does not have would rotate it. One that is adopted takes the label as it is.
            body |= {option: None for option in self.project.default_stream_key if option not in body}
        return body

    def _checked(self, address: Address, resource: LiveResource, body: dict[str, Any]) -> Written:
        """Leave out what the spec cannot hold, as often as something else is found, and report it."""
        gaps: list[str] = []
        ignored: list[str] = []
        while fault := next(self._faults(address, body), None):
            gaps.append(f"{address}: {fault.what}")
            path = fault.path
            if path[:1] == ("streamKey",):
                del body["streamKey"]
            elif path[:1] == ("tags",) and len(path) > 1 and path[1] in body.get("tags", {}):
                del body["tags"][path[1]]
                ignored.append(f"tags/{path[1]}")
            elif path and path[0] in body and path[0] != "tags" and not _is_required(address.kind, str(path[0])):
                del body[str(path[0])]
                ignored.append(str(path[0]))
            else:
                todo = f": {fault.hint} in the account, and export again" if fault.hint else ""
                return Written(address, resource, None, (*gaps[:-1], f"{gaps[-1]}; it is left out{todo}"))
            if ignored:
                body["ignoreChanges"] = ignored
        return Written(address, resource, body, tuple(gaps))

    def _faults(self, address: Address, body: Mapping[str, Any]) -> Iterator[Fault]:
        nulls = tuple(name for name, value in body.items() if value is None)
        given = {name: value for name, value in body.items() if value is not None}
        # What looks like a placeholder is refused too: no name, tag, bucket or ARN may contain a brace.
        yield from faults_of(MODELS[address.kind], given)
        entry = _entry(address, given, nulls)
        merged = self._defaults.merge_fields(entry) if address.kind is WITH_DEFAULTS else given
        yield from faults_in(address.kind, merged, TargetLocation(self.target.region, self.account_id))
        tags = given.get("tags") or {}
        yield from (fault.below(("tags",)) for fault in tag_faults(tags))
        defaults = self._defaults.tags_of(entry, of_channel=address.kind is WITH_DEFAULTS)
        complete = {key for key, value in {**defaults, **tags}.items() if value is not None}
        if too_many := tag_count_fault(len(complete)):
            yield too_many
        key_tags = (given.get("streamKey") or {}).get("tags") or {}
        yield from (fault.below(("streamKey", "tags")) for fault in tag_faults(key_tags))


def _entry(address: Address, body: dict[str, Any], nulls: tuple[str, ...] = ()) -> Entry:
    return Entry(address, body, Source("", b""), 0, "", nulls)


def _is_required(kind: KindName, name: str) -> bool:
    fields = MODELS[kind].model_fields
    return name in fields and fields[name].is_required()


def _same(kind: KindName, row: Field, default: Any, written: Any, properties: Mapping[str, Value]) -> bool:
    if row.references is not None:
        return bool(default == written)
    return canonical(kind, {row.name: default}).get(row.name) == properties.get(row.name)


def _service_default(row: Field) -> Any:
    """Return what takes a default of the project off a field: the service's default where a person would write it, else ``null``."""
    plain = row.default_from is None and row.shape is Shape.PLAIN and row.default not in ("", None)
    return row.default if plain else None


def stream_keys_by_channel(keys: Iterable[LiveResource]) -> dict[str, LiveResource]:
    """Return one stream key by ARN of its channel: of several, the first ARN."""
    found: dict[str, LiveResource] = {}
    for key in sorted(keys, key=lambda one: one.arn):
        found.setdefault(str(key.properties.get("channelArn", "")), key)
    return found
