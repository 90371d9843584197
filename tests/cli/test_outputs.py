"""``outputs``: what other systems need of the spec's resources, in three formats, through the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.sandbox import Sandbox
from tests.cli.support import ACCOUNT, REGION, Ran, arn_of, client, rewrite, run, stack
from tests.sandbox.helpers import PUBLIC_KEY
from tests.schemas import validator

ENV = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "any", "AWS_EC2_METADATA_DISABLED": "true"}
CHANNELS: dict[str, object] = {"main": {"recordingConfiguration": "archive", "streamKey": {}}, "side": {"name": ""}}
SPEC: dict[str, Any] = {
    "recordingConfigurations": {"archive": {"destinationConfiguration": {"s3": {"bucketName": "acme-vod"}}}},
    "channels": CHANNELS,
}
STACK, ID = "ivs-reconciler:stack", "ivs-reconciler:id"


class Account:
    """A served sandbox with an applied stack."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.ivs: Any = client(sandbox.endpoint_url)
        self.folder = stack(folder, SPEC, target={"endpointUrl": sandbox.endpoint_url, "sandbox": None})
        assert self.run("apply", "--auto-approve").code == 0

    def run(self, *words: str) -> Ran:
        return run(self.folder, *words, env=ENV)

    def resources(self, *words: str) -> dict[str, dict[str, str]]:
        ran = self.run("outputs", "--format", "json", *words)
        assert (ran.code, ran.err) == (0, "")
        (target,) = ran.json["targets"]
        return dict(target["resources"])


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """One account for tests that change nothing."""
    with Sandbox() as sandbox:
        yield Account(tmp_path_factory.mktemp("outputs") / "repo", sandbox)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Account]:
    with Sandbox() as sandbox:
        yield Account(tmp_path / "repo", sandbox)


def calls(account: Account) -> list[str]:
    return sorted(call["operation"] for call in account.sandbox.control.calls(limit=1000))


def test_json_has_what_aws_reports_and_follows_the_schema(account: Account) -> None:
    report = account.run("outputs", "--format", "json").json
    validator("outputs").validate(report)
    (target,) = report["targets"]
    assert (report["formatVersion"], report["stack"], target["name"], target["accountId"], target["region"]) == (
        "1.0",
        "acme-live",
        "dev",
        ACCOUNT,
        "us-west-2",
    )
    main = account.ivs.get_channel(arn=arn_of(account.ivs, "main"))["channel"]
    (key,) = account.ivs.list_stream_keys(channelArn=main["arn"])["streamKeys"]
    (archive,) = account.ivs.list_recording_configurations()["recordingConfigurations"]
    assert list(target["resources"]) == [
        "channel/main",
        "channel/side",
        "recording-configuration/archive",
        "stream-key/main",
    ]
    assert target["resources"]["channel/main"] == {
        "arn": main["arn"],
        "name": "main",
        "playbackUrl": main["playbackUrl"],
        "ingestEndpoint": main["ingestEndpoint"],
        "ingestUrl": f"rtmps://{main['ingestEndpoint']}:443/app/",
        "srtUrl": f"srt://{main['srt']['endpoint']}:9000",
    }
    assert "name" not in target["resources"]["channel/side"]
    assert target["resources"]["recording-configuration/archive"] == {
        "arn": archive["arn"],
        "name": "archive",
        "bucket": "acme-vod",
    }
    assert target["resources"]["stream-key/main"] == {"arn": key["arn"]}
    assert target["missing"] == []


def test_no_view_holds_a_secret(account: Account) -> None:
    main = account.ivs.get_channel(arn=arn_of(account.ivs, "main"))["channel"]
    (key,) = account.ivs.list_stream_keys(channelArn=main["arn"])["streamKeys"]
    secrets = (main["srt"]["passphrase"], account.ivs.get_stream_key(arn=key["arn"])["streamKey"]["value"])
    for view in ("text", "json", "env"):
        ran = account.run("-vv", "outputs", "--format", view)
        assert ran.code == 0
        assert not any(secret in ran.out + ran.err for secret in secrets), view


