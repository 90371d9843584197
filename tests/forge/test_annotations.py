"""Problems of a spec where a forge shows them: the place, the words, and nothing that a spec could smuggle in."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from reconciler.errors import Problem
from reconciler.report.ci import code_quality, workflow_commands
from tests.cli.support import run, stack
from tests.controller.git import repository


def broken(folder: Path) -> Path:
    stack(folder, {"channels": {"one": {"latencyMode": "SLOW"}, "two": {"typo": 1}}})
    return folder


def test_github_shows_each_problem_beside_its_line(tmp_path: Path) -> None:
    folder = broken(repository(tmp_path / "repo"))
    ran = run(folder, "validate", "--format", "github")
    assert ran.code == 1
    lines = ran.out.splitlines()
    assert len(lines) == 2
    assert all(
        re.fullmatch(r"::error file=specs/live\.yaml,line=\d+,col=\d+::channel/(one|two): .+; .+", line)
        for line in lines
    )


def test_paths_start_from_the_top_of_the_repository(tmp_path: Path) -> None:
    top = repository(tmp_path / "mono")
    broken(top / "video" / "live")
    for words, start in (
        (("-C", "video/live"), top),
        (("--config", "video/live/ivs-reconciler.yaml"), top),
        ((), top / "video" / "live"),
    ):
        ran = run(start, *words, "validate", "--format", "github")
        assert ran.out.startswith("::error file=video/live/specs/live.yaml,line="), words
        assert (
            json.loads(run(start, *words, "validate", "--format", "gitlab").out)[0]["location"]["path"]
            == "video/live/specs/live.yaml"
        )


def test_gitlab_gets_a_code_quality_report(tmp_path: Path) -> None:
    folder = broken(tmp_path / "plain")
    ran = run(folder, "validate", "--format", "gitlab")
    assert ran.code == 1
    assert len(ran.json) == 2
    assert len({one["fingerprint"] for one in ran.json}) == 2
    for one in ran.json:
        assert set(one) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert one["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert one["location"]["lines"]["begin"] > 1
    stack(folder, {"channels": {"one": {}}})
    assert run(folder, "validate", "--format", "gitlab").json == []
    assert run(folder, "validate", "--format", "github").out == "dev: 1 resource, no problems\n"


@pytest.mark.parametrize("evil", ["a\n::add-mask::x", "a\r\n::set-env name=PATH::x", "%0A::error::x"])
def test_text_of_a_spec_is_no_workflow_command(evil: str) -> None:
    text = workflow_commands([Problem(f"specs/{evil},b:c.yaml:3:4", "channel/x", evil, evil)], [evil])
    lines = text.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("::error file=specs/a" if evil.startswith("a") else "::error file=specs/%25")
    head = lines[0].removeprefix("::error ").partition("::")[0]
    assert [part.partition("=")[0] for part in head.split(",")] == ["file", "line", "col"]
    json.loads(code_quality([Problem(evil, "", evil)]))


def test_a_problem_without_a_line_is_one_of_its_file() -> None:
    assert (
        workflow_commands([Problem("a/b/ivs-reconciler.yaml", "", "is a folder", "name the file")], ())
        == "::error file=a/b/ivs-reconciler.yaml::is a folder; name the file\n"
    )
