"""Sixteen clients at once: only the asked-for errors, and no answered write lost after a kill."""

from __future__ import annotations

import collections
import http.client
import json
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

from reconciler.sandbox.state.store import Store
from tests.sandbox.test_store import serve

CLIENTS = 16


class Client:
    """One caller with a connection of its own, and what it was answered."""

    def __init__(self, endpoint: str, number: int) -> None:
        self.connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=60)
        self.rng = random.Random(number)
        self.statuses: collections.Counter[int] = collections.Counter()
        self.made: set[str] = set()
        self.gone: set[str] = set()
        self.renamed: set[str] = set()
        self.failure = ""

    def call(self, operation: str, **members: Any) -> dict[str, Any]:
        self.connection.request("POST", f"/{operation}", json.dumps(members).encode())
        answer = self.connection.getresponse()
        body = answer.read()
        self.statuses[answer.status] += 1
        if answer.status >= 400 and answer.status != 429:
            self.failure = self.failure or f"{operation}: {body!r}"
        found: dict[str, Any] = json.loads(body or b"{}") if answer.status < 400 else {}
        return found

    def run(self, killed: threading.Event) -> None:
        """Call until the server is gone; a connection that breaks before that is a failure."""
        try:
            while True:
                self.step()
        except (OSError, http.client.HTTPException) as error:
            if not killed.is_set():
                self.failure = repr(error)
        finally:
            self.connection.close()

    def step(self) -> None:
        mine = sorted(self.made - self.gone)
        choice = self.rng.random()
        if choice < 0.3 or not mine:
            made = self.call("CreateChannel", name=f"c{self.rng.randrange(9)}")
            if made:
                self.made.add(made["channel"]["arn"])
        elif choice < 0.4:
            arn = self.rng.choice(mine)
            # Marked before the call: a lost answer may still have deleted it.
            self.gone.add(arn)
            self.call("DeleteChannel", arn=arn)
        elif choice < 0.5:
            arn = self.rng.choice(mine)
            if self.call("UpdateChannel", arn=arn, name="renamed"):
                self.renamed.add(arn)
        elif choice < 0.8:
            self.call("GetChannel", arn=self.rng.choice(mine))
        elif choice < 0.9:
            self.call("BatchGetChannel", arns=mine[:50])
        else:
            self.call("ListChannels", maxResults=20)


def load(calls: int, file: Path) -> collections.Counter[int]:
    process, endpoint = serve("--db", str(file), "--limit", "channels=1000000")
    killed = threading.Event()
    threads: list[threading.Thread] = []
    try:
        _arm(endpoint)
        clients = [Client(endpoint, number) for number in range(CLIENTS)]
        threads = [threading.Thread(target=client.run, args=(killed,)) for client in clients]
        for thread in threads:
            thread.start()
        while sum(client.statuses.total() for client in clients) < calls and all(
            map(threading.Thread.is_alive, threads)
        ):
            time.sleep(0.05)
    finally:
        # In the middle of everybody's calls.
        killed.set()
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        for thread in threads:
            thread.join(60)
        if process.stdout:
            process.stdout.close()
    assert [client.failure for client in clients if client.failure] == []
    store = Store(file)
    with store.transaction(write=False) as connection:
        kept = dict(connection.execute("SELECT arn, name FROM resources WHERE kind = 'channel'"))
        (counted,) = connection.execute("SELECT n FROM counts WHERE kind = 'channel'").fetchone()
    store.close()
    assert counted == len(kept)
    for client in clients:
        assert client.made - client.gone <= set(kept)
        assert {kept[arn] for arn in client.renamed - client.gone} <= {"renamed"}
    return sum((client.statuses for client in clients), collections.Counter())


def _arm(endpoint: str) -> None:
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=60)
    rule = {"effect": "throttle", "operation": "GetChannel", "every": 50, "times": None}
    connection.request("POST", "/_sandbox/add_fault", json.dumps(rule).encode(), {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()


def test_sixteen_clients_see_only_injected_errors(tmp_path: Path) -> None:
    statuses = load(3_000, tmp_path / "state.db")
    assert statuses[200] > 2_000
    assert statuses[429] > 0
    assert set(statuses) <= {200, 204, 429}
