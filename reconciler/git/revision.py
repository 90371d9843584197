"""The project as a git revision holds it, written to a temporary directory: for comparing revisions, and as the base of a plan.

No checkout, no index, no network, and no code of the revision is run.
A revision may come from anyone: links to outside the project are replaced, large files are not read, and names that git refuses are refused.

A plan shows resources; a change of ``prune``, a limit or an endpoint changes what the next apply may do to them.
A commit must not lift the limits that it is checked with: a plan with a base uses the stricter of both.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from reconciler.errors import SpecError, UsageError, os_reason
from reconciler.git.clone import (
    LINK,
    LIST_TREE,
    SUBMODULE,
    commit_of,
    git_output,
    git_refusal,
    head_commit,
    read_only_environment,
    repository_of,
    through_links,
    top_of,
    tree_entries,
    tree_of,
    why_no_commit,
    why_unreadable,
)
from reconciler.model.target import LIMITS, Guardrails, OnLive, Project
from reconciler.plan.plan import Base, SettingChange
from reconciler.spec.files import MAX_FILE_SIZE, Missing
from reconciler.spec.project import load_project
from reconciler.spec.yaml import load
from reconciler.terminal import mask_urls, short_commit

MAX_TREE_BYTES = 256 << 20
MAX_FILES = 50_000
_MAX_LIST_BYTES = 16 << 20
"""More than ``MAX_FILES`` usual lines; a small commit can list one tree any number of times."""

_NOWHERE = "/outside of the revision"
"""The target of a link that led out of the project: it does not exist, and is outside as well."""


class Revision(NamedTuple):
    """A commit, and the name that resolved to it."""

    name: str
    commit: str


class _Blob(NamedTuple):
    mode: str
    id: str
    size: int
    path: str
    folder: Path
    """The repository that has it: the clone, or a submodule in its work tree."""


class CheckedOut(NamedTuple):
    """A revision's project directory, and what it lacks: submodules that this clone does not have."""

    root: Path
    missing: tuple[Missing, ...]


def parse_range(folder: Path, text: str) -> tuple[Revision, Revision | None]:
    """Return the two revisions of ``BASE..HEAD``, ``BASE...HEAD`` (from their merge base) or ``BASE`` (``None``: the work tree).

    An empty side is ``HEAD``. Raises ``UsageError`` for a name that is not a commit of this clone.
    """
    first, dots, second = text.partition("...")
    if dots:
        base, head = resolve(folder, first or "HEAD"), resolve(folder, second or "HEAD")
        merge_base = git_output(folder, "merge-base", base.commit, head.commit)
        if not merge_base:
            raise UsageError(
                f"{text}: no merge base in this clone; fetch the full history (git fetch --unshallow), or use .. instead of ..."
            )
        return Revision(base.name, merge_base), head
    first, dots, second = text.partition("..")
    base = resolve(folder, first or "HEAD")
    return base, resolve(folder, second or "HEAD") if dots else None


def resolve(folder: Path, name: str) -> Revision:
    """Return the commit that a name resolves to. Raises ``UsageError`` if there is none."""
    commit = commit_of(folder, name)
    if commit:
        return Revision(name, commit)
    if why := why_unreadable(folder):
        raise UsageError(why)
    raise UsageError(
        f"unknown revision {name!r} in this clone; check the name, or fetch it first (a shallow clone lacks most commits)"
    )


