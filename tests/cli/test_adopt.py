"""Adoption by ARN: ``--adopt-file``, and the verb ``adopt``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.cli.main import main
from reconciler.sandbox import Sandbox
from tests.cli.support import ACCOUNT, REGION, Ran, arn_of, client, outside, rewrite, run, stack

KEYS = Path(__file__).parent.parent / "scenarios" / "keys"
NAMES = ("", "-", "dup", "main_stage", "0")
TYPES: tuple[dict[str, object], ...] = (
    {},
    {"type": "STANDARD", "latencyMode": "LOW"},
    {"type": "BASIC", "latencyMode": "NORMAL", "authorized": True},
    {"type": "ADVANCED_SD"},
    {"type": "ADVANCED_HD", "preset": "CONSTRAINED_BANDWIDTH_DELIVERY", "insecureIngest": True},
    {"type": "STANDARD", "containerFormat": "FRAGMENTED_MP4"},
)


def quick(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> Ran:
    """Run the command line in this process: for many refusals."""
    capsys.readouterr()
    code = main(["-C", str(folder), *words])
    printed = capsys.readouterr()
    return Ran(code, printed.out, printed.err)


def odd_account(ivs: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Make 310 unowned resources of all kinds; return their spec and the adopt file."""
    spec: dict[str, Any] = {}
    adopt: dict[str, str] = {}

    def made(section: str, kind: str, name: str, fields: dict[str, Any], answer: dict[str, Any], **written: Any) -> str:
        identifier = f"r{len(adopt)}"
        tags = {"Команда": "Видео", "n": str(len(adopt))}
        entry = {"name": name, "tags": tags, **fields, **written}
        spec.setdefault(section, {})[identifier] = entry
        adopt[f"{kind}/{identifier}"] = str(
            next(value for name, value in answer.items() if name != "ResponseMetadata")["arn"]
        )
        return identifier

    def tags() -> dict[str, str]:
        return {"Команда": "Видео", "n": str(len(adopt))}

    for number in range(15):
        fields: dict[str, Any] = {"destinationConfiguration": {"s3": {"bucketName": "vod"}}}
        if number % 3:
            fields["recordingReconnectWindowSeconds"] = number
        if number % 3 == 2:
            fields["thumbnailConfiguration"] = {"recordingMode": "DISABLED"}
        name = NAMES[number % 5]
        answer = ivs.create_recording_configuration(name=name, tags=tags(), **fields)
        made("recordingConfigurations", "recording-configuration", name, fields, answer)
    for name, file in (("", "one.pem"), ("dup", "two.pem"), ("dup", "three.pem")):
        text = (KEYS / file).read_text(encoding="utf-8")
        answer = ivs.import_playback_key_pair(name=name, publicKeyMaterial=text, tags=tags())
        made("playbackKeyPairs", "playback-key-pair", name, {"publicKeyMaterial": text}, answer)
    for name in ("", "dup", "dup"):
        fields = {"allowedCountries": ["FR", "DE"]} if name else {}
        answer = ivs.create_playback_restriction_policy(name=name, tags=tags(), **fields)
        made("playbackRestrictionPolicies", "playback-restriction-policy", name, fields, answer)
    for number in range(5):
        arn = f"arn:aws:mediatailor:{REGION}:{ACCOUNT}:playbackConfiguration/main"
        fields = {"mediaTailorPlaybackConfigurations": [{"playbackConfigurationArn": arn}]}
        answer = ivs.create_ad_configuration(name=NAMES[number], tags=tags(), **fields)
        made("adConfigurations", "ad-configuration", NAMES[number], fields, answer)
        fields = {"activationThresholdSeconds": 4} if number % 2 else {}
        answer = ivs.create_failover_slate_configuration(name=NAMES[number], tags=tags(), **fields)
        made("failoverSlateConfigurations", "failover-slate-configuration", NAMES[number], fields, answer)
    for number in range(310 - len(adopt)):
        fields = {**TYPES[number % len(TYPES)]}
        written: dict[str, Any] = {"streamKey": {}} if number % 9 == 0 else {}
        if number % 4 == 0:
            written["recordingConfiguration"] = "r0"
            reference = {"recordingConfigurationArn": adopt["recording-configuration/r0"]}
        else:
            reference = {}
        answer = ivs.create_channel(name=NAMES[number % 5], tags=tags(), **fields, **reference)
        made("channels", "channel", NAMES[number % 5], fields, {"channel": answer["channel"]}, **written)
    return spec, adopt


