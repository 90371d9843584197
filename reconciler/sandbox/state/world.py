"""The resources of one account in one region, inside one transaction.

`find` and `count` return the actual state; `visible` and `page` what reads show, which differs while a visibility lag
is set: a new resource is not shown yet, or a deleted one still is.
"""

# ruff: noqa: S608 - statements are composed of constants; values are bound

from __future__ import annotations

import base64
import hashlib
import json
import random
import sqlite3
from dataclasses import dataclass
from typing import Any

from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.wire import ApiError, json_text

_COLUMNS = "seq, arn, kind, parent, document"
_FIND = f"SELECT {_COLUMNS} FROM resources WHERE arn = ? AND account = ? AND region = ? AND gone_from IS NULL"
_VISIBLE = f"SELECT {_COLUMNS} FROM resources WHERE arn = ? AND account = ? AND region = ? AND visible_from <= ? AND (gone_from IS NULL OR gone_from > ?)"
_SPACE = 1 << 32
_DIGITS = 18


@dataclass(slots=True)
class Row:
    """One stored resource."""

    seq: int
    arn: str
    kind: str
    parent: str | None
    document: JsonDict


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing, and the token of the next page ("" at the end)."""

    rows: list[Row]
    token: str


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds until reads show a created resource, and until they no longer show a deleted one."""

    create: float = 0.0
    delete: float = 0.0


@dataclass(slots=True)
class World:
    """One account and region at one instant."""

    connection: sqlite3.Connection
    account: str
    region: str
    now: float
    lag: Lag = Lag()

    def insert(self, kind: str, document: JsonDict, *, parent: str | None = None, links: tuple[str, ...] = ()) -> None:
        """Store a new resource; `links` are the ARNs that it refers to."""
        cursor = self.connection.execute(
            "INSERT INTO resources (account, region, kind, arn, name, parent, visible_from, document) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.account,
                self.region,
                kind,
                document["arn"],
                document.get("name", ""),
                parent,
                self.now + self.lag.create,
                json_text(document),
            ),
        )
        self._count(kind, 1)
        self._link(cursor.lastrowid or 0, links)

    def replace(self, row: Row, document: JsonDict, *, links: tuple[str, ...] | None = None) -> None:
        """Replace the document of a resource, and its links if given."""
        self.connection.execute(
            "UPDATE resources SET name = ?, document = ? WHERE seq = ?",
            (document.get("name", ""), json_text(document), row.seq),
        )
        if links is not None:
            self.connection.execute("DELETE FROM links WHERE seq = ?", (row.seq,))
            self._link(row.seq, links)

    def remove(self, row: Row) -> None:
        """Delete a resource and its children; with a delete lag they are shown until it has passed."""
        for child in self.children(row.arn):
            self.remove(child)
        self.connection.execute("DELETE FROM links WHERE seq = ?", (row.seq,))
        self.connection.execute("DELETE FROM resources WHERE gone_from <= ?", (self.now,))
        if self.lag.delete > 0:
            self.connection.execute(
                "UPDATE resources SET gone_from = ? WHERE seq = ?", (self.now + self.lag.delete, row.seq)
            )
        else:
            self.connection.execute("DELETE FROM resources WHERE seq = ?", (row.seq,))
        self._count(row.kind, -1)

    def find(self, arn: str) -> Row | None:
        """Return the actual resource of this account and region, None if there is none."""
        found = self.connection.execute(_FIND, (arn, self.account, self.region)).fetchone()
        return None if found is None else _row(found)

    def visible(self, arn: str) -> Row | None:
        """Return the resource as reads show it, None if they show none."""
        found = self.connection.execute(_VISIBLE, (arn, self.account, self.region, self.now, self.now)).fetchone()
        return None if found is None else _row(found)

    def children(self, parent: str) -> list[Row]:
        """Return the resources whose parent is a given one."""
        rows = self.connection.execute(
            f"SELECT {_COLUMNS} FROM resources WHERE parent = ? AND gone_from IS NULL ORDER BY seq", (parent,)
        )
        return [_row(found) for found in rows]

    def all(self, kind: str) -> list[Row]:
        """Return all resources of a kind that has few."""
        rows = self.connection.execute(
            f"SELECT {_COLUMNS} FROM resources WHERE account = ? AND region = ? AND kind = ? AND gone_from IS NULL ORDER BY seq",
            (self.account, self.region, kind),
        )
        return [_row(found) for found in rows]

    def count(self, kind: str) -> int:
        """Return the number of resources of a kind; stored, so that a create costs the same at any size."""
        found = self.connection.execute(
            "SELECT n FROM counts WHERE account = ? AND region = ? AND kind = ?", (self.account, self.region, kind)
        ).fetchone()
        return 0 if found is None else int(found[0])

    def is_linked(self, arn: str) -> bool:
        """Return whether any resource refers to this one."""
        query = "SELECT 1 FROM links WHERE target = ? LIMIT 1"
        return self.connection.execute(query, (arn,)).fetchone() is not None

    def page(
        self,
        kind: str,
        size: int,
        token: str,
        *,
        name: str = "",
        prefix: bool = False,
        parent: str = "",
        linked: str = "",
        salt: int = 0,
        short: bool = False,
    ) -> Page:
        """Return a page in order of creation, or shuffled by a salt, by at most one of name, parent and link.

        A `short` page has half the size, and the last one is empty. Raises ApiError for a token of another
        listing.
        """
        listing = f"{self.account}/{self.region}/{kind}/{name}/{parent}/{linked}"
        after, salt = decode_token(token, listing) if token else (0, salt)
        size = (size + 1) // 2 if short else size
        source, where = "resources", "account = ? AND region = ? AND kind = ?"
        values: list[str | int] = [self.account, self.region, kind]
        if parent:
            where, values = "parent = ? AND kind = ?", [parent, kind]
        elif linked:
            # CROSS makes SQLite start from the few links instead of the many resources.
            source = "links CROSS JOIN resources USING (seq)"
            where = "target = ? AND +account = ? AND +region = ? AND +kind = ?"
            values = [linked, *values]
        elif name and prefix:
            where += " AND substr(name, 1, ?) = ?"
            values += [len(name), name]
        elif name:
            where += " AND name = ?"
            values += [name]
        found = self.connection.execute(
            f"SELECT {_COLUMNS} FROM {source} WHERE {where} AND {order_of(salt)} > ? AND visible_from <= ?"
            f" AND (gone_from IS NULL OR gone_from > ?) ORDER BY {order_of(salt)} LIMIT ?",
            (*values, after, self.now, self.now, size + 1),
        ).fetchall()
        rows = [_row(each) for each in found[:size]]
        more = len(found) > size or (short and bool(rows))
        return Page(rows, encode_token(position_in(salt, rows[-1].seq), listing, salt) if more else "")

    def _count(self, kind: str, step: int) -> None:
        changed = self.connection.execute(
            "UPDATE counts SET n = n + ? WHERE account = ? AND region = ? AND kind = ?",
            (step, self.account, self.region, kind),
        )
        if not changed.rowcount:
            self.connection.execute("INSERT INTO counts VALUES (?, ?, ?, ?)", (self.account, self.region, kind, step))

    def _link(self, seq: int, links: tuple[str, ...]) -> None:
        for target in links:
            self.connection.execute("INSERT OR IGNORE INTO links VALUES (?, ?)", (target, seq))


