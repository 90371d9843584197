"""Reads ``moved`` and ``forget`` at the top of spec files: addresses that were renamed, and those whose resources are kept and no longer managed.

Both speak of addresses that the spec no longer has, so both can stay in the files after they were applied.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from reconciler.model.address import Address, KindName, is_valid_id
from reconciler.model.kinds import CHILD_KINDS, parent_of
from reconciler.spec.problems import Fault, KeyPath, Problems, nearest, quote, type_name
from reconciler.spec.yaml import Source

MOVED, FORGET = "moved", "forget"

_EXAMPLE = "write kind/id, such as channel/main-stage"


@dataclass(frozen=True, slots=True)
class _Place:
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
