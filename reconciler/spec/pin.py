"""Loads a project with the targets of a call, compared with a pinned project: where requests go, with whose rights, and who is notified.

A plan with credentials trusts the project file that it is given, which may come from a pull request.
A pin is a project file that comes from elsewhere: the main branch, or a file of the operator.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from reconciler.errors import PlanRefused, Problem, UsageError
from reconciler.model.target import FileLock, Project, S3Lock, Shards, Target
from reconciler.spec.problems import format_path, quote, suggestion
from reconciler.spec.project import load_project, prefix_of
from reconciler.terminal import mask_urls


def load_pin(path: Path) -> Project:
    """Return the project of a pin. Raises ``SpecError``. Nothing of it is opened, so its paths may lead anywhere."""
    return load_project(path.parent, path.name, prefix=prefix_of(path.parent, path.name), allowed_paths=None)


def shared_problems(project: Project, pin: Project) -> Iterator[Problem]:
    """Yield what all targets of a project have otherwise than the pin: the stack, and receivers of notifications."""
    if project.stack != pin.stack:
        yield _problem(project, pin, ("stack",), project.stack, pin.stack)
    for name in ("outputs", "state"):
        if getattr(project, name) != getattr(pin, name):
            yield Problem(
                project.prefix + Path(project.path).name,
                "",
                f"{name} is not as in {pin.path}",
                f"change the pin first, or use its {name}",
            )
    ours, pinned = ({receiver.name: receiver for receiver in each.receivers} for each in (project, pin))
    for name in dict.fromkeys((*ours, *pinned)):
        if ours.get(name) != pinned.get(name):
            yield Problem(
                project.prefix + Path(project.path).name,
                "",
                f"{format_path(('receivers', name))} is not as in {pin.path}",
                "change the pin first, or use its receivers",
            )


def target_problems(project: Project, target: Target, pin: Project) -> Iterator[Problem]:
    """Yield what a target has otherwise than the pin."""
    known = pin.targets.get(target.name)
    if known is None:
        yield Problem(
            project.prefix + Path(project.path).name,
            "",
            f"{format_path(('targets', target.name))} is not in {pin.path}",
            "add it to the pin first",
        )
        return
    ours, pinned = _fields(target, project.root), _fields(known, pin.root)
    for name, value in ours.items():
        if value != pinned[name]:
            yield _problem(project, pin, ("targets", target.name, name), value, pinned[name])


def _problem(project: Project, pin: Project, path: tuple[str, ...], value: str | None, pinned: str | None) -> Problem:
    given = "not set" if value is None else quote(mask_urls(value))
    wanted = "does not set it" if pinned is None else f"pins it to {quote(mask_urls(pinned))}"
    return Problem(
        project.prefix + Path(project.path).name,
        "",
        f"{format_path(path)} is {given}, and {pin.path} {wanted}",
        "change the pin first, or use its value",
    )


def _fields(target: Target, root: str) -> Mapping[str, str | None]:
    return {
        "region": target.region,
        "accountId": target.account_id,
        "roleArn": target.role_arn,
        "externalId": target.external_id,
        "profile": target.profile,
        "endpointUrl": target.endpoint_url,
        "sandbox": os.path.relpath(target.sandbox, root) if target.sandbox else None,
        "lock": _lock(target, root),
    }


def _lock(target: Target, root: str) -> str | None:
    match target.lock:
        case None:
            return None
        case FileLock(path):
            return os.path.relpath(path, root)
        case S3Lock(bucket, key, region):
            return f"s3://{bucket}/{key} in {region or target.region}"


def load_targets(
    directory: Path,
    config: str | None,
    names: tuple[str, ...],
    *,
    prefix: str | None = None,
    allowed_paths: tuple[str, ...] = (),
    pin: Path | None = None,
    shard: Shards | None = None,
) -> tuple[Project, tuple[Target, ...]]:
    """Return the project and the targets of these names; no name means all targets. With ``shard``, those of them that are in it.

    Messages name files relative to the current directory, or below ``prefix``. ``allowed_paths`` are as in ``load_project``; ``pin`` is the file that the project is compared with.
    Raises ``SpecError``, ``UsageError`` for an unknown target, and ``PlanRefused`` for what differs from the pin.
    """
    project = load_project(
        directory,
        config,
        prefix=prefix_of(directory, config) if prefix is None else prefix,
        allowed_paths=allowed_paths,
    )
    unknown = [name for name in names if name not in project.targets]
    if unknown:
        known = f"the targets are {', '.join(project.targets)}"
        hint = suggestion(unknown[0], project.targets, otherwise=known)
        raise UsageError(f"{project.path}: no target {', '.join(map(repr, unknown))}; {hint}")
    targets = tuple(target for name, target in project.targets.items() if not names or name in names)
    if shard is not None:
        targets = shard.of(targets)
    if pin is not None:
        _check_pin(project, targets, load_pin(pin))
    return project, targets


def _check_pin(project: Project, targets: tuple[Target, ...], pin: Project) -> None:
    problems = [*shared_problems(project, pin)]
    for target in targets:
        problems += target_problems(project, target, pin)
    if problems:
        raise PlanRefused("\n".join(map(str, problems)))
