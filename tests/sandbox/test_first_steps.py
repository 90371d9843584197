"""The sandbox through boto3 over HTTP: the way everybody meets it first."""

from __future__ import annotations

from typing import Any

from reconciler.sandbox import Sandbox
from tests.sandbox.helpers import FINGERPRINT, PUBLIC_KEY, refusal


def test_a_created_channel_is_read_back_with_documented_defaults(ivs: Any) -> None:
    answer = ivs.create_channel(name="stage", tags={"a b": "ü+/=@"})
    channel = answer["channel"]
    assert channel["type"] == "STANDARD"
    assert channel["latencyMode"] == "LOW"
    assert channel["preset"] == ""
    assert channel["recordingConfigurationArn"] == ""
    assert channel["multitrackInputConfiguration"] == {
        "enabled": False,
        "policy": "ALLOW",
        "maximumResolution": "FULL_HD",
    }
    assert answer["streamKey"]["tags"] == {}
    assert ivs.get_channel(arn=channel["arn"])["channel"] == channel
    assert ivs.list_tags_for_resource(resourceArn=channel["arn"])["tags"] == {"a b": "ü+/=@"}


def test_a_recording_configuration_becomes_active_when_its_time_has_come(ivs: Any, sandbox: Sandbox) -> None:
    made = ivs.create_recording_configuration(destinationConfiguration={"s3": {"bucketName": "vod"}})[
        "recordingConfiguration"
    ]
    assert made["state"] == "CREATING"
    assert refusal(ivs.create_channel, recordingConfigurationArn=made["arn"]) == (409, "ConflictException")
    sandbox.control.advance(10)
    assert ivs.get_recording_configuration(arn=made["arn"])["recordingConfiguration"]["state"] == "ACTIVE"
    channel = ivs.create_channel(recordingConfigurationArn=made["arn"])["channel"]
    assert refusal(ivs.delete_recording_configuration, arn=made["arn"]) == (409, "ConflictException")
    ivs.update_channel(arn=channel["arn"], recordingConfigurationArn="")
    ivs.delete_recording_configuration(arn=made["arn"])
    assert refusal(ivs.get_recording_configuration, arn=made["arn"]) == (404, "ResourceNotFoundException")


def test_an_imported_key_has_the_fingerprint_of_its_der_bytes(ivs: Any) -> None:
    pair = ivs.import_playback_key_pair(name="web", publicKeyMaterial=PUBLIC_KEY)["keyPair"]
    assert pair["fingerprint"] == FINGERPRINT
    assert refusal(ivs.import_playback_key_pair, publicKeyMaterial=PUBLIC_KEY) == (409, "ConflictException")


def test_a_live_channel_refuses_update_and_delete_until_it_is_offline(ivs: Any, sandbox: Sandbox) -> None:
    arn = ivs.create_channel(name="stage")["channel"]["arn"]
    sandbox.control.go_live(arn, viewers=3)
    assert ivs.get_stream(channelArn=arn)["stream"]["viewerCount"] == 3
    assert refusal(ivs.update_channel, arn=arn, name="x") == (409, "ConflictException")
    assert refusal(ivs.delete_channel, arn=arn) == (409, "ConflictException")
    sandbox.control.go_offline(arn)
    assert ivs.list_streams()["streams"] == []
    ivs.delete_channel(arn=arn)


def test_accounts_and_regions_are_worlds_of_their_own(client: Any) -> None:
    client().create_channel(name="here")
    assert client(region="eu-west-1").list_channels()["channels"] == []
    assert client(key="999988887777").list_channels()["channels"] == []
    arn = client(key="999988887777", region="eu-west-1").create_channel()["channel"]["arn"]
    assert arn.startswith("arn:aws:ivs:eu-west-1:999988887777:channel/")


def test_sts_returns_the_account_of_the_access_key(client: Any) -> None:
    identity = client("sts", key="999988887777").get_caller_identity()
    assert identity["Account"] == "999988887777"


def test_state_in_a_file_outlives_the_sandbox(tmp_path: Any, session: Any) -> None:
    file = tmp_path / "deep" / "state.db"
    for expected in (0, 1):
        with Sandbox(file) as sandbox:
            ivs = session.client(
                "ivs",
                endpoint_url=sandbox.endpoint_url,
                region_name="us-west-2",
                aws_access_key_id="1",
                aws_secret_access_key="1",
            )
            assert len(ivs.list_channels()["channels"]) == expected
            ivs.create_channel(name="kept")
