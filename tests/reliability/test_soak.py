"""A hundred and twenty rounds in one process: each puts right what changed outside, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.sandbox import Sandbox
from tests.cli.support import run, stack

ROUNDS = 80
ROOT = Path(__file__).resolve().parent.parent.parent
SPEC = {
    "recordingConfigurations": {"archive": {"destinationConfiguration": {"s3": {"bucketName": "vod"}}}},
    "channels": {
        f"c{number}": {"recordingConfiguration": "archive", "streamKey": {}, "tags": {"team": "video"}}
        for number in range(6)
    },
}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory and open files are read from /proc")
def test_many_rounds_leave_nothing_behind(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        folder = stack(
            tmp_path / "repo", SPEC, target={"sandbox": None, "endpointUrl": sandbox.endpoint_url, "rateLimits": "off"}
        )
        keys = {"AWS_ACCESS_KEY_ID": "123456789012", "AWS_SECRET_ACCESS_KEY": "any"}
        assert run(folder, "apply", "--auto-approve", env=keys).code == 0
        words = [sys.executable, "-m", "tests.reliability.soak", str(folder), sandbox.endpoint_url, str(ROUNDS)]
        done = subprocess.run(
            words, cwd=ROOT, env={**_environment(), **keys}, capture_output=True, text=True, timeout=900, check=False
        )
    assert done.returncode == 0, done.stderr
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rounds) == ROUNDS
    assert [each["codes"] for each in rounds] == [[2, 0, 0]] * ROUNDS
    settled = rounds[ROUNDS // 4 :]
    # The last quarter against the second: what a leak of one plan a round would show many times over.
    early, late = settled[: ROUNDS // 4], settled[-ROUNDS // 4 :]
    # The fewest of each: a thread may be about to end when a round is over.
    for kept in ("files", "threads"):
        assert min(each[kept] for each in late) <= min(each[kept] for each in early), f"{kept} grow"
    growth = min(each["resident"] for each in late) - max(each["resident"] for each in early)
    assert growth < 17_000 * ROUNDS, f"memory grew by {growth:,} bytes"


def _environment() -> dict[str, str]:
    import os

    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_ENDPOINT")}