def test_its_calls_are_those_of_a_plan(account: Account) -> None:
    made = []
    for words in (("plan",), ("outputs",)):
        account.sandbox.control.clear_calls()
        assert account.run(*words).code == 0
        made.append(calls(account))
    assert made[0] == made[1]


def test_env_names_have_kind_id_and_output(account: Account) -> None:
    main = account.ivs.get_channel(arn=arn_of(account.ivs, "main"))["channel"]
    lines = account.run("outputs", "channel/main", "rec*", "--format", "env").out.splitlines()
    assert f"IVS_CHANNEL_MAIN_PLAYBACK_URL={main['playbackUrl']}" in lines
    assert "IVS_RECORDING_CONFIGURATION_ARCHIVE_BUCKET=acme-vod" in lines
    assert {line.partition("=")[0].rpartition("_")[0] for line in lines} >= {"IVS_CHANNEL_MAIN_INGEST"}
    assert not any("SIDE" in line for line in lines)


def test_text_names_each_address_with_its_outputs(account: Account) -> None:
    shown = account.run("outputs", "channel/main")
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert lines[0] == f"dev: account {ACCOUNT}, region us-west-2, stack acme-live"
    assert lines[2] == "channel/main"
    assert f"arn {arn_of(account.ivs, 'main')}" in lines
    assert shown.err == ""


def test_an_address_that_the_spec_does_not_have_is_an_error_with_a_suggestion(account: Account) -> None:
    shown = account.run("outputs", "channel/mian", "channel/*")
    assert (shown.code, shown.out) == (1, "")
    assert shown.err == "channel/mian: no address in the spec matches; did you mean channel/main or channel/side?\n"


def test_a_file_is_replaced_only_if_its_content_differs(account: Account, tmp_path: Path) -> None:
    file = tmp_path / "ivs.env"
    words = ("outputs", "--format", "env", "--out", str(file))
    assert account.run(*words) == Ran(0, "", "")
    first = file.stat()
    assert file.read_text(encoding="utf-8") == account.run("outputs", "--format", "env").out
    assert account.run(*words).code == 0
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    file.write_text("other\n", encoding="utf-8")
    assert account.run(*words).code == 0
    assert "IVS_CHANNEL_MAIN_ARN=" in file.read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["ivs.env"]
    refused = account.run("outputs", "--out", str(tmp_path / "none" / "ivs.env"))
    assert refused.code == 1
    assert "ivs.env: cannot write the outputs (no such file or directory)" in refused.err


def test_what_does_not_exist_is_named_with_exit_code_5_and_nothing_is_written(own: Account, tmp_path: Path) -> None:
    file = tmp_path / "ivs.json"
    file.write_text("before\n", encoding="utf-8")
    # One that was never applied, one that was deleted outside together with its key, and one whose owner tags are gone.
    rewrite(own.folder, {**SPEC, "channels": {**CHANNELS, "new": {}, "free": {}}})
    own.ivs.create_channel(name="free")
    own.ivs.delete_channel(arn=arn_of(own.ivs, "main"))
    named = ["channel/free", "channel/main", "channel/new", "stream-key/main"]
    for words in (("--format", "env"), ("--format", "json", "--out", str(file))):
        ran = own.run("outputs", *words)
        assert (ran.code, ran.out) == (5, "")
        assert ran.err.splitlines() == [
            *(f"dev: {address} does not exist" for address in named),
            "Run apply first, or use --partial to leave these out",
        ]
    assert file.read_text(encoding="utf-8") == "before\n"
    assert own.run("outputs", "channel/side").code == 0
    partial = own.run("outputs", "--partial", "--format", "json", "--out", str(file))
    assert (partial.code, partial.out) == (0, "")
    assert partial.err.splitlines() == [f"dev: {address} does not exist" for address in named]
    (target,) = json.loads(file.read_text(encoding="utf-8"))["targets"]
    assert (list(target["resources"]), target["missing"]) == (
        ["channel/side", "recording-configuration/archive"],
        named,
    )


