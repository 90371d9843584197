"""The house rules that a machine can hold the code to."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
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
    return named_in(ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8")))) - {name}


def named_in(nodes: Iterable[ast.AST]) -> set[str]:
    """The modules of this project that these imports name."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {
                full if (full := f"{node.module}.{alias.name}") in MODULES else node.module for alias in node.names
            }
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & set(MODULES)


def at_top(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below this one that run when a module is loaded."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.Lambda) or (
            isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        ):
            continue
        yield child
        yield from at_top(child)


def in_functions(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of all functions."""
    return (inner for one in ast.walk(node) if isinstance(one, ast.FunctionDef) for inner in ast.walk(one))


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


def test_a_function_imports_only_what_is_not_loaded_anyway() -> None:
    """Such an import is for the start-up; one of a module that is loaded already only hides what a module needs."""
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
    direct = {name: named_in(at_top(tree)) for name, tree in trees.items()}

    def loaded_with(name: str) -> set[str]:
        found: set[str] = set()
        waiting = [name, *(["reconciler.cli.main"] if name.startswith("reconciler.cli.") else [])]
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += [*direct[one], *([one.rpartition(".")[0]] if "." in one else [])]
        return found

    late = {name: named_in(in_functions(tree)) for name, tree in trees.items()}
    found = {name: sorted(late[name] & loaded_with(name)) for name in MODULES if late[name]}
    assert {name: modules for name, modules in found.items() if modules} == {}


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