def test_310_odd_resources_are_adopted_by_arn_without_a_difference(tmp_path: Path) -> None:
    folder = stack(tmp_path, {"channels": {}})
    with Sandbox(db=folder / ".sandbox" / "dev.db", settle_seconds=0) as sandbox:
        spec, adopt = odd_account(client(sandbox.endpoint_url))
    assert len(adopt) == 310
    stack(tmp_path, spec)
    keys = sum("streamKey" in channel for channel in spec["channels"].values())
    (folder / "adopt.yaml").write_text(yaml.safe_dump(adopt), encoding="utf-8")
    (folder / "adopt.json").write_text(json.dumps({"targets": {"dev": adopt}}), encoding="utf-8")
    plan = run(folder, "plan", "--adopt-file", "adopt.json", "--out", "p.json", "--format", "json")
    assert plan.code == 0, plan.err
    (target,) = plan.json["targets"]
    assert {name: count for name, count in target["summary"].items() if count and name != "defaults"} == {
        "adopt": 310 + keys,
        "unmanaged": 310,
    }
    assert len(target["adopt"]) == 310
    changed = {change["path"] for action in target["actions"] for change in action["changes"]}
    assert changed == {f"/tags/ivs-reconciler:{name}" for name in ("stack", "id", "spec")}
    # The same from YAML; nothing was changed yet.
    again = run(folder, "plan", "--adopt-file", "adopt.yaml", "--format", "json")
    assert again.json["targets"] == plan.json["targets"]
    applied = run(folder, "apply", "p.json", "--auto-approve")
    assert applied.code == 0, applied.err + applied.out[-2000:]
    assert run(folder, "plan", "--detailed-exitcode").code == 0
    # The file may stay in use: what is adopted is in sync.
    assert run(folder, "plan", "--adopt-file", "adopt.yaml", "--detailed-exitcode").code == 0


def test_a_saved_plan_of_adoptions_is_stale_once_one_is_gone_or_changed(tmp_path: Path) -> None:
    folder = stack(tmp_path, {"channels": {"a": {}, "b": {"containerFormat": "FRAGMENTED_MP4"}}})
    with outside(folder) as (ivs, _):
        arns = [
            ivs.create_channel(name=name, **fields)["channel"]["arn"]
            for name, fields in (("a", {}), ("b", {"containerFormat": "FRAGMENTED_MP4"}))
        ]
    lines = "".join(f"channel/{name}: {arn}\n" for name, arn in zip("ab", arns, strict=True))
    (folder / "adopt.yaml").write_text(lines, encoding="utf-8")
    assert run(folder, "plan", "--adopt-file", "adopt.yaml", "--out", "p.json").code == 0
    refused = run(folder, "apply", "p.json", "--adopt-file", "adopt.yaml", "--auto-approve")
    assert (refused.code, "--adopt-file cannot change a saved plan" in refused.err) == (1, True), refused.err
    with outside(folder) as (ivs, _):
        ivs.update_channel(arn=arns[1], containerFormat="TS")
    stale = run(folder, "apply", "p.json", "--auto-approve")
    assert (stale.code, "/containerFormat was" in stale.err) == (3, True), stale.err
    with outside(folder) as (ivs, _):
        ivs.delete_channel(arn=arns[1])
    stale = run(folder, "apply", "p.json", "--auto-approve")
    assert stale.code == 3
    assert f"dev: channel/b: channel {arns[1]} does not exist" in stale.err
    assert "Run plan again" in stale.err
    gone = run(folder, "plan", "--adopt-file", "adopt.yaml")
    assert gone.code == 1
    assert f"adopt.yaml:2:12: channel/b: channel {arns[1]} does not exist" in gone.err


