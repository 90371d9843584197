"""Control operations, for what AWS clients cannot do: start streams, add faults, advance the clock, search, read the call log.

`http.control` serves every public method of `Control` as `POST /_sandbox/<name>` with its arguments as a JSON object,
with the same defaults, errors and results; queries answer GET too. A search covers the resources of all accounts and regions.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from reconciler.sandbox import supporting
from reconciler.sandbox.auth import DEFAULT_ACCOUNT, DEFAULT_REGION, Caller
from reconciler.sandbox.engine import Engine
from reconciler.sandbox.faults import PERSISTENT, Fault, Subject
from reconciler.sandbox.ivs import sessions
from reconciler.sandbox.ivs.sessions import Session
from reconciler.sandbox.model import JsonDict, ServiceModel, project_by_shape, unknown_members
from reconciler.sandbox.registry import HANDLERS, QUOTAS, kind_of
from reconciler.sandbox.service import Kind, settled
from reconciler.sandbox.settings import ControlError, VirtualClock, applied_quota, set_quota
from reconciler.sandbox.state.logs import MAX_CALL_RECORDS, find_calls, latest_events
from reconciler.sandbox.state.store import FORMAT
from reconciler.sandbox.state.world import Lag, Row, World
from reconciler.sandbox.wire import Request, is_number, json_bytes

_MAX_LIMIT = 1000
# Increased when an operation is removed or changes its meaning, not when one or an argument is added.
_CONTROL_VERSION = 1
_INTEGER_BITS = 63  # and a sign: what SQLite stores
_OPERATIONS = (*HANDLERS, *supporting.OPERATIONS)


_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (int, float),
    "JsonDict": (dict,),
    "bool": (bool,),
}


def check_types(function: Callable[..., object], arguments: JsonDict) -> None:
    """Raise TypeError for unknown, missing or wrongly typed arguments, by the function's signature."""
    signature = inspect.signature(function)
    for name, value in signature.bind(**arguments).arguments.items():
        annotation = signature.parameters[name].annotation
        wanted = _TYPES.get(annotation)
        if wanted is not None and (not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted)):
            raise TypeError(f"{name} must be of type {'object' if dict in wanted else annotation}")
        if isinstance(value, int) and value.bit_length() > _INTEGER_BITS:
            raise TypeError(f"{name} must be an integer of {_INTEGER_BITS + 1} bits")


def _capped(limit: int, maximum: int) -> int:
    if limit < 1:
        raise ControlError("limit must be 1 or more")
    return min(limit, maximum)


_COLUMNS = "kind, name, arn, document"
_MATCHES = (
    "gone_from IS NULL AND (:kind = '' OR kind = :kind) AND (:without = '' OR kind <> :without)"
    " AND (:account = '' OR account = :account) AND (:region = '' OR region = :region)"
)
# Not the document: a search must not reveal whether a secret contains a text.
_CONTAINS = (
    " AND (instr(lower(name), lower(:word{0})) OR instr(lower(arn), lower(:word{0}))"
    " OR EXISTS (SELECT 1 FROM json_each(document, '$.tags') WHERE instr(lower(key || '=' || value), lower(:word{0}))))"
)
_MAX_OFFSET = 1 << 40
_MAX_WORDS = 8
_SHOWN = 25


@dataclass(frozen=True, slots=True)
class _Search:
    """What resources to find: with all words of a text in name, ARN or tags; "" is no restriction.

    without: a kind to leave out.
    """

    text: str = ""
    kind: str = ""
    without: str = ""
    account: str = ""
    region: str = ""

    def _where(self) -> tuple[str, dict[str, str]]:
        words = self.text.split()[:_MAX_WORDS]
        values = {"kind": self.kind, "without": self.without, "account": self.account, "region": self.region}
        values |= {f"word{at}": word for at, word in enumerate(words)}
        return _MATCHES + "".join(_CONTAINS.format(at) for at in range(len(words))), values

    def count(self, connection: sqlite3.Connection) -> dict[str, int]:
        """Return the number of matching resources of each kind."""
        where, values = self._where()
        # The condition is composed of constants; values are bound.
        return dict(connection.execute(f"SELECT kind, count(*) FROM resources WHERE {where} GROUP BY kind", values))  # noqa: S608

    def page(self, connection: sqlite3.Connection, now: float, limit: int, offset: int) -> list[JsonDict]:
        """Return matching resources, newest first."""
        where, values = self._where()
        # Both are integers.
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM resources WHERE {where} ORDER BY seq DESC LIMIT {limit:d} OFFSET {offset:d}",  # noqa: S608
            values,
        ).fetchall()
        return [_entry(kind, name, arn, settled(json.loads(document), now)) for kind, name, arn, document in rows]


