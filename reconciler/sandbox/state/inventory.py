"""Searches over the stored resources of all accounts and regions, and all that is known of one, with secrets masked."""

# ruff: noqa: S608 - statements are composed of constants; values are bound

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import dataclass

from reconciler.sandbox.ivs import sessions
from reconciler.sandbox.model import JsonDict, ServiceModel, project_by_shape
from reconciler.sandbox.service import Kind, settled
from reconciler.sandbox.state.world import Row, World

_COLUMNS = "kind, name, arn, document"
_MATCHES = (
    "gone_from IS NULL AND (?1 = '' OR kind = ?1) AND (?2 = '' OR kind <> ?2)"
    " AND (?3 = '' OR account = ?3) AND (?4 = '' OR region = ?4)"
)
# Not the document: a search must not tell whether a secret contains a text.
_CONTAINS = (
    " AND (instr(lower(name), lower(?{0})) OR instr(lower(arn), lower(?{0}))"
    " OR EXISTS (SELECT 1 FROM json_each(document, '$.tags') WHERE instr(lower(key || '=' || value), lower(?{0}))))"
)
MAX_OFFSET = 1 << 40
_MOST_WORDS = 8
_SHOWN = 25


@dataclass(frozen=True, slots=True)
class Search:
    """What resources to find: with all words of a text in name, ARN or tags; "" is no restriction.

    without: a kind to leave out.
    """

    text: str = ""
    kind: str = ""
    without: str = ""
    account: str = ""
    region: str = ""

    def _where(self) -> tuple[str, list[str]]:
        words = self.text.split()[:_MOST_WORDS]
        conditions = [_CONTAINS.format(5 + at) for at in range(len(words))]
        return _MATCHES + "".join(conditions), [self.kind, self.without, self.account, self.region, *words]

    def count(self, connection: sqlite3.Connection) -> dict[str, int]:
        """Return the number of matching resources of each kind."""
        where, values = self._where()
        return dict(connection.execute(f"SELECT kind, count(*) FROM resources WHERE {where} GROUP BY kind", values))

    def page(self, connection: sqlite3.Connection, now: float, limit: int, offset: int) -> list[JsonDict]:
        """Return matching resources, newest first."""
        where, values = self._where()
        # Both are integers.
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM resources WHERE {where} ORDER BY seq DESC LIMIT {limit:d} OFFSET {offset:d}",
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


def describe(world: World, row: Row, kind: Kind, model: ServiceModel) -> JsonDict:
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
