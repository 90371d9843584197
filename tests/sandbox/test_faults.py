"""Every failure a client may meet, asked for: over HTTP and in process alike."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from reconciler.sandbox import Sandbox, VirtualClock
from reconciler.sandbox.http.control import RemoteControl
from reconciler.sandbox.settings import ControlError
from tests.sandbox.helpers import refusal

OPTIONS: dict[str, Any] = {
    "region_name": "us-west-2",
    "aws_access_key_id": "123456789012",
    "aws_secret_access_key": "any",
}


@pytest.fixture(params=["http", "in process"])
def pair(request: pytest.FixtureRequest, session: Any) -> Iterator[tuple[Sandbox, Any]]:
    config = Config(retries={"total_max_attempts": 1}, read_timeout=60)
    if request.param == "http":
        with Sandbox() as sandbox:
            yield sandbox, session.client("ivs", endpoint_url=sandbox.endpoint_url, config=config, **OPTIONS)
        return
    with Sandbox(serve=False) as sandbox:
        client = session.client("ivs", config=config, **OPTIONS)
        detach = sandbox.attach(client)
        yield sandbox, client
        detach()


def channels(ivs: Any) -> int:
    return len(ivs.list_channels()["channels"])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"effect": "throttle"}, (429, "ThrottlingException")),
        ({"effect": "error"}, (500, "InternalServerException")),
        ({"effect": "error", "code": "ConflictException"}, (409, "ConflictException")),
        ({"effect": "error", "code": "PendingVerification"}, (403, "PendingVerification")),
        ({"effect": "error", "code": "ServiceUnavailable"}, (503, "ServiceUnavailable")),
        ({"effect": "error", "code": "OfMyOwn", "status": 418}, (418, "OfMyOwn")),
        ({"effect": "html"}, (503, "503")),
    ],
)
def test_errors_before_processing_change_nothing_and_after_it_everything(
    pair: tuple[Sandbox, Any], rule: dict[str, Any], expected: tuple[int, str]
) -> None:
    sandbox, ivs = pair
    for when, left in (("before", 0), ("after", 1)):
        sandbox.control.add_fault(**rule, operation="CreateChannel", when=when)
        assert refusal(ivs.create_channel) == expected
        assert channels(ivs) == left
    ivs.create_channel()
    assert channels(ivs) == 2


@pytest.mark.parametrize(("when", "left"), [("before", 0), ("after", 1)])
def test_a_reset_connection_is_one_whether_the_work_was_done_or_not(
    pair: tuple[Sandbox, Any], when: str, left: int
) -> None:
    sandbox, ivs = pair
    sandbox.control.add_fault("reset", operation="CreateChannel", when=when)
    with pytest.raises(ConnectionClosedError):
        ivs.create_channel()
    assert channels(ivs) == left


def test_a_hanging_answer_times_out_after_the_work(pair: tuple[Sandbox, Any], session: Any) -> None:
    sandbox, ivs = pair
    impatient = session.client(
        "ivs",
        endpoint_url=ivs.meta.endpoint_url,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=1),
        **OPTIONS,
    )
    detach = sandbox.attach(impatient) if "amazonaws" in ivs.meta.endpoint_url else lambda: None
    sandbox.control.add_fault("hang", operation="CreateChannel", when="after", seconds=60)
    with pytest.raises(ReadTimeoutError):
        impatient.create_channel()
    detach()
    while not channels(ivs):  # over HTTP it may come later
        time.sleep(0.01)
    assert channels(ivs) == 1


def test_half_an_answer_looks_to_boto3_like_a_success_without_members(pair: tuple[Sandbox, Any]) -> None:
    sandbox, ivs = pair
    sandbox.control.add_fault("truncate", operation="CreateChannel", when="after")
    answer = ivs.create_channel()
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert "channel" not in answer
    assert channels(ivs) == 1


def test_half_an_answer_is_incomplete_on_the_wire(sandbox: Sandbox) -> None:
    sandbox.control.add_fault("truncate", operation="CreateChannel", when="after")
    connection = http.client.HTTPConnection(sandbox.endpoint_url.removeprefix("http://"), timeout=60)
    connection.request("POST", "/CreateChannel", b"{}")
    with pytest.raises(http.client.IncompleteRead):
        connection.getresponse().read()
    connection.close()


def test_botocores_own_retries_duplicate_a_create_whose_answer_is_lost(session: Any) -> None:
    with Sandbox(serve=False) as sandbox:
        ivs = session.client("ivs", config=Config(retries={"mode": "standard", "total_max_attempts": 3}), **OPTIONS)
        sandbox.attach(ivs)
        sandbox.control.add_fault("reset", operation="CreateChannel", when="after")
        ivs.create_channel(name="twin")
        assert channels(ivs) == 2


def test_rules_count_skip_repeat_and_match(pair: tuple[Sandbox, Any]) -> None:
    sandbox, ivs = pair
    one, two = (ivs.create_channel()["channel"]["arn"] for _ in range(2))
    sandbox.control.add_fault("throttle", operation="Get*", arn=one, times=2, skip=1, every=2)

    def outcome(arn: str) -> int:
        try:
            return int(ivs.get_channel(arn=arn)["ResponseMetadata"]["HTTPStatusCode"])
        except ClientError as error:
            return int(error.response["ResponseMetadata"]["HTTPStatusCode"])

    assert [outcome(two) for _ in range(3)] == [200, 200, 200]
    assert [outcome(one) for _ in range(6)] == [200, 429, 200, 429, 200, 200]
    (rule,) = sandbox.control.faults()
    assert rule["hit"] == 2
    assert sandbox.control.clear_faults() == []


@pytest.mark.parametrize("times", [0, None])
def test_a_rule_of_zero_times_hits_every_call_as_on_the_command_line(session: Any, times: int | None) -> None:
    with Sandbox() as sandbox:
        made = RemoteControl(sandbox.endpoint_url).call("add_fault", effect="throttle", times=times)
        assert made[0]["times"] is None
        options = {**OPTIONS, "endpoint_url": sandbox.endpoint_url}
        ivs = session.client("ivs", config=Config(retries={"total_max_attempts": 1}), **options)
        for _ in range(3):
            with pytest.raises(ClientError, match="ThrottlingException"):
                ivs.list_channels()
        for wrong in (-1, False, "0"):
            with pytest.raises(ControlError, match="times"):
                sandbox.control.add_fault("throttle", times=wrong)


def test_a_delay_comes_with_the_right_answer_and_costs_a_virtual_clock_nothing(session: Any) -> None:
    clock = VirtualClock()
    with Sandbox(serve=False, clock=clock) as sandbox:
        ivs = session.client("ivs", **OPTIONS)
        sandbox.attach(ivs)
        before = clock.now()
        sandbox.control.add_fault("delay", seconds=120)
        assert channels(ivs) == 0
        assert clock.now() - before == 120


def test_probabilities_repeat_with_the_seed(session: Any) -> None:
    def outcomes() -> list[bool]:
        with Sandbox(serve=False, seed=3) as sandbox:
            ivs = session.client("ivs", config=Config(retries={"total_max_attempts": 1}), **OPTIONS)
            sandbox.attach(ivs)
            sandbox.control.add_fault("throttle", times=None, probability=0.5)
            found = []
            for _ in range(30):
                try:
                    ivs.list_channels()
                    found.append(True)
                except ClientError:
                    found.append(False)
            return found

    first = outcomes()
    assert first == outcomes()
    assert 5 < sum(first) < 25


def test_faults_hit_supporting_services_too(client: Any, sandbox: Sandbox) -> None:
    sandbox.control.add_fault("error", operation="GetCallerIdentity", code="AccessDeniedException")
    assert refusal(client("sts").get_caller_identity) == (403, "AccessDeniedException")


def test_a_session_can_be_attached_and_detached(session: Any) -> None:
    import boto3

    own = boto3.Session()
    with Sandbox(serve=False) as sandbox:
        detach = sandbox.attach(own)
        assert own.client("sts", **OPTIONS).get_caller_identity()["Account"] == "123456789012"
        arn = own.client("ivs", **OPTIONS).create_channel(tags={"a b": "c"})["channel"]["arn"]
        assert own.client("ivs", **OPTIONS).list_tags_for_resource(resourceArn=arn)["tags"] == {"a b": "c"}
        detach()
