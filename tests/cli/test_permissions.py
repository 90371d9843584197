"""A run that lacks one permission says which, for which address, and does the rest."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reconciler.sandbox import Sandbox
from tests.cli.support import client, rewrite, run, stack

SPEC = {
    "recordingConfigurations": {"archive": {"destinationConfiguration": {"s3": {"bucketName": "vod"}}}},
    "playbackRestrictionPolicies": {"eu": {"allowedCountries": ["DE"]}},
    "channels": {"main": {"recordingConfiguration": "archive", "streamKey": {}}, "side": {}},
}
KEYS = {"AWS_ACCESS_KEY_ID": "123456789012", "AWS_SECRET_ACCESS_KEY": "any"}


def project(folder: Path, sandbox: Sandbox) -> Path:
    return stack(folder, SPEC, target={"sandbox": None, "endpointUrl": sandbox.endpoint_url})


@pytest.mark.parametrize(
    "operation", ["ListRecordingConfigurations", "ListPlaybackRestrictionPolicies", "BatchGetChannel", "ListStreamKeys"]
)
def test_what_may_not_be_read_is_left_alone_and_the_rest_is_done(tmp_path: Path, operation: str) -> None:
    with Sandbox(settle_seconds=0) as sandbox:
        folder = project(tmp_path / "repo", sandbox)
        assert run(folder, "apply", "--auto-approve", env=KEYS).code == 0
        ivs = client(sandbox.endpoint_url)
        side = ivs.list_channels(filterByName="side")["channels"][0]["arn"]
        policy = ivs.list_playback_restriction_policies()["playbackRestrictionPolicies"][0]["arn"]
        ivs.update_channel(arn=side, latencyMode="NORMAL")
        ivs.update_playback_restriction_policy(arn=policy, allowedCountries=["FR"])
        sandbox.control.deny(operation)
        shown = run(folder, "drift", env=KEYS)
        assert shown.code == 1
        assert f"missing permission ivs:{operation}" in shown.err
        planned = run(folder, "plan", env=KEYS)
        assert planned.code == 1
        assert f"ivs:{operation}" in planned.out
        assert f"ivs:{operation}" in planned.err
        applied = run(folder, "apply", "--auto-approve", env=KEYS)
        assert applied.code == 4
        assert f"ivs:{operation}" in applied.out
        sandbox.control.clear_faults()
        status = (
            len(ivs.list_channels()["channels"]),
            len(ivs.list_recording_configurations()["recordingConfigurations"]),
        )
        mended = (
            ivs.get_channel(arn=side)["channel"]["latencyMode"],
            ivs.get_playback_restriction_policy(arn=policy)["playbackRestrictionPolicy"]["allowedCountries"],
        )
        assert status == (2, 1), "something was doubled or lost"
        assert mended[0] == ("NORMAL" if operation == "BatchGetChannel" else "LOW")
        assert mended[1] == (["FR"] if operation == "ListPlaybackRestrictionPolicies" else ["DE"])
        assert run(folder, "apply", "--auto-approve", env=KEYS).code == 0
        assert run(folder, "drift", env=KEYS).code == 0


@pytest.mark.parametrize(
    "operation", ["CreateChannel", "CreateRecordingConfiguration", "CreatePlaybackRestrictionPolicy", "TagResource"]
)
def test_a_write_that_is_not_allowed_fails_its_address_and_names_the_permission(tmp_path: Path, operation: str) -> None:
    with Sandbox(settle_seconds=0) as sandbox:
        folder = project(tmp_path / "repo", sandbox)
        sandbox.control.deny(operation)
        applied = run(folder, "apply", "--auto-approve", env=KEYS)
        assert applied.code == 4
        failed = [line for line in applied.out.splitlines() if line.strip().startswith("failed")]
        assert failed
        assert all(f"ivs:{operation}" in line for line in failed), failed
        # A caller that may not tag may not create with tags either, so nothing is left to be done then.
        assert operation == "TagResource" or any(line.strip().startswith("done") for line in applied.out.splitlines())
        sandbox.control.clear_faults()
        assert run(folder, "apply", "--auto-approve", env=KEYS).code == 0
        assert run(folder, "plan", "--detailed-exitcode", env=KEYS).code == 0


def test_credentials_that_expire_in_the_middle_leave_a_report_that_is_right(tmp_path: Path) -> None:
    with Sandbox(settle_seconds=0) as sandbox:
        spec: dict[str, object] = {"channels": {f"c{number}": {} for number in range(12)}}
        folder = stack(tmp_path / "repo", spec, target={"sandbox": None, "endpointUrl": sandbox.endpoint_url})
        sandbox.control.add_fault(
            "error", operation="CreateChannel", code="ExpiredTokenException", status=403, skip=4, times=None
        )
        applied = run(folder, "apply", "--auto-approve", "--format", "json", env=KEYS)
        made = client(sandbox.endpoint_url).list_channels()["channels"]
        assert applied.code == 4
        assert len(made) == 4
        import json

        result = [json.loads(line) for line in applied.out.splitlines()][-1]
        assert sum(outcome["outcome"] == "done" for outcome in result["outcomes"]) == 4
        assert any("rejected the credentials" in (outcome["message"] or "") for outcome in result["outcomes"])
        sandbox.control.clear_faults()
        assert run(folder, "apply", "--auto-approve", env=KEYS).code == 0
        assert len(client(sandbox.endpoint_url).list_channels()["channels"]) == 12


def test_a_clock_that_is_wrong_is_named_before_anything_is_done(tmp_path: Path) -> None:
    with Sandbox(settle_seconds=0) as sandbox:
        folder = project(tmp_path / "repo", sandbox)
        sandbox.control.add_fault("skew", times=None)
        shown = run(folder, "plan", env=KEYS)
        assert shown.code == 1
        assert "rejected the credentials" in shown.err
        assert "clock" in shown.err


OTHER_LISTS = [
    "ListRecordingConfigurations",
    "ListPlaybackKeyPairs",
    "ListPlaybackRestrictionPolicies",
    "ListAdConfigurations",
    "ListFailoverSlateConfigurations",
]


def test_a_plan_needs_no_permission_for_kinds_that_the_spec_has_not(tmp_path: Path) -> None:
    with Sandbox(settle_seconds=0) as sandbox:
        folder = stack(
            tmp_path / "repo",
            {"channels": {"main": {"streamKey": {}}}},
            target={"sandbox": None, "endpointUrl": sandbox.endpoint_url},
        )
        for operation in OTHER_LISTS:
            sandbox.control.deny(operation)
        assert run(folder, "apply", "--auto-approve", env=KEYS).code == 0
        planned = run(folder, "plan", "--detailed-exitcode", "--format", "json", env=KEYS)
        assert planned.code == 0
        assert len(planned.json["targets"][0]["notRead"]) == len(OTHER_LISTS)
        called = {call["operation"] for call in sandbox.control.calls()}
        assert not called & set(OTHER_LISTS)
        shown = run(folder, "plan", "-v", env=KEYS)
        assert "not read: recording configurations, " in shown.out
        assert "missing permission" not in shown.out + shown.err
        pruned = run(folder, "plan", "--prune", "--format", "json", env=KEYS)
        assert pruned.json["targets"][0]["notRead"] == []


def test_what_the_last_apply_recorded_is_still_seen_once_the_spec_has_none_of_its_kind(tmp_path: Path) -> None:
    with Sandbox(settle_seconds=0) as sandbox:
        folder = project(tmp_path / "repo", sandbox)
        assert run(folder, "apply", "--auto-approve", env=KEYS).code == 0
        rewrite(folder, {"channels": {"side": {}}})
        planned = run(folder, "plan", "--format", "json", env=KEYS).json["targets"][0]
        assert {orphan["address"] for orphan in planned["orphans"]} == {
            "channel/main",
            "playback-restriction-policy/eu",
            "recording-configuration/archive",
        }
        shutil.rmtree(folder / ".ivs-reconciler")
        planned = run(folder, "plan", "--format", "json", env=KEYS).json["targets"][0]
        assert {orphan["address"] for orphan in planned["orphans"]} == {"channel/main"}
        drift = run(folder, "drift", "--format", "json", env=KEYS)
        assert "recording-configuration/archive" in drift.out
