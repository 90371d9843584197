from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.aws.client import IvsGateway, ReadCalls
from reconciler.aws.limiter import repeat_class
from reconciler.aws.reader import ReadRequest, read_live, read_streams
from reconciler.errors import AwsError
from reconciler.model import kinds
from reconciler.model.address import ID, STACK, KindName
from reconciler.model.kinds import KINDS, Repeat
from reconciler.model.resource import LiveState
from reconciler.sandbox import Sandbox
from tests.aws.makers import OURS, Recorded, Told, channel, gateway_to, our_channel

PEM = """-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE4IPwqoEWo1NdfNGF6kD9ETwf4dUSCq84
XvDt32MxWHNSfHkLOXt8Qz/nxosQwafrHhrUlJ/wi65ThXSAw7aOomQ2TOv0O/hn
OSeMfgong9BpLinI9olwzhmSxyO97nfR
-----END PUBLIC KEY-----
"""
FINGERPRINT = "7e:1d:7a:32:61:51:a5:7b:18:39:2e:44:d5:ff:4f:9d"
OTHERS = {STACK: "somebody-else", ID: "x"}
ALL_LISTS = sorted(kind.list for kind in KINDS.values() if kind.name is not KindName.STREAM_KEY)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(settle_seconds=0) as server:
        yield server


@pytest.fixture
def gateway(sandbox: Sandbox) -> IvsGateway:
    return gateway_to(sandbox.endpoint_url)


def read(calls: ReadCalls, **request: Any) -> LiveState:
    return read_live(calls, ReadRequest("acme", **request), account_id="123456789012", region="us-west-2")


def a_recording(gateway: IvsGateway, name: str, tags: dict[str, str]) -> str:
    made: Any = gateway.call(
        "CreateRecordingConfiguration",
        {
            "name": name,
            "tags": tags,
            "recordingReconnectWindowSeconds": 60,
            "destinationConfiguration": {"s3": {"bucketName": "acme-vod"}},
        },
    ).data
    return str(made["recordingConfiguration"]["arn"])


def test_an_empty_account_takes_one_call_for_each_list(gateway: IvsGateway) -> None:
    calls = Recorded(gateway)
    state = read(calls)
    assert calls.operations == ALL_LISTS
    assert all(resources == () for resources in state.resources.values())
    assert (state.account_id, state.region, state.unreadable) == ("123456789012", "us-west-2", {})


def test_our_channels_are_read_in_pages_of_a_hundred_and_batches_of_fifty(gateway: IvsGateway) -> None:
    arns = sorted(our_channel(gateway, f"stage-{number}", containerFormat="FRAGMENTED_MP4") for number in range(130))
    calls = Recorded(gateway)
    state = read(calls)
    channels = state.of(KindName.CHANNEL)
    assert [resource.arn for resource in channels] == arns
    assert all(
        resource.complete and resource.properties["containerFormat"] == "FRAGMENTED_MP4" for resource in channels
    )
    assert calls.count("ListChannels") == 2
    batches = [parameters["arns"] for operation, parameters in calls.calls if operation == "BatchGetChannel"]
    assert sorted(len(arns) for arns in batches) == [30, 50, 50]  # type: ignore[arg-type]
    assert all(
        parameters["maxResults"] == PAGE_SIZES[operation]
        for operation, parameters in calls.calls
        if operation.startswith("List")
    )


def test_unmanaged_resources_are_known_from_their_list_alone(gateway: IvsGateway) -> None:
    channel(gateway, "theirs", OTHERS)
    channel(gateway, "nobodys")
    a_recording(gateway, "theirs", OTHERS)
    gateway.call("ImportPlaybackKeyPair", {"name": "theirs", "publicKeyMaterial": PEM})
    calls = Recorded(gateway)
    state = read(calls)
    assert calls.operations == ALL_LISTS
    assert [
        resource.complete
        for kind in (KindName.CHANNEL, KindName.RECORDING_CONFIGURATION, KindName.PLAYBACK_KEY_PAIR)
        for resource in state.of(kind)
    ] == [False] * 4
    assert {resource.name for resource in state.of(KindName.CHANNEL)} == {"theirs", "nobodys"}


def test_recordings_and_key_pairs_of_ours_take_one_get_each(gateway: IvsGateway) -> None:
    arn = a_recording(gateway, "archive", {**OURS, ID: "archive"})
    gateway.call("ImportPlaybackKeyPair", {"name": "web", "publicKeyMaterial": PEM, "tags": OURS})
    calls = Recorded(gateway)
    state = read(calls)
    assert calls.operations == sorted([*ALL_LISTS, "GetRecordingConfiguration", "GetPlaybackKeyPair"])
    recording = state.of(KindName.RECORDING_CONFIGURATION)[0]
    assert (recording.arn, recording.state, recording.properties["recordingReconnectWindowSeconds"]) == (
        arn,
        "ACTIVE",
        60,
    )
    assert state.of(KindName.PLAYBACK_KEY_PAIR)[0].properties["fingerprint"] == FINGERPRINT


