"""A project in a folder, made of a few texts, and what comes of loading it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reconciler.errors import SpecError
from reconciler.model.resource import DesiredResource, DesiredState
from reconciler.model.target import Project
from reconciler.model.values import thaw
from reconciler.spec.desired import check_specs, load_desired
from reconciler.spec.project import load_project

PROJECT = """\
stack: acme
targets:
  dev: {region: us-west-2, sandbox: dev.db}
"""

KEYS = Path(__file__).parent / "keys"
PRIVATE_KEY = "-----BEGIN EC PRIVATE KEY-----\nMIGkAgEBBDCANARYCANARYCANARYCANARYCANARYCANARYCANARY\n-----END EC PRIVATE KEY-----\n"


def write(folder: Path, files: Mapping[str, str | bytes], project: str = PROJECT) -> Path:
    """Write a project file and the files of its spec."""
    for name, content in {"ivs-reconciler.yaml": project, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def load(folder: Path, target: str | None = None) -> DesiredState:
    """Load the desired state of a target, of the first one when none is named."""
    project: Project = load_project(folder)
    return load_desired(project, project.targets[target or next(iter(project.targets))])


def problems_of(folder: Path) -> list[str]:
    """Return the problems of every target as the user sees them; none when all is well."""
    found: dict[str, None] = {}
    try:
        project = load_project(folder)
    except SpecError as error:
        return [str(problem) for problem in error.problems]
    for target in project.targets.values():
        try:
            load_desired(project, target)
        except SpecError as error:
            found.update(dict.fromkeys(str(problem) for problem in error.problems))
    said: list[str] = []
    try:
        checked = check_specs(project, tuple(project.targets.values()))
    except SpecError as error:
        said = [str(problem) for problem in error.problems]
    else:
        loaded = {name: load_desired(project, target) for name, target in project.targets.items()}
        assert checked == {name: (len(state.resources), state.warnings) for name, state in loaded.items()}
    assert said == list(found), "validate says what a plan does"
    return list(found)


def spec_of(folder: Path, text: str) -> list[str]:
    """Return the problems of a spec of one file."""
    return problems_of(write(folder, {"specs/a.yaml": text}))


def plain(resource: DesiredResource) -> dict[str, object]:
    """Return a resource as a case file writes it: our own tags left out, what is not set left out."""
    shown: dict[str, object] = {"properties": thaw(resource.properties)}
    tags = {key: value for key, value in resource.tags.items() if not key.startswith("ivs-reconciler:")}
    if tags:
        shown["tags"] = tags
    if resource.protect:
        shown["protect"] = True
    if resource.ignore:
        shown["ignore"] = sorted(resource.ignore)
    return shown
