"""Reads the entries of spec files: one per resource as written, validated by its model, without defaults or resolved references.

A section may be split over files and documents; a duplicate id is a problem that names both places.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.model.address import Address, KindName
from reconciler.model.kinds import KINDS, LISTED
from reconciler.spec.model_errors import faults_of, id_fault
from reconciler.spec.models import MODELS
from reconciler.spec.problems import ID_PATTERN, Fault, Problems, format_path, nearest, quote, suggestion, type_name
from reconciler.spec.yaml import Source

SECTIONS: Mapping[str, KindName] = {kind.section: kind.name for kind in LISTED.values()}
"""By section, the kind; a stream key is part of its channel."""


@dataclass(slots=True)
class Entry:
    """One resource as written; ``where`` is ``file:line:col`` of its id.

    ``body`` has no null fields; ``nulls`` names them: a null removes a default.
    ``broken`` names the invalid fields, which are removed from ``body`` so that the others can still be checked.
    """

    address: Address
    body: dict[str, Any]
    source: Source
    document: int
    where: str
    nulls: tuple[str, ...] = ()
    broken: frozenset[str] = frozenset()

    @property
    def label(self) -> str:
        """The address as messages show it; an id that looks like a secret is hidden."""
        return f"{self.address.kind}/{format_path((self.address.id,))}"

    def note(self, problems: Problems, fault: Fault) -> None:
        """Add a problem at a path of this resource."""
        if problems.left(self.source.name) <= 0:
            problems.skip(self.source.name)
            return
        path = (KINDS[self.address.kind].section, self.address.id, *fault.path)
        mark = self.source.mark(path, document=self.document, at_key=fault.at_key)
        problems.add(self.source.name, mark, fault.what, fault.hint, address=self.label)


def read_entries(sources: Iterable[Source], problems: Problems) -> dict[Address, Entry]:
    """Return the entries of these files by address. Invalid fields are added to ``problems`` and left out."""
    entries: dict[Address, Entry] = {}
    for source in sources:
        for number, document in enumerate(source.documents):
            if document is None:
                continue
            if not isinstance(document, dict):
                problems.add(
                    source.name,
                    source.mark((), document=number),
                    f"a spec file must be a mapping, not {type_name(document)}",
                    f"start with one of {', '.join(SECTIONS)}",
                )
                continue
            for section, bodies in document.items():
                kind = SECTIONS.get(section)
                if kind is None:
                    problems.add(
                        source.name,
                        source.mark((section,), document=number, at_key=True),
                        f"unknown section {quote(section)}",
                        _section_hint(section),
                    )
                elif isinstance(bodies, dict):
                    _read_section(entries, kind, bodies, source, number, problems)
                elif bodies is not None:
                    mark = source.mark((section,), document=number)
                    problems.add(
                        source.name,
                        mark,
                        f"{section} must be a mapping, not {type_name(bodies)}",
                        "write <id>: with the fields of the resource below it",
                    )
    return entries


def _read_section(
    entries: dict[Address, Entry],
    kind: KindName,
    bodies: Mapping[str, Any],
    source: Source,
    number: int,
    problems: Problems,
) -> None:
    model = MODELS[kind]
    is_id = re.compile(ID_PATTERN.rstrip("$")).fullmatch
    for identifier, body in bodies.items():
        address = Address(kind, identifier)
        mark = source.key_mark(bodies, identifier)
        nulls: tuple[str, ...] = ()
        if body is None:
            body = {}  # noqa: PLW2901 - no body is an empty mapping
        elif isinstance(body, dict) and None in body.values():
            nulls = tuple(key for key, value in body.items() if value is None)
            # "streamKey:" without a value asks for a stream key with the defaults.
            body = {  # noqa: PLW2901
                key: {} if key == "streamKey" else value
                for key, value in body.items()
                if value is not None or key == "streamKey"
            }
        entry = Entry(address, body, source, number, f"{source.name}:{mark[0]}:{mark[1]}", nulls)
        if not is_id(identifier):
            fault = id_fault(identifier)
            problems.add(source.name, mark, fault.what, fault.hint)
        earlier = entries.setdefault(address, entry)
        if earlier is not entry:
            problems.add(
                source.name,
                mark,
                f"duplicate id (first defined at {earlier.where})",
                "rename or remove one of the two",
                address=entry.label,
            )
        skipped: list[int] = []
        faults = faults_of(model, body, problems.left(source.name), skipped.append)
        for fault in faults:
            entry.note(problems, fault)
        if skipped:
            # Which fields are valid is unknown: none is looked at again.
            problems.skip(source.name, skipped[0])
            _remove_broken(entry, frozenset(body if isinstance(body, dict) else ()))
        elif faults:
            _remove_broken(entry, frozenset(str(fault.path[0]) for fault in faults if fault.path))


def _remove_broken(entry: Entry, broken: frozenset[str]) -> None:
    body = entry.body if isinstance(entry.body, dict) else {}
    entry.broken = broken
    entry.body = {name: value for name, value in body.items() if name not in broken}
    if "tags" in broken and isinstance(body.get("tags"), dict):
        entry.body["tags"] = {key: value for key, value in body["tags"].items() if isinstance(value, str)}


def _section_hint(section: str) -> str:
    near = nearest(section, SECTIONS)
    if not near and "stream" in section.lower():
        return "write a stream key in its channel, as streamKey"
    return suggestion(section, SECTIONS, otherwise=f"the sections are {', '.join(SECTIONS)}")
