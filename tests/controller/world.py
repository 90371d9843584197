"""A controller with real surroundings on a clock that tests move: a git repository, sandboxes as accounts, a state directory."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

from reconciler.aws.connection import connect
from reconciler.controller.controller import Controller, Observer, Schedule, Settings
from reconciler.controller.reconcile import Dependencies, Notifier
from reconciler.controller.state import Run
from reconciler.controller.store import Store
from reconciler.errors import AwsError
from reconciler.git.committed import addresses_in_mirror
from reconciler.git.git import Remote
from reconciler.git.source import ProjectRules, Source
from reconciler.sandbox import Sandbox, VirtualClock
from reconciler.workflow.notifications import Delivery
from tests.cli.support import ACCOUNT, REGION
from tests.controller.repos import Repo

SPEC: Mapping[str, object] = {"channels": {"main-stage": {}, "side-stage": {"latencyMode": "NORMAL"}}}


class Inline(Executor):
    """Runs submitted calls at once, in the caller's thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - as an executor does
            future.set_exception(error)
        return future


class World:
    """A controller and its surroundings. ``targets`` names the accounts, each a sandbox of its own."""

    def __init__(
        self,
        folder: Path,
        *targets: str,
        schedule: Schedule | None = None,
        spec: Mapping[str, object] = SPEC,
        observer: Observer | None = None,
        **remote: str,
    ) -> None:
        self.folder = folder
        self.clock = VirtualClock()
        self.names = targets or ("dev",)
        self.schedule = schedule or Schedule()
        self.sandboxes = {name: Sandbox(clock=self.clock, seed=index) for index, name in enumerate(self.names)}
        self.repo = Repo(folder / "repo")
        self.remote = Remote(str(self.repo.folder), **remote)  # type: ignore[arg-type]
        self.observer = observer or Observer()
        self.stop = threading.Event()
        self.random = random.Random(7)
        self.requests: list[tuple[str, str, str]] = []
        self.deliveries: list[Delivery] = []
        self.environment: dict[str, str] = {}
        self.spec = spec

    def __enter__(self) -> Self:
        for sandbox in self.sandboxes.values():
            sandbox.start()
        self.repo.commit(
            {"ivs-reconciler.yaml": self.project(), **{f"specs/{name}.yaml": self.spec for name in self.names}},
            "The first",
        )
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()
        for sandbox in self.sandboxes.values():
            sandbox.stop()

    def project(self, **more: object) -> dict[str, object]:
        targets = {
            name: {
                "region": REGION,
                "accountId": ACCOUNT,
                "endpointUrl": self.sandboxes[name].endpoint_url,
                "specs": [f"specs/{name}.yaml"],
            }
            for name in self.names
        }
        return {"stack": "acme-live", "specs": [], "targets": targets, **more}

    def begin(self, **settings: Any) -> None:
        """Start a controller with the state directory."""
        state = self.folder / "state"
        state.mkdir(exist_ok=True)
        self.store = Store(state / "controller.db")
        source, rules = Source(state, self.remote, timeout=60), settings.get("rules", ProjectRules())
        deps = Dependencies(
            connect=lambda target, on_request: connect(target, sleep=self.clock.sleep, on_request=on_request),
            now=self.clock.now,
            sleep=self.clock.sleep,
            monotonic=self.clock.now,
            stop=self.stop,
            on_request=self._count_request,
            notify=Notifier(
                self.store,
                self.environment,
                self._keep_delivery,
                now=self.clock.now,
                sleep=self.clock.sleep,
                public_url="https://status.example.com/",
            ),
            find_applied=partial(addresses_in_mirror, source, rules),
        )
        self.controller = Controller(
            source,
            self.store,
            Settings(self.schedule, **settings),
            deps,
            records=state / "targets",
            fetcher=Inline(),
            workers=Inline(),
            observer=self.observer,
            draw=self.random.random,
        )

    def restart(self) -> None:
        """Replace the controller, without a shutdown, by another."""
        self.store.close()
        self.begin()

    def _count_request(self, stack: str, target: str, operation: str, error: AwsError | None) -> None:
        self.requests.append((target, operation, error.code if error else ""))

    def _keep_delivery(self, stack: str, delivery: Delivery) -> None:
        self.deliveries.append(delivery)

    def step(self, seconds: float = 0.0) -> float:
        self.clock.advance(seconds)
        return self.controller.step()

    def pass_time(self, seconds: float) -> None:
        """Run the controller until the clock has advanced by this many seconds."""
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            due = self.controller.step()
            self.clock.advance(max(0.0, min(due, end) - self.clock.now()) or 0.001)
        self.controller.step()

    def settle(self) -> None:
        """Let the controller fetch the newest commit and reconcile every target."""
        self.controller.request_fetch()
        self.pass_time(6)

    def last(self, name: str = "dev") -> Run:
        run = self.controller.snapshot().states[name].last_run
        assert run is not None
        return run

    def operations(self, name: str = "dev") -> set[str]:
        return {call["operation"] for call in self.sandboxes[name].control.calls(limit=10_000)}

    @contextmanager
    def ivs(self, name: str = "dev") -> Iterator[Any]:
        from tests.cli.support import client

        yield client(self.sandboxes[name].endpoint_url)
