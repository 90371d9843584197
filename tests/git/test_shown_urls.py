"""The URL of a repository, wherever the controller shows it, holds no token."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import run


@pytest.mark.parametrize(
    "url",
    [
        "https://user:CAN/ARY@127.0.0.1:9/live.git",
        "https://127.0.0.1:9/live.git?token=CANARY",
        "ftp://user:CAN/ARY@127.0.0.1/live?token=CANARY",
    ],
)
def test_a_repository_that_cannot_be_reached_is_named_without_its_token(tmp_path: Path, url: str) -> None:
    ran = run(tmp_path, "run", "--once", "--repo", url, "--branch", "main", "--state", str(tmp_path / "state"))
    assert ran.code == 1
    assert "127.0.0.1" in ran.out + ran.err
    assert "ARY" not in ran.out + ran.err
