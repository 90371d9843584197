"""The sandbox beside moto's server: calls through boto3, 5,000 creates, memory, start-up; and cost per listed item.

The servers run in processes of their own and are asked by the same clients, over a connection that is kept where the
server keeps it. They take turns, round by round, and a ratio is the median of the rounds' ratios: what made the machine
slow for one made it slow for the other. Wall times suffer all the same from other work of the machine; processor
times, of client and server together, much less.

Most of a call through boto3 is boto3. The third server does nothing at all (`static_responder`): its column is the
floor below which no server can come through boto3. The same creates are therefore also sent by a client that costs
next to nothing, the standard library's; and by several clients at once, which shows what a server can do.

boto3 costs more over TLS, which is what AWS speaks: those rows have a front that speaks it.

moto's server ends the connection after every answer, as it does for its users; connecting again is part of its cost.
"""

from __future__ import annotations

import functools
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.crowd import WARM_UP, client, crowd
from bench.measure import table
from bench.tls import trusted_front

ROUNDS = 10
CREATES = 5_000
GETS = 5_000
PAGES = 50
BATCHES = 100
STARTS = 5
SIZES = (100, 1_000, 5_000, 20_000)
LISTED = 40_000
CLIENTS = 4
CROWDED = 1_000
NAMES = ("sandbox", "moto", "floor")


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers, and the seconds it took to."""

    name: str
    url: str
    process: int
    ready: float

    def rss(self) -> float:
        """Return its resident memory in megabytes."""
        lines = Path(f"/proc/{self.process}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def cpu(self) -> float:
        """Return the processor seconds that it and this process have used; a process number says, in this form, its clock."""
        return time.clock_gettime((~self.process << 3) | 2) + time.process_time()


# What was measured on each server, round by round.
Measured = dict[str, list[float]]


def main() -> None:
    """Measure and print."""
    found = commands()
    rows: list[tuple[str, ...]] = [("", *NAMES, "sandbox / moto", "floor / moto", "aim")]
    rows.append(row("ready to serve, best, s", starts(found), "under 0.25 s", min))
    with running(found) as servers:
        create, create_cpu, get, get_cpu, page, batch, empty, full = calls(servers)
    with running(found) as servers:
        alone = in_turn(servers, lambda server, _: crowd(server.url, "plain", 1, CREATES // ROUNDS) * 1000)
    with running(found) as servers:
        boto3s = in_turn(servers, lambda server, _: crowd(server.url, "boto3", CLIENTS, CROWDED) * 1000)
        plains = in_turn(servers, lambda server, _: crowd(server.url, "plain", CLIENTS, CROWDED) * 1000)
        with over_tls(servers) as secure:
            boto3s_tls = in_turn(secure, lambda server, _: crowd(server.url, "boto3", CLIENTS, CROWDED) * 1000)
    with running(found) as servers, over_tls(servers) as secure:
        create_tls, create_tls_cpu, get_tls, get_tls_cpu, page_tls, batch_tls, _, _ = calls(secure)
    rows += [
        row("get through boto3, ms", get, "0.40"),
        row("  processor time", get_cpu, ""),
        row("  over TLS", get_tls, ""),
        row("  over TLS, processor time", get_tls_cpu, ""),
        row("create through boto3, ms", create, ""),
        row("  processor time", create_cpu, ""),
        row("  over TLS", create_tls, ""),
        row("  over TLS, processor time", create_tls_cpu, ""),
        row(f"{CREATES:,} creates through boto3, s", create, "0.25", total),
        row(f"{CREATES:,} creates, plain client, s", alone, "0.25", total),
        row(f"create, {CLIENTS} boto3 clients at once, ms", boto3s, ""),
        row("  over TLS", boto3s_tls, ""),
        row(f"create, {CLIENTS} plain clients at once, ms", plains, ""),
        row("list page of 100, ms", page, ""),
        row("  over TLS", page_tls, ""),
        row("batch of 50, ms", batch, ""),
        row("  over TLS", batch_tls, ""),
        row("memory empty, MB", empty, ""),
        row(f"memory at {CREATES:,} channels, MB", full, "under 60 MB"),
    ]
    sys.stdout.write(table("sandbox: against moto's server, and against one that does nothing", rows) + "\n")
    sys.stdout.write(table("sandbox: listing cost per item", listing()) + "\n")


def total(rounds: Sequence[float]) -> float:
    """Return the seconds of all creates, from the milliseconds of one in each round."""
    return sum(rounds) / len(rounds) * CREATES / 1000


def row(
    title: str, measured: Measured, aim: str, shown: Callable[[Sequence[float]], float] = statistics.median
) -> tuple[str, ...]:
    """Return one line of the table; what was not measured is shown as a dash."""

    def ratio(name: str) -> str:
        if name not in measured or "moto" not in measured:
            return "-"
        return f"{statistics.median(ours / theirs for ours, theirs in zip(measured[name], measured['moto'], strict=True)):.2f}"

    values = (f"{shown(measured[name]):.2f}" if name in measured else "-" for name in NAMES)
    return (title, *values, ratio("sandbox"), ratio("floor"), aim)


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


def starts(found: Mapping[str, list[str]]) -> Measured:
    """Return the seconds until each server answers; the one that does nothing need not be asked."""
    ready: Measured = {name: [] for name in found if name != "floor"}
    for _ in range(STARTS):
        for name, rounds in ready.items():
            with served(name, found[name]) as server:
                rounds.append(server.ready)
    return ready


def calls(servers: Mapping[str, Running]) -> tuple[Measured, ...]:
    """Call every operation through boto3: create and get with their processor times, a page, a batch; and the memory before and after."""
    clients = {name: client(server.url) for name, server in servers.items()}
    arns: dict[str, list[str]] = {name: [] for name in servers}
    real = {name: server for name, server in servers.items() if name != "floor"}
    spent: dict[str, Measured] = {what: {name: [] for name in servers} for what in ("create", "get")}
    taken: dict[str, Measured] = {what: {name: [] for name in servers} for what in ("create", "get")}

    def create(name: str, number: int) -> None:
        arns[name].append(clients[name].create_channel(name=f"c{number}", tags={"bench": "yes"})["channel"]["arn"])

    def get(name: str, number: int) -> None:
        clients[name].get_channel(arn=arns[name][number * 7 % len(arns[name])])

    for name in servers:
        for number in range(WARM_UP):
            create(name, number)
    empty = {name: [server.rss()] for name, server in real.items()}
    for what, call, times, of in (
        ("create", create, CREATES // ROUNDS, statistics.mean),
        ("get", get, GETS // ROUNDS, statistics.median),
    ):
        for round_ in range(ROUNDS):
            for name, server in servers.items():
                used = server.cpu()
                taken[what][name].append(each(functools.partial(call, name), round_, times, of))
                spent[what][name].append((server.cpu() - used) / times * 1000)

    def page(server: Running, round_: int) -> float:
        return each(lambda _: clients[server.name].list_channels(maxResults=100), round_, PAGES // ROUNDS)

    def batch(server: Running, round_: int) -> float:
        known = arns[server.name]
        return each(
            lambda number: clients[server.name].batch_get_channel(arns=known[number * 50 % CREATES :][:50]),
            round_,
            BATCHES // ROUNDS,
        )

    listed = in_turn(real, page), in_turn(real, batch)
    full = {name: [server.rss()] for name, server in real.items()}
    return taken["create"], spent["create"], taken["get"], spent["get"], *listed, empty, full


def in_turn(servers: Mapping[str, Running], measure: Callable[[Running, int], float], rounds: int = ROUNDS) -> Measured:
    """Measure the servers one after another, round by round."""
    measured: Measured = {name: [] for name in servers}
    for round_ in range(rounds):
        for name, server in servers.items():
            measured[name].append(measure(server, round_))
    return measured


def each(
    call: Callable[[int], object], round_: int, times: int, of: Callable[[Sequence[float]], float] = statistics.median
) -> float:
    """Return the median (or the mean) milliseconds of a round's calls; each call of all rounds has its own number."""
    taken = []
    for number in range(round_ * times, (round_ + 1) * times):
        began = time.perf_counter()
        call(number)
        taken.append(time.perf_counter() - began)
    return of(taken) * 1000


