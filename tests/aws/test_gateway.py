from __future__ import annotations

import json
import socket

import botocore.session
import pytest

from reconciler.aws.client import IvsGateway
from reconciler.aws.limiter import MAX_FAILED, MAX_THROTTLED, Pacer
from reconciler.aws.session import open_client, open_session
from reconciler.errors import AwsError
from reconciler.sandbox import Sandbox
from tests.aws.faulty import Said, faulty
from tests.aws.makers import HERE, Time, channel, gateway_to

ARN = "arn:aws:ivs:us-west-2:123456789012:channel/abcdABCD1234"
OK = Said(
    body=json.dumps({"channel": {"arn": ARN}, "streamKey": {"arn": "k", "value": "sk_us-west-2_secret"}}).encode()
)
THROTTLED = Said(429, b'{"message": "Rate exceeded"}', {"x-amzn-ErrorType": "ThrottlingException"})
BROKEN = Said(500, b'{"message": "sorry"}', {"x-amzn-ErrorType": "InternalServerException"})
GONE = Said(404, b'{"message": "no such channel"}', {"x-amzn-ErrorType": "ResourceNotFoundException"})
HTML = Said(502, b"<!DOCTYPE html><title>Bad gateway</title>", {"Content-Type": "text/html"})
CUT = Said(200, b'{"channels": [{"arn"')
RESET = Said(break_off="reset")
HANG = Said(break_off="hang")
LOST = {"reset": RESET, "hang": HANG, "broken": BROKEN, "html": HTML, "cut": CUT, "empty": Said(503, b"")}


@pytest.mark.parametrize("answer", LOST.values(), ids=list(LOST))
@pytest.mark.parametrize("operation", ["CreateChannel", "CreatePlaybackRestrictionPolicy"])
def test_a_create_whose_answer_is_lost_is_never_sent_again(operation: str, answer: Said) -> None:
    with faulty(answer, OK) as server:
        with pytest.raises(AwsError) as caught:
            gateway_to(server.url, read_seconds=0.2).call(operation, {"name": "stage"})
        # A client that gives up early may be done before the server has read what it was asked.
        server.wait_for_requests(1)
        assert server.asked == [operation]
    assert caught.value.ambiguous
    assert caught.value.calls == 1


def test_a_create_refused_for_its_rate_is_sent_again() -> None:
    with faulty(THROTTLED, THROTTLED, OK) as server:
        answer = gateway_to(server.url).call("CreateChannel", {"name": "stage"})
        assert server.asked == ["CreateChannel"] * 3
    assert answer.calls == 3


def test_a_create_that_never_left_is_tried_again_and_is_not_ambiguous() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        time = Time()
        with pytest.raises(AwsError, match=r"cannot connect to http://127\.0\.0\.1") as caught:
            gateway_to(url, time=time).call("CreateChannel", {})
    assert (caught.value.code, caught.value.ambiguous, caught.value.calls) == (
        "EndpointConnectionError",
        False,
        MAX_FAILED,
    )
    assert time.slept == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize("answer", LOST.values(), ids=list(LOST))
@pytest.mark.parametrize(
    ("operation", "parameters"),
    [("GetChannel", {"arn": ARN}), ("UpdateChannel", {"arn": ARN, "name": "x"}), ("DeleteChannel", {"arn": ARN})],
)
def test_reads_updates_and_deletes_are_sent_again(operation: str, parameters: dict[str, object], answer: Said) -> None:
    with faulty(answer, answer, OK) as server:
        assert gateway_to(server.url, read_seconds=0.2).call(operation, parameters).calls == 3
        assert server.asked == [operation] * 3


@pytest.mark.parametrize("operation", ["TagResource", "UntagResource"])
def test_tag_calls_are_sent_again(operation: str) -> None:
    parameters: dict[str, object] = {
        "resourceArn": ARN,
        **({"tags": {"team": "video"}} if operation == "TagResource" else {"tagKeys": ["team"]}),
    }
    with faulty(RESET, BROKEN, OK) as server:
        assert gateway_to(server.url).call(operation, parameters).calls == 3


