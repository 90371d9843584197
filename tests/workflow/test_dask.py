"""A Dask cluster as the executor: what only it has, such as TLS, workers without the repository, and a scheduler that is lost."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler import __version__
from reconciler.errors import UsageError
from reconciler.executors.dask_cluster import DaskCluster, work_at_worker
from reconciler.sandbox import Sandbox
from tests.certificates import make_certificates
from tests.cli.support import client, stack
from tests.workflow.fleets import (
    ALL,
    BROKEN,
    MUTE,
    Cluster,
    account_of,
    ended,
    keys_of,
    named,
    own_cluster,
    run,
    start,
    target,
    until_called,
    write_project,
)
from tests.workflow.work import tasks, worked


def test_a_worker_that_is_killed_loses_no_target(fleet: Path, server: Sandbox, cluster: Cluster) -> None:
    expected = run(fleet, "plan", "--format", "json", *ALL)
    server.control.clear_calls()
    server.control.add_fault(effect="delay", operation="GetCallerIdentity,List*", seconds=1.0, times=None)
    before = cluster.workers()
    process = start(fleet, "plan", "--format", "json", "--executor", cluster.url, *ALL)
    until_called(server, process, "GetCallerIdentity", 2)
    os.kill(before[0], signal.SIGKILL)
    ran = ended(process)
    server.control.clear_faults()
    assert ran.json["targets"] == expected.json["targets"]
    assert [one["name"] for one in ran.json["failed"]] == [BROKEN]
    assert cluster.workers() != before


def test_a_target_that_hangs_is_given_up_and_named(server: Sandbox, cluster: Cluster, tmp_path: Path) -> None:
    # Closed at the end, so that the worker does not wait for it for minutes.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = target(1, f"http://127.0.0.1:{silent.getsockname()[1]}")
        targets = {"a": target(0, server.endpoint_url), MUTE: mute, "b": target(4, server.endpoint_url)}
        write_project(tmp_path, targets, {"channels": {"one": {}}})
        ran = run(tmp_path, "drift", "--format", "json", "--executor", cluster.url, "--target-timeout", "20s")
    assert ran.code == 1
    cluster.until_idle()
    assert [one["name"] for one in ran.json["targets"]] == ["a", "b"]
    assert f"{MUTE}: timed out after 20 s without a result" in ran.err


def test_a_scheduler_that_is_not_there_and_a_sandbox_are_refused(fleet: Path, tmp_path: Path, cluster: Cluster) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        ran = run(fleet, "plan", "--executor", f"dask://127.0.0.1:{port}", *ALL)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"the Dask scheduler at tcp://127.0.0.1:{port} cannot be reached (")
    assert len(ran.err.splitlines()) == 1
    stack(tmp_path, {"channels": {"a": {}}})
    refused = run(tmp_path, "plan", "--executor", cluster.url)
    assert "target dev has a sandbox, which is a file of this machine" in refused.err


def test_a_scheduler_that_is_lost_is_named_by_each_target_without_a_result(
    fleet: Path, tmp_path: Path, server: Sandbox
) -> None:
    with own_cluster(keys_of(fleet), tmp_path) as cluster:
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


def test_a_worker_that_does_not_answer_delays_no_other_and_its_targets_are_named(fleet: Path, cluster: Cluster) -> None:
    names = {"t0", "t1", "t3", "t4"}
    stopped = cluster.workers()[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        ran = run(
            fleet,
            "plan",
            "--format",
            "json",
            "--executor",
            cluster.url,
            "--target-timeout",
            "20s",
            *named(sorted(names)),
        )
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert ran.code == 1
    planned, failed = ({one["name"] for one in ran.json[key]} for key in ("targets", "failed"))
    assert planned
    assert failed
    assert planned | failed == names
    assert all("timed out after 20 s without a result" in one["message"] for one in ran.json["failed"])


SCHEDULER = ("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file")
WORKER = ("worker", "--nthreads", "4", "--no-nanny", "--no-dashboard", "--scheduler-file")


def address_in(file: Path) -> str:
    """Return the address of a scheduler, when it has written it."""
    while not file.exists() or not file.read_text("utf-8").strip():
        time.sleep(0.05)
    return str(json.loads(file.read_text("utf-8"))["address"])


TLS = "DASK_DISTRIBUTED__COMM__TLS__"


def certified(role: str, folder: Path, *, ca: Path | None = None) -> dict[str, str]:
    """Return Dask's settings for the certificates of a folder, as docs/fleets.md has them."""
    return {
        f"{TLS}CA_FILE": str((ca or folder) / "ca.pem"),
        f"{TLS}{role}__CERT": str(folder / "cert.pem"),
        f"{TLS}{role}__KEY": str(folder / "key.pem"),
    }


