"""An in-sync plan at the published rates with 80 ms a call: wall time against its bound, and how soon progress is shown. About a minute."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.measure import as_installed, run, table, verdict
from bench.server import served
from bench.stacks import ENVIRONMENT, write_stack
from reconciler.model.kinds import BATCH_SIZE

CHANNELS, RATE, LATENCY = 5_000, 5.0, 0.08
OVER_BOUND, FIRST_PROGRESS = 1.05, 0.3


def main() -> None:
    as_installed()
    tool = str(Path(sys.executable).parent / "ivs-reconciler")
    with tempfile.TemporaryDirectory() as name, served("--limit", f"channels={CHANNELS + 1}") as server:
        stack = Path(name)
        write_stack(stack, CHANNELS, server.url)
        run([tool, "apply", "--auto-approve"], folder=stack, environment=ENVIRONMENT)
        project = stack / "ivs-reconciler.yaml"
        text = project.read_text(encoding="utf-8")
        project.write_text(
            text.replace("{region: us-west-2,", "{region: us-west-2, rateLimits: aws,"), encoding="utf-8"
        )
        server.control("set_rates", rates=True, burst=2)
        server.control("add_fault", effect="delay", operation="*", seconds=LATENCY, times=None)
        server.control("clear_calls")
        wall, shown = on_a_terminal([tool, "plan", "--detailed-exitcode"], stack)
        calls = server.control("calls", limit=1_000_000)
    bound = -(-CHANNELS // BATCH_SIZE) / RATE
    first = min(call["time"] for call in calls)
    batches = sorted(call["time"] for call in calls if call["operation"] == "BatchGetChannel")
    bad = sum(call["status"] == 429 for call in calls)
    began = shown.began
    rows = [
        ("", "measured", "bound or goal", "ratio", "goal", ""),
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
    print(table(f"In-sync plan of {CHANNELS:,} at the published rates, {LATENCY * 1000:.0f} ms a call", rows))


class Shown:
    """When a process began and when it first wrote to its terminal, in seconds since the epoch."""

    def __init__(self, began: float, progress: float) -> None:
        self.began, self.progress = began, progress


def on_a_terminal(command: list[str], folder: Path) -> tuple[float, Shown]:
    """Run a command whose stderr is a terminal; returns the wall seconds, and when it began and first showed something."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, **ENVIRONMENT, "TERM": "xterm"}
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
