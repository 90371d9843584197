"""Streams, sessions, metadata, ad breaks, revocation and their events (IVS facts 1.8, 2.3, 8, 13)."""

from __future__ import annotations

import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from reconciler.sandbox import ControlError, Sandbox, VirtualClock
from tests.sandbox.helpers import message, refusal

IDLE = (404, "ChannelNotBroadcasting")
MEDIA = [{"playbackConfigurationArn": "arn:aws:mediatailor:us-west-2:123456789012:playbackConfiguration/ads"}]


@pytest.fixture
def channel(ivs: Any) -> str:
    return str(ivs.create_channel(name="stage")["channel"]["arn"])


def names(events: list[dict[str, Any]]) -> list[str]:
    return [
        event["detail"].get("event_name") or event["detail"].get("recording_status") or event["detail"]["limit_name"]
        for event in events
    ]


def test_an_idle_channel_is_not_broadcasting_and_an_unknown_one_not_found(ivs: Any, channel: str) -> None:
    unknown = f"{channel}x"
    for operation, extra in (("get_stream", {}), ("stop_stream", {}), ("put_metadata", {"metadata": "x"})):
        assert refusal(getattr(ivs, operation), channelArn=channel, **extra) == IDLE
        assert refusal(getattr(ivs, operation), channelArn=unknown, **extra) == (404, "ResourceNotFoundException")


def test_a_channel_that_was_never_live_has_no_sessions(ivs: Any, channel: str) -> None:
    assert ivs.list_stream_sessions(channelArn=channel)["streamSessions"] == []
    assert refusal(ivs.get_stream_session, channelArn=channel) == (404, "ResourceNotFoundException")


def test_a_stopped_stream_lingers_then_is_gone(ivs: Any, channel: str, sandbox: Sandbox) -> None:
    sandbox.control.go_live(channel)
    ivs.stop_stream(channelArn=channel)
    assert ivs.get_stream(channelArn=channel)["stream"]["state"] == "LIVE"
    assert refusal(ivs.delete_channel, arn=channel) == (409, "ConflictException")
    assert "Stream End" not in names(sandbox.control.events())
    sandbox.control.advance(3)
    assert refusal(ivs.get_stream, channelArn=channel) == IDLE
    assert names(sandbox.control.events())[:2] == ["Stream End", "Session Ended"]
    ivs.delete_channel(arn=channel)


def test_sessions_keep_the_channel_as_it_was_and_list_newest_first(ivs: Any, channel: str, sandbox: Sandbox) -> None:
    first = sandbox.control.go_live(channel)["streamId"]
    sandbox.control.advance(60)
    sandbox.control.go_offline(channel)
    ivs.update_channel(arn=channel, name="renamed")
    second = sandbox.control.go_live(channel)["streamId"]
    assert first != second
    assert len(first) == 26
    rows = ivs.list_stream_sessions(channelArn=channel)["streamSessions"]
    assert [row["streamId"] for row in rows] == [second, first]
    assert "endTime" not in rows[0]
    assert (rows[1]["endTime"] - rows[1]["startTime"]).total_seconds() == 60
    old = ivs.get_stream_session(channelArn=channel, streamId=first)["streamSession"]
    assert old["channel"]["name"] == "stage"
    assert "srt" not in old["channel"]
    assert [event["name"] for event in old["truncatedEvents"]] == [
        "Stream End",
        "Session Ended",
        "Stream Start",
        "Session Created",
    ]
    assert ivs.get_stream_session(channelArn=channel)["streamSession"]["streamId"] == second
    one = ivs.list_stream_sessions(channelArn=channel, maxResults=1)
    assert [
        row["streamId"]
        for row in ivs.list_stream_sessions(channelArn=channel, nextToken=one["nextToken"])["streamSessions"]
    ] == [first]


def test_streams_are_listed_and_filtered_by_health(ivs: Any, sandbox: Sandbox) -> None:
    arns = [ivs.create_channel()["channel"]["arn"] for _ in range(3)]
    for arn in arns:
        sandbox.control.go_live(arn, viewers=2)
    sandbox.control.set_health(arns[1], "STARVING")
    listed = [
        row
        for page in ivs.get_paginator("list_streams").paginate(PaginationConfig={"PageSize": 1})
        for row in page["streams"]
    ]
    assert [row["channelArn"] for row in listed] == arns
    assert "playbackUrl" not in listed[0]
    assert [row["channelArn"] for row in ivs.list_streams(filterBy={"health": "STARVING"})["streams"]] == [arns[1]]
    assert ivs.list_stream_sessions(channelArn=arns[1])["streamSessions"][0]["hasErrorEvent"] is True
    sandbox.control.set_health(arns[1], "HEALTHY")
    assert names(sandbox.control.events())[:2] == ["Starvation End", "Starvation Start"]


