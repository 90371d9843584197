"""``drift --accept`` and ``export --update``: live values go into the spec files, and everything else in them stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from reconciler.export.merge import REMOVED, Edit, merge_edits
from reconciler.sandbox import Sandbox
from tests.cli.support import ACCOUNT, REGION, arn_of, client, run

SPEC = """\
# yaml-language-server: $schema=../schemas/spec.schema.json
# Studio channels, by floor.
x-quiet: &quiet  # shared
  latencyMode: NORMAL

channels:
    # The main stage.
    main:
        latencyMode: NORMAL   # because of the chat
        tags: { event: "keynote",  floor: '1' }
        type:      'BASIC'
        streamKey: {tags: {encoder: a}}
    side: {latencyMode: NORMAL, authorized: true} # flow
    quiet-a: *quiet
    quiet-b: {<<: *quiet, name: b}
    bare:
    loop:
        forEach: [a, b]
        latencyMode: NORMAL
    placed: {tags: {where: "{target}"}}
    kept: {name: kept-name}   # not touched

playbackRestrictionPolicies:
    eu:
        allowedCountries:
            - NO   # Norway
            - DE   # Germany
"""


class World:
    """A served sandbox, and a stack applied to it."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.ivs: Any = client(sandbox.endpoint_url)
        target = {"region": REGION, "accountId": ACCOUNT, "endpointUrl": sandbox.endpoint_url}
        (folder / "specs").mkdir()
        (folder / "ivs-reconciler.yaml").write_text(yaml.safe_dump({"stack": "acme", "targets": {"dev": target}}))
        self.spec = folder / "specs" / "live.yaml"
        self.spec.write_text(SPEC, encoding="utf-8")
        assert run(folder, "apply", "--auto-approve").code == 0

    def update(self, which: str, /, **fields: object) -> str:
        arn = arn_of(self.ivs, which)
        if fields:
            self.ivs.update_channel(arn=arn, **fields)
        return arn

    def changed(self) -> list[str]:
        """The lines of the spec that are not as written, before and after."""
        old, new = SPEC.splitlines(), self.spec.read_text(encoding="utf-8").splitlines()
        return [f"- {line}" for line in old if line not in new] + [f"+ {line}" for line in new if line not in old]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    with Sandbox(settle_seconds=0) as sandbox:
        yield World(tmp_path, sandbox)


def test_live_values_are_merged_and_every_other_line_stays(world: World) -> None:
    main = world.update("main", latencyMode="LOW", authorized=True)
    world.ivs.tag_resource(resourceArn=main, tags={"floor": "2", "guest": "Ж"})
    world.ivs.untag_resource(resourceArn=main, tagKeys=["event"])
    (key,) = world.ivs.list_stream_keys(channelArn=main)["streamKeys"]
    world.ivs.tag_resource(resourceArn=key["arn"], tags={"encoder": "b"})
    world.update("side", latencyMode="LOW", name="wing")
    world.update("bare", insecureIngest=True)
    (policy,) = world.ivs.list_playback_restriction_policies()["playbackRestrictionPolicies"]
    world.ivs.update_playback_restriction_policy(arn=policy["arn"], allowedCountries=["FR", "NO"])
    # A change of the spec that is not applied is pending, and stays.
    text = world.spec.read_text(encoding="utf-8")
    world.spec.write_text(text.replace("name: kept-name", "name: new-name"), encoding="utf-8")
    ran = run(world.folder, "export", "--update")
    assert (ran.code, ran.err) == (0, "")
    assert world.changed() == [
        "-         latencyMode: NORMAL   # because of the chat",
        "-         tags: { event: \"keynote\",  floor: '1' }",
        "-         streamKey: {tags: {encoder: a}}",
        "-     side: {latencyMode: NORMAL, authorized: true} # flow",
        "-     kept: {name: kept-name}   # not touched",
        "-             - DE   # Germany",
        "+         tags: {floor: '2', guest: Ж}",
        "+         streamKey: {tags: {encoder: b}}",
        "+         authorized: true",
        "+     side: {authorized: true, name: wing} # flow",
        "+         insecureIngest: true",
        "+     kept: {name: new-name}   # not touched",
        "+             - FR",
    ]
    assert 'accepted channel/main:/tags/floor in specs/live.yaml:8: "2"' in ran.out
    assert "accepted channel/side:/latencyMode in specs/live.yaml:13: removed" in ran.out
    assert run(world.folder, "drift").code == 5
    assert run(world.folder, "apply", "--auto-approve").code == 0
    assert run(world.folder, "plan", "--detailed-exitcode").code == 0
    assert world.ivs.get_channel(arn=main)["channel"]["latencyMode"] == "LOW"
    assert run(world.folder, "export", "--update").out == "No drift to accept.\n"