def new_salt(rng: random.Random) -> int:
    """Return a salt: an odd number, so that multiplying by it modulo a power of two permutes the positions."""
    return rng.randrange(1 << 31, _SPACE) | 1


def position_in(salt: int, seq: int) -> int:
    """Return the position of a row in the order of a salt."""
    return seq * salt % _SPACE if salt else seq


def order_of(salt: int) -> str:
    """Return `position_in` as an SQL expression; it fits SQLite's integers for rows below 2**31."""
    return f"(seq * {salt} % {_SPACE})" if salt else "seq"


def encode_token(after: int, listing: str, salt: int = 0) -> str:
    """Return an opaque page token that is valid for one listing."""
    return base64.urlsafe_b64encode(f"{after}:{salt}:{_digest(listing)}".encode()).decode()


def decode_token(token: str, listing: str) -> tuple[int, int]:
    """Return the last position of the previous page, and the salt of the order.

    Raises ApiError. An empty token is none: AWS's own examples send it for the first page.
    """
    try:
        after, salt, digest = base64.b64decode(token, b"-_", validate=True).decode().split(":")
        if digest == _digest(listing) and max(len(after), len(salt)) <= _DIGITS:
            return int(after), int(salt)
    except ValueError:
        pass
    raise ApiError("ValidationException", "The provided nextToken is invalid")


def _digest(listing: str) -> str:
    return hashlib.sha256(listing.encode()).hexdigest()[:12]


def _row(found: tuple[Any, ...]) -> Row:
    seq, arn, kind, parent, document = found
    return Row(seq, arn, kind, parent, json.loads(document))