def test_metadata_is_at_most_1024_bytes_and_five_a_second(ivs: Any, channel: str, sandbox: Sandbox) -> None:
    sandbox.control.go_live(channel)
    assert message(ivs.put_metadata, channelArn=channel, metadata="é" * 513) == "Metadata size exceeds payload limit"
    answer = ivs.put_metadata(channelArn=channel, metadata="é" * 512)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    for _ in range(4):
        ivs.put_metadata(channelArn=channel, metadata="x")
    assert refusal(ivs.put_metadata, channelArn=channel, metadata="x") == (429, "ThrottlingException")
    sandbox.control.advance(0.2)
    ivs.put_metadata(channelArn=channel, metadata="x")


def test_one_ad_break_at_a_time_and_only_with_ads(ivs: Any, sandbox: Sandbox) -> None:
    ads = ivs.create_ad_configuration(mediaTailorPlaybackConfigurations=MEDIA)["adConfiguration"]["arn"]
    plain, sold = (ivs.create_channel(**given)["channel"]["arn"] for given in ({}, {"adConfigurationArn": ads}))
    assert refusal(ivs.insert_ad_break, channelArn=sold, durationSeconds=30) == IDLE
    for arn in (plain, sold):
        sandbox.control.go_live(arn)
    assert refusal(ivs.insert_ad_break, channelArn=plain, durationSeconds=30) == (400, "ValidationException")
    assert len(ivs.insert_ad_break(channelArn=sold, durationSeconds=30)["adBreakId"]) == 12
    assert refusal(ivs.insert_ad_break, channelArn=sold, durationSeconds=30) == (409, "ConflictException")
    sandbox.control.advance(30)
    assert (
        ivs.insert_ad_break(channelArn=sold, durationSeconds=1, adBreakId="abcdefABCDEF")["adBreakId"] == "abcdefABCDEF"
    )
    assert names(sandbox.control.events())[0] == "Ad Break Inserted"


def test_revoking_viewers_succeeds_whether_they_watch_or_not(ivs: Any, channel: str) -> None:
    ivs.start_viewer_session_revocation(channelArn=channel, viewerId="v")
    pairs = [
        {"channelArn": arn, "viewerId": "v"}
        for arn in (channel, f"{channel}x", channel.replace("123456789012", "999988887777"))
    ]
    errors = ivs.batch_start_viewer_session_revocation(viewerSessions=pairs)["errors"]
    assert [(error["channelArn"], error["code"]) for error in errors] == [
        (pairs[1]["channelArn"], "404"),
        (pairs[2]["channelArn"], "403"),
    ]


def test_recording_channels_log_recording_events_with_the_documented_prefix(ivs: Any, sandbox: Sandbox) -> None:
    made = ivs.create_recording_configuration(destinationConfiguration={"s3": {"bucketName": "vod"}})[
        "recordingConfiguration"
    ]["arn"]
    sandbox.control.advance(10)
    arn = ivs.create_channel(recordingConfigurationArn=made)["channel"]["arn"]
    sandbox.control.go_live(arn)
    assert ivs.get_stream_session(channelArn=arn)["streamSession"]["recordingConfiguration"]["state"] == "ACTIVE"
    sandbox.control.advance(1.5)
    sandbox.control.go_offline(arn)
    end = sandbox.control.events()[0]
    assert end["detail-type"] == "IVS Recording State Change"
    assert end["detail"]["recording_duration_ms"] == 1500
    assert end["detail"]["recording_s3_key_prefix"].startswith(
        f"ivs/v1/123456789012/{arn.rpartition('/')[2]}/2026/1/1/0/0/"
    )


def test_limits_on_streams_and_views_are_events(ivs: Any, channel: str, sandbox: Sandbox) -> None:
    sandbox.control.set_quota("concurrent-streams", 1)
    sandbox.control.set_quota("concurrent-views", 10)
    sandbox.control.go_live(channel)
    sandbox.control.set_viewers(channel, 25)
    breach = sandbox.control.events()[0]["detail"]
    assert (breach["limit_name"], breach["limit_value"], breach["exceeded_by"]) == ("Concurrent Viewers", 10, 15)
    other = ivs.create_channel()["channel"]["arn"]
    with pytest.raises(ControlError, match="quota of 1 concurrent streams"):
        sandbox.control.go_live(other)
    assert names(sandbox.control.events())[0] == "Concurrent Broadcasts"


