"""A recording configuration that was replaced and that channels of other owners still use: kept, visible, and never a failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.main import main
from reconciler.sandbox import Sandbox
from tests.cli.support import ACCOUNT, Ran, client, rewrite, stack
from tests.schemas import validator

ENV = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "any", "AWS_EC2_METADATA_DISABLED": "true"}
BUCKET = {"destinationConfiguration": {"s3": {"bucketName": "acme-vod"}}}


def spec(**fields: object) -> dict[str, Any]:
    return {
        "recordingConfigurations": {"archive": {**BUCKET, **fields}},
        "channels": {"main": {"recordingConfiguration": "archive"}},
    }


def test_a_replaced_configuration_that_others_use_is_kept_until_they_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    with Sandbox() as sandbox:
        ivs = client(sandbox.endpoint_url)
        folder = stack(tmp_path / "repo", spec(), target={"endpointUrl": sandbox.endpoint_url, "sandbox": None})

        first, second = (str(tmp_path / name) for name in ("first.json", "second.json"))

        def cli(*words: str, code: int = 0) -> Any:
            capsys.readouterr()
            assert main(["-C", str(folder), *words]) == code, capsys.readouterr()
            return Ran(code, *capsys.readouterr())

        cli("apply", "--auto-approve")
        (old,) = [one["arn"] for one in ivs.list_recording_configurations()["recordingConfigurations"]]
        events = [
            ivs.create_channel(name=f"event-{number:02}", recordingConfigurationArn=old)["channel"]["arn"]
            for number in range(12)
        ]
        rewrite(folder, spec(recordingReconnectWindowSeconds=60))
        assert "is kept after its replacement" in cli("plan", "--out", first).out
        cli("apply", first, "--auto-approve")
        new = next(
            one["arn"] for one in ivs.list_recording_configurations()["recordingConfigurations"] if one["arn"] != old
        )

        # Every view names it, and nothing is due.
        usage = "in use by 12 channels of no stack"
        text = cli("plan", "--detailed-exitcode").out
        assert f"kept recording-configuration/archive: {usage}" in text
        assert f"{old}, replaced by {new}" in text
        assert "and 2 more" in text
        assert "No changes. dev is in sync (2 resources, 1 kept, 12 unmanaged)." in text
        report = cli("plan", "--format", "json").json
        validator("plan").validate(report)
        (target,) = report["targets"]
        (kept,) = target["kept"]
        assert (target["actions"], target["duplicates"], target["summary"]["blocked"]) == ([], [], 0)
        assert (kept["arn"], kept["replacedBy"], kept["usage"], kept["count"]) == (old, new, usage, 12)
        assert [user["arn"] for user in kept["users"]] == sorted(events)[:10]
        for view in ("markdown", "html"):
            shown = cli("plan", "--format", view).out
            assert old in shown
            assert "12 channels of no stack" in shown
        drift = cli("drift").out
        assert "recording-configuration/archive has a former resource that is kept" in drift
        assert "No drift in dev: 1 kept, 2 in sync, 12 unmanaged." in drift
        report = cli("drift", "--format", "json").json
        validator("drift").validate(report)
        (finding,) = report["targets"][0]["findings"]
        assert (finding["status"], finding["arn"], report["drifted"], report["pending"]) == ("kept", old, False, False)
        for view in ("markdown", "html", "junit"):
            assert "12 channels of no stack" in cli("drift", "--format", view).out or view == "junit"
        assert "Apply" not in cli("apply", "--auto-approve").out

        # Who uses it may change while a plan is under review.
        rewrite(folder, {**spec(recordingReconnectWindowSeconds=60), "playbackRestrictionPolicies": {"eu": {}}})
        cli("plan", "--out", second)
        assert usage in cli("show", second).out
        ivs.delete_channel(arn=events.pop())
        cli("apply", second, "--auto-approve")

        # The next replacement leaves the first one and the second one where they are, if both are used.
        ivs.update_channel(arn=events[0], recordingConfigurationArn=new)
        rewrite(folder, spec(recordingReconnectWindowSeconds=90))
        cli("apply", "--auto-approve", "--prune", "--allow-deletes", "1")
        (target,) = cli("plan", "--format", "json").json["targets"]
        assert {one["arn"]: one["count"] for one in target["kept"]} == {old: 10, new: 1}
        assert target["actions"] == []

        # When they have left, both are cleaned up as leftovers of a replacement.
        for arn in events:
            ivs.update_channel(arn=arn, recordingConfigurationArn="")
        assert "2 to delete" in cli("plan", "--detailed-exitcode", code=2).out
        assert "No drift, changes pending" in cli("drift", code=5).out
        cli("apply", "--auto-approve")
        cli("plan", "--detailed-exitcode")
        assert len(ivs.list_recording_configurations()["recordingConfigurations"]) == 1
