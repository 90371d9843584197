"""Exports live accounts to spec files and an adopt file: reads, lets ``export`` decide, and writes everything that could be read, or nothing."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from reconciler.aws.client import ReadCalls
from reconciler.aws.connection import Connection, connect
from reconciler.aws.reader import ReadRequest, read_live, read_stream_keys
from reconciler.errors import AwsError, UsageError, os_reason
from reconciler.export import handover
from reconciler.export.entries import KeyMaterial, Written, stream_keys_by_channel
from reconciler.export.exporter import (
    Export,
    Filters,
    Known,
    Selection,
    Split,
    adopt_text,
    export,
    schema_path,
    select,
    spec_files,
)
from reconciler.export.handover import BadSource, Origin, Source, read_source
from reconciler.files import read_report, replace_file
from reconciler.model.address import Address
from reconciler.model.kinds import CHILD_KINDS, LISTED, child_kind_of, kind_of
from reconciler.model.resource import LiveResource
from reconciler.model.target import Guardrails, Project, Target
from reconciler.report.words import join_words
from reconciler.spec.desired import Defaults
from reconciler.spec.files import DEFAULT_SPECS, Missing, may_match, read_specs
from reconciler.spec.keys import BadKey, read_public_key
from reconciler.spec.problems import Problems
from reconciler.spec.resources import read_entries, read_moves
from reconciler.spec.templates import placeholder_values
from reconciler.workflow.progress import ForecastCalls
from reconciler.workflow.survey import Connect, Progress, map_targets, raise_failures

ADOPT_FILE = "adopt.yaml"
_MAX_KEY_BYTES = 65_536
_WORKERS = 4
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to export and where to.

    ``out``, ``adopt_out``, ``keys`` and ``names_from`` are paths relative to ``directory``; empty ones mean the project's own places.
    ``command`` is how the caller starts the program, for the commands that come next.
    """

    directory: Path
    filters: Filters = field(default_factory=Filters)
    split: Split = field(default_factory=Split)
    out: str = ""
    adopt_out: str = ""
    keys: str = ""
    names_from: tuple[str, ...] = ()
    command: tuple[str, ...] = ("ivs-reconciler",)
    stream_keys: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """The exports of all targets, the text of each file, and the commands that come next. ``gaps`` could not be written whole."""

    exports: tuple[Export, ...]
    files: Mapping[Path, str]
    commands: tuple[str, ...]
    gaps: tuple[str, ...]


def export_targets(
    project: Project,
    targets: tuple[Target, ...],
    wanted: Wanted,
    *,
    progress: Progress | None = None,
    open_target: Connect = connect,
    missed: dict[str, AwsError] | None = None,
) -> Exported:
    """Read the targets and return the files to write; nothing is written.

    Raises ``UsageError``, and ``AwsError`` for targets that cannot be read; with ``missed``, which receives the errors by target, only if none can.
    """
    folders = _folders(project, targets, wanted)
    adopt_file = _adopt_file(project, wanted)
    source = _source(wanted)
    public_keys = _public_keys(project, wanted, source)

    def one(target: Target) -> Export:
        with open_target(target) as connection:
            return _export(project, target, wanted, connection, folders[target.name], source, public_keys, progress)

    found = map_targets(targets, one, progress=progress)
    raise_failures(targets, found, missed)
    files: dict[Path, str] = {}
    exports: list[Export] = []
    for item in (item for item in found if isinstance(item, Export)):
        folder = folders[item.target.name]
        schema = schema_path(str(folder), str(Path(project.root) / "schemas"))
        own = {folder / name: text for name, text in spec_files(item.entries, wanted.split, schema).items()}
        files |= own
        exports.append(replace(item, notes=(*item.notes, *_reader_notes(project, item.target, own))))
    gaps = [f"{item.target.name}: {gap}" for item in exports for gap in item.gaps]
    if clash := sorted(path for path in files if path in (adopt_file, Path(project.path).resolve())):
        raise UsageError(f"{shown(clash[0])} would be a spec file too; use --out DIR, or another --split")
    arns = {item.target.name: item.adopt for item in exports if item.adopt}
    commands = _commands(project, [item.target for item in exports], wanted, adopt_file if arns else None)
    if arns:
        files[adopt_file] = adopt_text(arns, by_target=len(targets) > 1)
    if source is not None:
        written = {arn for item in exports for one in item.entries for arn in (one.resource.arn, one.key_arn)}
        gaps += handover.not_exported(source.origins, written)
        theirs = [one for one in source.origins if one.arn in written]
        pages = {handover.PAGE: handover.page(theirs, commands), handover.BLOCKS: handover.removed_blocks(theirs)}
        files |= {adopt_file.parent / name: text for name, text in pages.items() if theirs and text}
    return Exported(tuple(exports), files, commands, tuple(gaps))


