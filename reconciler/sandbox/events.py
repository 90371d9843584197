"""The event log, in the format that EventBridge delivers for IVS (user guide: EventBridge).

The service sends events for streams, health, limits, recordings and ad breaks, not for changes of configuration. An
event may be logged before its time, as a stopped stream ends a little later; it is not shown until then.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from itertools import takewhile

from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.validation import iso8601
from reconciler.sandbox.world import World

STATE = "IVS Stream State Change"
HEALTH = "IVS Stream Health Change"
LIMIT = "IVS Limit Breach"
RECORDING = "IVS Recording State Change"
AD_BREAK = "IVS Ad Break State Change"

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


def after(connection: sqlite3.Connection, seq: int, now: float, limit: int) -> list[tuple[int, JsonDict]]:
    """Return due events after a position, oldest first, up to the first one that is not due."""
    rows = connection.execute(
        "SELECT seq, time, document FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
        (seq, limit),
    )
    due = takewhile(lambda row: row[1] <= now, rows)
    return [(found, json.loads(document)) for found, _, document in due]


def latest(connection: sqlite3.Connection, now: float, limit: int) -> list[JsonDict]:
    """Return due events, newest first."""
    rows = connection.execute(
        "SELECT document FROM events WHERE time <= ? ORDER BY time DESC, seq DESC LIMIT ?",
        (now, limit),
    )
    return [json.loads(document) for (document,) in rows]


def last_position(connection: sqlite3.Connection) -> int:
    """Return the position of the newest event, due or not."""
    (found,) = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
    return int(found)