def test_of_duplicates_it_shows_the_one_that_a_plan_keeps(own: Account) -> None:
    before = arn_of(own.ivs, "main")
    tags = {STACK: "acme-live", ID: "main"}
    twin = own.ivs.create_channel(name="main", tags=tags)
    # A plan keeps the one that is live, so each is kept once.
    for arn in (before, twin["channel"]["arn"]):
        own.sandbox.control.go_live(arn, viewers=1)
        (duplicate,) = own.run("plan", "--format", "json").json["targets"][0]["duplicates"]
        found = own.resources("channel/main", "stream-key/main") if arn == before else own.resources("channel/main")
        assert found["channel/main"]["arn"] == duplicate["kept"] == arn
        own.sandbox.control.go_offline(arn)


def test_where_a_published_key_is_kept_comes_from_its_tag(own: Account) -> None:
    place = f"us-west-2:{ACCOUNT}"
    full = f"arn:aws:secretsmanager:{place}:secret:live/main-AbCdEf"
    marks = {
        "waiting": None,
        "secretsManager:live/main": f"arn:aws:secretsmanager:{place}:secret:live/main",
        f"secretsManager:{full}": full,
        "parameterStore:/ivs/main": f"arn:aws:ssm:{place}:parameter/ivs/main",
        "parameterStore:main": f"arn:aws:ssm:{place}:parameter/main",
        "file:/tmp/key": None,
        "secretsManager:a b": None,
        "elsewhere": None,
    }
    rewrite(own.folder, {"channels": {f"c{number}": {"streamKey": {}} for number in range(len(marks))}})
    assert own.run("apply", "--auto-approve").code == 0
    for address, values in own.resources("stream-key/*").items():
        mark = list(marks)[int(address.removeprefix("stream-key/c"))]
        own.ivs.tag_resource(resourceArn=values["arn"], tags={"ivs-reconciler:delivered": mark})
    found = [values.get("storedIn") for values in own.resources("stream-key/*").values()]
    assert found == list(marks.values())


def test_variables_of_several_targets_begin_with_the_target_and_never_collide(own: Account) -> None:
    server = own.sandbox.endpoint_url
    spec = {"channels": {"main-a": {}, "b": {}}, "playbackKeyPairs": {"web": {"publicKeyMaterial": PUBLIC_KEY}}}
    targets = {
        name: {"region": region, "endpointUrl": server} for name, region in (("p-1", "eu-west-1"), ("q", "us-east-1"))
    }
    folder = stack(own.folder.parent / "two", spec, targets=targets)
    assert run(folder, "apply", "--auto-approve", env=ENV).code == 0
    lines = run(folder, "outputs", "--format", "env", env=ENV).out.splitlines()
    names = [line.partition("=")[0] for line in lines]
    assert len(names) == len(set(names))
    assert {"IVS_P_1_CHANNEL_MAIN_A_ARN", "IVS_Q_PLAYBACK_KEY_PAIR_WEB_FINGERPRINT"} <= set(names)
    one = run(folder, "outputs", "--format", "env", "-t", "q", env=ENV).out.splitlines()
    assert "IVS_CHANNEL_MAIN_A_ARN" in [line.partition("=")[0] for line in one]
    rewrite(folder, {"channels": {"main-a": {}, "main_a": {}, "Main-A": {}}})
    assert run(folder, "apply", "--auto-approve", env=ENV).code == 0
    refused = run(folder, "outputs", "channel/main*", "--format", "env", env=ENV)
    assert (refused.code, refused.out) == (1, "")
    assert (
        "p-1: channel/main-a and p-1: channel/main_a: both have the variable IVS_P_1_CHANNEL_MAIN_A_ARN" in refused.err
    )
    assert run(folder, "outputs", "--format", "json", env=ENV).code == 0


def test_what_could_not_be_read_is_no_missing_resource(own: Account) -> None:
    own.sandbox.control.add_fault("deny", operation="ListRecordingConfigurations", times=None)
    refused = own.run("outputs", "--partial")
    assert (refused.code, refused.out) == (1, "")
    assert (
        "dev: recording configurations could not be read: missing permission ivs:ListRecordingConfigurations"
        in refused.err
    )
    assert own.run("outputs", "channel/*").code == 0


