"""What a plan of many creates costs, and every view of it: CPU, memory, and the size of the file; and how they grow. About two minutes."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bench.measure import Cost, as_installed, run, table, verdict
from bench.server import served
from bench.stacks import ENVIRONMENT, write_stack

SIZES = SMALL, LARGE = 5_000, 50_000
VIEWS = ("text", "markdown", "html", "json")
GROWTH, MEMORY = 10.5, 400.0


def main() -> None:
    as_installed()
    tool = str(Path(sys.executable).parent / "ivs-reconciler")
    costs: dict[str, list[Cost]] = {}
    sizes = []
    with tempfile.TemporaryDirectory() as name, served("--limit", f"channels={LARGE * 2}") as server:
        for size in SIZES:
            stack = Path(name) / str(size)
            write_stack(stack, size, server.url)
            commands = {"plan --out FILE": ["plan", "--out", "p.json"]}
            commands |= {f"show --format {view}": ["show", "p.json", "--format", view] for view in VIEWS}
            commands["comment --dry-run"] = ["comment", "--dry-run", "--plan", "p.json"]
            for title, words in commands.items():
                costs.setdefault(title, []).append(run([tool, *words], folder=stack, environment=ENVIRONMENT))
            sizes.append((stack / "p.json").stat().st_size / 1e6)
    rows = [("", "CPU s", f"{SMALL:,}", "ratio", "goal", "", "peak memory MB", "goal", "", "output MB")]
    for title, (small, large) in costs.items():
        growth = large.cpu / small.cpu
        rows.append(
            (
                title,
                f"{large.cpu:.1f}",
                f"{small.cpu:.2f}",
                f"{growth:.1f}",
                f"{GROWTH:g}",
                verdict(growth, GROWTH),
                f"{large.rss:.0f}",
                f"{MEMORY:g}",
                verdict(large.rss, MEMORY),
                f"{len(large.output) / 1e6:.1f}",
            )
        )
    print(table(f"A plan of {LARGE:,} creates, in a file of {sizes[1]:.0f} MB ({SMALL:,}: {sizes[0]:.1f} MB)", rows))


if __name__ == "__main__":
    main()
