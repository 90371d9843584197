"""Work on targets by every executor: the same results, and what happens to a worker or a coordinator that dies, hangs or is to stop."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.errors import AdoptionError, AwsError
from reconciler.executors import Threads
from reconciler.executors.dask_cluster import DaskCluster
from reconciler.executors.fleet import ApplyElsewhere, read_all, tasks_of
from reconciler.executors.processes import Processes
from reconciler.model.target import Target
from reconciler.plan.plan import PlanOptions, Result
from reconciler.sandbox import Sandbox
from reconciler.spec.desired import load_desired_states
from reconciler.spec.project import load_project
from reconciler.workflow.locks import FileLockBackend, LockClock, lock_targets, new_holder
from reconciler.workflow.run import Silent, apply_plans
from reconciler.workflow.survey import map_targets, survey_targets
from tests.cli.support import Ran
from tests.workflow.fleets import (
    ALL,
    MUTE,
    Cluster,
    account_of,
    calls,
    ended,
    keys_of,
    named,
    run,
    start,
    until_called,
    workers_of,
)
from tests.workflow.work import DiesWhenStopped, Slow, Together, tasks, worked


def targets_in(*shards: Ran) -> dict[str, str]:
    """Return what reports say of each target, in the project's order."""
    found = {
        one["name"]: json.dumps(one) for ran in shards for one in (*ran.json["targets"], *ran.json.get("failed", ()))
    }
    return dict(sorted(found.items()))


AT_WORKER = " (at the Dask worker)"


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "--format", "json"),
        ("plan", "--format", "json", "--prune", "--only", "channel/*", "--adopt"),
        ("drift", "--format", "json", "--ignore", "channel/one:/type"),
    ],
    ids=" ".join,
)
def test_threads_processes_shards_and_dask_give_the_same_bytes(
    fleet: Path, cluster: Cluster, words: tuple[str, ...]
) -> None:
    whole = [run(fleet, *words, "--executor", where, *ALL) for where in ("threads", "processes:2", cluster.url)]
    assert {ran.code for ran in whole} == {1}, whole[0].err
    assert len({ran.err.replace(AT_WORKER, "") for ran in whole}) == 1
    assert [AT_WORKER in ran.err for ran in whole] == [False, False, True], "whose configuration lacks a profile"
    assert [one["name"] for one in whole[0].json["targets"]] == ["t0", "t1", "t3", "t4", "t5"]
    shards = [run(fleet, *words, "--shard", f"{number}/2", *ALL) for number in (1, 2)]
    assert all(targets_in(one) for one in shards)
    expected = targets_in(whole[0])
    assert list(expected) == [f"t{n}" for n in range(6)]
    assert targets_in(whole[1]) == expected
    assert {name: text.replace(AT_WORKER, "") for name, text in targets_in(whole[2]).items()} == expected
    assert targets_in(*shards) == expected
    assert sum(len(targets_in(one)) for one in shards) == 6, "each in one shard"


def test_a_worker_that_is_killed_loses_no_target(fleet: Path, server: Sandbox) -> None:
    expected = run(fleet, "plan", "--format", "json", *ALL)
    server.control.clear_calls()
    server.control.add_fault(effect="delay", operation="GetCallerIdentity,List*", seconds=1.0, times=None)
    process = start(fleet, "plan", "--format", "json", "--executor", "processes:2", *ALL)
    until_called(server, process, "GetCallerIdentity", 2)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    ran = ended(process)
    server.control.clear_faults()
    assert targets_in(ran) == targets_in(expected)


def test_a_target_that_hangs_is_given_up_and_named(fleet: Path) -> None:
    where = ("--executor", "processes:2", "--target-timeout", "20s")
    ran = run(fleet, "plan", "--format", "json", *where, *named(["t0", "t1", MUTE, "t4"]))
    assert ran.code == 1
    assert [one["name"] for one in ran.json["targets"]] == ["t0", "t1", "t4"]
    assert (
        ran.err
        == f"{MUTE}: timed out after 20 s without a result; raise --target-timeout if it needs more (TargetTimeout)\n"
    )


def there(where: str, cluster: Cluster) -> tuple[str, ...]:
    """Return the options for a place to work; ``dask`` is the cluster."""
    if where == "shard":
        return ("--shard", "1/1")
    return ("--executor", cluster.url if where == "dask" else where)