def test_all_problems_of_an_adopt_file_are_reported_at_once_with_their_lines(tmp_path: Path) -> None:
    folder = stack(
        tmp_path,
        {
            "channels": {"a": {}, "b": {}, "c": {}, "c2": {}, "d": {}, "e": {"streamKey": {}}},
            "recordingConfigurations": {"vod": {"destinationConfiguration": {"s3": {"bucketName": "vod"}}}},
        },
    )
    here = f"arn:aws:ivs:{REGION}:{ACCOUNT}"
    (folder / "adopt.yaml").write_text(
        f"""\
channel/a: {here}:channel/one
channel/b: {here}:channel/one
channel/c: {here}:recording-configuration/one
channel/c2: arn:aws:ivs:eu-west-1:999999999999:channel/two
channel/ee: {here}:channel/three
stream-key/e: {here}:stream-key/four
channel/e: not-an-arn
recording-configuration/vod: [{here}:recording-configuration/five]
stage/x: {here}:stage/six
nothing: {here}:channel/seven
nothing: {here}:channel/eight
""",
        encoding="utf-8",
    )
    refused = run(folder, "plan", "--adopt-file", "adopt.yaml")
    assert refused.code == 1
    assert refused.out == ""
    expected = {
        2: ("12", "is given for channel/a too"),
        3: ("12", '"ivs:recording-configuration" in the ARN is not a channel'),
        4: ("13", "the ARN is in region"),
        5: ("1", "channel/ee: not in the spec of target dev; did you mean channel/e?"),
        6: ("1", "a stream key is adopted with its channel"),
        7: ("12", '"not-an-arn" is not an ARN; write arn:aws:ivs:us-west-2:123456789012:channel/'),
        8: ("1", "a list is not an ARN"),
        9: ("1", "'stage' is not a kind"),
        11: ("1", 'duplicate key "nothing"'),
    }
    for line, (column, text) in expected.items():
        assert any(
            one.startswith(f"adopt.yaml:{line}:{column}: ") and text in one for one in refused.err.splitlines()
        ), (line, refused.err)
    assert "adopt.yaml:4:13: channel/c2: the ARN is in account" in refused.err
    # What only live state shows has lines as well; apply says the same.
    with outside(folder) as (ivs, _):
        arns = [ivs.create_channel(name=name)["channel"]["arn"] for name in ("x", "y")]
    content = {"channel/a": arns[0], "channel/b": arns[1], "channel/c": f"{here}:channel/nowhere"}
    (folder / "adopt.yaml").write_text(yaml.safe_dump({**content, "channel/b": f"{here}:channel/no"}), encoding="utf-8")
    for verb in (("plan",), ("apply", "--auto-approve")):
        refused = run(folder, *verb, "--adopt-file", "adopt.yaml")
        assert refused.code == 1
        assert [line.partition(": ")[0] for line in refused.err.splitlines() if ": channel " in line] == [
            "adopt.yaml:2:12",
            "adopt.yaml:3:12",
        ]
    only = {"channel/a": arns[0]}
    (folder / "adopt.yaml").write_text(yaml.safe_dump(only), encoding="utf-8")
    assert (
        run(
            folder,
            "apply",
            "--adopt-file",
            "adopt.yaml",
            "--adopt-with-changes",
            "--only",
            "channel/a",
            "--auto-approve",
        ).code
        == 0
    )
    (folder / "adopt.yaml").write_text(
        yaml.safe_dump({"channel/a": arns[1], "channel/b": arns[0], "channel/c": arns[1]}), encoding="utf-8"
    )
    refused = run(folder, "plan", "--adopt-file", "adopt.yaml")
    assert f"adopt.yaml:3:12: channel/c: {arns[1]} is given for channel/a too" in refused.err
    (folder / "adopt.yaml").write_text(yaml.safe_dump({"channel/a": arns[1], "channel/b": arns[0]}), encoding="utf-8")
    refused = run(folder, "plan", "--adopt-file", "adopt.yaml")
    assert f"adopt.yaml:1:12: channel/a: this stack manages {arns[0]} under this address" in refused.err
    assert f"adopt.yaml:2:12: channel/b: this stack manages {arns[0]} as channel/a" in refused.err
    assert "remove channel/a from the spec, and write moved: {channel/a: channel/b} into a spec file" in refused.err


