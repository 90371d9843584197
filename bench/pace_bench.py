"""An in-sync plan at the published rates with 80 ms a call: wall time against its bound, and how soon progress is shown. About two minutes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.measure import as_installed, run, table, verdict
from bench.server import served
from bench.stacks import ENVIRONMENT, write_stack
from bench.tls import both_ways
from reconciler.model.kinds import BATCH_SIZE

CHANNELS, RATE, LATENCY = 5_000, 5.0, 0.08
OVER_BOUND, FIRST_PROGRESS = 1.05, 0.3


def main() -> None:
    as_installed()
    tool = str(Path(sys.executable).parent / "ivs-reconciler")
    with (
        tempfile.TemporaryDirectory() as name,
        served("--limit", f"channels={CHANNELS + 1}") as server,
        both_ways(server.url, Path(name)) as ways,
    ):
        rows: list[tuple[str, ...]] = [("", "", "measured", "bound or goal", "ratio", "goal", "")]
        for sort, (url, trusted) in ways.items():
            stack = Path(name) / sort
            write_stack(stack, CHANNELS, url)
            environment = {**ENVIRONMENT, **trusted}
            server.control("set_rates", rates=False)
            server.control("clear_faults")
            run([tool, "apply", "--auto-approve"], folder=stack, environment=environment)
            project = stack / "ivs-reconciler.yaml"
            text = project.read_text(encoding="utf-8")
            paced = text.replace("{region: us-west-2,", "{region: us-west-2, rateLimits: aws,")
            project.write_text(paced, encoding="utf-8")
            server.control("set_rates", rates=True, burst=2)
            server.control("add_fault", effect="delay", operation="*", seconds=LATENCY, times=None)
            server.control("clear_calls")
            wall, shown = on_a_terminal([tool, "plan", "--detailed-exitcode"], stack, environment)
            calls = server.control("calls", limit=1_000_000)
            rows += [(title, sort, *cells) for title, *cells in measured(wall, shown, calls)]
    print(table(f"In-sync plan of {CHANNELS:,} at the published rates, {LATENCY * 1000:.0f} ms a call", rows))


def measured(wall: float, shown: Shown, calls: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the rows of one run."""
    bound = -(-CHANNELS // BATCH_SIZE) / RATE
    first = min(call["time"] for call in calls)
    batches = sorted(call["time"] for call in calls if call["operation"] == "BatchGetChannel")
    bad = sum(call["status"] == 429 for call in calls)
    began = shown.began
    return [
        (
            "wall s, against the batches at their rate",
            f"{wall:.1f}",
            f"{bound:.1f}",
            f"{wall / bound:.3f}",
            f"{OVER_BOUND:g}",
            verdict(wall / bound, OVER_BOUND),
        ),
        ("of it before the first batch s", f"{batches[0] - began:.2f}", "", "", "", ""),
        ("of it first to last batch s", f"{batches[-1] - batches[0]:.2f}", "", "", "", ""),
        ("of it after the last batch s", f"{began + wall - batches[-1]:.2f}", "", "", "", ""),
        ("calls throttled", f"{bad:,} of {len(calls):,}", "0", "", "", ""),
        (
            "first progress after the first answer s",
            f"{shown.progress - first:.2f}",
            f"{FIRST_PROGRESS:g}",
            "",
            "",
            verdict(shown.progress - first, FIRST_PROGRESS),
        ),
    ]


class Shown:
    """When a process began and when it first wrote to its terminal, in seconds since the epoch."""

    def __init__(self, began: float, progress: float) -> None:
        self.began, self.progress = began, progress


def on_a_terminal(command: list[str], folder: Path, variables: Mapping[str, str]) -> tuple[float, Shown]:
    """Run a command whose stderr is a terminal; returns the wall seconds, and when it began and first showed something."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, **variables, "TERM": "xterm"}
    began, progress = time.time(), 0.0
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs
    ) as process:
        os.close(theirs)
        while True:
            try:
                data = os.read(ours, 65_536)
            except OSError:  # the terminal is closed
                data = b""
            if not data:
                break
            progress = progress or time.time()
        process.wait()
    os.close(ours)
    return time.time() - began, Shown(began, progress)


if __name__ == "__main__":
    main()
