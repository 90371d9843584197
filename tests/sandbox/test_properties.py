"""Properties: the server against a simple model, and fuzzed bodies: never a 500, never a secret."""

from __future__ import annotations

import functools
import inspect
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from reconciler.sandbox import Control, ControlError, Sandbox, VirtualClock, supporting
from reconciler.sandbox import model as service_model
from reconciler.sandbox.faults import Fault
from reconciler.sandbox.http import control as control_http
from reconciler.sandbox.wire import Request, Response

MODEL = service_model.load()
OPERATIONS = sorted(MODEL.operations)
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=123456789012/20260101/us-west-2/ivs/aws4_request, SignedHeaders=host, Signature=0"
)
NAMES = st.text("abc-_", max_size=4)


def send(sandbox: Sandbox, operation: str, **members: Any) -> tuple[int, dict[str, Any]]:
    answer = sandbox.handle(
        Request("POST", f"/{operation}", headers={"authorization": AUTHORIZATION}, body=json.dumps(members).encode())
    )
    return answer.status, json.loads(answer.body or b"{}")


class Channels(RuleBasedStateMachine):
    """Channels, policies and streams against dictionaries."""

    channels = Bundle("channels")
    policies = Bundle("policies")

    @initialize()
    def begin(self) -> None:
        self.sandbox = Sandbox(serve=False, clock=VirtualClock(), stop_seconds=0)
        self.names: dict[str, str] = {}
        self.attached: dict[str, str] = {}
        self.existing_policies: set[str] = set()
        self.live_channels: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "sandbox"):
            self.sandbox.stop()

    @rule(target=channels, name=NAMES)
    def create(self, name: str) -> str:
        status, body = send(self.sandbox, "CreateChannel", name=name)
        assert status == 200
        arn: str = body["channel"]["arn"]
        assert arn not in self.names
        self.names[arn], self.attached[arn] = name, ""
        return arn

    @rule(target=policies)
    def create_policy(self) -> str:
        status, body = send(self.sandbox, "CreatePlaybackRestrictionPolicy")
        if len(self.existing_policies) >= 3:
            assert status == 402
            return ""
        assert status == 200
        arn: str = body["playbackRestrictionPolicy"]["arn"]
        self.existing_policies.add(arn)
        return arn

    @rule(arn=channels, name=NAMES)
    def rename(self, arn: str, name: str) -> None:
        status, _ = send(self.sandbox, "UpdateChannel", arn=arn, name=name)
        assert status == self._expected(arn)
        if status == 200:
            self.names[arn] = name

    @rule(arn=channels, policy=policies)
    def attach(self, arn: str, policy: str) -> None:
        status, _ = send(self.sandbox, "UpdateChannel", arn=arn, playbackRestrictionPolicyArn=policy)
        if arn in self.names and policy and policy not in self.existing_policies:
            assert status == 404
            return
        assert status == self._expected(arn)
        if status == 200:
            self.attached[arn] = policy

    @rule(arn=channels)
    def delete(self, arn: str) -> None:
        status, _ = send(self.sandbox, "DeleteChannel", arn=arn)
        assert status == (204 if self._expected(arn) == 200 else self._expected(arn))
        if status == 204:
            del self.names[arn], self.attached[arn]

    @rule(policy=consumes(policies))
    def delete_policy(self, policy: str) -> None:
        if not policy:
            return
        status, _ = send(self.sandbox, "DeletePlaybackRestrictionPolicy", arn=policy)
        if policy in self.attached.values():
            assert status == 409
        else:
            assert status == 204
            self.existing_policies.discard(policy)

    @rule(arn=channels)
    def toggle_stream(self, arn: str) -> None:
        if arn not in self.names:
            with pytest.raises(ControlError):
                self.sandbox.control.go_live(arn)
        elif arn in self.live_channels:
            assert send(self.sandbox, "StopStream", channelArn=arn)[0] == 200
            self.live_channels.discard(arn)
        else:
            self.sandbox.control.go_live(arn)
            self.live_channels.add(arn)

    @invariant()
    def lists_tell_the_truth(self) -> None:
        if not hasattr(self, "sandbox"):
            return
        rows = send(self.sandbox, "ListChannels")[1]["channels"]
        assert [(row["arn"], row["name"], row["playbackRestrictionPolicyArn"]) for row in rows] == [
            (arn, name, self.attached[arn]) for arn, name in self.names.items()
        ]
        assert {row["channelArn"] for row in send(self.sandbox, "ListStreams")[1]["streams"]} == self.live_channels
        assert self.sandbox.control.resources().get("channel", 0) == len(self.names)

    def _expected(self, arn: str) -> int:
        if arn not in self.names:
            return 404
        return 409 if arn in self.live_channels else 200


TestChannels = Channels.TestCase
TestChannels.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=40)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
MEMBERS = sorted(
    {
        member
        for operation in MODEL.operations.values()
        if operation.input
        for member in MODEL.shapes[operation.input]["members"]
    }
)


@functools.cache
def members_of(operation: str) -> st.SearchStrategy[dict[str, Any]]:
    shape = MODEL.operations[operation].input
    names = sorted(MODEL.shapes[shape]["members"]) if shape else ["x"]
    return st.dictionaries(st.sampled_from(names), st.one_of(VALUES, plausible()), max_size=6)


@functools.cache
def plausible() -> st.SearchStrategy[Any]:
    arns = st.sampled_from(
        [
            f"arn:aws:ivs:us-west-2:{account}:{kind}/abc"
            for account in ("123456789012", "1")
            for kind in ("channel", "stream-key", "stage")
        ]
    )
    return st.one_of(
        arns,
        st.lists(arns, max_size=3),
        st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
        st.sampled_from(["-----BEGIN EC PRIVATE KEY-----SECRET", "rtmps://host:443/app/sk_us-west-2_SECRET"]),
    )


