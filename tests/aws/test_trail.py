"""What CloudTrail says, read as it is written there: who, with what, on which resource, and nothing of the values."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from reconciler.aws.client import IvsGateway
from reconciler.aws.cloudtrail import LOOKUP, PACERS, PAGES, SERVICE, read_trail
from reconciler.aws.limiter import Pacers
from reconciler.model.resource import Trail
from tests.workflow.hook import Hook, hook

ARN = "arn:aws:ivs:us-west-2:123456789012:channel/abcDEF123456"
USER = {"type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/alice"}
NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)


def detail(**changes: Any) -> dict[str, Any]:
    return {
        "userIdentity": USER,
        "eventTime": "2026-11-20T09:00:00Z",
        "eventSource": "ivs.amazonaws.com",
        "eventName": "UpdateChannel",
        "userAgent": "aws-cli/2.15.0 exec-env/CloudShell",
        "requestParameters": {"arn": ARN, "name": "secret-name", "latencyMode": "LOW"},
        "responseElements": {"channel": {"arn": ARN, "name": "secret-name"}},
        "eventID": "e-1",
        **changes,
    }


def page(*details: Any, token: str = "") -> tuple[int, dict[str, str], str]:
    events = [
        {"EventId": "outer", "CloudTrailEvent": each if isinstance(each, str) else json.dumps(each)} for each in details
    ]
    return (
        200,
        {"Content-Type": "application/x-amz-json-1.1"},
        json.dumps({"Events": events, **({"NextToken": token} if token else {})}),
    )


def read(server: Hook, *operations: str, pacer: Any = None) -> Trail:
    client = boto3.client(
        "cloudtrail", endpoint_url=server.url, region_name="us-west-2", aws_access_key_id="a", aws_secret_access_key="b"
    )
    return read_trail(
        IvsGateway(client, pacer=pacer, sleep=lambda _: None),
        operations or ("UpdateChannel",),
        NOW - timedelta(days=7),
        NOW,
    )


def test_an_event_is_kept_without_the_values_of_its_parameters() -> None:
    with hook() as server:
        server.answers.extend([page(detail())])
        (event,) = read(server).events
    assert (event.who, event.at, event.source, event.operation, event.id) == (
        USER["arn"],
        "2026-11-20T09:00:00Z",
        "the AWS CLI",
        "UpdateChannel",
        "e-1",
    )
    assert (event.arns, event.made, event.fields) == (
        frozenset({ARN}),
        frozenset({ARN}),
        frozenset({"name", "latencyMode"}),
    )
    assert not event.ours
    assert "secret-name" not in repr(event)


@pytest.mark.parametrize(
    ("changes", "source", "ours"),
    [
        ({"userAgent": "[Boto3/1.34 md/Botocore#1.34]"}, "an AWS SDK", False),
        ({"userAgent": "aws-sdk-go-v2/1.30"}, "an AWS SDK", False),
        ({"userAgent": "APN/1.0 HashiCorp/1.0 Terraform/1.9 aws-sdk-go-v2/1.30"}, "Terraform", False),
        (
            {"userAgent": "cloudformation.amazonaws.com", "sourceIPAddress": "cloudformation.amazonaws.com"},
            "CloudFormation",
            False,
        ),
        ({"userAgent": "Mozilla/5.0", "sessionCredentialFromConsole": "true"}, "the console", False),
        ({"userAgent": "console.amazonaws.com"}, "the console", False),
        ({"userAgent": "medialive.amazonaws.com"}, "another AWS service", False),
        ({"userAgent": ""}, "an unknown client", False),
        ({"userAgent": None}, "an unknown client", False),
        ({"userAgent": "Botocore/1.44 ivs-reconciler"}, "ivs-reconciler", True),
        (
            {
                "userIdentity": {
                    "type": "AssumedRole",
                    "arn": "arn:aws:sts::123456789012:assumed-role/ivs/ivs-reconciler",
                }
            },
            "ivs-reconciler",
            True,
        ),
        (
            {"userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/ivs-reconciler"}},
            "the AWS CLI",
            False,
        ),
        ({"userAgent": "not-ivs-reconciler-at-all"}, "an unknown client", False),
    ],
)
def test_what_the_call_was_made_with(changes: dict[str, Any], source: str, ours: bool) -> None:
    with hook() as server:
        server.answers.extend([page(detail(**changes))])
        (event,) = read(server).events
    assert (event.source, event.ours) == (source, ours)


def test_tags_are_known_by_their_keys_and_encoded_arns_are_read() -> None:
    tagged = {
        "resourceArn": ARN.replace(":", "%3A").replace("/", "%2F"),
        "tags": {"team": "x", "ivs-reconciler:stack": "acme", "ivs-reconciler:id": "main"},
    }
    with hook() as server:
        server.answers += [
            page(
                detail(eventName="TagResource", requestParameters=tagged, responseElements=None),
                detail(
                    eventName="UntagResource",
                    requestParameters={"resourceArn": ARN, "tagKeys": ["team"]},
                    eventID="e-2",
                ),
            )
        ]
        one, other = sorted(read(server, "TagResource").events, key=lambda event: event.id)
    assert (one.arns, one.owner) == (frozenset({ARN}), ("acme", "main"))
    assert one.fields == frozenset({"tags/team", "tags/ivs-reconciler:stack", "tags/ivs-reconciler:id"})
    assert (other.fields, other.owner) == (frozenset({"tags/team"}), None)


def test_what_failed_what_is_anothers_and_what_cannot_be_read_is_passed_over() -> None:
    with hook() as server:
        server.answers.extend(
            [
                page(
                    detail(errorCode="AccessDenied"),
                    detail(eventSource="ec2.amazonaws.com"),
                    "no json",
                    "[]",
                    detail(requestParameters=None),
                )
            ]
        )
        (event,) = read(server).events
    assert event.fields is None, "its parameters are not known"


def test_pages_are_bounded_and_it_is_said() -> None:
    with hook() as server:
        server.answers.extend([*(page(detail(eventID=f"e-{number}"), token="more") for number in range(PAGES)), page()])
        trail = read(server, "UpdateChannel", "DeleteChannel")
        asked = [json.loads(got.body) for got in server.got]
    assert (len(trail.events), trail.truncated) == (PAGES, ("UpdateChannel",))
    assert len(asked) == PAGES + 1
    assert [each.get("NextToken") for each in asked[:3]] == [None, "more", "more"]
    assert asked[-1]["LookupAttributes"] == [{"AttributeKey": "EventName", "AttributeValue": "DeleteChannel"}]


def test_a_failure_leaves_what_was_found_before_it() -> None:
    refused = (
        400,
        {"Content-Type": "application/x-amz-json-1.1"},
        json.dumps({"__type": "InvalidTimeRangeException", "message": "no"}),
    )
    with hook() as server:
        server.answers.extend([page(detail()), refused])
        trail = read(server, "UpdateChannel", "DeleteChannel")
    assert len(trail.events) == 1
    assert trail.error == "cannot read CloudTrail (InvalidTimeRangeException: no)"


def test_calls_keep_to_two_a_second() -> None:
    assert (
        1.5
        < PACERS.of("123456789012", "us-west-2", "https://cloudtrail.us-west-2.amazonaws.com", SERVICE).rate(LOOKUP)
        <= 2.0
    )
    slept: list[float] = []
    pacer = Pacers(clock=lambda: sum(slept), sleep=slept.append, rates={(SERVICE, LOOKUP): 2.0}).of(
        "1", "r", "u", SERVICE
    )
    with hook() as server:
        server.answers.extend(page(token="more") for _ in range(4))
        read(server, pacer=pacer)
    assert len(slept) == 4
    assert all(seconds >= 0.5 for seconds in slept)
