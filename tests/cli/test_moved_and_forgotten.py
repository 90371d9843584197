"""``moved`` and ``forget`` in a spec: plans, saved plans, drift, comparisons and applies, each followed by an empty plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reconciler.sandbox import Sandbox
from tests.cli.support import ACCOUNT, REGION, Ran, outside, rewrite, run, stack
from tests.controller.git import commit, repository
from tests.schemas import validator

RECORDING = {"name": "vod", "destinationConfiguration": {"s3": {"bucketName": "vod"}}}
BEFORE: dict[str, object] = {
    "recordingConfigurations": {"vod": RECORDING},
    "channels": {
        "studio": {"name": "Main", "recordingConfiguration": "vod", "streamKey": {}, "protect": True},
        "pool": {"forEach": ["a", "b"], "name": "pool_{each}"},
        "left": {"streamKey": {}, "protect": True, "tags": {"event": "keynote"}},
    },
}
AFTER: dict[str, object] = {
    "moved": {
        "channel/studio": "channel/main",
        "recording-configuration/vod": "recording-configuration/archive",
        "channel/pool-a": "channel/prd-a",
        "channel/pool-b": "channel/prd-b",
    },
    "forget": ["channel/left"],
    "recordingConfigurations": {"archive": RECORDING},
    "channels": {
        "main": {"name": "Main", "recordingConfiguration": "archive", "streamKey": {}, "protect": True},
        "prd": {"forEach": ["a", "b"], "name": "pool_{each}"},
    },
}
OURS = "ivs-reconciler:"
KEYS = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "any"}


def everything(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what is live, by ARN, with its tags."""
    with outside(folder) as (ivs, _):
        channels = ivs.list_channels()["channels"]
        found = {one["arn"]: ivs.get_channel(arn=one["arn"])["channel"] for one in channels}
        for one in channels:
            for key in ivs.list_stream_keys(channelArn=one["arn"])["streamKeys"]:
                found[key["arn"]] = key
        recordings = ivs.list_recording_configurations()["recordingConfigurations"]
        return found | {one["arn"]: one for one in recordings}


def user_tags(one: dict[str, Any]) -> dict[str, str]:
    return {key: value for key, value in one.get("tags", {}).items() if not key.startswith(OURS)}


def actions(ran: Ran) -> list[str]:
    (target,) = ran.json["targets"]
    return [f"{one['action']} {one['address']} {one['reason']}" for one in target["actions"]]


def test_addresses_are_renamed_and_forgotten_by_their_tags_alone(tmp_path: Path) -> None:
    folder = stack(repository(tmp_path / "repo"), BEFORE)
    (folder / ".gitignore").write_text(".sandbox/\n.ivs-reconciler/\n*.json\n", encoding="utf-8")
    commit(folder, tag="base")
    assert run(folder, "apply", "--auto-approve").code == 0
    before = everything(folder)
    rewrite(folder, AFTER)
    commit(folder, tag="head")
    expected = [
        "update recording-configuration/archive moved",
        "forget channel/left forgotten",
        "update channel/main moved",
        "update channel/prd-a moved",
        "update channel/prd-b moved",
        "forget stream-key/left forgotten",
        "update stream-key/main moved",
    ]
    assert sorted(actions(run(folder, "diff", "base..head", "--format", "json"))) == sorted(expected)
    saved = run(folder, "plan", "--prune", "--out", "p.json", "--format", "json", "--detailed-exitcode")
    assert (saved.code, sorted(actions(saved))) == (2, sorted(expected))
    validator("plan").validate(saved.json)
    shown = run(folder, "show", "p.json").out
    assert "moved from channel/studio" in shown
    assert "will no longer be managed; the resource is kept" in shown
    assert "it is protected: forgetting does not delete it" in shown
    assert "2 to forget" in shown
    comment = run(folder, "comment", "--dry-run", "--plan", "p.json")
    assert comment.code == 0, comment.err
    for words in ("moved from `channel/studio`", "channel/left", "2 to forget"):
        assert words in comment.out, words
    drift = run(folder, "drift", "--format", "json")
    assert drift.code == 5
    (found,) = drift.json["targets"]
    assert {one["status"] for one in found["findings"]} == {"pending"}
    # The URL of what is moved is known under the new address before the apply.
    urls = {one["arn"]: one["playbackUrl"] for one in before.values() if "playbackUrl" in one}
    outputs = run(folder, "outputs", "channel/main", "--format", "json").json["targets"][0]["resources"]
    assert outputs["channel/main"]["playbackUrl"] == urls[outputs["channel/main"]["arn"]]
    events = run(folder, "apply", "p.json", "--auto-approve", "--format", "json")
    assert events.code == 0, events.err
    lines = [json.loads(line) for line in events.out.splitlines()]
    done = [one for one in lines if one["type"] == "action_finished" and one["action"] == "forget"]
    assert [(one["address"], one["outcome"]) for one in done] == [("stream-key/left", "done"), ("channel/left", "done")]
    after = everything(folder)
    assert before.keys() == after.keys()
    for arn, one in before.items():
        assert {**one, "tags": user_tags(one)} == {**after[arn], "tags": user_tags(after[arn])}
    left = {arn for arn, one in after.items() if not any(key.startswith(OURS) for key in one["tags"])}
    channel = next(one["arn"] for one in before.values() if one.get("name") == "left")
    keys = {arn for arn, one in before.items() if one.get("channelArn") == channel}
    assert {arn for arn in left if before[arn]["tags"] != after[arn]["tags"]} == {channel, *keys}
    # The lines stay, and nothing is left to do, with prune too; what was forgotten is unmanaged.
    for flags in ((), ("--prune",)):
        again = run(folder, "plan", "--detailed-exitcode", *flags)
        assert again.code == 0, again.out
        assert "1 unmanaged" in again.out
    assert run(folder, "drift").code == 0
    assert run(folder, "apply", "p.json", "--auto-approve").code == 3
    # Without the lines as well.
    rewrite(folder, {name: AFTER[name] for name in ("recordingConfigurations", "channels")})
    assert run(folder, "plan", "--prune", "--detailed-exitcode").code == 0
    # What is written again is not made a second time.
    rewrite(folder, {**AFTER, "forget": [], "channels": {**AFTER["channels"], "left": {}}})  # type: ignore[dict-item]
    assert "an unmanaged channel has this name" in run(folder, "plan").out


