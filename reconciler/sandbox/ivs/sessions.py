"""Stream sessions: look-ups of live and past ones, and what broadcasters and viewers do on the real service.

A session whose end is in the future is still live: so a stopped stream stays live a little longer without a timer.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime

from reconciler.sandbox.ivs.kinds import CONCURRENT_STREAMS, CONCURRENT_VIEWS
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.service import new_id, settled
from reconciler.sandbox.settings import ControlError, applied_quota
from reconciler.sandbox.state.logs import (
    LIMIT_BREACH,
    RECORDING_STATE_CHANGE,
    STREAM_HEALTH_CHANGE,
    STREAM_STATE_CHANGE,
    append_event,
)
from reconciler.sandbox.state.world import Row, World, decode_token, encode_token, order_of, position_in
from reconciler.sandbox.wire import is_number

# ruff: noqa: S608 - statements are composed of constants; values are bound

_COLUMNS = "seq, stream_id, channel, started, ended, document"
_LIVE = "(ended IS NULL OR ended > ?)"
# How long sessions are available (user guide: stream health).
KEPT_SECONDS = 60 * 86_400
HEALTHS = ("HEALTHY", "STARVING", "UNKNOWN")

_INGEST: JsonDict = {
    "video": {
        "avcProfile": "Main",
        "avcLevel": "4.2",
        "codec": "avc1.4D402A",
        "encoder": "sandbox",
        "targetBitrate": 8_500_000,
        "targetFramerate": 60,
        "videoHeight": 1080,
        "videoWidth": 1920,
        "level": "4.2",
        "track": "Track0",
        "profile": "Main",
    },
    "audio": {"codec": "mp4a.40.2", "targetBitrate": 160_000, "sampleRate": 48_000, "channels": 2, "track": "Track0"},
}


@dataclass(frozen=True, slots=True)
class Session:
    """One stream session; `document` holds the channel as it was at go-live, the health and the viewers."""

    seq: int
    stream_id: str
    channel: str
    started: float
    ended: float | None
    document: JsonDict

    def is_live(self, now: float) -> bool:
        """Return whether the stream is live at an instant."""
        return self.ended is None or self.ended > now

    def detail(self, event_name: str) -> JsonDict:
        """Return the detail of an event of this session."""
        return {"event_name": event_name, "channel_name": self.document["name"], "stream_id": self.stream_id}


def live_session(world: World, channel: str) -> Session | None:
    """Return the live session of a channel, None if the channel is idle."""
    found = world.connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE channel = ? AND {_LIVE} ORDER BY seq DESC LIMIT 1", (channel, world.now)
    ).fetchone()
    return None if found is None else _session(found)


def session_of(world: World, channel: str, stream_id: str) -> Session | None:
    """Return a session of a channel of the last 60 days, without an id the latest."""
    found = world.connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE channel = ? AND (? = '' OR stream_id = ?) AND {_LIVE} ORDER BY seq DESC LIMIT 1",
        (channel, stream_id, stream_id, world.now - KEPT_SECONDS),
    ).fetchone()
    return None if found is None else _session(found)


def _count_live(world: World) -> int:
    """Return the number of live streams in the account and region."""
    (count,) = world.connection.execute(
        f"SELECT count(*) FROM sessions WHERE account = ? AND region = ? AND {_LIVE}",
        (world.account, world.region, world.now),
    ).fetchone()
    return int(count)


def page_of_live(world: World, size: int, token: str, health: str, salt: int = 0) -> tuple[list[Session], str]:
    """Return a page of live sessions, oldest first or shuffled by a salt, and the token of the next page."""
    listing = f"streams/{world.account}/{world.region}/{health}"
    after, salt = decode_token(token, listing) if token else (0, salt)
    found = world.connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE account = ? AND region = ? AND {_LIVE} AND {order_of(salt)} > ?"
        f" AND (? = '' OR json_extract(document, '$.health') = ?) ORDER BY {order_of(salt)} LIMIT ?",
        (world.account, world.region, world.now, after, health, health, size + 1),
    ).fetchall()
    return _page(found, size, listing, salt)


def page_of_channel(world: World, channel: str, size: int, token: str) -> tuple[list[Session], str]:
    """Return a page of a channel's sessions of the last 60 days, newest first, and the token of the next page."""
    listing = f"sessions/{channel}"
    before = decode_token(token, listing)[0] if token else 1 << 62
    found = world.connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE channel = ? AND seq < ? AND {_LIVE} ORDER BY seq DESC LIMIT ?",
        (channel, before, world.now - KEPT_SECONDS, size + 1),
    ).fetchall()
    return _page(found, size, listing)


def replace(world: World, session: Session, document: JsonDict) -> None:
    """Replace the stored document of a session."""
    world.connection.execute("UPDATE sessions SET document = ? WHERE seq = ?", (json.dumps(document), session.seq))


def _page(
    found: list[tuple[int, str, str, float, float | None, str]], size: int, listing: str, salt: int = 0
) -> tuple[list[Session], str]:
    rows = [_session(each) for each in found[:size]]
    return rows, encode_token(position_in(salt, rows[-1].seq), listing, salt) if len(found) > size else ""


def _session(found: tuple[int, str, str, float, float | None, str]) -> Session:
    seq, stream_id, channel, started, ended, document = found
    return Session(seq, stream_id, channel, started, ended, json.loads(document))


