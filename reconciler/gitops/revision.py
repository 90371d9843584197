"""One commit, read: its project, and for each target either the desired state or what is wrong with it.

Everything is read at once, so that no later step needs the files.
A file that is broken stops the targets whose specs it belongs to and no other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.errors import Problem, SpecError
from reconciler.gitops.git import GitError, Trouble
from reconciler.gitops.source import Commit
from reconciler.model.resource import DesiredState
from reconciler.model.target import FileLock, OnLive, Project, Target
from reconciler.spec.desired import load_desired
from reconciler.spec.project import DEFAULT_NAME, load_project, prefix_of


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit as the controller works with it. ``project.root`` is the folder where applies are remembered, not where the files were."""

    commit: Commit
    project: Project
    desired: Mapping[str, DesiredState]
    problems: Mapping[str, tuple[Problem, ...]]

    def target(self, name: str) -> Target | None:
        """Return a target of the project."""
        return self.project.targets.get(name)


def load_revision(folder: Path, commit: Commit, *, config: str | None, memory: Path, place: str = "") -> Revision:
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
    return Revision(
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
