"""Reads the project file of a plan's base: what changed in it since, and its guardrails.

A plan shows resources; a change of ``prune``, a limit or an endpoint changes what the next apply may do to them.
A commit must not lift the limits that it is checked with: a plan with a base uses the stricter of both.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.errors import SpecError, UsageError
from reconciler.git.clone import commit_of, git_output, head_commit
from reconciler.git.revision import inside_repository
from reconciler.model.target import LIMITS, Guardrails, OnLive, Project
from reconciler.plan.plan import Base, SettingChange
from reconciler.spec.files import MAX_FILE_SIZE
from reconciler.spec.project import load_project
from reconciler.spec.yaml import load
from reconciler.terminal import mask_urls

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
