"""Shared by all tests: no AWS settings of the machine leak in, and the command line is run as a process or in this one."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# On a developer's machine properties look further each time; a CI run must say the same of the same commit.
# How long an example takes is the machine's matter: time fails no test.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("untimed"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "untimed")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep the garbage collector off what stays: it takes a third of the time of a collection, and modules and items are never garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin the share of each worker with some of the slow tests, so that none is left alone with one at the end."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow = [item for item in items if item.get_closest_marker("slow")]
    rest = [item for item in items if not item.get_closest_marker("slow")]
    count = len(items)
    items.clear()
    for left in range(workers, 0, -1):
        mine = slow[left - 1 :: workers]
        # `--dist worksteal` deals the tests out in this way.
        size = max(0, (count - len(items)) // left - len(mine)) if left > 1 else len(rest)
        items += mine + rest[:size]
        del rest[:size]


_AWS = [name for name in os.environ if name.startswith("AWS_")]


@pytest.fixture(autouse=True)
def _no_aws_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep credentials, profiles and endpoints of the caller out of the tests."""
    for name in _AWS:
        monkeypatch.delenv(name, raising=False)
    nowhere = tmp_path_factory.getbasetemp() / "no-aws"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(nowhere / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def repository_root() -> Path:
    """Return the root of this repository."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """Give the URL of a stand-in for the AWS services that the sandbox does not have. Its state is that of the process."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(moto: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a client of the stand-in for S3, which the program finds too; it has the bucket ``BUCKET``."""
    import boto3

    from tests.cli.support import BUCKET, REGION

    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    client = boto3.client("s3", region_name=REGION)
    with suppress(client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return client
