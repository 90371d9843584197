"""Lists: page sizes, tokens, filters, order (IVS facts 2.4)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reconciler.sandbox import Sandbox, VirtualClock
from reconciler.sandbox.wire import Request
from tests.sandbox.helpers import refusal

BAD = (400, "ValidationException")


def test_the_default_page_of_channels_is_100(ivs: Any) -> None:
    arns = [ivs.create_channel(name=f"c{number}")["channel"]["arn"] for number in range(101)]
    first = ivs.list_channels()
    assert len(first["channels"]) == 100
    assert len(ivs.list_channels(nextToken=first["nextToken"])["channels"]) == 1
    pages = ivs.get_paginator("list_channels").paginate(PaginationConfig={"PageSize": 7})
    assert [row["arn"] for page in pages for row in page["channels"]] == arns


def test_the_last_page_has_no_token_and_an_empty_token_is_the_first_page(ivs: Any) -> None:
    ivs.create_channel()
    answer = ivs.list_channels(maxResults=1, nextToken="")
    assert len(answer["channels"]) == 1
    assert "nextToken" not in answer


def test_two_lists_default_to_one_item(ivs: Any) -> None:
    for _ in range(3):
        ivs.create_playback_restriction_policy()
    seen, token = 0, ""
    while True:
        page = ivs.list_playback_restriction_policies(nextToken=token)
        assert len(page["playbackRestrictionPolicies"]) == 1
        seen, token = seen + 1, page.get("nextToken", "")
        if not token:
            break
    assert seen == 3
    assert len(ivs.list_playback_restriction_policies(maxResults=100)["playbackRestrictionPolicies"]) == 3


def test_a_summary_leaves_out_what_the_service_leaves_out(ivs: Any) -> None:
    ivs.create_channel(name="stage")
    (row,) = ivs.list_channels()["channels"]
    for member in ("containerFormat", "multitrackInputConfiguration", "ingestEndpoint", "playbackUrl", "srt"):
        assert member not in row


def test_filters_match_exactly_and_two_of_them_conflict(ivs: Any) -> None:
    policy = ivs.create_playback_restriction_policy()["playbackRestrictionPolicy"]["arn"]
    ivs.create_channel(name="stage")
    ivs.create_channel(name="stage-b", playbackRestrictionPolicyArn=policy)

    def names(**given: str) -> list[str]:
        return [row["name"] for row in ivs.list_channels(**given)["channels"]]

    assert names(filterByName="stage") == ["stage"]
    assert names(filterByPlaybackRestrictionPolicyArn=policy) == ["stage-b"]
    assert (
        names(filterByRecordingConfigurationArn="arn:aws:ivs:us-west-2:123456789012:recording-configuration/absent")
        == []
    )
    assert names(filterByName="", filterByAdConfigurationArn="") == ["stage", "stage-b"]
    assert refusal(ivs.list_channels, filterByName="stage", filterByPlaybackRestrictionPolicyArn=policy) == (
        409,
        "ConflictException",
    )


def test_the_other_account_wide_lists_and_sessions_have_pages_of_100_too() -> None:
    media = [{"playbackConfigurationArn": "arn:aws:mediatailor:us-west-2:123456789012:playbackConfiguration/ads"}]
    many = dict.fromkeys(
        ("recording-configurations", "ad-configurations", "failover-slate-configurations", "concurrent-streams"), 200
    )
    with Sandbox(serve=False, clock=VirtualClock(), limits=many) as sandbox:

        def ask(operation: str, **members: Any) -> dict[str, Any]:
            found: dict[str, Any] = json.loads(
                sandbox.handle(Request("POST", f"/{operation}", body=json.dumps(members).encode())).body
            )
            return found

        channel = ""
        for _ in range(101):
            ask("CreateRecordingConfiguration", destinationConfiguration={"s3": {"bucketName": "vod"}})
            ask("CreateAdConfiguration", mediaTailorPlaybackConfigurations=media)
            ask("CreateFailoverSlateConfiguration")
            channel = ask("CreateChannel")["channel"]["arn"]
            sandbox.control.go_live(channel)
        for _ in range(100):
            sandbox.control.go_offline(channel)
            sandbox.control.go_live(channel)
        for operation, member, of in (
            ("ListRecordingConfigurations", "recordingConfigurations", {}),
            ("ListAdConfigurations", "adConfigurations", {}),
            ("ListFailoverSlateConfigurations", "failoverSlateConfigurations", {}),
            ("ListStreams", "streams", {}),
            ("ListStreamSessions", "streamSessions", {"channelArn": channel}),
        ):
            first = ask(operation, **of)
            assert len(first[member]) == 100
            assert len(ask(operation, nextToken=first["nextToken"], **of)[member]) == 1


@pytest.mark.parametrize("token", ["AAAA", "0", "Zm9v", "MTow", "====", "a" * 1025])
def test_an_invented_token_is_refused(ivs: Any, token: str) -> None:
    assert refusal(ivs.list_channels, nextToken=token) == BAD


def test_a_token_only_fits_the_listing_it_came_from(ivs: Any, client: Any) -> None:
    for _ in range(2):
        ivs.create_channel(name="x")
    token = ivs.list_channels(maxResults=1)["nextToken"]
    assert refusal(ivs.list_channels, filterByName="x", nextToken=token) == BAD
    assert refusal(client(region="eu-west-1").list_channels, nextToken=token) == BAD


def test_lag_hides_new_resources_and_keeps_showing_deleted_ones(ivs: Any, sandbox: Sandbox) -> None:
    sandbox.control.set_lag(create=5, delete=5)
    arn = ivs.create_channel(name="late")["channel"]["arn"]
    assert refusal(ivs.get_channel, arn=arn) == (404, "ResourceNotFoundException")
    assert ivs.list_channels()["channels"] == []
    assert ivs.batch_get_channel(arns=[arn])["channels"] == []
    sandbox.control.advance(5)
    assert ivs.get_channel(arn=arn)["channel"]["name"] == "late"
    ivs.delete_channel(arn=arn)
    assert len(ivs.list_channels()["channels"]) == 1
    assert refusal(ivs.delete_channel, arn=arn) == (404, "ResourceNotFoundException")
    sandbox.control.advance(5)
    assert ivs.list_channels()["channels"] == []
