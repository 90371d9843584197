"""Nothing is created beside an unmanaged resource of the same kind and name, or in place of one that lost its owner tags."""

from __future__ import annotations

import shutil
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.cli.support import arn_of, outside, rewrite, run, stack

SPEC: dict[str, object] = {"channels": {"a": {}, "b": {"streamKey": {}}}, "playbackRestrictionPolicies": {"p": {}}}


def names(folder: Path) -> list[str]:
    with outside(folder) as (ivs, _):
        return sorted(channel["name"] for channel in ivs.list_channels()["channels"])


def test_a_renamed_stack_creates_nothing_beside_its_old_resources(tmp_path: Path) -> None:
    folder = stack(tmp_path, SPEC)
    assert run(folder, "apply", "--auto-approve").code == 0
    stack(tmp_path, {**SPEC, "channels": {"a": {}, "b": {"streamKey": {}}, "c": {}}}, stack="renamed")
    plan = run(folder, "plan")
    assert plan.code == 0
    assert plan.out.count("of stack acme-live has this name: arn:") >= 3
    assert "--create-beside channel/a" in plan.out
    assert run(folder, "apply", "--auto-approve").code == 4
    assert names(folder) == ["a", "b", "c"]


def test_create_beside_creates_what_it_names_and_travels_in_the_saved_plan(tmp_path: Path) -> None:
    folder = stack(tmp_path, SPEC)
    assert run(folder, "apply", "--auto-approve").code == 0
    stack(tmp_path, SPEC, stack="second")
    assert run(folder, "plan", "--create-beside", "*", "--out", "p.json").code == 0
    assert "--create-beside *" in run(folder, "show", "p.json").out
    assert run(folder, "apply", "p.json", "--auto-approve").code == 0
    assert names(folder) == ["a", "a", "b", "b"]
    assert run(folder, "plan", "--detailed-exitcode").code == 0


def pem() -> str:
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_nothing_is_created_beside_an_unowned_resource(tmp_path: Path) -> None:
    key = pem()
    spec: dict[str, object] = {
        "channels": {"one": {}, "two": {}, "bare": {"name": ""}, "free": {}},
        "playbackKeyPairs": {"web": {"publicKeyMaterial": key, "name": "old"}},
    }
    folder = stack(tmp_path, spec)
    with outside(folder) as (ivs, _):
        one = ivs.create_channel(name="one", latencyMode="NORMAL")["channel"]["arn"]
        twins = [ivs.create_channel(name="two", tags={"env": env})["channel"]["arn"] for env in ("a", "b")]
        bare = ivs.create_channel()["channel"]["arn"]
        pair = ivs.import_playback_key_pair(name="old", publicKeyMaterial=key)["keyPair"]["arn"]
    plan = run(folder, "plan")
    assert plan.code == 0
    assert all(arn in plan.out for arn in (one, *twins, bare, pair))
    assert "tag env=a" in plan.out
    assert "--create-beside channel/one" in plan.out
    assert "1 to create, 4 blocked" in plan.out
    for view in ("markdown", "html", "json"):
        assert one in run(folder, "plan", "--format", view).out
    drift = run(folder, "drift")
    assert drift.code == 5
    assert all(arn in drift.out for arn in (one, bare, pair))
    assert all(f"{arn} (tag env=" in drift.out for arn in twins)
    # Apply runs the rest; when all is blocked, it is refused.
    assert run(folder, "apply", "--auto-approve").code == 4
    assert names(folder) == ["", "free", "one", "two", "two"]
    refused = run(folder, "apply", "--auto-approve")
    assert refused.code == 3
    assert "Nothing was changed" in refused.err
    # One is adopted by name, one without a name, one by its public key; the twins stay blocked, until they are asked for.
    assert run(folder, "apply", "--adopt-with-changes", "--auto-approve").code == 4
    assert names(folder) == ["", "free", "one", "two", "two"]
    saved = run(folder, "plan", "--create-beside", "channel/two", "--out", "p.json")
    assert "1 to create, 4 unchanged" in saved.out
    assert run(folder, "apply", "p.json", "--auto-approve").code == 0
    assert names(folder) == ["", "free", "one", "two", "two", "two"]
    assert run(folder, "plan", "--detailed-exitcode").code == 0