def assert_in_sync(folder: Path, server: Sandbox) -> None:
    """Check that every target has what the spec says once, by a run that has another executor."""
    assert run(folder, "plan", "--detailed-exitcode").code == 0
    drift = run(folder, "drift", "--format", "json")
    assert drift.code == 0, drift.out
    assert '"duplicate"' not in drift.out.replace('"duplicate": 0', "")


@pytest.mark.parametrize("where", ["processes:2", "dask"])
def test_an_apply_elsewhere_ends_in_sync_and_leaves_its_record_here(empty: Path, where: str, cluster: Cluster) -> None:
    where_to = there(where, cluster)
    with (empty / "ivs-reconciler.yaml").open("a", encoding="utf-8") as file:
        file.write("outputs: [{file: {path: 'out/{target}.json'}}]\n")
    ran = run(empty, "apply", "--auto-approve", "--format", "json", *where_to, "-t", "a")
    assert ran.code == 0, ran.err
    assert [path.name for path in (empty / "out").iterdir()] == ["a.json"]
    last = json.loads(ran.out.splitlines()[-1])
    (outputs,) = last["outputs"]["targets"]
    assert len(outputs["resources"]) == 11
    assert run(empty, "plan", "--out", "plan.json", *where_to).code == 0
    assert run(empty, "apply", "plan.json", *where_to).code == 3, "not approved"
    saved = run(empty, "apply", "plan.json", "--auto-approve", *where_to)
    assert saved.code == 0, saved.err
    assert saved.out.count("  done  create channel/c") == 20
    assert run(empty, "apply", "plan.json", "--auto-approve", *where_to).code == 3, "it was applied"
    assert run(empty, "plan", "--detailed-exitcode", *where_to).code == 0
    folder = empty / ".ivs-reconciler"
    assert len(list(folder.glob("applied-*.json"))) == 3
    assert all('"event":"end"' in one.read_text("utf-8") for one in folder.glob("journal-*.jsonl"))
    assert '"channel/c9"' in (folder / "applied-a.json").read_text("utf-8")
    (empty / "specs" / "live.yaml").write_text("channels: {c0: {}}\n", "utf-8")
    refused = run(empty, "apply", "--auto-approve", "--prune", *where_to)
    assert refused.code == 3
    assert "prune" in refused.err or "delete" in refused.err


@pytest.mark.parametrize("where", ["processes:2", "dask"])
def test_a_worker_that_is_killed_in_an_apply_duplicates_and_loses_nothing(
    empty: Path, where: str, cluster: Cluster, server: Sandbox
) -> None:
    server.control.add_fault(effect="delay", operation="CreateChannel", seconds=0.3, times=None)
    workers = cluster.workers() if where == "dask" else []
    process = start(empty, "apply", "--auto-approve", *there(where, cluster))
    # The first target is the first worker's.
    until_called(server, process, "CreateChannel", 2, account_of(empty, "a"))
    os.kill((workers or workers_of(process.pid))[0], signal.SIGKILL)
    ran = ended(process)
    server.control.clear_faults()
    assert ran.code == 0, ran.out + ran.err
    created = server.control.calls(operation="CreateChannel", limit=1000)
    assert len({(call["account"], call["parameters"]["name"]) for call in created}) == 30
    assert where == "dask" or ": done before" in ran.out, "it was killed in the middle"
    assert_in_sync(empty, server)


def test_an_apply_that_is_given_up_finishes_its_calls_in_flight(empty: Path, server: Sandbox) -> None:
    (empty / "specs" / "live.yaml").write_text("channels: {c: {forEach: {count: 100}}}\n", "utf-8")
    server.control.add_fault(effect="delay", operation="CreateChannel", seconds=1.5, times=None)
    words = ("--executor", "processes:1", "--target-timeout", "8s", "-t", "a")
    ran = ended(start(empty, "apply", "--auto-approve", *words))
    assert ran.code == 4
    assert "timed out after 8 s" in ran.out
    created = calls(server, "CreateChannel")
    assert created < 100, "five a second"
    journal = [json.loads(line) for line in (empty / ".ivs-reconciler" / "journal-a.jsonl").read_text().splitlines()]
    assert journal[-1]["event"] == "end", "its process was not killed in the middle"
    record = json.loads((empty / ".ivs-reconciler" / "applied-a.json").read_text())
    assert len(record["addresses"]) == created
    server.control.clear_faults()
    assert run(empty, "apply", "--auto-approve", "-t", "a").code == 0
    assert calls(server, "CreateChannel") == 100, "none twice"