def test_a_channel_without_a_key_cannot_go_live_but_a_live_stream_continues(
    ivs: Any, channel: str, sandbox: Sandbox
) -> None:
    key = ivs.list_stream_keys(channelArn=channel)["streamKeys"][0]["arn"]
    sandbox.control.go_live(channel)
    ivs.delete_stream_key(arn=key)
    assert ivs.get_stream(channelArn=channel)["stream"]["health"] == "HEALTHY"
    sandbox.control.go_offline(channel)
    with pytest.raises(ControlError, match="no stream key"):
        sandbox.control.go_live(channel)


def test_a_count_of_viewers_that_timed_out_is_minus_one(ivs: Any, channel: str, sandbox: Sandbox) -> None:
    sandbox.control.go_live(channel, viewers=-1)
    assert ivs.get_stream(channelArn=channel)["stream"]["viewerCount"] == -1
    with pytest.raises(ControlError, match="-1 for a count that timed out"):
        sandbox.control.set_viewers(channel, -2)


def test_impossible_control_operations_are_refused_with_a_reason(ivs: Any, channel: str, sandbox: Sandbox) -> None:
    with pytest.raises(ControlError, match="not a channel ARN"):
        sandbox.control.go_live("nonsense")
    with pytest.raises(ControlError, match="is not live"):
        sandbox.control.go_offline(channel)
    with pytest.raises(ControlError, match="must be one of HEALTHY"):
        sandbox.control.go_live(channel, health="SLEEPY")
    sandbox.control.go_live(channel)
    with pytest.raises(ControlError, match="already live"):
        sandbox.control.go_live(channel)


def test_events_have_the_shape_eventbridge_delivers(channel: str, sandbox: Sandbox) -> None:
    sandbox.control.go_live(channel)
    event = sandbox.control.events()[0]
    assert set(event) == {"version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"}
    assert (event["source"], event["resources"], event["time"]) == ("aws.ivs", [channel], "2026-01-01T00:00:00Z")
    assert set(event["detail"]) == {"event_name", "channel_name", "stream_id"}


def test_events_can_be_followed_by_server_sent_events(channel: str, sandbox: Sandbox) -> None:
    with urllib.request.urlopen(f"{sandbox.endpoint_url}/_sandbox/events/stream", timeout=60) as stream:
        assert stream.readline() == b"retry: 1000\n"
        sandbox.control.go_live(channel)
        data: list[dict[str, Any]] = []
        while len(data) < 2:
            line = stream.readline()
            if line.startswith(b"data: "):
                data.append(json.loads(line.removeprefix(b"data: ")))
    assert names(data) == ["Session Created", "Stream Start"]


def test_a_follower_that_comes_back_gets_what_it_missed_and_nothing_twice(channel: str, sandbox: Sandbox) -> None:
    sandbox.control.go_live(channel)
    request = urllib.request.Request(f"{sandbox.endpoint_url}/_sandbox/events/stream", headers={"Last-Event-ID": "1"})
    with urllib.request.urlopen(request, timeout=60) as stream:
        lines = [stream.readline() for _ in range(5)]
    assert lines[2:4] == [b"id: 2\n", b"event: IVS Stream State Change\n"]
    assert json.loads(lines[4].removeprefix(b"data: "))["detail"]["event_name"] == "Stream Start"
    for nonsense in ("x", "-1", "9" * 30):
        request = urllib.request.Request(
            f"{sandbox.endpoint_url}/_sandbox/events/stream", headers={"Last-Event-ID": nonsense}
        )
        with urllib.request.urlopen(request, timeout=60) as stream:
            assert [stream.readline() for _ in range(2)] == [b"retry: 1000\n", b"\n"]
            sandbox.control.go_offline(channel)
            assert stream.readline().startswith(b"id: ")
        sandbox.control.go_live(channel)


def test_events_are_posted_to_a_url_again_if_its_answer_is_nonsense(session: Any) -> None:
    arrived: list[dict[str, Any]] = []
    nonsense = [b"this is no answer\r\n\r\n"]
    enough = threading.Event()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if nonsense:
                self.wfile.write(nonsense.pop())
                return
            arrived.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            if len(arrived) == 2:
                enough.set()

        def log_message(self, *_: Any) -> None:
            return

    receiver = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=receiver.serve_forever, daemon=True)
    thread.start()
    try:
        with Sandbox(clock=VirtualClock(), post_events_to=f"http://127.0.0.1:{receiver.server_port}/") as sandbox:
            ivs = session.client(
                "ivs",
                endpoint_url=sandbox.endpoint_url,
                region_name="us-west-2",
                aws_access_key_id="1",
                aws_secret_access_key="1",
            )
            sandbox.control.go_live(ivs.create_channel()["channel"]["arn"])
            assert enough.wait(60)
    finally:
        receiver.shutdown()
        receiver.server_close()
    assert names(arrived) == ["Session Created", "Stream Start"]
