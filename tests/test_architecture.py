"""The house rules that a machine can hold the code to."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from reconciler.model.address import KindName

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "reconciler").rglob("*.py"))
SMALL = 60
MAX_NAMING_A_KIND = 11
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in SOURCES}


def imports_of(name: str) -> set[str]:
    """The modules of this project that a module imports, at the top, in functions and for type checking alike."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {
                full if (full := f"{node.module}.{alias.name}") in MODULES else node.module for alias in node.names
            }
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & set(MODULES)) - {name}


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """What each module imports; read once, and only by the worker that needs it."""
    return {name: imports_of(name) for name in MODULES}


def test_no_modules_import_each_other_in_a_circle(imports: dict[str, set[str]]) -> None:
    left = {name: set(targets) for name, targets in imports.items()}
    while free := {name for name, targets in left.items() if not targets & set(left)}:
        left = {name: targets for name, targets in left.items() if name not in free}
    assert not left, "these modules are on a circle, or import one that is: " + ", ".join(sorted(left))


def test_small_modules_with_one_user_become_part_of_it(imports: dict[str, set[str]]) -> None:
    """A file for one small function makes its reader open two."""
    users = {name: {user for user, targets in imports.items() if name in targets} for name in MODULES}
    small = {
        name
        for name, path in MODULES.items()
        if path.name not in {"__init__.py", "__main__.py"}
        and not name.startswith("reconciler.cli.")  # the verbs, each imported by main
        and len(users[name]) == 1
        and len(path.read_text(encoding="utf-8").splitlines()) < SMALL
    }
    assert small == set()


def names_a_kind(tree: ast.AST) -> bool:
    """Whether a module names a particular kind: a member of ``KindName``, or a row of the table."""
    return any(
        (isinstance(node, ast.Attribute) and ast.unparse(node.value) == "KindName" and node.attr.isupper())
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "reconciler.model.kinds.ivs"
            and any(alias.name in KindName.__members__ for alias in node.names)
        )
        for node in ast.walk(tree)
    )


def test_few_modules_know_a_particular_kind() -> None:
    """All others take what they need from the row, so that another kind is a row, a spec model and a sandbox module."""
    found = {
        name
        for name, path in MODULES.items()
        if not name.startswith(("reconciler.model", "reconciler.sandbox"))
        and names_a_kind(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert len(found) <= MAX_NAMING_A_KIND, sorted(found)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_no_test_patches_anything() -> None:
    forbidden = re.compile(r"monkeypatch\.setattr|mock\.patch|\bpatch\(|\bMagicMock\b|\bMock\(")
    found = [
        str(path)
        for path in TESTS
        if path.name != "test_architecture.py" and forbidden.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_broad_exceptions_are_caught_only_at_entry_points() -> None:
    # A package of others may fail in any way while it is imported; a worker process passes every exception on.
    allowed = (
        "reconciler/cli/main.py",
        "reconciler/errors.py",
        "reconciler/sandbox/",
        "reconciler/executors/processes.py",
        "reconciler/executors/dask_cluster.py",
    )
    found = []
    for path in SOURCES:
        name = str(path.relative_to(ROOT))
        for node in (
            found
            for found in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(found, ast.ExceptHandler)
        ):
            broad = node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"}
            if broad and not name.startswith(allowed):
                found.append(f"{name}:{node.lineno}")
    assert found == []


def test_asking_for_help_imports_no_heavy_package() -> None:
    import subprocess
    import sys

    script = "import sys; from reconciler.cli.main import build_parser; build_parser(); print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout.split()
    )
    assert not loaded & {"boto3", "botocore", "pydantic", "yaml", "deepdiff", "structlog", "rich", "dataclasses"}
