"""The event log, in the format that EventBridge delivers for IVS (user guide: EventBridge).

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
from collections.abc import Iterator
from itertools import takewhile
from urllib.parse import urlsplit

from reconciler.sandbox.model import JsonDict, iso8601
from reconciler.sandbox.settings import Clock
from reconciler.sandbox.state.store import Store
from reconciler.sandbox.state.world import World
from reconciler.sandbox.wire import Request, Response, parse_position

STATE = "IVS Stream State Change"
HEALTH = "IVS Stream Health Change"
LIMIT = "IVS Limit Breach"
RECORDING = "IVS Recording State Change"
AD_BREAK = "IVS Ad Break State Change"

log = logging.getLogger("reconciler.sandbox")

STREAM_PATH = "/_sandbox/events/stream"
_POLL_SECONDS = 0.2
_HEARTBEAT_SECONDS = 5.0
_BATCH = 100
_POST_TIMEOUT = 5.0

ERROR_EVENTS = frozenset({"Stream Failure", "Starvation Start", "Recording Start Failure", "Recording End Failure"})
MAX_SESSION_EVENTS = 500


def append(world: World, channel: str, detail_type: str, detail: JsonDict, *, at: float | None = None) -> None:
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


def of_session(world: World, channel: str, stream_id: str) -> list[JsonDict]:
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


def latest(connection: sqlite3.Connection, now: float, limit: int) -> list[JsonDict]:
    """Return due events, newest first."""
    rows = connection.execute(
        "SELECT document FROM events WHERE time <= ? ORDER BY time DESC, seq DESC LIMIT ?", (now, limit)
    )
    return [json.loads(document) for (document,) in rows]


def follow(store: Store, clock: Clock, request: Request, stopping: threading.Event) -> Response:
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
            "SELECT seq, time, document FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (start, _BATCH)
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
