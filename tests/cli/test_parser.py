"""The parser of a call holds only the verbs that it names, and nobody can tell."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from reconciler.cli.main import build_parser


def verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (action,) = (item for item in parser._actions if isinstance(item, argparse._SubParsersAction))
    return dict(action.choices)


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
