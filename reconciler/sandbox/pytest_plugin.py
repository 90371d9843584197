"""Fixtures for the tests of any project that uses Amazon IVS.

`ivs_sandbox` is a serving sandbox of the test's own; `ivs_sandbox_env` is the same, with the
environment set so that every `boto3.client("ivs")` made in the test talks to it. Override the
fixture `ivs_sandbox_options` to pass arguments to `Sandbox`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from reconciler.sandbox.embedded import Sandbox

ACCOUNT = "123456789012"
REGION = "us-west-2"


@pytest.fixture
def ivs_sandbox_options() -> dict[str, Any]:
    """Arguments of the sandbox; override this fixture to change them."""
    return {}


@pytest.fixture
def ivs_sandbox(ivs_sandbox_options: dict[str, Any]) -> Iterator[Sandbox]:
    """Return a serving sandbox, empty at the start of each test."""
    from reconciler.sandbox.embedded import Sandbox

    with Sandbox(**ivs_sandbox_options) as sandbox:
        yield sandbox


@pytest.fixture
def ivs_sandbox_env(ivs_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Return the sandbox of the test, with the environment pointing AWS clients at it."""
    for service in ("IVS", "STS", "SERVICE_QUOTAS", "CLOUDTRAIL"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", ivs_sandbox.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sandbox")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_REGION", REGION)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
        monkeypatch.delenv(name, raising=False)
    return ivs_sandbox
