"""What no AWS client can do: make streams live, break things, move the clock, look behind.

Every public method of `Control` is also `POST /_sandbox/<name>` with its arguments as a JSON object
(queries answer GET too), with the same defaults, refusals and results; see `control_http`.

The part of the control operations that is about streams, which only broadcasters and viewers make.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote

from reconciler.sandbox import events, journal
from reconciler.sandbox import streams as live
from reconciler.sandbox import streams as sessions
from reconciler.sandbox.auth import DEFAULT_ACCOUNT, DEFAULT_REGION, Caller
from reconciler.sandbox.engine import Engine, Parts
from reconciler.sandbox.faults import STANDING, Fault, Subject
from reconciler.sandbox.ivs.common import KINDS, settled
from reconciler.sandbox.ivs.registry import HANDLERS
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.services import aws
from reconciler.sandbox.settings import RESOURCE_QUOTAS, VirtualClock, quota, set_quota
from reconciler.sandbox.store import FORMAT
from reconciler.sandbox.streams import Session
from reconciler.sandbox.validation import strangers
from reconciler.sandbox.wire import Request, is_number, json_bytes
from reconciler.sandbox.world import Lag, Row, World

MAX_LIMIT = 1000


class ControlError(ValueError):
    """What was asked of the sandbox is not possible; the text says why."""


def counted(limit: int, most: int) -> int:
    """Return how many to answer."""
    if limit < 1:
        raise ControlError("a limit is 1 or more")
    return min(limit, most)


class StreamControl:
    """Start, starve, watch and end streams, in whichever account and region."""

    def __init__(self, parts: Parts) -> None:
        """Work on the state of one sandbox."""
        self._parts = parts

    def go_live(self, arn: str, viewers: int = 0, health: str = "HEALTHY") -> JsonDict:
        """Start a stream on a channel; answers its stream id."""
        return self._with_channel(
            arn,
            lambda world, channel: live.go_live(world, channel, self._parts.rng, viewers=viewers, health=health),
        )

    def go_offline(self, arn: str) -> JsonDict:
        """End a channel's stream at once, as if the broadcaster left."""

        def end(world: World, session: Session) -> None:
            live.end_stream(world, session, at=world.now)

        return self._with_session(arn, end)

    def set_health(self, arn: str, health: str) -> JsonDict:
        """Make a stream HEALTHY, STARVING or UNKNOWN."""
        return self._with_session(arn, lambda world, session: live.set_health(world, session, health))

    def set_viewers(self, arn: str, viewers: int) -> JsonDict:
        """Say how many watch a stream."""
        return self._with_session(arn, lambda world, session: live.set_viewers(world, session, viewers))

    def live(self) -> list[JsonDict]:
        """Return what is on air, in all accounts and regions."""
        found: list[JsonDict] = []
        with self._parts.store.transaction(write=False) as connection:
            for world in self._worlds(connection):
                here = World(connection, world["account"], world["region"], self._parts.clock.now())
                streams, _ = sessions.page_of_live(here, MAX_LIMIT, "", "")
                found += [
                    {
                        "channelArn": each.channel,
                        "streamId": each.stream_id,
                        "name": each.document["name"],
                        "health": each.document["health"],
                        "viewers": each.document["viewers"],
                        "startTime": each.started,
                    }
                    for each in streams
                ]
        return found

    def worlds(self) -> list[JsonDict]:
        """Return the accounts and regions that have held anything."""
        with self._parts.store.transaction(write=False) as connection:
            return self._worlds(connection)

    def _worlds(self, connection: sqlite3.Connection) -> list[JsonDict]:
        rows = connection.execute("SELECT account, region, sum(n) FROM counts GROUP BY account, region").fetchall()
        return [{"account": account, "region": region, "resources": n} for account, region, n in rows]

    def _writing(self) -> AbstractContextManager[Any]:
        return self._parts.store.transaction(write=True)

    def _with_channel(self, arn: str, work: Callable[[World, Row], JsonDict]) -> JsonDict:
        """Work on a channel in its own account and region, which its ARN names."""
        parts = arn.split(":")
        if len(parts) != 6 or not parts[5].startswith("channel/"):
            raise ControlError(f"{arn!r} is not a channel ARN")
        with self._writing() as connection:
            world = World(connection, parts[4], parts[3], self._parts.clock.now())
            channel = world.find(arn)
            if channel is None:
                raise ControlError(f"there is no channel {arn}")
            try:
                return work(world, channel)
            except live.NotPossibleError as error:
                refusal = ControlError(str(error))
        raise refusal

    def _with_session(self, arn: str, work: Callable[[World, Session], None]) -> JsonDict:
        def on_air(world: World, channel: Row) -> JsonDict:
            session = sessions.live_session(world, channel.arn)
            if session is None:
                raise live.NotPossibleError(f"channel {arn} is not live")
            work(world, session)
            return {"channelArn": arn, "streamId": session.stream_id}

        return self._with_channel(arn, on_air)


# Raised when an operation goes or changes its meaning; new operations and arguments do not count.
CONTROL_VERSION = 1
OPERATIONS = (*(("ivs", name) for name in HANDLERS), *aws.OPERATIONS)