def test_a_saved_plan_of_a_move_is_refused_once_its_line_is_gone(tmp_path: Path) -> None:
    folder = stack(tmp_path, {"channels": {"old": {"name": "x"}, "gone": {}}})
    assert run(folder, "apply", "--auto-approve").code == 0
    spec: dict[str, object] = {"channels": {"new": {"name": "x"}}}
    forget = ["channel/gone", "recording-configuration/none"]
    rewrite(folder, {"moved": {"channel/old": "channel/new"}, "forget": forget, **spec})
    # What is forgotten is read and untagged, also of a kind that the spec has no more.
    statements = {one["Sid"]: one for one in run(folder, "iam-policy", "apply").json["Statement"]}
    assert {"ivs:ListRecordingConfigurations", "ivs:ListStreamKeys"} <= set(statements["Read"]["Action"])
    assert "ivs:UntagResource" in statements["Tag"]["Action"]
    assert any("recording-configuration/" in arn for arn in statements["Tag"]["Resource"])
    assert not any("recording-configuration/" in arn for arn in statements["Create"]["Resource"])
    assert run(folder, "plan", "--out", "p.json").code == 0
    rewrite(folder, spec)
    refused = run(folder, "apply", "p.json", "--auto-approve")
    assert refused.code == 3
    assert "channel/new: update of" in refused.err
    assert "channel/gone: forget of" in refused.err
    # Without the line the new address is not made beside the old one, nor does prune delete that.
    for flags in ((), ("--prune", "--allow-deletes", "9")):
        for view in ("text", "markdown", "json"):
            shown = run(folder, "plan", "--format", view, *flags)
            assert "moved: {channel/old: channel/new}" in shown.out.replace("\\", "").replace("&#58;", ":"), view
        assert "1 to create" not in shown.out
    assert run(folder, "apply", "--auto-approve").code == 3
    with outside(folder) as (ivs, _):
        assert len(ivs.list_channels()["channels"]) == 2


def test_both_addresses_live_is_blocked_until_the_line_is_removed(tmp_path: Path) -> None:
    folder = stack(tmp_path, {"channels": {"old": {}, "new": {}}})
    assert run(folder, "apply", "--auto-approve").code == 0
    rewrite(folder, {"moved": {"channel/old": "channel/new"}, "channels": {"new": {}}})
    plan = run(folder, "plan", "--prune")
    assert "blocked (moved): channel/new exists" in plan.out
    assert "to delete" not in plan.out
    assert run(folder, "apply", "--auto-approve", "--prune").code == 3
    assert run(folder, "drift").code == 5
    rewrite(folder, {"channels": {"new": {}}})
    assert "1 orphaned" in run(folder, "plan").out


