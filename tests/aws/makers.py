"""Short makers of gateways and of what is live in a sandbox; time is a number that tests move."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any

from reconciler.aws.client import Answer, IvsGateway, ReadCalls
from reconciler.aws.limiter import Pacer
from reconciler.aws.session import open_client, open_session
from reconciler.model.address import ID, STACK
from reconciler.model.kinds import Service
from reconciler.model.target import Target

HERE = Target(name="here", region="us-west-2", sandbox="not used", paced=False)
OURS = {STACK: "acme"}


class Time:
    """A clock that moves only in a sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.now += seconds


def gateway_to(
    url: str,
    *,
    time: Time | None = None,
    pacer: Pacer | None = None,
    read_seconds: float = 5,
    draw: Callable[[], float] = lambda: 1.0,
    service: str = "ivs",
) -> IvsGateway:
    """Make a gateway through a real boto3 client to a server of this process."""
    client = open_client(open_session(HERE, url), service, HERE, url, 4, read_seconds=read_seconds)

    @functools.cache
    def sibling(other: str) -> IvsGateway:
        return gateway_to(url, time=time, pacer=pacer, read_seconds=read_seconds, draw=draw, service=other)

    return IvsGateway(client, pacer=pacer, sleep=(time or Time()).sleep, draw=draw, siblings=sibling)


class Recorded:
    """Passes calls on and keeps them; ``before`` is called with each one first."""

    def __init__(self, calls: ReadCalls, before: Callable[[str], None] = lambda _: None) -> None:
        self.calls: list[tuple[str, Mapping[str, object]]] = []
        self._to = calls
        self._before = before
        self._lock = threading.Lock()

    def call(self, operation: str, parameters: Mapping[str, object], service: Service | None = None, /) -> Answer:
        with self._lock:
            self.calls.append((operation, parameters))
            self._before(operation)
        return self._to.call(operation, parameters, service)

    @property
    def operations(self) -> list[str]:
        return sorted(operation for operation, _ in self.calls)

    def count(self, operation: str) -> int:
        return sum(name == operation for name, _ in self.calls)


class Told:
    """Gives the prepared answers, by operation, the last one for ever; an exception is raised. Other operations are empty lists."""

    def __init__(self, **answers: list[Any]) -> None:
        self._answers = answers
        self._lock = threading.Lock()

    def call(self, operation: str, parameters: Mapping[str, object], service: Service | None = None, /) -> Answer:
        with self._lock:
            told = self._answers.get(operation)
            answer = (
                {operation.removeprefix("List")[0].lower() + operation.removeprefix("List")[1:]: []}
                if told is None
                else told[0]
            )
            if operation == "ListPlaybackKeyPairs" and told is None:
                answer = {"keyPairs": []}
            if told is not None and len(told) > 1:
                told.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Answer(answer, "req-1")


def channel(gateway: IvsGateway, name: str, tags: Mapping[str, str] | None = None, **fields: object) -> str:
    """Make a channel and return its ARN."""
    made: Any = gateway.call("CreateChannel", {"name": name, "tags": dict(tags or {}), **fields}).data
    return str(made["channel"]["arn"])


def our_channel(gateway: IvsGateway, identifier: str, **fields: object) -> str:
    """Make a channel of the stack and return its ARN."""
    return channel(gateway, identifier, {**OURS, ID: identifier}, **fields)
