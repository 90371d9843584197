"""Reads the project file of a plan's base: what changed in it since, and its guardrails.

A commit must not lift the limits that it is checked with: a plan with a base uses the stricter of both.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.errors import SpecError, UsageError
from reconciler.git.clone import commit_of, git_output, head_commit
from reconciler.git.revision import inside_repository
from reconciler.model.target import Guardrails, Project
from reconciler.plan.plan import Base
from reconciler.plan.settings import changed_settings
from reconciler.spec.files import MAX_FILE_SIZE
from reconciler.spec.project import load_project
from reconciler.spec.yaml import load


def read_base(project: Project, name: str) -> Base:
    """Return the base of a plan, by the name of its revision. Raises ``UsageError`` if it cannot be resolved.

    Settings are compared with the merge base, so that only the commits of the plan count; guardrails are those of the base itself.
    """
    root = Path(project.root)
    if head_commit(root) is None:
        raise UsageError(f"--base {name}: {root} is not in a git repository with a commit")
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
    is_guarded = _guarded_by(project, at_base) != project
    limits = at_base.guardrails if at_base else Guardrails()
    return Base(name, commit, settings, limits if is_guarded or limits != project.guardrails else None)


def guarded(project: Project, base: Base) -> Project:
    """Return the project with the stricter of its guardrails and the base's: those recorded, and those that the clone has.

    A saved plan may have been edited; a commit of the clone has not.
    """
    if base.guardrails:
        project = replace(project, guardrails=base.guardrails.stricter(project.guardrails))
    commit = commit_of(Path(project.root), base.commit)
    return _guarded_by(project, _project(_file_at(project, commit))) if commit else project


def _guarded_by(project: Project, base: Project | None) -> Project:
    """Return the project with the stricter guardrails of it and the base; a target has those of its name, account and region."""
    if base is None:
        return replace(project, guardrails=Guardrails().stricter(project.guardrails))
    targets = dict(project.targets)
    for name, target in targets.items():
        for former in base.targets.values():
            is_same = (former.region, former.account_id) == (target.region, target.account_id)
            if former.guardrails and (former.name == name or is_same):
                own = former.guardrails.stricter(targets[name].guardrails)
                targets[name] = replace(target, guardrails=own)
    return replace(project, guardrails=base.guardrails.stricter(project.guardrails), targets=targets)


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
