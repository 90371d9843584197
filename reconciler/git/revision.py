"""The project as a git revision holds it, written to a temporary directory: for comparing revisions of the user's clone.

No checkout, no index, no network, and no code of the revision is run.
A revision may come from anyone: links to outside the project are replaced, large files are not read, and names that git refuses are refused.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from reconciler.errors import UsageError, os_reason
from reconciler.git.clone import (
    commit_of,
    git_output,
    git_refusal,
    read_only_environment,
    repository_of,
    top_of,
    tree_of,
)
from reconciler.git.work_tree import LINK, SUBMODULE, through_links
from reconciler.spec.files import MAX_FILE_SIZE, Missing

MAX_TREE_BYTES = 256 << 20
MAX_FILES = 50_000
_MAX_LIST_BYTES = 16 << 20
"""More than ``MAX_FILES`` usual lines; a small commit can list one tree any number of times."""

_LIST = ("ls-tree", "-r", "-z", "-l", "--full-tree")
_NOWHERE = "/outside of the revision"
"""The target of a link that led out of the project: it does not exist, and is outside as well."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit, and the name that resolved to it."""

    name: str
    commit: str


@dataclass(frozen=True, slots=True)
class _Blob:
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
    refusal = git_refusal(folder, "rev-parse", "--git-dir")
    if refusal:
        raise UsageError(f"{folder}: git cannot read the repository: {refusal}; run in a clone, or use -C")
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
        refusal = git_refusal(folder, "rev-parse", "--show-toplevel") or "it is not a work tree"
        raise UsageError(f"{folder}: git cannot read the repository: {refusal}; run in a clone, or use -C")
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
    listing = git_output(folder, *_LIST, tree, strip=False, most=_MAX_LIST_BYTES)
    if listing is None:
        refusal = git_refusal(folder, *_LIST, tree, most=_MAX_LIST_BYTES)
        raise UsageError(f"{revision.name}: its files cannot be listed: {refusal}")
    for entry in filter(None, listing.split("\0")):
        facts, _, path = entry.partition("\t")
        mode, _, identity, size = facts.split()
        if any(part in ("", ".", "..") or part.lower() == ".git" for part in path.split("/")):
            raise UsageError(
                f"{revision.name}: the tree contains {path!r}, a name that git does not check out; the revision is not read"
            )
        if mode == SUBMODULE:
            yield from _submodule(place / path, path, identity, revision, missing)
            continue
        yield _Blob(mode, identity, int(size) if size.isdigit() else 0, path, folder)


def _submodule(folder: Path, path: str, commit: str, revision: Revision, missing: list[Missing]) -> Iterator[_Blob]:
    """Yield the blobs of a submodule's commit, if its work tree in this clone has it."""
    is_fetched = (folder / ".git").exists()
    tree = tree_of(folder, commit) if is_fetched else None
    if tree is None:
        command = f"git -C {path} fetch" if is_fetched else f"git submodule update --init {path}"
        what = f"is a submodule, and this clone does not have its commit {commit[:10]}"
        missing.append(Missing(path, what, f"run {command}", is_folder=True))
        return
    inner: list[Missing] = []
    for blob in _blobs_of(folder, folder, tree, revision, inner):
        yield replace(blob, path=f"{path}/{blob.path}")
    missing += [replace(one, path=f"{path}/{one.path}") for one in inner]


def _write_files(blobs: Iterable[_Blob], root: Path, revision: Revision) -> None:
    """Write the files first and the links last, so that nothing is written through a link."""
    links: list[tuple[Path, bytes]] = []
    for folder, own in groupby(blobs, key=lambda blob: blob.folder):
        with _blob_reader(folder, revision) as read:
            for blob in own:
                path = root / blob.path
                if blob.mode == LINK:
                    links.append((path, read(blob)))
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as stream:
                    if blob.size > MAX_FILE_SIZE:
                        stream.truncate(blob.size)  # a sparse file: reading it as a spec reports its size
                    else:
                        stream.write(read(blob))
    for path, link in links:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.fsdecode(link.partition(b"\0")[0]) or ".")
    outside = [path for path, _ in links if not Path(os.path.realpath(path)).is_relative_to(root)]
    for path in outside:
        path.unlink()
        path.symlink_to(_NOWHERE)


@contextmanager
def _blob_reader(folder: Path, revision: Revision) -> Iterator[Callable[[_Blob], bytes]]:
    """Yield a function that reads one blob after the other through one ``git cat-file --batch``."""
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

    def read(blob: _Blob) -> bytes:
        requests.write(f"{blob.id}\n".encode())
        requests.flush()
        head = responses.readline().split()
        if len(head) != 3 or head[1] != b"blob":
            raise UsageError(
                f"{revision.name}: this clone lacks the content of {blob.path!r}; run git fetch --refetch --no-filter"
            )
        content = responses.read(int(head[2]))
        responses.read(1)
        return content

    with process:
        try:
            yield read
        finally:
            process.kill()
