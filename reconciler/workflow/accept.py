"""Accepts drift: writes the live values of resources that were modified outside into the spec files, comments and order kept.

Pending changes of the spec are left alone. A file is only written if the entries in it then are the old ones with exactly these values.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.diff import tokens_of
from reconciler.drift import DriftStatus
from reconciler.drift.report import DriftReport
from reconciler.errors import UsageError, os_reason
from reconciler.export.entries import Writer
from reconciler.export.merge import REMOVED, CannotMerge, Edit, merge_edits
from reconciler.files import replace_file
from reconciler.model.address import PREFIX, Address
from reconciler.model.kinds import CHILD_KINDS, FIELDS, KINDS, parent_of
from reconciler.model.target import Project
from reconciler.plan.decide import managed_resources
from reconciler.spec.files import read_specs
from reconciler.spec.problems import Problems
from reconciler.spec.resources import Entry, read_entries
from reconciler.spec.templates import COUNT, FOR_EACH, placeholder_values
from reconciler.spec.yaml import Source, load
from reconciler.workflow.survey import Survey

_NO_VALUE = "no value in the spec can express that"
_OTHERWISE = {
    DriftStatus.MISSING: "to accept that, remove it from the spec",
    DriftStatus.UNTAGGED: _NO_VALUE,
    DriftStatus.DUPLICATE: _NO_VALUE,
}
"""By status, what to do about drift that is no difference of a value."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Drift to accept: of one address, all of it or what is at one path, such as ``/latencyMode`` or ``/tags/team``."""

    address: Address
    path: str = ""

    def __str__(self) -> str:
        return f"{self.address}:{self.path}" if self.path else str(self.address)

    @classmethod
    def parse(cls, text: str) -> Chosen:
        """Read ``ADDRESS`` or ``ADDRESS:PATH``, with or without the first slash of the path. Raises ``UsageError``."""
        address, _, path = text.partition(":")
        try:
            return cls(Address.parse(address), f"/{path.removeprefix('/')}" if path else "")
        except ValueError as error:
            raise UsageError(str(error)) from None

    def matches(self, address: Address, path: str) -> bool:
        """Return whether this choice includes a difference, by address and path."""
        return address == self.address and (not self.path or path == self.path or path.startswith(f"{self.path}/"))


@dataclass(slots=True)
class Accepted:
    """The new text of each file, a line for each accepted difference, and one for each that could not be written."""

    files: dict[Path, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    used: set[Chosen] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Place:
    """An edit and where it goes."""

    entry: Entry
    edit: Edit
    target: str
    label: str


def accept_drift(
    project: Project, found: Iterable[tuple[Survey, DriftReport]], chosen: tuple[Chosen, ...] | None
) -> Accepted:
    """Return the spec files with the live values of drifted fields; ``chosen`` ``None`` accepts all drift. Nothing is written.

    Raises ``UsageError`` for a choice that is no drift.
    """
    accepted = Accepted()
    places: dict[tuple[object, ...], _Place] = {}
    contested: set[tuple[object, ...]] = set()
    for survey, report in found:
        for place in _places(project, survey, report, chosen, accepted):
            edit, name = place.edit, place.entry.source.name
            key: tuple[object, ...] = (name, edit.document, edit.section, edit.id, edit.path)
            other = places.setdefault(key, place)
            if other.edit.value != edit.value and key not in contested:
                contested.add(key)
                accepted.gaps.append(
                    f"{place.label} differs in {other.target} and {place.target}, which both read {name}; write it by hand"
                )
    if unused := [str(one) for one in chosen or () if one not in accepted.used]:
        raise UsageError("\n".join(f"{one}: no drift to accept" for one in unused))
    by_file: dict[str, list[_Place]] = {}
    for key, place in places.items():
        if key not in contested:
            by_file.setdefault(place.entry.source.name, []).append(place)
    for name, group in by_file.items():
        _merge_file(project, name, group, accepted)
    return accepted


def write_accepted(accepted: Accepted) -> None:
    """Write the files, each as a whole. Raises ``UsageError``."""
    for path, text in accepted.files.items():
        try:
            real = path.resolve(strict=True)
            replace_file(real, text, mode=real.stat().st_mode & 0o7777)
        except OSError as error:
            raise UsageError(f"{path}: cannot be written ({os_reason(error)})") from None


def _places(
    project: Project, survey: Survey, report: DriftReport, chosen: tuple[Chosen, ...] | None, accepted: Accepted
) -> Iterable[_Place]:
    """Yield the edits of one target; differences that cannot be written are added to the gaps."""
    drifted: dict[Address, set[str]] = {}
    for finding in report.findings:
        if finding.is_drift and finding.status is not DriftStatus.DRIFT:
            meant = [one for one in chosen or () if one.address == finding.address and not one.path]
            accepted.used.update(meant)
            if chosen is None or meant:
                accepted.gaps.append(f"{finding.address}: {finding.explanation}; {_OTHERWISE[finding.status]}")
        if finding.status is not DriftStatus.DRIFT:
            continue
        for change in finding.changes:
            selected = [one for one in chosen or () if one.matches(finding.address, change.path)]
            accepted.used.update(selected)
            if (chosen is None or selected) and not change.tag.startswith(PREFIX):
                drifted.setdefault(finding.address, set()).add(change.path)
    if not drifted:
        return
    resources = managed_resources(survey.desired, survey.live)
    arns = {resource.arn: address for address, resource in resources.items()}
    keys = {
        str(one.properties.get("fingerprint")): one.public_key
        for one in survey.desired.resources.values()
        if one.public_key
    }
    writer = Writer(project, survey.target, survey.live.account_id, arns, keys)
    entries = _entries(project, survey, read_specs(project, survey.target, Problems())[0])
    for address, paths in sorted(drifted.items()):
        owner = parent_of(address)
        written = writer.entry(owner, resources[owner], resources.get(address) if address.kind in CHILD_KINDS else None)
        accepted.gaps += written.gaps
        entry = entries.get(owner)
        if entry is None or written.body is None:
            continue
        for path in sorted(paths):
            place = _place(address, path, entry, written.body, survey.target.name)
            if isinstance(place, str):
                accepted.gaps.append(place)
            else:
                yield from place


def _place(address: Address, path: str, entry: Entry, body: Mapping[str, Any], target: str) -> tuple[_Place, ...] | str:
    """Return the edits for one difference, or why there are none."""
    label = f"{address}:{path}"
    name, *inner = tokens_of(path)
    prefix: tuple[str, ...] = ("streamKey",) if address.kind in CHILD_KINDS else ()
    if name == "tags":
        ways: list[tuple[str, ...]] = [(*prefix, "tags", inner[0])]
    elif prefix:
        return f"{label}: a stream key has only tags in the spec"
    else:
        row = FIELDS[address.kind][name]
        ways = [(one,) for one in dict.fromkeys((row.spec_name or name, name))]
    top = ways[0][0]
    source = entry.overridden.get(top, entry)
    written = source.source.documents[source.document][KINDS[entry.address.kind].section][source.written_id]
    if isinstance(written, Mapping) and (FOR_EACH in written or COUNT in written):
        return f"{label}: the entry at {source.where} is a loop; write it by hand"
    edits = []
    for way in ways:
        if _has_placeholders(_at(written, way)):
            return f"{label}: the value at {source.where} has placeholders; write it by hand"
        value = _at(body, way, REMOVED)
        if value is REMOVED and _at(written, way, REMOVED) is REMOVED:
            continue
        edits.append(
            _Place(
                source,
                Edit(source.document, KINDS[entry.address.kind].section, source.written_id, way, value),
                target,
                label,
            )
        )
    return tuple(edits) if edits else f"{label}: the value does not come from {source.where}; write it by hand"


def _at(value: object, path: tuple[str, ...], missing: object = None) -> Any:
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return missing
        value = value[name]
    return value


def _has_placeholders(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_placeholders, value.values()))
    return isinstance(value, str) and "{" in value