def test_bad_adopt_files_are_refused_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stack(
        tmp_path,
        {"channels": {"a": {}}},
        targets={
            name: {"region": REGION, "accountId": account, "sandbox": f".sandbox/{name}.db"}
            for name, account in (("dev", ACCOUNT), ("prod", "999999999999"))
        },
    )
    arn = f"arn:aws:ivs:{REGION}:{ACCOUNT}:channel/one"
    for content, text in {
        b"\xff\xfe": "adopt.yaml: is UTF-16",
        b"- a\n": "adopt.yaml:1:1: is a list",
        b"text": "adopt.yaml:1:1: is a string",
        b"a: [": "not valid YAML",
        b"a: 1\n---\nb: 2\n": "a second document",
        b"5: x": "key 5 is not a string",
        b"targets: []": "targets is a list",
        b"targets: {prd: {}}": 'no target "prd" in the project file; did you mean "prod"?',
        b"targets: {dev: 5}": "is a number",
        b"targets: {dev: }\nchannel/a: x": "addresses are beside targets",
        f"channel/a: {arn}".encode(): "does not say for which target: 2 are selected (dev, prod)",
        b"targets: {dev: {channel/a: -----BEGIN PRIVATE KEY-----}}": "(hidden: it looks like a secret) is not an ARN",
    }.items():
        (folder / "adopt.yaml").write_bytes(content)
        refused = quick(folder, capsys, "plan", "--adopt-file", "adopt.yaml")
        assert (refused.code, text in refused.err) == (1, True), (content, refused.err)
    refused = quick(folder, capsys, "plan", "--adopt-file", "nowhere.yaml")
    assert (refused.code, "nowhere.yaml: cannot be read: no such file or directory" in refused.err) == (1, True)


def test_an_adopt_file_of_several_targets_and_the_record_of_an_adopted_one(tmp_path: Path) -> None:
    folder = stack(
        tmp_path,
        {"channels": {"a": {"latencyMode": "NORMAL"}}},
        targets={
            name: {"region": REGION, "accountId": ACCOUNT, "sandbox": f".sandbox/{name}.db"} for name in ("dev", "prod")
        },
    )
    adopt = {}
    for name in ("dev", "prod"):
        with outside(folder, f".sandbox/{name}.db") as (ivs, _):
            adopt[name] = {"channel/a": ivs.create_channel(name=f"old-{name}", latencyMode="NORMAL")["channel"]["arn"]}
    (folder / "adopt.yaml").write_text(yaml.safe_dump({"targets": adopt}), encoding="utf-8")
    # Their names differ from the spec.
    plan = run(folder, "plan", "--adopt-file", "adopt.yaml")
    assert plan.out.count("differs in name") == 2, plan.out
    saved = run(folder, "plan", "--adopt-file", "adopt.yaml", "--adopt-with-changes", "--out", "p.json")
    assert saved.code == 0
    assert run(folder, "apply", "p.json", "-t", "prod", "--auto-approve").code == 0
    with outside(folder, ".sandbox/prod.db") as (ivs, _):
        assert arn_of(ivs, "a") == adopt["prod"]["channel/a"]
    with outside(folder, ".sandbox/dev.db") as (ivs, _):
        assert arn_of(ivs, "old-dev") == adopt["dev"]["channel/a"]
    assert run(folder, "plan", "-t", "prod", "--detailed-exitcode").code == 0


