"""The house rules that a machine can hold the code to."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "reconciler").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


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


def test_exceptions_of_any_kind_are_caught_only_at_the_outer_doors() -> None:
    allowed = ("reconciler/cli/main.py", "reconciler/sandbox/")
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
    assert not loaded & {"boto3", "botocore", "pydantic", "yaml", "deepdiff", "structlog", "rich"}