def gone(pid: int) -> None:
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.02)


@pytest.mark.parametrize("where", ["processes:2", "dask", "shard"])
def test_a_coordinator_that_is_killed_while_it_plans_leaves_nothing(
    fleet: Path, where: str, cluster: Cluster, server: Sandbox, tmp_path: Path
) -> None:
    targets, out = named(["t0", "t1", "t3", "t4", "t5"]), tmp_path / "plan.json"
    expected = run(fleet, "plan", "--format", "json", *targets)
    server.control.clear_calls()
    server.control.add_fault(effect="delay", operation="GetCallerIdentity,List*", seconds=1.0, times=None)
    before = sorted(fleet.rglob("*"))
    words = ("plan", "--out", str(out), "--format", "json", *there(where, cluster), *targets)
    process = start(fleet, *words)
    until_called(server, process, "GetCallerIdentity", 2)
    workers = workers_of(process.pid)
    process.kill()
    assert ended(process).code == -signal.SIGKILL
    server.control.clear_faults()
    for pid in workers:
        gone(pid)
    cluster.until_idle()
    assert sorted(fleet.rglob("*")) == before
    assert not out.exists()
    again = run(fleet, *words)
    assert again.code == 0, again.err
    assert targets_in(again) == targets_in(expected)
    assert out.exists()


@pytest.mark.parametrize(
    ("where", "how"),
    [
        ("processes:2", "interrupted"),
        ("processes:2", "killed"),
        ("dask", "interrupted"),
        ("dask", "interrupted twice"),
        ("dask", "killed"),
    ],
)
def test_workers_stop_with_the_process_that_asked(
    empty: Path, where: str, how: str, cluster: Cluster, server: Sandbox
) -> None:
    # Longer, so that no call ends between the two.
    seconds = 2.0 if how == "interrupted twice" else 0.5
    server.control.add_fault(effect="delay", operation="CreateChannel", seconds=seconds, times=None)
    # Two at once, so that the third target waits.
    process = start(empty, "apply", "--auto-approve", "--targets-at-once", "2", *there(where, cluster))
    until_called(server, process, "CreateChannel", 3)
    workers = workers_of(process.pid)
    process.send_signal(signal.SIGKILL if how == "killed" else signal.SIGINT)
    if how == "interrupted twice":
        assert process.stderr is not None
        assert any(line.startswith("Interrupted: waiting ") for line in process.stderr)
        process.send_signal(signal.SIGINT)
    ran = ended(process)
    for pid in workers:
        gone(pid)
    cluster.until_idle()
    created = calls(server, "CreateChannel")
    assert 3 <= created < 20, "each target creates ten, some at a time"
    server.control.clear_faults()
    assert ran.code == {"interrupted": 4, "interrupted twice": 130, "killed": -signal.SIGKILL}[how]
    if how == "interrupted":
        assert ran.err.strip() == "Interrupted: waiting for in-flight calls. Press Ctrl-C again to exit now."
        assert ran.out.count("  done  create channel/") == created
        assert "Apply interrupted for c: 0 done, 11 skipped (0 calls, " in ran.out
    again = run(empty, "apply", "--auto-approve", *there(where, cluster))
    assert again.code == 0, again.err
    assert calls(server, "CreateChannel") == 30, "none twice"
    assert_in_sync(empty, server)


OTHER = new_holder("apply", time.time() + 3600)