@contextmanager
def checked_out(folder: Path, config: str, revision: Revision) -> Iterator[CheckedOut | None]:
    """Write the project file's directory as of a revision to a temporary directory, and yield that; ``None`` without a project file.

    ``config`` is the project file, relative to ``folder``. Raises ``UsageError`` if the files cannot be written.
    """
    inside = inside_repository(folder, config)
    tree = revision.commit + "^{tree}" if inside.parent == PurePosixPath() else f"{revision.commit}:{inside.parent}"
    found = git_output(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", tree)
    missing: list[Missing] = []
    place = Path(os.path.realpath((folder / config).parent))
    blobs = list(_bounded(_blobs_of(folder, place, found, revision, missing), revision)) if found else []
    project = next((blob for blob in blobs if blob.path == inside.name), None)
    if project is None:
        yield None
        return
    if project.mode == LINK:
        raise UsageError(f"{revision.name}:{inside} is a symbolic link; the project file must be a regular file")
    with tempfile.TemporaryDirectory(prefix="ivs-reconciler-") as scratch:
        root = Path(os.path.realpath(scratch))
        try:
            _write_files(blobs, root, revision)
        except OSError as error:
            raise UsageError(f"{revision.name}: cannot write its files to {root.parent} ({os_reason(error)})") from None
        links = (blob.path for blob in blobs if blob.mode == LINK)
        yield CheckedOut(root, (*missing, *through_links(missing, links, root)))


def inside_repository(folder: Path, config: str) -> PurePosixPath:
    """Return the path of the project file, relative to the top of the repository. Raises ``UsageError`` if it is outside."""
    top = top_of(folder)
    if top is None:
        raise UsageError(why_unreadable(folder) or f"{folder} is not in a work tree; run in a clone")
    path = os.path.relpath(os.path.realpath((folder / config).parent), os.path.realpath(top))
    if path.partition(os.sep)[0] == os.pardir:
        raise UsageError(f"{folder / config} is outside the repository {top}")
    return PurePosixPath(Path(path).as_posix()) / Path(config).name


def _bounded(blobs: Iterable[_Blob], revision: Revision) -> Iterator[_Blob]:
    """Yield the blobs. Raises ``UsageError`` if there are too many, or too much in them."""
    total = 0
    for count, blob in enumerate(blobs):
        total += blob.size if blob.size <= MAX_FILE_SIZE else 0
        if count >= MAX_FILES or total > MAX_TREE_BYTES:
            raise UsageError(
                f"{revision.name}: more than {MAX_FILES:,} files or {MAX_TREE_BYTES >> 20} MiB beside the project file; move it to a directory of its own"
            )
        yield blob


def _blobs_of(folder: Path, place: Path, tree: str, revision: Revision, missing: list[Missing]) -> Iterator[_Blob]:
    """Yield the blobs of a tree and of its submodules; those that the clone lacks are added to ``missing``.

    ``place`` is the directory of the work tree that the tree belongs to, whether or not it exists there.
    """
    listing = git_output(folder, *LIST_TREE, tree, strip=False, max_bytes=_MAX_LIST_BYTES)
    if listing is None:
        refusal = git_refusal(folder, *LIST_TREE, tree, max_bytes=_MAX_LIST_BYTES)
        raise UsageError(f"{revision.name}: its files cannot be listed: {refusal}")
    for mode, identity, size, path in tree_entries(listing):
        if any(part in ("", ".", "..") or part.lower() == ".git" for part in path.split("/")):
            raise UsageError(
                f"{revision.name}: the tree contains {path!r}, a name that git does not check out; the revision is not read"
            )
        if mode == SUBMODULE:
            yield from _submodule(place / path, path, identity, revision, missing)
            continue
        yield _Blob(mode, identity, size, path, folder)


def _submodule(folder: Path, path: str, commit: str, revision: Revision, missing: list[Missing]) -> Iterator[_Blob]:
    """Yield the blobs of a submodule's commit, if its work tree in this clone has it."""
    is_fetched = (folder / ".git").exists()
    tree = tree_of(folder, commit) if is_fetched else None
    if tree is None:
        command = f"git -C {path} fetch" if is_fetched else f"git submodule update --init {path}"
        what = f"is a submodule, and this clone does not have its commit {short_commit(commit)}"
        missing.append(Missing(path, what, f"run {command}", is_folder=True))
        return
    inner: list[Missing] = []
    for blob in _blobs_of(folder, folder, tree, revision, inner):
        yield blob._replace(path=f"{path}/{blob.path}")
    missing += [one._replace(path=f"{path}/{one.path}") for one in inner]


def _write_files(blobs: Iterable[_Blob], root: Path, revision: Revision) -> None:
    """Write the files first and the links last, so that nothing is written through a link."""
    links: list[tuple[Path, bytes]] = []
    for folder, own in groupby(blobs, key=lambda blob: blob.folder):
        with _blob_copier(folder, revision) as copy:
            for blob in own:
                path = root / blob.path
                if blob.mode == LINK:
                    target = io.BytesIO()
                    copy(blob, target)
                    links.append((path, target.getvalue()))
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as stream:
                    if blob.size > MAX_FILE_SIZE:
                        stream.truncate(blob.size)  # a sparse file: reading it as a spec reports its size
                    else:
                        copy(blob, stream)
    for path, link in links:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.fsdecode(link.partition(b"\0")[0]) or ".")
    outside = [path for path, _ in links if not Path(os.path.realpath(path)).is_relative_to(root)]
    for path in outside:
        path.unlink()
        path.symlink_to(_NOWHERE)


