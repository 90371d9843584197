"""pytest fixtures for projects that use Amazon IVS.

`ivs_sandbox` is a serving sandbox, one a test. `ivs_sandbox_env` also sets the environment, so that every
`boto3.client("ivs")` created in the test uses it. Override `ivs_sandbox_options` to pass arguments to `Sandbox`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.sandbox.embedded import CLIENTS, Sandbox

ACCOUNT = "123456789012"
REGION = "us-west-2"


@pytest.fixture
def ivs_sandbox_options() -> dict[str, Any]:
    """Return the arguments of `Sandbox`; override this fixture to change them."""
    return {}


@pytest.fixture
def ivs_sandbox(ivs_sandbox_options: dict[str, Any]) -> Iterator[Sandbox]:
    """Return a serving, empty sandbox."""
    with Sandbox(**ivs_sandbox_options) as sandbox:
        yield sandbox


@pytest.fixture
def ivs_sandbox_env(ivs_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Return the sandbox of the test, and set the environment so that AWS clients use it."""
    for service in CLIENTS:
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service.replace('-', '_').upper()}", ivs_sandbox.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sandbox")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_REGION", REGION)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
        monkeypatch.delenv(name, raising=False)
    return ivs_sandbox
