"""Work on targets in threads and in processes: the same results, and what happens to a worker that dies, hangs or is to stop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from reconciler.errors import AdoptionError, AwsError, Problem
from reconciler.executors.executor import Control, Task, Threads
from reconciler.executors.processes import Processes
from reconciler.model.resource import DesiredState
from reconciler.model.target import Guardrails, Project, Target
from reconciler.plan.plan import PlanOptions
from reconciler.sandbox import Sandbox
from tests.cli.support import REGION, Ran, stack

COUNT = 6
BROKEN, EMPTY, MUTE = "t2", "t3", "mute"


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, server: Sandbox) -> Iterator[Path]:
    """A project of six accounts, one of them without credentials and one without resources, and a target that never answers."""
    folder = tmp_path_factory.mktemp("fleet")
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        targets: dict[str, dict[str, str]] = {
            f"t{n}": {
                "region": REGION,
                "accountId": f"{200_000_000_000 + n}",
                "profile": f"p{n}",
                "endpointUrl": server.endpoint_url,
            }
            for n in range(COUNT)
        }
        mute = f"http://127.0.0.1:{silent.getsockname()[1]}"
        targets[MUTE] = {"region": REGION, "accountId": "299999999999", "profile": "p0", "endpointUrl": mute}
        project = {"stack": "acme", "targets": targets}
        (folder / "ivs-reconciler.yaml").write_text(yaml.safe_dump(project, sort_keys=False), "utf-8")
        (folder / "specs").mkdir()
        (folder / "specs" / "live.yaml").write_text("channels: {one: {}, two: {latencyMode: NORMAL}}\n", "utf-8")
        keys = "\n".join(
            f"[p{n}]\naws_access_key_id = {200_000_000_000 + n}\naws_secret_access_key = any"
            for n in range(40)
            if f"t{n}" != BROKEN
        )
        (folder / "credentials").write_text(keys, "utf-8")
        changed = [name for name in targets if name not in (BROKEN, EMPTY, MUTE)]
        assert run(folder, "apply", "--auto-approve", *named(changed)).code == 0
        spec = "channels: {one: {type: BASIC}, three: {}}\nrecordingConfigurations: {r: {destinationConfiguration: {s3: {bucketName: acme-vod}}}}\n"
        (folder / "specs" / "live.yaml").write_text(spec, "utf-8")
        yield folder


def named(names: list[str]) -> list[str]:
    return [word for name in names for word in ("-t", name)]


CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None, protocol="tcp://") as cluster:
        print(cluster.scheduler_address.replace("tcp", "dask"), flush=True)
        for _ in sys.stdin:
            print(*(worker.process.pid for worker in cluster.workers.values()), flush=True)
"""


class Cluster:
    """A local Dask cluster of two worker processes, in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self.url = process.stdout.readline().strip()

    def kill(self) -> None:
        """Kill the scheduler; its workers end by themselves."""
        self._process.kill()

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return [int(one) for one in self._process.stdout.readline().split()]


@pytest.fixture(scope="module")
def cluster(fleet: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with own_cluster(fleet, tmp_path_factory.mktemp("dask")) as made:
        yield made


@contextlib.contextmanager
def own_cluster(fleet: Path, folder: Path) -> Iterator[Cluster]:
    (folder / "cluster.py").write_text(CLUSTER, "utf-8")
    with subprocess.Popen(
        [sys.executable, "cluster.py"],
        cwd=folder,
        env={**os.environ, "AWS_SHARED_CREDENTIALS_FILE": str(fleet / "credentials"), "AWS_CONFIG_FILE": os.devnull},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield Cluster(process)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


ALL = named([f"t{n}" for n in range(COUNT)])


def start(folder: Path, *words: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "reconciler", *words],
        cwd=folder,
        env={
            **os.environ,
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
            "AWS_CONFIG_FILE": os.devnull,
            **env,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> Ran:
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in out + err, err
    return Ran(process.returncode, out, err)


def run(folder: Path, *words: str) -> Ran:
    return ended(start(folder, *words))


def until_called(server: Sandbox, process: subprocess.Popen[str], operation: str, count: int) -> None:
    """Wait until an operation was called so often; a process that ends before that fails the test."""
    while len(server.control.calls(operation=operation)) < count:
        assert process.poll() is None, ended(process)
        time.sleep(0.02)


def workers_of(pid: int) -> list[int]:
    """Return the worker processes of a process."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def targets_in(ran: Ran) -> object:
    return [ran.json["targets"], ran.json.get("failed")]


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "--format", "json"),
        ("plan", "--format", "json", "--prune", "--only", "channel/*", "--adopt"),
        ("drift", "--format", "json", "--ignore", "channel/one:/type"),
    ],
    ids=" ".join,
)
def test_threads_processes_and_dask_give_the_same_bytes(fleet: Path, cluster: Cluster, words: tuple[str, ...]) -> None:
    said = [run(fleet, *words, "--executor", where, *ALL) for where in ("threads", "processes:2", cluster.url)]
    assert {ran.code for ran in said} == {1}, said[0].err
    assert len({json.dumps(targets_in(ran)) for ran in said}) == 1
    assert len({ran.err for ran in said}) == 1
    assert [one["name"] for one in said[0].json["targets"]] == ["t0", "t1", "t3", "t4", "t5"]


