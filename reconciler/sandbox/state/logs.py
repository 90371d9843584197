"""The two logs of the sandbox: of calls, and of the events that EventBridge delivers for IVS (user guide: EventBridge).

The call log has caller, operation, time and answer of each call, with secrets masked. A successful change is logged in its own
transaction, so it is never lost. Other calls are kept in memory until the next write or query, so that a read takes no
write lock on the database.

The service sends events for streams, health, limits, recordings and ad breaks, not for changes of configuration. An
event may be logged before its time, as a stopped stream ends a little later; it is not shown until then. Delivery, as
server-sent events or posted to a URL, reads the log by position, so it includes the events of other processes.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import uuid
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any
from urllib.parse import urlsplit

from reconciler.sandbox.model import JsonDict, iso8601
from reconciler.sandbox.settings import Clock
from reconciler.sandbox.state.store import Store
from reconciler.sandbox.state.world import World
from reconciler.sandbox.wire import Request, Response, parse_position

MAX_CALL_RECORDS = 20_000
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


class CallLog:
    """The call log of one database."""

    def __init__(self) -> None:
        """Start without records in memory."""
        self._lock = threading.Lock()
        self._unsaved: deque[CallRecord] = deque(maxlen=MAX_CALL_RECORDS)
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
            connection.execute("DELETE FROM calls WHERE seq <= (SELECT max(seq) FROM calls) - ?", (MAX_CALL_RECORDS,))

    def flush(self, store: Store) -> None:
        """Store the records in memory in a new transaction, unless the store has no file yet."""
        if self._unsaved and store.is_created:
            with store.transaction(write=True) as connection:
                self.write(connection)

    def clear(self) -> None:
        """Discard the records in memory."""
        with self._lock:
            self._unsaved.clear()


def find_calls(  # noqa: PLR0913 - one restriction each, by name
    connection: sqlite3.Connection,
    *,
    account: str,
    region: str,
    limit: int,
    operation: str = "",
    services: Collection[str] = (),
    since: float = 0.0,
    until: float | None = None,
    before: int | None = None,
    arn: str = "",
) -> list[dict[str, Any]]:
    """Return records, newest first; the `seq` of the last one is `before` of the next page.

    arn: a resource that parameters or result name.
    """
    rows = connection.execute(
        "SELECT seq, document FROM calls WHERE (:operation = '' OR operation = :operation)"
        " AND (:account = '' OR account = :account) AND (:region = '' OR region = :region) AND time >= :since"
        " AND (:until IS NULL OR time <= :until) AND (:before IS NULL OR seq < :before)"
        " AND (:services = '[]' OR json_extract(document, '$.service') IN (SELECT value FROM json_each(:services)))"
        " AND (:arn = '' OR instr(document, :arn)) ORDER BY seq DESC LIMIT :limit",
        {
            "operation": operation,
            "account": account,
            "region": region,
            "since": since,
            "until": until,
            "before": before,
            "services": json.dumps([*services]),
            "arn": json.dumps(arn) if arn else "",
            "limit": limit,
        },
    )
    return [{"seq": seq, **json.loads(document)} for seq, document in rows]


STREAM_STATE_CHANGE = "IVS Stream State Change"
STREAM_HEALTH_CHANGE = "IVS Stream Health Change"
LIMIT_BREACH = "IVS Limit Breach"
RECORDING_STATE_CHANGE = "IVS Recording State Change"
AD_BREAK_STATE_CHANGE = "IVS Ad Break State Change"

log = logging.getLogger("reconciler.sandbox")

EVENT_STREAM_PATH = "/_sandbox/events/stream"
_POLL_SECONDS = 0.2
_HEARTBEAT_SECONDS = 5.0
_EVENTS_AT_ONCE = 100
_POST_TIMEOUT = 5.0

ERROR_EVENTS = frozenset({"Stream Failure", "Starvation Start", "Recording Start Failure", "Recording End Failure"})
MAX_SESSION_EVENTS = 500


def append_event(world: World, channel: str, detail_type: str, detail: JsonDict, *, at: float | None = None) -> None:
    """Log an event of a channel, now or at an instant."""
    time = world.now if at is None else at
    event = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": detail_type,
        "source": "aws.ivs",
        "account": world.account,
        "time": iso8601(time),
        "region": world.region,
        "resources": [channel],
        "detail": detail,
    }
    world.connection.execute(
        "INSERT INTO events (time, account, region, channel, document) VALUES (?, ?, ?, ?, ?)",
        (time, world.account, world.region, channel, json.dumps(event)),
    )


def event_name(event: JsonDict) -> str:
    """Return the name of an event, whose member depends on its type."""
    detail = event["detail"]
    return str(detail.get("event_name") or detail.get("recording_status") or detail.get("limit_name", ""))


def events_of_session(world: World, channel: str, stream_id: str) -> list[JsonDict]:
    """Return the stream events of a session, newest first, at most 500 (service model: StreamSession)."""
    rows = world.connection.execute(
        "SELECT time, document FROM events WHERE channel = ? AND time <= ?"
        " AND json_extract(document, '$.detail.stream_id') = ? ORDER BY time DESC, seq DESC LIMIT ?",
        (channel, world.now, stream_id, MAX_SESSION_EVENTS),
    )
    found = []
    for time, document in rows:
        event = json.loads(document)
        entry = {"name": event_name(event), "type": event["detail-type"], "eventTime": time}
        if "code" in event["detail"]:
            entry["code"] = event["detail"]["code"]
        found.append(entry)
    return found


def latest_events(connection: sqlite3.Connection, now: float, limit: int) -> list[JsonDict]:
    """Return due events, newest first."""
    rows = connection.execute(
        "SELECT document FROM events WHERE time <= ? ORDER BY time DESC, seq DESC LIMIT ?", (now, limit)
    )
    return [json.loads(document) for (document,) in rows]


def follow_events(store: Store, clock: Clock, request: Request, stopping: threading.Event) -> Response:
    """Return an answer without end: new events, or those after the client's last one."""
    last = parse_position(request.headers.get("last-event-id", ""))
    start = _last_position(store) if last is None else last
    return Response(
        200,
        (("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")),
        stream=_parts(store, clock, start, stopping),
    )


