"""One commit, read: its project, and for each target either the desired state or what is wrong with it.

Everything is read at once, so that no later step needs the files.
A file that is broken stops the targets whose specs it belongs to and no other.

The files of a git revision, laid out in a folder of their own: no checkout, no index, no network, and nothing of the revision is run.

A revision may come from anybody, so what it holds is only ever data.
Links that lead out of the project are cut, files without end are not read, and names that no honest tree has are refused.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from reconciler.errors import Problem, SpecError, UsageError
from reconciler.git.git import GitError, Trouble, asked, commit_of, quiet_environment, top_of
from reconciler.git.source import Commit
from reconciler.model.resource import DesiredState
from reconciler.model.target import FileLock, OnLive, Project, Target
from reconciler.spec.desired import load_desired
from reconciler.spec.files import LARGEST
from reconciler.spec.project import DEFAULT_NAME, load_project, prefix_of


@dataclass(frozen=True, slots=True)
class CheckedRevision:
    """A commit as the controller works with it. ``project.root`` is the folder where applies are remembered, not where the files were."""

    commit: Commit
    project: Project
    desired: Mapping[str, DesiredState]
    problems: Mapping[str, tuple[Problem, ...]]

    def target(self, name: str) -> Target | None:
        """Return a target of the project."""
        return self.project.targets.get(name)


def load_revision(
    folder: Path, commit: Commit, *, config: str | None, memory: Path, place: str = ""
) -> CheckedRevision:
    """Read the project and every target's spec from a folder that holds the commit's files; ``place`` is where that folder is in the repository.

    State files of the embedded server and of locks, which are relative to the project file, are put under ``memory``: the folder of a commit does not last.
    Raises ``GitError`` where there is no project to work with.
    """
    path = folder / (config or DEFAULT_NAME)
    if not _is_inside(path, folder):
        raise GitError(
            f"commit {commit.short}: the project file is a link that leads out of the repository", Trouble.NO_PROJECT
        )
    if not path.is_file():
        raise GitError(
            f"commit {commit.short} has no project file {config or DEFAULT_NAME!r}; correct the path, or push the file",
            Trouble.NO_PROJECT,
        )
    try:
        project = load_project(folder, config, prefix=prefix_of(place, config))
    except SpecError as error:
        raise GitError(f"commit {commit.short}: {error}", Trouble.NO_PROJECT) from None
    desired: dict[str, DesiredState] = {}
    problems: dict[str, tuple[Problem, ...]] = {}
    for name, target in project.targets.items():
        try:
            desired[name] = load_desired(project, target)
        except SpecError as error:
            problems[name] = error.problems
    # Applies are remembered here, and quietly not where there is no such folder.
    memory.mkdir(parents=True, exist_ok=True)
    targets = {name: _lasting(target, folder, memory) for name, target in project.targets.items()}
    # Waiting for a broadcast to end is what the schedule does: the next look finds the channel off air, and no worker or lock is held meanwhile.
    guardrails = replace(project.guardrails, on_live=OnLive.BLOCK)
    return CheckedRevision(
        commit,
        replace(project, path=path.name, root=str(memory), targets=targets, guardrails=guardrails),
        desired,
        problems,
    )


def _lasting(target: Target, folder: Path, memory: Path) -> Target:
    """Return the target with the files that are kept beside the project file moved to where they last."""
    if target.sandbox is not None:
        target = replace(target, sandbox=_moved(target.sandbox, folder, memory))
    if isinstance(target.lock, FileLock):
        target = replace(target, lock=FileLock(_moved(target.lock.path, folder, memory)))
    return target


def _moved(path: str, folder: Path, memory: Path) -> str:
    relative = os.path.relpath(path, folder)
    return path if relative.startswith("..") else str(memory / relative)


def _is_inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


LARGEST_TREE = 256 << 20
MOST_FILES = 50_000

_LINK, _SUBMODULE = "120000", "160000"
_CUT = "/outside of the revision"
"""Where a link leads that led out: no file, no folder, and not in the project either."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit, and the name that it was asked for by."""

    name: str
    commit: str


@dataclass(frozen=True, slots=True)
class _Blob:
    mode: str
    id: str
    size: int
    path: str


def compared(folder: Path, words: str) -> tuple[Revision, Revision | None]:
    """Read ``BASE..HEAD``, ``BASE...HEAD`` (from where the two parted) or ``BASE`` alone (the second is then the work tree, ``None``).

    A side left empty is ``HEAD``. Raises ``UsageError`` for a name that stands for no commit here.
    """
    first, dots, second = words.partition("...")
    if dots:
        base, head = find(folder, first or "HEAD"), find(folder, second or "HEAD")
        parted = asked(folder, "merge-base", base.commit, head.commit)
        if not parted:
            raise UsageError(
                f"{words}: the two have no common commit in this clone; fetch the whole history (git fetch --unshallow), or write .. for ..."
            )
        return Revision(base.name, parted), head
    first, dots, second = words.partition("..")
    base = find(folder, first or "HEAD")
    return base, find(folder, second or "HEAD") if dots else None


