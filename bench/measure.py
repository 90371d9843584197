"""Run a command as a whole process and read what it cost: wall and CPU seconds, peak memory."""

from __future__ import annotations

import contextlib
import os
import site
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import reconciler

_SAMPLE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command cost. ``rss`` is the peak resident memory, in megabytes, of the largest of its processes.

    ``together`` is that of all its processes at the same time, shared pages counted once, and ``descriptors`` how many they have open at most;
    both are sampled, and 0 where that was not asked for.
    """

    wall: float
    cpu: float
    rss: float
    code: int
    output: str
    together: float = 0.0
    descriptors: int = 0


def run(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    expect: int | None = 0,
    sampled: bool = False,
) -> Cost:
    """Run a command once; with ``sampled``, all its processes are looked at while it runs. Raises ``RuntimeError`` with its output when it ends with another code than expected."""
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
        samples = Samples(process.pid)
        if sampled:
            samples.start()
        output = process.stdout.read().decode(errors="replace")
        samples.ended.set()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - began
    code = process.returncode
    if expect is not None and code != expect:
        raise RuntimeError(f"{' '.join(command)} ended with {code}, not {expect}:\n{output[-4000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(wall, cpu, usage.ru_maxrss / 1024, code, output, samples.memory, samples.descriptors)


class Samples(threading.Thread):
    """Looks at a process and its children, and theirs, until ``ended`` is set; keeps the most that was seen."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._process = process
        self.ended = threading.Event()
        self.memory, self.descriptors = 0.0, 0

    def run(self) -> None:
        while not self.ended.wait(_SAMPLE_SECONDS):
            memory, descriptors = 0, 0
            for process in tree(self._process):
                with contextlib.suppress(OSError):  # it has ended
                    lines = (process / "smaps_rollup").read_text(encoding="ascii").splitlines()
                    memory += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
                    descriptors += len(list((process / "fd").iterdir()))
            self.memory = max(self.memory, memory / 1024)
            self.descriptors = max(self.descriptors, descriptors)


def tree(process: int) -> Iterator[Path]:
    """Yield the folder in /proc of a process and of all below it."""
    folder = Path("/proc", str(process))
    yield folder
    with contextlib.suppress(OSError):
        for children in folder.glob("task/*/children"):
            for child in children.read_text(encoding="ascii").split():
                yield from tree(int(child))


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
    """Compile the byte code of the package and of the programs compared with, as pip does for what a user installs.

    The development packages are installed without it, and where PYTHONDONTWRITEBYTECODE is set they would be compiled again in every run.
    """
    folders = (str(Path(reconciler.__file__).parent), *site.getsitepackages())
    # In a process of its own: the peak memory of a command counts that of the process which starts it.
    # Not checked, since some packages have files that are for other versions of Python.
    subprocess.run([sys.executable, "-m", "compileall", "-qq", "-j0", *folders], check=False)


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