def test_the_verb_adopts_these_resources_and_changes_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec: dict[str, Any] = {
        "channels": {
            "a": {"streamKey": {}, "tags": {"team": "video"}},
            "b": {},
            "twin": {"name": "dup", "recordingConfiguration": "vod"},
            "late": {},
        },
        "recordingConfigurations": {"vod": {"destinationConfiguration": {"s3": {"bucketName": "vod"}}}},
    }
    folder = stack(tmp_path, {"channels": {"b": {}}})
    assert run(folder, "apply", "--auto-approve").code == 0
    with outside(folder) as (ivs, _):
        arn = ivs.create_channel(name="a", tags={"team": "video"})["channel"]["arn"]
        twins = [ivs.create_channel(name="dup")["channel"]["arn"] for _ in range(2)]
        managed = arn_of(ivs, "b")
    stack(tmp_path, spec)
    rewrite(folder, {**spec, "channels": {**spec["channels"], "b": {"latencyMode": "NORMAL"}}})
    # Each message of the guard is a command that works.
    for verb in (("plan",), ("drift",), ("comment", "--dry-run"), ("plan", "--format", "html")):
        assert f"adopt channel/a {arn}" in run(folder, *verb).out, verb
    assert "run adopt channel/twin ARN" in run(folder, "plan").out
    question = run(folder, "adopt", "channel/a", arn)
    assert question.code == 3
    assert "cannot prompt for approval: no terminal. Use --auto-approve" in question.err
    done = run(folder, "adopt", "channel/a", arn, "--auto-approve")
    assert done.code == 0, done.err
    assert "2 to adopt" in done.out
    assert "4 other actions are due; run plan for them" in done.out
    again = run(folder, "adopt", "channel/a", arn, "--auto-approve")
    assert (again.code, again.out) == (0, "channel/a is managed by this stack already.\n")
    with outside(folder) as (ivs, _):
        assert ivs.get_channel(arn=managed)["channel"]["latencyMode"] == "LOW"
        assert len(ivs.list_channels()["channels"]) == 4
        (key,) = ivs.list_stream_keys(channelArn=arn)["streamKeys"]
        assert key["tags"]["ivs-reconciler:id"] == "a"
    # What an adoption would change is refused; so is what is in use as another address, gone, or of another kind.
    for words, code, text in (
        (("channel/twin", twins[0]), 3, f"{twins[0]} differs in recordingConfigurationArn"),
        (("channel/late", twins[1]), 3, f"{twins[1]} differs in name"),
        (("channel/late", managed), 1, f"dev: channel/late: this stack manages {managed} as channel/b"),
        (("channel/b", twins[0]), 1, f"dev: channel/b: this stack manages {managed} under this address"),
        (("channel/late", arn + "x"), 1, "does not exist in account"),
        (("channel/late", arn, "channel/x", arn), 1, "dev: channel/x: not in the spec of target dev"),
        (("channel/late", twins[0], "channel/twin", twins[0]), 1, f"{twins[0]} is given for channel/late too"),
        (("channel/late",), 1, "channel/late has no ARN; write pairs"),
        (("late", arn), 1, "'late' is not an address"),
        (("stream-key/a", arn), 1, "a stream key is adopted with its channel"),
        (("recording-configuration/vod", arn), 1, '"ivs:channel" in the ARN is not a recording configuration'),
    ):
        refused = quick(folder, capsys, "adopt", *words, "--auto-approve")
        assert (refused.code, text in refused.out + refused.err) == (code, True), (words, refused.out, refused.err)
    # The message about a resource with another id of this stack names the way, and it works.
    gone = {**spec, "channels": {name: one for name, one in spec["channels"].items() if name != "a"}}
    rewrite(folder, {**gone, "channels": {**gone["channels"], "studio": {**spec["channels"]["a"], "name": "a"}}})
    ours = run(folder, "adopt", "channel/studio", arn, "--auto-approve")
    line = "moved: {channel/a: channel/studio}"
    assert (ours.code, f"write {line} into a spec file, then apply" in ours.err) == (1, True), ours.err
    (folder / "specs" / "moved.yaml").write_text(line, encoding="utf-8")
    renamed = run(folder, "plan", "--only", "*/studio")
    assert "0 to" not in renamed.out
    assert run(folder, "apply", "--only", "*/studio", "--auto-approve").code == 0
    assert run(folder, "adopt", "channel/studio", arn, "--auto-approve").out == (
        "channel/studio is managed by this stack already.\n"
    )
    with outside(folder) as (ivs, _):
        assert arn_of(ivs, "a") == arn
    # With changes, but not before the recording configuration that it needs exists.
    blocked = run(folder, "adopt", "channel/twin", twins[0], "--adopt-with-changes", "--auto-approve")
    assert blocked.code == 3
    assert "depends on recording-configuration/vod, which is not part of this adoption: apply it first" in blocked.out
    assert run(folder, "apply", "--only", "recording-configuration/*", "--auto-approve").code == 0
    changed = run(
        folder, "adopt", "channel/twin", twins[0], "--adopt-with-changes", "--auto-approve", "--format", "json"
    )
    assert changed.code == 0, changed.out
    events = [json.loads(line) for line in changed.out.splitlines()]
    assert [action["address"] for action in events[1]["plan"]["targets"][0]["actions"]] == ["channel/twin"]
    assert run(folder, "apply", "--adopt-with-changes", "--auto-approve").code == 0
    assert run(folder, "plan", "--detailed-exitcode").code == 0