def _entry(kind: str, name: str, arn: str, document: JsonDict) -> JsonDict:
    return {
        "kind": kind,
        "name": name,
        "arn": arn,
        "state": document.get("state", ""),
        "tags": document.get("tags", {}),
        "digest": _digest(document),
    }


def _digest(document: JsonDict) -> str:
    """Return a short digest of a resource without its tags; it covers secrets and does not reveal them."""
    rest = {name: value for name, value in document.items() if name != "tags"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:16]


def _describe(world: World, row: Row, kind: Kind, model: ServiceModel) -> JsonDict:
    """Return a resource with its members as its Get operation shows them, its children, its users and its streams."""
    document = settled(row.document, world.now)
    connection = world.connection
    used_by = "FROM links JOIN resources USING (seq) WHERE links.target = ? AND gone_from IS NULL"
    (users,) = connection.execute(f"SELECT count(*) {used_by}", (row.arn,)).fetchone()
    found: JsonDict = {
        **_entry(row.kind, document.get("name", ""), row.arn, document),
        "account": world.account,
        "region": world.region,
        "properties": project_by_shape(model.shapes, _shape_of(kind, model), document, masked=True),
        "parent": row.parent or "",
        "children": [child.arn for child in world.children(row.arn)],
        "usedBy": [
            {"name": name, "arn": arn}
            for name, arn in connection.execute(f"SELECT name, arn {used_by} ORDER BY seq LIMIT {_SHOWN}", (row.arn,))
        ],
        "users": users,
    }
    if kind.type == "channel":
        recent, _ = sessions.page_of_channel(world, row.arn, _SHOWN, "")
        found["streams"] = [
            {
                "streamId": each.stream_id,
                "isLive": each.is_live(world.now),
                "startTime": each.started,
                "endTime": None if each.is_live(world.now) else each.ended,
                "health": each.document["health"],
                "viewers": each.document["viewers"],
            }
            for each in recent
        ]
    return found


def _shape_of(kind: Kind, model: ServiceModel) -> str:
    """Return the name of the shape that a kind's Get operation answers with."""
    for operation in model.operations.values():
        members = model.shapes[operation.output]["members"] if operation.output else {}
        if operation.name.startswith("Get") and kind.member in members:
            return str(members[kind.member]["shape"])
    raise KeyError(kind.member)


