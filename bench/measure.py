"""Run a command as a whole process and read what it cost: wall and CPU seconds, peak memory."""

from __future__ import annotations

import compileall
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import reconciler


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process cost. ``rss`` is its peak resident memory in megabytes."""

    wall: float
    cpu: float
    rss: float
    code: int
    output: str


def run(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    expect: int | None = 0,
) -> Cost:
    """Run a command once. Raises ``RuntimeError`` with its output when it ends with another code than expected."""
    began = time.perf_counter()
    with subprocess.Popen(
        list(command),
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read().decode(errors="replace")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - began
    code = process.returncode
    if expect is not None and code != expect:
        raise RuntimeError(f"{' '.join(command)} ended with {code}, not {expect}:\n{output[-4000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, code, output)


def median(costs: Sequence[Cost], what: Callable[[Cost], float]) -> float:
    """Return the median of one figure over several runs."""
    return statistics.median(what(cost) for cost in costs)


def paired(ours: Sequence[Cost], theirs: Sequence[Cost], what: Callable[[Cost], float]) -> float:
    """Return the median of the ratios of runs that stood side by side: what made the machine slow for one made it slow for the other."""
    return statistics.median(what(one) / what(other) for one, other in zip(ours, theirs, strict=True))


def verdict(figure: float, goal: float) -> str:
    """Return whether a figure that should be small meets its goal."""
    return "met" if figure <= goal else "MISSED"


def as_installed() -> None:
    """Compile the package's byte code, as pip does for everything it installs, the programs compared with included.

    A package that is worked on is not installed by pip, and where PYTHONDONTWRITEBYTECODE is set it would be compiled again in every run.
    """
    compileall.compile_dir(Path(reconciler.__file__).parent, quiet=1)


def in_turn(commands: Mapping[str, Callable[[], Cost]], rounds: int) -> dict[str, list[Cost]]:
    """Run several commands in turn, so that a noisy machine is noisy to all of them alike."""
    results: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            results[name].append(command())
    return results


def table(title: str, rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned text; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([title, "-" * len(title), *lines, ""])