def _entries(project: Project, survey: Survey, sources: list[Source]) -> dict[Address, Entry]:
    return read_entries(sources, placeholder_values(project.stack, survey.target), Problems())


def _merge_file(project: Project, name: str, group: list[_Place], accepted: Accepted) -> None:
    """Add the new text of one file, or the gaps if it cannot be edited."""
    source = group[0].entry.source
    try:
        text = merge_edits(source.data.decode(), [place.edit for place in group])
        _check(source, load(name, text.encode()), group)
    except CannotMerge as error:
        accepted.gaps += [f"{place.label}: {name}: {error}; write it by hand" for place in group]
        return
    accepted.files[Path(project.root) / name.removeprefix(project.prefix)] = text
    accepted.lines += [
        f"{place.label} in {place.entry.where.rpartition(':')[0]}: {_shown(place.edit.value)}" for place in group
    ]
    readers = [target.name for target in project.targets.values()]
    if len(readers) > 1 and not source.of_target:
        accepted.lines.append(f"{name} is read by {', '.join(readers)}")


def _check(before: Source, after: Source, group: list[_Place]) -> None:
    """Raise ``CannotMerge`` unless the new text says what the old one does, but for the edited values."""
    if after.problems or len(after.documents) != len(before.documents):
        raise CannotMerge("the result would not be valid YAML")
    for number, (old, new) in enumerate(zip(before.documents, after.documents, strict=True)):
        expected = _edited(old, [place.edit for place in group if place.edit.document == number])
        for edit in (place.edit for place in group if place.edit.document == number):
            new[edit.section][edit.id] = new[edit.section][edit.id] or {}
        if _in_order(expected) != _in_order(new):
            raise CannotMerge("other values would change with it, such as those of an anchor")


def _edited(document: Any, edits: list[Edit]) -> Any:
    """Return a copy of a document with the edits, without empty mappings of tags."""
    copy = _copy(document)
    for edit in edits:
        here = copy[edit.section]
        for name in (edit.id, *edit.path[:-1]):
            here[name] = here.get(name) or {}
            here = here[name]
        if edit.value is REMOVED:
            here.pop(edit.path[-1], None)
        else:
            here[edit.path[-1]] = edit.value
    for edit in edits:
        entry = copy[edit.section][edit.id]
        for name in edit.path[:-2]:
            entry = entry[name]
        if len(edit.path) > 1 and not entry.get(edit.path[-2], True):
            del entry[edit.path[-2]]
    return copy


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _in_order(value: Any) -> Any:
    """Return a value to compare: lists of plain values are sets."""
    if isinstance(value, Mapping):
        return {key: _in_order(item) for key, item in value.items()}
    if isinstance(value, list):
        items = [_in_order(item) for item in value]
        return sorted(items, key=str) if not any(isinstance(item, dict) for item in items) else items
    return value


def _shown(value: object) -> str:
    return "removed" if value is REMOVED else json.dumps(value, ensure_ascii=False)
