"""Optional packages that are missing or broken: who needs one says what to install, and everything else works."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.support import Ran, run, stack

GITHUB = ("comment", "--plan", "p.json", "--provider", "github", "--repository", "acme/video", "--number", "1")
GITLAB = ("comment", "--plan", "p.json", "--provider", "gitlab", "--repository", "acme/video", "--number", "1")
RUN = ("run", "--repo", ".")
USERS = [
    ("github", "github", GITHUB),
    ("gitlab", "gitlab", GITLAB),
    ("waitress", "controller", RUN),
    ("werkzeug", "controller", RUN),
    ("prometheus_client", "controller", RUN),
]
PACKAGES = [*(package for package, _, _ in USERS), "distributed"]
FAILURES = {
    "absent": "raise ModuleNotFoundError(f'No module named {__name__!r}', name=__name__)",
    "a package of its own is absent": "import package_of_nobody",
    "incomplete": "",
    "wrong syntax": "def",
    "an error of its own": "raise RuntimeError('libssl.so.1.1: cannot open shared object file\\nsecond line')",
    "an error without a word": "assert False",
}


def hiding(folder: Path, source: str, packages: list[str]) -> dict[str, str]:
    """Return an environment in which these packages are this source."""
    for package in packages:
        (folder / "path" / package).mkdir(parents=True)
        (folder / "path" / package / "__init__.py").write_text(source, encoding="utf-8")
    return {"PYTHONPATH": str(folder / "path"), "GITHUB_TOKEN": "t", "GITLAB_TOKEN": "t", "CI": ""}


def without(folder: Path, source: str, packages: list[str], *words: str, env: Mapping[str, str] | None = None) -> Ran:
    """Run a verb in a process where these packages are this source."""
    return run(folder, *words, env={**hiding(folder, source, packages), **(env or {})})


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize(("package", "extra", "words"), USERS, ids=[package for package, _, _ in USERS])
def test_what_needs_a_package_names_its_extra(
    tmp_path: Path, package: str, extra: str, words: tuple[str, ...], failure: str
) -> None:
    ran = without(tmp_path, FAILURES[failure], [package], *words)
    assert (ran.code, ran.out) == (1, "")
    (line,) = ran.err.splitlines()
    assert line.startswith(f"comment with {extra} " if extra != "controller" else "run ")
    assert line.endswith(f'; install the extra: pip install "ivs-reconciler[{extra}]"')
    if failure == "absent":
        assert f"needs the package {package}, which is not installed" in line
    if failure == "a package of its own is absent":
        assert "needs the package package_of_nobody" in line
    assert [found.name for found in tmp_path.iterdir()] == ["path"]


@pytest.mark.parametrize("failure", ["absent", "incomplete", "an error of its own"])
def test_an_executor_names_its_extra(tmp_path: Path, failure: str) -> None:
    stack(tmp_path, {"channels": {"a": {}}})
    ran = without(tmp_path, FAILURES[failure], ["distributed"], "plan", "--executor", "dask://127.0.0.1:8786")
    assert (ran.code, ran.out) == (1, "")
    (line,) = ran.err.splitlines()
    assert line.startswith("--executor dask ")
    assert line.endswith('; install the extra: pip install "ivs-reconciler[dask]"')


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--help",), 0),
        (("run", "--help"), 0),
        (("comment", "--help"), 0),
        (("validate",), 0),
        (("comment", "--dry-run"), 0),
        (("plan",), 0),
        (("drift", "--prometheus", "drift.prom"), 5),
        (("apply", "--auto-approve"), 0),
        (("status",), 0),
    ],
    ids=str,
)
def test_everything_else_works_without_any_extra(tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    stack(tmp_path, {"channels": {"a": {}}})
    # An interpreter that has imported nothing: no module may need what is missing.
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", *words],
        cwd=tmp_path,
        env={**os.environ, **hiding(tmp_path, FAILURES["absent"], PACKAGES)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr


@pytest.mark.parametrize("forge", ["github", "gitlab"])
def test_allowing_by_label_names_its_extra(tmp_path: Path, forge: str) -> None:
    stack(tmp_path, {"channels": {"a": {}}})
    for words in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m", "first")):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *words], cwd=tmp_path, check=True)
    ci = {
        "github": {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/video"},
        "gitlab": {
            "GITLAB_CI": "true",
            "CI_PROJECT_ID": "7",
            "CI_PROJECT_PATH": "acme/video",
            "CI_API_V4_URL": "https://git.example.com/api/v4",
        },
    }[forge]
    ran = without(tmp_path, FAILURES["absent"], [forge], "plan", "--allow-by-label", env=ci)
    assert (ran.code, ran.out) == (1, "")
    (line,) = ran.err.splitlines()
    assert line.startswith(f"plan --allow-by-label with {forge} needs the package {forge}, which is not installed")
    assert line.endswith(f'; install the extra: pip install "ivs-reconciler[{forge}]"')
