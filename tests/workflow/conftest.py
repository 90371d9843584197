"""Shared by the tests of executors: a fleet that no test changes, accounts for those that do, and one Dask cluster."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from reconciler.sandbox import Sandbox
from tests.workflow.fleets import (
    ACCOUNTS,
    BROKEN,
    COUNT,
    EMPTY,
    MUTE,
    Cluster,
    keys_of,
    named,
    own_cluster,
    run,
    target,
    write_project,
)

_free = itertools.count(COUNT)


@pytest.fixture(scope="package")
def server() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="package")
def fleet(tmp_path_factory: pytest.TempPathFactory, server: Sandbox) -> Iterator[Path]:
    """A project of six accounts, one of them without credentials and one without resources, and a target that never answers."""
    folder = tmp_path_factory.mktemp("fleet")
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        mute = f"http://127.0.0.1:{silent.getsockname()[1]}"
        targets = {f"t{n}": target(n, server.endpoint_url) for n in range(COUNT)}
        targets[MUTE] = {**target(0, mute), "accountId": "299999999999"}
        write_project(folder, targets, {"channels": {"one": {}, "two": {"latencyMode": "NORMAL"}}})
        changed = [name for name in targets if name not in (BROKEN, EMPTY, MUTE)]
        assert run(folder, "apply", "--auto-approve", *named(changed)).code == 0
        recording = {"r": {"destinationConfiguration": {"s3": {"bucketName": "acme-vod"}}}}
        spec = {"channels": {"one": {"type": "BASIC"}, "three": {}}, "recordingConfigurations": recording}
        (folder / "specs" / "live.yaml").write_text(yaml.safe_dump(spec), "utf-8")
        yield folder


@pytest.fixture(scope="package")
def cluster(fleet: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with own_cluster(keys_of(fleet), tmp_path_factory.mktemp("dask")) as made:
        yield made


@pytest.fixture
def empty(server: Sandbox, tmp_path: Path) -> Iterator[Path]:
    """A project of three accounts of its own without resources, ``a``, ``b`` and ``c``, with ten channels and a reference each."""
    numbers = [next(_free) for _ in range(3)]
    assert numbers[-1] < ACCOUNTS
    server.control.clear_calls()
    recording = {"r": {"destinationConfiguration": {"s3": {"bucketName": "acme-vod"}}}}
    spec = {
        "channels": {f"c{n}": {"recordingConfiguration": "r"} for n in range(10)},
        "recordingConfigurations": recording,
    }
    targets = {
        name: target(number, server.endpoint_url, lock={"file": f"{name}.lock"})
        for name, number in zip("abc", numbers, strict=True)
    }
    write_project(tmp_path, targets, spec)
    yield tmp_path
    server.control.clear_faults()
