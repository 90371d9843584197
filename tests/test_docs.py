"""Docs that can lie are tests: what the README shows is what the program prints, and every name in it exists."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from reconciler.cli.main import build_parser
from reconciler.errors import ExitCode
from tests import transcript
from tests.cli.support import run
from tests.plan.case import Case
from tests.plan.case import shown as shown_action
from tests.plan.test_cases import matches

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]
CURRENT = [page for page in PAGES if page.name not in {"CHANGELOG.md", "decisions.md"}]
"""Pages that name nothing that was renamed or rejected."""
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def verbs() -> dict[str, argparse.ArgumentParser]:
    (action,) = (item for item in build_parser()._actions if isinstance(item, argparse._SubParsersAction))
    return dict(action.choices)


def test_the_transcript_in_the_readme_is_what_the_demonstration_prints() -> None:
    assert transcript.masked(transcript.shown()) == transcript.masked(transcript.excerpt(transcript.run_demo()))


def test_the_readme_names_every_verb_and_no_other() -> None:
    table = README.partition("| Command | Does |")[2].partition("\n\n")[0]
    named = {match.split()[0] for match in re.findall(r"^\| `([a-z -]+)`", table, re.MULTILINE)}
    assert named == set(verbs())


def test_the_exit_codes_in_the_readme_are_those_of_the_program() -> None:
    table = README.partition("| Exit code | Means |")[2].partition("\n\n")[0]
    assert {int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == set(map(int, ExitCode))


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_every_verb_explains_itself(verb: str, tmp_path: Path) -> None:
    shown = run(tmp_path, verb, "--help")
    assert shown.code == 0
    assert len(shown.out) > 200


def test_the_spec_in_the_readme_is_valid_and_plans(tmp_path: Path) -> None:
    project, spec = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)[:2]
    content = yaml.safe_load(project)
    assert set(content["targets"]) == {"prod", "dev"}
    (tmp_path / "specs").mkdir()
    (tmp_path / "ivs-reconciler.yaml").write_text(project, encoding="utf-8")
    (tmp_path / "specs" / "live.yaml").write_text(spec, encoding="utf-8")
    use = README.partition("## Use it")[2].partition("## ")[0]
    calls = [line.removeprefix("$ ivs-reconciler ").split() for line in use.splitlines() if line.startswith("$ ivs")]
    assert len(calls) == 4
    for words in calls:
        ran = run(
            tmp_path,
            *words,
            env={"HOME": str(tmp_path), "AWS_CONFIG_FILE": "none", "AWS_EC2_METADATA_DISABLED": "true"},
        )
        assert (ran.code, ran.err) == (0, ""), words


def prose(text: str) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors that forges give the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_anchor_of_a_page_exists(page: Path) -> None:
    text = prose(page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\((?!https?:)([^)]+)\)|(?:src|srcset)=\"(?!https?:)([^\"]+)\"", text)
    for link in (first or second for first, second in links):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_of_the_repository_on_a_page_exists(page: Path) -> None:
    text = prose(page.read_text(encoding="utf-8"))
    for path in re.findall(r"`((?:reconciler|tests|docs|examples|schemas|requirements)/[\w./-]*)`", text):
        assert "NAME" in path or path in GONE or (ROOT / path).exists(), path


GONE = {"docs/gitops.md"}
"""Files that the changelog names because they were removed."""


def test_the_case_that_contributors_are_shown_is_one_of_the_planner() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    case = Case(yaml.safe_load(re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[0]))
    (expected,) = case.expect["actions"]
    (action,) = case.plan().actions
    assert matches(expected, shown_action(action, case))


def test_the_layers_of_the_architecture_page_are_those_of_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    picture = ARCHITECTURE.partition("\n\n```\n")[2].partition("\n```")[0]
    drawn = [line.split()[0] for line in picture.splitlines()]
    assert drawn == [layer.strip().removeprefix("reconciler.") for row in layers for layer in row.split("|")]


def test_every_name_on_the_architecture_page_exists() -> None:
    packages = {path.stem for path in (ROOT / "reconciler").iterdir() if path.suffix in {"", ".py"}}
    names = {name for name in re.findall(r"`([a-z_]+(?:\.\w+)+)`", ARCHITECTURE) if name.split(".")[0] in packages}
    assert len(names) > 20
    for name in sorted(names):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(f"reconciler.{module}"), attribute), name


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_verb_and_option_on_a_page_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    used = set(re.findall(r"^(?:\$ )?(?:\.venv/bin/)?ivs-reconciler ([a-z][a-z-]+)", text, re.MULTILINE))
    assert used <= set(verbs())
    spans = re.findall(r"`((?:ivs-reconciler |--)[^`]*|(?:" + "|".join(verbs()) + r") --[^`]*)`", prose(text))
    named = {option for span in spans for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", span)}
    assert named <= options(build_parser()) | OTHERS


OTHERS = {"--build-arg"}
"""Options of other programs that pages name."""


def options(parser: argparse.ArgumentParser) -> set[str]:
    """Return every option of a parser and of the verbs below it."""
    found = {option for action in parser._actions for option in action.option_strings}
    below = [item for item in parser._actions if isinstance(item, argparse._SubParsersAction)]
    return found.union(*(options(child) for item in below for child in item.choices.values()))


def test_the_makefile_has_every_target_that_is_promised() -> None:
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("demo", "test", "check", "lint", "types", "bench", "schemas", "clean"):
        assert f"make {target} " in shown


def test_the_project_names_no_path_of_a_machine_and_no_registry() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    home = re.compile(r"/(?:root|home/[a-z]+|Users/[A-Za-z]+)/")
    found = []
    for name in listed:
        path = ROOT / name
        if path.is_file() and path != Path(__file__).resolve():
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [f"{name}: {match.group()}" for match in home.finditer(text)]
            if str(ROOT) in text:
                found.append(f"{name}: {ROOT}")
            if name.startswith("requirements/"):
                found += [f"{name}: {line}" for line in text.splitlines() if "://" in line or line.startswith("-")]
    assert found == []


@pytest.mark.parametrize("name", ["plan", "drift", "events", "outputs"])
def test_every_member_of_what_programs_read_has_a_description(name: str) -> None:
    bare: list[str] = []

    def look(schema: object, place: str) -> None:
        if isinstance(schema, list):
            for item in schema:
                look(item, place)
        if isinstance(schema, dict):
            members = schema.get("properties", {})
            bare.extend(
                f"{place}/{member}"
                for member, each in members.items()
                if isinstance(each, dict) and not {"description", "const"} & each.keys()
            )
            for key, each in (*members.items(), *schema.get("$defs", {}).items()):
                look(each, key)
            for key in ("items", "additionalProperties", "anyOf", "allOf", "then"):
                look(schema.get(key), place)

    look(json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8")), "")
    assert bare == []