def test_an_update_that_keeps_failing_ends_with_its_outcome_unknown() -> None:
    with faulty(BROKEN) as server, pytest.raises(AwsError, match="sorry") as caught:
        gateway_to(server.url).call("UpdateChannel", {"arn": ARN})
    assert (caught.value.calls, caught.value.ambiguous, caught.value.retryable) == (MAX_FAILED, True, True)


def test_a_read_that_keeps_failing_is_not_ambiguous() -> None:
    with faulty(BROKEN) as server, pytest.raises(AwsError) as caught:
        gateway_to(server.url).call("GetChannel", {"arn": ARN})
    assert not caught.value.ambiguous


def test_a_delete_that_finds_nothing_the_second_time_is_done() -> None:
    with faulty(RESET, GONE) as server:
        answer = gateway_to(server.url).call("DeleteChannel", {"arn": ARN})
    assert (answer.data, answer.calls) == ({}, 2)


def test_a_delete_that_finds_nothing_at_once_says_so() -> None:
    with faulty(GONE) as server, pytest.raises(AwsError, match="no such channel") as caught:
        gateway_to(server.url).call("DeleteChannel", {"arn": ARN})
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (
        404,
        "ResourceNotFoundException",
        "req-1",
    )


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ValidationException"),
        (402, "ServiceQuotaExceededException"),
        (403, "AccessDeniedException"),
        (403, "PendingVerification"),
        (404, "ResourceNotFoundException"),
        (409, "ConflictException"),
        (501, "UnknownOperationException"),
    ],
)
def test_what_aws_refuses_for_good_is_not_sent_again(status: int, code: str) -> None:
    with faulty(Said(status, b'{"message": "no"}', {"x-amzn-ErrorType": code})) as server:
        with pytest.raises(AwsError) as caught:
            gateway_to(server.url).call("GetChannel", {"arn": ARN})
        assert len(server.asked) == 1
    assert (caught.value.code, caught.value.status, caught.value.retryable) == (code, status, False)


def test_throttling_without_end_gives_up_after_a_while_with_capped_waits() -> None:
    time = Time()
    with faulty(THROTTLED) as server, pytest.raises(AwsError, match="throttled by AWS") as caught:
        gateway_to(server.url, time=time).call("ListChannels", {})
    assert caught.value.calls == MAX_THROTTLED
    assert time.slept[:4] == [0.5, 1.0, 2.0, 4.0]
    assert max(time.slept) == 20.0


def test_waits_are_drawn_from_nothing_to_the_whole() -> None:
    time = Time()
    draws = iter([0.0, 0.25])
    with faulty(BROKEN, BROKEN, OK) as server:
        gateway_to(server.url, time=time, draw=lambda: next(draws)).call("GetChannel", {"arn": ARN})
    assert time.slept == [0.0, 0.25]


def test_throttling_slows_the_pacer_and_every_request_goes_through_it() -> None:
    time = Time()
    pacer = Pacer(clock=time.clock, sleep=time.sleep)
    with faulty(THROTTLED, OK) as server:
        gateway_to(server.url, time=time, pacer=pacer, draw=lambda: 0.0).call("GetChannel", {"arn": ARN})
    assert pacer.rate("GetChannel") < 5 * 0.99
    assert time.slept == [0.0, pytest.approx(1 / 4.95)]


def test_the_message_is_found_where_the_model_has_it() -> None:
    live = Said(409, b'{"exceptionMessage": "channel is live"}', {"x-amzn-ErrorType": "ConflictException"})
    with faulty(live) as server, pytest.raises(AwsError, match=r"^channel is live$"):
        gateway_to(server.url).call("UpdateChannel", {"arn": ARN})


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (HTML, "HTTP status 502"),
        (Said(503, b""), "HTTP status 503"),
        (Said(400, b"[]"), "HTTP status 400"),
        (Said(403, b"\xff\xfe"), "HTTP status 403"),
        (Said(200, b"<html>hotel wifi</html>"), "not a JSON object"),
        (CUT, "is truncated"),
    ],
)
def test_an_unusable_answer_gives_a_plain_message(answer: Said, said: str) -> None:
    with faulty(answer) as server, pytest.raises(AwsError, match=said) as caught:
        gateway_to(server.url).call("ListChannels", {})
    assert "<" not in str(caught.value)


def test_a_list_cut_short_is_never_an_empty_list() -> None:
    with faulty(CUT, Said(200, b'{"channels": []}')) as server:
        assert gateway_to(server.url).call("ListChannels", {}).calls == 2