def test_the_verb_finds_the_target_of_an_arn(tmp_path: Path) -> None:
    folder = stack(
        tmp_path,
        {"channels": {"a": {}}},
        targets={
            name: {"region": region, "accountId": ACCOUNT, "sandbox": f".sandbox/{name}.db"}
            for name, region in (("dev", REGION), ("stage", REGION), ("prod", "eu-west-1"))
        },
    )
    arns = {}
    for name, region in (("dev", REGION), ("prod", "eu-west-1")):
        with Sandbox(db=folder / ".sandbox" / f"{name}.db") as sandbox:
            ivs = client(sandbox.endpoint_url, region=region)
            arns[name] = ivs.create_channel(name="a")["channel"]["arn"]
    assert run(folder, "adopt", "channel/a", arns["prod"], "--auto-approve").code == 0
    several = run(folder, "adopt", "channel/a", arns["dev"], "--auto-approve")
    assert (several.code, "(dev, stage); select one with -t" in several.err) == (1, True), several.err
    wrong = run(folder, "adopt", "-t", "prod", "channel/a", arns["dev"], "--auto-approve")
    assert (wrong.code, "prod: channel/a: the ARN is in region" in wrong.err) == (1, True), wrong.err
    unknown = run(folder, "adopt", "channel/b", arns["prod"], "--auto-approve")
    assert unknown.err.splitlines() == ["prod: channel/b: not in the spec of target prod; did you mean channel/a?"]
    assert run(folder, "adopt", "-t", "dev", "channel/a", arns["dev"], "--auto-approve").code == 0
    assert run(folder, "plan", "-t", "dev", "-t", "prod", "--detailed-exitcode").code == 0