def test_lost_owner_tags_are_restored_by_adopt_and_lead_to_no_create(tmp_path: Path) -> None:
    spec: dict[str, object] = {
        "recordingConfigurations": {"r": {"destinationConfiguration": {"s3": {"bucketName": "vod"}}}},
        "channels": {"a": {"streamKey": {}, "recordingConfiguration": "r"}, "b": {}},
    }
    folder = stack(tmp_path, spec)
    assert run(folder, "apply", "--auto-approve").code == 0
    with outside(folder) as (ivs, _):
        channel = arn_of(ivs, "a")
        (recording,) = (one["arn"] for one in ivs.list_recording_configurations()["recordingConfigurations"])
        for arn in (channel, recording):
            own = ivs.list_tags_for_resource(resourceArn=arn)["tags"]
            ivs.untag_resource(resourceArn=arn, tagKeys=list(own))
        ivs.update_channel(arn=channel, name="renamed")
    # An apply of something else in between keeps the record of both.
    rewrite(folder, {**spec, "channels": {**dict(spec["channels"]), "c": {}}})  # type: ignore[call-overload]
    assert run(folder, "apply", "--auto-approve").code == 4
    plan = run(folder, "plan")
    assert f"{channel} lost its owner tags since the last apply" in plan.out
    assert "--adopt" in plan.out
    assert "to create" not in plan.out
    drift = run(folder, "drift")
    assert drift.code == 2
    assert "channel/a has lost its owner tags" in drift.out
    assert channel in drift.out
    assert "2 without owner tags" in drift.out
    found = {
        one["address"]: one["status"] for one in run(folder, "drift", "--format", "json").json["targets"][0]["findings"]
    }
    assert found == {"channel/a": "untagged", "recording-configuration/r": "untagged"}
    assert "channel/a" in run(folder, "drift", "--format", "markdown").out
    assert channel in run(folder, "drift", "--format", "html").out
    assert "has lost its owner tags" in run(folder, "drift", "--format", "junit").out
    assert run(folder, "apply", "--auto-approve").code == 3
    assert run(folder, "plan", "--adopt", "--out", "p.json").code == 0
    assert run(folder, "apply", "p.json", "--auto-approve").code == 0
    assert names(folder) == ["a", "b", "c"]
    assert run(folder, "drift").code == 0
    assert run(folder, "plan", "--detailed-exitcode").code == 0


def test_a_channel_of_ours_without_an_id_is_adopted_with_its_stream_key(tmp_path: Path) -> None:
    folder = stack(tmp_path, {"channels": {"a": {"streamKey": {}}}})
    assert run(folder, "apply", "--auto-approve").code == 0
    shutil.rmtree(folder / ".ivs-reconciler")
    with outside(folder) as (ivs, _):
        ivs.untag_resource(resourceArn=arn_of(ivs, "a"), tagKeys=["ivs-reconciler:id"])
    assert run(folder, "apply", "--auto-approve").code == 3
    assert run(folder, "plan", "--adopt", "--detailed-exitcode").out.count("will be created") == 0
    assert run(folder, "apply", "--adopt", "--auto-approve").code == 0
    assert names(folder) == ["a"]
    assert run(folder, "plan", "--detailed-exitcode").code == 0


def test_adopt_prefers_what_lost_its_owner_tags_to_another_resource_of_that_name(tmp_path: Path) -> None:
    folder = stack(tmp_path, {"channels": {"a": {}, "b": {}}})
    assert run(folder, "apply", "--auto-approve").code == 0
    with outside(folder) as (ivs, _):
        ours = arn_of(ivs, "a")
        ivs.untag_resource(resourceArn=ours, tagKeys=["ivs-reconciler:stack", "ivs-reconciler:id"])
        ivs.update_channel(arn=ours, name="renamed")
        other = ivs.create_channel(name="a")["channel"]["arn"]
        ivs.untag_resource(resourceArn=arn_of(ivs, "b"), tagKeys=["ivs-reconciler:id"])
        ivs.tag_resource(resourceArn=arn_of(ivs, "b"), tags={"ivs-reconciler:stack": ""})
    plan = run(folder, "plan", "--adopt")
    assert plan.code == 0
    assert (plan.out.count("lost its owner tags"), ours in plan.out) == (2, True), plan.out
    assert run(folder, "apply", "--adopt", "--auto-approve").code == 0
    with outside(folder) as (ivs, _):
        assert not ivs.list_tags_for_resource(resourceArn=other)["tags"]
    assert run(folder, "plan", "--detailed-exitcode").code == 0
