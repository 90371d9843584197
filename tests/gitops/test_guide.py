"""The controller's chapter of the guide is carried out, command by command, and what it shows is what is printed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHAPTER = (ROOT / "docs" / "gitops.md").read_text(encoding="utf-8").partition("## The controller\n")[2].partition("\n## ")[0]


def transcript() -> list[tuple[str, str]]:
    """Return every command of the chapter with what it is said to print."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", CHAPTER, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return [(command, "\n".join(lines)) for command, lines in found]


def masked(text: str) -> str:
    return re.sub(r"commit [0-9a-f]{10}", "commit (id)", text).strip()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed, so the guide is not carried out")
def test_the_chapter_is_true(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    commands = transcript()
    assert len(commands) > 20
    lines = ["trap 'kill $(jobs -p) 2>/dev/null' EXIT"]
    for number, (command, _) in enumerate(commands):
        served = f" --listen 127.0.0.1:{port}" if command.endswith("&") else ""
        shown = command.replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace("ivs-reconciler run", f"ivs-reconciler run{served}")
        lines += [f"echo '<<{number}>>'", shown]
    program = tmp_path / "bin" / "ivs-reconciler"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m reconciler "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    who = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com", "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com"}
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        cwd=work,
        env={**os.environ, **who, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    printed = re.split(r"<<\d+>>\n", done.stdout)[1:]
    for (command, said), text in zip(commands, printed, strict=True):
        ours = "\n".join(line for line in text.splitlines() if not line.startswith("{"))
        assert masked(ours) == masked(said), command
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in (work / "controller.log").read_text(encoding="utf-8")


def test_every_option_and_path_that_the_chapter_names_exists(repository_root: Path) -> None:
    shown = subprocess.run([sys.executable, "-m", "reconciler", "run", "--help"], capture_output=True, text=True, check=True, cwd=repository_root).stdout
    for option in set(re.findall(r"`(--[a-z-]+)", CHAPTER)):
        assert option in shown
    routes = (repository_root / "reconciler" / "gitops" / "web" / "routes.py").read_text(encoding="utf-8")
    for path in set(re.findall(r"`(?:POST )?(/[a-z]+)", CHAPTER)):
        assert path.strip("/").split("/")[0] in routes