def test_kinds_that_are_complete_in_their_list_take_no_get(gateway: IvsGateway) -> None:
    for number in range(3):
        gateway.call(
            "CreatePlaybackRestrictionPolicy", {"name": f"eu-{number}", "allowedCountries": ["FR", "DE"], "tags": OURS}
        )
    gateway.call("CreateFailoverSlateConfiguration", {"name": "slate", "maxSlateDisplaySeconds": 90, "tags": OURS})
    calls = Recorded(gateway)
    state = read(calls)
    assert calls.operations == ALL_LISTS
    assert [resource.properties["allowedCountries"] for resource in state.of(KindName.PLAYBACK_RESTRICTION_POLICY)] == [
        ("DE", "FR")
    ] * 3
    assert state.of(KindName.FAILOVER_SLATE_CONFIGURATION)[0].properties["maxSlateDisplaySeconds"] == 90


def test_stream_keys_are_listed_only_for_channels_whose_spec_has_one(gateway: IvsGateway) -> None:
    spoken = our_channel(gateway, "main")
    our_channel(gateway, "side")
    channel(gateway, "main", OTHERS)
    calls = Recorded(gateway)
    state = read(calls, stream_key_channels=frozenset({"main"}))
    assert [parameters for operation, parameters in calls.calls if operation == "ListStreamKeys"] == [
        {"channelArn": spoken, "maxResults": 50}
    ]
    (key,) = state.of(KindName.STREAM_KEY)
    assert key.properties == {"channelArn": spoken}
    assert key.tags == {}


def test_no_read_ever_asks_for_a_key_value_or_changes_anything(gateway: IvsGateway) -> None:
    our_channel(gateway, "main")
    a_recording(gateway, "archive", OURS)
    calls = Recorded(gateway)
    read(calls, stream_key_channels=frozenset({"main"}), everything=True)
    services = {kind.list: kind.service.client for kind in KINDS.values()}
    assert {repeat_class(services.get(operation, "ivs"), operation) for operation in calls.operations} == {Repeat.READ}
    assert not {"GetStreamKey", "BatchGetStreamKey", "GetStream", "ListTagsForResource", "GetChannel"} & set(
        calls.operations
    )


def test_an_unowned_resource_that_may_be_adopted_is_read_in_full_with_its_stream_key(gateway: IvsGateway) -> None:
    unowned = channel(gateway, "main")
    channel(gateway, "main", OTHERS)
    channel(gateway, "other")
    names = {KindName.CHANNEL: frozenset({"main"})}
    state = read(gateway, adopt_names=names, stream_key_channels=frozenset({"main"}))
    assert [resource.arn for resource in state.of(KindName.CHANNEL) if resource.complete] == [unowned]
    assert [resource.properties["channelArn"] for resource in state.of(KindName.STREAM_KEY)] == [unowned]


def test_single_resources_can_be_asked_for_in_full(gateway: IvsGateway) -> None:
    arn = channel(gateway, "theirs", OTHERS)
    channel(gateway, "other")
    state = read(gateway, full_arns=frozenset({arn}))
    assert [resource.arn for resource in state.of(KindName.CHANNEL) if resource.complete] == [arn]


def test_everything_can_be_asked_for_in_full(gateway: IvsGateway) -> None:
    channel(gateway, "theirs", OTHERS)
    a_recording(gateway, "nobodys", {})
    state = read(gateway, everything=True)
    assert all(resource.complete for resources in state.resources.values() for resource in resources)


def test_system_tags_and_ignored_tags_are_never_compared(gateway: IvsGateway) -> None:
    our_channel(gateway, "main")
    gateway.call(
        "TagResource",
        {"resourceArn": read(gateway).of(KindName.CHANNEL)[0].arn, "tags": {"cost:center": "7", "team": "video"}},
    )
    (resource,) = read(gateway, ignore_tags=("cost:*",)).of(KindName.CHANNEL)
    assert resource.tags == {**OURS, ID: "main", "team": "video"}
    told = Told(ListChannels=[{"channels": [{"arn": "a", "tags": {"aws:cloudformation:stack-name": "x", "k": "v"}}]}])
    assert read(told).of(KindName.CHANNEL)[0].tags == {"k": "v"}