def listing() -> list[tuple[str, ...]]:
    """Return microseconds per listed item, through the paginator, as the account grows.

    Each size lists the same number of items in all; processor time, of client and server together, tells whether the
    cost is flat, which wall time on a busy machine cannot.
    """
    rows: list[tuple[str, ...]] = [("channels", "us per item, best", "processor us per item", "ratio to the smallest")]
    first = 0.0
    with served("sandbox", commands()["sandbox"]) as server:
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
def running(found: Mapping[str, list[str]]) -> Iterator[dict[str, Running]]:
    """Run all servers at once; those that are not asked sleep."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(served(name, command)) for name, command in found.items()}


@contextmanager
def over_tls(servers: Mapping[str, Running]) -> Iterator[dict[str, Running]]:
    """Serve TLS in front of servers; the processor time of the fronts is not counted.

    Not in front of moto: it ends the connection after every answer, and boto3 would read all public certificates for every call.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        secure = {}
        for name in servers.keys() - {"moto"}:
            secure[name] = replace(servers[name], url=stack.enter_context(trusted_front(servers[name].url, folder)))
        yield secure


@contextmanager
def served(name: str, command: list[str]) -> Iterator[Running]:
    """Run a server in a process of its own until it answers, and end it after."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    began = time.perf_counter()
    with subprocess.Popen([*command, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait(port, process)
            yield Running(name, url, process.pid, time.perf_counter() - began)
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