def test_the_verb_forgets_what_the_spec_no_longer_has_and_nothing_else(tmp_path: Path) -> None:
    spec: dict[str, object] = {
        "channels": {
            "main": {},
            "lobby": {"streamKey": {}, "protect": True},
            "pool": {"count": 3},
            "old": {"name": "x"},
        },
        "playbackRestrictionPolicies": {"eu": {"allowedCountries": ["DE"]}},
    }
    folder = stack(tmp_path, spec)
    assert run(folder, "apply", "--auto-approve").code == 0
    before = everything(folder)
    # What the spec has is refused, and what nobody manages is named, with the nearest that is.
    refused = run(folder, "forget", "channel/main", "--auto-approve")
    assert refused.code == 3
    assert "channel/main: is in the spec of target dev" in refused.err
    rewrite(
        folder,
        {
            "channels": {"main": {"latencyMode": "NORMAL"}, "new": {"name": "x"}},
            "moved": {"channel/old": "channel/new"},
        },
    )
    for word, said in (
        ("channel/loby", "did you mean channel/lobby?"),
        ("channel/stage-*", "no resource of this stack has this address"),
        ("lobby", "kind/id"),
        ("chanel/lobby", "is not a kind"),
        ("playback-key-pair/*", "no resource of this stack has this address"),
    ):
        unknown = run(folder, "forget", word, "channel/lobby", "--auto-approve")
        assert (unknown.code, said in unknown.err) == (1, True), (word, unknown.err)
    moved = run(folder, "forget", "channel/old", "--auto-approve")
    assert (moved.code, "channel/old: is moved in the spec of target dev" in moved.err) == (3, True)
    assert run(folder, "forget", "channel/lobby").code == 3
    assert everything(folder) == before
    ran = run(folder, "forget", "channel/lobby", "--auto-approve")
    assert ran.code == 0, ran.err
    assert "it is protected: forgetting does not delete it" in ran.out
    assert "2 to forget" in ran.out
    assert "other actions are due; run plan for them" in ran.out
    # Globs take what the spec does not have; events are as those of an apply.
    ran = run(folder, "forget", "channel/*", "playback-restriction-policy/eu", "--auto-approve", "--format", "json")
    assert ran.code == 0, ran.err
    lines = [json.loads(line) for line in ran.out.splitlines()]
    done = [f"{one['action']} {one['address']}" for one in lines if one["type"] == "action_finished"]
    assert sorted(done) == [
        *(f"forget channel/pool-{index}" for index in range(3)),
        "forget playback-restriction-policy/eu",
    ]
    after = everything(folder)
    assert before.keys() == after.keys()
    for arn, one in before.items():
        assert {**one, "tags": user_tags(one)} == {**after[arn], "tags": user_tags(after[arn])}
    managed = {one["name"] for one in after.values() if f"{OURS}stack" in one["tags"] and "name" in one}
    assert managed == {"main", "x"}
    plan = run(folder, "plan", "--prune")
    assert "2 to update, 5 unmanaged" in plan.out
    assert run(folder, "apply", "--auto-approve").code == 0
    assert run(folder, "plan", "--prune", "--detailed-exitcode").code == 0
    again = run(folder, "forget", "channel/lobby", "--auto-approve")
    assert (again.code, "no resource of this stack has this address" in again.err) == (1, True)
    # The last one goes too, with an empty spec.
    rewrite(folder, {"channels": {}})
    assert run(folder, "forget", "channel/main", "channel/new", "--auto-approve").code == 0
    assert run(folder, "plan", "--detailed-exitcode").code == 0


def test_the_verb_forgets_in_the_targets_that_can_be_read(tmp_path: Path) -> None:
    """Each target owns its resources by itself, and forgetting twice changes nothing, so the same command completes it."""
    with Sandbox() as sandbox:
        there = {"endpointUrl": sandbox.endpoint_url, "accountId": ACCOUNT}
        near, far = {**there, "region": REGION}, {**there, "region": "eu-west-1"}
        targets = {"far": far, "near": near}
        folder = stack(tmp_path, {"channels": {"main": {}, "lobby": {}, "pool": {"count": 2}}}, targets=targets)
        assert run(folder, "apply", "--auto-approve", env=KEYS).code == 0
        stack(folder, {"channels": {"main": {}}}, targets={**targets, "far": {**far, "accountId": "210987654321"}})

        unknown = run(folder, "forget", "channel/lobby", "channel/none", "--auto-approve", env=KEYS)
        assert unknown.code == 1
        assert "channel/none: unknown whether it is managed: far could not be read (" in unknown.err
        for words in (("channel/lobby",), ("channel/pool-*",)):
            ran = run(folder, "forget", *words, "--auto-approve", env=KEYS)
            assert ran.code == 4, ran.err
            assert "Plan for near: " in ran.out
            assert "error: far: " in ran.err
            assert "1 target could not be read and will not be changed." in ran.err
        # Nothing is left in the one, and what the other has is unknown.
        assert run(folder, "forget", "channel/lobby", "--auto-approve", env=KEYS).code == 1
        assert run(folder, "forget", "channel/lobby", "-t", "far", "--auto-approve", env=KEYS).code == 1

        stack(folder, {"channels": {"main": {}}}, targets=targets)
        rest = run(folder, "forget", "channel/lobby", "channel/pool-*", "--auto-approve", env=KEYS)
        assert (rest.code, "Plan for near" in rest.out) == (0, False), rest.err
        assert run(folder, "plan", "--prune", "--detailed-exitcode", env=KEYS).code == 0


def test_the_verb_forgets_nothing_while_git_misses_a_spec_file(tmp_path: Path) -> None:
    folder = stack(tmp_path, {"channels": {"main": {}, "side": {}}})
    rewrite(folder, {"channels": {"other": {}}}, "other.yaml")
    assert run(folder, "apply", "--auto-approve").code == 0
    repository(folder)
    commit(folder, "specs")
    before = everything(folder)
    (folder / "specs" / "live.yaml").unlink()
    refused = run(folder, "forget", "channel/*", "--auto-approve")
    assert refused.code == 3
    assert refused.out.count("blocked (incomplete-spec): its spec may be in a file that was not read") == 2, refused.out
    assert "specs/live.yaml is tracked by git and missing" in refused.out
    assert everything(folder) == before
