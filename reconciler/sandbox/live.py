"""What only broadcasters and viewers can do on the real service: start, starve and end streams."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

from reconciler.sandbox import events, sessions
from reconciler.sandbox.lifecycle import settled
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.operations.context import ALPHANUMERIC
from reconciler.sandbox.sessions import Session
from reconciler.sandbox.settings import quota
from reconciler.sandbox.wire import is_number
from reconciler.sandbox.world import Row, World

HEALTHS = ("HEALTHY", "STARVING", "UNKNOWN")
STREAM_ID_LENGTH = 26

INGEST: JsonDict = {
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
    "audio": {
        "codec": "mp4a.40.2",
        "targetBitrate": 160_000,
        "sampleRate": 48_000,
        "channels": 2,
        "track": "Track0",
    },
}


class NotPossibleError(Exception):
    """The stream cannot do that; the text says why."""


def go_live(world: World, channel: Row, rng: random.Random, *, viewers: int = 0, health: str = "HEALTHY") -> JsonDict:
    """Start a stream on an idle channel that has a stream key; answers the stream."""
    _check(viewers, health)
    if sessions.live_session(world, channel.arn) is not None:
        raise NotPossibleError(f"channel {channel.arn} is live already")
    if not world.children(channel.arn):
        raise NotPossibleError(f"channel {channel.arn} has no stream key, so nobody can stream to it")
    name = channel.document.get("name", "")
    limit = quota(world.connection, "concurrent-streams", world.account, world.region)
    if sessions.count_live(world) >= limit:
        _breach(world, channel.arn, name, "Concurrent Broadcasts", limit, 1)
        raise NotPossibleError(f"the quota of {limit} concurrent streams is used up")
    length = STREAM_ID_LENGTH - len("st-")
    stream_id = "st-" + "".join(rng.choices(ALPHANUMERIC, k=length))
    document: JsonDict = {
        "health": health,
        "viewers": viewers,
        "name": name,
        "channel": _snapshot(channel.document),
        "ingestConfiguration": INGEST,
        "ingestConfigurations": {"videoConfigurations": [INGEST["video"]], "audioConfigurations": [INGEST["audio"]]},
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
    sessions.insert(world, channel.arn, stream_id, document)
    for event in ("Session Created", "Stream Start"):
        _state(world, channel.arn, name, stream_id, event)
    if "recording" in document:
        _record(world, channel.arn, document, "Recording Start")
    if health == "STARVING":
        _health(world, channel.arn, name, stream_id, "Starvation Start")
    _check_views(world, channel.arn, name, viewers)
    return {"channelArn": channel.arn, "streamId": stream_id, "health": health, "viewers": viewers}


def end_stream(world: World, session: Session, *, at: float) -> None:
    """End a stream at an instant; the session may end before the stream does (user guide)."""
    sessions.end(world, session, at)
    name = session.document["name"]
    for event in ("Session Ended", "Stream End"):
        _state(world, session.channel, name, session.stream_id, event, at)
    if "recording" in session.document:
        duration = max(0, int((at - session.started) * 1000))
        _record(world, session.channel, session.document, "Recording End", at, duration)


def set_health(world: World, session: Session, health: str) -> None:
    """Change a stream's health; starving and recovering are events."""
    _check(0, health)
    before = session.document["health"]
    sessions.change(world, session, {**session.document, "health": health})
    if (before == "STARVING") != (health == "STARVING"):
        event = "Starvation Start" if health == "STARVING" else "Starvation End"
        _health(world, session.channel, session.document["name"], session.stream_id, event)


def set_viewers(world: World, session: Session, viewers: int) -> None:
    """Change how many watch; more than the quota of views is an event."""
    _check(viewers, "HEALTHY")
    sessions.change(world, session, {**session.document, "viewers": viewers})
    _check_views(world, session.channel, session.document["name"], viewers)


def _check(viewers: int, health: str) -> None:
    if health not in HEALTHS:
        raise NotPossibleError(f"health {health!r} is not one of {', '.join(HEALTHS)}")
    if not is_number(viewers) or viewers < -1:
        raise NotPossibleError("viewers is how many watch, or -1 where the count timed out")


def _snapshot(channel: JsonDict) -> JsonDict:
    """Return the channel as a session shows it: AWS's samples leave out SRT, which holds a secret."""
    return {key: value for key, value in channel.items() if key not in ("srt", "tags")}


def _recording(world: World, channel: str, stream_id: str, rng: random.Random, document: JsonDict) -> JsonDict:
    """Where a recording goes: ivs/v1/<account>/<channel>/<UTC time, unpadded>/<recording id>."""
    start = datetime.fromtimestamp(world.now, UTC)
    recording_id = "".join(rng.choices(ALPHANUMERIC, k=12))
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


def _state(world: World, channel: str, name: str, stream_id: str, event: str, at: float | None = None) -> None:
    detail = {"event_name": event, "channel_name": name, "stream_id": stream_id}
    events.append(world, channel, events.STATE, detail, at=at)


def _health(world: World, channel: str, name: str, stream_id: str, event: str) -> None:
    detail = {"event_name": event, "channel_name": name, "stream_id": stream_id}
    events.append(world, channel, events.HEALTH, detail)


def _record(
    world: World,
    channel: str,
    document: dict[str, Any],
    status: str,
    at: float | None = None,
    duration: int = 0,
) -> None:
    detail = {**document["recording"], "recording_status": status, "recording_duration_ms": duration}
    events.append(world, channel, events.RECORDING, detail, at=at)


def _check_views(world: World, channel: str, name: str, viewers: int) -> None:
    limit = quota(world.connection, "concurrent-views", world.account, world.region)
    if viewers > limit:
        _breach(world, channel, name, "Concurrent Viewers", limit, viewers - limit)


def _breach(world: World, channel: str, name: str, limit_name: str, limit: int, exceeded_by: int) -> None:
    detail = {
        "limit_name": limit_name,
        "limit_value": limit,
        "exceeded_by": exceeded_by,
        "limit_unit": "Count",
        "channel_name": name,
    }
    events.append(world, channel, events.LIMIT, detail)
