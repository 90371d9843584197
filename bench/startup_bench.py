"""How quickly the command line is there: --help and validate, beside ``aws --version``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bench.measure import as_installed, in_turn, median, paired, run, table
from bench.stacks import ENVIRONMENT, write_stack

BIN = Path(sys.executable).parent


def main(rounds: int = 7) -> None:
    tool = str(BIN / "ivs-reconciler")
    as_installed()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label, channels, files in (("small", 1, 1), ("one", 5_000, 1), ("many", 5_000, 5_000)):
            write_stack(folder / label, channels, "http://127.0.0.1:9", files=files)
        costs = in_turn(
            {
                "aws --version": lambda: run([str(BIN / "aws"), "--version"], environment=ENVIRONMENT),
                "--help": lambda: run([tool, "--help"]),
                "validate, 1 channel": lambda: run([tool, "validate"], folder=folder / "small"),
                "validate, 5,000 in one file": lambda: run([tool, "validate"], folder=folder / "one"),
                "validate, 5,000 files": lambda: run([tool, "validate"], folder=folder / "many"),
            },
            rounds,
        )
    base = costs["aws --version"]
    goals = {"--help": "0.15", "validate, 1 channel": "0.60", "validate, 5,000 in one file": "1.20"}
    rows = [("", "wall seconds", "peak memory MB", "ratio to aws --version", "goal")]
    for name, runs in costs.items():
        wall = median(runs, lambda cost: cost.wall)
        rows.append(
            (
                name,
                f"{wall:.3f}",
                f"{median(runs, lambda cost: cost.rss):.0f}",
                f"{paired(runs, base, lambda cost: cost.wall):.2f}",
                goals.get(name, ""),
            )
        )
    print(table(f"Start-up (medians of {rounds} pairs)", rows))


if __name__ == "__main__":
    main()
