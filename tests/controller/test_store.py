from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from reconciler.controller.state import (
    Inventory,
    ManagedResource,
    Mode,
    Run,
    RunStatus,
    TargetState,
    detail_json,
    members_json,
    read_detail,
    read_inventory,
    read_result,
)
from reconciler.controller.store import DAY, Flags, Store
from reconciler.diff import FieldChange
from reconciler.drift import DriftStatus
from reconciler.drift.report import Finding
from reconciler.errors import UsageError
from reconciler.model.address import Address, KindName
from reconciler.model.resource import UnmanagedResource
from reconciler.plan.plan import ApplyResult, LiveChannel, Outcome, Result, StepOutcome, Verb
from tests.report.makers import a_plan, a_target, results

NOW = 1_767_225_600.0
FINDING = Finding(
    Address(KindName.CHANNEL, "x"),
    DriftStatus.DRIFT,
    "changed",
    "arn:x",
    (FieldChange("/name", "a", None, absent_after=True),),
)


def a_run(
    at: float = NOW, *, target: str = "dev", status: RunStatus = RunStatus.DRIFTED, drift: int = 1, **more: object
) -> Run:
    counts = {DriftStatus.DRIFT: drift}
    return Run(target, Mode.PLAN, "c" * 40, at, status, 1.5, "said", counts=counts, managed=7, **more)  # type: ignore[arg-type]