__all__ = ["Control", "ControlError"]


class Control(StreamControl):
    """The control operations of one sandbox."""

    def __init__(self, engine: Engine, limits: Mapping[str, int] | None = None) -> None:
        """Control the engine's state; `Sandbox.control` makes this. `limits` are the quotas it was started with."""
        super().__init__(engine.parts)
        self._engine = engine
        self._limits = dict(limits or {})

    def drift(self, arn: str, changes: JsonDict) -> JsonDict:
        """Change a resource behind everybody's back, through the API, as the user someone-else.

        `changes` are members of the kind's Update operation; `tags` among them go to TagResource.
        """
        parts = arn.split(":")
        kind = KINDS.get(parts[5].partition("/")[0]) if len(parts) == 6 else None
        if kind is None:
            raise ControlError(f"{arn!r} is not the ARN of an IVS resource")
        caller = Caller("someone-else", parts[4], parts[3], "someone-else", "ivs")
        members = {name: value for name, value in changes.items() if name != "tags"}
        operation = f"Update{kind.member[0].upper()}{kind.member[1:]}"
        self._must_know(operation, kind.type, members)
        if members:
            self._act(caller, f"/{operation}", {"arn": arn, **members})
        if "tags" in changes:
            self._act(caller, f"/tags/{quote(arn, safe='')}", {"tags": changes["tags"]})
        return {"arn": arn, "changed": sorted(changes)}

    def _must_know(self, operation: str, what: str, members: JsonDict) -> None:
        """Refuse members that the service would pass over, so that a misspelt one is not taken for a change."""
        model = self._parts.model
        found = model.operations.get(operation)
        if found is None:
            if members:
                raise ControlError(
                    f"no operation of the service changes {', '.join(members)} of a {what}; its tags can be changed: tags.NAME=VALUE"
                )
            return
        root = model.shapes[found.input or ""]
        settable = {
            **root,
            "members": {name: reference for name, reference in root["members"].items() if name != "arn"},
        }
        unknown = [
            f"no member {name} of a {what} can be changed; there are {', '.join(known)}"
            for name, known in strangers(model.shapes, settable, members)
        ]
        if unknown:
            raise ControlError("; ".join(unknown))

    def _act(self, caller: Caller, path: str, body: JsonDict) -> None:
        answer = self._engine.handle(Request("POST", path, body=json_bytes(body)), caller=caller)
        if answer.disruption is not None or answer.status >= 400:
            raise ControlError(f"{path}: {json.loads(answer.body or b'{}').get('message', 'no answer')}")

    def add_fault(self, effect: str, **rule: Any) -> list[JsonDict]:
        """Arm a fault (see `reconciler.sandbox.faults.Fault` for the arguments).

        Conditions (deny, expire, skew) hold until cleared unless `times` is given; others hit once.
        """
        try:
            fault = Fault(effect=effect, **{"times": None if effect in STANDING else 1, **rule})
        except (TypeError, ValueError) as error:
            raise ControlError(f"not a fault: {error}") from None
        if not any(
            fault.names(operation, Subject(service=service, operation=operation)) for service, operation in OPERATIONS
        ):
            close = difflib.get_close_matches(fault.operation.rpartition(":")[2], [name for _, name in OPERATIONS], n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise ControlError(f"not a fault: no operation fits {fault.operation!r}{meant}")
        self._parts.faults.add(fault)
        return self.faults()

    def deny(self, operation: str, arn: str = "", account: str = "", region: str = "") -> list[JsonDict]:
        """Take a permission away until `clear_faults`: 403 AccessDeniedException, in IAM's words."""
        return self.add_fault("deny", operation=operation, arn=arn, account=account, region=region)

    def faults(self) -> list[JsonDict]:
        """Return the armed faults, with how many calls each has seen and hit."""
        return self._parts.faults.describe()

    def clear_faults(self, effect: str = "", operation: str = "") -> list[JsonDict]:
        """Disarm all faults, or those of an effect or with exactly this operation; answers what is left."""
        self._parts.faults.clear(effect, operation)
        return self.faults()

    def set_lag(self, create: float = 0.0, delete: float = 0.0) -> JsonDict:
        """Seconds until a create shows in reads, and until a delete stops showing."""
        if not (is_number(create) and is_number(delete) and create >= 0 and delete >= 0):
            raise ControlError("a lag is a number of seconds, and not negative")
        self._parts.lag = Lag(create, delete)
        return {"create": create, "delete": delete}

    def set_rates(self, rates: dict[str, float] | bool, burst: float | None = None, windows: bool = False) -> JsonDict:
        """Switch call-rate quotas on (true), off (false), or set some of them (a second).

        `burst` is how many calls may come at once; with `windows` the count begins anew at every whole second.
        """
        try:
            self._parts.limiter.set(rates, burst=burst, windows=windows)
        except (TypeError, ValueError) as error:
            raise ControlError(str(error)) from None
        return {"rates": rates, "burst": burst, "windows": windows}

    def set_quota(self, name: str, value: int, account: str = "", region: str = "") -> JsonDict:
        """Change a resource quota, as AWS Support would; kept in the database.

        With an account and a region it is theirs alone, else everybody's who has none of their own.
        """
        with self._writing() as connection:
            try:
                set_quota(connection, name, value, account, region)
            except ValueError as error:
                raise ControlError(str(error)) from None
        return {"name": name, "value": value}

    def version(self) -> JsonDict:
        """Return the versions of what others rely on: this control API, the file's format, the service model."""
        model = self._parts.model
        return {
            "control": CONTROL_VERSION,
            "format": FORMAT,
            "model": model.version,
            "operations": len(model.operations),
        }

    def conditions(self) -> JsonDict:
        """Return what was set besides faults and assumptions: lag, call rates, the clock."""
        parts = self._parts
        return {
            "lag": {"create": parts.lag.create, "delete": parts.lag.delete},
            "rates": parts.limiter.rates,
            "clock": "virtual" if isinstance(parts.clock, VirtualClock) else "real",
            "now": parts.clock.now(),
        }

    def set_limits(self) -> None:
        """Set the resource quotas this sandbox was started with."""
        for name, value in self._limits.items():
            self.set_quota(name, value)

    def assume(self, name: str, option: str) -> list[JsonDict]:
        """Answer an open question about the service otherwise (see `reconciler.sandbox.settings`)."""
        try:
            self._parts.settings.assume.choose(name, option)
        except ValueError as error:
            raise ControlError(str(error)) from None
        return self.assumptions()

    def assumptions(self) -> list[JsonDict]:
        """Return the open questions about the service, with the answers this sandbox gives."""
        return self._parts.settings.assume.describe()

    def quotas(self, account: str = "", region: str = "") -> JsonDict:
        """Return the applied resource quotas: everybody's, or those of an account in a region."""
        with self._parts.store.transaction(write=False) as connection:
            return {name: quota(connection, name, account, region) for name in RESOURCE_QUOTAS}

    def calls(self, operation: str = "", account: str = "", region: str = "", limit: int = 100) -> list[JsonDict]:
        """Return recorded calls, newest first, secrets masked."""
        self.flush()
        with self._parts.store.transaction(write=False) as connection:
            return journal.query(
                connection,
                operation=operation,
                account=account,
                region=region,
                limit=counted(limit, journal.KEPT),
            )

    def clear_calls(self) -> JsonDict:
        """Forget the record of calls."""
        with self._writing() as connection:
            self._parts.journal.clear()
            connection.execute("DELETE FROM calls")
        return {}

    def events(self, limit: int = 100) -> list[JsonDict]:
        """Events as EventBridge would deliver them, newest first."""
        with self._parts.store.transaction(write=False) as connection:
            return events.latest(connection, self._parts.clock.now(), counted(limit, MAX_LIMIT))

    def advance(self, seconds: float) -> JsonDict:
        """Move a virtual clock on."""
        clock = self._parts.clock
        if not isinstance(clock, VirtualClock):
            raise ControlError("this sandbox runs on the real clock")
        try:
            clock.advance(seconds)
        except ValueError as error:
            raise ControlError(str(error)) from None
        return {"now": clock.now()}

    def resources(self, account: str = DEFAULT_ACCOUNT, region: str = DEFAULT_REGION) -> JsonDict:
        """How many resources of each kind there are."""
        with self._parts.store.transaction(write=False) as connection:
            rows = connection.execute(
                "SELECT kind, n FROM counts WHERE account = ? AND region = ? ORDER BY kind",
                (account, region),
            ).fetchall()
        return dict(rows)

    def inventory(self, limit: int = 100) -> list[JsonDict]:
        """Return the newest resources of all accounts and regions: kind, name, ARN, state, tags, and a digest of all else, which tells whether it changed."""
        now = self._parts.clock.now()
        with self._parts.store.transaction(write=False) as connection:
            rows = connection.execute(
                "SELECT kind, name, arn, document FROM resources WHERE gone_from IS NULL ORDER BY seq DESC LIMIT ?",
                (counted(limit, MAX_LIMIT),),
            ).fetchall()
        return [
            {
                "kind": kind,
                "name": name,
                "arn": arn,
                "state": document.get("state", ""),
                "tags": document.get("tags", {}),
                "digest": _digest(document),
            }
            for kind, name, arn, document in ((*row[:3], settled(json.loads(row[3]), now)) for row in rows)
        ]

    def reset(self) -> JsonDict:
        """Back to how this sandbox was started, and empty: no resources, streams, events, records, faults, lag."""
        self._parts.store.clear()
        self._parts.journal.clear()
        self._parts.faults.clear()
        self._parts.lag = Lag()
        self._parts.limiter.restore()
        self._parts.settings.assume.restore()
        self.set_limits()
        return {}

    def flush(self) -> JsonDict:
        """Store the records that still wait in memory."""
        self._parts.journal.flush(self._parts.store)
        return {}


def _digest(document: JsonDict) -> str:
    """Return a short digest of what a resource is beside its tags; secrets are part of it and cannot be read from it."""
    rest = {name: value for name, value in document.items() if name != "tags"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:16]
