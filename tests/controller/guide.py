"""Chapters of docs/gitops.md as something to carry out: the commands they show, and what those are said to print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WHO = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
}


def chapter(title: str) -> str:
    """Return the text of one chapter."""
    return (ROOT / "docs" / "gitops.md").read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]


def transcript(text: str) -> list[tuple[str, str]]:
    """Return every command of a chapter with what it is said to print."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return [(command, "\n".join(lines)) for command, lines in found]


def masked(text: str) -> str:
    """Return what is printed without times and the ids of commits, resources and events, which nobody can foresee."""
    text = re.sub(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
        "(time)",
        re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "(event)", text),
    )
    text = re.sub(r"(:channel/)[A-Za-z0-9]{12}\b", r"\1(id)", text)
    return re.sub(r"\b[0-9a-f]{40}\b", "(id)", re.sub(r"commit [0-9a-f]{10}\b", "commit (id)", text)).strip()


def carried_out(text: str, folder: Path, change: Callable[[str], str] = lambda command: command) -> Path:
    """Carry out every command of a chapter in one shell and hold what is printed against what is said; returns the folder it worked in."""
    commands = transcript(text)
    lines = ["trap 'kill $(jobs -p) 2>/dev/null' EXIT"]
    for number, (command, _) in enumerate(commands):
        lines += [f"echo '<<{number}>>'", change(command)]
    program = folder / "bin" / "ivs-reconciler"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m reconciler "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    work = folder / "work"
    work.mkdir()
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        cwd=work,
        env={
            **os.environ,
            **WHO,
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    printed = re.split(r"<<\d+>>\n", done.stdout)[1:]
    assert len(printed) == len(commands), done.stdout
    for (command, said), shown in zip(commands, printed, strict=True):
        ours = "\n".join(line for line in shown.splitlines() if not line.startswith("{"))
        assert masked(ours) == masked(said), command
    assert done.returncode == 0, done.stdout
    return work
