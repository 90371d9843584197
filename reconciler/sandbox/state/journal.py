"""The call log: caller, operation, time and answer of each call, with secrets masked.

A successful change is logged in its own transaction, so it is never lost. Other calls are kept in memory until the next
write or query, so that a read takes no write lock on the database.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.state.store import Store

MAX_RECORDS = 20_000
_TRIM_EVERY = 500


@dataclass(slots=True, kw_only=True)
class CallRecord:
    """One call; `status` is None if the caller got no answer, `user` is the IAM principal."""

    time: float
    request_id: str
    service: str
    operation: str
    account: str
    region: str
    user: str
    access_key: str
    source_ip: str
    user_agent: str
    read_only: bool
    status: int | None
    error_code: str = ""
    error_message: str = ""
    fault: str = ""
    parameters: JsonDict | None = None
    result: JsonDict | None = None

    def to_json(self) -> str:
        """Return the record as JSON; `asdict` would copy the documents."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})


class Journal:
    """The call log of one database."""

    def __init__(self) -> None:
        """Start without records in memory."""
        self._lock = threading.Lock()
        self._unsaved: deque[CallRecord] = deque(maxlen=MAX_RECORDS)
        self._written = 0

    def defer(self, record: CallRecord) -> None:
        """Keep the record of a call without a change in memory."""
        with self._lock:
            self._unsaved.append(record)

    def write(self, connection: sqlite3.Connection, record: CallRecord | None = None) -> None:
        """Store the records in memory, and one more, in a write transaction."""
        with self._lock:
            records = [*self._unsaved]
            self._unsaved.clear()
        if record is not None:
            records.append(record)
        connection.executemany(
            "INSERT INTO calls (time, account, region, operation, document) VALUES (?, ?, ?, ?, ?)",
            [(each.time, each.account, each.region, each.operation, each.to_json()) for each in records],
        )
        self._written += len(records)
        if self._written >= _TRIM_EVERY:
            self._written = 0
            connection.execute("DELETE FROM calls WHERE seq <= (SELECT max(seq) FROM calls) - ?", (MAX_RECORDS,))

    def flush(self, store: Store) -> None:
        """Store the records in memory in a new transaction, unless the store has no file yet."""
        if self._unsaved and store.is_created:
            with store.transaction(write=True) as connection:
                self.write(connection)

    def clear(self) -> None:
        """Discard the records in memory."""
        with self._lock:
            self._unsaved.clear()


def query(  # noqa: PLR0913 - one restriction each, by name
    connection: sqlite3.Connection,
    *,
    operation: str = "",
    account: str = "",
    region: str = "",
    services: Collection[str] = (),
    since: float = 0.0,
    until: float | None = None,
    limit: int = 100,
    before: int | None = None,
    arn: str = "",
) -> list[dict[str, Any]]:
    """Return records, newest first; the `seq` of the last one is `before` of the next page.

    arn: a resource that parameters or result name.
    """
    rows = connection.execute(
        "SELECT seq, document FROM calls WHERE (?1 = '' OR operation = ?1)"
        " AND (?2 = '' OR account = ?2) AND (?3 = '' OR region = ?3) AND time >= ?4"
        " AND (?5 IS NULL OR time <= ?5) AND (?6 IS NULL OR seq < ?6)"
        " AND (?7 = '[]' OR json_extract(document, '$.service') IN (SELECT value FROM json_each(?7)))"
        " AND (?8 = '' OR instr(document, ?8)) ORDER BY seq DESC LIMIT ?9",
        (
            *(operation, account, region, since, until, before, json.dumps([*services])),
            json.dumps(arn) if arn else "",
            limit,
        ),
    )
    return [{"seq": seq, **json.loads(document)} for seq, document in rows]
