"""Operations on live streams, stream sessions, ad breaks and viewer sessions."""

from __future__ import annotations

from reconciler.sandbox.ivs import sessions
from reconciler.sandbox.ivs.resources import batch_code
from reconciler.sandbox.ivs.sessions import Session
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.service import Call, conflict, new_id, not_found, salt, validation
from reconciler.sandbox.state.logs import AD_BREAK_STATE_CHANGE, ERROR_EVENTS, append_event, events_of_session
from reconciler.sandbox.wire import ApiError

PAGE = 100
METADATA_RATE = 5


def get_stream(call: Call, request: JsonDict) -> JsonDict:
    """Return the live stream; ChannelNotBroadcasting if the channel is idle, there is no state OFFLINE."""
    channel = call.visible(request["channelArn"])
    session = _live(call, channel.arn)
    url = channel.document.get("playbackUrl", "")
    return {"stream": {**_summary(session), "playbackUrl": url}}


def list_streams(call: Call, request: JsonDict) -> JsonDict:
    """List the live streams of the account and region."""
    health = request.get("filterBy", {}).get("health", "")
    found, token = sessions.page_of_live(
        call.world, request.get("maxResults", PAGE), request.get("nextToken", ""), health, salt(call)
    )
    return {"streams": [_summary(session) for session in found], "nextToken": token or None}


def stop_stream(call: Call, request: JsonDict) -> JsonDict:
    """Disconnect a stream, which is shown as live a little longer (length assumed, see settings)."""
    channel = call.find(request["channelArn"])
    session = _live(call, channel.arn)
    if session.ended is None:
        sessions.end_stream(call.world, session, at=call.world.now + call.settings.stop_seconds)
    return {}


def put_metadata(call: Call, request: JsonDict) -> JsonDict:
    """Insert metadata: at most 1 KB (of UTF-8, assumed) and 5 a second for each channel (user guide: quotas)."""
    channel = call.find(request["channelArn"])
    session = _live(call, channel.arn)
    bucket = session.document.get("~metadata", {"tokens": METADATA_RATE, "at": call.world.now})
    refill = max(0.0, call.world.now - bucket["at"]) * METADATA_RATE
    tokens = min(float(METADATA_RATE), bucket["tokens"] + refill)
    if tokens < 1:
        raise ApiError(
            "ThrottlingException",
            f"Operation: ivs:PutMetadata exceeded call rate: {METADATA_RATE} for resource: {channel.arn}",
        )
    bucket = {"tokens": tokens - 1, "at": call.world.now}
    sessions.replace(call.world, session, {**session.document, "~metadata": bucket})
    return {}


def get_stream_session(call: Call, request: JsonDict) -> JsonDict:
    """Return a session, by default the latest; 404 for a channel that has never been live."""
    channel = call.visible(request["channelArn"])
    stream_id = request.get("streamId", "")
    session = sessions.session_of(call.world, channel.arn, stream_id)
    if session is None:
        raise not_found(f"{channel.arn}/{stream_id}" if stream_id else channel.arn)
    happened = events_of_session(call.world, channel.arn, session.stream_id)
    return {"streamSession": {**session.document, **_times(call, session), "truncatedEvents": happened}}


def list_stream_sessions(call: Call, request: JsonDict) -> JsonDict:
    """List the sessions of a channel, newest first; a live one has no end."""
    channel = call.visible(request["channelArn"])
    found, token = sessions.page_of_channel(
        call.world, channel.arn, request.get("maxResults", PAGE), request.get("nextToken", "")
    )
    return {"streamSessions": [_session_summary(call, each) for each in found], "nextToken": token or None}


def insert_ad_break(call: Call, request: JsonDict) -> JsonDict:
    """Insert an ad break into a live channel with ads, one at a time (user guide: server-side ad insertion)."""
    channel = call.find(request["channelArn"])
    session = _live(call, channel.arn)
    if not channel.document.get("adConfigurationArn"):
        raise validation(f"Channel: {channel.arn} has no ad configuration")
    if session.document.get("~adBreakUntil", 0) > call.world.now:
        raise conflict(f"Channel: {channel.arn} is in an ad break")
    start = request.get("targetStartAt", call.world.now)
    break_id = request.get("adBreakId") or new_id(call.rng)
    until = max(start, call.world.now) + request["durationSeconds"]
    sessions.replace(call.world, session, {**session.document, "~adBreakUntil": until})
    detail = {
        **session.detail("Ad Break Inserted"),
        "ad_break_id": break_id,
        "duration_seconds": request["durationSeconds"],
    }
    append_event(call.world, channel.arn, AD_BREAK_STATE_CHANGE, detail)
    return {"adBreakId": break_id, "targetStartAt": start}


def start_viewer_session_revocation(call: Call, request: JsonDict) -> JsonDict:
    """Revoke a viewer session; succeeds without such a viewer too (observed on the real service by others)."""
    call.find(request["channelArn"])
    return {}


def batch_start_viewer_session_revocation(call: Call, request: JsonDict) -> JsonDict:
    """Revoke viewer sessions; returns an error for each unknown channel."""
    errors = []
    for pair in request["viewerSessions"]:
        try:
            call.find(pair["channelArn"])
        except ApiError as error:
            denied = error.code == "AccessDeniedException"
            errors.append(
                {
                    "channelArn": pair["channelArn"],
                    "viewerId": pair["viewerId"],
                    "code": batch_code(call, "403" if denied else "404"),
                    "message": "not authorized" if denied else error.message,
                }
            )
    return {"errors": errors}


def _live(call: Call, channel: str) -> Session:
    """Return the live session of a channel. Raises ApiError if the channel is idle."""
    session = sessions.live_session(call.world, channel)
    if session is None:
        raise ApiError("ChannelNotBroadcasting", f"Channel: {channel} is not currently online")
    return session


def _summary(session: Session) -> JsonDict:
    """Return a stream as lists show it."""
    return {
        "channelArn": session.channel,
        "streamId": session.stream_id,
        "state": "LIVE",
        "health": session.document["health"],
        "viewerCount": session.document["viewers"],
        "startTime": session.started,
    }


def _session_summary(call: Call, session: Session) -> JsonDict:
    """Return a session as lists show it."""
    happened = events_of_session(call.world, session.channel, session.stream_id)
    failed = any(event["name"] in ERROR_EVENTS for event in happened)
    return {**_times(call, session), "hasErrorEvent": failed}


def _times(call: Call, session: Session) -> JsonDict:
    """Return the id, start and end of a session; a live one has no end."""
    return {
        "streamId": session.stream_id,
        "startTime": session.started,
        "endTime": None if session.is_live(call.world.now) else session.ended,
    }
