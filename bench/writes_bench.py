"""How many calls an apply makes for its changes: creates, updates and deletes."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from itertools import product
from pathlib import Path

from bench.measure import run, table
from bench.server import Server, served
from bench.stacks import ENVIRONMENT, write_stack
from bench.tls import both_ways

_READS = ("List", "Get", "BatchGet")


def writes(server: Server) -> Counter[str]:
    return Counter(
        {operation: count for operation, count in server.calls().items() if not operation.startswith(_READS)}
    )


def main(channels: int = 300) -> None:
    tool = str(Path(sys.executable).parent / "ivs-reconciler")
    rows = [("", "", "changes", "calls", "calls / changes", "goal", "operations")]
    with tempfile.TemporaryDirectory() as name, served() as server, both_ways(server.url, Path(name)) as ways:
        for (sort, (url, trusted)), (title, count, latency, flags, goal) in product(
            ways.items(),
            (
                ("create", channels, "LOW", (), "1.01"),
                ("update", channels, "NORMAL", (), "2.00"),
                ("delete", 0, "NORMAL", ("--prune",), "1.01"),
            ),
        ):
            stack = Path(name) / sort
            write_stack(stack, count, url, latency=latency)
            server.control("clear_calls")
            run([tool, "apply", "--auto-approve", *flags], folder=stack, environment={**ENVIRONMENT, **trusted})
            made = writes(server)
            changes = channels + (1 if title == "create" else 0)
            operations = ", ".join(f"{operation} {number:,}" for operation, number in sorted(made.items()))
            rows.append(
                (title, sort, f"{changes:,}", f"{made.total():,}", f"{made.total() / changes:.3f}", goal, operations)
            )
    print(table(f"Calls of an apply over its changes, {channels:,} channels", rows))


if __name__ == "__main__":
    main()