def add(store: Store, run: Run) -> int:
    return store.add_run(
        TargetState(
            run.target, due=run.started + 600, failures=2, last_success=run.started, commit=run.commit, last_run=run
        ),
        run,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "controller.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[..., Store]]:
    """Opens the store at ``path``; every one is closed at the end."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(closing(Store(path, **options)))


def test_what_is_kept_is_found_again_by_the_next_controller(opened: Callable[..., Store]) -> None:
    store = opened()
    run = a_run(
        findings=(FINDING,),
        live_channels=(LiveChannel(Address(KindName.CHANNEL, "x"), "arn:x", "2026-01-01T00:00:00Z", 7, "HEALTHY"),),
        account_id="123456789012",
        region="us-west-2",
    )
    add(store, run)
    store.close()
    state = opened().states(("dev", "new"))["dev"]
    assert state.last_run is not None
    assert (state.due, state.failures, state.last_success, state.commit) == (NOW + 600, 2, NOW, "c" * 40)
    assert state.last_read == state.last_run
    assert (state.last_run.findings, state.last_run.live_channels, state.last_run.drifted, state.last_run.message) == (
        run.findings,
        run.live_channels,
        1,
        "said",
    )


def test_a_look_that_failed_leaves_what_was_known(opened: Callable[..., Store]) -> None:
    store = opened()
    add(store, a_run(findings=(FINDING,)))
    add(store, a_run(NOW + 60, status=RunStatus.FAILED, drift=0, account_read=False))
    state = store.states(("dev",))["dev"]
    assert state.last_run is not None
    assert state.last_read is not None
    assert (state.last_run.status, state.last_read.status, state.last_read.findings) == (
        RunStatus.FAILED,
        RunStatus.DRIFTED,
        (FINDING,),
    )


def test_plans_are_kept_once_and_go_with_their_last_run(opened: Callable[..., Store]) -> None:
    store = opened(keep_runs=3)
    plan = a_plan(a_target())
    for number in range(6):
        add(store, a_run(NOW + number, plan=plan, plan_id="sha256:one"))
    assert store.plan("dev", "sha256:one") == plan
    assert store.plan("prod", "sha256:one") is None
    for number in range(6, 12):
        add(store, a_run(NOW + number))
    assert store.plan("dev", "sha256:one") is None


def test_old_runs_and_too_many_runs_go_and_the_newest_stays(opened: Callable[..., Store]) -> None:
    store = opened(keep_days=10, keep_runs=5)
    for day in range(9):
        add(store, a_run(NOW + day * DAY))
    assert [run.started for _, run in store.runs("dev")] == [NOW + day * DAY for day in (8, 7, 6, 5, 4)]
    add(store, a_run(NOW + 100 * DAY, target="prod"))
    assert [run.started for _, run in store.runs("dev")] == [NOW + 8 * DAY]
    assert store.states(("dev",))["dev"].last_run is not None


def test_history_gives_the_worst_of_each_span(opened: Callable[..., Store]) -> None:
    store = opened()
    for minute, drift in ((0, 0), (10, 3), (20, 1), (70, 2)):
        add(store, a_run(NOW + minute * 60, drift=drift))
    add(store, a_run(NOW + 130 * 60, drift=9, account_read=False, status=RunStatus.FAILED))
    assert store.history("dev", NOW, NOW + 7200, 2) == [(NOW, 3, 0), (NOW + 3600, 2, 0)]
    # A run that could not read the account says nothing, and the last one before the time holds at its beginning.
    assert store.history("dev", NOW, NOW + 10_800, 3) == [(NOW, 3, 0), (NOW + 3600, 2, 0), (NOW + 7200, None, None)]
    assert store.history("dev", NOW + 1800, NOW + 9000, 2) == [(NOW + 1800, 2, 0), (NOW + 5400, None, None)]
    assert store.history("dev", NOW + 1500, NOW + 1560, 2) == [(NOW + 1500, 1, 0)]
    assert store.history("dev", NOW + 9000, NOW + 10_000, 2) == [(NOW + 9000, None, None)]
    assert store.history("dev", NOW - 9000, NOW, 2) == store.history("other", NOW, NOW + 7200, 2) == []
    assert (store.began("dev"), store.began("other")) == (NOW, None)


def test_people_suspend_and_ask_and_the_controller_does_not_undo_it(opened: Callable[..., Store]) -> None:
    store, beside = opened(), opened()
    add(store, a_run())
    beside.suspend("dev", suspended=True)
    beside.request("dev")
    add(store, a_run(NOW + 1))
    assert store.flags() == {"dev": Flags(suspended=True, requested=True)}
    beside.suspend("dev", suspended=False)
    store.request("dev", requested=False)
    assert beside.flags() == {"dev": Flags()}


def test_notes_are_written_over(opened: Callable[..., Store]) -> None:
    store = opened()
    assert store.note("x") == ""
    store.write_note("x", "1")
    store.write_note("x", "2")
    assert store.note("x") == "2"


def test_a_file_of_another_format_or_none_at_all_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(UsageError, match="has format 99"):
        Store(path)
    other = path.with_name("other.db")
    other.write_text("not a database, but long enough to be looked at " * 20)
    with pytest.raises(UsageError, match="cannot use the state file"):
        Store(other)


@given(results)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_the_end_of_an_apply_is_read_back_as_it_was(result: ApplyResult) -> None:
    again = read_result(members_json(result))
    assert again == result


def test_stored_members_are_by_name_so_that_another_version_reads_them() -> None:
    """An older file may lack a member, and a newer one may have it elsewhere."""
    step = StepOutcome("channel/x#1", "CreateChannel", Result.DONE, calls=1)
    result = ApplyResult("dev", (Outcome(FINDING.address, Verb.CREATE, Result.DONE, steps=(step,)),), calls=1)
    channel = LiveChannel(FINDING.address, "arn:x", "2026-01-01T00:00:00Z", 3)
    inventory = Inventory(
        (ManagedResource(FINDING.address, "arn:x"),), (UnmanagedResource(KindName.CHANNEL, "arn:y", "y", ""),)
    )

    stored = json.loads(members_json(result))
    assert stored["calls"] == 1
    assert stored["outcomes"][0]["address"] == ["channel", "x"]
    assert stored["outcomes"][0]["steps"][0]["operation"] == "CreateChannel"
    del stored["calls"], stored["outcomes"][0]["message"]
    assert read_result(json.dumps(stored)) == result._replace(calls=0)

    detail = json.loads(detail_json(a_run(live_channels=(channel,))))
    assert detail["live_channels"][0]["viewers"] == 3
    assert read_detail(json.dumps(detail)) == ((), (channel,))

    kept = json.loads(members_json(inventory))
    assert kept["managed"][0]["arn"] == "arn:x"
    assert kept["unmanaged"][0]["kind"] == "channel"
    assert read_inventory(json.dumps(kept)) == inventory


def test_a_kill_at_any_moment_leaves_whole_runs(path: Path) -> None:
    script = (
        "import sys; from tests.controller.test_store import *\n"
        "store = Store(Path(sys.argv[1]))\n"
        "print('ready', flush=True)\n"
        "for number in range(100_000): add(store, a_run(NOW + number, plan=a_plan(a_target()), plan_id=f'sha256:{number}'))\n"
    )
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[2]
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        # Killed once it is writing; nobody waits for its lock, which it hardly ever lets go of.
        reader = Store(path)
        seen = len(reader.runs("dev", 10_000))
        while process.poll() is None and len(reader.runs("dev", 10_000)) == seen:
            time.sleep(0.01)
        reader.close()
        process.kill()
        process.wait()
        process.stdout.close()
        store = Store(path)
        state = store.states(("dev",))["dev"]
        for _, run in store.runs("dev", 10):
            assert store.plan("dev", run.plan_id) is not None
        assert state.last_run is None or state.due == state.last_run.started + 600
        store.close()


def test_only_the_newest_plans_and_ends_of_applies_are_kept_in_full(opened: Callable[..., Store]) -> None:
    store = opened()
    for number in range(60):
        add(
            store,
            a_run(NOW + number, plan=a_plan(a_target()), plan_id=f"sha256:{number}", result=ApplyResult("dev", ())),
        )
    kept = [store.plan("dev", f"sha256:{number}") is not None for number in range(60)]
    assert kept == [False] * 10 + [True] * 50
    ends = [store.run("dev", number) for number, _ in store.runs("dev", 100)]
    assert [found is not None and found[1] is not None for found in ends] == [True] * 50 + [False] * 10


def test_a_file_of_this_format_without_inventories_is_used(tmp_path: Path) -> None:
    path = tmp_path / "controller.db"
    with closing(Store(path)) as store:
        store.suspend("dev", suspended=True)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE inventories")
        db.commit()
    with closing(Store(path)) as store:
        assert store.flags() == {"dev": Flags(suspended=True)}
        assert store.inventory("dev") is None
