"""Missing permissions, expired credentials and wrong clocks, rehearsed (IVS facts 2.3, 9.3, 10.1)."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.cli.sandbox import main
from reconciler.sandbox import AccessKey, ControlError, Sandbox, VirtualClock
from tests.sandbox.helpers import message, refusal

DENIED = (403, "AccessDeniedException")
USER = "arn:aws:iam::123456789012:user/sandbox"
HERE = "arn:aws:ivs:us-west-2:123456789012:"


def test_a_denied_operation_is_refused_in_iams_words_until_cleared(ivs: Any, sandbox: Sandbox) -> None:
    sandbox.control.deny("ListAdConfigurations")
    for _ in range(3):
        assert refusal(ivs.list_ad_configurations) == DENIED
    assert (
        message(ivs.list_ad_configurations)
        == f"User: {USER} is not authorized to perform: ivs:ListAdConfigurations on resource: *"
    )
    ivs.list_channels()
    assert sandbox.control.clear_faults() == []
    ivs.list_ad_configurations()


@pytest.mark.parametrize(
    ("operation", "resource"),
    [
        ("create_channel", f"{HERE}channel/*"),
        ("list_channels", f"{HERE}channel/*"),
        ("list_streams", f"{HERE}channel/*"),
        ("list_playback_key_pairs", f"{HERE}playback-key/*"),
        ("list_recording_configurations", f"{HERE}recording-configuration/*"),
        ("list_failover_slate_configurations", f"{HERE}failover-slate-configuration/*"),
        ("list_playback_restriction_policies", "*"),
    ],
)
def test_what_names_no_resource_is_denied_on_all_of_its_kind(
    ivs: Any, sandbox: Sandbox, operation: str, resource: str
) -> None:
    sandbox.control.deny("*")
    assert message(getattr(ivs, operation)).endswith(f" on resource: {resource}")


def test_a_denial_may_be_about_one_arn_or_a_pattern_of_them(ivs: Any, sandbox: Sandbox) -> None:
    one, two = (ivs.create_channel()["channel"]["arn"] for _ in range(2))
    sandbox.control.deny("GetChannel", arn=one)
    assert (
        message(ivs.get_channel, arn=one)
        == f"User: {USER} is not authorized to perform: ivs:GetChannel on resource: {one}"
    )
    ivs.get_channel(arn=two)
    sandbox.control.clear_faults()
    sandbox.control.deny("*", arn=f"{HERE}channel/*")
    assert refusal(ivs.get_channel, arn=two) == DENIED
    assert refusal(ivs.batch_get_channel, arns=[two]) == DENIED
    assert refusal(ivs.list_tags_for_resource, resourceArn=two) == DENIED
    assert refusal(ivs.create_channel) == DENIED
    ivs.list_recording_configurations()


def test_tags_in_a_create_need_the_permission_to_tag(ivs: Any, sandbox: Sandbox) -> None:
    sandbox.control.deny("TagResource")
    assert (
        message(ivs.create_channel, tags={"a": "b"})
        == f"User: {USER} is not authorized to perform: ivs:TagResource on resource: {HERE}channel/*"
    )
    ivs.create_channel()
    assert len(ivs.list_channels()["channels"]) == 1


def test_one_denial_of_several_can_be_lifted(ivs: Any, sandbox: Sandbox) -> None:
    sandbox.control.deny("ListChannels")
    sandbox.control.deny("ListStreams")
    sandbox.control.add_fault("throttle", operation="ListChannels")
    (left,) = sandbox.control.clear_faults(effect="deny", operation="ListStreams")[1:]
    assert left["effect"] == "throttle"
    ivs.list_streams()
    assert refusal(ivs.list_channels) == DENIED
    sandbox.control.clear_faults(effect="deny")
    assert refusal(ivs.list_channels)[0] == 429


def test_supporting_services_deny_throttle_and_expire_with_their_own_codes(client: Any, sandbox: Sandbox) -> None:
    quotas, trail, sts = client("service-quotas"), client("cloudtrail"), client("sts")
    sandbox.control.deny("servicequotas:*")
    assert refusal(quotas.list_service_quotas, ServiceCode="ivs") == (400, "AccessDeniedException")
    assert message(quotas.list_service_quotas, ServiceCode="ivs").startswith(
        f"User: {USER} is not authorized to perform: servicequotas:ListServiceQuotas on resource: "
    )
    trail.lookup_events()
    sandbox.control.deny("cloudtrail:LookupEvents")
    assert refusal(trail.lookup_events) == (400, "AccessDeniedException")
    sandbox.control.clear_faults()
    sandbox.control.deny("*")
    assert sts.get_caller_identity()["Account"] == "123456789012"
    sandbox.control.clear_faults()
    sandbox.control.add_fault("throttle", times=3)
    assert refusal(quotas.list_service_quotas, ServiceCode="ivs") == (400, "TooManyRequestsException")
    assert refusal(trail.lookup_events) == (400, "ThrottlingException")
    assert refusal(sts.get_caller_identity) == (400, "Throttling")
    sandbox.control.add_fault("expire", operation="sts:*,cloudtrail:*")
    assert refusal(sts.get_caller_identity) == (403, "ExpiredToken")
    assert refusal(trail.lookup_events) == (400, "ExpiredTokenException")
    sandbox.control.clear_faults()
    sandbox.control.add_fault("skew", operation="sts:*,cloudtrail:*")
    assert refusal(sts.get_caller_identity) == (403, "SignatureDoesNotMatch")
    assert refusal(trail.lookup_events) == (400, "InvalidSignatureException")
    quotas.list_service_quotas(ServiceCode="ivs")


def test_credentials_expire_in_the_middle_of_a_run_and_new_ones_work(client: Any, sandbox: Sandbox) -> None:
    old, new = client(key="AKIAOLD"), client(key="AKIANEW")
    sandbox.control.add_fault("expire", access_key="AKIAOLD", skip=2)
    old.create_channel()
    old.list_channels()
    for _ in range(2):
        assert refusal(old.list_channels) == (403, "ExpiredTokenException")
    assert message(old.list_channels) == "The security token included in the request is expired"
    assert len(new.list_channels()["channels"]) == 1


def test_a_configured_key_expires_with_the_clock_also_where_signatures_are_not_verified(session: Any) -> None:
    clock = VirtualClock()
    with Sandbox(clock=clock, accounts={"ASIAGUEST": AccessKey("111122223333", expires=clock.now() + 60)}) as sandbox:
        ivs = session.client(
            "ivs",
            endpoint_url=sandbox.endpoint_url,
            region_name="us-west-2",
            aws_access_key_id="ASIAGUEST",
            aws_secret_access_key="any",
        )
        ivs.list_channels()
        clock.advance(60)
        assert refusal(ivs.list_channels) == (403, "ExpiredTokenException")


def test_the_error_for_a_slow_clock_names_both_times(ivs: Any, sandbox: Sandbox) -> None:
    sandbox.control.add_fault("skew", operation="List*")
    assert refusal(ivs.list_channels) == (403, "InvalidSignatureException")
    text = message(ivs.list_channels)
    assert text.startswith("Signature expired: 2")
    assert text.endswith("Z (20260101T001500Z - 5 min.)")


def test_drift_needs_no_permission_of_the_caller(ivs: Any, sandbox: Sandbox) -> None:
    arn = ivs.create_channel(name="before")["channel"]["arn"]
    sandbox.control.deny("Update*")
    sandbox.control.drift(arn, {"name": "after"})
    assert ivs.get_channel(arn=arn)["channel"]["name"] == "after"
    assert refusal(ivs.update_channel, arn=arn, name="ours") == DENIED


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (
            {"effect": "deny", "operation": "ListAdConfigs"},
            "no operation matches 'ListAdConfigs'; did you mean ListAdConfigurations",
        ),
        ({"effect": "deny", "when": "after"}, "answered before processing"),
        ({"effect": "expire", "when": "after"}, "answered before processing"),
        ({"effect": "throttle", "operation": "s3:*"}, "no operation matches"),
    ],
)
def test_rules_that_could_never_hit_are_refused(sandbox: Sandbox, rule: dict[str, Any], why: str) -> None:
    with pytest.raises(ControlError, match=why):
        sandbox.control.add_fault(**rule)
    assert sandbox.control.faults() == []


def test_the_command_line_takes_permissions_away_and_gives_them_back(
    ivs: Any, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--endpoint", sandbox.endpoint_url]
    both = ["--operation", "ListAdConfigurations", "--operation", "GetAdConfiguration"]
    assert main(["sandbox", "faults", "deny", *both, *where]) == 0
    (rule,) = sandbox.control.faults()
    assert (rule["operation"], rule["times"]) == ("ListAdConfigurations,GetAdConfiguration", None)
    assert refusal(ivs.list_ad_configurations) == DENIED
    assert refusal(ivs.get_ad_configuration, arn=f"{HERE}ad-configuration/x") == DENIED
    assert main(["sandbox", "faults", "expire", "--skip", "3", "--access-key", "AKIA", *where]) == 0
    assert main(["sandbox", "faults", "clear", *both, *where]) == 0
    (rule,) = sandbox.control.faults()
    assert (rule["effect"], rule["skip"], rule["access_key"]) == ("expire", 3, "AKIA")
    assert main(["sandbox", "faults", "deny", "--operation", "Nonsense", *where]) == 1
    assert "no operation matches 'Nonsense'" in capsys.readouterr().err