def test_of_several_targets_those_that_can_be_read_are_printed_with_partial(own: Account, tmp_path: Path) -> None:
    there = {"endpointUrl": own.sandbox.endpoint_url, "accountId": ACCOUNT}
    near, far = {**there, "region": REGION}, {**there, "region": "eu-west-1"}
    folder = stack(tmp_path / "two", SPEC, targets={"far": far, "near": near})
    file = tmp_path / "ivs.env"

    def outputs(*words: str) -> Ran:
        return run(folder, "outputs", "channel/*", "--format", "env", *words, env=ENV)

    assert run(folder, "apply", "-t", "far", "--auto-approve", env=ENV).code == 0
    whole = outputs()
    assert (whole.code, "IVS_NEAR_CHANNEL_MAIN_ARN=" in whole.out) == (0, True)
    own.sandbox.control.deny("ListChannels", region="eu-west-1")
    why = "far: channels could not be read: missing permission ivs:ListChannels"
    held_back = outputs("--out", str(file))
    assert (held_back.code, held_back.out) == (1, "")
    assert held_back.err.startswith(why)
    assert held_back.err.endswith("\nNothing was printed; use --partial to leave out what cannot be read\n")
    partial = outputs("--partial")
    assert (partial.code, partial.err.startswith(why)) == (1, True)
    assert partial.out.splitlines() == [line for line in whole.out.splitlines() if line.startswith("IVS_NEAR_")]
    # A file may have outputs of the target that cannot be read, and others use them.
    kept = outputs("--partial", "--out", str(file))
    assert kept.code == 1
    assert f"{file} was not written" in kept.err
    assert not file.exists()

    # An account that refuses the credentials, and a resource that does not exist.
    own.sandbox.control.clear_faults()
    stack(
        folder,
        {"channels": {"main": {}, "new": {}}},
        targets={"far": {**far, "accountId": "210987654321"}, "near": near},
    )
    both = outputs()
    assert (both.code, both.out) == (1, "")
    assert both.err.startswith("near: channel/new does not exist\nfar: ")
    assert outputs("-t", "far", "--partial").code == 1


def test_show_says_that_a_file_of_outputs_is_no_plan(account: Account, tmp_path: Path) -> None:
    file = tmp_path / "outputs.json"
    assert account.run("outputs", "--format", "json", "--out", str(file)).code == 0
    assert "the output of outputs" in account.run("show", str(file)).err


def test_the_last_line_of_an_apply_has_the_outputs_of_changed_and_unchanged_resources(own: Account) -> None:
    def applied(*words: str, code: int = 0) -> dict[str, Any]:
        ran = own.run("apply", "--auto-approve", "--format", "json", *words)
        assert ran.code == code, ran.err
        *others, last = [json.loads(line) for line in ran.out.splitlines()]
        assert last["type"] == "result"
        assert not any("outputs" in line for line in others)
        return dict(last["outputs"])

    # A created channel, a replaced configuration, an updated channel, a removed one, and a key: read as they are now.
    rewrite(
        own.folder,
        {
            "recordingConfigurations": {
                "archive": {
                    "destinationConfiguration": {"s3": {"bucketName": "acme-vod"}},
                    "recordingReconnectWindowSeconds": 60,
                }
            },
            "channels": {"main": {"recordingConfiguration": "archive", "streamKey": {}}, "new": {"streamKey": {}}},
            "playbackKeyPairs": {"web": {"publicKeyMaterial": PUBLIC_KEY}},
            "playbackRestrictionPolicies": {"eu": {}},
        },
    )
    found = applied("--prune", "--allow-deletes", "1")
    assert found == own.run("outputs", "--format", "json").json
    assert sorted(found["targets"][0]["resources"]) == [
        "channel/main",
        "channel/new",
        "playback-key-pair/web",
        "playback-restriction-policy/eu",
        "recording-configuration/archive",
        "stream-key/main",
        "stream-key/new",
    ]
    assert applied() == found
    # What could not be created is missing, and the rest is there.
    own.sandbox.control.add_fault(
        "error", operation="CreateChannel", code="ValidationException", status=400, times=None
    )
    rewrite(own.folder, {"channels": {"main": {"streamKey": {}}, "broken": {}}})
    left = applied(code=4)
    assert left["targets"][0]["missing"] == ["channel/broken"]
    assert list(left["targets"][0]["resources"]) == ["channel/main", "stream-key/main"]
