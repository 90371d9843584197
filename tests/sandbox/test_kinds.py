"""Recording configurations, key pairs, policies, ad and slate configurations (IVS facts 0.5, 1.4-1.7, 2.3, 5, 6)."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from reconciler.sandbox import Sandbox, VirtualClock
from tests.sandbox.helpers import FINGERPRINT, PUBLIC_KEY, message, refusal

BAD = (400, "ValidationException")
CONFLICT = (409, "ConflictException")
P256 = base64.b64encode(
    bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\x04" + bytes(64)
).decode()


def record(ivs: Any, bucket: str = "vod", **members: Any) -> dict[str, Any]:
    answer = ivs.create_recording_configuration(destinationConfiguration={"s3": {"bucketName": bucket}}, **members)
    configuration: dict[str, Any] = answer["recordingConfiguration"]
    return configuration


def test_a_recording_configuration_answers_with_all_defaults(ivs: Any) -> None:
    made = record(ivs)
    assert made["recordingReconnectWindowSeconds"] == 0
    assert made["thumbnailConfiguration"] == {
        "recordingMode": "INTERVAL",
        "targetIntervalSeconds": 60,
        "storage": ["SEQUENTIAL"],
    }
    assert made["renditionConfiguration"] == {"renditionSelection": "ALL"}
    assert (made["name"], made["tags"]) == ("", {})


def test_the_list_of_recording_configurations_leaves_details_out(ivs: Any) -> None:
    record(ivs, name="archive")
    (row,) = ivs.list_recording_configurations()["recordingConfigurations"]
    assert set(row) == {"arn", "name", "destinationConfiguration", "state", "tags"}


@pytest.mark.parametrize(
    "members",
    [
        {"thumbnailConfiguration": {"recordingMode": "DISABLED", "targetIntervalSeconds": 5}},
        {"renditionConfiguration": {"renditionSelection": "CUSTOM"}},
        {"destinationConfiguration": {}},
    ],
)
def test_bad_recording_combinations_are_refused(ivs: Any, members: dict[str, Any]) -> None:
    given = {"destinationConfiguration": {"s3": {"bucketName": "vod"}}, **members}
    assert refusal(ivs.create_recording_configuration, **given) == BAD


def test_a_recording_configuration_that_is_being_made_cannot_be_deleted(ivs: Any, sandbox: Sandbox) -> None:
    arn = record(ivs)["arn"]
    assert refusal(ivs.delete_recording_configuration, arn=arn) == CONFLICT
    sandbox.control.advance(10)
    ivs.delete_recording_configuration(arn=arn)


def test_a_failed_recording_configuration_cannot_be_attached_but_deleted(ivs: Any, sandbox: Sandbox) -> None:
    arn = record(ivs, bucket="will-create-failed")["arn"]
    sandbox.control.advance(10)
    assert ivs.get_recording_configuration(arn=arn)["recordingConfiguration"]["state"] == "CREATE_FAILED"
    assert refusal(ivs.create_channel, recordingConfigurationArn=arn) == BAD
    ivs.delete_recording_configuration(arn=arn)


def test_a_bucket_of_another_region_fails_at_once_except_in_us_east_1(session: Any) -> None:
    clock = VirtualClock()
    with Sandbox(
        clock=clock, settle_seconds=5, buckets={"east": "us-east-1", "west": "us-west-2"}, strict_buckets=True
    ) as sandbox:

        def ivs(region: str) -> Any:
            return session.client(
                "ivs",
                endpoint_url=sandbox.endpoint_url,
                region_name=region,
                aws_access_key_id="1",
                aws_secret_access_key="1",
            )

        target = {"s3": {"bucketName": "east"}}
        assert refusal(ivs("us-west-2").create_recording_configuration, destinationConfiguration=target) == BAD
        assert (
            refusal(
                ivs("us-west-2").create_recording_configuration,
                destinationConfiguration={"s3": {"bucketName": "nobodys"}},
            )
            == BAD
        )
        made = record(ivs("us-east-1"), bucket="west")
        assert made["state"] == "CREATING"
        clock.advance(5)
        assert (
            ivs("us-east-1").get_recording_configuration(arn=made["arn"])["recordingConfiguration"]["state"]
            == "CREATE_FAILED"
        )


@pytest.mark.parametrize(
    "variant",
    [PUBLIC_KEY.replace("\n", "\r\n"), f"\n\n  {PUBLIC_KEY}\n", PUBLIC_KEY.strip(), PUBLIC_KEY.replace("\n", "\n ")],
)
def test_white_space_in_a_pem_does_not_matter(ivs: Any, variant: str) -> None:
    assert ivs.import_playback_key_pair(publicKeyMaterial=variant)["keyPair"]["fingerprint"] == FINGERPRINT


@pytest.mark.parametrize(
    "material",
    [
        "",
        "nonsense",
        f"-----BEGIN PUBLIC KEY-----\n{P256}\n-----END PUBLIC KEY-----",
        PUBLIC_KEY.replace("E4IPwqoE", "E4IPwqoF"),
        PUBLIC_KEY.replace("PUBLIC", "PRIVATE"),
        PUBLIC_KEY.replace("MHYw", "MHY!"),
    ],
)
def test_anything_but_a_p384_public_key_is_refused_and_not_repeated(ivs: Any, material: str) -> None:
    text = message(ivs.import_playback_key_pair, publicKeyMaterial=material)
    assert text.startswith("publicKeyMaterial: ")
    assert not material or material[:60] not in text


def test_a_key_pair_is_listed_without_fingerprint_and_never_shows_its_material(ivs: Any) -> None:
    pair = ivs.import_playback_key_pair(name="web", publicKeyMaterial=PUBLIC_KEY)["keyPair"]
    assert ivs.list_playback_key_pairs()["keyPairs"] == [{"arn": pair["arn"], "name": "web", "tags": {}}]
    assert set(ivs.get_playback_key_pair(arn=pair["arn"])["keyPair"]) == {"arn", "name", "fingerprint", "tags"}
    answer = ivs.delete_playback_key_pair(arn=pair["arn"])
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_a_policy_is_complete_in_its_list_and_updated_by_member(ivs: Any) -> None:
    made = ivs.create_playback_restriction_policy(
        name="eu", allowedCountries=["DE", "FR"], allowedOrigins=["https://*.example.com"]
    )["playbackRestrictionPolicy"]
    assert ivs.list_playback_restriction_policies()["playbackRestrictionPolicies"] == [made]
    changed = ivs.update_playback_restriction_policy(
        arn=made["arn"], allowedCountries=[], enableStrictOriginEnforcement=True
    )["playbackRestrictionPolicy"]
    assert changed == {**made, "allowedCountries": [], "enableStrictOriginEnforcement": True}


@pytest.mark.parametrize(
    "lists",
    [
        {"allowedCountries": ["de"]},
        {"allowedCountries": ["XX"]},
        {"allowedCountries": ["DE"] * 201},
        {"allowedOrigins": ["https://a.example"] * 6},
    ],
)
def test_bad_policy_lists_are_refused(ivs: Any, lists: dict[str, list[str]]) -> None:
    assert refusal(ivs.create_playback_restriction_policy, **lists) == BAD


def test_an_ad_configuration_keeps_its_order_and_updates_in_place(ivs: Any) -> None:
    entries = [
        {"playbackConfigurationArn": f"arn:aws:mediatailor:us-west-2:123456789012:playbackConfiguration/{name}"}
        for name in "ba"
    ]
    made = ivs.create_ad_configuration(mediaTailorPlaybackConfigurations=entries)["adConfiguration"]
    assert made["mediaTailorPlaybackConfigurations"] == entries
    assert made["postRollConfiguration"] == {"enabled": False, "durationSeconds": 15}
    changed = ivs.update_ad_configuration(
        arn=made["arn"], name="new", postRollConfiguration={"enabled": True, "durationSeconds": 30}
    )["adConfiguration"]
    assert changed == {**made, "name": "new", "postRollConfiguration": {"enabled": True, "durationSeconds": 30}}
    assert ivs.list_ad_configurations()["adConfigurations"] == [changed]
    assert refusal(ivs.create_ad_configuration, mediaTailorPlaybackConfigurations=[{}]) == BAD


def test_a_slate_is_created_and_updated_through_passing_states(ivs: Any, sandbox: Sandbox) -> None:
    made = ivs.create_failover_slate_configuration(name="slate")["failoverSlateConfiguration"]
    assert (
        made["state"],
        made["activationThresholdSeconds"],
        made["minSlateDisplaySeconds"],
        made["maxSlateDisplaySeconds"],
    ) == ("CREATING", 3, 3, 60)
    arn = made["arn"]
    assert refusal(ivs.create_channel, failoverSlateConfigurationArn=arn) == CONFLICT
    sandbox.control.advance(10)
    assert ivs.get_failover_slate_configuration(arn=arn)["failoverSlateConfiguration"]["state"] == "CREATED"
    assert (
        ivs.update_failover_slate_configuration(arn=arn, maxSlateDisplaySeconds=90)["failoverSlateConfiguration"][
            "state"
        ]
        == "UPDATING"
    )
    assert refusal(ivs.update_failover_slate_configuration, arn=arn, name="x") == CONFLICT
    assert refusal(ivs.delete_failover_slate_configuration, arn=arn) == CONFLICT
    sandbox.control.advance(10)
    (row,) = ivs.list_failover_slate_configurations()["failoverSlateConfigurations"]
    assert (row["state"], row["maxSlateDisplaySeconds"]) == ("CREATED", 90)
    ivs.delete_failover_slate_configuration(arn=arn)


def test_tags_merge_are_removed_and_limited_for_every_kind(ivs: Any, sandbox: Sandbox) -> None:
    answer = ivs.create_channel()
    arns = [
        answer["channel"]["arn"],
        answer["streamKey"]["arn"],
        record(ivs)["arn"],
        ivs.import_playback_key_pair(publicKeyMaterial=PUBLIC_KEY)["keyPair"]["arn"],
        ivs.create_playback_restriction_policy()["playbackRestrictionPolicy"]["arn"],
        ivs.create_failover_slate_configuration()["failoverSlateConfiguration"]["arn"],
    ]
    for arn in arns:
        ivs.tag_resource(resourceArn=arn, tags={"a": "1", "b c+d": "ü"})
        ivs.tag_resource(resourceArn=arn, tags={"a": "2"})
        ivs.untag_resource(resourceArn=arn, tagKeys=["b c+d", "absent"])
        assert ivs.list_tags_for_resource(resourceArn=arn)["tags"] == {"a": "2"}
        assert refusal(ivs.tag_resource, resourceArn=arn, tags={"aws:x": "1"}) == BAD
        assert refusal(ivs.tag_resource, resourceArn=arn, tags={f"k{number}": "" for number in range(50)}) == BAD
        ivs.tag_resource(resourceArn=arn, tags={f"k{number}": "" for number in range(49)})
    assert refusal(ivs.create_channel, tags={"aws:x": "1"}) == BAD
    absent = "arn:aws:ivs:us-west-2:123456789012:channel/absent"
    assert refusal(ivs.list_tags_for_resource, resourceArn=absent) == (404, "ResourceNotFoundException")
    assert refusal(ivs.tag_resource, resourceArn="arn:aws:ivs:us-west-2:123456789012:stage/absent", tags={}) == BAD