def test_another_stacks_resources_are_adopted_by_name_of_the_stack_only(tmp_path: Path) -> None:
    spec: dict[str, Any] = {
        "channels": {"a": {"streamKey": {}, "recordingConfiguration": "vod"}, "b": {"protect": True}, "c": {}},
        "recordingConfigurations": {"vod": {"destinationConfiguration": {"s3": {"bucketName": "vod"}}}},
    }
    folder = stack(tmp_path, spec, stack="old")
    assert run(folder, "apply", "--auto-approve").code == 0
    with outside(folder) as (ivs, _):
        before = {one["name"]: one["arn"] for one in ivs.list_channels()["channels"]}
        # One was renamed outside; another stack has a channel of its own.
        ivs.update_channel(arn=before["c"], name="renamed")
        ivs.create_channel(name="d", tags={"ivs-reconciler:stack": "third", "ivs-reconciler:id": "d"})
    unprotected: dict[str, Any] = {**spec, "channels": {**spec["channels"], "b": {}}}
    stack(tmp_path, unprotected, stack="new")
    with_loss = run(folder, "adopt", "channel/b", before["b"], "--take-over", "old", "--auto-approve")
    assert (with_loss.code, f"{before['b']} differs in protect" in with_loss.out) == (3, True), with_loss.out
    stack(tmp_path, {**spec, "channels": {**spec["channels"], "d": {}}}, stack="new")
    blocked = run(folder, "plan")
    assert "to adopt it, use --take-over old" in blocked.out
    refused = run(folder, "adopt", "channel/a", before["a"], "--auto-approve")
    assert refused.code == 3
    assert f"{before['a']} is owned by another stack (tag ivs-reconciler:stack=old)" in refused.out
    wrong = run(folder, "adopt", "channel/a", before["a"], "--take-over", "third", "--auto-approve")
    assert wrong.code == 3
    # One by the verb, the rest by a saved plan.
    assert run(folder, "adopt", "channel/b", before["b"], "--take-over", "old", "--auto-approve").code == 0
    plan = run(folder, "plan", "--take-over", "old", "--out", "p.json")
    assert plan.code == 0
    assert "4 to adopt" not in plan.out
    assert f"{before['c']} differs in name" in plan.out
    assert "--take-over old" in run(folder, "show", "p.json").out
    rejected = run(folder, "apply", "p.json", "--take-over", "third", "--auto-approve")
    assert (rejected.code, "cannot change a saved plan" in rejected.err) == (1, True)
    assert run(folder, "plan", "--take-over", "old", "--adopt-with-changes", "--out", "p.json").code == 0
    applied = run(folder, "apply", "p.json", "--auto-approve")
    assert applied.code == 4, applied.out  # channel/d is the third stack's
    with outside(folder) as (ivs, _):
        channels = {one["name"]: one for one in ivs.list_channels()["channels"]}
        assert {name: channels[name]["arn"] for name in "abc"} == before
        assert {channels[name]["tags"]["ivs-reconciler:stack"] for name in "abc"} == {"new"}
        assert channels["d"]["tags"]["ivs-reconciler:stack"] == "third"
    stack(tmp_path, spec, stack="new")
    assert run(folder, "plan", "--detailed-exitcode").code == 0
    mistyped = run(folder, "plan", "--take-over", "odl")
    assert "--take-over odl: stack odl owns no resource" in mistyped.out