def _reader_notes(project: Project, target: Target, paths: Collection[Path]) -> Iterator[str]:
    """Yield a note if the target does not read the files yet, and one if other targets read them too."""
    unread = [path for path in paths if not _is_spec(project, target, path)]
    if unread:
        yield f"no pattern of specs matches {', '.join(map(shown, unread))}; add one before you plan"
    others = [
        one.name
        for one in project.targets.values()
        if one != target and any(_is_spec(project, one, path) for path in paths)
    ]
    if others:
        yield f"read by {', '.join(others)} too: an apply there would create these resources; give each target its own specs"


def _commands(project: Project, targets: Sequence[Target], wanted: Wanted, adopt_file: Path | None) -> tuple[str, ...]:
    """Return the commands that plan and apply what was exported."""
    words = [*wanted.command]
    if len(targets) < len(project.targets):
        words += [part for target in targets for part in ("-t", target.name)]
    adopt = ["--adopt-file", os.path.relpath(adopt_file, wanted.directory.resolve())] if adopt_file else []
    return tuple(shlex.join([*words, verb, *adopt]) for verb in ("plan", "apply"))


def project_without_file(path: Path, region: str, account_id: str | None) -> Project:
    """Return a project with one target, as a project file at ``path`` with nothing else would."""
    target = Target("prod", region, account_id)
    return Project(
        path=str(path),
        root=str(path.parent),
        stack="",
        specs=DEFAULT_SPECS,
        default_tags={},
        default_channel={},
        ignore_tags=(),
        targets={target.name: target},
        guardrails=Guardrails(),
    )


def write_files(files: Mapping[Path, str], *, force: bool) -> None:
    """Write all files, or none if one exists and ``force`` is not set. Raises ``UsageError``."""
    existing = [path for path in files if os.path.lexists(path)]
    if existing and not force:
        lines = [f"{shown(path)}: already exists" for path in sorted(existing)]
        ways = "--out DIR for spec files, --adopt-out DIR/FILE for the others, or --force to overwrite"
        raise UsageError("\n".join([*lines, f"Nothing was written; use {ways}"]))
    if folders := [path for path in existing if path.is_dir()]:
        raise UsageError("\n".join(f"{shown(path)}: is a directory; nothing was written" for path in folders))
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, text, mode=None)
        except OSError as error:
            raise UsageError(
                f"{shown(path)}: cannot be written ({os_reason(error)}); choose another folder with --out"
            ) from None


def shown(path: Path) -> str:
    """Return a path as messages show it: relative to the current directory if it is below that."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _folders(project: Project, targets: tuple[Target, ...], wanted: Wanted) -> dict[str, Path]:
    """Return the folder for the spec files of each target. Raises ``UsageError`` if several targets would read each other's."""
    if wanted.out:
        base = (wanted.directory / wanted.out).resolve()
        return {target.name: base / target.name if len(targets) > 1 else base for target in targets}
    root = Path(project.root).resolve()
    shared = [target.name for target in targets if not target.specs]
    if len(targets) > 1 and shared:
        raise UsageError(
            f"targets {', '.join(shared)} read the same spec files; give each its own with specs in the target, "
            "export one at a time with --target, or use --out DIR for a folder each"
        )
    folders = {target.name: root / _base((*target.specs, *project.specs)) for target in targets}
    if outside := sorted({one for one in folders.values() if not Path(os.path.realpath(one)).is_relative_to(root)}):
        raise UsageError(
            f"{shown(outside[0])}: leads out of the project, where no specs are read; remove the link, or use --out DIR"
        )
    if len({*folders.values()}) < len(folders):
        raise UsageError(
            f"targets {', '.join(folders)} have spec files in one folder; export one at a time with --target, or use --out DIR for a folder each"
        )
    return folders