class Control:
    """The control operations of one sandbox; each raises ControlError if it is not possible."""

    def __init__(self, engine: Engine, limits: Mapping[str, int]) -> None:
        """Set the resource quotas of the start; `Sandbox` creates this as its `control`."""
        self._engine = engine
        self._parts = engine.parts
        self._limits = limits
        self._set_limits()

    def go_live(self, arn: str, viewers: int = 0, health: str = "HEALTHY") -> JsonDict:
        """Start a stream on a channel and return its stream id."""
        return self._with_channel(
            arn,
            lambda world, channel: sessions.go_live(world, channel, self._parts.rng, viewers=viewers, health=health),
        )

    def go_offline(self, arn: str) -> JsonDict:
        """End a channel's stream at once, as if the broadcaster left."""

        def end(world: World, session: Session) -> None:
            sessions.end_stream(world, session, at=world.now)

        return self._with_session(arn, end)

    def set_health(self, arn: str, health: str) -> JsonDict:
        """Make a stream HEALTHY, STARVING or UNKNOWN."""
        return self._with_session(arn, lambda world, session: sessions.set_health(world, session, health))

    def set_viewers(self, arn: str, viewers: int) -> JsonDict:
        """Set the number of viewers of a stream."""
        return self._with_session(arn, lambda world, session: sessions.set_viewers(world, session, viewers))

    def live(self) -> list[JsonDict]:
        """Return the live streams of all accounts and regions."""
        found: list[JsonDict] = []
        with self._parts.store.transaction(write=False) as connection:
            for world in self._worlds(connection):
                here = World(connection, world["account"], world["region"], self._parts.clock.now())
                streams, _ = sessions.page_of_live(here, _MAX_LIMIT, "", "")
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
        """Return the accounts and regions that have or had resources."""
        with self._parts.store.transaction(write=False) as connection:
            return self._worlds(connection)

    def _worlds(self, connection: sqlite3.Connection) -> list[JsonDict]:
        rows = connection.execute("SELECT account, region, sum(n) FROM counts GROUP BY account, region").fetchall()
        return [{"account": account, "region": region, "resources": n} for account, region, n in rows]

    def _writing(self) -> AbstractContextManager[Any]:
        return self._parts.store.transaction(write=True)

    def _with_channel(self, arn: str, work: Callable[[World, Row], JsonDict]) -> JsonDict:
        """Run a change on a channel, in the account and region of its ARN."""
        parts = arn.split(":")
        if len(parts) != 6 or not parts[5].startswith("channel/"):
            raise ControlError(f"{arn!r} is not a channel ARN")
        with self._writing() as connection:
            world = World(connection, parts[4], parts[3], self._parts.clock.now())
            channel = world.find(arn)
            if channel is None:
                raise ControlError(f"channel {arn} does not exist")
            try:
                return work(world, channel)
            except ControlError as error:
                # Raised after the commit: an exceeded quota is an event.
                refusal = error
        raise refusal

    def _with_session(self, arn: str, work: Callable[[World, Session], None]) -> JsonDict:
        def with_live_session(world: World, channel: Row) -> JsonDict:
            session = sessions.live_session(world, channel.arn)
            if session is None:
                raise ControlError(f"channel {arn} is not live")
            work(world, session)
            return {"channelArn": arn, "streamId": session.stream_id}

        return self._with_channel(arn, with_live_session)

    def drift(self, arn: str, changes: JsonDict) -> JsonDict:
        """Change a resource through the API as the user someone-else, so that it drifts.

        `changes` are members of the kind's Update operation; `tags` among them go to TagResource.
        """
        parts = arn.split(":")
        kind = kind_of(arn)
        if kind is None:
            raise ControlError(f"{arn!r} is not the ARN of a resource of the sandbox")
        service = parts[2]
        caller = Caller("someone-else", parts[4], parts[3], "someone-else", service)
        members = {name: value for name, value in changes.items() if name != "tags"}
        operation = f"Update{kind.member[0].upper()}{kind.member[1:]}"
        self._refuse_unknown_members(service, operation, kind.type, members)
        if members:
            self._act(caller, f"/{operation}", {"arn": arn, **members})
        if "tags" in changes:
            self._act(caller, f"/tags/{quote(arn, safe='')}", {"tags": changes["tags"]})
        return {"arn": arn, "changed": sorted(changes)}

    def add_to_stack(self, arn: str, stack: str, logical_id: str = "Resource") -> JsonDict:
        """Put a resource into a CloudFormation stack: it gets the system tags, and DescribeStackResources finds it."""
        with self._writing() as connection:
            world, row = self._resource(connection, arn)
            tags = supporting.add_to_stack(connection, arn, stack, logical_id, world.now)
            world.replace(row, {**row.document, "tags": {**row.document.get("tags", {}), **tags}})
        return {"arn": arn, "tags": tags}

    def remove_from_stack(self, arn: str) -> JsonDict:
        """Let a resource leave its CloudFormation stack, as with DeletionPolicy Retain; it stays, with or without the system tags (assumption)."""
        with self._writing() as connection:
            world, row = self._resource(connection, arn)
            if not supporting.remove_from_stack(connection, arn, world.now):
                raise ControlError(f"{arn} is in no CloudFormation stack")
            tags = row.document.get("tags", {})
            if self._parts.settings.assume["retained-tags"] == "removed":
                tags = {key: value for key, value in tags.items() if not key.startswith(supporting.STACK_TAG_PREFIX)}
                world.replace(row, {**row.document, "tags": tags})
        return {"arn": arn, "tags": {key: value for key, value in tags.items() if key.startswith("aws:")}}

    def set_system_tags(self, arn: str, tags: JsonDict) -> JsonDict:
        """Set tags that AWS services set and that users cannot; their keys begin with aws: and stay until a reset."""
        if wrong := [key for key, value in tags.items() if not key.startswith("aws:") or not isinstance(value, str)]:
            raise ControlError(f"{', '.join(wrong)}: keys of system tags begin with aws:, and values are strings")
        with self._writing() as connection:
            world, row = self._resource(connection, arn)
            world.replace(row, {**row.document, "tags": {**row.document.get("tags", {}), **tags}})
        return {"arn": arn, "tags": tags}

    def _resource(self, connection: sqlite3.Connection, arn: str) -> tuple[World, Row]:
        """Return a resource of any kind, and its world. Raises ControlError."""
        parts = arn.split(":")
        if kind_of(arn) is not None:
            world = World(connection, parts[4], parts[3], self._parts.clock.now())
            if row := world.find(arn):
                return world, row
        raise ControlError(f"resource {arn} does not exist")

    def _refuse_unknown_members(self, service: str, operation: str, kind: str, members: JsonDict) -> None:
        """Refuse members that the service would ignore, such as misspelt ones."""
        model = self._parts.models[service]
        found = model.operations.get(operation)
        if found is None:
            if members:
                raise ControlError(
                    f"cannot change {', '.join(members)}: the service has no {operation}; only tags of a {kind} can be changed (tags.NAME=VALUE)"
                )
            return
        root = model.shapes[found.input or ""]
        settable = {
            **root,
            "members": {name: reference for name, reference in root["members"].items() if name != "arn"},
        }
        unknown = [
            f"unknown member {name} of a {kind}; known: {', '.join(known)}"
            for name, known in unknown_members(model.shapes, settable, members)
        ]
        if unknown:
            raise ControlError("; ".join(unknown))

    def _act(self, caller: Caller, path: str, body: JsonDict) -> None:
        answer = self._engine.handle(Request("POST", path, body=json_bytes(body)), caller=caller)
        if answer.disruption is not None or answer.status >= 400:
            raise ControlError(f"{path}: {json.loads(answer.body or b'{}').get('message', 'no answer')}")

    def add_fault(self, effect: str, **rule: Any) -> list[JsonDict]:
        """Add a fault and return all; the arguments are those of `reconciler.sandbox.faults.Fault`.

        By default deny, expire and skew hold until they are cleared, the other effects hit one call. `times` 0 is all calls.
        """
        rule = {"effect": effect, "times": None if effect in PERSISTENT else 1, **rule}
        try:
            check_types(Fault, rule)
            fault = Fault(**{**rule, "times": rule["times"] or None})
        except (TypeError, ValueError) as error:
            raise ControlError(f"invalid fault: {error}") from None
        if not any(
            fault.matches_action(operation, Subject(service=service, operation=operation))
            for service, operation in _OPERATIONS
        ):
            close = difflib.get_close_matches(
                fault.operation.rpartition(":")[2], [name for _, name in _OPERATIONS], n=1
            )
            meant = f"; did you mean {close[0]}?" if close else ""
            raise ControlError(f"invalid fault: no operation matches {fault.operation!r}{meant}")
        self._parts.faults.add(fault)
        return self.faults()

    def deny(self, operation: str, arn: str = "", account: str = "", region: str = "") -> list[JsonDict]:
        """Deny an operation (403 AccessDeniedException) until `clear_faults`."""
        return self.add_fault("deny", operation=operation, arn=arn, account=account, region=region)

    def faults(self) -> list[JsonDict]:
        """Return the active faults, with the number of calls that each matched (`seen`) and hit."""
        return self._parts.faults.describe()

    def clear_faults(self, effect: str = "", operation: str = "") -> list[JsonDict]:
        """Remove all faults, or those with an effect or exactly an operation, and return the rest."""
        self._parts.faults.clear(effect, operation)
        return self.faults()

    def set_lag(self, create: float = 0.0, delete: float = 0.0) -> JsonDict:
        """Set the seconds until reads show a created resource, and until they no longer show a deleted one."""
        if not (is_number(create) and is_number(delete) and create >= 0 and delete >= 0):
            raise ControlError("create and delete must be seconds, 0 or more")
        self._parts.lag = Lag(create, delete)
        return {"create": create, "delete": delete}

    def set_rates(self, rates: dict[str, float] | bool, burst: float | None = None, windows: bool = False) -> JsonDict:
        """Enable (true) or disable (false) call-rate quotas, or set some of them in calls a second.

        `burst` is the number of calls allowed at once; with `windows` buckets are filled at each whole second only.
        """
        self._parts.limiter.set(rates, burst=burst, windows=windows)
        return {"rates": rates, "burst": burst, "windows": windows}

    def set_quota(self, name: str, value: int, account: str = "", region: str = "") -> JsonDict:
        """Set a resource quota, for one account and region or for all others; stored in the database."""
        if name not in QUOTAS:
            raise ControlError(f"unknown quota {name!r}; known: {', '.join(QUOTAS)}")
        with self._writing() as connection:
            set_quota(connection, QUOTAS[name], value, account, region)
        return {"name": name, "value": value}

    def version(self) -> JsonDict:
        """Return the versions of the control API, the database format and the IVS service model."""
        model = self._parts.models["ivs"]
        return {
            "control": _CONTROL_VERSION,
            "format": FORMAT,
            "model": model.version,
            "operations": len(model.operations),
        }

    def conditions(self) -> JsonDict:
        """Return the lag, the call rates and the clock."""
        parts = self._parts
        return {
            "lag": {"create": parts.lag.create, "delete": parts.lag.delete},
            "rates": parts.limiter.rates,
            "clock": "virtual" if isinstance(parts.clock, VirtualClock) else "real",
            "now": parts.clock.now(),
        }

    def _set_limits(self) -> None:
        for name, value in self._limits.items():
            self.set_quota(name, value)

    def assume(self, name: str, option: str) -> list[JsonDict]:
        """Choose an option of an assumption and return all assumptions (see `reconciler.sandbox.settings`)."""
        self._parts.settings.assume.choose(name, option)
        return self.assumptions()

    def assumptions(self) -> list[JsonDict]:
        """Return the assumptions about the service with the chosen options."""
        return self._parts.settings.assume.describe()

    def quotas(self, account: str = "", region: str = "") -> JsonDict:
        """Return the resource quotas by name, for all or applied to one account and region."""
        with self._parts.store.transaction(write=False) as connection:
            return {name: applied_quota(connection, row, account, region) for name, row in QUOTAS.items()}

    def calls(
        self,
        operation: str = "",
        account: str = "",
        region: str = "",
        limit: int = 100,
        arn: str = "",
        before: int | None = None,
    ) -> list[JsonDict]:
        """Return logged calls, newest first, with secrets masked; `before` is the `seq` of the last one of a page.

        `arn` restricts them to calls whose parameters or result name this resource.
        """
        self._parts.call_log.flush(self._parts.store)
        with self._parts.store.transaction(write=False) as connection:
            return find_calls(
                connection,
                operation=operation,
                account=account,
                region=region,
                limit=_capped(limit, MAX_CALL_RECORDS),
                arn=arn,
                before=before,
            )

    def clear_calls(self) -> JsonDict:
        """Clear the call log."""
        with self._writing() as connection:
            self._parts.call_log.clear()
            connection.execute("DELETE FROM calls")
        return {}

    def events(self, limit: int = 100) -> list[JsonDict]:
        """Return events as EventBridge delivers them, newest first."""
        with self._parts.store.transaction(write=False) as connection:
            return latest_events(connection, self._parts.clock.now(), _capped(limit, _MAX_LIMIT))

    def advance(self, seconds: float) -> JsonDict:
        """Advance the virtual clock."""
        clock = self._parts.clock
        if not isinstance(clock, VirtualClock):
            raise ControlError("the sandbox uses the system clock, which cannot be advanced")
        clock.advance(seconds)
        return {"now": clock.now()}

    def resources(self, account: str = DEFAULT_ACCOUNT, region: str = DEFAULT_REGION) -> JsonDict:
        """Return the number of resources of each kind."""
        with self._parts.store.transaction(write=False) as connection:
            rows = connection.execute(
                "SELECT kind, n FROM counts WHERE account = ? AND region = ? ORDER BY kind", (account, region)
            ).fetchall()
        return dict(rows)

    def inventory(
        self,
        limit: int = 100,
        offset: int = 0,
        text: str = "",
        kind: str = "",
        without: str = "",
        account: str = "",
        region: str = "",
    ) -> list[JsonDict]:
        """Return resources, newest first; `digest` changes with any other member than tags.

        `text` is words that are in name, ARN or tags; `kind` and `without` are types such as channel.
        """
        if offset < 0:
            raise ControlError("offset must be 0 or more")
        search = _Search(text, kind, without, account, region)
        with self._parts.store.transaction(write=False) as connection:
            return search.page(
                connection, self._parts.clock.now(), _capped(limit, _MAX_LIMIT), min(offset, _MAX_OFFSET)
            )

    def kinds(
        self, text: str = "", kind: str = "", without: str = "", account: str = "", region: str = ""
    ) -> dict[str, int]:
        """Return how many resources of each kind `inventory` finds."""
        with self._parts.store.transaction(write=False) as connection:
            return _Search(text, kind, without, account, region).count(connection)

    def resource(self, arn: str) -> JsonDict:
        """Return a resource with its members, secrets masked, what it belongs to, what uses it, and a channel's streams."""
        parts, kind = arn.split(":"), kind_of(arn)
        if kind is not None:
            with self._parts.store.transaction(write=False) as connection:
                world, row = self._resource(connection, arn)
                return _describe(world, row, kind, self._parts.models[parts[2]])
        raise ControlError(f"resource {arn} does not exist")

    def reset(self) -> JsonDict:
        """Delete resources, streams, events, call log, faults and lag, and restore the settings of the start."""
        self._parts.store.clear()
        self._parts.call_log.clear()
        self._parts.faults.clear()
        self._parts.lag = Lag()
        self._parts.limiter.restore()
        self._parts.settings.assume.restore()
        self._set_limits()
        return {}
