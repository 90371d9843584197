"""``export --names-from``: ids, the list and public keys from Terraform and CloudFormation, and how these let go."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.export.handover import BadSource, not_exported, read_source, removed_blocks
from reconciler.sandbox import Sandbox
from tests.cli.support import ACCOUNT, REGION, Ran, client, run
from tests.sandbox.helpers import PUBLIC_KEY

CANARY = "sk_us-west-2_CANARYcanary_0123456789abcdefghijklmnop"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(settle_seconds=0) as server:
        yield server


def project(folder: Path, sandbox: Sandbox) -> Path:
    target = {"region": REGION, "accountId": ACCOUNT, "endpointUrl": sandbox.endpoint_url}
    (folder / "ivs-reconciler.yaml").write_text(yaml.safe_dump({"stack": "acme", "targets": {"dev": target}}))
    return folder


def export(folder: Path, source: object, *words: str) -> Ran:
    (folder / "source.json").write_text(source if isinstance(source, str) else json.dumps(source), encoding="utf-8")
    return run(folder, "export", "--names-from", "source.json", *words)


def resource(
    kind: str, name: str, arn: str, index: object = None, module: str = "", **values: object
) -> dict[str, Any]:
    key = "" if index is None else f"[{json.dumps(index)}]"
    return {
        "address": f"{module}{kind}.{name}{key}",
        "mode": "managed",
        "type": kind,
        "name": name,
        **({} if index is None else {"index": index}),
        "values": {"arn": arn, "id": arn, **values},
        "sensitive_values": {},
    }


def state(resources: list[dict[str, Any]], *modules: tuple[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """What ``terraform show -json`` prints, a stream key that was read included."""
    read = {
        "address": "data.aws_ivs_stream_key.a",
        "mode": "data",
        "type": "aws_ivs_stream_key",
        "name": "a",
        "values": {"arn": f"arn:aws:ivs:{REGION}:{ACCOUNT}:stream-key/abc", "value": CANARY},
        "sensitive_values": {"tags": {}},
    }
    bucket = {**read, "address": "aws_s3_bucket.b", "mode": "managed", "values": {"arn": "arn:aws:s3:::b", "id": "b"}}
    children = [{"address": address, "resources": found} for address, found in modules]
    root = {"resources": [read, bucket, *resources], "child_modules": children}
    outputs = {"key": {"sensitive": True, "value": CANARY, "type": "string"}}
    return {"format_version": "1.0", "terraform_version": "1.11.4", "values": {"outputs": outputs, "root_module": root}}


def test_terraform_gives_ids_the_list_and_public_keys_and_no_stream_key(sandbox: Sandbox, tmp_path: Path) -> None:
    ivs = client(sandbox.endpoint_url)
    arns = [ivs.create_channel(name=f"conf-{number}")["channel"]["arn"] for number in range(7)]
    pair = ivs.import_playback_key_pair(name="player", publicKeyMaterial=PUBLIC_KEY)["keyPair"]["arn"]
    channel = "aws_ivs_channel"
    source = state(
        [
            resource(channel, "ch", arns[0], "prd_a"),
            resource(channel, "ch", arns[1], "prd.b"),
            resource(channel, "pool", arns[2], 0),
            resource("aws_ivs_playback_key_pair", "web_player", pair, public_key=PUBLIC_KEY),
        ],
        ('module.tenant["acme"]', [resource(channel, "this", arns[3], module='module.tenant["acme"].')]),
        ("module.a", [resource(channel, "live", arns[4], module="module.a.")]),
        ("module.b", [resource(channel, "live", arns[5], module="module.b.")]),
    )
    folder = project(tmp_path, sandbox)
    ran = export(folder, source)
    assert (ran.code, ran.err) == (0, "")
    assert (
        "Next, follow handover.md: first remove the resources from the other tool. Then:\n  ivs-reconciler plan"
        in ran.out
    )
    adopt = yaml.safe_load((folder / "adopt.yaml").read_text(encoding="utf-8"))
    assert adopt == {
        "channel/a-live": arns[4],
        "channel/acme": arns[3],
        "channel/b-live": arns[5],
        "channel/pool-0": arns[2],
        "channel/prd-a": arns[0],
        "channel/prd-b": arns[1],
        "playback-key-pair/web-player": pair,
    }
    written = {path.name: path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file()}
    assert CANARY in written.pop("source.json")
    assert not [name for name, text in written.items() if "CANARY" in text]
    assert "CANARY" not in ran.out + ran.err
    assert "-----BEGIN PUBLIC KEY-----" in written["playback-key-pairs.yaml"]
    assert [line for line in written["removed.tf"].splitlines() if "from" in line] == [
        "  from = aws_ivs_channel.ch",
        "  from = aws_ivs_channel.pool",
        "  from = aws_ivs_playback_key_pair.web_player",
        "  from = module.a.aws_ivs_channel.live",
        "  from = module.b.aws_ivs_channel.live",
        "  from = module.tenant.aws_ivs_channel.this",
    ]
    assert "ivs-reconciler apply --adopt-file adopt.yaml" in written["handover.md"]
    assert 'defaults: {streamKey: {rotation: "1"}}' in written["handover.md"]
    assert run(folder, "validate").code == 0
    # A block covers all instances: one that is not exported is named.
    partly = export(folder, source, "--out", "part", "--adopt-out", "part/adopt.yaml", "--arn", arns[0])
    assert partly.code == 2
    assert 'aws_ivs_channel.ch["prd.b"] is not exported, but removed.tf covers it' in partly.err
    # A state of another account or region is not mistaken for one of an empty account.
    elsewhere = export(folder, state([resource(channel, "ch", arns[0].replace(REGION, "eu-west-1"))]))
    assert f"the files of --names-from have no resources of account {ACCOUNT}, region {REGION}" in elsewhere.out


def test_cloudformation_gives_logical_ids_and_the_keys_that_it_declares(sandbox: Sandbox, tmp_path: Path) -> None:
    ivs = client(sandbox.endpoint_url)
    made = [ivs.create_channel(name=name) for name in ("dev-a", "dev-b")]
    arns = [one["channel"]["arn"] for one in made]
    gone = arns[0][:-4] + "gone"

    def row(logical: str, physical: str, kind: str, status: str = "CREATE_COMPLETE") -> dict[str, str]:
        return {
            "StackName": "studio",
            "LogicalResourceId": logical,
            "PhysicalResourceId": physical,
            "ResourceType": f"AWS::IVS::{kind}",
            "ResourceStatus": status,
        }

    rows = [
        row("MainChannel1A2B3C4D", arns[0], "Channel"),
        row("Side", arns[1], "Channel"),
        row("MainKey", made[0]["streamKey"]["arn"], "StreamKey"),
        row("Gone", gone, "Channel"),
        row("Old", arns[1], "Channel", "DELETE_COMPLETE"),
    ]
    folder = project(tmp_path, sandbox)
    ran = export(folder, {"StackResources": rows})
    assert ran.code == 2
    assert ran.err == f"Not exported in full:\ndev: Gone ({gone}) is in CloudFormation and not in the account\n"
    assert yaml.safe_load((folder / "specs" / "channels.yaml").read_text(encoding="utf-8")) == {
        "channels": {"MainChannel": {"name": "dev-a", "streamKey": {}}, "Side": {"name": "dev-b"}}
    }
    page = (folder / "handover.md").read_text(encoding="utf-8")
    assert "   - stack `studio`: `MainChannel1A2B3C4D`, `MainKey`, `Side`\n" in page
    assert "`DeletionPolicy: Retain`" in page
    assert not (folder / "removed.tf").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON; write the output of terraform show -json"),
        ("[]", "has no resources; write the output of"),
        ('{"x": 1}', "has no resources; write the output of"),
        (
            '{"version": 4, "lineage": "x", "resources": []}',
            "is a Terraform state file; use the output of terraform show",
        ),
        ('{"format_version": "1.2", "planned_values": {}}', "is a Terraform plan"),
        ('{"Resources": {"A": {}}}', "is a template, which has no ARNs"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_other_files_are_named_and_not_quoted(text: str, message: str) -> None:
    with pytest.raises(BadSource, match=message):
        read_source(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"format_version": "1.0"}',
        '{"format_version": "1.0", "values": {"root_module": {"resources": [1, {}, {"mode": "managed", "values": {"arn": 1}}]}}}',
        '{"format_version": "1.0", "values": {"root_module": {"child_modules": [1, {"resources": null}]}}}',
        '{"StackResources": [1, {"PhysicalResourceId": "x"}, {"LogicalResourceId": "A", "PhysicalResourceId": "b"}]}',
    ],
)
def test_odd_content_has_no_resources(text: str) -> None:
    assert read_source(text).origins == ()
    assert removed_blocks(()) == ""
    assert [*not_exported((), ())] == []


MAIN_TF = """
terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}
provider "aws" {
  region = "us-west-2"
}
"""
RESOURCES_TF = """
resource "aws_ivs_recording_configuration" "archive" {
  name = "conf-archive"
  destination_configuration {
    s3 {
      bucket_name = "conf-vod"
    }
  }
}
resource "aws_ivs_channel" "track" {
  for_each                    = toset(["prd_a", "prd_b"])
  name                        = "conf-${each.key}"
  recording_configuration_arn = aws_ivs_recording_configuration.archive.arn
  tags                        = { Name = "conf-${each.key}" }
}
resource "aws_ivs_playback_key_pair" "web" {
  name       = "web"
  public_key = file("key.pem")
}
data "aws_ivs_stream_key" "a" {
  channel_arn = aws_ivs_channel.track["prd_a"].arn
}
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("terraform") is None, reason="no terraform here")
def test_terraform_creates_stops_managing_and_both_plans_are_empty(tmp_path: Path) -> None:
    code = tmp_path / "terraform"
    code.mkdir()
    (code / "main.tf").write_text(MAIN_TF)
    (code / "ivs.tf").write_text(RESOURCES_TF)
    (code / "key.pem").write_text(PUBLIC_KEY)
    with Sandbox(settle_seconds=0.2) as sandbox:
        environment = {
            **os.environ,
            "AWS_ENDPOINT_URL": sandbox.endpoint_url,
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
        }

        def terraform(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["terraform", *arguments],
                cwd=code,
                env=environment,
                capture_output=True,
                text=True,
                timeout=240,
                check=False,
            )

        if terraform("init", "-no-color", "-input=false").returncode != 0:
            pytest.skip("terraform has no AWS provider here")
        applied = terraform("apply", "-auto-approve", "-no-color", "-input=false")
        assert applied.returncode == 0, applied.stderr
        (tmp_path / "repo").mkdir()
        folder = project(tmp_path / "repo", sandbox)
        exported = export(folder, terraform("show", "-json").stdout)
        assert (exported.code, exported.err) == (0, "")
        # As the page says: the code goes, removed.tf comes, and Terraform lets go before anything is adopted.
        (code / "ivs.tf").unlink()
        shutil.copy(folder / "removed.tf", code)
        planned = terraform("plan", "-no-color", "-input=false")
        assert "Plan: 0 to add, 0 to change, 0 to destroy." in planned.stdout, planned.stdout + planned.stderr
        assert terraform("apply", "-auto-approve", "-no-color", "-input=false").returncode == 0
        adopted = run(folder, "apply", "--adopt-file", "adopt.yaml", "--auto-approve")
        assert adopted.code == 0, adopted.out + adopted.err
        assert "4 to adopt" in adopted.out
        assert run(folder, "plan", "--detailed-exitcode").code == 0
        (code / "removed.tf").unlink()
        assert terraform("plan", "-detailed-exitcode", "-no-color", "-input=false").returncode == 0
