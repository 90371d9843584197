"""Checks that a spec in a work tree is the one of its commit: the project file, the spec files, and the key files they name.

The content is compared, not what git status says: ``skip-worktree`` and ``assume-unchanged`` hide changes from it.
Of a file in Git LFS the commit has a pointer with the digest of its content; no filter of the repository is run.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from reconciler.errors import SpecError, StalePlan
from reconciler.git.clone import head_commit
from reconciler.git.revision import Revision, checked_out
from reconciler.model.resource import DesiredState
from reconciler.model.target import Project
from reconciler.spec.desired import load_desired_states
from reconciler.spec.files import MAX_FILE_SIZE, matching_files
from reconciler.spec.problems import Problems
from reconciler.spec.project import load_project
from reconciler.terminal import sanitize

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-.*\n)*oid sha256:([0-9a-f]{64})\nsize [0-9]+\n"
)
_MAX_POINTER = 1024
"""Bytes; Git LFS's specification of pointers."""


def require_committed(project: Project, desired: Mapping[str, DesiredState]) -> None:
    """Raise ``StalePlan`` if the project file or a spec or key file of these targets differs from the checked-out commit.

    Raises ``SpecError`` for a submodule whose recorded commit is not in this clone.
    """
    root, name = Path(project.root), Path(project.path).name
    commit = head_commit(root)
    if commit is None:
        raise StalePlan(f"plan refused: {root} is not in a git repository with a commit")
    with checked_out(root, name, Revision("HEAD", commit)) as found:
        if found is None:
            raise _refusal(commit, [f"{name}: not in the commit"])
        pointers = _resolve_pointers(found.root, root)
        differing = list(_files(project, found.root, name, desired))
        if not differing:
            committed = load_project(found.root, name, prefix=project.prefix, allowed_paths=None)
            targets = tuple(committed.targets[target] for target in desired)
            try:
                states = load_desired_states(committed, targets, found.missing)
            except SpecError:
                if not pointers:
                    raise
                differing = [f"{sanitize(path)}: not the content of its Git LFS pointer" for path in pointers]
            else:
                differing = list(_resources(desired, states))
    if differing:
        raise _refusal(commit, differing)


def _files(project: Project, root: Path, name: str, desired: Mapping[str, DesiredState]) -> Iterator[str]:
    """Yield the files of the spec that differ from those below ``root``. The patterns are the same while the project file is."""
    here = Path(project.root)
    if _content(here / name) != _content(root / name):
        yield f"{name}: changed"
        return
    committed = replace(project, root=str(root), path=str(root / name))
    ours: dict[str, None] = {}
    theirs: dict[str, None] = {}
    for target in (project.targets[each] for each in desired):
        ours |= dict.fromkeys(matching_files(project, target, Problems())[0])
        theirs |= dict.fromkeys(matching_files(committed, target, Problems())[0])
    for path in sorted(ours | theirs):
        if path not in theirs:
            yield f"{sanitize(path)}: not in the commit"
        elif path not in ours:
            yield f"{sanitize(path)}: missing"
        elif _content(here / path) != _content(root / path):
            yield f"{sanitize(path)}: changed"


def _resolve_pointers(committed: Path, work_tree: Path) -> list[str]:
    """Replace each Git LFS pointer by the work tree's file, if that is the one whose digest it has; return the paths of the others."""
    others = []
    for folder, _, names in os.walk(committed):
        for path in (Path(folder) / name for name in names):
            if path.is_symlink() or path.stat().st_size > _MAX_POINTER:
                continue
            pointer = _POINTER.fullmatch(path.read_bytes())
            real = work_tree / path.relative_to(committed)
            if pointer is None:
                continue
            content = real.read_bytes() if real.is_file() and real.stat().st_size <= MAX_FILE_SIZE else b""
            if hashlib.sha256(content).hexdigest().encode() == pointer[1]:
                path.write_bytes(content)
            else:
                others.append(path.relative_to(committed).as_posix())
    return sorted(others)


def _content(path: Path) -> bytes | None:
    """Return the content of a file with the line ends of the repository, or ``None`` if it cannot be read."""
    try:
        return path.read_bytes().replace(b"\r\n", b"\n")
    except OSError:
        return None


def _resources(ours: Mapping[str, DesiredState], theirs: Mapping[str, DesiredState]) -> Iterator[str]:
    """Yield the resources that differ though their spec files do not: a key file is part of them."""
    for name, state in ours.items():
        other = theirs[name].resources
        for address in sorted(state.resources.keys() | other.keys(), key=str):
            one, two = state.resources.get(address), other.get(address)
            if one is None or two is None or (one.digest, one.public_key) != (two.digest, two.public_key):
                yield f"{address}: a file that its spec names changed"


def _refusal(commit: str, differing: list[str]) -> StalePlan:
    listed = [f"  {line}" for line in dict.fromkeys(differing)]
    return StalePlan(
        "\n".join(
            [
                f"plan refused: the work tree is not that of commit {commit[:7]}:",
                *listed,
                "Commit or restore these files, then run plan again.",
            ]
        )
    )
