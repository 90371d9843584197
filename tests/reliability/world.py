"""A sandbox without sockets and a clock that moves only in a sleep, so that waiting costs a test nothing.

``World`` plans and applies on it through boto3 and the real pipeline; faults are the sandbox's own.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reconciler.apply import Event
from reconciler.aws.client import Answer, IvsGateway
from reconciler.aws.connection import Connection
from reconciler.aws.session import open_client, open_session
from reconciler.aws.stores import SecretPublisher
from reconciler.model.address import ID, STACK, Address, KindName
from reconciler.model.kinds import KINDS, Kind, Service
from reconciler.model.resource import DesiredResource, DesiredState
from reconciler.model.target import Guardrails, Project, Target
from reconciler.plan.plan import ApplyResult, PlanOptions
from reconciler.plan.selection import kinds_to_read
from reconciler.sandbox import Sandbox, VirtualClock
from reconciler.spec.keys import read_public_key
from reconciler.workflow.history import recorded_kinds
from reconciler.workflow.records import records_of
from reconciler.workflow.run import apply_plans
from reconciler.workflow.survey import Survey, plan_target, read_target
from tests.aws.stores import Stores
from tests.builders import ACCOUNT, REGION, THIS_STACK, desired, wanted

HERE = Target(name="here", region=REGION, account_id=ACCOUNT, sandbox="not used", paced=False)
KEYS = Path(__file__).resolve().parent.parent / "scenarios" / "keys"
_TYPES = {kind.arn_type: kind.name for kind in KINDS.values()}


def key_pair(identifier: str, key: str = "one", **more: Any) -> DesiredResource:
    """Make a key pair of the spec with a real public key."""
    public = read_public_key((KEYS / f"{key}.pem").read_text(encoding="utf-8"))
    return wanted(f"playback-key-pair/{identifier}", {"fingerprint": public.fingerprint}, public_key=public.pem, **more)


class Screen:
    """Keeps the events of an apply."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    @contextmanager
    def observe(self, name: str, actions: int) -> Iterator[Callable[[Event], None]]:
        del name, actions
        yield self.events.append

    def finished(self, result: ApplyResult) -> None:
        del result


class Gated(IvsGateway):
    """A gateway that tells ``before`` of each call before it leaves."""

    def __init__(self, client: Any, before: Callable[[str, Mapping[str, object]], None], **options: Any) -> None:
        super().__init__(client, **options)
        self._before = before

    def call(self, operation: str, parameters: Mapping[str, object], service: Service | None = None, /) -> Answer:
        self._before(operation, parameters)
        return super().call(operation, parameters, service)

    def read_value(self, kind: Kind, arn: str, take: Callable[[str], None], /) -> Answer:
        self._before(kind.get, {kind.identifier: arn})
        return super().read_value(kind, arn, take)


class World:
    """One account of a sandbox, and applies to it from a folder."""

    def __init__(
        self, sandbox: Sandbox, clock: VirtualClock, client: Any, root: Path, *, stores: Stores | None = None
    ) -> None:
        """``stores`` take the values of stream keys; without, nothing is handed over."""
        self.sandbox = sandbox
        self.stores = stores
        self.clock = clock
        self.client = client
        self.root = root
        self.draw: Callable[[], float] = lambda: 0.5
        self.sleep: Callable[[float], None] = clock.sleep

    @property
    def control(self) -> Any:
        return self.sandbox.control

    def survey(
        self,
        spec: DesiredState,
        options: PlanOptions | None = None,
        *,
        before: Callable[[str, Mapping[str, object]], None] | None = None,
    ) -> Survey:
        """Read and plan."""
        options = options or PlanOptions()
        gateway = Gated(
            self.client, before or (lambda _operation, _parameters: None), pacer=None, sleep=self.sleep, draw=self.draw
        )
        publish = None
        if self.stores is not None:
            publish = SecretPublisher(gateway, self.stores.client, sleep=self.sleep, draw=self.draw).publish
        connection = Connection(gateway, ACCOUNT, REGION, "arn:aws:iam::123456789012:user/tests", publish=publish)
        began = self.clock.now()
        recorded = recorded_kinds(records_of(self.project), HERE.name)
        live = read_target(connection, spec, options, kinds=kinds_to_read(spec.kinds, options, recorded))
        return Survey(
            HERE, spec, live, plan_target(self.project, HERE, spec, live, options, connection, {}), connection, began
        )

    def carry_out(
        self, survey: Survey, *, stop: threading.Event | None = None, screen: Screen | None = None
    ) -> ApplyResult | None:
        """Carry out what was planned; ``None`` when there was nothing to do."""
        results = apply_plans(
            [survey],
            self.project,
            screen or Screen(),
            stop=stop or threading.Event(),
            sleep=self.sleep,
            clock=self.clock.now,
            draw=self.draw,
        )
        return results[0] if results else None

    def apply(self, spec: DesiredState, options: PlanOptions | None = None) -> ApplyResult | None:
        """Read, plan and carry out."""
        return self.carry_out(self.survey(spec, options))

    @property
    def project(self) -> Project:
        return Project(
            str(self.root / "ivs-reconciler.yaml"),
            str(self.root),
            THIS_STACK,
            (),
            {},
            {},
            (),
            {"here": HERE},
            Guardrails(None, None),
        )

    def status(self) -> Counter[Address]:
        """Count what carries our tags, by address, without asking our own code. A stream key that is tagged counts by its id."""
        found: Counter[Address] = Counter()
        for resource in self.everything():
            tags = resource.get("tags") or {}
            if tags.get(STACK) == THIS_STACK:
                found[Address(_TYPES[resource["arn"].split(":", 5)[5].partition("/")[0]], tags[ID])] += 1
        return found

    def everything(self) -> list[dict[str, Any]]:
        """Return every resource of the account, as the sandbox has it."""
        resources: list[dict[str, Any]] = self.control.inventory(limit=1000)
        return resources


def worlds_client() -> Any:
    """Return a boto3 client that is answered by the sandbox that is attached to it."""
    url = "http://127.0.0.1:9"
    return open_client(open_session(HERE, url), "ivs", HERE, url, 4)


@contextmanager
def one_world(root: Path, seed: int) -> Iterator[World]:
    """Make a world with an account and a client of its own, and let it go."""
    clock, client = VirtualClock(), worlds_client()
    sandbox = Sandbox(serve=False, clock=clock, seed=seed)
    detach = sandbox.attach(client)
    try:
        yield World(sandbox, clock, client, root)
    finally:
        detach()
        sandbox.stop()


def spec_of(*resources: DesiredResource) -> DesiredState:
    """Make a desired state."""
    return desired(*resources)


__all__ = ["KindName", "World", "key_pair", "one_world", "spec_of", "worlds_client"]
