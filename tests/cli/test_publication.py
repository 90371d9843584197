"""Outputs that an apply publishes: to Parameter Store as moto plays it, to files, to the job of a CI system; only what differs, and never another owner's."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.main import main
from reconciler.sandbox import Sandbox
from tests.cli.support import ACCOUNT, REGION, Ran, arn_of, client, rewrite, run, stack
from tests.controller.repos import Repo

STACK = "ivs-reconciler:stack"
NAME = "/ivs/{stack}/{target}/{kind}/{id}/{output}"
FOLDER = "/ivs/acme-live/dev"
SPEC: dict[str, Any] = {
    "recordingConfigurations": {"archive": {"destinationConfiguration": {"s3": {"bucketName": "acme-vod"}}}},
    "channels": {"main": {"recordingConfiguration": "archive", "streamKey": {}}, "side": {}},
}
OUTPUTS: list[dict[str, Any]] = [
    {"parameterStore": {"name": NAME}, "only": ["channel/*"], "values": ["arn", "ingestUrl"]},
    {"file": {"path": "out/{target}.json"}},
    {"file": {"path": "out/{target}.env", "format": "env"}, "only": ["recording-configuration/*"]},
    {"job": {"dotenv": "job.env"}, "values": ["playbackUrl"]},
]


class Account:
    """An embedded server, a Parameter Store, and a stack that publishes."""

    def __init__(self, folder: Path, sandbox: Sandbox, url: str, where: tuple[str, ...] = ()) -> None:
        self.sandbox = sandbox
        self.where = where
        self.ivs: Any = client(sandbox.endpoint_url)
        self.ssm: Any = client(url, "ssm")
        self.env = {
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL_SSM": url,
            **dict.fromkeys(("GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITLAB_CI"), ""),
        }
        self.folder = folder
        self.write()

    def write(self, outputs: list[dict[str, Any]] = OUTPUTS, **more: object) -> None:
        target = {"endpointUrl": self.sandbox.endpoint_url, "sandbox": None}
        stack(self.folder, SPEC, target=target, outputs=outputs, **more)

    def run(self, *words: str, code: int = 0, env: Mapping[str, str] | None = None) -> Ran:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as here, redirect_stdout(out), redirect_stderr(err):
            here.chdir(self.folder)
            for name, value in {**self.env, **(env or {})}.items():
                here.setenv(name, value)
            found = main(list(words))
        assert found == code, (out.getvalue(), err.getvalue())
        return Ran(found, out.getvalue(), err.getvalue())

    def apply(self, *words: str, code: int = 0, env: Mapping[str, str] | None = None) -> Ran:
        return self.run("apply", "--auto-approve", *self.where, *words, code=code, env=env)

    def published(self) -> dict[str, str]:
        pages = self.ssm.get_paginator("get_parameters_by_path").paginate(Path="/", Recursive=True)
        return {
            one["Name"]: one["Value"]
            for page in pages
            for one in page["Parameters"]
            if not one["Name"].startswith("/aws/")
        }

    def versions(self) -> dict[str, int]:
        pages = self.ssm.get_paginator("describe_parameters").paginate()
        return {one["Name"]: one["Version"] for page in pages for one in page["Parameters"]}


@pytest.fixture
def account(request: pytest.FixtureRequest, tmp_path: Path, moto: str) -> Iterator[Account]:
    with Sandbox() as sandbox:
        account = Account(tmp_path / "repo", sandbox, moto, getattr(request, "param", ()))
        names = list(account.published())  # moto has one memory for all tests of a process
        for at in range(0, len(names), 10):
            account.ssm.delete_parameters(Names=names[at : at + 10])
        yield account


anywhere = pytest.mark.parametrize(
    "account", [(), ("--executor", "processes:1")], indirect=True, ids=["threads", "processes"]
)


def wanted(account: Account, *ids: str) -> dict[str, str]:
    found = {}
    for identifier in ids:
        channel = account.ivs.get_channel(arn=arn_of(account.ivs, identifier))["channel"]
        found[f"{FOLDER}/channel/{identifier}/arn"] = channel["arn"]
        found[f"{FOLDER}/channel/{identifier}/ingestUrl"] = f"rtmps://{channel['ingestEndpoint']}:443/app/"
    return found


@anywhere
def test_an_apply_publishes_everywhere_and_the_next_one_only_what_differs(account: Account) -> None:
    first = account.apply()
    expected = wanted(account, "main", "side")
    assert account.published() == expected
    tags = account.ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=min(expected))["TagList"]
    assert tags == [{"Key": STACK, "Value": "acme-live"}]
    assert f"Outputs published: 6 written ({FOLDER}/channel/main/arn, " in first.out
    out = account.folder / "out"
    assert json.loads((out / "dev.json").read_text(encoding="utf-8")) == account.run("outputs", "--format", "json").json
    env = account.run("outputs", "recording-configuration/*", "--format", "env").out
    assert (out / "dev.env").read_text(encoding="utf-8") == env
    assert sorted(path.name for path in account.folder.iterdir() if path.suffix == ".env") == []
    secrets = [
        account.ivs.get_channel(arn=arn_of(account.ivs, "main"))["channel"]["srt"]["passphrase"],
        account.ivs.get_stream_key(
            arn=account.ivs.list_stream_keys(channelArn=arn_of(account.ivs, "main"))["streamKeys"][0]["arn"]
        )["streamKey"]["value"],
    ]
    everything = "".join(path.read_text(encoding="utf-8") for path in out.iterdir()) + str(account.published())
    assert not any(secret in everything + first.out for secret in secrets)

    # A run without changes corrects what was changed there, and writes nothing else.
    before, inode = account.versions(), (out / "dev.json").stat().st_ino
    assert "Outputs published" not in account.apply().out
    assert (account.versions(), (out / "dev.json").stat().st_ino) == (before, inode)
    account.ssm.put_parameter(Name=min(expected), Value="wrong", Overwrite=True)
    note = "published outputs are out of date: /ivs/acme-live/dev/channel/main/arn; the next apply publishes them"
    assert note in account.run("drift").out
    last = json.loads(account.apply("--format", "json").out.splitlines()[-1])
    assert last["published"] == {"written": [min(expected)], "deleted": [], "skipped": [], "failures": []}
    assert account.published() == expected
    assert "out of date" not in account.run("drift").out


@anywhere
def test_parameters_of_what_is_gone_are_deleted_with_prune_only_and_only_our_own(account: Account) -> None:
    account.apply()
    account.ssm.put_parameter(Name=f"{FOLDER}/theirs", Value="x", Type="String")
    rewrite(account.folder, {**SPEC, "channels": {"main": SPEC["channels"]["main"]}})
    account.apply()
    assert wanted(account, "side").items() <= account.published().items()
    account.apply("--prune", "--allow-deletes", "1", "--only", "channel/*")
    assert f"{FOLDER}/channel/side/arn" in account.published()
    done = account.apply("--prune")
    assert "Outputs published: 2 deleted." in done.out
    assert account.published() == {**wanted(account, "main"), f"{FOLDER}/theirs": "x"}


@anywhere
def test_a_parameter_of_another_owner_is_never_changed(account: Account) -> None:
    mine, theirs = f"{FOLDER}/channel/main/arn", f"{FOLDER}/channel/side/arn"
    account.ssm.put_parameter(Name=mine, Value="by hand", Type="String")
    account.ssm.put_parameter(Name=theirs, Value="x", Type="String", Tags=[{"Key": STACK, "Value": "other"}])
    refused = account.apply(code=4)
    assert f"outputs: dev: parameter {mine} exists and is not this stack's: it has no owner tag" in refused.err
    assert f"parameter {theirs} exists and belongs to stack other; delete it, or change the name" in refused.err
    assert "Correct that, then run apply again" in refused.err
    found = account.published()
    assert (found[mine], found[theirs]) == ("by hand", "x")
    assert len(found) == 4
    # The channels were created all the same, and the rest is published.
    assert (account.folder / "out" / "dev.json").exists()
    account.run("plan", "--detailed-exitcode")
    account.ssm.delete_parameters(Names=[mine, theirs])
    account.apply()
    assert account.published() == wanted(account, "main", "side")


@anywhere
def test_a_job_gets_its_outputs_and_a_file_waits_for_what_is_missing(account: Account, tmp_path: Path) -> None:
    account.sandbox.control.add_fault(
        "error", operation="CreateChannel", code="ValidationException", status=400, times=1
    )
    failed = account.apply(code=4, env={"GITLAB_CI": "true"})
    assert re.search(r"outputs: dev: out/\{target\}\.json is not written: channel/\w+ does not exist", failed.err)
    assert re.search(r"outputs: dev: job outputs are not written: channel/\w+ does not exist", failed.err)
    assert (account.folder / "out" / "dev.env").exists()
    assert not (account.folder / "out" / "dev.json").exists()
    assert not (account.folder / "job.env").exists()
    github = tmp_path / "github"
    github.write_text("before=1", encoding="utf-8")  # an earlier step left its line open
    account.apply(env={"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(github)})
    urls = {
        identifier: account.ivs.get_channel(arn=arn_of(account.ivs, identifier))["channel"]["playbackUrl"]
        for identifier in ("main", "side")
    }
    lines = [f"IVS_CHANNEL_{name.upper()}_PLAYBACK_URL={url}" for name, url in urls.items()]
    assert github.read_text(encoding="utf-8").splitlines() == ["before=1", *lines]
    assert not (account.folder / "job.env").exists()
    account.apply(env={"GITLAB_CI": "true"})
    assert (account.folder / "job.env").read_text(encoding="utf-8").splitlines() == lines


def test_a_link_that_leads_out_of_the_project_is_not_followed(account: Account, tmp_path: Path) -> None:
    account.write([{"file": {"path": "out/{accountId}/a.json"}}])
    project = account.folder / "ivs-reconciler.yaml"
    project.write_text(re.sub(r"(?m)^ *accountId:.*\n", "", project.read_text(encoding="utf-8")), encoding="utf-8")
    outside = tmp_path / "outside"
    outside.mkdir()
    (account.folder / "out").mkdir()
    (account.folder / "out" / ACCOUNT).symlink_to(outside)
    refused = account.apply(code=4)
    assert f"out/{ACCOUNT}/a.json: leads out of the project through a link; remove the link" in refused.err
    (account.folder / "out" / ACCOUNT).unlink()
    account.apply()
    assert (list(outside.iterdir()), (account.folder / "out" / ACCOUNT / "a.json").exists()) == ([], True)


def test_the_policies_allow_what_publishing_needs(account: Account) -> None:
    def actions(purpose: str, *words: str) -> dict[str, Any]:
        found = account.run("iam-policy", purpose, *words).json["Statement"]
        return {one["Sid"]: (one["Action"], one["Resource"]) for one in found if "Outputs" in one["Sid"]}

    place = f"arn:aws:ssm:us-west-2:{ACCOUNT}:parameter{FOLDER}"
    assert actions("plan") == {"ReadOutputs": (["ssm:GetParameters"], [f"{place}/*/*/*"])}
    assert actions("apply", "--prune") == {
        "ReadOutputs": (["ssm:GetParameters"], [f"{place}/*/*/*"]),
        "PublishOutputs": (
            ["ssm:AddTagsToResource", "ssm:GetParameters", "ssm:ListTagsForResource", "ssm:PutParameter"],
            [f"{place}/*/*/*"],
        ),
        "DeleteOutputs": (["ssm:DeleteParameters", "ssm:GetParametersByPath"], [place, f"{place}/*"]),
    }


def test_a_store_that_cannot_be_reached_does_not_undo_the_apply(account: Account) -> None:
    failed = account.apply(code=4, env={"AWS_ENDPOINT_URL_SSM": "http://127.0.0.1:9"})
    assert "outputs: dev: outputs are not published to Parameter Store: " in failed.err
    assert "Apply complete for dev" in failed.out
    assert "published outputs are unknown: " in account.run("drift", env={"AWS_ENDPOINT_URL_SSM": "nonsense"}).out
    account.apply()
    assert account.published() == wanted(account, "main", "side")


@anywhere
def test_a_target_whose_outputs_cannot_be_read_holds_up_no_other(account: Account) -> None:
    target = {"accountId": ACCOUNT, "endpointUrl": account.sandbox.endpoint_url}
    account.write(targets={"dev": {**target, "region": REGION}, "far": {**target, "region": "eu-west-1"}})
    account.sandbox.control.deny("BatchGetChannel", region="eu-west-1")
    ran = account.apply(code=4)
    assert "Apply complete for far: 4 done" in ran.out
    assert re.search(r"^the outputs (of far )?could not be read.*; run outputs to print them$", ran.err, re.MULTILINE)
    assert account.published() == wanted(account, "main", "side")
    assert [path.name for path in sorted((account.folder / "out").iterdir())] == ["dev.env", "dev.json"]
    account.sandbox.control.clear_faults()
    account.apply()
    assert (account.folder / "out" / "far.json").exists()


def test_a_sandbox_target_keeps_its_parameters_in_a_file(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", SPEC, outputs=OUTPUTS[:1])
    assert run(folder, "apply", "--auto-approve").code == 0
    file = folder / ".sandbox" / "dev.db.parameters.json"
    assert len(json.loads(file.read_text(encoding="utf-8"))) == 4
    rewrite(folder, {"channels": {"main": {}}})
    assert run(folder, "apply", "--auto-approve", "--prune", "--allow-deletes", "1").code == 0
    assert sorted(json.loads(file.read_text(encoding="utf-8"))) == [
        f"{FOLDER}/channel/main/arn",
        f"{FOLDER}/channel/main/ingestUrl",
    ]


def test_a_pinned_project_publishes_only_where_the_pin_does(account: Account, tmp_path: Path) -> None:
    pin = tmp_path / "pin.yaml"
    pin.write_text((account.folder / "ivs-reconciler.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    account.run("plan", "--pin", str(pin))
    account.write([{"file": {"path": "elsewhere.json"}}])
    assert "outputs is not as in" in account.run("plan", "--pin", str(pin), code=3).err


def test_the_controller_publishes_as_an_apply_does(account: Account, tmp_path: Path) -> None:
    repo = Repo(tmp_path / "served")
    outputs = [OUTPUTS[0], {"file": {"path": "out/{target}.json"}, "only": ["channel/*"]}]
    target = {"region": REGION, "accountId": ACCOUNT, "endpointUrl": account.sandbox.endpoint_url}
    project = {"stack": "acme-live", "targets": {"dev": target}, "outputs": outputs}
    repo.commit({"ivs-reconciler.yaml": project, "specs/live.yaml": SPEC})

    def once(mode: str, code: int, **env: str) -> Ran:
        words = ("run", "--repo", str(repo.folder), "--once", "--mode", mode)
        ran = run(tmp_path, *words, env={**account.env, **env})
        assert ran.code == code, (ran.out, ran.err)
        return ran

    once("plan", 5)
    assert account.published() == {}
    failed = once("apply", 4, AWS_ENDPOINT_URL_SSM="http://127.0.0.1:9")
    assert "outputs: dev: outputs are not published to Parameter Store: " in failed.out
    once("apply", 0)
    assert account.published() == wanted(account, "main", "side")
    (written,) = [path for path in tmp_path.rglob("dev.json") if path.parent.name == "out"]
    assert "channel/side" in json.loads(written.read_text(encoding="utf-8"))["targets"][0]["resources"]
    account.ssm.put_parameter(Name=f"{FOLDER}/channel/side/arn", Value="wrong", Overwrite=True)
    once("heal", 0)
    assert account.published() == wanted(account, "main", "side")