def test_one_difference_is_accepted(world: World) -> None:
    main = world.update("main", latencyMode="LOW", authorized=True)
    world.ivs.tag_resource(resourceArn=main, tags={"floor": "2"})
    ran = run(world.folder, "drift", "--accept", "channel/main:/tags/floor", "--accept", "channel/main:authorized")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "accepted channel/main:/authorized in specs/live.yaml:8: true",
        'accepted channel/main:/tags/floor in specs/live.yaml:8: "2"',
    ]
    assert world.changed() == [
        "-         tags: { event: \"keynote\",  floor: '1' }",
        "+         tags: {event: \"keynote\", floor: '2'}",
        "+         authorized: true",
    ]
    for choice, message in (
        ("channel/main:/type", "channel/main:/type: no drift to accept"),
        ("channel/none", "channel/none: no drift to accept"),
        ("nonsense", "'nonsense' is not an address"),
    ):
        refused = run(world.folder, "drift", "--accept", choice)
        assert refused.code == 1
        assert message in refused.err
    assert (
        "--accept cannot be combined with --only"
        in run(world.folder, "drift", "--accept", "channel/main", "--only", "x").err
    )
    assert "--update cannot be combined with --out" in run(world.folder, "export", "--update", "--out", "x").err


def test_what_others_would_change_with_is_left_and_named(world: World) -> None:
    world.update("quiet-a", latencyMode="LOW")
    world.update("loop-a", latencyMode="LOW")
    placed = world.update("placed")
    world.ivs.tag_resource(resourceArn=placed, tags={"where": "here"})
    world.ivs.delete_channel(arn=world.update("kept-name"))
    ran = run(world.folder, "export", "--update")
    assert ran.code == 2
    assert ran.out == "No drift to accept.\n"
    assert ran.err.splitlines() == [
        "Could not be written:",
        "channel/kept: deleted outside ivs-reconciler since the last apply; to accept that, remove it from the spec",
        "channel/loop-a:/latencyMode: the entry at specs/live.yaml:17:5 is a loop; write it by hand",
        "channel/placed:/tags/where: the value at specs/live.yaml:20:5 has placeholders; write it by hand",
        "channel/quiet-a:/latencyMode: specs/live.yaml: this place cannot be edited (KeyError); write it by hand",
    ]
    assert world.spec.read_text(encoding="utf-8") == SPEC


@pytest.mark.parametrize(
    ("text", "edit", "expected"),
    [
        (
            "channels:\n  a:\n",
            Edit(0, "channels", "a", ("tags", "k"), "NO"),
            "channels:\n  a:\n    tags:\n      k: NO\n",
        ),
        (
            "---\nchannels: {a: {}}\n",
            Edit(0, "channels", "a", ("type",), "BASIC"),
            "---\nchannels: {a: {type: BASIC}}\n",
        ),
        (
            "channels: {a: {}}\n---\nchannels:\n- b\n---\nchannels: {c: {tags: {x: y}}}\n",
            Edit(2, "channels", "c", ("tags", "x"), REMOVED),
            "channels: {a: {}}\n---\nchannels:\n- b\n---\nchannels: {c: {}}\n",
        ),
    ],
)
def test_texts_of_other_shapes(text: str, edit: Edit, expected: str) -> None:
    assert merge_edits(text, [edit]) == expected


def test_targets_that_share_a_file_have_to_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    spec = "channels:\n  main: {latencyMode: NORMAL, tags: {a: b}}\n"
    own = "channels:\n  main: {override: true, tags: {floor: one}}  # east only\n"
    with Sandbox(settle_seconds=0) as sandbox:
        regions = {"west": REGION, "east": "us-east-1"}
        targets: dict[str, dict[str, object]] = {
            name: {"region": region, "endpointUrl": sandbox.endpoint_url} for name, region in regions.items()
        }
        targets["east"]["specs"] = ["east.yaml"]
        (tmp_path / "ivs-reconciler.yaml").write_text(yaml.safe_dump({"stack": "acme", "targets": targets}))
        (tmp_path / "specs").mkdir()
        (tmp_path / "specs" / "live.yaml").write_text(spec)
        (tmp_path / "east.yaml").write_text(own)
        assert run(tmp_path, "apply", "--auto-approve").code == 0
        clients = {
            name: boto3.client(
                "ivs",
                endpoint_url=sandbox.endpoint_url,
                region_name=region,
                aws_access_key_id=ACCOUNT,
                aws_secret_access_key="any",
            )
            for name, region in regions.items()
        }
        arns = {name: arn_of(ivs, "main") for name, ivs in clients.items()}
        clients["west"].tag_resource(resourceArn=arns["west"], tags={"a": "west"})
        clients["east"].tag_resource(resourceArn=arns["east"], tags={"a": "east", "floor": "two"})
        for name, ivs in clients.items():
            ivs.update_channel(arn=arns[name], latencyMode="LOW", name=f"main-{name}")
        ran = run(tmp_path, "export", "--update")
    assert ran.code == 2
    assert ran.err.splitlines() == [
        "Could not be written:",
        "channel/main:/name differs in east and west, which both read specs/live.yaml; write it by hand",
    ]
    assert (tmp_path / "specs" / "live.yaml").read_text() == "channels:\n  main: {tags: {a: west}}\n"
    # Tags of an override are merged one by one, so that is where the other target's belongs.
    assert (tmp_path / "east.yaml").read_text() == own.replace("floor: one", "floor: two, a: east")
    assert "specs/live.yaml is read by east, west\n" in ran.out