def test_a_worker_that_is_killed_loses_no_target(fleet: Path, server: Sandbox) -> None:
    expected = run(fleet, "plan", "--format", "json", *ALL)
    server.control.clear_calls()
    server.control.add_fault(effect="delay", operation="GetCallerIdentity", seconds=1.0, times=2 * COUNT)
    process = start(fleet, "plan", "--format", "json", "--executor", "processes:2", *ALL)
    until_called(server, process, "GetCallerIdentity", 2)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    ran = ended(process)
    server.control.clear_faults()
    assert targets_in(ran) == targets_in(expected)


def test_a_target_that_hangs_is_given_up_and_named(fleet: Path) -> None:
    where = ("--executor", "processes:2", "--target-timeout", "6s")
    ran = run(fleet, "plan", "--format", "json", *where, *named(["t0", "t1", MUTE, "t4"]))
    assert ran.code == 1
    assert [one["name"] for one in ran.json["targets"]] == ["t0", "t1", "t4"]
    assert (
        ran.err
        == f"{MUTE}: given up after 6 s without a result; raise --target-timeout if it needs more (TargetTimeout)\n"
    )


def test_a_dask_worker_that_is_killed_loses_no_target(fleet: Path, server: Sandbox, cluster: Cluster) -> None:
    expected = run(fleet, "plan", "--format", "json", *ALL)
    server.control.clear_calls()
    server.control.add_fault(effect="delay", operation="GetCallerIdentity", seconds=1.0, times=2 * COUNT)
    process = start(fleet, "plan", "--format", "json", "--executor", cluster.url, *ALL)
    before = cluster.workers()
    until_called(server, process, "GetCallerIdentity", 2)
    os.kill(before[0], signal.SIGKILL)
    ran = ended(process)
    server.control.clear_faults()
    assert targets_in(ran) == targets_in(expected)
    assert cluster.workers() != before


def test_a_target_that_hangs_at_a_dask_worker_is_given_up_and_named(fleet: Path, cluster: Cluster) -> None:
    where = ("--executor", cluster.url, "--target-timeout", "6s")
    ran = run(fleet, "drift", "--format", "json", *where, *named(["t0", "t1", MUTE, "t4"]))
    assert ran.code == 1
    assert [one["name"] for one in ran.json["targets"]] == ["t0", "t1", "t4"]
    assert f"{MUTE}: given up after 6 s without a result" in ran.err


def test_a_scheduler_that_is_not_there_and_a_sandbox_are_refused(fleet: Path, tmp_path: Path, cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    ran = run(fleet, "plan", "--executor", f"dask://127.0.0.1:{port}", *ALL)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"the Dask scheduler at tcp://127.0.0.1:{port} cannot be reached (")
    assert len(ran.err.splitlines()) == 1
    stack(tmp_path, {"channels": {"a": {}}})
    refused = start(tmp_path, "plan", "--executor", cluster.url)
    assert "target dev has a sandbox, which is a file of this machine" in ended(refused).err