def test_properties_are_in_their_canonical_form(gateway: IvsGateway) -> None:
    our_channel(gateway, "main", latencyMode="LOW", type="STANDARD", authorized=True)
    assert read(gateway).of(KindName.CHANNEL)[0].properties == {"name": "main", "authorized": True}


def test_only_the_kinds_that_are_asked_for_are_read(gateway: IvsGateway) -> None:
    our_channel(gateway, "main")
    a_recording(gateway, "archive", OURS)
    calls = Recorded(gateway)
    state = read(calls, kinds=frozenset({KindName.RECORDING_CONFIGURATION}))
    assert calls.operations == ["GetRecordingConfiguration", "ListRecordingConfigurations"]
    assert state.of(KindName.RECORDING_CONFIGURATION)
    assert state.of(KindName.CHANNEL) == ()
    assert state.not_read == frozenset(kinds.LISTED) - {KindName.RECORDING_CONFIGURATION}
    assert state.unreadable == {}


def test_a_kind_is_read_without_the_permissions_of_others(sandbox: Sandbox, gateway: IvsGateway) -> None:
    our_channel(gateway, "main")
    for operation, kind in READS.items():
        if kind is not KindName.CHANNEL:
            sandbox.control.deny(operation)
    state = read(gateway, kinds=frozenset({KindName.CHANNEL}), needed=frozenset({KindName.CHANNEL}))
    assert state.of(KindName.CHANNEL)
    assert state.unreadable == {}


PAGE_SIZES = {kind.list: kind.page_size for kind in KINDS.values()}
READS = {
    **{kind.list: kind.name for kind in KINDS.values()},
    "BatchGetChannel": KindName.CHANNEL,
    "GetRecordingConfiguration": KindName.RECORDING_CONFIGURATION,
    "GetPlaybackKeyPair": KindName.PLAYBACK_KEY_PAIR,
}


@pytest.mark.parametrize("needed", [False, True])
@pytest.mark.parametrize("operation", READS)
def test_one_missing_permission_excludes_one_kind_and_is_named(
    sandbox: Sandbox, gateway: IvsGateway, operation: str, needed: bool
) -> None:
    our_channel(gateway, "main")
    gateway.call(
        "CreateRecordingConfiguration", {"destinationConfiguration": {"s3": {"bucketName": "vod"}}, "tags": OURS}
    )
    gateway.call("ImportPlaybackKeyPair", {"publicKeyMaterial": PEM, "tags": OURS})
    sandbox.control.deny(operation)
    kind = READS[operation]
    state = read(gateway, needed=frozenset({kind}) if needed else frozenset(), stream_key_channels=frozenset({"main"}))
    gone = {kind: state.unreadable[kind]}
    assert state.unreadable == gone
    assert f"missing permission {KINDS[kind].service.prefix}:{operation}" in state.unreadable[kind]
    assert state.of(kind) == ()
    others = {KindName.CHANNEL, KindName.RECORDING_CONFIGURATION, KindName.PLAYBACK_KEY_PAIR, KindName.STREAM_KEY} - {
        kind
    }
    if kind is KindName.CHANNEL:
        others -= {KindName.STREAM_KEY}  # a key is found through its channel
    assert all(state.of(other) for other in others)


def test_no_readable_kind_means_wrong_credentials(sandbox: Sandbox, gateway: IvsGateway) -> None:
    sandbox.control.deny("List*")
    with pytest.raises(AwsError, match=r"ivs:ListChannels .*ivs:ListRecordingConfigurations ") as caught:
        read(gateway)
    assert "ivs:ListAdConfigurations" in str(caught.value)
    assert caught.value.code == "AccessDeniedException"


def test_a_kind_that_the_endpoint_does_not_know_is_unreadable(sandbox: Sandbox, gateway: IvsGateway) -> None:
    sandbox.control.add_fault(
        "error", operation="ListFailoverSlateConfigurations", code="UnknownOperationException", status=501, times=None
    )
    assert list(read(gateway).unreadable) == [KindName.FAILOVER_SLATE_CONFIGURATION]
    with pytest.raises(AwsError):
        read(gateway, needed=frozenset({KindName.FAILOVER_SLATE_CONFIGURATION}))


def test_what_vanishes_between_the_list_and_the_batch_is_left_out(gateway: IvsGateway) -> None:
    stays, goes = our_channel(gateway, "stays"), our_channel(gateway, "goes")
    recording = a_recording(gateway, "goes", OURS)

    def before(operation: str) -> None:
        if operation == "BatchGetChannel":
            gateway.call("DeleteChannel", {"arn": goes})
        if operation == "GetRecordingConfiguration":
            gateway.call("DeleteRecordingConfiguration", {"arn": recording})

    state = read(Recorded(gateway, before))
    assert [resource.arn for resource in state.of(KindName.CHANNEL)] == [stays]
    assert state.of(KindName.RECORDING_CONFIGURATION) == ()


