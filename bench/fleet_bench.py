"""What many targets cost with 80 ms a call, over HTTP and TLS: CPU a target, memory, wall time against its bound, under few descriptors.

A plan of 1,000 targets reads three calls in a chain for each (STS, a list, a batch), so many targets at once; nothing else takes time
but the processors. An apply of 300 targets with 50 creates each takes as long as the slowest target, as many times as they take turns.
About five minutes on two cores.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
from pathlib import Path

from bench.measure import Cost, as_installed, run, table, verdict
from bench.server import served
from bench.tls import both_ways
from reconciler.workflow.survey import default_at_once

SIZES = (50, 300, 1_000)
ACCOUNTS, CHANNELS, DESCRIPTORS = 200, 5, 256
APPLIED, CREATES = 300, 50
REGIONS = ("us-east-1", "us-west-2", "eu-west-1", "eu-central-1", "ap-south-1")
LATENCY, CHAIN, CORES = 0.08, 3, 2
CPU_GOALS = {"http": 28.0, "tls": 40.0}
MEMORY_GOAL, WALL_GOAL, APPLY_GOAL = 300.0, 1.5, 1.3

Row = tuple[str, ...]


def main() -> None:
    as_installed()
    with tempfile.TemporaryDirectory() as name, served("--limit", "channels=200000") as server:
        folder = Path(name)
        plans: list[Row] = []
        with both_ways(server.url, folder) as ways:
            for size in SIZES:
                for sort, (url, trusted) in ways.items():
                    stack = write_fleet(folder / f"{size}-{sort}", size, url, CHANNELS)
                    environment = {**environment_of(stack), **trusted}
                    if sort == "http":
                        server.control("clear_faults")
                        run(limited("apply", "--auto-approve"), folder=stack, environment=environment)
                        server.control("add_fault", effect="delay", operation="*", seconds=LATENCY, times=None)
                    words = limited("plan", "--detailed-exitcode")
                    plans.append(plan_row(size, sort, run(words, folder=stack, environment=environment, sampled=True)))
            head = (
                "targets",
                "",
                "CPU ms a target",
                "goal",
                "",
                "MB in all",
                "goal",
                "",
                "descriptors in all",
                "goal",
                "",
                "wall s",
                "bound s",
                "ratio",
                "goal",
                "",
            )
            print(
                table(
                    f"In-sync plan of targets with {CHANNELS} channels each, under ulimit -n {DESCRIPTORS}",
                    [head, *plans],
                )
            )
            server.control("reset")
            server.control("add_fault", effect="delay", operation="*", seconds=LATENCY, times=None)
            url, trusted = ways["tls"]
            stack = write_fleet(folder / "applied", APPLIED, url, CREATES)
            print(applied({**environment_of(stack), **trusted}, stack))


def plan_row(size: int, sort: str, cost: Cost) -> Row:
    """Return the row of a plan. The goals are those of 1,000 targets; start-up weighs more on fewer."""
    each = 1000 * cost.cpu / size
    bound = max(math.ceil(size / min(default_at_once(), size)) * CHAIN * LATENCY, cost.cpu / CORES)
    ratio = cost.wall / bound
    most = size == SIZES[-1]
    return (
        f"{size:,}",
        sort,
        f"{each:.1f}",
        f"{CPU_GOALS[sort]:g}",
        verdict(each, CPU_GOALS[sort]) if most else "",
        f"{cost.together:.0f}",
        f"{MEMORY_GOAL:g}",
        verdict(cost.together, MEMORY_GOAL),
        f"{cost.descriptors}",
        f"{DESCRIPTORS}",
        verdict(cost.descriptors, DESCRIPTORS),
        f"{cost.wall:.1f}",
        f"{bound:.1f}",
        f"{ratio:.2f}",
        f"{WALL_GOAL:g}",
        verdict(ratio, WALL_GOAL) if most else "",
    )


def applied(environment: dict[str, str], stack: Path) -> str:
    """Return the table of an apply of many targets with many creates each, over TLS."""
    words = limited("apply", "--auto-approve", "--format", "json")
    cost = run(words, folder=stack, environment=environment, sampled=True)
    results = (line for line in cost.output.splitlines() if line.startswith('{"type": "result"'))
    slowest = max(json.loads(line)["seconds"] for line in results)
    bound = max(slowest * APPLIED / default_at_once(), cost.cpu / CORES)
    ratio = cost.wall / bound
    rows = [
        (
            "CPU s",
            "MB in all",
            "descriptors in all",
            "slowest target s",
            "targets at once",
            "wall s",
            "bound s",
            "ratio",
            "goal",
            "",
        ),
        (
            f"{cost.cpu:.0f}",
            f"{cost.together:.0f}",
            f"{cost.descriptors}",
            f"{slowest:.1f}",
            str(default_at_once()),
            f"{cost.wall:.0f}",
            f"{bound:.1f}",
            f"{ratio:.2f}",
            f"{APPLY_GOAL:g}",
            verdict(ratio, APPLY_GOAL),
        ),
    ]
    return table(f"Apply of {APPLIED} targets with {CREATES} creates each, over TLS", rows)


def limited(*words: str) -> list[str]:
    """Return a command of ours under a limit of descriptors."""
    tool = str(Path(sys.executable).parent / "ivs-reconciler")
    return ["sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$0" "$@"', tool, *words]


def write_fleet(folder: Path, size: int, url: str, count: int) -> Path:
    """Write a project of so many targets in 200 accounts, each with ``count`` channels; returns its folder."""
    (folder / "specs").mkdir(parents=True)
    targets = {
        f"t{n:04}": {
            "region": REGIONS[n // ACCOUNTS],
            "accountId": str(account := 200_000_000_000 + n % ACCOUNTS),
            "profile": f"p{account}",
            "endpointUrl": url,
        }
        for n in range(size)
    }
    (folder / "ivs-reconciler.yaml").write_text(json.dumps({"stack": "bench", "targets": targets}), encoding="utf-8")
    channels: dict[str, object] = {f"channel-{n}": {} for n in range(count)}
    (folder / "specs" / "live.yaml").write_text(json.dumps({"channels": channels}), encoding="utf-8")
    keys = (
        f"[p{200_000_000_000 + n}]\naws_access_key_id={200_000_000_000 + n}\naws_secret_access_key=any\n"
        for n in range(ACCOUNTS)
    )
    (folder / "credentials").write_text("".join(keys), encoding="utf-8")
    return folder


def environment_of(stack: Path) -> dict[str, str]:
    """Return the environment of a fleet: its keys."""
    return {
        "AWS_SHARED_CREDENTIALS_FILE": str(stack / "credentials"),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_COLOR": "1",
    }
