"""The parser of a call holds only the verbs that it names, and nobody can tell."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.cli.main import build_parser
from tests.cli.support import run


def verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (action,) = (item for item in parser._actions if isinstance(item, argparse._SubParsersAction))
    return dict(action.choices)


def test_a_plan_in_sync_loads_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "ivs-reconciler.yaml").write_text("stack: a\ntargets: {dev: {region: us-west-2, sandbox: dev.db}}\n", encoding="utf-8")
    (tmp_path / "specs" / "a.yaml").write_text("channels:\n  a: {type: BASIC}\n", encoding="utf-8")
    assert run(tmp_path, "apply", "--auto-approve").code == 0
    script = "import sys; from reconciler.cli.main import main; main(['plan']); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "No changes" in ran.stdout
    loaded = set(ran.stdout.split())
    assert not loaded & {"pydantic", "yaml", "deepdiff", "structlog", "rich", "reconciler.apply", "reconciler.plan.drift", "reconciler.spec.documents"}


WHOLE = verbs(build_parser())


def test_the_help_of_all_is_the_same_however_few_are_asked_for() -> None:
    assert build_parser(asked=()).format_help() == build_parser().format_help()


@pytest.mark.parametrize("name", WHOLE)
def test_the_help_of_one_is_the_same_when_only_that_is_asked_for(name: str) -> None:
    assert verbs(build_parser(asked=(name,)))[name].format_help() == WHOLE[name].format_help()


@pytest.mark.parametrize("name", WHOLE)
def test_a_verb_is_found_after_global_options(name: str) -> None:
    words = ["-C", "somewhere", name, "--no-such-option"]
    with pytest.raises(SystemExit) as left:
        build_parser(asked=words).parse_args(words)
    assert left.value.code == 1


@pytest.mark.parametrize("columns", ["40", "200", "0", "-1", "wide"])
def test_the_width_is_the_one_that_argparse_finds(columns: str) -> None:
    script = "import argparse; from reconciler.cli.options import Help; print(Help('x')._width == argparse.HelpFormatter('x')._width)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"COLUMNS": columns})
    assert ran.stdout == "True\n"
