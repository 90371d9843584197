"""``status``: counts, broadcasts and quotas, of ours and of others, through the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.model.address import Address, KindName
from reconciler.model.resource import Broadcast, KindCount, Overview, QuotaCount, Stream
from reconciler.report.accounts import render_status
from reconciler.sandbox import Sandbox
from tests.cli.support import Ran, arn_of, client, run, stack

ENV = {"AWS_ACCESS_KEY_ID": "123456789012", "AWS_SECRET_ACCESS_KEY": "any", "AWS_EC2_METADATA_DISABLED": "true"}
SPEC: dict[str, object] = {
    "recordingConfigurations": {"archive": {"destinationConfiguration": {"s3": {"bucketName": "acme-vod"}}}},
    "channels": {"main": {"recordingConfiguration": "archive", "streamKey": {}}, "side": {}},
}


class Account:
    """A served sandbox with an applied stack, an unmanaged channel, both live."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.ivs: Any = client(sandbox.endpoint_url)
        self.folder = stack(folder, SPEC, target={"endpointUrl": sandbox.endpoint_url, "sandbox": None})
        assert self.run("apply", "--auto-approve").code == 0
        self.main = arn_of(self.ivs, "main")
        self.strange = self.ivs.create_channel(name="strange")["channel"]["arn"]
        sandbox.control.go_live(self.main, viewers=1204)
        sandbox.control.go_live(self.strange, viewers=7, health="STARVING")
        sandbox.control.clear_calls()

    def run(self, *words: str) -> Ran:
        return run(self.folder, *words, env=ENV)


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with Sandbox(limits={"channels": 4}) as sandbox:
        yield Account(tmp_path / "repo", sandbox)


def test_it_shows_managed_resources_live_channels_and_quotas(account: Account) -> None:
    shown = account.run("status")
    assert shown.code == 0
    assert shown.err == ""
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert "dev: account 123456789012, region us-west-2, stack acme-live" in lines
    assert "channels 2 1" in lines
    assert "recording configurations 1 0" in lines
    assert "2 live channels, 1,211 viewers; 1 unmanaged" in lines
    assert any(line.startswith("channel/main since 20") and line.endswith("1,204 viewers healthy") for line in lines)
    assert any(
        line.startswith("strange channel/") and ", unmanaged" in line and line.endswith("7 viewers starving")
        for line in lines
    )
    assert "channels 3 4 75 % applied, L-C01DFF58" in lines
    assert "playback key pairs 0 3 0 % fixed" in lines


def test_its_json_says_the_same(account: Account) -> None:
    report = account.run("status", "--format", "json").json
    (target,) = report["targets"]
    assert (report["formatVersion"], report["stack"], target["name"], target["accountId"]) == (
        "1.0",
        "acme-live",
        "dev",
        "123456789012",
    )
    assert {row["kind"]: (row["managed"], row["unmanaged"]) for row in target["resources"]}["channel"] == (2, 1)
    assert [(one["address"], one["managed"], one["viewers"], one["health"]) for one in target["live"]] == [
        ("channel/main", True, 1204, "HEALTHY"),
        (None, False, 7, "STARVING"),
    ]
    assert {row["name"]: (row["used"], row["quota"], row["percent"]) for row in target["quotas"]}["channels"] == (
        3,
        4,
        75.0,
    )


def test_it_only_lists_and_each_list_once(account: Account) -> None:
    assert account.run("status").code == 0
    calls = [call["operation"] for call in account.sandbox.control.calls(limit=1000)]
    assert sorted(calls) == sorted(
        [
            "GetCallerIdentity",
            "ListAdConfigurations",
            "ListChannels",
            "ListFailoverSlateConfigurations",
            "ListPlaybackKeyPairs",
            "ListPlaybackRestrictionPolicies",
            "ListRecordingConfigurations",
            "ListServiceQuotas",
            "ListStreams",
        ]
    )


def test_what_may_not_be_listed_is_a_gap_with_a_name(account: Account) -> None:
    for operation in ("ListAdConfigurations", "ListPlaybackKeyPairs", "ListStreams", "servicequotas:*"):
        account.sandbox.control.add_fault("deny", operation=operation, times=None)
    shown = account.run("status")
    assert shown.code == 0
    assert "not counted: playback key pairs: missing permission ivs:ListPlaybackKeyPairs" in shown.out
    assert "live channels are unknown: missing permission ivs:ListStreams" in shown.out
    assert "documented defaults are shown" in shown.out
    assert "no live channels" not in shown.out


def test_a_target_that_fails_hides_no_other(account: Account) -> None:
    project = account.folder / "ivs-reconciler.yaml"
    project.write_text(
        project.read_text(encoding="utf-8").replace(
            "targets:\n", "targets:\n  gone: {region: us-west-2, endpointUrl: 'http://127.0.0.1:9'}\n"
        ),
        encoding="utf-8",
    )
    shown = account.run("status")
    assert shown.code == 1
    assert "channel/main" in shown.out
    assert "gone: " in shown.err


def test_names_and_notes_of_others_do_no_harm_to_a_terminal() -> None:
    stream = Stream("arn:aws:ivs:us-west-2:123456789012:channel/x", "2026-11-20T08:00:00Z", -1)
    overview = Overview(
        "dev",
        "123456789012",
        "us-west-2",
        (KindCount(KindName.CHANNEL, 1, 2),),
        (Broadcast(stream, None, "\x1b[31mred\n"), Broadcast(stream, Address(KindName.CHANNEL, "main"))),
        (QuotaCount("channels", 1, 0),),
        ("a \x1b note",),
    )
    shown = render_status(overview, "s")
    assert "\x1b" not in shown
    assert "viewers not counted" in shown
    assert "2 live channels, at least 0 viewers; 1 unmanaged" in shown
    assert "100 %" in shown


def test_unmanaged_resources_are_named_with_their_owner(account: Account) -> None:
    other = account.ivs.create_channel(name="theirs", tags={"ivs-reconciler:stack": "other"})["channel"]["arn"]
    named = [
        {"kind": "channel", "arn": arn, "name": name, "owner": owner}
        for arn, name, owner in sorted([(account.strange, "strange", None), (other, "theirs", "other")])
    ]
    assert account.run("status", "--format", "json").json["targets"][0]["unmanaged"] == named
    assert account.run("plan", "--format", "json").json["targets"][0]["unmanaged"] == named
    for view in ("markdown", "html"):
        for verb in ("plan", "drift"):
            shown = account.run(verb, "--format", view).out
            assert all(one["arn"] in shown for one in named), (verb, view)
    assert account.run("plan", "--out", "p.json").code == 0
    for words in (["status"], ["plan", "-v"], ["show", "p.json", "-v"]):
        shown = account.run(*words).out
        assert "2 unmanaged resources, not changed:" in shown, words
        assert f'channel "strange", no owner  {account.strange}' in shown
        assert f'channel "theirs", owned by stack "other"  {other}' in shown
    assert account.strange not in account.run("plan").out


def test_every_unmanaged_resource_is_named_with_v(account: Account) -> None:
    account.sandbox.control.set_quota("channels", 100)
    arns = [account.ivs.create_channel(name=f"n{number}")["channel"]["arn"] for number in range(30)]
    shown = account.run("plan", "-v").out
    assert all(arn in shown for arn in arns)
    assert "31 unmanaged resources" in shown
    assert "and 11 more" in account.run("status").out
