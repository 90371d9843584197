"""Signatures in strict mode, call rates, resource quotas, Service Quotas (IVS facts 4, 9.3)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.sandbox import AccessKey, ControlError, Sandbox, VirtualClock
from reconciler.sandbox.ivs.registry import IVS
from reconciler.sandbox.wire import Request
from tests.sandbox.helpers import PUBLIC_KEY, message, refusal

ALICE = AccessKey("111122223333", secret="alices-secret", user="alice")
TEMPORARY = AccessKey("111122223333", secret="short-lived", user="guest", session_token="token")
EXPIRED = AccessKey("111122223333", secret="too-late", session_token="token", expires=1.0)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    accounts = {"AKIDALICE": ALICE, "ASIAGUEST": TEMPORARY, "ASIAGONE": EXPIRED}
    with Sandbox(auth="strict", accounts=accounts) as running:
        yield running


def as_guest(session: Any, sandbox: Sandbox, key: str, secret: str, token: str) -> Any:
    return session.client(
        "ivs",
        endpoint_url=sandbox.endpoint_url,
        region_name="us-west-2",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
    )


def test_right_signatures_pass_for_every_kind_of_request(client: Any) -> None:
    ivs = client(key="AKIDALICE", secret="alices-secret")
    arn = ivs.create_channel(name="signed", tags={"a b": "ü/+="})["channel"]["arn"]
    assert ":111122223333:" in arn
    ivs.tag_resource(resourceArn=arn, tags={"c d": "e"})
    ivs.untag_resource(resourceArn=arn, tagKeys=["a b", "x/y+z=@", "ü"])
    assert ivs.list_tags_for_resource(resourceArn=arn)["tags"] == {"c d": "e"}
    assert (
        client("sts", key="AKIDALICE", secret="alices-secret").get_caller_identity()["Arn"]
        == "arn:aws:iam::111122223333:user/alice"
    )
    client("service-quotas", key="AKIDALICE", secret="alices-secret").list_service_quotas(ServiceCode="ivs")
    client("cloudtrail", key="AKIDALICE", secret="alices-secret").lookup_events()


def test_a_wrong_secret_is_an_invalid_signature(client: Any) -> None:
    ivs = client(key="AKIDALICE", secret="guessed")
    assert refusal(ivs.list_channels) == (403, "InvalidSignatureException")
    assert "guessed" not in message(ivs.list_channels)


def test_an_unknown_key_is_an_unrecognized_client(client: Any) -> None:
    assert refusal(client(key="AKIDNOBODY").list_channels) == (403, "UnrecognizedClientException")


def test_supporting_services_refuse_signatures_with_their_own_codes(client: Any) -> None:
    for key, secret, ours, theirs in (
        ("AKIDNOBODY", "any", "UnrecognizedClientException", "InvalidClientTokenId"),
        ("AKIDALICE", "guessed", "InvalidSignatureException", "SignatureDoesNotMatch"),
    ):
        assert refusal(client("sts", key=key, secret=secret).get_caller_identity) == (403, theirs)
        assert refusal(client("service-quotas", key=key, secret=secret).list_services) == (400, ours)
        assert refusal(client("cloudtrail", key=key, secret=secret).lookup_events) == (400, ours)


def test_a_signature_that_leaves_the_host_out_is_invalid(sandbox: Sandbox) -> None:
    header = (
        "AWS4-HMAC-SHA256 Credential=AKIDALICE/20260101/us-west-2/ivs/aws4_request, SignedHeaders=x-amz-date, Signature="
        + "0" * 64
    )
    answer = sandbox.handle(
        Request("POST", "/ListChannels", "", {"authorization": header, "x-amz-date": "20260101T000000Z"})
    )
    assert answer.status == 403
    assert b"'Host' or ':authority' must be a 'SignedHeader'" in answer.body


def test_no_signature_is_a_missing_token(client: Any) -> None:
    from botocore import UNSIGNED

    assert refusal(client(signature_version=UNSIGNED).list_channels) == (403, "MissingAuthenticationTokenException")


def test_a_session_token_must_be_the_right_one_and_not_expired(session: Any, sandbox: Sandbox) -> None:
    assert as_guest(session, sandbox, "ASIAGUEST", "short-lived", "token").list_channels()["channels"] == []
    assert refusal(as_guest(session, sandbox, "ASIAGUEST", "short-lived", "other").list_channels) == (
        403,
        "UnrecognizedClientException",
    )
    assert refusal(as_guest(session, sandbox, "ASIAGONE", "too-late", "token").list_channels) == (
        403,
        "ExpiredTokenException",
    )


def test_a_signature_of_another_time_is_refused(session: Any) -> None:
    clock = VirtualClock(time.time() + 3600)
    with Sandbox(auth="strict", accounts={"AKIDALICE": ALICE}, clock=clock) as late:
        ivs = as_guest(session, late, "AKIDALICE", "alices-secret", "")
        assert refusal(ivs.list_channels) == (403, "InvalidSignatureException")
        assert "Signature expired" in message(ivs.list_channels)


def test_control_needs_no_signature_and_drift_is_the_work_of_someone_else(client: Any, sandbox: Sandbox) -> None:
    ivs = client(key="AKIDALICE", secret="alices-secret")
    arn = ivs.create_channel(name="a")["channel"]["arn"]
    sandbox.control.drift(arn, {"name": "b", "tags": {"x": "y"}})
    assert ivs.get_channel(arn=arn)["channel"]["name"] == "b"
    users = {call["operation"]: call["user"].rpartition("/")[2] for call in sandbox.control.calls()}
    assert (users["CreateChannel"], users["UpdateChannel"], users["TagResource"]) == (
        "alice",
        "someone-else",
        "someone-else",
    )


def test_strict_without_secrets_and_impossible_accounts_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="needs accounts with secrets"):
        Sandbox(auth="strict", accounts={"AKID": "123456789012"})
    with pytest.raises(ValueError, match="12 digits"):
        Sandbox(accounts={"AKID": "12"})
    with pytest.raises(ValueError, match="must be one of any, strict"):
        Sandbox(auth="maybe")


def test_secrets_of_callers_are_not_in_their_repr() -> None:
    assert "alices-secret" not in repr(ALICE)
    assert "token" not in repr(TEMPORARY).replace("session_token", "")


def test_call_rates_are_off_by_default_and_buckets_refill_with_time(session: Any) -> None:
    clock = VirtualClock()
    with Sandbox(clock=clock) as free:
        ivs = as_guest(session, free, "1", "1", "")
        for _ in range(20):
            ivs.list_channels()
        free.control.set_rates(True)
        limited = session.client(
            "ivs",
            endpoint_url=free.endpoint_url,
            region_name="us-west-2",
            aws_access_key_id="1",
            aws_secret_access_key="1",
            config=_once(),
        )
        for _ in range(5):
            limited.list_channels()
        assert refusal(limited.list_channels) == (429, "ThrottlingException")
        assert message(limited.list_channels) == "Operation: ivs:ListChannels exceeded call rate: 5"
        limited.get_paginator("list_recording_configurations").paginate().build_full_result()
        clock.advance(0.2)
        limited.list_channels()
        assert refusal(limited.list_channels)[0] == 429


def test_a_burst_and_the_way_of_counting_can_be_set(session: Any) -> None:
    clock = VirtualClock()
    with Sandbox(clock=clock) as limited:
        ivs = session.client(
            "ivs",
            endpoint_url=limited.endpoint_url,
            region_name="us-west-2",
            aws_access_key_id="1",
            aws_secret_access_key="1",
            config=_once(),
        )
        limited.control.set_rates(True, burst=1)
        ivs.list_channels()
        assert refusal(ivs.list_channels)[0] == 429
        clock.advance(0.2)
        ivs.list_channels()
        clock.advance(100.5 - clock.now() % 1)
        limited.control.set_rates(True, windows=True)
        for _ in range(5):
            ivs.list_channels()
        clock.advance(0.4)
        assert refusal(ivs.list_channels)[0] == 429
        clock.advance(0.2)
        for _ in range(5):
            ivs.list_channels()
        with pytest.raises(ControlError, match="must be 1 or more"):
            limited.control.set_rates(True, burst=0)


def test_the_table_of_call_rates_is_the_documented_one() -> None:
    kinds = ("AdConfiguration", "PlaybackKeyPair", "RecordingConfiguration", "FailoverSlateConfiguration")
    special = {
        "InsertAdBreak": 1,
        "BatchStartViewerSessionRevocation": 2,
        "StartViewerSessionRevocation": 10,
        "TagResource": 10,
        "UntagResource": 10,
        "ListTagsForResource": 10,
        "PutMetadata": 155,
    }
    for operation in IVS.handlers:
        wanted = special.get(operation, 3 if any(kind in operation for kind in kinds) else 5)
        assert IVS.rates.get(operation, IVS.default_rate) == wanted, operation


@pytest.mark.parametrize(("operation", "rate"), [("list_recording_configurations", 3), ("list_channels", 5)])
def test_each_operation_has_its_documented_rate(session: Any, operation: str, rate: int) -> None:
    with Sandbox(clock=VirtualClock(), quotas=True) as limited:
        ivs = session.client(
            "ivs",
            endpoint_url=limited.endpoint_url,
            region_name="us-west-2",
            aws_access_key_id="1",
            aws_secret_access_key="1",
            config=_once(),
        )
        for _ in range(rate):
            getattr(ivs, operation)()
        assert refusal(getattr(ivs, operation))[0] == 429


def _once() -> Any:
    from botocore.config import Config

    return Config(retries={"total_max_attempts": 1})


def test_resource_quotas_hold_and_can_be_raised(session: Any) -> None:
    with Sandbox(limits={"channels": 2}) as small:
        ivs = as_guest(session, small, "1", "1", "")
        first = ivs.create_channel()["channel"]["arn"]
        ivs.create_channel()
        over = (402, "ServiceQuotaExceededException")
        assert refusal(ivs.create_channel) == over
        ivs.delete_channel(arn=first)
        ivs.create_channel()
        small.control.set_quota("channels", 3)
        ivs.create_channel()
        for _ in range(3):
            ivs.create_playback_restriction_policy()
        assert refusal(ivs.create_playback_restriction_policy) == over
        small.control.set_quota("playback-keys", 0)
        assert refusal(ivs.import_playback_key_pair, publicKeyMaterial=PUBLIC_KEY) == over
        for _ in range(20):
            ivs.create_recording_configuration(destinationConfiguration={"s3": {"bucketName": "vod"}})
        assert (
            refusal(ivs.create_recording_configuration, destinationConfiguration={"s3": {"bucketName": "vod"}}) == over
        )
        quotas = session.client(
            "service-quotas",
            endpoint_url=small.endpoint_url,
            region_name="us-west-2",
            aws_access_key_id="1",
            aws_secret_access_key="1",
        )
        assert quotas.get_service_quota(ServiceCode="ivs", QuotaCode="L-C01DFF58")["Quota"]["Value"] == 3.0
        applied = {row["QuotaName"]: row["Value"] for row in quotas.list_service_quotas(ServiceCode="ivs")["Quotas"]}
        assert applied["Recording configurations"] == 20.0
        default = quotas.list_aws_default_service_quotas(ServiceCode="ivs")["Quotas"][0]
        assert (default["QuotaName"], default["Value"]) == ("Channels", 5000.0)
        with pytest.raises(quotas.exceptions.NoSuchResourceException):
            quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-1")


def test_the_signature_is_checked_before_the_rate_and_the_rate_before_the_members(session: Any) -> None:
    with Sandbox(auth="strict", accounts={"AKIDALICE": ALICE}, quotas={"CreateChannel": 1}) as strict:

        def ivs(secret: str) -> Any:
            return session.client(
                "ivs",
                endpoint_url=strict.endpoint_url,
                region_name="us-west-2",
                aws_access_key_id="AKIDALICE",
                aws_secret_access_key=secret,
                config=_once(),
            )

        assert refusal(ivs("wrong").create_channel, name="a b") == (403, "InvalidSignatureException")
        assert refusal(ivs("alices-secret").create_channel, name="a b") == (400, "ValidationException")
        assert refusal(ivs("alices-secret").create_channel, name="a b") == (429, "ThrottlingException")
