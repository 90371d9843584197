"""Every situation under ``tests/spec/cases``: the files of a project, and the problems or the desired state that they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.spec.project import load_project
from tests.spec.support import KEYS, PROJECT, load, plain, problems_of, write

CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))


def read(path: Path) -> dict[str, Any]:
    case: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(case) <= {"title", "project", "files", "keys", "problems", "warnings", "desired"}, (
        f"{path.name} has an unknown field"
    )
    return case


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_situation_is_judged_as_its_case_says(path: Path, tmp_path: Path) -> None:
    case = read(path)
    write(tmp_path, case.get("files", {}), case.get("project", PROJECT))
    for name in case.get("keys", ()):
        write_key = tmp_path / "keys" / name
        write_key.parent.mkdir(exist_ok=True)
        write_key.write_bytes((KEYS / name).read_bytes())
    assert problems_of(tmp_path) == case.get("problems", [])
    if "desired" in case or "warnings" in case:
        assert list(load(tmp_path).warnings) == case.get("warnings", [])
    if "desired" in case:
        desired = case["desired"]
        by_target = desired if set(desired) == set(load_project(tmp_path).targets) else {None: desired}
        for target, resources in by_target.items():
            assert {
                str(address): plain(resource) for address, resource in load(tmp_path, target).resources.items()
            } == resources


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_case_has_a_title_and_an_expectation(path: Path) -> None:
    case = read(path)
    assert case["title"][0].isupper()
    assert {"problems", "desired", "warnings"} & set(case)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_every_problem_says_where_what_and_what_to_do(path: Path) -> None:
    for problem in read(path).get("problems", ()):
        where, _, rest = problem.partition(": ")
        assert where, problem
        assert "; " in rest, problem
