"""Fixtures of the sandbox's own tests: a serving sandbox and clients that know no retries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from reconciler.sandbox import Sandbox, VirtualClock

ACCOUNT = "123456789012"
REGION = "us-west-2"

ClientMaker = Callable[..., Any]


@pytest.fixture(autouse=True)
def _no_real_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_IVS", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/credentials")


@pytest.fixture(scope="session")
def session() -> boto3.Session:
    return boto3.Session()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def sandbox(clock: VirtualClock) -> Iterator[Sandbox]:
    with Sandbox(clock=clock, seed=7, settle_seconds=10, stop_seconds=3) as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox, session: boto3.Session) -> ClientMaker:
    def make(
        service: str = "ivs", key: str = ACCOUNT, region: str = REGION, secret: str = "any", **options: Any
    ) -> Any:
        config = Config(retries={"total_max_attempts": 1}, read_timeout=60, max_pool_connections=20, **options)
        return session.client(
            service,
            endpoint_url=sandbox.endpoint_url,
            region_name=region,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=config,
        )

    return make


@pytest.fixture
def ivs(client: ClientMaker) -> Any:
    return client()