def go_live(world: World, channel: Row, rng: random.Random, *, viewers: int = 0, health: str = "HEALTHY") -> JsonDict:
    """Start a stream on an idle channel that has a stream key, and return its summary.

    Raises ControlError if that is not possible.
    """
    _check(viewers, health)
    if live_session(world, channel.arn) is not None:
        raise ControlError(f"channel {channel.arn} is already live")
    if not world.children(channel.arn):
        raise ControlError(f"channel {channel.arn} has no stream key to stream with")
    name = channel.document.get("name", "")
    limit = applied_quota(world.connection, CONCURRENT_STREAMS, world.account, world.region)
    if _count_live(world) >= limit:
        _breach(world, channel.arn, name, "Concurrent Broadcasts", limit, 1)
        raise ControlError(f"the quota of {limit} concurrent streams is used up")
    stream_id = f"st-{new_id(rng, 23)}"
    document: JsonDict = {
        "health": health,
        "viewers": viewers,
        "name": name,
        # Without SRT, which holds a secret, as in AWS's samples.
        "channel": {key: value for key, value in channel.document.items() if key not in ("srt", "tags")},
        "ingestConfiguration": _INGEST,
        "ingestConfigurations": {"videoConfigurations": [_INGEST["video"]], "audioConfigurations": [_INGEST["audio"]]},
    }
    for member, reference in (
        ("recordingConfiguration", "recordingConfigurationArn"),
        ("failoverSlateConfiguration", "failoverSlateConfigurationArn"),
    ):
        row = world.find(channel.document.get(reference) or "")
        if row is not None:
            document[member] = settled(row.document, world.now)
    if "recordingConfiguration" in document:
        document["recording"] = _recording(world, channel.arn, stream_id, rng, document)
    cursor = world.connection.execute(
        "INSERT INTO sessions (stream_id, channel, account, region, started, document) VALUES (?, ?, ?, ?, ?, ?)",
        (stream_id, channel.arn, world.account, world.region, world.now, json.dumps(document)),
    )
    session = Session(cursor.lastrowid or 0, stream_id, channel.arn, world.now, None, document)
    for event in ("Session Created", "Stream Start"):
        append_event(world, channel.arn, STREAM_STATE_CHANGE, session.detail(event))
    _log_recording(world, session, "Recording Start")
    if health == "STARVING":
        append_event(world, channel.arn, STREAM_HEALTH_CHANGE, session.detail("Starvation Start"))
    _check_views(world, session, viewers)
    return {"channelArn": channel.arn, "streamId": stream_id, "health": health, "viewers": viewers}


def end_stream(world: World, session: Session, *, at: float) -> None:
    """End a stream at an instant, which may be in the future."""
    world.connection.execute("UPDATE sessions SET ended = ? WHERE seq = ?", (at, session.seq))
    for event in ("Session Ended", "Stream End"):
        append_event(world, session.channel, STREAM_STATE_CHANGE, session.detail(event), at=at)
    _log_recording(world, session, "Recording End", at=at, duration=max(0, int((at - session.started) * 1000)))


def set_health(world: World, session: Session, health: str) -> None:
    """Change a stream's health; the start and the end of starvation are events."""
    _check(0, health)
    before = session.document["health"]
    replace(world, session, {**session.document, "health": health})
    if (before == "STARVING") != (health == "STARVING"):
        event = "Starvation Start" if health == "STARVING" else "Starvation End"
        append_event(world, session.channel, STREAM_HEALTH_CHANGE, session.detail(event))


def set_viewers(world: World, session: Session, viewers: int) -> None:
    """Change the number of viewers; exceeding the quota of views is an event."""
    _check(viewers, "HEALTHY")
    replace(world, session, {**session.document, "viewers": viewers})
    _check_views(world, session, viewers)


def _check(viewers: int, health: str) -> None:
    if health not in HEALTHS:
        raise ControlError(f"health must be one of {', '.join(HEALTHS)}, not {health!r}")
    if not is_number(viewers) or viewers < -1:
        raise ControlError("viewers must be the number of viewers, or -1 for a count that timed out")


def _recording(world: World, channel: str, stream_id: str, rng: random.Random, document: JsonDict) -> JsonDict:
    """Return where a recording is stored: ivs/v1/<account>/<channel>/<UTC time, unpadded>/<recording id>."""
    start = datetime.fromtimestamp(world.now, UTC)
    recording_id = new_id(rng)
    when = f"{start.year}/{start.month}/{start.day}/{start.hour}/{start.minute}"
    channel_id = channel.rpartition("/")[2]
    bucket = document["recordingConfiguration"]["destinationConfiguration"]["s3"]["bucketName"]
    return {
        "channel_name": document["name"],
        "stream_id": stream_id,
        "recording_status_reason": "",
        "recording_s3_bucket_name": bucket,
        "recording_s3_key_prefix": f"ivs/v1/{world.account}/{channel_id}/{when}/{recording_id}",
        "recording_session_id": recording_id,
        "recording_session_stream_ids": [stream_id],
    }


def _log_recording(world: World, session: Session, status: str, *, at: float | None = None, duration: int = 0) -> None:
    if "recording" in session.document:
        detail = {**session.document["recording"], "recording_status": status, "recording_duration_ms": duration}
        append_event(world, session.channel, RECORDING_STATE_CHANGE, detail, at=at)


def _check_views(world: World, session: Session, viewers: int) -> None:
    limit = applied_quota(world.connection, CONCURRENT_VIEWS, world.account, world.region)
    if viewers > limit:
        _breach(world, session.channel, session.document["name"], "Concurrent Viewers", limit, viewers - limit)


def _breach(world: World, channel: str, name: str, limit_name: str, limit: int, exceeded_by: int) -> None:
    detail = {
        "limit_name": limit_name,
        "limit_value": limit,
        "exceeded_by": exceeded_by,
        "limit_unit": "Count",
        "channel_name": name,
    }
    append_event(world, channel, LIMIT_BREACH, detail)
