"""The journal by itself: what is read of cut, unmanaged and interleaved lines, that it stays small, and that many workers share one flush."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.apply import StepFinished
from reconciler.model.address import Address
from reconciler.plan.plan import Result, StepOutcome
from reconciler.workflow.journal import Journal, _read_all, _read_ended, last_run

A, B = Address.parse("channel/a"), Address.parse("channel/b")


def done(address: Address, operation: str, result: Result = Result.DONE) -> StepFinished:
    return StepFinished(address, StepOutcome("x#1", operation, result, 1, 0.1, "req-1"))


def path(root: Path) -> Path:
    return root / ".ivs-reconciler" / "journal-prod.jsonl"


def test_nothing_is_known_where_there_is_no_journal(tmp_path: Path) -> None:
    assert last_run(tmp_path, "prod") is None


def test_a_killed_run_is_not_ended_and_names_its_in_flight_calls(tmp_path: Path) -> None:
    def torn() -> None:
        with Journal(tmp_path, "prod", "123456789012") as journal:
            journal.step_started(A, "CreateChannel")
            journal.event(done(A, "CreateChannel"))
            journal.step_started(B, "CreateChannel")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        torn()
    found = last_run(tmp_path, "prod")
    assert found is not None
    assert (found.ended, found.running, list(found.in_flight), found.created) == (
        False,
        False,
        [(B, "CreateChannel")],
        {A},
    )


def test_a_run_that_came_to_its_end_says_so_and_the_last_one_counts(tmp_path: Path) -> None:
    with Journal(tmp_path, "prod", "123456789012") as journal:
        journal.step_started(A, "DeleteChannel")
        journal.event(done(A, "DeleteChannel"))
    with Journal(tmp_path, "prod", "123456789012") as journal:
        journal.step_started(B, "CreateChannel")
        journal.event(done(B, "CreateChannel", Result.FAILED))
    found = last_run(tmp_path, "prod")
    assert found is not None
    assert (found.ended, found.in_flight, found.created, found.deleted) == (True, {}, set(), set())


def test_a_key_that_a_channels_own_steps_delete_is_not_the_channel(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "prod", "123456789012")
    journal.step_started(A, "DeleteStreamKey")
    journal.event(done(A, "DeleteStreamKey"))
    found = last_run(tmp_path, "prod")
    assert found is not None
    assert found.deleted == set()


def test_lines_that_are_cut_or_not_understood_are_passed_over(tmp_path: Path) -> None:
    with Journal(tmp_path, "prod", "123456789012") as journal:
        journal.step_started(A, "CreateChannel")
    with path(tmp_path).open("ab") as stream:
        stream.write(
            b'{"run": "zz", "event": "step"}\n[1]\n7\n\xff\xfe\n{"event": "end"}\n' + b"[" * 5000 + b'\n{"run": "'
        )
    found = last_run(tmp_path, "prod")
    assert found is not None
    assert found.ended


def test_it_stays_small(tmp_path: Path) -> None:
    for _ in range(4):
        with Journal(tmp_path, "prod", "123456789012") as journal:
            path(tmp_path).write_bytes(b"x" * 600_000)
            journal.step_started(A, "CreateChannel")
    with Journal(tmp_path, "prod", "123456789012"):
        pass
    assert path(tmp_path).stat().st_size < 1000
    assert sorted(found.name for found in path(tmp_path).parent.iterdir()) == [
        ".gitignore",
        "journal-prod.jsonl",
        "journal-prod.old",
    ]


def test_a_disk_that_cannot_be_written_interrupts_nothing(tmp_path: Path) -> None:
    (tmp_path / ".ivs-reconciler").write_text("a file is in the way", encoding="utf-8")
    with Journal(tmp_path, "prod", "123456789012") as journal:
        journal.step_started(A, "CreateChannel")
    assert last_run(tmp_path, "prod") is None


def test_lines_of_many_workers_stay_whole(tmp_path: Path) -> None:
    ready = threading.Barrier(8)

    def work(number: int) -> None:
        ready.wait()
        for step in range(25):
            journal.step_started(Address(A.kind, f"c{number}-{step}"), "UpdateChannel")
            journal.event(done(Address(A.kind, f"c{number}-{step}"), "UpdateChannel"))

    with Journal(tmp_path, "prod", "123456789012") as journal, ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
        text = path(tmp_path).read_text(encoding="utf-8")
    assert len(text.splitlines()) == 1 + 2 * 200
    found = last_run(tmp_path, "prod")
    assert found is not None
    assert found.in_flight == {}


def test_a_call_in_flight_at_an_error_writes_into_no_other_file(tmp_path: Path) -> None:
    """One of the files that are opened when the journal is closed gets its descriptor."""
    writing, closed = threading.Event(), threading.Event()

    def slow(frame: FrameType, event: str, argument: object) -> None:
        if event == "c_call" and argument is os.write:
            writing.set()
            closed.wait(0.5)

    threading.setprofile(slow)
    try:
        with suppress(BrokenPipeError), Journal(tmp_path, "prod", "123456789012") as journal:
            late = threading.Thread(target=journal.step_started, args=(A, "CreateChannel"))
            late.start()
            assert writing.wait(60)
            raise BrokenPipeError
        others = [(tmp_path / f"other-{number}").open("wb") for number in range(30)]
        closed.set()
        late.join()
        for other in others:
            other.close()
    finally:
        threading.setprofile(None)
    assert {found.read_bytes() for found in tmp_path.glob("other-*")} == {b""}
    journal.step_started(A, "CreateChannel")
    assert path(tmp_path).read_text(encoding="utf-8").count('"event":"step"') == 1
    assert journal.trouble == ""


LINES = st.sampled_from(
    [
        '{"run":"a","event":"run","at":"1","account":"1","pid":1,"host":"h"}',
        '{"run":"b","event":"run","at":"2","account":"1","pid":2,"host":"h"}',
        '{"run":"b","event":"run","at":"2"}',
        '{"run":"b","event":"run","at":"2","pid":"x","host":"h"}',
        '{"run":"a","event":"step","address":"channel/a","operation":"CreateChannel"}',
        '{"run":"a","event":"end","at":"3"}',
        '{"run":"b","event":"end","at":"3"}',
        '{"run":"b","event":"en',
        '{"run":"b","event":"run","at',
        '["event":"run"]',
        '["run","event"]',
        "",
    ]
)


@given(st.lists(LINES, max_size=8), st.sampled_from(["", "\n"]))
@example(
    [
        '{"run":"b","event":"run","at":"2","account":"1","pid":2,"host":"h"}',
        '{"run":"a","event":"run","at":"1","account":"1","pid":1,"host":"h"}',
        '{"run":"b","event":"run","at":"2","account":"1","pid":2,"host":"h"}',
        '{"run":"b","event":"end","at":"3"}',
    ],
    "",
)
def test_the_end_found_quickly_is_the_end_found_line_by_line(lines: list[str], last: str) -> None:
    text = "\n".join(lines) + last
    quick, full = _read_ended(text), _read_all(text)
    if quick is not None:
        assert full is not None
        assert (quick.ended, quick.started, quick.account, quick.pid, quick.host) == (
            True,
            full.started,
            full.account,
            full.pid,
            full.host,
        )
        assert full.ended