def test_what_a_cloudformation_stack_holds_is_adopted_once_it_has_left_the_stack(tmp_path: Path) -> None:
    spec: dict[str, Any] = {
        "channels": {"a": {"streamKey": {}, "recordingConfiguration": "vod"}, "b": {}},
        "recordingConfigurations": {"vod": {"destinationConfiguration": {"s3": {"bucketName": "vod"}}}},
    }
    folder = stack(tmp_path, spec)
    with Sandbox(db=folder / ".sandbox" / "dev.db", settle_seconds=0) as sandbox:
        ivs = client(sandbox.endpoint_url)
        vod = ivs.create_recording_configuration(name="vod", **spec["recordingConfigurations"]["vod"])
        recording = vod["recordingConfiguration"]["arn"]
        made = ivs.create_channel(name="a", recordingConfigurationArn=recording)
        arn, key = made["channel"]["arn"], made["streamKey"]["arn"]
        b = ivs.create_channel(name="b")["channel"]["arn"]
        for number, member in enumerate((recording, arn, key)):
            sandbox.control.add_to_stack(member, "video", f"Member{number}")
    with Sandbox(db=folder / ".sandbox" / "dev.db") as sandbox:
        content = {"region": REGION, "accountId": ACCOUNT, "endpointUrl": sandbox.endpoint_url}
        (folder / "ivs-reconciler.yaml").write_text(
            yaml.safe_dump({"stack": "acme-live", "targets": {"dev": content}}), encoding="utf-8"
        )
        env = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "any"}

        def asked() -> int:
            found = len(sandbox.control.calls(operation="DescribeStackResources"))
            sandbox.control.clear_calls()
            return found

        guard = run(folder, "plan", env=env)
        assert f"an unmanaged channel has this name: {arn} (CloudFormation stack video)" in guard.out
        assert asked() == 0
        held = run(folder, "plan", "--adopt", env=env)
        assert held.code == 0
        assert f"{arn} belongs to CloudFormation stack video" in held.out
        assert "write DeletionPolicy: Retain and UpdateReplacePolicy: Retain beside Type of Member1" in held.out
        assert "DELETE_SKIPPED" in held.out
        assert "1 to adopt" in held.out  # channel/b is in no stack
        assert asked() == 1  # one answer names all resources of the stack
        # A consent by ARN and another stack's name do not help.
        for words in ((), ("--take-over", "video"), ("--take-over", "aws:cloudformation:video")):
            refused = run(folder, "adopt", "recording-configuration/vod", recording, *words, "--auto-approve", env=env)
            assert refused.code == 3, words
            assert f"{recording} belongs to CloudFormation stack video" in refused.out
        # Where the call is denied, that is said, with ways to go on.
        sandbox.control.deny("DescribeStackResources")
        denied = run(folder, "plan", "--adopt", "--only", "channel/a", env=env)
        assert "is unknown: missing permission cloudformation:DescribeStackResources" in denied.out
        assert f"aws cloudformation describe-stack-resources --physical-resource-id {arn}" in denied.out
        stated = run(folder, "plan", "--adopt", "--take-over", "aws:cloudformation:video", env=env)
        assert "4 to adopt" in stated.out, stated.out
        sandbox.control.clear_faults()
        # One resource after the other leaves; the tags stay.
        sandbox.control.remove_from_stack(arn)
        left = run(folder, "apply", "--adopt", "--auto-approve", env=env)
        assert left.code == 4
        assert f"{recording} belongs to CloudFormation stack video" in left.out
        for member in (recording, key):
            sandbox.control.remove_from_stack(member)
        saved = run(folder, "plan", "--adopt", "--out", "p.json", env=env)
        assert saved.code == 0
        sandbox.control.add_to_stack(recording, "video", "Member0")
        refused = run(folder, "apply", "p.json", "--auto-approve", env=env)
        assert refused.code in (3, 4)
        assert "aws:cloudformation" not in str(ivs_tags(client(sandbox.endpoint_url), recording, ours=True))
        sandbox.control.remove_from_stack(recording)
        assert run(folder, "apply", "--adopt", "--auto-approve", env=env).code == 0
        assert run(folder, "plan", "--detailed-exitcode", env=env).code == 0
        # What is managed is not asked about again, and the tags stay.
        asked()
        assert run(folder, "drift", env=env).code == 0
        assert asked() == 0
        assert ivs_tags(client(sandbox.endpoint_url), b, ours=True)


def ivs_tags(ivs: Any, arn: str, *, ours: bool) -> dict[str, str]:
    """Return the tags of a resource that are ours, or the others."""
    tags = ivs.list_tags_for_resource(resourceArn=arn)["tags"]
    return {key: value for key, value in tags.items() if key.startswith("ivs-reconciler:") is ours}
