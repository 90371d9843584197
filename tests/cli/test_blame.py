"""``drift --blame`` against the embedded server's own record: several people, their tag edits, updates, deletes and doubles, over several pages."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.sandbox import AccessKey, Sandbox
from reconciler.sandbox.settings import VirtualClock
from tests.cli.support import ACCOUNT, arn_of, client, run, stack
from tests.schemas import validator

SECRET = "hush-hush-parameter"
SPEC = {
    "recordingConfigurations": {"archive": {"destinationConfiguration": {"s3": {"bucketName": "vod"}}}},
    "playbackRestrictionPolicies": {"eu": {"allowedCountries": ["DE"]}},
    "channels": {name: {"tags": {"team": "video"}, "streamKey": {}} for name in ("main", "side", "third", "fourth")},
}
DAY = 86_400
PEOPLE = ("alice", "bob", "carol", "dave")
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDCI", "AWS_SECRET_ACCESS_KEY": "any"}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    accounts = {f"AKID{name.upper()}": AccessKey(ACCOUNT, user=name) for name in (*PEOPLE, "ci")}
    # Three days ago, by a clock that a test can put forward.
    with Sandbox(settle_seconds=0, accounts=accounts, clock=VirtualClock(time.time() - 3 * DAY)) as running:
        yield running


def applied(folder: Path, sandbox: Sandbox, spec: Any = SPEC) -> Path:
    made = stack(folder, spec, target={"sandbox": None, "endpointUrl": sandbox.endpoint_url, "accountId": ACCOUNT})
    assert run(made, "apply", "--auto-approve", env=KEYS).code == 0
    return made


def as_(name: str, sandbox: Sandbox) -> Any:
    return client(sandbox.endpoint_url, account=f"AKID{name.upper()}")


def user(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:user/{name}"


def found(folder: Path, *words: str) -> dict[tuple[str, str], Any]:
    shown = run(folder, "drift", "--blame", "--format", "json", *words, env=KEYS)
    (target,) = shown.json["targets"]
    return {(one["status"], one["address"]): one.get("blame") for one in target["findings"]}


def who(blame: Any) -> list[tuple[str, str]]:
    return [(call["who"].rpartition("/")[2], call["event"]) for call in blame["by"]]


def test_each_caller_is_named_for_their_changes_only(tmp_path: Path, sandbox: Sandbox) -> None:
    folder = applied(tmp_path / "repo", sandbox)
    alice, bob, carol, dave = (as_(name, sandbox) for name in PEOPLE)
    main, side, third = (arn_of(alice, name) for name in ("main", "side", "third"))
    dave.update_channel(arn=main, latencyMode="NORMAL")
    dave.update_channel(arn=main, name="main")
    alice.update_channel(arn=main, latencyMode="LOW")
    alice.update_channel(arn=main, latencyMode="NORMAL")
    bob.tag_resource(resourceArn=main, tags={"team": SECRET})
    carol.delete_channel(arn=side)
    tags = dave.get_channel(arn=third)["channel"]["tags"]
    bob.create_channel(name="twin", tags=tags)
    policy = dave.list_playback_restriction_policies()["playbackRestrictionPolicies"][0]["arn"]
    dave.update_playback_restriction_policy(arn=policy, allowedCountries=["FR"])
    fourth = arn_of(alice, "fourth")
    carol.untag_resource(resourceArn=fourth, tagKeys=["ivs-reconciler:stack"])
    blames = found(folder)
    # The channel has two differences, and each has its own author; dave's change was overwritten.
    assert sorted(who(blames["drift", "channel/main"])) == [("alice", "UpdateChannel"), ("bob", "TagResource")]
    assert who(blames["missing", "channel/side"]) == [("carol", "DeleteChannel")]
    assert who(blames["missing", "stream-key/side"]) == [("carol", "DeleteChannel")]
    assert who(blames["drift", "playback-restriction-policy/eu"]) == [("dave", "UpdatePlaybackRestrictionPolicy")]
    assert who(blames["untagged", "channel/fourth"]) == [("carol", "UntagResource")]
    assert [who(blame) for (status, _), blame in blames.items() if status == "duplicate"] == [
        [("bob", "CreateChannel")]
    ]
    call = blames["missing", "channel/side"]["by"][0]
    assert call["who"] == user("carol")
    assert call["source"] == "an AWS SDK"
    assert call["at"].endswith("Z")
    shown = run(folder, "drift", "--blame", "--format", "json", env=KEYS)
    validator("drift").validate(shown.json)
    for view in ("text", "markdown", "html", "junit"):
        text = run(folder, "drift", "--blame", "--format", view, env=KEYS).out
        assert user("alice") in text
        assert call["eventId"] in text
        assert text.count(SECRET) <= json.dumps(shown.json).count(SECRET), (
            "values come from the account, not from the trail"
        )


def test_calls_before_our_last_apply_and_our_own_are_not_blamed(tmp_path: Path, sandbox: Sandbox) -> None:
    folder = applied(tmp_path / "repo", sandbox)
    alice, bob = as_("alice", sandbox), as_("bob", sandbox)
    main = arn_of(alice, "main")
    alice.update_channel(arn=main, latencyMode="NORMAL")
    sandbox.control.advance(5)
    assert run(folder, "apply", "--auto-approve", env=KEYS).code == 0
    sandbox.control.advance(5)
    bob.update_channel(arn=main, authorized=True)
    assert who(found(folder)["drift", "channel/main"]) == [("bob", "UpdateChannel")]
    sandbox.control.clear_calls()
    bob.get_channel(arn=main)
    assert found(folder)["drift", "channel/main"] == {
        "by": [],
        "remark": "CloudTrail has no call for it in the last 7 days; calls appear there some minutes later",
    }


def test_a_resource_without_a_record_is_found_by_its_create_call(tmp_path: Path, sandbox: Sandbox) -> None:
    folder = applied(tmp_path / "repo", sandbox)
    carol = as_("carol", sandbox)
    carol.delete_channel(arn=arn_of(carol, "side"))
    for path in (folder / ".ivs-reconciler").glob("*"):
        path.unlink()
    assert who(found(folder)["missing", "channel/side"]) == [("carol", "DeleteChannel")]
    sandbox.control.clear_calls()
    assert "the resource's ARN is unknown" in found(folder)["missing", "channel/side"]["remark"]


def test_a_missing_cloudtrail_permission_is_reported_with_the_drift(tmp_path: Path, sandbox: Sandbox) -> None:
    folder = applied(tmp_path / "repo", sandbox)
    alice = as_("alice", sandbox)
    alice.update_channel(arn=arn_of(alice, "main"), latencyMode="NORMAL")
    sandbox.control.deny("cloudtrail:LookupEvents")
    shown = run(folder, "drift", "--blame", env=KEYS)
    assert shown.code == 2
    assert "attribution is incomplete: missing permission cloudtrail:LookupEvents" in shown.out


def test_a_report_without_drift_does_not_call_cloudtrail(tmp_path: Path, sandbox: Sandbox) -> None:
    folder = applied(tmp_path / "repo", sandbox)
    assert run(folder, "drift", "--blame", env=KEYS).code == 0
    assert sandbox.control.calls(operation="LookupEvents") == []


def test_pages_are_followed_and_bounded(tmp_path: Path, sandbox: Sandbox) -> None:
    folder = applied(tmp_path / "repo", sandbox)
    alice, bob = as_("alice", sandbox), as_("bob", sandbox)
    main, side = arn_of(alice, "main"), arn_of(alice, "side")
    alice.update_channel(arn=main, latencyMode="NORMAL")
    for number in range(120):
        bob.update_channel(arn=side, name=f"side-{number}")
    blames = found(folder)
    assert who(blames["drift", "channel/main"]) == [("alice", "UpdateChannel")]
    assert who(blames["drift", "channel/side"]) == [("bob", "UpdateChannel")]
    asked = sandbox.control.calls(operation="LookupEvents")
    assert len(asked) == 3
    assert {call["service"] for call in asked} == {"cloudtrail"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--blame", "--blame-days", "91"), "1 to 90"),
        (("--blame", "--blame-days", "0"), "1 to 90"),
        (("--blame-days", "3"), "needs --blame"),
    ],
)
def test_days_out_of_bounds_are_refused(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    shown = run(stack(tmp_path / "repo", SPEC), "drift", *words)
    assert shown.code == 1
    assert said in shown.err


def test_days_limit_the_lookup(tmp_path: Path, sandbox: Sandbox) -> None:
    folder = applied(tmp_path / "repo", sandbox)
    alice = as_("alice", sandbox)
    alice.update_channel(arn=arn_of(alice, "main"), latencyMode="NORMAL")
    assert who(found(folder, "--blame-days", "2")["drift", "channel/main"]) == []
    assert who(found(folder, "--blame-days", "4")["drift", "channel/main"]) == [("alice", "UpdateChannel")]
