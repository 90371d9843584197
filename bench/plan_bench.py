"""What an in-sync plan costs: calls, CPU and memory, over HTTP beside octoDNS on as many records, over TLS, and how it grows. About two minutes."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bench.measure import as_installed, in_turn, median, paired, run, table, verdict
from bench.server import served
from bench.stacks import ENVIRONMENT, write_stack, write_zone
from bench.tls import tls_front

BIN = Path(sys.executable).parent
SMALL, LARGE = 5_000, 50_000


def main(rounds: int = 5, *, large: bool = True) -> None:
    as_installed()
    with tempfile.TemporaryDirectory() as name, served("--limit", f"channels={LARGE + SMALL}") as server:
        folder = Path(name)
        stack = folder / "stack"
        write_stack(stack, SMALL, server.url)
        tool = str(BIN / "ivs-reconciler")
        run([tool, "apply", "--auto-approve"], folder=stack, environment=ENVIRONMENT)
        zone = write_zone(folder / "zone", SMALL)
        server.control("clear_calls")
        run([tool, "plan", "--detailed-exitcode"], folder=stack, environment=ENVIRONMENT)
        calls = server.calls()
        print(
            table(
                f"Calls of an in-sync plan of {SMALL:,} channels",
                [("operation", "calls"), *((operation, str(count)) for operation, count in sorted(calls.items()))],
            )
        )
        costs = in_turn(
            {
                "plan": lambda: run([tool, "plan", "--detailed-exitcode"], folder=stack, environment=ENVIRONMENT),
                "octodns": lambda: run([str(BIN / "octodns-sync"), f"--config-file={zone}", "--quiet"]),
            },
            rounds,
        )
        plan, octodns = costs["plan"], costs["octodns"]
        cpu, other = median(plan, lambda cost: cost.cpu), median(octodns, lambda cost: cost.cpu)
        rss, other_rss = median(plan, lambda cost: cost.rss), median(octodns, lambda cost: cost.rss)
        print(
            table(
                f"In-sync plan of {SMALL:,} beside octoDNS on {SMALL:,} records (medians of {rounds} pairs)",
                [
                    ("", "plan", "octoDNS", "ratio", "goal"),
                    (
                        "CPU seconds",
                        f"{cpu:.2f}",
                        f"{other:.2f}",
                        f"{paired(plan, octodns, lambda cost: cost.cpu):.3f}",
                        "0.35",
                    ),
                    (
                        "peak memory MB",
                        f"{rss:.0f}",
                        f"{other_rss:.0f}",
                        f"{paired(plan, octodns, lambda cost: cost.rss):.2f}",
                        "1.3",
                    ),
                ],
            )
        )
        encrypted(folder, server.url, stack, rounds)
        if large:
            write_stack(stack, LARGE, server.url)
            run([tool, "apply", "--auto-approve"], folder=stack, environment=ENVIRONMENT)
            big = run([tool, "plan", "--detailed-exitcode"], folder=stack, environment=ENVIRONMENT)
            rows = [
                ("", f"{SMALL:,}", f"{LARGE:,}", "ratio", "goal"),
                ("CPU seconds", f"{cpu:.2f}", f"{big.cpu:.2f}", f"{big.cpu / cpu:.1f}", "8"),
            ]
            print(
                table(
                    "Growth of an in-sync plan",
                    [*rows, ("peak memory MB", f"{rss:.0f}", f"{big.rss:.0f}", f"{big.rss / rss:.1f}", "")],
                )
            )


def encrypted(folder: Path, url: str, stack: Path, rounds: int) -> None:
    """Print what the same plan costs over TLS, which is what AWS speaks, beside HTTP."""
    tool = str(BIN / "ivs-reconciler")
    words = [tool, "plan", "--detailed-exitcode"]
    secure = folder / "secure"
    with tls_front(url, folder) as (tls, trusted):
        write_stack(secure, SMALL, tls)
        costs = in_turn(
            {
                "tls": lambda: run(words, folder=secure, environment={**ENVIRONMENT, **trusted}),
                "http": lambda: run(words, folder=stack, environment=ENVIRONMENT),
            },
            rounds,
        )
    rows = [("", "TLS", "HTTP", "ratio", "goal", "")]
    for title, what, goal in (
        ("CPU seconds", lambda cost: cost.cpu, 1.15),
        ("peak memory MB", lambda cost: cost.rss, 1.2),
    ):
        tls_cost, http_cost = median(costs["tls"], what), median(costs["http"], what)
        ratio = paired(costs["tls"], costs["http"], what)
        rows.append((title, f"{tls_cost:.2f}", f"{http_cost:.2f}", f"{ratio:.3f}", f"{goal:g}", verdict(ratio, goal)))
    print(table(f"In-sync plan of {SMALL:,} over TLS beside HTTP (medians of {rounds} pairs)", rows))


if __name__ == "__main__":
    main()