def _base(patterns: Sequence[str]) -> str:
    """Return the folder that the first pattern begins with."""
    parts = patterns[0].split("/")[:-1] if patterns else ["specs"]
    wild = next((index for index, part in enumerate(parts) if _WILD.search(part)), len(parts))
    return "/".join(parts[:wild])


def _adopt_file(project: Project, wanted: Wanted) -> Path:
    path = (wanted.directory / wanted.adopt_out if wanted.adopt_out else Path(project.root) / ADOPT_FILE).resolve()
    if any(_is_spec(project, target, path) for target in project.targets.values()):
        raise UsageError(
            f"{shown(path)}: specs of the project matches this file, and it is no spec file; use --adopt-out FILE"
        )
    return path


def _export(
    project: Project,
    target: Target,
    wanted: Wanted,
    connection: Connection,
    folder: Path,
    source: Source | None,
    public_keys: Mapping[str, KeyMaterial],
    progress: Progress | None,
) -> Export:
    calls: ReadCalls = connection.gateway
    if progress is not None:
        calls = ForecastCalls(
            calls, Counter(), connection.gateway.pace, lambda made, left: progress(target.name, made, left)
        )
    filters = wanted.filters
    origins: dict[str, Origin] = {}
    if source is not None:
        here = (connection.region, connection.account_id)
        origins = {one.arn: one for one in source.origins if one.location == here}
        arns = frozenset(origins)
        filters = replace(filters, arns=arns if filters.arns is None else arns & filters.arns)
    request = ReadRequest(
        stack=project.stack, everything=filters.arns is None, full_arns=filters.arns or frozenset(), kinds=filters.kinds
    )
    live = read_live(calls, request, account_id=connection.account_id, region=connection.region)
    everything = [resource for kind in LISTED for resource in live.of(kind)]
    if unmatched := wanted.filters.unmatched(everything):
        raise UsageError("\n".join(f"{target.name}: {line}" for line in unmatched))
    selection = select(live, project.stack, filters)
    declared = frozenset(arn for arn in origins if (kind := kind_of(arn)) and kind.name in CHILD_KINDS)
    taken, moved, overwritten = _defined(project, target, folder, wanted, selection)
    known = Known(
        taken=taken,
        moved=moved,
        names={arn: origin.names for arn, origin in origins.items()},
        public_keys=public_keys,
        stream_keys=_stream_keys(calls, selection, None if wanted.stream_keys else declared),
    )
    exported = export(selection, project, target, connection.account_id, known)
    written = {one.address for one in exported.entries}
    if lost := [
        f"{name}: defines {address}, which this export leaves out"
        for address, name in overwritten.items()
        if address not in written
    ]:
        raise UsageError(
            "\n".join(
                [
                    *sorted(lost),
                    "Nothing was written: the spec would lose them. Delete the files first, or use other filters or --out DIR",
                ]
            )
        )
    there = {resource.arn for resource in everything} | declared
    lost = [
        f"{one.address} ({one.arn}) is in {one.tool.value} and not in the account"
        for one in origins.values()
        if one.arn not in there and (kind := kind_of(one.arn)) and kind.name in filters.kinds
    ]
    notes = exported.notes
    if source is not None and not origins:
        place = f"account {connection.account_id}, region {connection.region}"
        notes += (f"the files of --names-from have no resources of {place}",)
    return replace(exported, gaps=(*exported.gaps, *lost), notes=notes)


def _stream_keys(calls: ReadCalls, selection: Selection, declared: Collection[str] | None) -> dict[str, LiveResource]:
    """Return the stream keys of the selected channels by ARN of the channel: the ``declared`` ones, or all of them for ``None``."""
    if declared is not None and not declared:
        return {}
    channels = [one.arn for one in selection.resources if child_kind_of(one.kind)]
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="keys") as pool:
        found = list(pool.map(lambda arn: read_stream_keys(calls, arn), channels))
    return stream_keys_by_channel(key for keys in found for key in keys if declared is None or key.arn in declared)