@pytest.fixture(scope="module")
def fuzzed() -> Any:
    with Sandbox(serve=False, clock=VirtualClock()) as sandbox:
        for number in range(3):
            send(sandbox, "CreateChannel", name=f"c{number}")
        yield sandbox


def check(answer: Response) -> None:
    assert answer.status != 500, answer.body
    text = answer.body.decode()
    assert "Traceback" not in text
    assert "SECRET" not in text


@given(data=st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_body_makes_the_server_fail(fuzzed: Sandbox, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(OPERATIONS))
    operation = MODEL.operations[name]
    if not fuzzed.control.faults():
        # With an active fault, each call is matched before it is validated.
        fuzzed.control.add_fault("delay", seconds=0, times=None)
    members = data.draw(members_of(name))
    path = operation.path.replace(
        "{resourceArn}",
        data.draw(st.sampled_from(["arn%3Aaws%3Aivs%3Aus-west-2%3A123456789012%3Achannel%2Fabc", "x", "%ff%00", ""])),
    )
    query = data.draw(st.sampled_from(["", "tagKeys=a", "tagKeys=%zz&tagKeys=", "&&=&"]))
    check(
        fuzzed.handle(
            Request(operation.method, path, query, {"authorization": AUTHORIZATION}, json.dumps(members).encode())
        )
    )


@given(
    body=st.binary(max_size=200), method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]), path=st.text(max_size=30)
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_make_the_server_fail(fuzzed: Sandbox, body: bytes, method: str, path: str) -> None:
    for target in (f"/{path}", "/CreateChannel", "/", "/tags/x"):
        answer = fuzzed.handle(
            Request(method, target, "", {"content-type": "application/json", "x-amz-target": path}, body)
        )
        check(answer)


# What Python's JSON takes for numbers, and what databases and clocks do not.
EXTREMES = st.one_of(
    VALUES, st.sampled_from([float("nan"), float("inf"), -1, -(10**30), 10**30, 1.5, True, "9" * 5000])
)
FAILURES = ("An internal error occurred", "The sandbox cannot use its database")
"""What the server answers where it fails itself."""
CONTROL = sorted(control_http.QUERIES | control_http.CHANGES)


@functools.cache
def arguments_of(name: str) -> st.SearchStrategy[dict[str, Any]]:
    known = set(inspect.signature(getattr(Control, name)).parameters) - {"self", "rule"}
    if name == "add_fault":
        known |= set(inspect.signature(Fault).parameters)
    usual = st.sampled_from(
        [
            "throttle",
            "error",
            "delay",
            "*",
            "channels",
            "arn:aws:ivs:us-west-2:123456789012:channel/abc",
            {"name": "x"},
            {"GetChannel": 1},
            1,
        ]
    )
    return st.dictionaries(st.sampled_from([*sorted(known), "colour"]), EXTREMES | usual, max_size=5)


@given(data=st.data(), name=st.sampled_from(CONTROL))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_control_request_makes_the_server_fail(fuzzed: Sandbox, data: st.DataObject, name: str) -> None:
    arguments = data.draw(arguments_of(name))
    answer = fuzzed.handle(
        Request("POST", f"/_sandbox/{name}", "", {"content-type": "application/json"}, json.dumps(arguments).encode())
    )
    assert answer.status in (200, 400), answer.body
    for operation, members in (("ListChannels", {"maxResults": 1}), ("CreateChannel", {})):
        # A fault may be one that is answered with 500 as well.
        _, said = send(fuzzed, operation, **members)
        assert not any(text in str(said) for text in FAILURES), "what was set breaks calls"
    fuzzed.control.reset()


INTEGERS = [
    (name, parameter.name)
    for name in CONTROL
    for parameter in inspect.signature(getattr(Control, name)).parameters.values()
    if str(parameter.annotation).startswith("int")
]


@pytest.mark.parametrize(("name", "argument"), INTEGERS)
def test_an_integer_that_no_database_stores_is_refused(fuzzed: Sandbox, name: str, argument: str) -> None:
    required = {
        parameter.name: "x"
        for parameter in inspect.signature(getattr(Control, name)).parameters.values()
        if parameter.default is parameter.empty and parameter.name not in {"self", argument}
    }
    for value in (10**30, -(10**30), 2**63, -(2**63) - 1):
        body = json.dumps({**required, argument: value}).encode()
        answer = fuzzed.handle(Request("POST", f"/_sandbox/{name}", "", {"content-type": "application/json"}, body))
        assert answer.status == 400, answer.body
        assert b"64 bits" in answer.body, answer.body


SUPPORTING = [
    f"{target}.{operation}"
    for target, service in supporting._TARGETS.items()
    for known, operation in supporting.OPERATIONS
    if known == service
]


@given(
    target=st.sampled_from(SUPPORTING),
    members=st.dictionaries(
        st.sampled_from(
            [
                "ServiceCode",
                "QuotaCode",
                "MaxResults",
                "NextToken",
                "LookupAttributes",
                "StartTime",
                "EndTime",
                "EventCategory",
            ]
        ),
        EXTREMES
        | st.sampled_from(
            ["ivs", "L-C01DFF58", [{"AttributeKey": "EventName", "AttributeValue": []}], "management", "1", 1]
        ),
        max_size=4,
    ),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_request_to_a_supporting_service_makes_the_server_fail(
    fuzzed: Sandbox, target: str, members: dict[str, Any]
) -> None:
    answer = fuzzed.handle(
        Request("POST", "/", "", {"x-amz-target": target, "authorization": AUTHORIZATION}, json.dumps(members).encode())
    )
    assert answer.status in (200, 400), answer.body