@pytest.fixture
def empty(fleet: Path, server: Sandbox, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A project of three accounts without resources, ten channels and a reference each."""
    first = request.param
    targets = {
        f"a{n}": {
            "region": REGION,
            "accountId": f"{200_000_000_000 + n}",
            "profile": f"p{n}",
            "endpointUrl": server.endpoint_url,
        }
        for n in range(first, first + 3)
    }
    (tmp_path / "ivs-reconciler.yaml").write_text(yaml.safe_dump({"stack": "acme", "targets": targets}), "utf-8")
    (tmp_path / "specs").mkdir()
    channels = {f"c{n}": {"recordingConfiguration": "r"} for n in range(10)}
    recording = {"r": {"destinationConfiguration": {"s3": {"bucketName": "acme-vod"}}}}
    spec = yaml.safe_dump({"channels": channels, "recordingConfigurations": recording})
    (tmp_path / "specs" / "live.yaml").write_text(spec, "utf-8")
    (tmp_path / "credentials").write_text((fleet / "credentials").read_text("utf-8"), "utf-8")
    return tmp_path


def where_to_run(name: str, cluster: Cluster) -> tuple[str, ...]:
    return ("--executor", cluster.url if name == "dask" else name)


@pytest.mark.parametrize(("empty", "where"), [(10, "processes:2"), (13, "dask")], indirect=["empty"])
def test_an_apply_elsewhere_ends_in_sync_and_leaves_its_record_here(empty: Path, where: str, cluster: Cluster) -> None:
    there = where_to_run(where, cluster)
    ran = run(empty, "apply", "--auto-approve", "--format", "json", *there, "-t", "a10" if where != "dask" else "a13")
    assert ran.code == 0, ran.err
    last = json.loads(ran.out.splitlines()[-1])
    (outputs,) = last["outputs"]["targets"]
    assert len(outputs["resources"]) == 11
    assert run(empty, "plan", "--out", "plan.json", *there).code == 0
    assert run(empty, "apply", "plan.json", *there).code == 3, "not approved"
    saved = run(empty, "apply", "plan.json", "--auto-approve", *there)
    assert saved.code == 0, saved.err
    assert saved.out.count("  done  create channel/c") == 20
    assert run(empty, "apply", "plan.json", "--auto-approve", *there).code == 3, "it was applied"
    assert run(empty, "plan", "--detailed-exitcode", *there).code == 0
    folder = empty / ".ivs-reconciler"
    assert len(list(folder.glob("applied-a*.json"))) == 3
    assert all('"event":"end"' in one.read_text("utf-8") for one in folder.glob("journal-a*.jsonl"))
    (channel,) = [one for one in (folder / "applied-a10.json", folder / "applied-a13.json") if one.exists()]
    assert '"channel/c9"' in channel.read_text("utf-8")
    (empty / "specs" / "live.yaml").write_text("channels: {c0: {}}\n", "utf-8")
    refused = run(empty, "apply", "--auto-approve", "--prune", *there)
    assert refused.code == 3
    assert "prune" in refused.err or "delete" in refused.err


@pytest.mark.parametrize(("empty", "where"), [(20, "processes:2"), (23, "dask")], indirect=["empty"])
def test_a_worker_that_is_killed_in_an_apply_doubles_and_loses_nothing(
    empty: Path, where: str, cluster: Cluster, server: Sandbox
) -> None:
    server.control.clear_calls()
    server.control.add_fault(effect="delay", operation="CreateChannel", seconds=0.3, times=None)
    process = start(empty, "apply", "--auto-approve", *where_to_run(where, cluster))
    until_called(server, process, "CreateChannel", 6)
    os.kill((cluster.workers() if where == "dask" else workers_of(process.pid))[0], signal.SIGKILL)
    ran = ended(process)
    server.control.clear_faults()
    assert ran.code == 0, ran.out + ran.err
    assert run(empty, "plan", "--detailed-exitcode").code == 0
    created = server.control.calls(operation="CreateChannel", limit=1000)
    assert len({(call["account"], call["parameters"]["name"]) for call in created}) == 30
    assert where == "dask" or ": done before" in ran.out, "it was killed in the middle"
    drift = run(empty, "drift", "--format", "json")
    assert drift.code == 0, drift.out
    assert "duplicate" not in drift.out.replace('"duplicate": 0', "")


@pytest.mark.parametrize(("empty", "number"), [(30, signal.SIGINT), (33, signal.SIGKILL)], indirect=["empty"])
def test_workers_stop_with_the_process_that_asked(empty: Path, number: int, server: Sandbox) -> None:
    server.control.clear_calls()
    server.control.add_fault(effect="delay", operation="CreateChannel", seconds=0.5, times=None)
    process = start(empty, "apply", "--auto-approve", "--executor", "processes:2")
    until_called(server, process, "CreateChannel", 3)
    workers = workers_of(process.pid)
    process.send_signal(number)
    ran = ended(process)
    server.control.clear_faults()
    assert ran.code == (4 if number == signal.SIGINT else -signal.SIGKILL), ran.err
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        time.sleep(0.02)
    created = len(server.control.calls(operation="CreateChannel", limit=1000))
    assert 3 <= created < 30
    again = run(empty, "apply", "--auto-approve", "--executor", "processes:2")
    assert again.code == 0, again.err
    assert len(server.control.calls(operation="CreateChannel", limit=1000)) == 30, "none twice"
    assert run(empty, "plan", "--detailed-exitcode").code == 0


def test_the_environment_names_an_executor(fleet: Path) -> None:
    for value, said in (
        ("spawn", "IVS_RECONCILER_EXECUTOR: 'spawn' is not threads"),
        ("threads", "--target-timeout needs"),
    ):
        ran = ended(start(fleet, "plan", "--target-timeout", "5s", IVS_RECONCILER_EXECUTOR=value))
        assert (ran.code, ran.out) == (1, "")
        assert said in ran.err


def test_a_scheduler_that_is_lost_is_named_by_each_target_without_a_result(
    fleet: Path, tmp_path: Path, server: Sandbox
) -> None:
    with own_cluster(fleet, tmp_path) as cluster:
        workers = cluster.workers()
        server.control.clear_calls()
        process = start(fleet, "plan", "--format", "json", "--executor", cluster.url, *named(["t0", MUTE]))
        until_called(server, process, "GetCallerIdentity", 1)
        cluster.kill()
        ran = ended(process)
    for pid in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert ran.code == 1
    assert f"{MUTE}: the connection to the Dask scheduler at {cluster.url.replace('dask', 'tcp')} was lost" in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--executor", "fork"),
            "argument --executor: 'fork' is not threads, processes, processes:N or dask://HOST:PORT",
        ),
        (("--executor", "processes:0"), "'processes:0' is not"),
        (("--executor", "threads", "--target-timeout", "5s"), "--target-timeout needs --executor processes"),
    ],
)
def test_what_executor_cannot_be(fleet: Path, words: tuple[str, ...], said: str) -> None:
    ran = run(fleet, "plan", *words)
    assert ran.code == 1
    assert said in ran.err


def tasks(*names: str) -> list[Task]:
    targets = [Target(name, REGION, account_id=str(number)) for number, name in enumerate(names)]
    return [
        Task(
            Project("p", "/", "s", (), {}, {}, (), {target.name: target}, Guardrails()),
            target,
            DesiredState("s", {}, ""),
            PlanOptions(),
        )
        for target in targets
    ]


def worked(task: Task, control: Control) -> str:
    """Work that depends on the name of its target."""
    match task.target.name:
        case "fails":
            raise AwsError("no", code="Denied", request_id="r1")
        case "unadoptable":
            raise AdoptionError((Problem("file", "channel/a", "is taken"),))
        case "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        case "waits":
            assert control.stop.wait(60)
            return "stopped"
        case "overflows":
            raise OSError(24, "too many open files")
        case "mistaken":
            raise ZeroDivisionError("a mistake")
    return f"{task.target.name} done"


def test_an_error_is_the_result_of_its_target_only() -> None:
    of_threads, of_processes = (
        one.run(worked, tasks("a", "fails", "overflows", "b")) for one in (Threads(), Processes(2))
    )
    for found in (of_threads, of_processes):
        assert [found[0], found[3]] == ["a done", "b done"]
        assert isinstance(found[1], AwsError)
        assert (str(found[1]), found[1].code, found[1].request_id) == ("no", "Denied", "r1")
        assert isinstance(found[2], AwsError)
        assert "ulimit -n" in str(found[2])


def test_a_worker_that_dies_again_and_again_ends_as_an_error_of_its_target() -> None:
    found = Processes(1, at_once=1).run(worked, tasks("a", "dies", "b"))
    assert [found[0], found[2]] == ["a done", "b done"]
    assert str(found[1]).startswith(
        "the worker process died 3 times while it worked on this target (ended by signal 9 (SIGKILL))"
    )


@pytest.mark.parametrize(("name", "error"), [("unadoptable", AdoptionError), ("mistaken", ZeroDivisionError)])
def test_other_exceptions_are_raised_as_they_were(name: str, error: type[Exception]) -> None:
    for executor in (Threads(), Processes(2)):
        with pytest.raises(error) as raised:
            executor.run(worked, tasks("a", name))
        assert str(raised.value) == ("file: channel/a: is taken" if name == "unadoptable" else "a mistake")


def test_a_request_to_stop_reaches_the_work() -> None:
    for executor in (Threads(), Processes(2)):
        stop = threading.Event()
        threading.Timer(0.3, stop.set).start()
        assert executor.run(worked, tasks("a", "waits"), stops={"waits": stop}) == ["a done", "stopped"]


def test_who_waits_for_a_target_that_hangs_is_given_up_too() -> None:
    hanging, after = tasks("waits")[0], tasks("b")[0]
    found = Processes(1, timeout=0.5).run(worked, [hanging, after, *tasks("x", "y")[1:]])
    assert [str(one).partition(" ")[0] for one in found] == ["given", "not", "y"]


def test_one_account_and_region_is_worked_on_by_one_task_at_a_time(tmp_path: Path) -> None:
    twice = [*tasks("a"), *tasks("b")]
    assert twice[0].place == twice[1].place
    assert Processes(2).run(worked, twice) == ["a done", "b done"]
    assert Threads().run(worked, twice) == ["a done", "b done"]
