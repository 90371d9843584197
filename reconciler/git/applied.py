"""Finds, by git, what the last apply of a target knew: the commit that it ran, and the addresses in the spec of a commit.

A resource of each target carries the commit of the last apply as a tag. Without a record of that apply, it tells a resource
that was deleted outside from one that was merged and never applied. Read-only: nothing is fetched or checked out.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from reconciler.drift.classify import AppliedCommit
from reconciler.errors import ReconcilerError, SpecError, os_reason
from reconciler.git.clone import commit_of, git_output, head_commit
from reconciler.git.committed import require_committed
from reconciler.git.revision import Revision, checked_out
from reconciler.model.address import UNKNOWN_COMMIT, Address
from reconciler.model.resource import DesiredState
from reconciler.model.target import Project
from reconciler.spec.desired import load_desired
from reconciler.spec.files import Missing
from reconciler.spec.project import load_project

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MOST = 3
"""Commits of one target that are read. There is more than one only if a resource with the tag came back."""


def commit_to_record(project: Project, desired: Mapping[str, DesiredState]) -> str:
    """Return the checked-out commit if the spec of these targets is that of it, and ``UNKNOWN_COMMIT`` otherwise."""
    try:
        require_committed(project, desired)
        return head_commit(Path(project.root)) or UNKNOWN_COMMIT
    except (ReconcilerError, OSError):  # also a disk that is full
        return UNKNOWN_COMMIT


def addresses_applied(project: Project, target: str, commits: Iterable[str]) -> AppliedCommit:
    """Return the addresses in the spec of the commits that live resources carry; if they cannot be found, why.

    With several commits, those of all: an address in any of them may have existed.
    """
    found = sorted(set(commits))
    shown = ", ".join(commit[:10] for commit in found)
    unknown = ""
    addresses: set[Address] = set()
    if len(found) > _MOST:
        unknown = f"{len(found)} different commits are recorded as the last apply's"
    for commit in found[:_MOST]:
        if unknown:
            break
        one = _addresses_in(project, target, commit)
        if isinstance(one, str):
            unknown = one
        else:
            addresses |= one
    return AppliedCommit(shown, None if unknown else frozenset(addresses), unknown)


_known: dict[tuple[str, str, str], dict[str, frozenset[Address]]] = {}
"""By project file, stack and commit: the addresses of targets. Why others are unknown is asked again: a fetch may change it."""

_reading = threading.Lock()
_MOST_KNOWN = 8


def _addresses_in(project: Project, target: str, commit: str) -> frozenset[Address] | str:
    """Return the addresses that a commit has for a target, or why they are unknown.

    The second target of a commit reads all of them: a fleet would write its files once for each otherwise.
    """
    if _COMMIT.fullmatch(commit) is None:
        return "the last apply did not create everything, or ran with uncommitted changes, in part, or outside a git repository"
    with _reading:
        if len(_known) > _MOST_KNOWN:
            _known.clear()
        known = _known.setdefault((project.path, project.stack, commit), {})
        if target not in known:
            names = [name for name in project.targets if name not in known] if len(known) == 1 else [target]
            try:
                found = _read_addresses(project, names, commit)
            except OSError as error:
                return f"commit {commit[:10]} of the last apply cannot be read: {os_reason(error)}"
            known |= {name: one for name, one in found.items() if not isinstance(one, str)}
            return found[target]
        return known[target]


def _read_addresses(project: Project, names: Iterable[str], commit: str) -> dict[str, frozenset[Address] | str]:
    """Return the addresses that a commit has for these targets, each, or why they are unknown."""
    root, name = Path(project.root), Path(project.path).name
    short = commit[:10]
    if head_commit(root) is None:
        return dict.fromkeys(names, f"{project.prefix or './'} is not in a git repository with a commit")
    if commit_of(root, commit) is None:
        why = f"commit {short} of the last apply is not in this clone; fetch it, unless the history was rewritten"
        if git_output(root, "rev-parse", "--is-shallow-repository") == "true":
            why = f"commit {short} of the last apply is not in this shallow clone; fetch the history (git fetch --unshallow, or fetch-depth: 0)"
        return dict.fromkeys(names, why)
    try:
        with checked_out(root, name, Revision(short, commit)) as found:
            if found is None:
                return dict.fromkeys(names, f"commit {short} of the last apply has no {name} here")
            then = load_project(found.root, name, prefix=project.prefix, allowed_paths=None)
            return {target: _addresses_of(then, project.stack, target, short, found.missing) for target in names}
    except SpecError as error:
        why = f"the project file of commit {short}, the last applied, is not valid: {error.problems[0]}"
    except ReconcilerError as error:
        why = f"the spec of commit {short}, the last applied, cannot be read: {error}"
    return dict.fromkeys(names, why)


def _addresses_of(
    then: Project, stack: str, target: str, short: str, missing: Sequence[Missing]
) -> frozenset[Address] | str:
    if then.stack != stack or target not in then.targets:
        return f"commit {short} of the last apply has no target {target} of the stack {stack}"
    try:
        state = load_desired(then, then.targets[target], missing)
    except SpecError as error:
        return f"the spec of commit {short}, the last applied, is not valid: {error.problems[0]}"
    if state.missing:
        return f"the spec of commit {short}, the last applied, is incomplete in this clone: {state.missing[0]}"
    return frozenset(state.resources)
