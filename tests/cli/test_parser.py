"""The parser of a call holds only the verbs that it names, and nobody can tell."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from reconciler.cli.main import VERBS, build_parser
from tests.cli.support import run, stack


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
    assert not loaded & {"deepdiff", "structlog", "rich"}


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


@pytest.mark.parametrize("width", [40, 60, 80])
def test_help_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    parser = build_parser()
    path: tuple[str, ...]
    for path in [(), ("sandbox",), *LEAVES]:
        shown = parser
        for name in path:
            shown = verbs(shown)[name]
        text = shown.format_help()
        usage = " ".join(text.partition("\n\n")[0].split())
        assert usage.startswith(" ".join(("usage: ivs-reconciler", *path, "[OPTIONS]")))
        for line in text.splitlines():
            # An option stays with its value, and a word is whole.
            assert len(line) <= width or len(line.split()) <= (2 if line.startswith("  -") else 1), (path, line)


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
    assert said.startswith(f"ivs-reconciler {verb}: unrecognized arguments: --no-such\n")


USAGES = [
    (("plan", "--no-such"), "ivs-reconciler plan [OPTIONS]"),
    (("apply", "--no-such"), "ivs-reconciler apply [OPTIONS] [PLANFILE...]"),
    (("sandbox", "drift", "--no-such", "x", "y"), "ivs-reconciler sandbox drift [OPTIONS] ARN MEMBER=VALUE..."),
    (("iam-policy",), "ivs-reconciler iam-policy [OPTIONS] {plan,apply}"),
    (("--no-such",), "ivs-reconciler [OPTIONS] COMMAND"),
    (("plna",), "ivs-reconciler [OPTIONS] COMMAND"),
]


@pytest.mark.parametrize(("words", "usage"), USAGES, ids=str)
def test_a_usage_error_is_the_message_and_one_line_of_usage(tmp_path: Path, words: tuple[str, ...], usage: str) -> None:
    ran = run(tmp_path, *words)
    assert (ran.code, ran.out) == (1, "")
    message, last = ran.err.splitlines()
    assert message.startswith("ivs-reconciler")
    assert last == f"usage: {usage}; see {usage.partition(' [')[0]} --help"


SHORTENED = [
    (name, option[:length], option)
    for name, parser in {**WHOLE, **{f"sandbox {name}": one for name, one in verbs(WHOLE["sandbox"]).items()}}.items()
    for option in parser._option_string_actions
    if option.startswith("--")
    for length in (3, 4, len(option) - 1)
    if option[:length] not in parser._option_string_actions
]


def test_no_option_of_any_verb_may_be_shortened(capsys: pytest.CaptureFixture[str]) -> None:
    parser = build_parser()
    for name, short, _ in SHORTENED:
        with pytest.raises(SystemExit) as left:
            parser.parse_args([*name.split(), short])
        assert left.value.code == 1, (name, short)
        with pytest.raises(SystemExit) as left:
            parser.parse_args([*name.split(), f"{short}=x"])
        assert left.value.code == 1, (name, short)
    capsys.readouterr()


def test_an_empty_value_is_refused_for_every_option_of_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    parser = build_parser()
    for name, verb in {**WHOLE, **{f"sandbox {name}": one for name, one in verbs(WHOLE["sandbox"]).items()}}.items():
        for option, action in verb._option_string_actions.items():
            if action.nargs is None and option.startswith("--"):
                for words in ([option, ""], [f"{option}="]):
                    with pytest.raises(SystemExit) as left:
                        parser.parse_args([*name.split(), *words])
                    assert (left.value.code, "the value is empty" in capsys.readouterr().err) == (1, True), (
                        name,
                        option,
                    )


@pytest.mark.parametrize(
    "words",
    [
        ("apply", "", "--auto-approve"),
        ("apply", "--auto-approve", "--pin", ""),
        ("apply", "--auto-approve", "--base", ""),
    ],
)
def test_an_unset_variable_of_a_script_applies_nothing(tmp_path: Path, words: tuple[str, ...]) -> None:
    stack(tmp_path, {"channels": {"a": {"type": "BASIC"}}})
    ran = run(tmp_path, *words)
    assert (ran.code, ran.out, "the value is empty" in ran.err) == (1, "", True)
    assert not (tmp_path / ".sandbox").exists()


@pytest.mark.parametrize("word", ["--au", "--auto", "--auto-approv", "--auto-approve=", "--auto_approve"])
def test_a_shortened_approval_applies_nothing(tmp_path: Path, word: str) -> None:
    stack(tmp_path, {"channels": {"a": {"type": "BASIC"}}})
    ran = run(tmp_path, "apply", word)
    assert (ran.code, ran.out) == (1, "")
    assert "did you mean --auto-approve?" in ran.err or "--auto-approve: takes no value, but has ''" in ran.err
    assert not (tmp_path / ".sandbox").exists()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("pln",), "unknown command 'pln'; did you mean plan?"),
        (("aply", "--auto-approve"), "unknown command 'aply'; did you mean apply?"),
        (("val",), "unknown command 'val'; did you mean validate?"),
        (("-t", "dev", "drfit"), "unknown command 'drfit'; did you mean drift?"),
        (("sandbox", "serv"), "unknown command 'serv'; did you mean serve?"),
        (("plan", "--fromat", "json"), "unrecognized arguments: --fromat json; did you mean --format?"),
        (
            ("plan", "--allow"),
            "did you mean --allow-path or --allow-deletes or --allow-updates or --allow-empty or --allow-missing or --allow-by-label?",
        ),
        (("plan", "--format", "jsn"), "(choose from text, json, markdown, html); did you mean json?"),
        (("iam-policy", "aply"), "(choose from plan, apply); did you mean apply?"),
        (("frobnicate",), "unknown command 'frobnicate'\n"),
        (("plan", "prod"), "unrecognized arguments: prod; to select a target, use -t prod\n"),
        (("drift", "dev", "prod", "-v"), "dev prod; to select a target, use -t dev -t prod\n"),
    ],
)
def test_a_typo_is_answered_with_the_nearest_word(tmp_path: Path, words: tuple[str, ...], hint: str) -> None:
    ran = run(tmp_path, *words)
    assert ran.code == 1
    assert hint in ran.err
    assert len(ran.err.splitlines()) == 2


@pytest.mark.parametrize("words", [(), ("sandbox",)])
def test_a_bare_call_lists_the_verbs(tmp_path: Path, words: tuple[str, ...]) -> None:
    ran = run(tmp_path, *words)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == run(tmp_path, *words, "--help").out
    parser = verbs(WHOLE["sandbox"]) if words else WHOLE
    assert all(f"    {name} " in ran.out for name in parser)


def test_help_lists_each_verb_once_under_a_heading(tmp_path: Path) -> None:
    listed = run(tmp_path, "--help").out.partition("commands:\n")[2].partition("\n\n")[0].splitlines()
    headings = [line.strip(" :") for line in listed if line.endswith(":") and not line.startswith("    ")]
    assert headings == list(VERBS)
    names = [line.split()[0] for line in listed if line.startswith("    ") and not line.startswith("     ")]
    assert sorted(names) == sorted(WHOLE)
    assert names == list(WHOLE)


def test_an_unknown_target_or_address_is_answered_with_the_nearest(tmp_path: Path) -> None:
    stack(tmp_path, {"channels": {"main": {"streamKey": {}}}})
    assert run(tmp_path, "plan", "--out", "p.json").code == 0
    for words, hint in (
        (("plan", "-t", "dve"), "no target 'dve'; did you mean \"dev\"?"),
        (("plan", "-t", "production"), "no target 'production'; the targets are dev"),
        (("apply", "p.json", "-t", "dve", "--auto-approve"), "the plan has no target 'dve'; did you mean \"dev\"?"),
        (("rotate", "stream-key", "channel/mian", "--auto-approve"), "has no channel/mian; did you mean channel/main?"),
        (("outputs", "channel/mian"), "did you mean channel/main?"),
        (("plan", "--only", "chanel/*"), "there is no kind chanel; did you mean channel?"),
    ):
        ran = run(tmp_path, *words)
        assert (ran.code, hint in ran.err) == (1, True), ran.err


def test_an_unknown_target_of_a_fleet_is_not_answered_with_a_thousand_names(tmp_path: Path) -> None:
    names = [f"t{number:03}" for number in range(1000)]
    sandboxes = {name: {"region": "us-west-2", "sandbox": f".sandbox/{name}.db"} for name in names}
    (tmp_path / "ivs-reconciler.yaml").write_text(yaml.safe_dump({"stack": "acme", "targets": sandboxes}), "utf-8")
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "live.yaml").write_text("channels: {main: {}}", "utf-8")
    (tmp_path / "adopt.yaml").write_text("targets: {production: {}}", "utf-8")
    listed = f"the targets are {', '.join(names[:20])} and 980 more\n"
    for words in (
        ("plan", "-t", "production"),
        ("validate", "-t", "production"),
        ("plan", "--adopt-file", "adopt.yaml"),
    ):
        ran = run(tmp_path, *words)
        assert (ran.code, ran.err.endswith(listed)) == (1, True), ran.err
    assert run(tmp_path, "plan", "-t", "t99").err.endswith("no target 't99'; did you mean \"t999\"?\n")


def test_a_call_with_options_and_no_verb_is_an_error(tmp_path: Path) -> None:
    ran = run(tmp_path, "-v")
    assert ran.code == 1
    assert "the following arguments are required: COMMAND" in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--log-level", "debug", "plan"], "ivs-reconciler: unrecognized arguments: --log-level\n"),
        (
            ["sandbox", "--log-level=debug", "serve"],
            "ivs-reconciler sandbox: unrecognized arguments: --log-level=debug\n",
        ),
        (["sandbox", "quota", "channels", "many"], "argument value: 'many' is not a whole number\n"),
        (["sandbox", "lag", "--create", "long"], "argument --create: 'long' is not a number\n"),
        (["apply", "--auto-aprove"], "unrecognized arguments: --auto-aprove; did you mean --auto-approve?\n"),
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
    assert "the following arguments are required: {plan,apply}\n" in ran.err
