"""Reads an adopt file: which live resource to adopt for which address, by ARN. YAML or JSON, one line a resource.

The addresses are those of the one selected target, or are below ``targets`` and the name of their target.
All problems of the file are reported at once, with file, line and column; what only live state shows is placed by ``AdoptFile.located``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.errors import AdoptionError, SpecError, os_reason
from reconciler.model.address import Address
from reconciler.model.kinds import CHILD_KINDS, KINDS, kind_of
from reconciler.model.resource import DesiredState
from reconciler.model.target import Project, Target
from reconciler.spec.files import MAX_FILE_SIZE
from reconciler.spec.problems import KeyPath, Problems, nearest, quote, target_hint, type_name
from reconciler.spec.yaml import Source, load

_TARGETS = "targets"
_ARN_PARTS = 6
_MAX_SUGGESTIONS = 20
"""Problems for which similar addresses are looked for: each is compared with every address."""


@dataclass(frozen=True, slots=True)
class AdoptFile:
    """The ARNs of an adopt file, by target and address. Entries of targets that are not selected are left out."""

    source: Source
    adopt: Mapping[str, Mapping[Address, str]]
    paths: Mapping[tuple[str, str], KeyPath]
    """By target and address, the path of the entry."""

    def located(self, error: AdoptionError) -> SpecError:
        """Return what live state shows to be wrong with the entries, each with its line."""
        problems = Problems()
        for one in error.problems:
            path = self.paths.get((one.where, one.address), ())
            problems.add(self.source.name, self.source.mark(path), one.what, one.hint, address=one.address)
        try:
            problems.raise_any()
        except SpecError as found:
            return found
        return SpecError(error.problems)


def read_adopt_file(
    path: Path, name: str, project: Project, targets: tuple[Target, ...], desired: Mapping[str, DesiredState]
) -> AdoptFile:
    """Return the entries of a file for the selected targets. ``name`` is the path as messages show it. Raises ``SpecError``."""
    problems = Problems()
    source = Source(name, b"")
    try:
        data = _content(path)
        source = load(name, data)
        source.report(problems)
    except OSError as error:
        problems.add(
            name, None, f"cannot be read: {os_reason(error)}", "write addresses with ARNs into it, or correct the path"
        )
    reading = _Reading(source, problems, project, {target.name: target for target in targets}, desired)
    if source.complete:
        reading.read()
    problems.raise_any()
    return AdoptFile(source, reading.adopt, reading.paths)


def _content(path: Path) -> bytes:
    with path.open("rb") as stream:
        data = stream.read(MAX_FILE_SIZE + 1)
    if len(data) > MAX_FILE_SIZE:
        raise OSError(0, f"more than {MAX_FILE_SIZE:,} bytes")
    return data


class _Reading:
    """The entries and the problems of one file."""

    def __init__(
        self,
        source: Source,
        problems: Problems,
        project: Project,
        targets: Mapping[str, Target],
        desired: Mapping[str, DesiredState],
    ) -> None:
        self._source, self._problems, self._project = source, problems, project
        self._targets, self._desired = targets, desired
        self.adopt: dict[str, dict[Address, str]] = {}
        self.paths: dict[tuple[str, str], KeyPath] = {}

    def read(self) -> None:
        documents = self._source.documents
        if len(documents) > 1:
            self._problems.add(
                self._source.name, self._source.mark((), document=1), "a second document", "use one document"
            )
            return
        content = documents[0] if documents else None
        if content is None:
            return
        if not isinstance(content, dict):
            self._add((), f"is {type_name(content)}", "write addresses with ARNs, such as channel/main: arn:aws:ivs:…")
            return
        flat = {key: value for key, value in content.items() if key != _TARGETS}
        if flat and _TARGETS in content:
            self._add((next(iter(flat)),), "addresses are beside targets", "move them below their target", at_key=True)
        elif flat and len(self._targets) > 1:
            names = ", ".join(self._targets)
            hint = "select one with -t, or write the addresses below targets: and the name of their target"
            self._add(
                (next(iter(flat)),),
                f"does not say for which target: {len(self._targets)} are selected ({names})",
                hint,
                at_key=True,
            )
        elif flat:
            self._entries(next(iter(self._targets)), flat, ())
        if _TARGETS in content:
            self._by_target(content[_TARGETS])

    def _by_target(self, content: Any) -> None:
        if not isinstance(content, dict):
            self._add(
                (_TARGETS,),
                f"targets is {type_name(content)}",
                "write the name of each target with its addresses below",
            )
            return
        for name, entries in content.items():
            path = (_TARGETS, name)
            if name not in self._project.targets:
                hint = target_hint(name, self._project.targets)
                self._add(path, f"no target {quote(name)} in the project file", hint, at_key=True)
            elif entries is not None and not isinstance(entries, dict):
                self._add(path, f"is {type_name(entries)}", "write addresses with ARNs below the target")
            elif entries and name in self._targets:
                self._entries(name, entries, path)

    def _entries(self, name: str, entries: Mapping[str, Any], prefix: KeyPath) -> None:
        target, desired = self._targets[name], self._desired[name]
        found = self.adopt.setdefault(name, {})
        first: dict[str, str] = {}
        for key, arn in entries.items():
            path = (*prefix, key)
            try:
                address = Address.parse(key)
            except ValueError as error:
                self._add(
                    path,
                    str(error) if "/" in key and key.isprintable() else f"{quote(key)} is not an address",
                    "write kind/id, such as channel/main-stage",
                    at_key=True,
                )
                continue
            known: Iterable[Address] = desired.resources if len(self._problems) < _MAX_SUGGESTIONS else ()
            faults = [*faults_of(address, arn, target, desired, known)]
            if faults:
                for what, hint, at_key in faults:
                    self._add(path, what, hint, address=key, at_key=at_key)
            elif other := first.get(arn):
                self._add(path, f"{arn} is given for {other} too", "adopt it for one of them", address=key)
            else:
                first[arn] = key
                found[address] = arn
                self.paths[name, key] = path

    def _add(self, path: KeyPath, what: str, hint: str, *, address: str = "", at_key: bool = False) -> None:
        mark = self._source.mark(path, at_key=at_key)
        self._problems.add(self._source.name, mark, what, hint, address=address)


class AdoptFault(NamedTuple):
    """A problem of one address or, unless ``of_address``, of its ARN."""

    what: str
    hint: str
    of_address: bool = False


def faults_of(
    address: Address, arn: object, target: Target, desired: DesiredState, known: Iterable[Address]
) -> Iterator[AdoptFault]:
    """Yield what is wrong, in this target, with an address and an ARN. ``known`` are the addresses to suggest."""
    kind = KINDS[address.kind]
    if address.kind in CHILD_KINDS:
        hint = "adopt its channel instead, with streamKey in the spec"
        yield AdoptFault("a stream key is adopted with its channel", hint, of_address=True)
    elif address not in desired.resources:
        near = nearest(str(address), [str(one) for one in known if one.kind is address.kind])
        hint = f"did you mean {near}?" if near else f"add the {kind.title} to the spec first"
        yield AdoptFault(f"not in the spec of target {target.name}", hint, of_address=True)
    parts = arn.split(":", _ARN_PARTS - 1) if isinstance(arn, str) else []
    example = f"arn:aws:{kind.service.prefix}:{target.region}:{target.account_id or '123456789012'}:{kind.arn_type}/…"
    if len(parts) != _ARN_PARTS or parts[0] != "arn" or not parts[5].partition("/")[2]:
        yield AdoptFault(f"{quote(arn)} is not an ARN", f"write {example}")
        return
    if kind_of(str(arn)) is not kind:
        found = f"{parts[2]}:{parts[5].partition('/')[0]}"
        yield AdoptFault(f"{quote(found)} in the ARN is not a {kind.title}", f"write {example}")
    if parts[3] != target.region:
        what = f"the ARN is in region {quote(parts[3])}, and target {target.name} is in {target.region}"
        yield AdoptFault(what, "use one in the same region")
    if target.account_id and parts[4] != target.account_id:
        what = f"the ARN is in account {quote(parts[4])}, and target {target.name} is in account {target.account_id}"
        yield AdoptFault(what, "use one in the same account")
