"""The sandbox beside moto's server: calls through boto3, 5,000 creates, memory, start-up; and cost per listed item.

Both servers run in processes of their own and are asked by the same client, one call after another over a connection
that is kept where the server keeps it; they are compared as ratios of one run. Wall times suffer from whatever else
the machine does; processor times, of client and server together, much less.

Most of a call through boto3 is boto3. The third server does nothing at all (`static_responder`): its column is the
floor below which no server can come through boto3. The same creates are therefore also sent by a client that costs
next to nothing, the standard library's; and by several clients at once, which shows what a server can do.

moto's server ends the connection after every answer, as it does for its users; connecting again is part of its cost.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.crowd import WARM_UP, client, crowd, plain
from bench.measure import table

CREATES = 5_000
GETS = 1_000
PAGES = 40
BATCHES = 100
STARTS = 5
SIZES = (100, 1_000, 5_000, 20_000)
LISTED = 40_000
CLIENTS = 4
CROWDED = 2_000
NAMES = ("sandbox", "moto", "floor")


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers, and the seconds it took to."""

    url: str
    process: int
    ready: float

    def rss(self) -> float:
        """Return its resident memory in megabytes."""
        lines = Path(f"/proc/{self.process}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def cpu(self) -> float:
        """Return the processor seconds that it and this process have used."""
        fields = Path(f"/proc/{self.process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + time.process_time()


@dataclass(frozen=True, slots=True)
class Figures:
    """What one server did."""

    ready: float
    create: float
    create_cpu: float
    plain_create: float
    crowded: float
    crowded_plain: float
    get: float
    get_cpu: float
    page: float
    batch: float
    rss_empty: float
    rss_full: float


def main() -> None:
    """Measure and print."""
    results = {name: measure(name, command) for name, command in commands().items()}
    rows: list[tuple[str, ...]] = [("", *NAMES, "sandbox / moto", "floor / moto", "aim")]
    for title, pick, aim in (
        (f"ready to serve, best of {STARTS}, s", lambda figures: figures.ready, "under 0.25 s"),
        ("get through boto3, ms", lambda figures: figures.get, "0.33"),
        ("  processor time", lambda figures: figures.get_cpu, ""),
        ("create through boto3, ms", lambda figures: figures.create, ""),
        ("  processor time", lambda figures: figures.create_cpu, ""),
        (f"{CREATES:,} creates through boto3, s", lambda figures: figures.create * CREATES / 1000, "0.25"),
        (f"{CREATES:,} creates, plain client, s", lambda figures: figures.plain_create * CREATES / 1000, "0.25"),
        (f"create, {CLIENTS} boto3 clients at once, ms", lambda figures: figures.crowded, ""),
        (f"create, {CLIENTS} plain clients at once, ms", lambda figures: figures.crowded_plain, ""),
        ("list page of 100, ms", lambda figures: figures.page, ""),
        ("batch of 50, ms", lambda figures: figures.batch, ""),
        ("memory empty, MB", lambda figures: figures.rss_empty, ""),
        (f"memory at {CREATES:,} channels, MB", lambda figures: figures.rss_full, "under 60 MB"),
    ):
        rows.append(row(title, pick, results, aim))
    sys.stdout.write(table("sandbox: against moto's server, and against one that does nothing", rows) + "\n")
    sys.stdout.write(table("sandbox: listing cost per item", listing()) + "\n")


def row(title: str, pick: Callable[[Figures], float], results: Mapping[str, Figures], aim: str) -> tuple[str, ...]:
    """Return one line of the table; what was not measured is 0 and shown as a dash."""
    values = {name: pick(results[name]) if name in results else 0.0 for name in NAMES}

    def ratio(name: str) -> str:
        return f"{values[name] / values['moto']:.2f}" if values[name] and values["moto"] else "-"

    return (title, *(f"{value:.2f}" if value else "-" for value in values.values()), ratio("sandbox"), ratio("floor"), aim)


def commands() -> dict[str, list[str]]:
    """Return how to start each server on a port; moto only where it is installed."""
    found = {
        "floor": [sys.executable, "-m", "bench.static_responder"],
        "sandbox": [sys.executable, "-m", "reconciler", "sandbox", "serve", "--limit", "channels=100000", "--port"],
    }
    probe = subprocess.run([sys.executable, "-c", "import moto.server, werkzeug"], capture_output=True, check=False)
    if probe.returncode == 0:
        found["moto"] = [sys.executable, "-m", "moto.server", "-p"]
    return found


def measure(name: str, command: list[str]) -> Figures:
    """Put one server through everything; the one that does nothing is only called."""
    ready = []
    for _ in range(STARTS):
        with served(command) as server:
            ready.append(server.ready)
    with served(command) as server:
        plain_create = plainly(server.url)
    with served(command) as server:
        crowded, crowded_plain = (crowd(server.url, kind, CLIENTS, CROWDED) for kind in ("boto3", "plain"))
    with served(command) as server:
        ivs = client(server.url)
        empty = server.rss()
        arns = [ivs.create_channel(name=f"warm{number}")["channel"]["arn"] for number in range(WARM_UP)]
        began, used = time.perf_counter(), server.cpu()
        arns += [ivs.create_channel(name=f"c{number}", tags={"bench": "yes"})["channel"]["arn"] for number in range(CREATES)]
        create, create_cpu = (time.perf_counter() - began) / CREATES, (server.cpu() - used) / CREATES
        used = server.cpu()
        get = each(GETS, lambda number: ivs.get_channel(arn=arns[number * 7 % CREATES]))
        get_cpu = (server.cpu() - used) / GETS
        real = name != "floor"
        return Figures(
            ready=min(ready) if real else 0.0,
            create=create * 1000,
            create_cpu=create_cpu * 1000,
            plain_create=plain_create * 1000,
            crowded=crowded * 1000,
            crowded_plain=crowded_plain * 1000,
            get=get,
            get_cpu=get_cpu * 1000,
            page=each(PAGES, lambda _: ivs.list_channels(maxResults=100)) if real else 0.0,
            batch=each(BATCHES, lambda number: ivs.batch_get_channel(arns=arns[number * 50 % CREATES :][:50])) if real else 0.0,
            rss_empty=empty if real else 0.0,
            rss_full=server.rss() if real else 0.0,
        )


def plainly(url: str) -> float:
    """Return the seconds a create takes that the standard library's client sends."""
    create = plain(url)
    for number in range(WARM_UP):
        create(number)
    began = time.perf_counter()
    for number in range(CREATES):
        create(number)
    return (time.perf_counter() - began) / CREATES


def each(times: int, call: Callable[[int], Any]) -> float:
    """Return the median milliseconds of a call."""
    taken = []
    for number in range(times):
        began = time.perf_counter()
        call(number)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


def listing() -> list[tuple[str, ...]]:
    """Return microseconds per listed item, through the paginator, as the account grows.

    Each size lists the same number of items in all; processor time, of client and server together, tells whether the
    cost is flat, which wall time on a busy machine cannot.
    """
    rows: list[tuple[str, ...]] = [("channels", "us per item, best", "processor us per item", "ratio to the smallest")]
    first = 0.0
    with served(commands()["sandbox"]) as server:
        ivs = client(server.url)
        made = 0
        for size in SIZES:
            for number in range(made, size):
                ivs.create_channel(name=f"c{number}")
            made = size
            rounds = []
            used = server.cpu()
            for _ in range(LISTED // size):
                began = time.perf_counter()
                items = sum(len(page["channels"]) for page in ivs.get_paginator("list_channels").paginate())
                rounds.append((time.perf_counter() - began) / items)
                assert items == size
            cost = (server.cpu() - used) / LISTED * 1e6
            first = first or cost
            rows.append((f"{size:,}", f"{min(rounds) * 1e6:.0f}", f"{cost:.0f}", f"{cost / first:.2f}"))
    return rows


@contextmanager
def served(command: list[str]) -> Iterator[Running]:
    """Run a server in a process of its own until it answers, and end it after."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    began = time.perf_counter()
    with subprocess.Popen([*command, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait(port, process)
            yield Running(url, process.pid, time.perf_counter() - began)
        finally:
            process.terminate()
            process.wait(10)


def wait(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once the server answers a request."""
    deadline = time.perf_counter() + 30
    while time.perf_counter() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/favicon.ico", timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.005)
        else:
            return
    raise RuntimeError("the server did not come up")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
