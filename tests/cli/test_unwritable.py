"""Disks that are full or read-only, and readers that leave: an apply runs to its end, says what could not be written, and its exit code is that of the work."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.sandbox import Sandbox
from reconciler.workflow.journal import last_run
from tests.cli.at_terminal import at_terminal
from tests.cli.support import ACCOUNT, Ran, client, run, stack

COUNT = 12
PIPE = 65_536
"""The bytes that a pipe holds."""
FULL = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2); os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
"""Runs a command that cannot make any file larger than so many bytes."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(settle_seconds=0) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, sandbox: Sandbox) -> Path:
    target: dict[str, object] = {"sandbox": None, "endpointUrl": sandbox.endpoint_url, "rateLimits": "off"}
    return stack(tmp_path / "repo", {"channels": {f"c{number:02}": {} for number in range(COUNT)}}, target=target)


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")


def made(sandbox: Sandbox) -> int:
    return len(client(sandbox.endpoint_url).list_channels()["channels"])


def full(folder: Path, size: int, *words: str) -> Ran:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(size), "-B", "-m", "reconciler", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


def test_a_folder_that_cannot_be_created_is_reported_before_the_first_change_and_interrupts_nothing(
    folder: Path, sandbox: Sandbox
) -> None:
    (folder / ".ivs-reconciler").write_text("in the way", encoding="utf-8")
    ran = run(folder, "apply", "--auto-approve", "--format", "json")
    assert ran.code == 0
    assert made(sandbox) == COUNT
    first, second = ran.err.splitlines()
    assert first.startswith("note: dev: no journal is written (.ivs-reconciler/journal-dev.jsonl: ")
    assert second.startswith("note: dev: the record of this apply was not written (.ivs-reconciler/applied-dev.json: ")
    assert run(folder, "plan", "--detailed-exitcode").code == 0
    again = run(folder, "apply", "--auto-approve")
    assert (again.code, again.err) == (0, "")


@pytest.mark.parametrize("denied", [False, True])
def test_a_disk_that_gets_full_in_the_middle_changes_no_exit_code(folder: Path, sandbox: Sandbox, denied: bool) -> None:
    if denied:
        sandbox.control.add_fault("deny", operation="CreateChannel", skip=6, times=None)
    ran = full(folder, 900, "apply", "--auto-approve")
    assert ran.code == (4 if denied else 0)
    assert made(sandbox) == (6 if denied else COUNT)
    assert (
        "note: dev: the journal of this apply is incomplete (.ivs-reconciler/journal-dev.jsonl: file too large)"
        in ran.err
    )
    assert (
        "note: dev: the record of this apply was not written (.ivs-reconciler/applied-dev.json: file too large)"
        in ran.err
    )
    assert sorted(path.name for path in (folder / ".ivs-reconciler").iterdir()) == [".gitignore", "journal-dev.jsonl"]
    assert last_run(folder, "dev") is not None
    sandbox.control.clear_faults()
    assert run(folder, "apply", "--auto-approve").code == 0
    assert made(sandbox) == COUNT
    assert run(folder, "plan", "--detailed-exitcode").code == 0
    last = last_run(folder, "dev")
    assert last is not None
    assert last.ended


def test_a_saved_plan_on_a_full_disk_is_applied_and_not_said_to_have_been(folder: Path, sandbox: Sandbox) -> None:
    assert run(folder, "plan", "--out", "plan.json").code == 0
    ran = full(folder, 0, "apply", "plan.json", "--auto-approve")
    assert ran.code == 0, ran.err
    assert made(sandbox) == COUNT
    assert not (folder / "plan.json.applied").exists()


@pytest.mark.parametrize("denied", [False, True])
def test_a_reader_that_leaves_in_the_middle_ends_no_apply(folder: Path, sandbox: Sandbox, denied: bool) -> None:
    if denied:
        sandbox.control.add_fault("deny", operation="CreateChannel", skip=6, times=None)
    here, there = os.pipe()
    with at_terminal(folder, "apply", env={}, stdout=there) as screen:
        os.close(there)
        screen.until("Only 'yes' will be accepted to confirm")
        os.close(here)
        screen.type("yes\n")
        assert screen.end() == (4 if denied else 1), screen.text
    assert made(sandbox) == (6 if denied else COUNT)
    done = "6 done, 6 failed" if denied else "12 done"
    assert f"apply ended ({done}), but its report could not be written: broken pipe" in screen.text


def test_a_reader_that_left_before_the_plan_was_shown_gets_nothing_changed(folder: Path, sandbox: Sandbox) -> None:
    here, there = os.pipe()
    os.close(here)
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", "apply", "--auto-approve", "--format", "json"],
        cwd=folder,
        stdout=there,
        check=False,
    )
    os.close(there)
    assert done.returncode == 1
    assert made(sandbox) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_refusal_that_cannot_be_written_is_still_one(folder: Path) -> None:
    with Path("/dev/full").open("w") as nowhere:
        done = subprocess.run(
            [sys.executable, "-m", "reconciler", "apply"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stderr=nowhere,
            check=False,
        )
    assert done.returncode == 3


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_to_a_disk_that_fills_up_is_an_error(folder: Path, unbuffered: str) -> None:
    with (folder / "schema.json").open("w") as report:
        done = subprocess.run(
            [sys.executable, "-c", FULL, "16384", "-m", "reconciler", "schema"],
            cwd=folder,
            stdout=report,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "output: file too large; make it writable and run again\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_gets_all_of_the_output_of_a_run_that_is_suspended(folder: Path, unbuffered: str) -> None:
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-m", "reconciler", "schema"],
        cwd=folder,
        stdout=writer,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    ) as process:
        os.close(writer)
        while int.from_bytes(fcntl.ioctl(reader, termios.FIONREAD, bytes(4)), sys.byteorder) < PIPE:
            time.sleep(0.01)
        time.sleep(0.05)  # until it waits for its reader
        process.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGCONT)
        text = b""
        while part := os.read(reader, PIPE):
            text += part
    os.close(reader)
    assert process.returncode == 0
    json.loads(text)


def test_no_temporary_directory_is_named_as_such(folder: Path) -> None:
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a@b.example", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)
    ran = full(folder, 0, "diff", "HEAD..HEAD")
    assert (ran.code, ran.out) == (1, "")
    assert (
        ran.err == "no temporary directory can be written; free space, or set TMPDIR to one that can, and run again\n"
    )
