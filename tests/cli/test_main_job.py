"""The main job, through the command line as a process: plan, apply, an empty plan, drift, repair."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.support import arn_of, outside, rewrite, run, stack

SPEC: dict[str, object] = {
    "channels": {"main-stage": {"latencyMode": "LOW", "streamKey": {}, "tags": {"event": "keynote"}}, "side": {}}
}


@pytest.fixture
def applied(tmp_path: Path) -> Path:
    folder = stack(tmp_path / "repo", SPEC)
    assert run(folder, "apply", "--auto-approve").code == 0
    return folder


def test_from_an_empty_account_through_drift_to_a_repaired_one(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", SPEC)
    plan = run(folder, "plan", "--detailed-exitcode")
    assert plan.code == 2
    assert "channel/main-stage will be created" in plan.out
    assert run(folder, "apply", "--auto-approve").code == 0
    assert run(folder, "plan", "--detailed-exitcode").code == 0
    with outside(folder) as (ivs, _):
        ivs.update_channel(arn=arn_of(ivs, "main-stage"), latencyMode="NORMAL")
    drift = run(folder, "drift")
    assert drift.code == 2
    assert "channel/main-stage" in drift.out
    assert "latencyMode" in drift.out
    assert run(folder, "apply", "--auto-approve").code == 0
    assert run(folder, "drift").code == 0


def test_the_key_created_with_a_channel_is_adopted_and_never_created_twice(applied: Path) -> None:
    with outside(applied) as (ivs, sandbox):
        (key,) = ivs.list_stream_keys(channelArn=arn_of(ivs, "main-stage"), maxResults=50)["streamKeys"]
        assert key["tags"]["ivs-reconciler:id"] == "main-stage"
        (untouched,) = ivs.list_stream_keys(channelArn=arn_of(ivs, "side"), maxResults=50)["streamKeys"]
        assert untouched["tags"] == {}
        assert not [call for call in sandbox.control.calls(limit=1000) if call["operation"] == "CreateStreamKey"]


def test_a_changed_spec_that_is_not_applied_is_pending_and_not_drift(applied: Path) -> None:
    rewrite(
        applied,
        {
            "channels": {
                "main-stage": {"latencyMode": "NORMAL", "streamKey": {}, "tags": {"event": "keynote"}},
                "side": {},
            }
        },
    )
    drift = run(applied, "drift")
    assert drift.code == 5
    assert "main-stage" in drift.out


def test_orphaned_resources_stay_until_prune_is_enabled(applied: Path) -> None:
    rewrite(applied, {"channels": {"main-stage": {"streamKey": {}, "tags": {"event": "keynote"}}}})
    plan = run(applied, "plan")
    assert plan.code == 0
    assert "channel/side" in plan.out
    assert "prune is disabled" in plan.out
    refused = run(applied, "apply", "--prune", "--auto-approve")
    assert refused.code == 3
    assert "--allow-deletes 1" in refused.err
    with outside(applied) as (ivs, _):
        assert len(ivs.list_channels()["channels"]) == 2
    assert run(applied, "apply", "--prune", "--allow-deletes", "1", "--auto-approve").code == 0
    with outside(applied) as (ivs, _):
        assert [channel["name"] for channel in ivs.list_channels()["channels"]] == ["main-stage"]
    assert run(applied, "plan", "--prune", "--detailed-exitcode").code == 0


def test_an_empty_spec_is_refused_for_a_stack_that_has_resources(applied: Path) -> None:
    rewrite(applied, {"channels": {}})
    with outside(applied) as (ivs, _):
        ivs.create_channel(name="nobodys")
    for words in (("plan",), ("plan", "--prune"), ("apply", "--prune", "--auto-approve", "--allow-deletes", "10")):
        refused = run(applied, *words)
        assert refused.code == 3, words
        assert "--allow-empty" in refused.err
    assert run(applied, "apply", "--prune", "--auto-approve", "--allow-deletes", "10", "--allow-empty").code == 0
    with outside(applied) as (ivs, _):
        assert [channel["name"] for channel in ivs.list_channels()["channels"]] == ["nobodys"]


def test_a_protected_channel_outlives_its_yaml(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"precious": {"protect": True}, "other": {}}})
    assert run(folder, "apply", "--auto-approve").code == 0
    rewrite(folder, {"channels": {"other": {}}})
    plan = run(folder, "plan", "--prune", "--allow-deletes", "5")
    assert "blocked (protected): channel/precious is protected; restore it in the spec" in plan.out
    assert run(folder, "apply", "--prune", "--allow-deletes", "5", "--auto-approve").code == 3
    with outside(folder) as (ivs, _):
        assert arn_of(ivs, "precious")


def test_a_live_channel_is_not_changed_and_is_named(applied: Path) -> None:
    rewrite(
        applied,
        {
            "channels": {
                "main-stage": {"latencyMode": "NORMAL", "streamKey": {}, "tags": {"event": "keynote"}},
                "side": {"latencyMode": "NORMAL"},
            }
        },
    )
    with outside(applied) as (ivs, sandbox):
        sandbox.control.go_live(arn_of(ivs, "main-stage"), viewers=1204)
    plan = run(applied, "plan")
    assert "1,204 viewers" in plan.out
    assert "live" in plan.out
    result = run(applied, "apply", "--auto-approve")
    assert result.code == 4
    with outside(applied) as (ivs, _):
        modes = {channel["name"]: channel["latencyMode"] for channel in ivs.list_channels()["channels"]}
    assert modes == {"main-stage": "LOW", "side": "NORMAL"}


def test_another_stack_and_unowned_resources_are_never_touched(tmp_path: Path) -> None:
    mine = stack(tmp_path / "mine", SPEC, target={"sandbox": str(tmp_path / "shared.db")})
    theirs = stack(tmp_path / "theirs", SPEC, target={"sandbox": str(tmp_path / "shared.db")}, stack="other-stack")
    assert run(theirs, "--allow-path", str(tmp_path), "apply", "--auto-approve").code == 0
    with outside(tmp_path, "shared.db") as (ivs, _):
        ivs.create_channel(name="main-stage", tags={"owner": "nobody"})
        before = ivs.list_channels()["channels"]
    assert run(mine, "--allow-path", str(tmp_path), "apply", "--auto-approve", "--create-beside", "*").code == 0
    assert run(mine, "--allow-path", str(tmp_path), "plan", "--detailed-exitcode").code == 0
    with outside(tmp_path, "shared.db") as (ivs, _):
        after = {channel["arn"]: channel for channel in ivs.list_channels()["channels"]}
    assert all(after[channel["arn"]] == channel for channel in before)
    assert len(after) == len(before) + 2


def test_an_unowned_channel_is_adopted_only_with_consent(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"main-stage": {"latencyMode": "NORMAL"}}})
    (folder / ".sandbox").mkdir()
    with outside(folder) as (ivs, _):
        arn = ivs.create_channel(name="main-stage", tags={"by": "hand"})["channel"]["arn"]
    assert "1 blocked" in run(folder, "plan").out
    blocked = run(folder, "plan", "--adopt").out
    assert "differs in latencyMode, tags.by; write the live values into the spec" in blocked
    assert "1 blocked" in blocked
    assert "1 to adopt" in run(folder, "plan", "--adopt-with-changes", "--out", "p.json").out
    assert run(folder, "apply", "p.json", "--adopt-with-changes", "--auto-approve").code == 1
    assert run(folder, "apply", "p.json", "--auto-approve").code == 0
    assert run(folder, "plan", "--detailed-exitcode").code == 0
    with outside(folder) as (ivs, _):
        (channel,) = ivs.list_channels()["channels"]
    assert channel["arn"] == arn
    assert channel["latencyMode"] == "NORMAL"


def test_the_wrong_account_is_refused_before_any_ivs_call(tmp_path: Path) -> None:
    from reconciler.sandbox import Sandbox

    with Sandbox() as sandbox:
        folder = stack(tmp_path / "repo", SPEC)
        (folder / "ivs-reconciler.yaml").write_text(
            f'stack: s\ntargets:\n  dev: {{region: us-west-2, accountId: "999999999999", endpointUrl: "{sandbox.endpoint_url}"}}\n',
            encoding="utf-8",
        )
        refused = run(folder, "plan", env={"AWS_ACCESS_KEY_ID": "123456789012", "AWS_SECRET_ACCESS_KEY": "x"})
        assert refused.code == 1
        assert "123456789012" in refused.err
        assert "999999999999" in refused.err
        assert not [call for call in sandbox.control.calls(limit=100) if call["operation"].startswith("List")]


def test_apply_without_a_terminal_and_without_consent_is_refused(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", SPEC)
    refused = run(folder, "apply", stdin="yes\n")
    assert refused.code == 3
    assert "--auto-approve" in refused.err
    assert run(folder, "apply", "--format", "json").code == 3


def test_the_events_of_an_apply_are_json_lines_that_begin_with_a_version(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", SPEC)
    done = run(folder, "apply", "--auto-approve", "--format", "json")
    assert done.code == 0
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert lines[0]["type"] == "version"
    assert lines[0]["formatVersion"] == "1.0"
    assert lines[1]["type"] == "plan"
    assert lines[-1]["type"] == "result"
    assert lines[-1]["complete"] is True


def test_drift_can_be_read_in_every_view(applied: Path) -> None:
    with outside(applied) as (ivs, _):
        ivs.update_channel(arn=arn_of(ivs, "main-stage"), latencyMode="NORMAL")
    for view, expected in (("json", '"status": "drift"'), ("markdown", "latencyMode"), ("html", "<!doctype html>")):
        shown = run(applied, "drift", "--format", view)
        assert shown.code == 2
        assert expected.lower() in shown.out.lower()


def test_a_wrong_call_ends_with_one_and_never_with_the_code_for_differences(tmp_path: Path) -> None:
    for words in (("plan", "--nonsense"), ("nonsense",), ("show",), ("plan", "--allow-deletes", "-1")):
        assert run(tmp_path, *words).code == 1, words


def test_options_may_stand_before_and_after_the_verb(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", SPEC)
    assert run(tmp_path, "-C", str(folder), "validate").code == 0
    assert run(tmp_path, "validate", "-C", str(folder), "-t", "dev").code == 0
    unknown = run(tmp_path, "-C", str(folder), "-t", "moon", "validate")
    assert unknown.code == 1
    assert "'moon'" in unknown.err
