"""A fleet of accounts on one embedded server, commands on it as processes, and a local Dask cluster."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from reconciler.executors.dask_cluster import DaskCluster
from reconciler.sandbox import Sandbox
from tests.cli.support import REGION, Ran
from tests.cli.support import run as run_here
from tests.preloaded import Process

ACCOUNTS = 100
COUNT = 6
BROKEN, EMPTY, MUTE = "t2", "t3", "mute"


def named(names: Sequence[str]) -> list[str]:
    return [word for name in names for word in ("-t", name)]


ALL = named([f"t{n}" for n in range(COUNT)])


def account(number: int) -> str:
    return f"{200_000_000_000 + number}"


def target(number: int, url: str, **more: object) -> dict[str, object]:
    """Return one target of a project file: the account with this number."""
    return {"region": REGION, "accountId": account(number), "profile": f"p{number}", "endpointUrl": url, **more}


def write_project(folder: Path, targets: Mapping[str, object], spec: Mapping[str, object]) -> None:
    """Write a project with these targets and this spec, and the credentials of all accounts but one."""
    project = yaml.safe_dump({"stack": "acme", "targets": dict(targets)}, sort_keys=False)
    (folder / "ivs-reconciler.yaml").write_text(project, "utf-8")
    (folder / "specs").mkdir()
    (folder / "specs" / "live.yaml").write_text(yaml.safe_dump(dict(spec)), "utf-8")
    keys = (
        f"[p{n}]\naws_access_key_id = {account(n)}\naws_secret_access_key = any\n"
        for n in range(ACCOUNTS)
        if f"t{n}" != BROKEN
    )
    (folder / "credentials").write_text("".join(keys), "utf-8")


def account_of(folder: Path, name: str) -> str:
    """Return the account of a target of a project file."""
    return str(yaml.safe_load((folder / "ivs-reconciler.yaml").read_text("utf-8"))["targets"][name]["accountId"])


def keys_of(folder: Path) -> dict[str, str]:
    return {"AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"), "AWS_CONFIG_FILE": os.devnull}


def start(folder: Path, *words: str, **env: str) -> subprocess.Popen[str]:
    return Process(
        words,
        cwd=folder,
        env={**os.environ, **keys_of(folder), **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> Ran:
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in out + err, err
    return Ran(process.returncode, out, err)


def run(folder: Path, *words: str, **env: str) -> Ran:
    """Run a command; one that connects to a Dask cluster as a process, because that leaves threads and settings behind."""
    if any(word.startswith("dask") for word in words):
        return ended(start(folder, *words, **env))
    return run_here(folder, *words, env={**keys_of(folder), **env})


def until_called(
    server: Sandbox, process: subprocess.Popen[str], operation: str, count: int, account: str = ""
) -> None:
    """Wait until an operation was called so often; a process that ends before that fails the test."""
    while calls(server, operation, account) < count:
        assert process.poll() is None, ended(process)
        time.sleep(0.02)


def calls(server: Sandbox, operation: str, account: str = "") -> int:
    """Return how often an operation was called."""
    return len(server.control.calls(operation=operation, account=account, limit=1000))


def workers_of(pid: int) -> list[int]:
    """Return the worker processes of a process."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


_DASK = "DASK_DISTRIBUTED__"
QUIET = {
    f"{_DASK}WORKER__PROFILE__ENABLED": "False",
    f"{_DASK}WORKER__MEMORY__MONITOR_INTERVAL": "5s",
    f"{_DASK}ADMIN__TICK__INTERVAL": "1s",
    f"{_DASK}ADMIN__SYSTEM_MONITOR__INTERVAL": "10s",
}
"""Dask's settings with which it measures itself less: an idle cluster takes 13 ms of CPU time a second in place of 100."""

CLUSTER = """
import sys, time
from distributed import Client, LocalCluster

def working(dask_worker):
    return len(dask_worker.state.executing)

def pids():
    return [worker.pid for worker in cluster.workers.values()]

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None, protocol="tcp://") as cluster:
        print(cluster.scheduler_address.replace("tcp", "dask"), flush=True)
        for line in sys.stdin:
            with Client(cluster, set_as_default=False) as client:
                # A worker that was killed takes a while to begin again.
                while not all(pids()) or len(client.nthreads()) < 2:
                    time.sleep(0.05)
                while line.strip() == "idle" and any(client.run(working, on_error="ignore").values()):
                    time.sleep(0.05)
            print(*pids(), flush=True)
"""


class Cluster:
    """A local Dask cluster of two worker processes, in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self.url = process.stdout.readline().strip()

    @property
    def executor(self) -> DaskCluster:
        return DaskCluster(self.url.replace("dask", "tcp"))

    def kill(self) -> None:
        """Kill the scheduler; its workers end by themselves."""
        self._process.kill()

    def workers(self) -> list[int]:
        """Return the process ids of the workers, once all of them run."""
        return self._ask("workers")

    def until_idle(self) -> None:
        """Wait until no worker works on a task, one that was cancelled included."""
        self._ask("idle")

    def _ask(self, question: str) -> list[int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        return [int(one) for one in self._process.stdout.readline().split()]


@contextlib.contextmanager
def own_cluster(keys: Mapping[str, str], folder: Path) -> Iterator[Cluster]:
    """Run a cluster whose workers have these credentials, and can import the tests."""
    (folder / "cluster.py").write_text(CLUSTER, "utf-8")
    with subprocess.Popen(
        [sys.executable, "cluster.py"],
        cwd=folder,
        env={**os.environ, **QUIET, **keys, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield Cluster(process)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