@contextmanager
def _blob_copier(folder: Path, revision: Revision) -> Iterator[Callable[[_Blob, BinaryIO], None]]:
    """Yield a function that writes the content of one blob after the other, read through one ``git cat-file --batch``."""
    process = subprocess.Popen(
        ["git", "cat-file", "--batch"],  # noqa: S607 - git is found as the user's shell finds it
        cwd=repository_of(folder),
        env=read_only_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    requests, responses = process.stdin, process.stdout
    if requests is None or responses is None:
        raise OSError("git was started without pipes")

    def copy(blob: _Blob, stream: BinaryIO) -> None:
        requests.write(f"{blob.id}\n".encode())
        requests.flush()
        head = responses.readline().split()
        if len(head) != 3 or head[1] != b"blob":
            raise UsageError(
                f"{revision.name}: this clone lacks the content of {blob.path!r}; run git fetch --refetch --no-filter"
            )
        stream.write(responses.read(int(head[2])))
        responses.read(1)

    with process:
        try:
            yield copy
        finally:
            process.kill()


_SHOWN_AS_RESOURCES = ("defaults",)
_IDENTITY = frozenset({"region", "endpointUrl", "roleArn", "externalId", "profile"})
"""Fields of a target that decide where, and as whom, an apply works."""

_CHECKS = frozenset({"accountId", "lock", "sandbox"})
"""Fields of a target that protect while they are set; adding one widens nothing."""


def read_base(project: Project, name: str) -> Base:
    """Return the base of a plan, by the name of its revision. Raises ``UsageError`` if it cannot be resolved.

    Settings are compared with the merge base, so that only the commits of the plan count; guardrails are those of the base itself.
    """
    root = Path(project.root)
    if head_commit(root) is None:
        raise UsageError(f"--base {name}: {why_no_commit(root)}")
    commit = commit_of(root, name)
    if commit is None:
        raise UsageError(
            f"--base {name}: unknown revision in this clone; fetch it first (a shallow clone lacks most commits)"
        )
    fork = git_output(root, "merge-base", commit, "HEAD") or commit
    now = settings_of(Path(project.path).read_bytes())
    before = _file_at(project, fork)
    settings = changed_settings(settings_of(before), now, _project(before), project) if before is not None else ()
    at_base = _project(_file_at(project, commit))
    is_guarded = _with_stricter(project, at_base) != project
    limits = at_base.guardrails if at_base else Guardrails()
    return Base(name, commit, settings, limits if is_guarded or limits != project.guardrails else None)


def with_stricter_guardrails(project: Project, base: Base) -> Project:
    """Return the project with the stricter of its guardrails and the base's: those recorded, and those that the clone has.

    A saved plan may have been edited; a commit of the clone has not.
    """
    if base.guardrails:
        project = project._replace(guardrails=base.guardrails.stricter(project.guardrails))
    commit = commit_of(Path(project.root), base.commit)
    return _with_stricter(project, _project(_file_at(project, commit))) if commit else project


def _with_stricter(project: Project, base: Project | None) -> Project:
    """Return the project with the stricter guardrails of it and the base; a target has those of its name, account and region."""
    if base is None:
        return project._replace(guardrails=Guardrails().stricter(project.guardrails))
    targets = dict(project.targets)
    for name, target in targets.items():
        for former in base.targets.values():
            is_same = (former.region, former.account_id) == (target.region, target.account_id)
            if former.guardrails and (former.name == name or is_same):
                own = former.guardrails.stricter(targets[name].guardrails)
                targets[name] = target._replace(guardrails=own)
    return project._replace(guardrails=base.guardrails.stricter(project.guardrails), targets=targets)


def settings_of(content: bytes) -> Mapping[str, Any]:
    """Return the settings of a project file as written; empty if it is not one."""
    documents = load("", content).documents
    found = documents[0] if documents else None
    return found if isinstance(found, dict) else {}


def _file_at(project: Project, commit: str) -> bytes | None:
    """Return the project file as of a commit, or ``None`` if it has none."""
    root, name = Path(project.root), Path(project.path).name
    blob = f"{commit}:{inside_repository(root, name)}"
    size = git_output(root, "cat-file", "-s", blob)
    if size is None or int(size) > MAX_FILE_SIZE:
        return None
    content = git_output(root, "cat-file", "blob", blob, strip=False)
    return None if content is None else os.fsencode(content)


def _project(content: bytes | None) -> Project | None:
    """Return the project of a project file, or ``None`` if it is missing or invalid: then the default guardrails hold."""
    if content is None:
        return None
    with tempfile.TemporaryDirectory(prefix="ivs-reconciler-") as folder:
        (Path(folder) / "base.yaml").write_bytes(content)
        try:
            return load_project(Path(folder), "base.yaml", allowed_paths=None)
        except SpecError:
            return None


def changed_settings(
    base: Mapping[str, Any], head: Mapping[str, Any], before_in_effect: Project | None, in_effect: Project
) -> tuple[SettingChange, ...]:
    """Return the settings that differ between two project files as written, those that widen what an apply may do first.

    The projects have the guardrails in effect with each; ``None`` means the defaults.
    """
    before, after = dict(_flat(base, ())), dict(_flat(head, ()))
    known = {path[1] for path in before if path[:1] == ("targets",) and len(path) > 1}
    changes = [
        SettingChange(
            ".".join(path),
            _text(before, path),
            _text(after, path),
            widens=_widens(
                path,
                before.get(path),
                after.get(path),
                known,
                _limits(before_in_effect, path),
                _limits(in_effect, path),
            ),
        )
        for path in dict.fromkeys((*after, *before))
        if path not in before or path not in after or before[path] != after[path]
    ]
    return tuple(sorted(changes, key=lambda change: not change.widens))


def _limits(project: Project | None, path: tuple[str, ...]) -> Guardrails:
    if project is None:
        return Guardrails()
    return project.guardrails_of(path[1]) if path[0] == "targets" and len(path) > 1 else project.guardrails


def _flat(value: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, item in value.items():
        name = str(key)
        if not path and (name in _SHOWN_AS_RESOURCES or name.startswith("x-")):
            continue
        if isinstance(item, Mapping) and item:
            yield from _flat(item, (*path, name))
        else:
            yield (*path, name), item


def _text(values: Mapping[tuple[str, ...], Any], path: tuple[str, ...]) -> str | None:
    """Return a value as JSON, URLs masked, or ``None`` if it is not set."""
    if path not in values:
        return None
    value = values[path]
    return json.dumps(mask_urls(value) if isinstance(value, str) else value, ensure_ascii=False, default=str)


def _widens(
    path: tuple[str, ...], before: Any, after: Any, known: set[str], limits: Guardrails, head_limits: Guardrails
) -> bool:
    match path:
        case ("stack",):
            return True
        case ("ignoreTags",) | ("outputs",):
            return bool(set(map(str, after or ())) - set(map(str, before or ())))
        case ("targets", target, "guardrails", *_) if target not in known:
            return False
        case ("guardrails", name) | ("targets", _, "guardrails", name) if name in LIMITS:
            was, now = getattr(limits, LIMITS[name]), getattr(head_limits, LIMITS[name])
            return was is not None and (now is None or now > was)
        case ("guardrails", "onLive") | ("targets", _, "guardrails", "onLive"):
            return limits.on_live is OnLive.BLOCK and head_limits.on_live is not OnLive.BLOCK
        case ("guardrails",) | ("targets", _, "guardrails"):
            return limits.stricter(head_limits) != head_limits
        case ("targets", target, name, *_):
            if name == "prune":
                return after is True
            if target not in known:
                return name == "region"  # an account or region that an apply did not work in
            return name in _IDENTITY or (name in _CHECKS and before is not None)
        case _:
            return False
