"""Loads the project file and the selected targets, and compares them with a pin. Imports nothing of AWS."""

from __future__ import annotations

from pathlib import Path

from reconciler.errors import PlanRefused, UsageError
from reconciler.model.target import Project, Target
from reconciler.spec.pin import load_pin, shared_problems, target_problems
from reconciler.spec.project import load_project, prefix_of


def load_targets(
    directory: Path,
    config: str | None,
    names: tuple[str, ...],
    *,
    prefix: str | None = None,
    allowed_paths: tuple[str, ...] = (),
    pin: Path | None = None,
) -> tuple[Project, tuple[Target, ...]]:
    """Return the project and the targets of these names; no name means all targets.

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
        raise UsageError(
            f"{project.path}: no target {', '.join(map(repr, unknown))}; the targets are {', '.join(project.targets)}"
        )
    targets = tuple(target for name, target in project.targets.items() if not names or name in names)
    if pin is not None:
        _check_pin(project, targets, load_pin(pin))
    return project, targets


def _check_pin(project: Project, targets: tuple[Target, ...], pin: Project) -> None:
    problems = [*shared_problems(project, pin)]
    for target in targets:
        problems += target_problems(project, target, pin)
    if problems:
        raise PlanRefused("\n".join(map(str, problems)))
