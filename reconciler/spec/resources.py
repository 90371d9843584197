"""Reads spec files: the entries, one per resource as written, validated by its model, and ``moved`` and ``forget`` at the top.

Defaults are not filled in and references not resolved. A section may be split over files and documents; a duplicate id is a problem that names
both places. ``moved`` and ``forget`` speak of addresses that the spec no longer has, so they can stay in the files after they were applied.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from reconciler.model.address import Address, KindName, is_valid_id
from reconciler.model.kinds import CHILD_KINDS, KINDS, LISTED, parent_of
from reconciler.spec.model_errors import faults_of, id_fault
from reconciler.spec.models import MODELS
from reconciler.spec.problems import Fault, KeyPath, Problems, format_path, nearest, quote, suggestion, type_name
from reconciler.spec.templates import LOOPS, Expanded, expand, fill_fields
from reconciler.spec.yaml import Mark, Source

MOVED, FORGET = "moved", "forget"

_EXAMPLE = "write kind/id, such as channel/main-stage"


class _Place(NamedTuple):
    """Where an address is written."""

    source: Source
    document: int
    path: KeyPath
    at_key: bool = False

    def note(self, problems: Problems, what: str, hint: str, *, at_key: bool | None = None) -> None:
        """Add a problem of this address."""
        mark = self.source.mark(self.path, document=self.document, at_key=self.at_key if at_key is None else at_key)
        problems.add(self.source.name, mark, what, hint)

    def __str__(self) -> str:
        line, column = self.source.mark(self.path, document=self.document, at_key=self.at_key)
        return f"{self.source.name}:{line}:{column}"


@dataclass(slots=True)
class Moves:
    """The entries of all files of a target as written, checked each for itself."""

    moved: dict[Address, tuple[Address, _Place]] = field(default_factory=dict)
    forget: dict[Address, _Place] = field(default_factory=dict)

    def settle(
        self, addresses: Collection[Address], problems: Problems, *, complete: bool
    ) -> tuple[dict[Address, Address], frozenset[Address]]:
        """Return where each renamed address is now, and the addresses to forget. ``addresses`` are those of the spec, all of them if ``complete``."""
        settled = {source: end for source in self.moved if (end := self._end_of(source, problems)) is not None}
        for source, (_, place) in self.moved.items():
            if source in addresses:
                what, hint = f"{source} is moved, and is still in the spec", "remove it there, or this line"
                place.note(problems, what, hint, at_key=True)
            elif complete and source in settled and settled[source] not in addresses:
                place.note(problems, *_not_there(settled[source], addresses))
        for address, place in self.forget.items():
            if address in addresses:
                what, hint = f"{address} is still in the spec", "remove it there, or it would be managed again"
                place.note(problems, what, hint)
            elif address in self.moved:
                what, hint = f"{address} is moved to {self.moved[address][0]}", "remove one of the two lines"
                place.note(problems, what, hint)
        return settled, frozenset(self.forget)

    def _end_of(self, source: Address, problems: Problems) -> Address | None:
        """Return the last address of a chain; ``None``, and a problem, for a circle."""
        seen = [source]
        while seen[-1] in self.moved:
            step = self.moved[seen[-1]][0]
            if step in seen:
                if step == source and source == min(seen):
                    circle = " to ".join(map(str, (*seen, step)))
                    self.moved[source][1].note(problems, f"moves in a circle: {circle}", "remove one of these lines")
                return None
            seen.append(step)
        return seen[-1]


def read_moves(sources: Iterable[Source], problems: Problems) -> Moves:
    """Return what the files say of addresses that they no longer have. Invalid entries are added to ``problems`` and left out."""
    found = Moves()
    for source in sources:
        for number, document in enumerate(source.documents):
            if not isinstance(document, dict):
                continue
            if MOVED in document:
                _read_moved(document[MOVED], source, number, found, problems)
            if FORGET in document:
                _read_forget(document[FORGET], source, number, found, problems)
    return found


def _read_moved(written: Any, source: Source, number: int, found: Moves, problems: Problems) -> None:
    if written is None:
        return
    if not isinstance(written, dict):
        what, hint = f"{MOVED} must be a mapping, not {type_name(written)}", "write channel/old: channel/new"
        _Place(source, number, (MOVED,)).note(problems, what, hint)
        return
    for key, value in written.items():
        place = _Place(source, number, (MOVED, key))
        old, new = _address(key, place, problems, at_key=True), _address(value, place, problems)
        if old is None or new is None:
            continue
        earlier = found.moved.get(old)
        if old.kind is not new.kind:
            place.note(problems, f"{old} cannot become {new}: it is another kind", f"write a {old.kind} there")
        elif old == new:
            place.note(problems, f"{old} is moved to itself", "write the new address, or remove the line")
        elif earlier is not None and earlier[0] != new:
            what = f"{old} is moved twice (first to {earlier[0]} at {earlier[1]})"
            place.note(problems, what, "remove one of the two lines", at_key=True)
        elif old.kind in CHILD_KINDS:
            place.note(problems, "a stream key moves with its channel", f"write {parent_of(old)}: {parent_of(new)}")
        else:
            found.moved[old] = new, place


def _read_forget(written: Any, source: Source, number: int, found: Moves, problems: Problems) -> None:
    if written is None:
        return
    if not isinstance(written, list):
        what, hint = f"{FORGET} must be a list, not {type_name(written)}", "write [channel/main-stage]"
        _Place(source, number, (FORGET,)).note(problems, what, hint)
        return
    for index, value in enumerate(written):
        place = _Place(source, number, (FORGET, index))
        address = _address(value, place, problems)
        if address is not None:
            found.forget.setdefault(address, place)


def _address(text: object, place: _Place, problems: Problems, *, at_key: bool = False) -> Address | None:
    """Return the address in a text; ``None``, and a problem, if there is none."""
    fault = _address_fault(text)
    if fault is None:
        return Address.parse(str(text))
    place.note(problems, fault.what, fault.hint, at_key=at_key)
    return None


def _address_fault(text: object) -> Fault | None:
    if not isinstance(text, str):
        return Fault((), f"an address must be a string, not {type_name(text)}", _EXAMPLE)
    kind, slash, identifier = text.partition("/")
    kinds = [known.value for known in KindName]
    if slash and kind not in kinds:
        near = nearest(kind, kinds)
        hint = f'did you mean "{near}"?' if near else f"the kinds are {', '.join(kinds)}"
        return Fault((), f"{quote(text)} is not an address: there is no such kind", hint)
    if not is_valid_id(identifier):
        return Fault((), f"{quote(text)} is not an address", _EXAMPLE)
    return None


def _not_there(address: Address, addresses: Collection[Address]) -> tuple[str, str]:
    near = nearest(str(address), [str(one) for one in addresses if one.kind is address.kind])
    hint = f"did you mean {near}?" if near else "add it to the spec of the target, or correct the address"
    return f"{address} is not in the spec", hint


SECTIONS: Mapping[str, KindName] = {kind.section: kind.name for kind in LISTED.values()}
"""By section, the kind; a stream key is part of its channel."""

MAX_RESOURCES = 100_000
"""Of all files of a target: a few lines with loops could fill the memory."""

OVERRIDE = "override"
ANCHORS = "x-"
"""How a key at the top of a file begins that only holds YAML anchors."""


@dataclass(slots=True)
class Entry:
    """One resource as written; ``where`` is ``file:line:col`` of its id.

    ``body`` has no null fields; ``nulls`` names them: a null removes a default, or with ``override`` what is merged into; ``tags/<key>`` is one tag.
    ``broken`` names the invalid fields, which are removed from ``body`` so that the others can still be checked.
    """

    address: Address
    body: dict[str, Any]
    source: Source
    document: int
    where: str
    nulls: tuple[str, ...] = ()
    broken: frozenset[str] = frozenset()
    written_id: str = ""
    """The id in the file; that of the address also has the member of a loop."""
    overridden: Mapping[str, Entry] = field(default_factory=dict)
    """By field, the entry with ``override: true`` that it comes from."""

    @property
    def mark(self) -> Mark:
        """Line and column of the id."""
        path = (KINDS[self.address.kind].section, self.written_id)
        return self.source.mark(path, document=self.document, at_key=True)

    @property
    def label(self) -> str:
        """The address as messages show it; an id that looks like a secret is hidden."""
        return f"{self.address.kind}/{format_path((self.address.id,))}"

    def note(self, problems: Problems, fault: Fault) -> None:
        """Add a problem at a path of this resource."""
        if fault.path and fault.path[0] in self.overridden:
            self.overridden[str(fault.path[0])].note(problems, fault)
            return
        if problems.drop(self.source.name):
            return
        path = (KINDS[self.address.kind].section, self.written_id, *fault.path)
        mark = self.source.mark(path, document=self.document, at_key=fault.at_key)
        problems.add(self.source.name, mark, fault.what, fault.hint, address=self.label)


def read_entries(sources: Iterable[Source], names: Mapping[str, str], problems: Problems) -> dict[Address, Entry]:
    """Return the entries of these files by address, loops expanded and placeholders replaced by ``names`` and the id.

    Invalid fields are added to ``problems`` and left out.
    """
    entries: dict[Address, Entry] = {}
    overrides: dict[Address, Entry] = {}
    for number, entry in enumerate(_entries(sources, names, problems)):
        if number == MAX_RESOURCES:
            what = f"the spec has more than {MAX_RESOURCES:,} resources, with this one"
            entry.note(problems, Fault((), what, "use loops with fewer members", at_key=True))
            break
        _add(entry, entries, overrides, problems)
    for address, override in overrides.items():
        _merge(override, entries.get(address), problems)
    return entries


def _entries(sources: Iterable[Source], names: Mapping[str, str], problems: Problems) -> Iterator[Entry]:
    """Yield the entries of these files as written, loops expanded."""
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
                if isinstance(section, str) and (section.startswith(ANCHORS) or section in (MOVED, FORGET)):
                    continue
                if kind is None:
                    if not problems.drop(source.name):
                        mark = source.mark((section,), document=number, at_key=True)
                        problems.add(source.name, mark, f"unknown section {quote(section)}", _section_hint(section))
                elif isinstance(bodies, dict):
                    yield from _section(kind, bodies, source, number, names, problems)
                elif bodies is not None:
                    mark = source.mark((section,), document=number)
                    problems.add(
                        source.name,
                        mark,
                        f"{section} must be a mapping, not {type_name(bodies)}",
                        "write <id>: with the fields of the resource below it",
                    )


def _section(
    kind: KindName, bodies: Mapping[str, Any], source: Source, number: int, names: Mapping[str, str], problems: Problems
) -> Iterator[Entry]:
    """Yield the entries of a section: loops expanded, placeholders replaced, null fields taken out."""
    positions = source.numbers[id(bodies)]
    for identifier, written in bodies.items():
        mark = source.mark_of(positions[identifier])
        expanded: Iterable[Expanded] | Fault = (Expanded(identifier, written),)
        if isinstance(written, dict) and not LOOPS.isdisjoint(written):
            if not is_valid_id(identifier):  # reported once, not for each member
                _add_id_problem(identifier, source, mark, problems)
                continue
            expanded = expand(identifier, written)
        where = f"{source.name}:{mark[0]}:{mark[1]}"
        if isinstance(expanded, Fault):
            Entry(Address(kind, identifier), {}, source, number, where, written_id=identifier).note(problems, expanded)
            continue
        for own_id, body, faults in expanded:
            entry = Entry(Address(kind, own_id), body, source, number, where, written_id=identifier)
            for fault in faults:
                entry.note(problems, fault)
            if body is None:
                entry.body = {}
            elif isinstance(body, dict):
                if source.has_placeholders:
                    unknown: list[Fault] = []
                    entry.body = fill_fields(body, {**names, "id": own_id}, unknown)
                    for fault in unknown:
                        entry.note(problems, fault)
                if None in entry.body.values():
                    entry.nulls = tuple(key for key, value in entry.body.items() if value is None)
                    # "streamKey:" without a value asks for a stream key with the defaults; in an override it removes the key.
                    kept = "" if entry.body.get(OVERRIDE) is True else "streamKey"
                    entry.body = {
                        key: {} if key == kept and value is None else value
                        for key, value in entry.body.items()
                        if value is not None or key == kept
                    }
            yield entry


_SHARED = (
    "; specs of the project match files of the target, so every target reads them: "
    "specs: [] in the project file leaves each target its own"
)


def _add_id_problem(identifier: str, source: Source, mark: Mark, problems: Problems) -> None:
    fault = id_fault(identifier)
    problems.add(source.name, mark, fault.what, fault.hint)


def _add(entry: Entry, entries: dict[Address, Entry], overrides: dict[Address, Entry], problems: Problems) -> None:
    """Validate an entry and add it to ``entries``, or to ``overrides`` if it says so."""
    if not is_valid_id(entry.address.id):
        _add_id_problem(entry.address.id, entry.source, entry.mark, problems)
    if isinstance(entry.body, dict) and entry.body.get(OVERRIDE) is True:
        entry.body = {name: value for name, value in entry.body.items() if name != OVERRIDE}
        first = overrides.setdefault(entry.address, entry)
        if first is not entry:
            # One would win by the order of files.
            what = f"second {OVERRIDE} of this id (first at {first.where})"
            entry.note(problems, Fault((), what, "merge the two", at_key=True))
        return
    earlier = entries.setdefault(entry.address, entry)
    if earlier is not entry:
        problems.add(
            entry.source.name,
            entry.mark,
            f"duplicate id (first defined at {earlier.where})",
            "rename or remove one of the two"
            + (f", or write {OVERRIDE}: true to merge this one" if entry.source.of_target else "")
            + (_SHARED if entry.source.of_both or earlier.source.of_both else ""),
            address=entry.label,
        )
    skipped: list[int] = []
    body = {**entry.body, **_unknown_nulls(entry)} if entry.nulls else entry.body
    faults = faults_of(MODELS[entry.address.kind], body, problems.left(entry.source.name), skipped.append)
    for fault in faults:
        entry.note(problems, fault)
    if skipped:
        # Which fields are valid is unknown: none is checked further.
        problems.skip(entry.source.name, skipped[0])
        _remove_broken(entry, frozenset(entry.body if isinstance(entry.body, dict) else ()))
    elif faults:
        named = {str(fault.path[0]) for fault in faults if fault.path}
        # Nothing is known about the fields of what is no mapping.
        _remove_broken(entry, frozenset(named or MODELS[entry.address.kind].model_fields))


def _merge(override: Entry, base: Entry | None, problems: Problems) -> None:
    """Merge an override into the entry of the same id: its fields replace those of the base, tags one by one, and ``null`` removes."""
    if base is None:
        what = f"{OVERRIDE}: true, but no other entry has this id"
        override.note(problems, Fault((), what, f"remove {OVERRIDE}, or correct the id", at_key=True))
        return
    if not override.source.of_target:
        what = f"{OVERRIDE} is for files in specs of a target"
        override.note(problems, Fault((OVERRIDE,), what, "list the file there, and not in specs of the project"))
        return
    before, fields = base.body, MODELS[base.address.kind].model_fields
    required = {name for name in override.nulls if name in fields and fields[name].is_required()}
    for name in sorted(required):
        override.note(problems, Fault((name,), f"{name} is required and cannot be removed", "write a value"))
    removable = {*override.nulls} - required
    merged = {**{name: value for name, value in before.items() if name not in removable}, **override.body}
    removed: tuple[str, ...] = ()
    tags, own = before.get("tags"), override.body.get("tags")
    if isinstance(tags, dict) and isinstance(own, dict):
        merged["tags"] = {**tags, **own}
        removed = tuple(f"tags/{key}" for key in tags if key in own and own[key] is None)
    base.overridden = {**base.overridden, **dict.fromkeys(override.body, override)}
    faults = [
        fault
        for fault in faults_of(MODELS[base.address.kind], {**merged, **_unknown_nulls(override)})
        if fault.path and (fault.path[0] in override.body or fault.path[0] in override.nulls)
    ]
    for fault in faults:
        override.note(problems, fault)
    base.body, base.nulls = merged, (*base.nulls, *override.nulls, *removed)
    if faults:
        _remove_broken(base, base.broken | {str(fault.path[0]) for fault in faults})


def _unknown_nulls(entry: Entry) -> dict[str, None]:
    """Return the null fields that the kind does not have, which removing them from the body would hide."""
    return dict.fromkeys(name for name in entry.nulls if name not in MODELS[entry.address.kind].model_fields)


def _remove_broken(entry: Entry, broken: frozenset[str]) -> None:
    body = entry.body if isinstance(entry.body, dict) else {}
    entry.broken = broken
    entry.body = {name: value for name, value in body.items() if name not in broken}
    if "tags" in broken and isinstance(body.get("tags"), dict):
        entry.body["tags"] = {key: value for key, value in body["tags"].items() if isinstance(value, str | None)}


_NOT_MANAGED = {
    "rooms": "IVS Chat",
    "loggingConfigurations": "IVS Chat",
    "stages": "IVS Real-Time",
    "storageConfigurations": "IVS Real-Time",
    "encoderConfigurations": "IVS Real-Time",
    "ingestConfigurations": "IVS Real-Time",
    "publicKeys": "IVS Real-Time",
    "compositions": "IVS Real-Time",
}
"""The API of resources that people look for here, and that no kind is of. Some of their names are similar to those of sections."""


def _section_hint(section: str) -> str:
    if api := _NOT_MANAGED.get(section):
        return f"resources of {api} are not managed; remove the section"
    near = nearest(section, (*SECTIONS, MOVED, FORGET))
    if not near and "stream" in section.lower():
        return "write a stream key in its channel, as streamKey"
    return suggestion(section, (*SECTIONS, MOVED, FORGET), otherwise=f"the sections are {', '.join(SECTIONS)}")
