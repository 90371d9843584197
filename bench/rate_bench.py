"""How much of the allowed call rate is used, and how many calls are throttled, against a server that counts calls.

Every scenario has a server process of its own, and a few of them run at the same time; the one that jitter hurts runs alone.
Figures are the server's: calls answered a second between its first and its last answer, and the share that it answered with 429.
The way to the server takes 40 ms, give or take 5.
"""

from __future__ import annotations

import contextlib
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import run, table
from bench.server import Server, served
from bench.stacks import ENVIRONMENT, write_stack
from bench.tls import both_ways, trusted_front
from reconciler.aws.client import IvsGateway
from reconciler.aws.limiter import Pacer
from reconciler.aws.session import open_client, open_session
from reconciler.model.target import Target

WORKERS = 8
AT_ONCE = 4
SECONDS = 45.0
OURS, OTHER = "123456789012", "SOMEBODYELSE"  # the server takes any other key for the same account


@dataclass(frozen=True)
class Scenario:
    """A server's way of counting, what is called, and what else takes from the rate.

    With ``tls``, ours speak TLS. ``stubborn`` is the calls a second of a client that never gives way; ``second`` adds a client like ours in another process, so to say.
    """

    title: str
    operations: tuple[str, ...] = ("ListChannels",)
    burst: float | None = None
    windows: bool = False
    stubborn: float = 0.0
    second: bool = False
    tls: bool = False
    goal: float = 0.98
    throttled: float = 0.0


SCENARIOS = (
    Scenario("bucket of 2", burst=2),
    Scenario("bucket of 2, over TLS", burst=2, tls=True),
    Scenario("bucket of 3", burst=3),
    Scenario("bucket of 5", burst=5),
    Scenario("one-second windows", windows=True),
    Scenario(
        "three operations at once",
        ("ListChannels", "ListRecordingConfigurations", "ListPlaybackRestrictionPolicies"),
        goal=0.97,
    ),
    Scenario("another client takes 40 %, bucket of 5", stubborn=2.0, goal=0.90, throttled=0.06),
    Scenario("another client takes 40 %, bucket of 2", burst=2, stubborn=2.0, goal=0.90, throttled=0.06),
    Scenario("two of ours, each with its own pacer", second=True, goal=0.95, throttled=0.12),
)
JITTER = Scenario("bucket of 1, jitter", burst=1, goal=0.85, throttled=0.05)
RATES = {"ListChannels": 5.0, "ListRecordingConfigurations": 3.0, "ListPlaybackRestrictionPolicies": 5.0}


def main() -> None:
    """Measure and print."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        rows = [*pool.map(measure, SCENARIOS), measure(JITTER), *pool.map(an_apply, ("http", "tls"))]
    head = ("the server counts with", "allowed calls/s", "used", "goal", "throttled", "goal")
    print(table(f"Call rates: goodput over what is allowed, {WORKERS} workers, {SECONDS:.0f} s each", [head, *rows]))


def measure(scenario: Scenario) -> tuple[str, ...]:
    """Run one scenario and return its row."""
    with served() as server:
        server.control("set_rates", rates=True, burst=scenario.burst, windows=scenario.windows)
        until = time.monotonic() + SECONDS
        with contextlib.ExitStack() as stack:
            url = server.url
            if scenario.tls:
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                url = stack.enter_context(trusted_front(url, Path(folder)))
            if scenario.stubborn:
                stack.enter_context(running([lambda: stubborn(server, scenario.stubborn, until)]))
            pacers = [Pacer(clock=time.monotonic, sleep=time.sleep) for _ in range(2 if scenario.second else 1)]
            gateways = [gateway(url, pacer) for pacer in pacers]
            workers = [
                worker(one, operation, until)
                for one in gateways
                for operation in scenario.operations
                for _ in range(WORKERS)
            ]
            stack.enter_context(running(workers))
        calls = [call for call in server.control("calls", limit=1_000_000) if call["operation"] in scenario.operations]
    mine = [call for call in calls if call["access_key"] == OURS]
    good = [call["time"] for call in mine if call["status"] == 200]
    allowed = sum(RATES[operation] for operation in scenario.operations) - scenario.stubborn
    span = max(good) - min(good)
    used = (len(good) - len(scenario.operations)) / span / allowed
    bad = sum(call["status"] == 429 for call in mine) / len(mine)
    return (
        scenario.title,
        f"{allowed:g}",
        f"{used:.1%}",
        f"{scenario.goal:.0%}",
        f"{bad:.1%}",
        f"{scenario.throttled:.0%}",
    )


def an_apply(sort: str, channels: int = 150) -> tuple[str, ...]:
    """Run the whole tool as a process: creates that wait for one recording configuration, with their stream keys tagged."""
    tool = str(Path(sys.executable).parent / "ivs-reconciler")
    with tempfile.TemporaryDirectory() as name, served() as server, both_ways(server.url, Path(name)) as ways:
        server.control("set_rates", rates=True, burst=2)
        folder, (url, trusted) = Path(name), ways[sort]
        write_stack(folder, channels, url)
        project = folder / "ivs-reconciler.yaml"
        project.write_text(
            project.read_text(encoding="utf-8").replace("{region: us-west-2,", "{region: us-west-2, rateLimits: aws,"),
            encoding="utf-8",
        )
        run([tool, "apply", "--auto-approve"], folder=folder, environment={**ENVIRONMENT, **trusted})
        calls = server.control("calls", limit=1_000_000)
    good = [call["time"] for call in calls if call["operation"] == "CreateChannel" and call["status"] == 200]
    used = (len(good) - 1) / (max(good) - min(good)) / RATES["ListChannels"]
    bad = sum(call["status"] == 429 for call in calls) / len(calls)
    return (f"bucket of 2, apply of {channels} channels, {sort}", "5", f"{used:.1%}", "98%", f"{bad:.1%}", "0%")


def gateway(url: str, pacer: Pacer) -> IvsGateway:
    """Return our way to the server, slowed down like a real one."""
    return IvsGateway(client(url, OURS), pacer=pacer, connections=WORKERS)


def client(url: str, access_key: str) -> Any:
    target = Target("bench", "us-west-2", sandbox="-", account_id=access_key)
    made = open_client(open_session(target, url), "ivs", target, url, WORKERS * 3)
    dice = random.Random(7)
    made.meta.events.register("before-send.ivs", lambda **_: time.sleep(0.04 + dice.uniform(-0.005, 0.005)))
    return made


def worker(one: IvsGateway, operation: str, until: float) -> Callable[[], None]:
    def work() -> None:
        while time.monotonic() < until:
            one.call(operation, {})

    return work


def stubborn(server: Server, rate: float, until: float) -> None:
    """Call at a steady rate with any answer."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError

    ivs = boto3.client(
        "ivs",
        region_name="us-west-2",
        endpoint_url=server.url,
        aws_access_key_id=OTHER,
        aws_secret_access_key="bench",
        config=Config(retries={"total_max_attempts": 1}),
    )
    due = time.monotonic()
    while time.monotonic() < until:
        with contextlib.suppress(ClientError):
            ivs.list_channels()
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))


@contextlib.contextmanager
def running(works: list[Callable[[], None]]) -> Iterator[None]:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
