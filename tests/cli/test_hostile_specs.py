"""Specs written to cost time: links to the whole machine, and tens of thousands of problems."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import run, stack


@pytest.mark.parametrize("pattern", ["**/*.yaml", "specs/**", "specs/*/*.yaml", "specs/all/**/*.yaml"])
def test_a_link_to_the_whole_machine_is_not_descended_into(tmp_path: Path, pattern: str) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"a": {}}}, specs=[pattern])
    (folder / "specs" / "all").symlink_to("/")
    (folder / "specs" / "more").mkdir()
    (folder / "specs" / "more" / "b.yaml").write_text("channels: {b: {}}\n")
    began = time.process_time()
    ran = run(folder, "validate")
    assert time.process_time() - began < 6
    assert ran.code == 1
    assert "specs/all: is a symbolic link to a directory outside the project" in ran.err
    assert len(ran.err.splitlines()) == 1


SPECS = {
    "fields of many channels": "channels:\n" + "".join(f"  c{n}: {{latencyMod: LOW}}\n" for n in range(20_000)),
    "fields of one channel": "channels:\n  c:\n" + "".join(f"    latencyMode{n}: LOW\n" for n in range(20_000)),
    "sections": "".join(f"channel{n}: {{}}\n" for n in range(20_000)),
    "references": "channels:\n" + "".join(f"  c{n}: {{recordingConfiguration: r{n}}}\n" for n in range(20_000)),
}


@pytest.mark.parametrize("text", SPECS.values(), ids=SPECS)
def test_problems_of_one_file_stop_at_some_hundred(tmp_path: Path, text: str) -> None:
    folder = stack(tmp_path, {})
    (folder / "specs" / "live.yaml").write_text(text)
    (folder / "specs" / "other.yaml").write_text("channels: {x: {typ: BASIC}}\n")
    began = time.process_time()
    ran = run(folder, "validate")
    assert time.process_time() - began < 25
    lines = ran.err.splitlines()
    assert ran.code == 1
    assert lines[300] == "specs/live.yaml: and 19,700 more problems in this file"
    assert [line.partition(":")[0] for line in lines[301:]] == ["specs/other.yaml"]


def test_problems_of_the_project_file_stop_too(tmp_path: Path) -> None:
    extra: dict[str, Any] = {f"stack{n}": 1 for n in range(5_000)}
    folder = stack(tmp_path, {}, **extra)
    ran = run(folder, "validate")
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 300
    assert "and 4,701 more problems in this file" in ran.err


LOOPS = {
    "many": (
        "channels:\n" + "".join(f"  c{n}: {{count: 10000}}\n" for n in range(2_000)),
        "specs/live.yaml:12:3: channel/c10-0: the spec has more than 100,000 resources, with this one; use loops with fewer members",
    ),
    "long texts": (
        f"channels: {{c: {{count: 300, tags: {{a: '{'x' * 4_000_000}{{index}}'}}}}}}\n",
        "a text with placeholders has 4,000,007 characters, more than the limit of 1,024; shorten it",
    ),
    "long members": (
        f"channels: {{c: {{forEach: {{m: {{x: {'y' * 1_000_000}}}}}, tags: {{a: '{'{each.x}' * 100}'}}}}}}\n",
        '{each.x} has 1,000,000 characters in member "m" of forEach, more than the limit of 1,024; shorten it',
    ),
}


@pytest.mark.parametrize("name", LOOPS)
def test_loops_are_bounded(tmp_path: Path, name: str) -> None:
    text, said = LOOPS[name]
    folder = stack(tmp_path, {})
    (folder / "specs" / "live.yaml").write_text(text)
    memory = run_limited(folder, 1_500_000)
    assert (memory.returncode, said in memory.stderr) == (1, True), memory.stderr[-500:]


def run_limited(folder: Path, kibibytes: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f'ulimit -v {kibibytes}; exec "$0" -m reconciler validate', sys.executable],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