@contextlib.contextmanager
def dask(folder: Path, *words: str, **env: str) -> Iterator[None]:
    """Run a program of Dask."""
    with (folder / f"{words[0]}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *words], cwd=folder, env={**os.environ, **env}, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_a_cluster_without_workers_or_with_ones_that_lack_the_program_is_named(tmp_path: Path) -> None:
    at, hidden = tmp_path / "scheduler.json", tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "reconciler.py").write_text("raise ModuleNotFoundError('No module named reconciler')\n", "utf-8")
    with dask(tmp_path, *SCHEDULER, str(at)):
        address = address_in(at)
        impatient, patient = DaskCluster(address, patience=1.0), DaskCluster(address)
        with pytest.raises(
            UsageError, match=f"cluster at {address} has no workers; start one with dask worker {address}"
        ):
            impatient.run(worked, tasks("a"))
        with dask(tmp_path, *WORKER, str(at), PYTHONPATH=str(hidden)):
            found = patient.run(worked, tasks("a", "b"))
        lacking = "the Dask worker cannot load ivs-reconciler (No module named reconciler); install version "
        assert [str(one).partition(__version__)[0] for one in found] == [lacking] * 2
        with dask(tmp_path, *WORKER, str(at), PYTHONPATH=str(Path(__file__).parents[2])):
            assert patient.run(worked, tasks("a")) == ["a done"]
            found = impatient.run(worked, tasks("dies", "b"))
    assert str(found[0]) == (
        f"the Dask cluster at {address} has no workers any more; see their logs, start some, and run again"
    )


def test_a_worker_of_another_version_is_named() -> None:
    outcome, _ = pickle.loads(work_at_worker("0.0.1", "key", b""))
    assert (
        str(outcome) == f"the Dask worker has ivs-reconciler {__version__}, and this is 0.0.1; install the same version"
    )


def test_over_tls_a_plan_is_the_same_and_a_missing_certificate_is_named(fleet: Path, tmp_path: Path) -> None:
    """One scheduler and one worker, with the certificates of an authority of their own."""
    ours, theirs, at = tmp_path / "ours", tmp_path / "theirs", tmp_path / "scheduler.json"
    for folder in (ours, theirs):
        make_certificates(folder)
    own = certified("CLIENT", ours)
    with (
        dask(tmp_path, *SCHEDULER, str(at), "--protocol", "tls", **certified("SCHEDULER", ours)),
        dask(tmp_path, *WORKER, str(at), **certified("WORKER", ours), **keys_of(fleet)),
    ):
        address = address_in(at)
        url = f"dask+{address}"
        assert url.startswith("dask+tls://127.0.0.1:")
        planned = run(fleet, "plan", "--format", "json", "--executor", url, *ALL, **own)
        refused = [
            run(fleet, "plan", "--executor", where, *ALL, **settings)
            for where, settings in (
                (url, {}),
                (url, certified("CLIENT", theirs)),
                (url, certified("CLIENT", theirs, ca=ours)),
                (url.replace("+tls", ""), own),
            )
        ]
    expected = run(fleet, "plan", "--format", "json", *ALL)
    assert planned.json["targets"] == expected.json["targets"]
    cannot = f"the Dask scheduler at {address} cannot be reached"
    assert [(ran.code, ran.out, len(ran.err.splitlines())) for ran in refused] == [(1, "", 1)] * 4
    assert refused[0].err == (
        f"{cannot}: no TLS certificate is configured here; "
        f"set {TLS}CA_FILE, {TLS}CLIENT__CERT and {TLS}CLIENT__KEY to its files\n"
    )
    assert refused[1].err.startswith(f"{cannot} (certificate verify failed: ")
    assert refused[2].err.startswith(f"{cannot} (")
    assert refused[3].err.startswith(f"{cannot.replace('tls:', 'tcp:')} (")
    assert all(ran.err.endswith("); check that it runs there, and its TLS settings\n") for ran in refused[1:])


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def test_drift_distinguishes_missing_from_pending_by_the_repository_of_this_machine(
    empty: Path, server: Sandbox, cluster: Cluster
) -> None:
    (empty / ".gitignore").write_text("/.ivs-reconciler/\n/credentials\n/*.lock\n", "utf-8")
    git(empty, "init", "-q")
    git(empty, "add", ".")
    git(empty, "commit", "-qm", "one")
    assert run(empty, "apply", "--auto-approve").code == 0
    for record in (empty / ".ivs-reconciler").iterdir():
        record.unlink()
    spec = (empty / "specs" / "live.yaml").read_text("utf-8")
    (empty / "specs" / "live.yaml").write_text(spec.replace("channels:\n", "channels:\n  new: {}\n"), "utf-8")
    git(empty, "commit", "-qam", "two")
    where = ("--executor", cluster.url)
    pending = run(empty, "drift", *where)
    assert pending.code == 5, pending.out
    assert pending.out == run(empty, "drift").out
    outside = client(server.endpoint_url, account=account_of(empty, "a"))
    outside.delete_channel(arn=outside.list_channels(filterByName="c3")["channels"][0]["arn"])
    found = run(empty, "drift", "--format", "json", *where)
    assert found.code == 2
    assert found.json == run(empty, "drift", "--format", "json").json
    statuses = [
        (one["name"], {each["address"]: each["status"] for each in one["findings"]}) for one in found.json["targets"]
    ]
    new = {"channel/new": "pending"}
    assert statuses == [("a", {"channel/c3": "missing", **new}), ("b", new), ("c", new)]