def _last_position(store: Store) -> int:
    """Return the position of the newest event, due or not."""
    with store.transaction(write=False) as connection:
        (found,) = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
    return int(found)


def _due(store: Store, clock: Clock, start: int) -> list[tuple[int, JsonDict]]:
    """Return the next events after a position, up to the first one that is not due, so that none is skipped."""
    with store.transaction(write=False) as connection:
        rows = connection.execute(
            "SELECT seq, time, document FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (start, _EVENTS_AT_ONCE)
        ).fetchall()
    now = clock.now()
    return [(found, json.loads(document)) for found, _, document in takewhile(lambda row: row[1] <= now, rows)]


def _parts(store: Store, clock: Clock, start: int, stopping: threading.Event) -> Iterator[bytes]:
    yield b"retry: 1000\n\n"
    quiet = 0.0
    while not stopping.is_set():
        found = _due(store, clock, start)
        for reached, event in found:
            start = reached
            yield f"id: {reached}\nevent: {event['detail-type']}\ndata: {json.dumps(event)}\n\n".encode()
        if found:
            quiet = 0.0
            continue
        stopping.wait(_POLL_SECONDS)
        quiet += _POLL_SECONDS
        if quiet >= _HEARTBEAT_SECONDS:
            quiet = 0.0
            # A comment: sending it fails if the client is gone.
            yield b": heartbeat\n\n"


def _refuse_bad_url(url: str) -> None:
    """Raise ValueError for a URL that events cannot be posted to."""
    import http.client

    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        http.client.HTTPConnection(parts.hostname or "", parts.port)
    except (ValueError, http.client.InvalidURL):
        valid = False
    if not valid:
        raise ValueError(f"events need an http or https URL, not {url!r}")


class Poster:
    """A thread that posts each event to a URL as JSON, in up to three attempts."""

    def __init__(self, store: Store, clock: Clock, url: str) -> None:
        """Start the thread; it posts events logged from now on.

        Raises ValueError for a URL that events cannot be posted to.
        """
        _refuse_bad_url(url)
        self._store, self._clock, self._url = store, clock, url
        self._position = _last_position(store)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="ivs-sandbox-events")
        self._thread.start()

    def stop(self) -> None:
        """Post the events logged so far and end the thread."""
        self._stopping.set()
        self._thread.join(2 * _POST_TIMEOUT)

    def _run(self) -> None:
        while not self._stopping.wait(_POLL_SECONDS):
            self._post_pending()
        self._post_pending()

    def _post_pending(self) -> None:
        try:
            found = _due(self._store, self._clock, self._position)
        except sqlite3.Error as error:
            log.warning("cannot read events: %s", error)
            return
        for reached, event in found:
            self._position = reached
            self._post(event)

    def _post(self, event: JsonDict) -> None:
        # Imported here: a server would take a tenth longer to start.
        import http.client
        import urllib.request

        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            self._url, json.dumps(event).encode(), {"Content-Type": "application/json"}
        )
        for attempt in range(3):
            try:
                with urllib.request.urlopen(request, timeout=_POST_TIMEOUT):  # noqa: S310
                    return
            except (OSError, http.client.HTTPException) as error:
                log.warning("event not delivered (attempt %d): %s", attempt + 1, type(error).__name__)
                self._stopping.wait(_POLL_SECONDS * 2**attempt)