def _defined(
    project: Project, target: Target, folder: Path, wanted: Wanted, selection: Selection
) -> tuple[dict[Address, str], dict[Address, Address | None], dict[Address, str]]:
    """Return what ``Known`` has of the target's spec files, and the addresses in files that this export overwrites, with the file.

    A folder that the spec does not include has no such files: what is exported there is a spec of its own.
    Raises ``SpecError``: of a spec with problems, only a part is known.
    """
    if not _is_spec(project, target, folder / "x.yaml"):
        return {}, {}, {}
    replaced = {folder / wanted.split.file_of(resource) for resource in selection.resources} if wanted.force else set()
    own = {os.path.relpath(path, Path(project.root).resolve()) for path in replaced}
    names, problems = placeholder_values(project.stack, target), Problems()
    defaults = Defaults(project, names, problems)
    taken: dict[Address, str] = {}
    lost: dict[Address, str] = {}
    sources, _ = read_specs(project, target, problems)
    entries = read_entries(sources, names, problems)
    if sources:  # without any, the pattern that matches none is no problem yet
        problems.raise_any()
    for address, entry in entries.items():
        if entry.source.name.removeprefix(project.prefix) in own:
            lost[address] = entry.source.name
        else:
            taken[address] = defaults.name_of(entry, problems)
    moves = read_moves((source for source in sources if source.name.removeprefix(project.prefix) not in own), problems)
    settled, forget = moves.settle(taken, Problems(), complete=False)
    moved = {old: new for old, new in settled.items() if new in taken}
    return taken, {**moved, **dict.fromkeys(forget)}, lost


def _is_spec(project: Project, target: Target, path: Path) -> bool:
    """Return whether the target reads this path as a spec file."""
    name = os.path.relpath(path, Path(project.root).resolve())
    return any(may_match(pattern, Missing(name, "", "")) for pattern in (*project.specs, *target.specs))


def _source(wanted: Wanted) -> Source | None:
    """Return what another tool knows of the resources, from all files; ``None`` without a file. Raises ``UsageError``."""
    found: list[Source] = []
    for name in wanted.names_from:
        path = wanted.directory / name
        try:
            found.append(read_source(read_report(path)))
        except BadSource as error:
            raise UsageError(f"{shown(path)} {error}") from None
        except UnicodeDecodeError:
            raise UsageError(f"{shown(path)} is not UTF-8; write it with a shell that does") from None
        except OSError as error:
            raise UsageError(f"{shown(path)}: cannot be read ({os_reason(error)})") from None
    origins = {one.arn: one for source in found for one in source.origins}
    return Source((*origins.values(),), tuple(pem for source in found for pem in source.pems)) if found else None


def _public_keys(project: Project, wanted: Wanted, source: Source | None) -> dict[str, KeyMaterial]:
    """Return the known public keys by fingerprint: those in files of the keys folder, and those that another tool keeps.

    Other files are passed over. Raises ``UsageError``.
    """
    found: dict[str, KeyMaterial] = {}
    for pem in source.pems if source else ():
        with contextlib.suppress(BadKey):
            key = read_public_key(pem)
            found[key.fingerprint] = key.pem
    if not wanted.keys:
        return found
    folder = wanted.directory / wanted.keys
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
        for path in paths:
            if path.stat().st_size > _MAX_KEY_BYTES:
                continue
            try:
                key = read_public_key(path.read_text(encoding="utf-8-sig"))
            except (BadKey, UnicodeDecodeError):
                continue
            name = os.path.relpath(path.resolve(), Path(project.root).resolve())
            found[key.fingerprint] = key.pem if name.startswith("../") else {"file": name}
    except OSError as error:
        raise UsageError(
            f"{shown(folder)}: the keys cannot be read ({os_reason(error)}); name a folder of PEM files"
        ) from None
    return found


def found_kinds(entries: Iterable[Written]) -> str:
    """Return how many resources of each kind were exported, such as ``4 channels and 1 playback key pair``."""
    counts = Counter(one.address.kind for one in entries)
    return join_words(kind.with_count(counts[name]) for name, kind in LISTED.items() if counts[name])