@pytest.mark.parametrize("where", ["threads", "processes:2", "dask"])
def test_a_lost_lock_stops_the_apply_of_its_target_only(
    empty: Path, where: str, cluster: Cluster, server: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in keys_of(empty).items():
        monkeypatch.setenv(name, value)
    project = load_project(empty)
    targets = tuple(project.targets.values())
    desired = load_desired_states(project, targets)
    lock = FileLockBackend(str(empty / "b.lock"))
    robbed = account_of(empty, "b")
    server.control.add_fault(effect="delay", operation="CreateChannel", seconds=0.5, times=None)
    # The calls after the first ones are in flight when the loss is noticed.
    server.control.add_fault(effect="delay", operation="CreateChannel", account=robbed, skip=3, times=3, seconds=4.0)

    def take_away() -> None:
        while not calls(server, "CreateChannel", robbed):
            time.sleep(0.02)
        lock.force(OTHER)

    said: list[str] = []
    # A second of the lock's clock is a hundredth of one.
    clock = LockClock(wait=lambda over, seconds: over.wait(seconds / 100))
    thief = threading.Thread(target=take_away)
    with ExitStack() as stack:
        lost = stack.enter_context(lock_targets(targets, "apply", notify=said.append, clock=clock))
        thief.start()
        if where == "threads":
            surveys = stack.enter_context(survey_targets(project, targets, PlanOptions(), desired=desired))
            results = apply_plans(surveys, project, Silent(), stop=threading.Event(), lost=lost)
        else:
            executor = cluster.executor if where == "dask" else Processes(2)
            tasks = tasks_of(project, targets, desired, PlanOptions())
            found = read_all(executor, tasks, project, None, {})
            results = ApplyElsewhere(executor, tasks)(found, project, Silent(), stop=threading.Event(), lost=lost)
    thief.join()
    assert said == [
        f"b: the lock file {empty / 'b.lock'} was lost: another run took it; waiting for in-flight calls; no new ones start"
    ]
    assert [(one.name, one.complete, one.interrupted) for one in results] == [
        ("a", True, False),
        ("b", False, True),
        ("c", True, False),
    ]
    done = sum(one.result is Result.DONE and one.address.kind == "channel" for one in results[1].outcomes)
    assert 1 <= done == calls(server, "CreateChannel", robbed) < 10
    assert lock.read()[0] == OTHER, "it is the other's"
    server.control.clear_faults()
    refused = run(empty, "apply", "--auto-approve", "-t", "b")
    assert (refused.code, "b.lock is held by" in refused.err) == (3, True)
    assert run(empty, "unlock", "--force", "-t", "b").code == 0
    assert run(empty, "apply", "--auto-approve", *there(where, cluster)).code == 0
    assert calls(server, "CreateChannel") == 30, "none twice"
    assert_in_sync(empty, server)


def test_the_environment_names_an_executor(fleet: Path) -> None:
    for value, said in (
        ("spawn", "IVS_RECONCILER_EXECUTOR: 'spawn' is not threads"),
        ("threads", "--target-timeout needs"),
    ):
        ran = run(fleet, "plan", "--target-timeout", "5s", IVS_RECONCILER_EXECUTOR=value)
        assert (ran.code, ran.out) == (1, "")
        assert said in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--executor", "fork"),
            "argument --executor: 'fork' is not threads, processes, processes:N, dask://HOST:PORT or dask+tls://HOST:PORT\n",
        ),
        (
            ("--executor", "tcp://10.0.0.5:8786"),
            "for the Dask scheduler at tcp://10.0.0.5:8786, use dask://10.0.0.5:8786\n",
        ),
        (("--executor", "tls://a:1"), "use dask+tls://a:1\n"),
        (("--executor", "processes:0"), "'processes:0' is not"),
        (("--executor", "threads", "--target-timeout", "5s"), "--target-timeout needs --executor processes"),
    ],
)
def test_what_executor_cannot_be(fleet: Path, words: tuple[str, ...], said: str) -> None:
    ran = run(fleet, "plan", *words)
    assert ran.code == 1
    assert said in ran.err


def test_an_error_is_the_result_of_its_target_only(cluster: Cluster) -> None:
    for one in (Threads(), Processes(2), cluster.executor):
        found = one.run(worked, tasks("a", "fails", "overflows", "b"))
        assert [found[0], found[3]] == ["a done", "b done"]
        assert isinstance(found[1], AwsError)
        assert (str(found[1]), found[1].code, found[1].request_id) == ("no", "Denied", "r1")
        assert isinstance(found[2], AwsError)
        assert "ulimit -n" in str(found[2])


def test_a_worker_that_dies_repeatedly_is_an_error_of_its_target(cluster: Cluster) -> None:
    for one, said in (
        (Processes(1), "the worker process died 3 times while it worked on this target (ended by signal 9 (SIGKILL))"),
        (cluster.executor, "the Dask workers of this target died repeatedly; see their logs"),
    ):
        found = replace(one, at_once=1).run(worked, tasks("a", "dies", "b"))
        assert [found[0], found[2]] == ["a done", "b done"]
        assert str(found[1]).startswith(said)