def test_an_operation_that_botocore_lacks_is_named_before_anything_is_sent() -> None:
    with faulty(OK) as server:
        with pytest.raises(AwsError, match="does not know the IVS operation CreateHologram"):
            gateway_to(server.url).call("CreateHologram", {})
        assert server.asked == []


def test_an_operation_of_another_service_is_not_taken_for_one_that_botocore_lacks() -> None:
    with faulty() as server:
        client = open_client(open_session(HERE, server.url), "sts", HERE, server.url, 1)
        with pytest.raises(AwsError, match="ListChannels is an operation of IVS and was sent to sts") as caught:
            IvsGateway(client, pacer=None).call("ListChannels", {})
        assert server.asked == []
    assert caught.value.code == "WrongService"


def test_secrets_are_dropped_from_the_answers_of_every_call() -> None:
    with Sandbox() as sandbox:
        gateway = gateway_to(sandbox.endpoint_url)
        made = gateway.call("CreateChannel", {"name": "stage"}).data
        arn, key = str(made["channel"]["arn"]), str(made["streamKey"]["arn"])  # type: ignore[index]
        answers = [
            made,
            gateway.call("GetChannel", {"arn": arn}).data,
            gateway.call("BatchGetChannel", {"arns": [arn]}).data,
            gateway.call("UpdateChannel", {"arn": arn, "name": "main"}).data,
            gateway.call("GetStreamKey", {"arn": key}).data,
            gateway.call("BatchGetStreamKey", {"arns": [key]}).data,
        ]
        gateway.call("DeleteStreamKey", {"arn": key})
        answers.append(gateway.call("CreateStreamKey", {"channelArn": arn}).data)
        sandbox.control.go_live(arn)
        answers.append(gateway.call("GetStreamSession", {"channelArn": arn}).data)
    text = json.dumps(answers)
    assert "passphrase" not in text
    assert '"value"' not in text
    assert "sk_us-west-2" not in text
    assert '"srt": {"endpoint"' in text
    assert all(
        set(answer) <= {"channel", "channels", "streamKey", "streamKeys", "streamSession", "errors"}
        for answer in answers
    )


HEADERS = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "x",
    "cache-control": "no-store",
    "content-security-policy": "default-src",
    "strict-transport-security": "max-age=1",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def test_headers_that_the_model_turns_into_members_stay_behind_even_where_botocore_parses() -> None:
    with faulty(Said(body=b'{"channels": [], "errors": []}', headers=HEADERS)) as server:
        plain = botocore.session.Session()
        plain.set_credentials("AKID", "secret")
        client = plain.create_client("ivs", region_name="us-west-2", endpoint_url=server.url)
        assert {"accessControlAllowOrigin", "xFrameOptions"} <= set(client.batch_get_channel(arns=[ARN]))
        for gateway in (IvsGateway(client, pacer=None), gateway_to(server.url)):
            answer = gateway.call("BatchGetChannel", {"arns": [ARN]})
            assert answer.data == {"channels": [], "errors": []}


@pytest.mark.parametrize("parameters", [{"maxResult": 1}, {"filterByName": 5}])
def test_a_wrong_parameter_is_refused_before_anything_is_sent(parameters: dict[str, object]) -> None:
    with faulty(Said(body=b'{"channels": []}')) as server:
        with pytest.raises(AwsError, match="botocore rejects the parameters"):
            gateway_to(server.url).call("ListChannels", parameters)
        assert server.asked == []


def test_answers_carry_the_request_id_and_a_delete_brings_nothing() -> None:
    with Sandbox() as sandbox:
        gateway = gateway_to(sandbox.endpoint_url)
        answer = gateway.call("DeleteChannel", {"arn": channel(gateway, "stage")})
        recorded = sandbox.control.calls("DeleteChannel")[0]["request_id"]
    assert (answer.data, answer.request_id) == ({}, recorded)


def test_nothing_of_the_request_hangs_on_the_error() -> None:
    with faulty(RESET) as server, pytest.raises(AwsError) as caught:
        gateway_to(server.url).call("CreateStreamKey", {"channelArn": ARN})
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert "Credential" not in str(vars(caught.value))
