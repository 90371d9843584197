"""Channels and stream keys: update semantics, combination rules, references, conflicts (IVS facts 1.2, 1.3, 2.3, 3)."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.sandbox import Sandbox
from tests.sandbox.helpers import message, refusal

BAD = (400, "ValidationException")
GONE = (404, "ResourceNotFoundException")
ALL_MULTITRACK = {"enabled": True, "policy": "ALLOW", "maximumResolution": "HD"}
MEDIA = [{"playbackConfigurationArn": "arn:aws:mediatailor:us-west-2:123456789012:playbackConfiguration/ads"}]


def make(ivs: Any, **members: Any) -> str:
    return str(ivs.create_channel(**members)["channel"]["arn"])


def get(ivs: Any, arn: str) -> dict[str, Any]:
    channel: dict[str, Any] = ivs.get_channel(arn=arn)["channel"]
    return channel


def test_an_update_leaves_members_alone_that_it_does_not_name(ivs: Any) -> None:
    arn = make(ivs, name="before", latencyMode="NORMAL", insecureIngest=True)
    ivs.update_channel(arn=arn, name="after")
    channel = get(ivs, arn)
    assert (channel["name"], channel["latencyMode"], channel["insecureIngest"]) == ("after", "NORMAL", True)


def test_false_and_the_empty_string_are_values_in_an_update(ivs: Any) -> None:
    arn = make(ivs, name="n", authorized=True)
    ivs.update_channel(arn=arn, name="", authorized=False)
    assert (get(ivs, arn)["name"], get(ivs, arn)["authorized"]) == ("", False)


@pytest.mark.parametrize("kind", ["ADVANCED_SD", "ADVANCED_HD"])
def test_an_advanced_channel_has_the_default_preset(ivs: Any, kind: str) -> None:
    assert get(ivs, make(ivs, type=kind))["preset"] == "HIGHER_BANDWIDTH_DELIVERY"


def test_a_preset_is_refused_for_standard_and_basic(ivs: Any) -> None:
    for kind in ("STANDARD", "BASIC"):
        assert refusal(ivs.create_channel, type=kind, preset="HIGHER_BANDWIDTH_DELIVERY") == BAD


def test_changing_the_type_sets_and_clears_the_preset(ivs: Any) -> None:
    arn = make(ivs, type="STANDARD")
    ivs.update_channel(arn=arn, type="ADVANCED_HD", preset="CONSTRAINED_BANDWIDTH_DELIVERY")
    assert get(ivs, arn)["preset"] == "CONSTRAINED_BANDWIDTH_DELIVERY"
    ivs.update_channel(arn=arn, type="BASIC")
    assert get(ivs, arn)["preset"] == ""


@pytest.mark.parametrize(
    "members",
    [
        {"type": "BASIC", "containerFormat": "FRAGMENTED_MP4", "multitrackInputConfiguration": ALL_MULTITRACK},
        {"containerFormat": "TS", "multitrackInputConfiguration": ALL_MULTITRACK},
        {"containerFormat": "FRAGMENTED_MP4", "multitrackInputConfiguration": {"enabled": True, "policy": "ALLOW"}},
        {
            "containerFormat": "FRAGMENTED_MP4",
            "multitrackInputConfiguration": {"enabled": True, "maximumResolution": "HD"},
        },
    ],
)
def test_multitrack_input_needs_standard_type_fragmented_mp4_and_all_members(ivs: Any, members: dict[str, Any]) -> None:
    assert refusal(ivs.create_channel, **members) == BAD


def test_multitrack_input_can_be_switched_on_and_off(ivs: Any) -> None:
    arn = make(ivs, containerFormat="FRAGMENTED_MP4", multitrackInputConfiguration=ALL_MULTITRACK)
    assert refusal(ivs.update_channel, arn=arn, type="BASIC") == BAD
    ivs.update_channel(arn=arn, multitrackInputConfiguration={"enabled": False})
    assert get(ivs, arn)["multitrackInputConfiguration"] == {
        "enabled": False,
        "policy": "ALLOW",
        "maximumResolution": "HD",
    }


def test_ads_and_fragmented_mp4_exclude_each_other(ivs: Any) -> None:
    ads = ivs.create_ad_configuration(mediaTailorPlaybackConfigurations=MEDIA)["adConfiguration"]["arn"]
    assert refusal(ivs.create_channel, adConfigurationArn=ads, containerFormat="FRAGMENTED_MP4") == BAD
    arn = make(ivs, adConfigurationArn=ads)
    assert refusal(ivs.update_channel, arn=arn, containerFormat="FRAGMENTED_MP4") == BAD
    ivs.update_channel(arn=arn, adConfigurationArn="", containerFormat="FRAGMENTED_MP4")


@pytest.mark.parametrize(
    ("member", "kind"),
    [
        ("recordingConfigurationArn", "recording-configuration"),
        ("playbackRestrictionPolicyArn", "playback-restriction-policy"),
        ("adConfigurationArn", "ad-configuration"),
        ("failoverSlateConfigurationArn", "failover-slate-configuration"),
    ],
)
def test_a_reference_to_what_does_not_exist_is_not_found(ivs: Any, member: str, kind: str) -> None:
    reference = {member: f"arn:aws:ivs:us-west-2:123456789012:{kind}/absent"}
    assert refusal(ivs.create_channel, **reference) == GONE
    assert refusal(ivs.update_channel, arn=make(ivs), **reference) == GONE


def test_what_a_channel_refers_to_cannot_be_deleted_until_detached(ivs: Any, sandbox: Sandbox) -> None:
    policy = ivs.create_playback_restriction_policy()["playbackRestrictionPolicy"]["arn"]
    ads = ivs.create_ad_configuration(mediaTailorPlaybackConfigurations=MEDIA)["adConfiguration"]["arn"]
    slate = ivs.create_failover_slate_configuration()["failoverSlateConfiguration"]["arn"]
    sandbox.control.advance(10)
    arn = make(ivs, playbackRestrictionPolicyArn=policy, adConfigurationArn=ads, failoverSlateConfigurationArn=slate)
    deletions = (
        (ivs.delete_playback_restriction_policy, policy, "playbackRestrictionPolicyArn"),
        (ivs.delete_ad_configuration, ads, "adConfigurationArn"),
        (ivs.delete_failover_slate_configuration, slate, "failoverSlateConfigurationArn"),
    )
    for delete, target, member in deletions:
        assert refusal(delete, arn=target) == (409, "ConflictException")
        ivs.update_channel(arn=arn, **{member: ""})
        delete(arn=target)


def test_deleting_the_channel_frees_what_it_referred_to(ivs: Any) -> None:
    policy = ivs.create_playback_restriction_policy()["playbackRestrictionPolicy"]["arn"]
    ivs.delete_channel(arn=make(ivs, playbackRestrictionPolicyArn=policy))
    ivs.delete_playback_restriction_policy(arn=policy)


def test_a_channel_has_one_stream_key_which_is_deleted_with_it(ivs: Any) -> None:
    answer = ivs.create_channel(tags={"team": "video"})
    arn, key = answer["channel"]["arn"], answer["streamKey"]
    assert key["value"].startswith("sk_us-west-2_")
    assert ivs.list_stream_keys(channelArn=arn)["streamKeys"] == [{"arn": key["arn"], "channelArn": arn, "tags": {}}]
    assert refusal(ivs.create_stream_key, channelArn=arn) == (402, "ServiceQuotaExceededException")
    ivs.delete_stream_key(arn=key["arn"])
    fresh = ivs.create_stream_key(channelArn=arn, tags={"a": "b"})["streamKey"]
    assert fresh["value"] != key["value"]
    assert ivs.get_stream_key(arn=fresh["arn"])["streamKey"] == fresh
    ivs.delete_channel(arn=arn)
    assert refusal(ivs.get_stream_key, arn=fresh["arn"]) == GONE
    assert refusal(ivs.list_stream_keys, channelArn=arn) == GONE


def test_another_accounts_arn_is_denied_and_another_regions_is_not_found(ivs: Any, client: Any) -> None:
    arn = make(ivs)
    assert refusal(client(key="999988887777").get_channel, arn=arn) == (403, "AccessDeniedException")
    assert refusal(client(region="eu-west-1").get_channel, arn=arn) == GONE


def test_the_second_delete_is_not_found(ivs: Any) -> None:
    arn = make(ivs)
    ivs.delete_channel(arn=arn)
    assert refusal(ivs.delete_channel, arn=arn) == GONE


def test_batch_answers_split_found_and_missing_and_drop_duplicates(ivs: Any) -> None:
    arn, absent = make(ivs), "arn:aws:ivs:us-west-2:123456789012:channel/absent"
    foreign = "arn:aws:ivs:us-west-2:999988887777:channel/theirs"
    answer = ivs.batch_get_channel(arns=[absent, arn, arn, foreign])
    assert [channel["arn"] for channel in answer["channels"]] == [arn]
    assert [(error["arn"], error["code"]) for error in answer["errors"]] == [(absent, "404"), (foreign, "403")]


def test_a_stream_key_given_as_an_arn_is_not_echoed(ivs: Any) -> None:
    secret = ivs.create_channel()["streamKey"]["value"]
    assert secret not in message(ivs.get_stream_key, arn=secret)
