"""Every place that a message names is found from where the user is: an editor that is handed ``file:line`` opens it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.support import Ran, run
from tests.controller.repos import Repo

PROJECT = "stack: acme-live\ntargets:\n  dev: {region: us-west-2, sandbox: dev.db}\n"
SPEC = "channels:\n  one: {latencyMode: SLOW}\n  two: {}\n"
AGAIN = "channels:\n  two: {}\n"
PLACE = re.compile(r"(?:^| )([^\s:]+):(\d+):(\d+)", re.MULTILINE)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A repository whose project lies in a folder of it, with a problem in a spec and one that names two places."""
    repo = Repo(tmp_path / "mono")
    repo.commit(
        {
            "video/live/acme.yaml": PROJECT,
            "video/live/specs/a.yaml": SPEC,
            "video/live/specs/b.yaml": AGAIN,
            "other/x": "",
        }
    )
    return repo.folder


WAYS = {
    "in the folder": ("video/live", ("--config", "acme.yaml")),
    "by the file": (".", ("--config", "video/live/acme.yaml")),
    "by the folder": (".", ("-C", "video/live", "--config", "acme.yaml")),
    "by both": ("video", ("-C", ".", "--config", "live/acme.yaml")),
    "from beside": ("other", ("--config", "../video/live/acme.yaml")),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, top: Path) -> tuple[Path, tuple[str, ...]]:
    start, words = WAYS[request.param]
    return top / start, words


def places(ran: Ran) -> set[str]:
    return {place[0] for place in PLACE.findall(ran.err)}


@pytest.mark.parametrize("verb", ["validate", "plan", "drift"])
def test_places_in_specs(top: Path, way: tuple[Path, tuple[str, ...]], verb: str) -> None:
    start, words = way
    ran = run(start, *words, verb)
    assert ran.code == 1
    found = places(ran)
    assert {(start / place).resolve() for place in found} == {
        top / "video/live/specs" / name for name in ("a.yaml", "b.yaml")
    }, ran.err


def test_places_in_json(top: Path, way: tuple[Path, tuple[str, ...]]) -> None:
    start, words = way
    found = {problem["file"] for problem in run(start, *words, "validate", "--format", "json").json["problems"]}
    assert {(start / place).resolve() for place in found} == {
        top / "video/live/specs" / name for name in ("a.yaml", "b.yaml")
    }


def test_places_in_the_project_file(top: Path, way: tuple[Path, tuple[str, ...]]) -> None:
    start, words = way
    for content in (PROJECT.replace("region", "regoin"), PROJECT + "specs: [none/*.yaml]\n"):
        (top / "video/live/acme.yaml").write_text(content, encoding="utf-8")
        ran = run(start, *words, "validate")
        assert ran.code == 1
        assert {(start / place).resolve() for place in places(ran)} == {top / "video/live/acme.yaml"}, ran.err
    (top / "video/live/acme.yaml").unlink()
    missing = run(start, *words, "validate").err.partition(": ")[0]
    assert (start / missing).resolve() == top / "video/live/acme.yaml"


def test_a_project_file_named_by_its_whole_path(top: Path) -> None:
    ran = run(top, "--config", str(top / "video/live/acme.yaml"), "validate")
    assert places(ran) == {str(top / "video/live/specs/a.yaml"), str(top / "video/live/specs/b.yaml")}


def test_places_in_revisions_are_written_as_git_reads_them(top: Path, way: tuple[Path, tuple[str, ...]]) -> None:
    start, words = way
    ran = run(start, *words, "diff", "HEAD")
    assert ran.code == 1
    assert "HEAD:video/live/specs/a.yaml:2:" in ran.err
    here = [
        place for line in ran.err.splitlines() if not line.startswith("HEAD:") for place, _, _ in PLACE.findall(line)
    ]
    assert {(start / place).resolve() for place in here} == {
        top / "video/live/specs" / name for name in ("a.yaml", "b.yaml")
    }


def test_the_controller_names_files_as_the_repository_does(top: Path, tmp_path: Path) -> None:
    ran = run(tmp_path, "--config", "acme.yaml", "run", "--repo", str(top), "--path", "video/live", "--once")
    assert ran.code == 1
    assert "video/live/specs/a.yaml:2:" in ran.out


def test_places_in_the_settings_of_the_controller(tmp_path: Path) -> None:
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops/controller.yaml").write_text("controller:\n  mod: apply\n", encoding="utf-8")
    for words, said in ((("run",), "ops/controller.yaml:2:3: "), (("-C", "ops", "run"), "ops/controller.yaml:2:3: ")):
        file = "controller.yaml" if "-C" in words else "ops/controller.yaml"
        ran = run(tmp_path, *words, "--config-file", file)
        assert (ran.code, ran.err.startswith(said)) == (1, True), ran.err
