"""Resources in CloudFormation stacks: system tags, and DescribeStackResources as botocore calls it."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.sandbox import Sandbox
from reconciler.sandbox.settings import ControlError
from reconciler.sandbox.wire import Request
from tests.sandbox.helpers import message, refusal

NAME = "aws:cloudformation:stack-name"


def test_a_resource_is_found_in_its_stack_until_it_leaves(client: Any, sandbox: Sandbox) -> None:
    ivs, stacks = client(), client("cloudformation")
    arns = [ivs.create_channel(name=name, tags={"a": "b"})["channel"]["arn"] for name in ("one", "two", "three")]
    for arn, logical in zip(arns[:2], ("One", "Two"), strict=True):
        sandbox.control.add_to_stack(arn, "video & more", logical)
    tags = ivs.list_tags_for_resource(resourceArn=arns[0])["tags"]
    assert (tags["a"], tags[NAME], tags["aws:cloudformation:logical-id"]) == ("b", "video & more", "One")
    assert {one["arn"]: one["tags"].get(NAME) for one in ivs.list_channels()["channels"]} == {
        arns[0]: "video & more",
        arns[1]: "video & more",
        arns[2]: None,
    }
    found = stacks.describe_stack_resources(PhysicalResourceId=arns[0])["StackResources"]
    assert {one["PhysicalResourceId"]: one["LogicalResourceId"] for one in found} == {arns[0]: "One", arns[1]: "Two"}
    assert {one["ResourceType"] for one in found} == {"AWS::IVS::Channel"}
    assert {one["StackId"] for one in found} == {tags["aws:cloudformation:stack-id"]}
    assert (
        stacks.describe_stack_resources(StackName="video & more", LogicalResourceId="Two")["StackResources"][0][
            "PhysicalResourceId"
        ]
        == (arns[1])
    )
    for wrong in (
        {"PhysicalResourceId": arns[2]},
        {"StackName": "other"},
        {},
        {"StackName": "a", "PhysicalResourceId": "b"},
    ):
        assert refusal(stacks.describe_stack_resources, **wrong) == (400, "ValidationError")
    assert f"Stack for {arns[2]} does not exist" in message(stacks.describe_stack_resources, PhysicalResourceId=arns[2])
    # Another region has other stacks.
    other = client("cloudformation", region="eu-west-1")
    assert refusal(other.describe_stack_resources, PhysicalResourceId=arns[0])[1] == "ValidationError"
    # Users cannot change these tags.
    assert refusal(ivs.untag_resource, resourceArn=arns[0], tagKeys=[NAME])[1] == "ValidationException"
    sandbox.control.remove_from_stack(arns[0])
    assert refusal(stacks.describe_stack_resources, PhysicalResourceId=arns[0])[1] == "ValidationError"
    assert NAME in ivs.list_tags_for_resource(resourceArn=arns[0])["tags"]
    with pytest.raises(ControlError, match="is in no CloudFormation stack"):
        sandbox.control.remove_from_stack(arns[0])


def test_a_resource_that_left_may_lose_its_tags_and_may_still_be_listed(client: Any, sandbox: Sandbox) -> None:
    ivs, stacks = client(), client("cloudformation")
    arn = ivs.create_channel()["channel"]["arn"]
    sandbox.control.assume("retained-tags", "removed")
    sandbox.control.assume("retained-resource", "skipped")
    sandbox.control.add_to_stack(arn, "video")
    sandbox.control.remove_from_stack(arn)
    assert NAME not in ivs.list_tags_for_resource(resourceArn=arn)["tags"]
    (found,) = stacks.describe_stack_resources(PhysicalResourceId=arn)["StackResources"]
    assert found["ResourceStatus"] == "DELETE_SKIPPED"


def test_system_tags_are_set_by_the_control_api_only(client: Any, sandbox: Sandbox) -> None:
    ivs = client()
    arn = ivs.create_channel()["channel"]["arn"]
    sandbox.control.set_system_tags(arn, {"aws:servicecatalog:provisioningPrincipal": "me"})
    assert ivs.get_channel(arn=arn)["channel"]["tags"] == {"aws:servicecatalog:provisioningPrincipal": "me"}
    for tags in ({"team": "video"}, {"aws:a": 1}):
        with pytest.raises(ControlError, match="begin with aws:"):
            sandbox.control.set_system_tags(arn, tags)
    with pytest.raises(ControlError, match="does not exist"):
        sandbox.control.add_to_stack(arn + "x", "video")


def test_the_call_is_denied_throttled_and_unknown_as_cloudformation_says_it(client: Any, sandbox: Sandbox) -> None:
    stacks = client("cloudformation")
    sandbox.control.deny("DescribeStackResources")
    assert refusal(stacks.describe_stack_resources, PhysicalResourceId="x") == (403, "AccessDenied")
    sandbox.control.clear_faults()
    sandbox.control.add_fault("throttle", operation="DescribeStackResources")
    assert refusal(stacks.describe_stack_resources, PhysicalResourceId="x")[1] == "Throttling"
    sandbox.control.clear_faults()
    assert refusal(stacks.list_stacks)[1] == "UnknownOperationException"
    assert sandbox.handle(Request("POST", "/", "", {}, b"Version=2010-05-15&Action=\xff&StackName=%00")).status == 404
