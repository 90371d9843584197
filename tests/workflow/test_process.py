"""Who left its process number in a file: the one that is still there, one that is gone, or one whose number another was given since."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.errors import LockHeld
from reconciler.model.target import FileLock, LockHolder, Target, holder_from_json, holder_to_json
from reconciler.workflow.journal import Journal, last_run
from reconciler.workflow.locks import (
    FileLockBackend,
    ProcessState,
    is_gone,
    lock_targets,
    new_holder,
    process_identity,
    process_state,
)
from tests.cli.support import run, stack

pytestmark = pytest.mark.skipif(
    not process_identity(os.getpid()), reason="this system does not tell when a process began"
)

HERE = socket.gethostname()
NAME = "a) R 1 (b"
"""What a process may call itself, to mislead a reader of the list of processes."""


@pytest.fixture(scope="module")
def other() -> Iterator[int]:
    """Give the number of a living process."""
    script = f"import sys; open('/proc/self/comm', 'w').write({NAME!r}); print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def reused(pid: int) -> str:
    """Return the mark of a process that had this number earlier in this start of the machine."""
    space, _, began = process_identity(pid).rpartition(" ")
    return f"{space} {int(began) - 1}"


def test_a_living_process_is_known_by_its_mark_and_by_its_number_alone(other: int) -> None:
    assert process_state(HERE, other, process_identity(other)) is ProcessState.RUNNING
    assert process_state(HERE, other, "") is ProcessState.RUNNING
    assert process_state(HERE, os.getpid(), process_identity(os.getpid())) is ProcessState.RUNNING
    assert process_identity(other) != process_identity(os.getpid())


def test_a_number_that_was_given_to_another_process_since_is_recognised(other: int) -> None:
    assert process_state(HERE, other, reused(other)) is ProcessState.GONE
    assert process_state(HERE, os.getpid(), reused(os.getpid())) is ProcessState.GONE


def test_of_another_machine_container_or_start_nothing_is_known(other: int) -> None:
    boot, space, began = process_identity(other).split(" ")
    assert process_state("elsewhere", other, process_identity(other)) is ProcessState.UNKNOWN
    assert process_state(HERE, other, f"{boot[::-1]} {space} {began}") is ProcessState.UNKNOWN
    assert process_state(HERE, other, f"{boot} pid:[1] {began}") is ProcessState.UNKNOWN
    assert process_state(HERE, 0, "") is ProcessState.UNKNOWN


def test_a_zombie_process_counts_as_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-S", "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    ) as process:
        mark = process_identity(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process_state(HERE, process.pid, mark) is ProcessState.GONE
        assert process_state(HERE, process.pid, "") is ProcessState.GONE
    assert process_state(HERE, process.pid, mark) is ProcessState.GONE


def held(folder: Path, pid: int, mark: str) -> Path:
    """Leave a lock that is still to be respected for an hour."""
    now = time.time()
    path = folder / "lock.json"
    door = FileLockBackend(str(path))
    door.write(LockHolder("f00", "alice", HERE, pid, "apply", now - 60, now + 3600, mark=mark), "")
    return path


def test_a_lock_whose_holder_ended_is_acquired_although_its_process_number_is_reused(
    tmp_path: Path, other: int
) -> None:
    target = Target("prod", "us-west-2", lock=FileLock(str(held(tmp_path, other, reused(other)))))
    said: list[str] = []
    with lock_targets((target,), "apply", notify=said.append):
        pass
    assert "the process has ended" in said[0]


@pytest.mark.parametrize("mark", ["same", "none", "other start"])
def test_a_lock_whose_holder_may_live_is_respected(tmp_path: Path, other: int, mark: str) -> None:
    marks = {"same": process_identity(other), "none": "", "other start": "f00 " + process_identity(other)}
    target = Target("prod", "us-west-2", lock=FileLock(str(held(tmp_path, other, marks[mark]))))
    with pytest.raises(LockHeld), lock_targets((target,), "apply"):
        pytest.fail("two hold it")


def test_a_lock_of_an_older_version_is_read() -> None:
    data = holder_to_json(new_holder("apply", 1.0))
    assert holder_from_json(data).mark == process_identity(os.getpid())
    content = json.loads(data)
    del content["mark"]
    older = holder_from_json(json.dumps(content).encode())
    assert older.mark == ""
    assert not is_gone(older)


def torn(root: Path, pid: int, mark: str | None) -> None:
    """Leave the journal of a run that did not come to its end."""
    path = root / ".ivs-reconciler" / "journal-dev.jsonl"
    path.unlink(missing_ok=True)
    with Journal(root, "dev", "123456789012"):
        pass
    line = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert line["mark"] == process_identity(os.getpid())
    line["pid"] = pid
    line |= {} if mark is None else {"mark": mark}
    if mark is None:
        del line["mark"]
    path.write_text(json.dumps(line, separators=(",", ":")) + "\n", encoding="utf-8")


def test_a_journal_distinguishes_a_running_process_from_another_one_with_its_number(tmp_path: Path, other: int) -> None:
    for mark, running in (
        (process_identity(other), True),
        (reused(other), False),
        ("f00 pid:[1] 7", False),
        (None, True),
    ):
        torn(tmp_path, other, mark)
        found = last_run(tmp_path, "dev")
        assert found is not None
        assert found.running is running, mark


def test_a_plan_says_what_became_of_the_last_apply(tmp_path: Path, other: int) -> None:
    folder = stack(tmp_path, {"channels": {}})
    torn(folder, other, process_identity(other))
    assert f"is still running (process {other})" in run(folder, "plan").err
    torn(folder, other, reused(other))
    assert "did not finish; no call was in flight" in run(folder, "plan").err
