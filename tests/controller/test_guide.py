"""The chapters of the guide are carried out, command by command, and what they show is what is printed."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.controller.guide import carried_out, chapter, transcript

CHAPTER = chapter("The controller")
DRIFT = chapter("Drift on a schedule")


def test_the_chapter_on_previews_is_true(tmp_path: Path) -> None:
    assert len(transcript(chapter("Previews on pull requests"))) > 12
    carried_out(chapter("Previews on pull requests"), tmp_path)


def test_the_chapter_on_drift_is_true(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    assert len(transcript(DRIFT)) > 18
    work = carried_out(DRIFT, tmp_path, lambda command: command.replace("4599", port))
    assert "Traceback" not in (work / "acme-live" / "sandbox.log").read_text(encoding="utf-8")


def test_every_option_that_the_chapter_on_drift_names_exists(repository_root: Path) -> None:
    def options(verb: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "reconciler", *verb.split(), "--help"],
            capture_output=True,
            text=True,
            check=True,
            cwd=repository_root,
        ).stdout

    known = "".join(options(verb) for verb in ("drift", "comment", "apply", "sandbox serve"))
    named = set(re.findall(r"`(--[a-z-]+)", DRIFT)) | set(
        re.findall(r"ivs-reconciler drift [^|>\n]*?(--[a-z-]+)", DRIFT)
    )
    assert {"--blame", "--ignore", "--prometheus", "--notify", "--state"} <= named
    for option in named:
        assert option in known


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed, so the guide is not carried out")
def test_the_chapter_is_true(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])

    def elsewhere(command: str) -> str:
        served = f" --listen 127.0.0.1:{port}" if command.endswith("&") else ""
        return command.replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace(
            "ivs-reconciler run", f"ivs-reconciler run{served}"
        )

    assert len(transcript(CHAPTER)) > 20
    work = carried_out(CHAPTER, tmp_path, elsewhere)
    assert "Traceback" not in (work / "controller.log").read_text(encoding="utf-8")


def test_every_option_and_path_that_the_chapter_names_exists(repository_root: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "reconciler", "run", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=repository_root,
    ).stdout
    for option in set(re.findall(r"`(--[a-z-]+)", CHAPTER)):
        assert option in shown
    routes = (repository_root / "reconciler" / "gitops" / "web" / "routes.py").read_text(encoding="utf-8")
    for path in set(re.findall(r"`(?:POST )?(/[a-z]+)", CHAPTER)):
        assert path.strip("/").split("/")[0] in routes