def test_a_channel_that_vanishes_before_its_stream_keys_are_listed_has_none(gateway: IvsGateway) -> None:
    arn = our_channel(gateway, "main")

    def before(operation: str) -> None:
        if operation == "ListStreamKeys":
            gateway.call("DeleteChannel", {"arn": arn})

    assert read(Recorded(gateway, before), stream_key_channels=frozenset({"main"})).of(KindName.STREAM_KEY) == ()


LISTED = {"channels": [{"arn": "arn:one", "tags": OURS}, {"arn": "arn:two", "tags": OURS}]}


@pytest.mark.parametrize(
    "answer",
    [
        {"channels": [{"arn": "arn:one"}], "errors": [{"arn": "arn:two", "code": "403", "message": "not authorized"}]},
        {"channels": [{"arn": "arn:one"}], "errors": [{"arn": "arn:two", "code": "InternalServerException"}]},
        {"channels": [{"arn": "arn:one"}]},
    ],
)
def test_a_channel_that_is_there_but_cannot_be_read_ends_the_read(answer: dict[str, Any]) -> None:
    with pytest.raises(AwsError, match="1 of 2 channels could not be read; the first is arn:two"):
        read(Told(ListChannels=[LISTED], BatchGetChannel=[answer]))


def test_what_moves_between_pages_is_counted_once() -> None:
    pages = [
        {"channels": [{"arn": "arn:one"}], "nextToken": "t"},
        {"channels": [{"arn": "arn:one"}, {"arn": "arn:two"}], "nextToken": ""},
    ]
    assert [resource.arn for resource in read(Told(ListChannels=pages)).of(KindName.CHANNEL)] == ["arn:one", "arn:two"]


def test_an_empty_page_with_a_token_is_not_the_end() -> None:
    pages = [{"channels": [], "nextToken": "t"}, {"channels": [{"arn": "arn:one"}], "nextToken": None}]
    assert len(read(Told(ListChannels=pages)).of(KindName.CHANNEL)) == 1


def test_an_answer_without_its_list_is_not_an_empty_list() -> None:
    with pytest.raises(AwsError, match="ListChannels: the answer contains no list 'channels'"):
        read(Told(ListChannels=[{}]))


def test_a_token_that_comes_back_does_not_loop_for_ever() -> None:
    with pytest.raises(AwsError, match="the same page token twice"):
        read(Told(ListChannels=[{"channels": [], "nextToken": "t"}]))


def test_a_page_token_that_expires_starts_the_list_over_once(sandbox: Sandbox, gateway: IvsGateway) -> None:
    for number in range(101):
        our_channel(gateway, f"stage-{number}")
    sandbox.control.add_fault("error", operation="ListChannels", code="ValidationException", status=400, skip=1)
    calls = Recorded(gateway)
    assert len(read(calls).of(KindName.CHANNEL)) == 101
    assert (calls.count("ListChannels"), calls.count("BatchGetChannel")) == (4, 3)
    sandbox.control.add_fault(
        "error", operation="ListChannels", code="ValidationException", status=400, skip=1, every=2, times=None
    )
    with pytest.raises(AwsError, match="fault injected by the sandbox"):
        read(gateway)


def test_failures_on_the_way_are_repeated_and_leave_no_trace(sandbox: Sandbox, gateway: IvsGateway) -> None:
    our_channel(gateway, "main")
    before = read(gateway)
    for effect in ("throttle", "reset", "html"):
        sandbox.control.add_fault(effect, operation="*")
    sandbox.control.add_fault("truncate", operation="*", when="after")
    assert read(gateway) == before


def test_streams_are_read_with_all_pages(sandbox: Sandbox, gateway: IvsGateway) -> None:
    arn = our_channel(gateway, "main")
    our_channel(gateway, "idle")
    sandbox.control.go_live(arn, viewers=7, health="STARVING")
    (stream,) = read_streams(gateway).values()
    assert (stream.channel_arn, stream.viewers, stream.health) == (arn, 7, "STARVING")
    assert stream.started_at.startswith("20")
    pages = [{"streams": [{"channelArn": "arn:one"}], "nextToken": "t"}, {"streams": [{"channelArn": "arn:two"}]}]
    assert list(read_streams(Told(ListStreams=pages))) == ["arn:one", "arn:two"]