def find(folder: Path, name: str) -> Revision:
    """Return the commit that a name stands for. Raises ``UsageError``."""
    commit = commit_of(folder, name)
    if commit:
        return Revision(name, commit)
    if asked(folder, "rev-parse", "--git-dir") is None:
        raise UsageError(f"{folder}: git finds no repository that it may read here; go to a clone, or name it with -C")
    raise UsageError(
        f"{name!r} stands for no commit in this clone; check the name, or fetch it first (a shallow clone lacks most)"
    )


@contextmanager
def laid_out(folder: Path, config: str, revision: Revision) -> Iterator[Path | None]:
    """Give the folder that holds the project file's folder as the revision has it, while the context lasts; ``None`` where it has no such project file.

    ``config`` is the project file, relative to ``folder``. Raises ``UsageError`` for what cannot be laid out.
    """
    inside = inside_repository(folder, config)
    tree = revision.commit + "^{tree}" if inside.parent == PurePosixPath() else f"{revision.commit}:{inside.parent}"
    found = asked(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", tree)
    blobs = list(_listed(folder, found, revision)) if found else []
    project = next((blob for blob in blobs if blob.path == inside.name), None)
    if project is None:
        yield None
        return
    if project.mode == _LINK:
        raise UsageError(f"{revision.name}:{inside} is a symbolic link; keep the project file itself in the repository")
    with tempfile.TemporaryDirectory(prefix="ivs-reconciler-") as scratch:
        root = Path(os.path.realpath(scratch))
        try:
            _write(folder, blobs, root, revision)
        except OSError as error:
            raise UsageError(
                f"{revision.name}: its files cannot be laid out in {root.parent} ({(error.strerror or 'unknown').lower()})"
            ) from None
        yield root


def inside_repository(folder: Path, config: str) -> PurePosixPath:
    """Return the path of the project file from the top of the repository. Raises ``UsageError``."""
    top = top_of(folder)
    if top is None:
        raise UsageError(f"{folder}: git finds no work tree that it may read here; go to a clone, or name it with -C")
    path = os.path.relpath(os.path.realpath((folder / config).parent), os.path.realpath(top))
    if path.partition(os.sep)[0] == os.pardir:
        raise UsageError(f"{folder / config} is not in the repository {top}; name a project file that is")
    return PurePosixPath(Path(path).as_posix()) / Path(config).name


def _listed(folder: Path, tree: str, revision: Revision) -> Iterator[_Blob]:
    listing = asked(folder, "ls-tree", "-r", "-z", "-l", "--full-tree", tree, bare=True)
    total = 0
    for count, entry in enumerate(filter(None, (listing or "").split("\0"))):
        facts, _, path = entry.partition("\t")
        mode, _, identity, size = facts.split()
        if mode == _SUBMODULE:
            continue
        if any(part in ("", ".", "..") or part.lower() == ".git" for part in path.split("/")):
            raise UsageError(
                f"{revision.name}: its tree holds {path!r}, a name that git itself would not check out; nothing of it is read"
            )
        blob = _Blob(mode, identity, int(size) if size.isdigit() else 0, path)
        total += blob.size if blob.size <= LARGEST else 0
        if count >= MOST_FILES or total > LARGEST_TREE:
            raise UsageError(
                f"{revision.name}: more than {MOST_FILES:,} files or {LARGEST_TREE >> 20} MiB lie beside the project file; give it a folder of its own"
            )
        yield blob


def _write(folder: Path, blobs: Iterable[_Blob], root: Path, revision: Revision) -> None:
    """Write the files first and the links last, so that nothing is written through a link."""
    links: list[tuple[Path, bytes]] = []
    with _contents(folder) as read:
        for blob in blobs:
            path = root / blob.path
            if blob.mode == _LINK:
                links.append((path, read(blob, revision)))
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as stream:
                if blob.size > LARGEST:
                    stream.truncate(blob.size)  # A hole of that size: whoever reads it is told how large it is.
                else:
                    stream.write(read(blob, revision))
    for path, aim in links:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.fsdecode(aim.partition(b"\0")[0]) or ".")
    outside = [path for path, _ in links if not Path(os.path.realpath(path)).is_relative_to(root)]
    for path in outside:
        path.unlink()
        path.symlink_to(_CUT)


@contextmanager
def _contents(folder: Path) -> Iterator[_Reader]:
    process = subprocess.Popen(
        ["git", "cat-file", "--batch"],  # noqa: S607 - git is found as the user's shell finds it
        cwd=folder,
        env=quiet_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        try:
            yield _Reader(process)
        finally:
            process.kill()


class _Reader:
    """Asks one git process for one content after the other."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is None or process.stdout is None:
            raise OSError("git was started without pipes")
        self._ask, self._answer = process.stdin, process.stdout

    def __call__(self, blob: _Blob, revision: Revision) -> bytes:
        self._ask.write(f"{blob.id}\n".encode())
        self._ask.flush()
        head = self._answer.readline().split()
        if len(head) != 3 or head[1] != b"blob":
            raise UsageError(
                f"{revision.name}: this clone lacks the content of {blob.path!r}; fetch it whole, without a filter"
            )
        content = self._answer.read(int(head[2]))
        self._answer.read(1)
        return content
