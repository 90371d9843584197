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
    (tmp_path / "ivs-reconciler.yaml").write_text(
        "stack: a\ntargets: {dev: {region: us-west-2, sandbox: dev.db}}\n", encoding="utf-8"
    )
    (tmp_path / "specs" / "a.yaml").write_text("channels:\n  a: {type: BASIC}\n", encoding="utf-8")
    assert run(tmp_path, "apply", "--auto-approve").code == 0
    script = "import sys; from reconciler.cli.main import main; main(['plan']); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "No changes" in ran.stdout
    loaded = set(ran.stdout.split())
    assert not loaded & {
        "deepdiff",
        "structlog",
        "rich",
    }


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


LEAVES = [(name,) for name in WHOLE if name != "sandbox"] + [("sandbox", name) for name in verbs(WHOLE["sandbox"])]


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_a_global_option_may_stand_before_and_after_every_verb(path: tuple[str, ...]) -> None:
    parser = build_parser()
    for name in path:
        parser = verbs(parser)[name]
    text = parser.format_help()
    for option in ("-C DIR", "--config FILE", "--target NAME", "--log-format", "--verbose", "--no-color"):
        assert option in text


@pytest.mark.parametrize("place", range(3))
def test_options_before_and_after_a_verb_add_up(place: int) -> None:
    words = ["sandbox", "reset"]
    words[place:place] = ["-v", "-t", "a", "-C", "x"]
    args = build_parser(asked=words).parse_args([*words, "-v", "-t", "b"])
    assert (args.verbose, args.target, args.directory) == (2, ["a", "b"], "x")
    assert build_parser(asked=["plan"]).parse_args(["-t", "a", "plan", "-t", "b"]).target == ["a", "b"]


@pytest.mark.parametrize(
    "words", [["plan", "--no-such"], ["-t", "dev", "plan", "--no-such"], ["sandbox", "serve", "--no-such"]]
)
def test_an_unknown_option_is_answered_by_the_verb_it_was_given_to(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        build_parser(asked=words).parse_args(words)
    assert left.value.code == 1
    verb = " ".join(word for word in words if word in ("plan", "sandbox", "serve"))
    said = capsys.readouterr().err
    assert said.startswith(f"usage: ivs-reconciler {verb} ")
    assert said.endswith(
        f"ivs-reconciler {verb}: unrecognized arguments: --no-such; see ivs-reconciler {verb} --help\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--log-level", "debug", "plan"],
            "ivs-reconciler: unrecognized arguments: --log-level; see ivs-reconciler --help",
        ),
        (
            ["sandbox", "--log-level=debug", "serve"],
            "ivs-reconciler sandbox: unrecognized arguments: --log-level=debug; see ivs-reconciler sandbox --help",
        ),
        (
            ["apply", "--auto-aprove"],
            "unrecognized arguments: --auto-aprove; did you mean --auto-approve?; see ivs-reconciler apply --help",
        ),
    ],
)
def test_an_unknown_option_is_named_and_not_what_follows_it(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        build_parser(asked=words).parse_args(words)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("port", ["99999", "-1", "x"])
def test_a_port_that_is_none_is_refused_in_words(tmp_path: Path, port: str) -> None:
    ran = run(tmp_path, "sandbox", "serve", f"--port={port}")
    assert ran.code == 1
    assert f"'{port}' is not a port (0 to 65535)" in ran.err


def test_the_files_of_a_served_sandbox_are_looked_for_in_the_folder_of_the_call(tmp_path: Path) -> None:
    (tmp_path / "here" / "state.db").mkdir(parents=True)
    ran = run(tmp_path, "-C", "here", "sandbox", "serve", "--port", "0", "--db", "state.db")
    assert (ran.code, ran.out) == (1, "")
    assert "here/state.db" in ran.err


def test_the_purpose_of_a_policy_is_named_as_help_names_it(tmp_path: Path) -> None:
    ran = run(tmp_path, "iam-policy")
    assert ran.code == 1
    assert "the following arguments are required: {plan,apply}; see" in ran.err
