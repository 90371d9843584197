"""Compares a spec in a work tree with the one of a commit: its own, or the one that the last apply of a target ran.

The project file, the spec files and the key files they name are compared by content, not by what git status says: ``skip-worktree`` and
``assume-unchanged`` hide changes from it. Of a file in Git LFS the commit has a pointer with the digest of its content; no filter of the repository is run.

A resource of each target carries the commit of the last apply as a tag. Without a record of that apply, it distinguishes a resource
that was deleted outside from one that was merged and never applied. Read-only: nothing is fetched or checked out.
The commit is read from the clone of the project file, or from the mirror of a controller.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from reconciler.drift.classify import AppliedCommit
from reconciler.errors import ReconcilerError, SpecError, StalePlan, os_reason
from reconciler.git.clone import commit_of, git_output, head_commit, why_no_commit
from reconciler.git.revision import Revision, checked_out
from reconciler.git.source import Commit, ProjectRules, Source, project_in
from reconciler.model.address import UNKNOWN_COMMIT, Address, is_commit
from reconciler.model.resource import DesiredState
from reconciler.model.target import Project
from reconciler.spec.desired import load_desired, load_desired_states
from reconciler.spec.files import MAX_FILE_SIZE, Missing, matching_files
from reconciler.spec.problems import Problems
from reconciler.spec.project import load_project
from reconciler.terminal import sanitize, short_commit

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
        raise StalePlan(f"plan refused: {why_no_commit(root)}")
    with checked_out(root, name, Revision("HEAD", commit)) as found:
        if found is None:
            raise _refusal(commit, [f"{name}: not in the commit"])
        pointers = _resolve_pointers(found.root, root)
        differing = list(_differing_files(project, found.root, name, desired))
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
                differing = list(_differing_resources(desired, states))
    if differing:
        raise _refusal(commit, differing)


def _differing_files(project: Project, root: Path, name: str, desired: Mapping[str, DesiredState]) -> Iterator[str]:
    """Yield the files of the spec that differ from those below ``root``. The patterns are the same while the project file is."""
    here = Path(project.root)
    if _content(here / name) != _content(root / name):
        yield f"{name}: changed"
        return
    committed = project._replace(root=str(root), path=str(root / name))
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


def _differing_resources(ours: Mapping[str, DesiredState], theirs: Mapping[str, DesiredState]) -> Iterator[str]:
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
                f"plan refused: the work tree is not that of commit {short_commit(commit)}:",
                *listed,
                "Commit or restore these files, then run plan again.",
            ]
        )
    )


_MAX_COMMITS = 3
"""Commits of one target that are read. There is more than one only if a resource with the tag came back."""


def commit_to_record(project: Project, desired: Mapping[str, DesiredState]) -> str:
    """Return the checked-out commit if the spec of these targets is that of it, and ``UNKNOWN_COMMIT`` otherwise."""
    try:
        require_committed(project, desired)
        return head_commit(Path(project.root)) or UNKNOWN_COMMIT
    except (ReconcilerError, OSError):  # also a disk that is full
        return UNKNOWN_COMMIT


class _PastProject(NamedTuple):
    """The project as of a commit, and the files that could not be read with it."""

    project: Project
    missing: tuple[Missing, ...]


class _Unavailable(ReconcilerError):
    """The spec of a commit cannot be found here; the text says why."""


_Open = Callable[[Project, str], AbstractContextManager[_PastProject]]


def addresses_applied(project: Project, target: str, commits: Iterable[str]) -> AppliedCommit:
    """Return the addresses in the spec of the commits that live resources carry, from the project's clone; if they cannot be found, why.

    With several commits, those of all: an address in any of them may have existed.
    """
    return _addresses_applied(_in_clone, project, target, commits)


def addresses_in_mirror(
    source: Source, rules: ProjectRules, project: Project, target: str, commits: Iterable[str]
) -> AppliedCommit:
    """Return what ``addresses_applied`` does, from the mirror of a controller."""

    @contextmanager
    def in_mirror(now: Project, commit: str) -> Iterator[_PastProject]:
        found = Commit(commit)
        if not source.holds(commit):
            raise _Unavailable(
                f"commit {found.short} of the last apply is not among the newest commits of the branch, which are what the controller has"
            )
        with source.files(found) as folder:
            yield _PastProject(project_in(folder, found, rules, now.prefix), source.missing(found, folder))

    return _addresses_applied(in_mirror, project, target, commits)


def _addresses_applied(open_commit: _Open, project: Project, target: str, commits: Iterable[str]) -> AppliedCommit:
    found = sorted(set(commits))
    shown = ", ".join(map(short_commit, found))
    unknown = ""
    addresses: set[Address] = set()
    if len(found) > _MAX_COMMITS:
        unknown = f"{len(found)} different commits are recorded as the last apply's"
    for commit in found[:_MAX_COMMITS]:
        if unknown:
            break
        one = _addresses_in(open_commit, project, target, commit)
        if isinstance(one, str):
            unknown = one
        else:
            addresses |= one
    return AppliedCommit(shown, None if unknown else frozenset(addresses), unknown)


_addresses_known: dict[tuple[str, str, str], dict[str, frozenset[Address]]] = {}
"""By project file, stack and commit: the addresses of targets. Why others are unknown is asked again: a fetch may change it."""

_reading_lock = threading.Lock()
_MAX_COMMITS_KNOWN = 8


def _addresses_in(open_commit: _Open, project: Project, target: str, commit: str) -> frozenset[Address] | str:
    """Return the addresses that a commit has for a target, or why they are unknown.

    The second target of a commit reads all that the commit has: a fleet would write its files once for each otherwise.
    """
    if not is_commit(commit):
        return "the last apply did not create everything, or ran with uncommitted changes, in part, or outside a git repository"
    with _reading_lock:
        key = (project.path, project.stack, commit)
        if key not in _addresses_known and len(_addresses_known) >= _MAX_COMMITS_KNOWN:
            _addresses_known.clear()
        known = _addresses_known.setdefault(key, {})
        if target not in known:
            try:
                found = _read_addresses(open_commit, project, target, commit, every=len(known) == 1)
            except OSError as error:
                return f"commit {short_commit(commit)} of the last apply cannot be read: {os_reason(error)}"
            known |= {name: one for name, one in found.items() if not isinstance(one, str)}
            return found[target]
        return known[target]


def _read_addresses(
    open_commit: _Open, project: Project, target: str, commit: str, *, every: bool
) -> dict[str, frozenset[Address] | str]:
    """Return the addresses that a commit has for a target, or for every one that it has, or why they are unknown."""
    short = short_commit(commit)
    try:
        with open_commit(project, commit) as past:
            names = {target, *(past.project.targets if every else ())}
            return {name: _addresses_of(past, project.stack, name, short) for name in names}
    except _Unavailable as error:
        why = str(error)
    except SpecError as error:
        why = f"the project file of commit {short}, the last applied, is not valid: {error.problems[0]}"
    except ReconcilerError as error:
        why = f"the spec of commit {short}, the last applied, cannot be read: {error}"
    return {target: why}


@contextmanager
def _in_clone(project: Project, commit: str) -> Iterator[_PastProject]:
    """Yield the project as of a commit of the clone that it is in. Raises ``_Unavailable``, ``SpecError`` and ``UsageError``."""
    root, name, short = Path(project.root), Path(project.path).name, short_commit(commit)
    if head_commit(root) is None:
        raise _Unavailable(why_no_commit(root, project.prefix or "./"))
    if commit_of(root, commit) is None:
        if git_output(root, "rev-parse", "--is-shallow-repository") == "true":
            raise _Unavailable(
                f"commit {short} of the last apply is not in this shallow clone; fetch the history (git fetch --unshallow, or fetch-depth: 0)"
            )
        raise _Unavailable(
            f"commit {short} of the last apply is not in this clone; fetch it, unless the history was rewritten"
        )
    with checked_out(root, name, Revision(short, commit)) as found:
        if found is None:
            raise _Unavailable(f"commit {short} of the last apply has no {name} here")
        yield _PastProject(load_project(found.root, name, prefix=project.prefix, allowed_paths=None), found.missing)


def _addresses_of(past: _PastProject, stack: str, target: str, short: str) -> frozenset[Address] | str:
    if past.project.stack != stack or target not in past.project.targets:
        return f"commit {short} of the last apply has no target {target} of the stack {stack}"
    try:
        state = load_desired(past.project, past.project.targets[target], past.missing)
    except SpecError as error:
        return f"the spec of commit {short}, the last applied, is not valid: {error.problems[0]}"
    if state.missing:
        return f"the spec of commit {short}, the last applied, is incomplete in this clone: {state.missing[0]}"
    return frozenset(state.resources)
