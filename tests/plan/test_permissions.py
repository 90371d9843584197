"""The policy that ``iam-policy`` prints allows every call that plans and applies make, nothing that changes resources of others, and no more than it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import UsageError
from reconciler.model.address import ID, STACK, KindName
from reconciler.model.kinds import KINDS
from reconciler.model.resource import DesiredState
from reconciler.model.target import S3Lock, Sink, Store, Target
from reconciler.plan.iam import MAX_CHARACTERS, Policy, PolicyOptions, PolicyTarget, apply_policy, plan_policy
from reconciler.plan.plan import ApplyResult, PlanOptions, Result
from reconciler.sandbox import Sandbox, VirtualClock
from tests.aws.stores import Stores
from tests.builders import ACCOUNT, REGION, THIS_STACK, desired, refs, wanted
from tests.cli.support import run, stack
from tests.reliability.matrix import every_value_arrived
from tests.reliability.world import World, key_pair, worlds_client

TARGET = Target("prod", REGION, account_id=ACCOUNT)
_TYPES = {
    operation: kind.arn_type
    for kind in KINDS.values()
    for operation in (kind.create, kind.list, kind.get, kind.update, kind.delete)
    if operation
}


def everything(key: str = "one", **more: Any) -> DesiredState:
    """Make a spec of all seven kinds."""
    used = refs(
        recordingConfigurationArn="recording-configuration/r",
        playbackRestrictionPolicyArn="playback-restriction-policy/p",
        adConfigurationArn="ad-configuration/ads",
        failoverSlateConfigurationArn="failover-slate-configuration/f",
    )
    return desired(
        wanted("recording-configuration/r", {"recordingReconnectWindowSeconds": more.get("window", 0)}),
        wanted("playback-restriction-policy/p", {"allowedCountries": more.get("countries", ["DE"])}),
        wanted(
            "ad-configuration/ads",
            {"postRollConfiguration": more.get("roll", {"enabled": False, "durationSeconds": 15})},
            tags=more.get("tags"),
        ),
        wanted("failover-slate-configuration/f", {"minSlateDisplaySeconds": more.get("slate", 3)}),
        key_pair("k", key),
        wanted("channel/c", {**used, "latencyMode": more.get("latency", "LOW")}, tags=more.get("tags")),
        wanted("channel/d"),
        wanted("stream-key/c", tags=more.get("tags")),
    )


# A small judge of policies: what IAM does with the statements that are used here.


def allowed(policy: Policy, action: str, resource: str, context: Mapping[str, str]) -> bool:
    """Whether some statement allows an action on a resource."""
    return any(
        action in statement["Action"]
        and any(fnmatchcase(resource, pattern) for pattern in _list(statement["Resource"]))
        and _holds(statement.get("Condition", {}), context)
        for statement in _statements(policy)
    )


def _statements(policy: Policy) -> list[dict[str, Any]]:
    found: Any = policy["Statement"]
    return list(found)


def _list(value: object) -> list[str]:
    return [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    for test, pairs in condition.items():
        for key, values in pairs.items():
            if test == "StringEquals" and context.get(key) not in _list(values):
                return False
            if test == "Null" and (key in context) == (values == "true"):
                return False
    return True


class Judge:
    """Holds every call of a world against a policy, as IAM would: on each resource it names, with its tags and those of the request."""

    def __init__(self, world: World, policy: Policy) -> None:
        self.world = world
        self.policy = policy
        self.refused: list[str] = []
        self.used: set[str] = set()

    def __call__(self, operation: str, parameters: Mapping[str, object]) -> None:
        request: Any = parameters.get("tags") or {}
        for resource, tags in self.resources(operation, parameters):
            context = {"aws:RequestedRegion": REGION}
            context |= {f"aws:RequestTag/{key}": value for key, value in request.items()}
            context |= {f"aws:ResourceTag/{key}": value for key, value in tags.items()}
            needed = [
                operation,
                *(["TagResource"] if operation in {kind.create for kind in KINDS.values()} and request else []),
            ]
            self.refused += [
                f"ivs:{name} on {resource}"
                for name in needed
                if not allowed(self.policy, f"ivs:{name}", resource, context)
            ]
        self.used.add(operation)

    def resources(self, operation: str, parameters: Mapping[str, object]) -> list[tuple[str, dict[str, str]]]:
        there = {found["arn"]: found["tags"] for found in self.world.everything()}
        named: Any = parameters.get("resourceArn") or parameters.get("arn") or parameters.get("channelArn")
        prefix = f"arn:aws:ivs:{REGION}:{ACCOUNT}"
        if operation in ("UpdateAdConfiguration",) or operation.startswith(("List", "BatchGet")):
            return [("*" if operation != "ListStreamKeys" else str(named), {})]
        if operation == "CreateChannel":
            return [(f"{prefix}:channel/new", {}), (f"{prefix}:stream-key/new", {})]
        if operation == "DeleteChannel":
            keys = [found["arn"] for found in self.world.everything() if found.get("channelArn") == named]
            return [
                (named, there.get(named, {})),
                *((key, there[key]) for key in keys),
                (f"{prefix}:stream-key/untagged", {}),
            ]
        if operation == "CreateStreamKey":
            return [(f"{prefix}:stream-key/new", {})]
        if named is None:
            return [(f"{prefix}:{_TYPES[operation]}/new", {})]
        return [(named, there.get(named, {}))]


@pytest.fixture
def world(tmp_path: Path) -> Any:
    clock = VirtualClock()
    client = worlds_client()
    sandbox = Sandbox(serve=False, clock=clock, seed=9, settle_seconds=1)
    detach = sandbox.attach(client)
    yield World(sandbox, clock, client, tmp_path, stores=Stores())
    detach()
    sandbox.stop()


def apply_under(world: World, spec: DesiredState, policy: Policy, options: PlanOptions | None = None) -> Judge:
    judge = Judge(world, policy)
    if world.stores is not None:
        world.stores.calls.clear()
        world.stores.allowed = lambda action, resource: allowed(policy, action, resource, {})
    survey = world.survey(spec, options, before=judge)
    result = world.carry_out(survey)
    assert judge.refused == []
    assert result is None or result.complete, result
    judge.used |= set(world.stores.calls if world.stores is not None else ())
    return judge


def test_every_call_of_a_whole_life_cycle_is_allowed(world: World) -> None:
    spec = everything()
    used: set[str] = set()
    for step in (
        spec,
        everything(
            latency="NORMAL",
            countries=["FR"],
            slate=5,
            tags={"team": "video"},
            roll={"enabled": True, "durationSeconds": 20},
        ),
        everything(latency="NORMAL", window=60, key="two"),
    ):
        used |= apply_under(world, step, apply_policy([PolicyTarget(TARGET, step)], PolicyOptions())).used
    for key in world.client.list_stream_keys(
        channelArn=next(
            found["arn"] for found in world.everything() if found["tags"].get(ID) == "c" and ":channel/" in found["arn"]
        )
    )["streamKeys"]:
        world.client.delete_stream_key(arn=key["arn"])
    used |= apply_under(
        world, everything(window=60, key="two"), apply_policy([PolicyTarget(TARGET, everything())], PolicyOptions())
    ).used
    used |= apply_under(
        world,
        desired(),
        apply_policy([PolicyTarget(TARGET, desired())], PolicyOptions(prune=True)),
        PlanOptions(prune=True),
    ).used
    writes = {
        operation
        for kind in KINDS.values()
        for operation in (kind.create, kind.update, kind.delete)
        if operation and kind.name is not KindName.STREAM_KEY
    }
    assert writes | {"CreateStreamKey", "TagResource", "UntagResource", "BatchGetChannel"} <= used, (
        "the scenario does not make every call"
    )


@pytest.mark.parametrize(
    "operation", ["DeleteChannel", "UpdateChannel", "TagResource", "UntagResource", "DeleteRecordingConfiguration"]
)
@pytest.mark.parametrize("owner", [{STACK: "other", ID: "c"}, {}])
def test_unmanaged_resources_may_not_be_changed_or_adopted(operation: str, owner: dict[str, str]) -> None:
    policy = apply_policy([PolicyTarget(TARGET, everything())], PolicyOptions(prune=True, stop_live=True))
    kind = "recording-configuration" if "Recording" in operation else "channel"
    resource = f"arn:aws:ivs:{REGION}:{ACCOUNT}:{kind}/x"
    theirs = {f"aws:ResourceTag/{key}": value for key, value in owner.items()}
    assert not allowed(policy, f"ivs:{operation}", resource, theirs)
    taking = {**theirs, f"aws:RequestTag/{STACK}": THIS_STACK}
    # What has no owner may be adopted; what another stack owns may not.
    assert allowed(policy, f"ivs:{operation}", resource, taking) == (operation == "TagResource" and not owner)
    ours = {f"aws:ResourceTag/{STACK}": THIS_STACK}
    assert allowed(policy, f"ivs:{operation}", resource, ours)
    assert not allowed(policy, f"ivs:{operation}", resource.replace(REGION, "eu-west-1"), ours)
    assert not allowed(policy, f"ivs:{operation}", resource.replace(ACCOUNT, "999999999999"), ours)


def test_a_create_without_our_tag_is_not_allowed() -> None:
    policy = apply_policy([PolicyTarget(TARGET, everything())], PolicyOptions())
    resource = f"arn:aws:ivs:{REGION}:{ACCOUNT}:channel/new"
    assert allowed(policy, "ivs:CreateChannel", resource, {f"aws:RequestTag/{STACK}": THIS_STACK})
    assert not allowed(policy, "ivs:CreateChannel", resource, {f"aws:RequestTag/{STACK}": "other"})
    assert not allowed(policy, "ivs:CreateChannel", resource, {})


def test_adopting_with_changes_and_taking_over_are_allowed(world: World) -> None:
    for name, owned_by in (("c", ""), ("d", "old")):
        owner = {STACK: owned_by, ID: name} if owned_by else {}
        world.client.create_channel(name=name, latencyMode="LOW", tags={"stray": "1", **owner})
    spec = desired(*(wanted(f"channel/{name}", {"latencyMode": "NORMAL"}) for name in "cd"))
    policy = apply_policy([PolicyTarget(TARGET, spec)], PolicyOptions(take_over=("old",)))
    used = apply_under(world, spec, policy, PlanOptions(adopt=True, adopt_with_changes=True, take_over=("old",))).used
    assert {"UpdateChannel", "UntagResource", "TagResource"} <= used
    assert "CreateChannel" not in used


def test_tagging_resources_of_another_stack_is_allowed_only_to_take_them_over() -> None:
    places = [PolicyTarget(TARGET, everything())]
    resource = f"arn:aws:ivs:{REGION}:{ACCOUNT}:channel/theirs"
    theirs = {f"aws:ResourceTag/{STACK}": "old", f"aws:RequestTag/{STACK}": THIS_STACK}
    assert not allowed(apply_policy(places, PolicyOptions()), "ivs:TagResource", resource, theirs)
    taking = apply_policy(places, PolicyOptions(take_over=("old",)))
    assert allowed(taking, "ivs:TagResource", resource, theirs)
    assert not allowed(taking, "ivs:TagResource", resource, {**theirs, f"aws:ResourceTag/{STACK}": "third"})


def test_planning_may_only_look(world: World) -> None:
    policy = plan_policy([PolicyTarget(TARGET, everything())], PolicyOptions(blame=True))
    actions = [action for statement in _statements(policy) for action in statement["Action"]]
    assert all(
        action.partition(":")[2].startswith(("List", "Get", "BatchGet", "Lookup", "Describe")) for action in actions
    )
    assert not any(action in actions for action in ("ivs:GetStreamKey", "ivs:BatchGetStreamKey"))
    world.apply(everything())
    judge = Judge(world, policy)
    world.survey(everything(latency="NORMAL", window=60), before=judge)
    assert judge.refused == []
    assert judge.used


def test_only_what_the_spec_has_may_be_made() -> None:
    small = desired(wanted("channel/c"))
    actions = {
        action
        for statement in _statements(apply_policy([PolicyTarget(TARGET, small)], PolicyOptions()))
        for action in statement["Action"]
    }
    assert {action for action in actions if action.startswith(("ivs:Create", "ivs:Import"))} == {"ivs:CreateChannel"}
    assert {action for action in actions if action.startswith("ivs:Delete")} == {"ivs:DeleteChannel"}
    assert not any(action.startswith(("iam:", "s3:", "cloudtrail:")) for action in actions)
    assert "ivs:StopStream" not in actions
    stopping = {
        action
        for statement in _statements(apply_policy([PolicyTarget(TARGET, small)], PolicyOptions(stop_live=True)))
        for action in statement["Action"]
    }
    assert {"ivs:StopStream", "ivs:DeleteStreamKey", "ivs:CreateStreamKey"} <= stopping


def test_a_lock_and_a_recording_bucket_are_named_alone() -> None:
    target = Target("prod", REGION, account_id=ACCOUNT, lock=S3Lock("locks", "prod.json"))
    policy = apply_policy([PolicyTarget(target, everything())], PolicyOptions())
    assert allowed(policy, "s3:PutObject", "arn:aws:s3:::locks/prod.json", {})
    assert not allowed(policy, "s3:PutObject", "arn:aws:s3:::locks/other.json", {})
    assert allowed(policy, "s3:GetBucketLocation", "arn:aws:s3:::vod", {})
    assert not allowed(policy, "s3:GetBucketLocation", "arn:aws:s3:::other", {})


def test_publishing_is_allowed_to_the_sinks_and_nowhere_else() -> None:
    secret, parameter = Sink(Store.SECRETS_MANAGER, "acme/one", "alias/own"), Sink(Store.PARAMETER_STORE, "/ivs/two")
    spec = desired(
        wanted("channel/a"),
        wanted("channel/b"),
        wanted("stream-key/a", sink=secret),
        wanted("stream-key/b", sink=parameter),
    )
    policy = apply_policy([PolicyTarget(TARGET, spec)], PolicyOptions())
    for action in ("secretsmanager:PutSecretValue", "secretsmanager:CreateSecret"):
        assert allowed(policy, action, f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:acme/one-a1B2c3", {})
        assert not allowed(policy, action, f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:acme/two-a1B2c3", {})
    assert allowed(policy, "ssm:PutParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/ivs/two", {})
    assert not allowed(policy, "ssm:PutParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/ivs/three", {})
    assert allowed(policy, "kms:GenerateDataKey", f"arn:aws:kms:{REGION}:{ACCOUNT}:key/any", {})
    assert allowed(policy, "ivs:GetStreamKey", f"arn:aws:ivs:{REGION}:{ACCOUNT}:stream-key/x", {})
    everywhere = {
        action
        for statement in _statements(apply_policy([PolicyTarget(TARGET, everything())], PolicyOptions()))
        for action in statement["Action"]
    }
    assert not any(
        action.startswith(("secretsmanager:", "ssm:", "kms:")) or action == "ivs:GetStreamKey" for action in everywhere
    )


def with_sinks(rotation: str, *, secret: Sink | None = None, latency: str = "LOW") -> DesiredState:
    """Make a spec with a sink of every sort."""
    secret = secret or Sink(Store.SECRETS_MANAGER, "acme/one", "alias/own")
    parameter = Sink(Store.PARAMETER_STORE, "/ivs/two", "1234abcd-12ab-34cd-56ef-1234567890ab")
    return desired(
        wanted("channel/a", {"latencyMode": latency}),
        wanted("channel/b"),
        wanted("stream-key/a", sink=secret, rotation=rotation),
        wanted("stream-key/b", sink=parameter, rotation=rotation),
    )


def test_every_call_that_publishes_values_is_allowed(world: World) -> None:
    used: set[str] = set()
    for spec in (with_sinks("1"), with_sinks("2")):
        used |= apply_under(world, spec, apply_policy([PolicyTarget(TARGET, spec)], PolicyOptions())).used
        every_value_arrived(world, spec)
    assert {
        "GetStreamKey",
        "DeleteStreamKey",
        "CreateStreamKey",
        "PutSecretValue",
        "CreateSecret",
        "PutParameter",
    } <= used
    assert world.stores is not None
    world.stores.allowed = lambda _action, _resource: True
    secret = Sink(
        Store.SECRETS_MANAGER, world.stores.client("secretsmanager").describe_secret(SecretId="acme/one")["ARN"]
    )
    spec = with_sinks("3", secret=secret)
    policy = apply_policy([PolicyTarget(TARGET, spec)], PolicyOptions())
    assert "CreateSecret" not in apply_under(world, spec, policy).used
    assert not any("secretsmanager:CreateSecret" in statement["Action"] for statement in _statements(policy))
    every_value_arrived(world, spec)


@pytest.mark.parametrize(
    "missing",
    ["secretsmanager:PutSecretValue", "secretsmanager:CreateSecret", "ssm:PutParameter", "kms:GenerateDataKey"],
)
def test_each_permission_to_publish_is_needed_and_is_named_when_it_is_missing(world: World, missing: str) -> None:
    """The policy holds nothing that is not used: without any one of them, something cannot be carried out, and the next apply can."""
    specs = (with_sinks("1"), with_sinks("2"))
    policy = apply_policy([PolicyTarget(TARGET, specs[0])], PolicyOptions())
    assert world.stores is not None
    world.stores.allowed = lambda action, resource: action != missing and allowed(policy, action, resource, {})
    failed = [
        outcome
        for spec in specs
        for outcome in (world.apply(spec) or ApplyResult("here", ())).outcomes
        if outcome.result is Result.FAILED
    ]
    assert failed
    assert all(
        missing in outcome.message and "is not published yet: correct that, then run apply again" in outcome.message
        for outcome in failed
    )
    apply_under(world, specs[1], policy)
    every_value_arrived(world, specs[1])


def test_every_call_that_ends_a_broadcast_is_allowed_and_nothing_more(world: World) -> None:
    before, after = with_sinks("1"), with_sinks("1", latency="NORMAL")
    apply_under(world, before, apply_policy([PolicyTarget(TARGET, before)], PolicyOptions()))
    (channel,) = [
        found["arn"] for found in world.everything() if found["tags"].get(ID) == "a" and found["kind"] == "channel"
    ]
    world.control.go_live(channel)
    policy = apply_policy([PolicyTarget(TARGET, after)], PolicyOptions(stop_live=True))
    used = apply_under(world, after, policy, PlanOptions(stop_live=("channel/a",))).used
    every_value_arrived(world, after)
    stopping = next(statement for statement in _statements(policy) if statement["Sid"] == "StopStreams")
    assert set(stopping["Action"]) <= {f"ivs:{operation}" for operation in used}


def test_thousands_of_parameters_are_allowed_by_what_they_begin_with() -> None:
    keys = [
        wanted(f"stream-key/k{number}", sink=Sink(Store.PARAMETER_STORE, f"/ivs/acme/k{number}"))
        for number in range(2_000)
    ]
    policy = apply_policy([PolicyTarget(TARGET, desired(*keys))], PolicyOptions())
    assert allowed(policy, "ssm:PutParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/ivs/acme/k7", {})
    assert not allowed(policy, "ssm:PutParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/ivs/other", {})


def test_all_regions_fit_and_what_does_not_is_refused() -> None:
    places = [
        PolicyTarget(Target(f"t{number}", region, account_id=ACCOUNT), everything())
        for number, region in enumerate(("us-west-2", "eu-west-1"))
    ]
    text = json.dumps(
        apply_policy(places, PolicyOptions(prune=True, stop_live=True, blame=True)), separators=(",", ":")
    )
    assert len(text) <= MAX_CHARACTERS
    both = apply_policy(places, PolicyOptions())
    ours = {f"aws:ResourceTag/{STACK}": THIS_STACK}
    for region, may in (("us-west-2", True), ("eu-west-1", True), ("us-east-1", False)):
        arn = f"arn:aws:ivs:{region}:{ACCOUNT}:channel/x"
        assert allowed(both, "ivs:DeleteChannel", arn, {**ours, "aws:RequestedRegion": region}) == may
    many = [
        PolicyTarget(Target(f"t{number}", "us-west-2", account_id=f"{number:012}"), everything())
        for number in range(60)
    ]
    with pytest.raises(UsageError, match=r"6,144.*--target"):
        apply_policy(many, PolicyOptions())


def test_the_command_prints_it(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"a": {}}})
    shown = run(folder, "iam-policy", "apply")
    assert shown.code == 0
    assert shown.json["Version"] == "2012-10-17"
    assert allowed(
        shown.json,
        "ivs:DeleteChannel",
        f"arn:aws:ivs:{REGION}:{ACCOUNT}:channel/x",
        {f"aws:ResourceTag/{STACK}": "acme-live"},
    )
    assert not allowed(run(folder, "iam-policy", "plan").json, "ivs:CreateChannel", "*", {})