@pytest.mark.parametrize(("name", "error"), [("unadoptable", AdoptionError), ("mistaken", ZeroDivisionError)])
def test_other_exceptions_are_raised_as_they_were(name: str, error: type[Exception], cluster: Cluster) -> None:
    for executor in (Threads(), Processes(2), cluster.executor):
        with pytest.raises(error) as raised:
            executor.run(worked, tasks("a", name))
        assert str(raised.value) == ("file: channel/a: is taken" if name == "unadoptable" else "a mistake")


def test_a_request_to_stop_reaches_the_work(cluster: Cluster) -> None:
    for executor in (Threads(), Processes(2), cluster.executor):
        stop = threading.Event()
        threading.Timer(0.3, stop.set).start()
        assert executor.run(worked, tasks("a", "waits"), stops={"waits": stop}) == ["a done", "stopped"]


def test_a_result_is_returned_before_the_other_tasks_have_ended(cluster: Cluster) -> None:
    for executor in (Processes(2), cluster.executor):
        stop, seen = threading.Event(), list[object]()

        def ended(_index: int, found: object, stop: threading.Event = stop, seen: list[object] = seen) -> None:
            seen.append(found)
            stop.set()

        executor.run(worked, tasks("waits", "b"), stops={"waits": stop}, ended=ended)
        assert seen == ["b done", "stopped"]


def test_results_that_came_while_others_were_reported_are_not_late(tmp_path: Path, cluster: Cluster) -> None:
    cluster.workers()
    executor: Processes | DaskCluster
    for name, executor in (("processes", Processes(1, timeout=8.0)), ("dask", replace(cluster.executor, timeout=8.0))):
        (tmp_path / name).mkdir()
        pauses = [8.0]

        def ended(_index: int, _found: object, pauses: list[float] = pauses) -> None:
            time.sleep(pauses.pop() if pauses else 0.0)

        found = executor.run(Together(tmp_path / name, 3), tasks("a", "b", "c"), ended=ended)
        assert found == ["a done", "b done", "c done"]


def test_who_waits_for_a_target_that_hangs_is_given_up_too() -> None:
    hanging, after = tasks("waits")[0], tasks("b")[0]
    found = Processes(1, timeout=5.0).run(worked, [hanging, after, *tasks("x", "y")[1:]])
    assert [str(one).partition(" ")[0] for one in found] == ["timed", "not", "y"]


@pytest.mark.parametrize(("name", "grace"), [("obedient", 60.0), ("stubborn", 2.0)])
def test_work_that_is_given_up_is_asked_to_stop_and_killed_if_it_does_not(
    tmp_path: Path, name: str, grace: float
) -> None:
    stops = {name: threading.Event()}
    (found,) = Processes(1, timeout=2.0, grace=grace).run(Slow(tmp_path), tasks(name), stops=stops)
    assert str(found).startswith("timed out after")
    assert (tmp_path / "ended").exists() == (name == "obedient")
    gone(int((tmp_path / "pid").read_text()))


def test_work_whose_worker_dies_while_it_stops_is_stopped_at_the_next_worker_too(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert Processes(1).run(DiesWhenStopped(tmp_path), tasks("a"), stops={"a": stop}) == ["stopped"]
    assert (tmp_path / "died").exists()


def test_one_account_and_region_is_worked_on_by_one_task_at_a_time(tmp_path: Path) -> None:
    twice = [*tasks("a"), *tasks("b")]
    assert twice[0].place == twice[1].place
    assert Processes(2).run(worked, twice) == ["a done", "b done"]
    assert Threads().run(worked, twice) == ["a done", "b done"]


class Interrupted(BaseException):
    """Raised by a handler."""


def test_a_signal_that_another_thread_received_ends_the_wait_for_targets() -> None:
    def interrupt(_number: int, _frame: object) -> None:
        raise Interrupted

    def read(target: Target) -> None:
        finish.wait(0.5)  # until the main thread waits
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        finish.wait(30)

    finish, began, before = threading.Event(), time.monotonic(), signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(Interrupted):
            map_targets((Target("prod", "us-west-2"),), read)
        assert time.monotonic() - began < 15
    finally:
        signal.signal(signal.SIGUSR1, before)
        finish.set()
