"""The second read of an operation goes a shorter way; nobody can tell it from the first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.credentials import Credentials, ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from reconciler.aws.client import IvsGateway
from reconciler.aws.session import open_client, open_session
from reconciler.aws.shortcut import Shortcut
from reconciler.aws.signature import Scope, signed_headers
from reconciler.errors import AwsError
from reconciler.sandbox import AccessKey, Sandbox
from tests.aws.faulty import Said, faulty
from tests.aws.makers import HERE, channel, gateway_to
from tests.aws.test_gateway import BROKEN, GONE, HTML, LOST, THROTTLED

ARN = "arn:aws:ivs:us-west-2:123456789012:channel/abcdABCD1234"
PAGE = Said(body=json.dumps({"channels": [{"arn": ARN}]}).encode())


class Body:
    """What botocore reads an empty page from."""

    def stream(self, **_: object) -> Iterator[bytes]:
        yield b'{"channels": []}'


def client_to(url: str) -> Any:
    return open_client(open_session(HERE, url), "ivs", HERE, url, 2, read_seconds=5)


def taken(client: Any) -> list[str]:
    """Return the operations that the client itself is asked to build from now on."""
    built: list[str] = []
    client.meta.events.register("before-call", lambda model, **_: built.append(model.name))
    return built


def test_only_the_first_read_of_an_operation_is_built_by_botocore() -> None:
    with faulty(PAGE) as server:
        client = client_to(server.url)
        built = taken(client)
        gateway = IvsGateway(client, pacer=None)
        for _ in range(3):
            assert gateway.call("ListChannels", {"maxResults": 100}).data == {"channels": [{"arn": ARN}]}
        assert gateway.call("BatchGetChannel", {"arns": [ARN]}).request_id == "req-1"
        assert gateway.call("BatchGetChannel", {"arns": [ARN]}).request_id == "req-1"
        assert server.asked == ["ListChannels"] * 3 + ["BatchGetChannel"] * 2
    assert built == ["ListChannels", "BatchGetChannel"]


def test_the_server_sees_the_same_request() -> None:
    with faulty(PAGE) as server:
        gateway = gateway_to(server.url)
        for _ in range(2):
            gateway.call("ListChannels", {"maxResults": 100, "nextToken": "a\u00fc"})
        first, second = server.headers
        assert server.bodies[0] == server.bodies[1]
    assert list(map(str.lower, sorted(first))) == list(map(str.lower, sorted(second)))
    of_one = {"Authorization", "X-Amz-Date", "amz-sdk-invocation-id"}
    assert {name: value for name, value in first.items() if name not in of_one} == {
        name: value for name, value in second.items() if name not in of_one
    }
    assert first["amz-sdk-invocation-id"] != second["amz-sdk-invocation-id"]
    assert first["Authorization"].partition("Signature=")[0] == second["Authorization"].partition("Signature=")[0]


def test_the_signature_is_one_that_a_strict_server_takes() -> None:
    with Sandbox(
        auth="strict", accounts={"AKIDEXAMPLE": AccessKey("123456789012", secret="s3cret", session_token="token/+=")}
    ) as server:
        session = botocore.session.Session()
        session.set_credentials("AKIDEXAMPLE", "s3cret", "token/+=")
        client = session.create_client("ivs", region_name="us-west-2", endpoint_url=server.endpoint_url)
        built = taken(client)
        gateway = IvsGateway(client, pacer=None)
        arn = channel(gateway, "stage")
        built.clear()
        for _ in range(3):
            answer: Any = gateway.call("ListChannels", {"filterByName": "stage"}).data
            assert [item["arn"] for item in answer["channels"]] == [arn]
    assert built == ["ListChannels"]


class Renewed(Credentials):  # type: ignore[misc]  # botocore has no types
    """Credentials that are others from the third time on that they are asked for, and each time after."""

    def __init__(self) -> None:
        super().__init__("AKID0", "secret0")
        self.times = 0

    def get_frozen_credentials(self) -> Any:
        self.times += 1
        number = max(0, self.times - 2)
        self.access_key, self.secret_key, self.token = f"AKID{number}", f"secret{number}", f"token{number}"
        return super().get_frozen_credentials()


class Provider:
    def load_credentials(self) -> Credentials:
        return Renewed()


def test_credentials_are_asked_for_anew_each_time() -> None:
    with faulty(PAGE) as server:
        session = botocore.session.Session()
        session.register_component("credential_provider", Provider())
        client = session.create_client("ivs", region_name="us-west-2", endpoint_url=server.url)
        built = taken(client)
        gateway = IvsGateway(client, pacer=None)
        for _ in range(3):
            gateway.call("ListChannels", {})
        assert server.signers == ["AKID0", "AKID1", "AKID2"]
        assert [headers["X-Amz-Security-Token"] for headers in server.headers] == ["token0", "token1", "token2"]
    assert built == ["ListChannels"]


NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)
SECRETS = st.text("abcXYZ0189+/=", min_size=1, max_size=60)


@given(
    host=st.sampled_from(["ivs.us-west-2.amazonaws.com", "127.0.0.1:8080", "localhost:1", "[::1]:9"]),
    path=st.sampled_from(["/ListChannels", "/BatchGetChannel"]),
    region=NAMES,
    service=NAMES,
    credentials=st.builds(ReadOnlyCredentials, SECRETS, SECRETS, st.none() | SECRETS),
    body=st.binary(max_size=60),
)
def test_our_signature_is_botocores(
    host: str, path: str, region: str, service: str, credentials: Any, body: bytes
) -> None:
    request = AWSRequest("POST", f"https://{host}{path}", {"Content-Type": "application/json"}, body)
    SigV4Auth(credentials, service, region).add_auth(request)
    scope = Scope(host=host, path=path, content_type="application/json", region=region, service=service)
    assert signed_headers(scope, credentials, body, request.context["timestamp"]) == dict(request.headers.items())


@pytest.mark.parametrize(
    ("url", "short"),
    [
        ("http://127.0.0.1:9", True),
        ("http://127.0.0.1:9/below", True),
        ("http://127.0.0.1:80", False),
        ("http://LOCALHOST:9", False),
    ],
)
def test_where_our_signature_would_be_another_botocore_goes_on(url: str, short: bool) -> None:
    client = client_to(url)
    built = taken(client)
    sent: list[Any] = []

    def answer(request: Any, **_: object) -> AWSResponse:
        sent.append(request)
        return AWSResponse(request.url, 200, {}, Body())

    client.meta.events.register("before-send", answer)
    gateway = IvsGateway(client, pacer=None)
    for _ in range(2):
        gateway.call("ListChannels", {})
    assert len(built) == (1 if short else 2)
    assert [request.url for request in sent] == [f"{url}/ListChannels"] * 2


def test_credentials_that_have_gone_are_missed() -> None:
    with faulty(PAGE) as server:
        client = client_to(server.url)
        gateway = IvsGateway(client, pacer=None)
        gateway.call("ListChannels", {})
        client._request_signer._credentials = None
        with pytest.raises(AwsError, match="no AWS credentials were found") as caught:
            gateway.call("ListChannels", {})
    assert caught.value.code == "NoCredentials"


def told(error: AwsError) -> tuple[object, ...]:
    return (
        str(error),
        error.operation,
        error.code,
        error.status,
        error.request_id,
        error.retryable,
        error.ambiguous,
        error.calls,
    )


@pytest.mark.parametrize(
    "answer",
    [
        *LOST.values(),
        BROKEN,
        GONE,
        HTML,
        THROTTLED,
        Said(403, b'{"message": "no"}', {"x-amzn-ErrorType": "AccessDeniedException"}),
    ],
)
def test_failures_are_told_alike(answer: Said) -> None:
    failures = []
    for before in ((), (PAGE,)):
        with faulty(*before, answer) as server:
            gateway = gateway_to(server.url, read_seconds=0.3)
            for _ in before:
                gateway.call("ListChannels", {})
            with pytest.raises(AwsError) as caught:
                gateway.call("ListChannels", {})
            assert caught.value.__cause__ is None
            failures.append(
                tuple(part.replace(server.url, "URL") if isinstance(part, str) else part for part in told(caught.value))
            )
    assert failures[0] == failures[1]


def test_secrets_are_dropped_on_this_way_too() -> None:
    held = {"channels": [{"arn": ARN, "srt": {"endpoint": "e", "passphrase": "CANARY"}}]}
    with faulty(Said(body=json.dumps(held).encode())) as server:
        gateway = gateway_to(server.url)
        answers = [gateway.call("BatchGetChannel", {"arns": [ARN]}) for _ in range(3)]
    assert "CANARY" not in repr(answers)
    assert answers[0].data == answers[2].data == {"channels": [{"arn": ARN, "srt": {"endpoint": "e"}}]}


@pytest.mark.parametrize("parameters", [{"maxResult": 1}, {"filterByName": 5}])
def test_a_parameter_that_is_none_is_refused_before_anything_is_sent(parameters: dict[str, object]) -> None:
    with faulty(PAGE) as server:
        gateway = gateway_to(server.url)
        gateway.call("ListChannels", {})
        with pytest.raises(AwsError, match="botocore refuses the parameters"):
            gateway.call("ListChannels", parameters)
        assert server.asked == ["ListChannels"]


def test_operations_whose_request_is_more_than_a_body_stay_with_botocore() -> None:
    with faulty(Said(body=b'{"tags": {"a": "b"}}')) as server:
        client = client_to(server.url)
        built = taken(client)
        gateway = IvsGateway(client, pacer=None)
        for _ in range(2):
            gateway.call("ListTagsForResource", {"resourceArn": ARN})
    assert built == ["ListTagsForResource"] * 2


def test_writes_stay_with_botocore() -> None:
    with faulty(Said(body=b'{"channel": {}}')) as server:
        client = client_to(server.url)
        built = taken(client)
        gateway = IvsGateway(client, pacer=None)
        for _ in range(2):
            gateway.call("UpdateChannel", {"arn": ARN, "name": "x"})
    assert built == ["UpdateChannel"] * 2


def test_another_protocol_has_no_shortcut() -> None:
    with Sandbox() as server:
        client = open_client(open_session(HERE, server.endpoint_url), "sts", HERE, server.endpoint_url, 1)
        built = taken(client)
        gateway = IvsGateway(client, pacer=None)
        for _ in range(2):
            assert gateway.call("GetCallerIdentity", {}).data["Account"] == "123456789012"
    assert built == ["GetCallerIdentity"] * 2


def test_a_transport_in_the_place_of_the_network_answers_every_call() -> None:
    asked = []

    def answer(request: Any, **_: object) -> AWSResponse:
        asked.append(request.url)
        return AWSResponse(request.url, 200, {}, Body())

    client = client_to("http://127.0.0.1:9")
    client.meta.events.register("before-send", answer)
    gateway = IvsGateway(client, pacer=None)
    for _ in range(3):
        assert gateway.call("ListChannels", {}).data == {"channels": []}
    assert len(asked) == 3


def test_a_proxy_is_asked_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty(PAGE) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("NO_PROXY", "")
        session = botocore.session.Session()
        session.set_credentials("AKID", "secret")
        gateway = IvsGateway(
            session.create_client("ivs", region_name="us-west-2", endpoint_url="http://ivs.example"), pacer=None
        )
        for _ in range(2):
            gateway.call("ListChannels", {})
        assert proxy.asked == ["http://ivs.example/ListChannels"] * 2


def test_a_client_made_otherwise_has_no_shortcut() -> None:
    class Other:
        """A client of a botocore that keeps its signer elsewhere."""

    assert Shortcut(Other()).send("ListChannels", {}) is None
