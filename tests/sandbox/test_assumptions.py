"""Every open question about the service, answered each way (IVS facts 15)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.cli.sandbox import main
from reconciler.sandbox import ControlError, Sandbox
from reconciler.sandbox.settings import ASSUMPTIONS
from tests.sandbox.helpers import PUBLIC_KEY, refusal

BAD = (400, "ValidationException")
CONFLICT = (409, "ConflictException")
MEDIA = [{"playbackConfigurationArn": "arn:aws:mediatailor:us-west-2:123456789012:playbackConfiguration/ads"}]
ABSENT = "arn:aws:ivs:us-west-2:123456789012:"


def make(ivs: Any, **members: Any) -> str:
    return str(ivs.create_channel(**members)["channel"]["arn"])


def pages(ivs: Any, size: int) -> Iterator[list[str]]:
    token = ""
    while True:
        answer = ivs.list_channels(maxResults=size, nextToken=token)
        yield [row["arn"] for row in answer["channels"]]
        token = answer.get("nextToken", "")
        if not token:
            return


def whole(ivs: Any, size: int = 100) -> list[str]:
    return [arn for page in pages(ivs, size) for arn in page]


def test_lists_are_shuffled_differently_each_time_and_complete(ivs: Any, sandbox: Sandbox) -> None:
    arns = [make(ivs, name=f"c{number}") for number in range(23)]
    assert whole(ivs) == arns
    sandbox.control.assume("list-order", "shuffled")
    seen = [whole(ivs, size) for size in (100, 7, 5, 1)]
    for order in seen:
        assert sorted(order) == sorted(arns)
    assert len({tuple(order) for order in [*seen, arns]}) == 5
    sandbox.control.assume("list-order", "creation")
    assert whole(ivs, 4) == arns


def test_a_shuffled_listing_stays_complete_while_it_grows_and_shrinks(ivs: Any, sandbox: Sandbox) -> None:
    sandbox.control.assume("list-order", "shuffled")
    arns = [make(ivs) for _ in range(12)]
    listing = pages(ivs, 5)
    seen = next(listing)
    gone = next(arn for arn in arns if arn not in seen)
    ivs.delete_channel(arn=gone)
    late = make(ivs)
    for page in listing:
        seen += page
    assert len(seen) == len(set(seen))
    assert set(arns) - {gone} <= set(seen) <= {*arns, late}


def test_filtered_lists_streams_and_other_kinds_are_shuffled_too(ivs: Any, sandbox: Sandbox) -> None:
    policy = ivs.create_playback_restriction_policy()["playbackRestrictionPolicy"]["arn"]
    arns = [make(ivs, name="same", playbackRestrictionPolicyArn=policy) for _ in range(9)]
    for arn in arns:
        sandbox.control.go_live(arn)
    sandbox.control.assume("list-order", "shuffled")
    for given in ({"filterByName": "same"}, {"filterByPlaybackRestrictionPolicyArn": policy}):
        orders = {tuple(row["arn"] for row in ivs.list_channels(**given)["channels"]) for _ in range(4)}
        assert len(orders) > 1
        assert all(sorted(order) == sorted(arns) for order in orders)
    walked = [
        row["channelArn"]
        for page in ivs.get_paginator("list_streams").paginate(PaginationConfig={"PageSize": 2})
        for row in page["streams"]
    ]
    assert sorted(walked) == sorted(arns)
    assert len({tuple(row["channelArn"] for row in ivs.list_streams()["streams"]) for _ in range(4)}) > 1


def test_short_pages_end_with_an_empty_one(ivs: Any, sandbox: Sandbox) -> None:
    arns = [make(ivs) for _ in range(5)]
    sandbox.control.assume("list-pages", "short")
    assert [len(page) for page in pages(ivs, 4)] == [2, 2, 1, 0]
    assert whole(ivs, 1) == arns
    assert ivs.get_paginator("list_channels").paginate().build_full_result()["channels"] == [
        row for arn in arns for row in ivs.list_channels()["channels"] if row["arn"] == arn
    ]


def test_batch_answers_in_another_order_and_with_names_for_codes(ivs: Any, sandbox: Sandbox) -> None:
    arns = [make(ivs) for _ in range(20)]
    foreign, absent = "arn:aws:ivs:us-west-2:999988887777:channel/x", f"{ABSENT}channel/x"
    sandbox.control.assume("batch-order", "shuffled")
    sandbox.control.assume("batch-code", "name")
    answer = ivs.batch_get_channel(arns=[*arns, absent, foreign])
    found = [channel["arn"] for channel in answer["channels"]]
    assert found != arns
    assert sorted(found) == sorted(arns)
    assert [error["code"] for error in answer["errors"]] == ["ResourceNotFoundException", "AccessDeniedException"]
    errors = ivs.batch_start_viewer_session_revocation(viewerSessions=[{"channelArn": absent, "viewerId": "v"}])[
        "errors"
    ]
    assert errors[0]["code"] == "ResourceNotFoundException"


def test_sets_come_back_sorted(ivs: Any, sandbox: Sandbox) -> None:
    sandbox.control.assume("set-order", "sorted")
    made = ivs.create_playback_restriction_policy(
        allowedCountries=["FR", "DE"], allowedOrigins=["https://b.example", "https://a.example"]
    )["playbackRestrictionPolicy"]
    assert (made["allowedCountries"], made["allowedOrigins"]) == (
        ["DE", "FR"],
        ["https://a.example", "https://b.example"],
    )
    changed = ivs.update_playback_restriction_policy(arn=made["arn"], allowedCountries=["IT", "AT"])[
        "playbackRestrictionPolicy"
    ]
    assert changed["allowedCountries"] == ["AT", "IT"]
    record = ivs.create_recording_configuration(
        destinationConfiguration={"s3": {"bucketName": "vod"}},
        renditionConfiguration={"renditionSelection": "CUSTOM", "renditions": ["SD", "HD"]},
        thumbnailConfiguration={"storage": ["SEQUENTIAL", "LATEST"]},
    )["recordingConfiguration"]
    assert record["renditionConfiguration"]["renditions"] == ["HD", "SD"]
    assert record["thumbnailConfiguration"]["storage"] == ["LATEST", "SEQUENTIAL"]


def test_members_that_are_not_set_are_left_out_but_never_what_is_in_tags(ivs: Any, sandbox: Sandbox) -> None:
    sandbox.control.assume("unset-members", "absent")
    arn = make(ivs, tags={"empty": ""})
    channel = ivs.get_channel(arn=arn)["channel"]
    assert not {"name", "preset", "recordingConfigurationArn", "adConfigurationArn"} & set(channel)
    assert (channel["authorized"], channel["tags"]) == (False, {"empty": ""})
    assert "tags" not in ivs.list_stream_keys(channelArn=arn)["streamKeys"][0]
    assert ivs.list_tags_for_resource(resourceArn=arn)["tags"] == {"empty": ""}
    ivs.untag_resource(resourceArn=arn, tagKeys=["empty"])
    assert ivs.list_tags_for_resource(resourceArn=arn)["tags"] == {}
    assert ivs.create_playback_restriction_policy()["playbackRestrictionPolicy"]["allowedCountries"] == []


def test_a_name_filter_may_match_the_beginning(ivs: Any, sandbox: Sandbox) -> None:
    for name in ("stage", "stage-b", "Stage", "my-stage"):
        make(ivs, name=name)
    sandbox.control.assume("name-filter", "prefix")
    assert [row["name"] for row in ivs.list_channels(filterByName="stage")["channels"]] == ["stage", "stage-b"]


def test_the_update_of_a_live_channel_may_be_refused_otherwise_or_pass(ivs: Any, sandbox: Sandbox) -> None:
    arn = make(ivs)
    sandbox.control.go_live(arn)
    assert refusal(ivs.update_channel, arn=arn, name="x") == CONFLICT
    sandbox.control.assume("live-update", "validation")
    assert refusal(ivs.update_channel, arn=arn, name="x") == BAD
    sandbox.control.assume("live-update", "accepted")
    assert ivs.update_channel(arn=arn, name="x")["channel"]["name"] == "x"
    assert refusal(ivs.delete_channel, arn=arn) == CONFLICT


def test_what_is_being_made_may_be_deleted_and_attached(ivs: Any, sandbox: Sandbox) -> None:
    def record() -> str:
        return str(
            ivs.create_recording_configuration(destinationConfiguration={"s3": {"bucketName": "vod"}})[
                "recordingConfiguration"
            ]["arn"]
        )

    fresh = record()
    assert refusal(ivs.create_channel, recordingConfigurationArn=fresh) == CONFLICT
    sandbox.control.assume("unsettled-reference", "validation")
    assert refusal(ivs.create_channel, recordingConfigurationArn=fresh) == BAD
    sandbox.control.assume("unsettled-reference", "accepted")
    make(ivs, recordingConfigurationArn=fresh)
    other = record()
    assert refusal(ivs.delete_recording_configuration, arn=other) == CONFLICT
    sandbox.control.assume("unsettled-delete", "accepted")
    ivs.delete_recording_configuration(arn=other)
    # Documented, so not open: what a channel records to cannot be deleted under any assumption.
    sandbox.control.assume("attached-delete", "accepted")
    assert refusal(ivs.delete_recording_configuration, arn=fresh) == CONFLICT


def test_an_unknown_reference_and_an_attached_delete_answered_otherwise(ivs: Any, sandbox: Sandbox) -> None:
    sandbox.control.assume("unknown-reference", "validation")
    assert refusal(ivs.create_channel, playbackRestrictionPolicyArn=f"{ABSENT}playback-restriction-policy/x") == BAD
    policy = ivs.create_playback_restriction_policy()["playbackRestrictionPolicy"]["arn"]
    make(ivs, playbackRestrictionPolicyArn=policy)
    sandbox.control.assume("attached-delete", "accepted")
    ivs.delete_playback_restriction_policy(arn=policy)


def test_a_preset_that_fits_no_type_may_be_ignored(ivs: Any, sandbox: Sandbox) -> None:
    sandbox.control.assume("idle-preset", "ignored")
    assert ivs.create_channel(type="BASIC", preset="HIGHER_BANDWIDTH_DELIVERY")["channel"]["preset"] == ""


def test_multitrack_members_left_out_may_fall_back(ivs: Any, sandbox: Sandbox) -> None:
    given = {"enabled": True, "policy": "REQUIRE", "maximumResolution": "HD"}
    arn = make(ivs, containerFormat="FRAGMENTED_MP4", multitrackInputConfiguration=given)
    sandbox.control.assume("multitrack-update", "defaults")
    assert ivs.update_channel(arn=arn, name="x")["channel"]["multitrackInputConfiguration"] == given
    changed = ivs.update_channel(arn=arn, multitrackInputConfiguration={"enabled": False})["channel"]
    assert changed["multitrackInputConfiguration"] == {
        "enabled": False,
        "policy": "ALLOW",
        "maximumResolution": "FULL_HD",
    }


def test_empty_values_in_updates_may_mean_something_else(ivs: Any, sandbox: Sandbox) -> None:
    ads = ivs.create_ad_configuration(mediaTailorPlaybackConfigurations=MEDIA)["adConfiguration"]["arn"]
    arn = make(ivs, adConfigurationArn=ads)
    sandbox.control.assume("empty-ad-reference", "refused")
    assert refusal(ivs.update_channel, arn=arn, adConfigurationArn="") == BAD
    policy = ivs.create_playback_restriction_policy(allowedCountries=["DE"])["playbackRestrictionPolicy"]["arn"]
    sandbox.control.assume("empty-lists", "ignored")
    assert ivs.update_playback_restriction_policy(arn=policy, allowedCountries=[])["playbackRestrictionPolicy"][
        "allowedCountries"
    ] == ["DE"]


def test_the_quota_may_come_before_the_known_key(ivs: Any, sandbox: Sandbox) -> None:
    ivs.import_playback_key_pair(publicKeyMaterial=PUBLIC_KEY)
    sandbox.control.set_quota("playback-keys", 1)
    assert refusal(ivs.import_playback_key_pair, publicKeyMaterial=PUBLIC_KEY) == CONFLICT
    sandbox.control.assume("duplicate-key", "quota")
    assert refusal(ivs.import_playback_key_pair, publicKeyMaterial=PUBLIC_KEY) == (402, "ServiceQuotaExceededException")


def test_a_bucket_may_hold_one_call_and_say_when_to_come_back(ivs: Any, sandbox: Sandbox) -> None:
    sandbox.control.assume("rate-burst", "one")
    sandbox.control.assume("retry-after", "present")
    sandbox.control.set_rates(True)
    ivs.list_channels()
    with pytest.raises(ivs.exceptions.ThrottlingException) as caught:
        ivs.list_channels()
    assert caught.value.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "1"
    sandbox.control.advance(0.2)
    ivs.list_channels()


def test_calls_can_be_counted_per_whole_second(ivs: Any, sandbox: Sandbox) -> None:
    sandbox.control.assume("rate-counting", "seconds")
    sandbox.control.set_rates(True)
    for _ in range(5):
        ivs.list_channels()
    sandbox.control.advance(0.9)
    assert refusal(ivs.list_channels)[0] == 429
    sandbox.control.advance(0.1)
    for _ in range(5):
        ivs.list_channels()


def test_the_command_line_sets_call_rates(ivs: Any, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--endpoint", sandbox.endpoint_url]
    assert main(["sandbox", "rates", "on", "--burst", "1", *where]) == 0
    ivs.list_channels()
    assert refusal(ivs.list_channels)[0] == 429
    assert main(["sandbox", "rates", "ListChannels=2", "GetChannel=0.5", "--windows", *where]) == 0
    ivs.list_channels()
    ivs.list_channels()
    assert refusal(ivs.list_channels)[0] == 429
    assert main(["sandbox", "rates", "off", *where]) == 0
    ivs.list_channels()
    capsys.readouterr()
    for wrong in (["ListChannels=fast"], ["maybe"], ["ListChannels=0"], ["ListChanels=5"]):
        assert main(["sandbox", "rates", *wrong, *where]) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_every_answer_of_every_question_is_taken_and_reset_goes_back_to_the_start() -> None:
    with Sandbox(serve=False, assume={"list-order": "shuffled"}, limits={"channels": 7}, quotas=False) as sandbox:
        for name, assumption in ASSUMPTIONS.items():
            for option in assumption.options:
                (row,) = (each for each in sandbox.control.assume(name, option) if each["name"] == name)
                assert row["chosen"] == option
        sandbox.control.set_rates(True)
        sandbox.control.set_quota("channels", 1)
        sandbox.control.reset()
        chosen = {row["name"]: row["chosen"] for row in sandbox.control.assumptions()}
        assert chosen == {name: each.options[0] for name, each in ASSUMPTIONS.items()} | {"list-order": "shuffled"}
        assert sandbox.control.quotas()["channels"] == 7


@pytest.mark.parametrize(("name", "option"), [("list-ordre", "shuffled"), ("list-order", "sorted")])
def test_what_is_no_question_or_no_answer_is_refused(sandbox: Sandbox, name: str, option: str) -> None:
    with pytest.raises(
        ControlError, match="known: list-order" if name != "list-order" else "must be one of creation, shuffled"
    ):
        sandbox.control.assume(name, option)
    with pytest.raises(ValueError, match="list-ord"):
        Sandbox(serve=False, assume={name: option})


def test_the_command_line_lists_shows_and_changes_assumptions(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--endpoint", sandbox.endpoint_url]
    assert main(["sandbox", "assume", *where]) == 0
    listed = capsys.readouterr().out
    assert all(f'"name": "{name}"' in listed for name in ASSUMPTIONS)
    assert main(["sandbox", "assume", "name-filter", "prefix", *where]) == 0
    assert '"chosen": "prefix"' in capsys.readouterr().out
    assert main(["sandbox", "assume", "name-filter", *where]) == 0
    assert '"chosen": "prefix"' in capsys.readouterr().out
    assert main(["sandbox", "assume", "nonsense", *where]) == 1
    assert "unknown assumption 'nonsense'; known: list-order" in capsys.readouterr().err
    assert main(["sandbox", "serve", "--port", "0", "--assume", "list-order=sorted"]) == 1
    assert "must be one of creation, shuffled" in capsys.readouterr().err
