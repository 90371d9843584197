"""Live channels, through the command line: seen, waited for, stopped; and an apply that is killed in the middle of that."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.sandbox import Sandbox
from tests.cli.support import Ran, arn_of, client, rewrite, run, stack

ENV = {"AWS_ACCESS_KEY_ID": "123456789012", "AWS_SECRET_ACCESS_KEY": "any", "AWS_EC2_METADATA_DISABLED": "true"}


def spec(latency: str, **channels: dict[str, object]) -> dict[str, object]:
    every = channels or {"main": {"streamKey": {"tags": {"encoder": "studio"}}}, "side": {}}
    return {"channels": {name: {"latencyMode": latency, **more} for name, more in every.items()}}


class Stage:
    """A served sandbox with an applied stack whose spec has changed since, and one live channel."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.ivs: Any = client(sandbox.endpoint_url)
        target = {"endpointUrl": sandbox.endpoint_url, "sandbox": None}
        self.folder = stack(folder, spec("LOW"), target=target)
        assert self.run("apply", "--auto-approve").code == 0
        self.main = arn_of(self.ivs, "main")
        self.key = self.keys()[0]
        sandbox.control.go_live(self.main, viewers=1204)
        rewrite(self.folder, spec("NORMAL"))

    def run(self, *words: str) -> Ran:
        return run(self.folder, *words, env=ENV)

    def keys(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ivs.list_stream_keys(channelArn=self.main, maxResults=50)["streamKeys"]
        return found

    def modes(self) -> dict[str, str]:
        return {channel["name"]: channel["latencyMode"] for channel in self.ivs.list_channels()["channels"]}

    def called(self, operation: str) -> int:
        return sum(call["operation"] == operation for call in self.sandbox.control.calls(limit=10_000))

    def when(self, condition: Callable[[], bool], act: Callable[[], object]) -> threading.Thread:
        """Do something, from a thread of its own, as soon as a condition holds."""

        def watch() -> None:
            deadline = time.monotonic() + 100
            while not condition() and time.monotonic() < deadline:
                time.sleep(0.05)
            act()

        thread = threading.Thread(target=watch)
        thread.start()
        return thread


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Sandbox() as sandbox:
        yield Stage(tmp_path / "repo", sandbox)


def test_the_plan_shows_live_channels_in_every_view(stage: Stage) -> None:
    for view in ("text", "markdown", "html"):
        assert "1 live channel, 1,204 viewers" in stage.run("plan", "--format", view).out, view
    (target,) = stage.run("plan", "--format", "json").json["targets"]
    (channel,) = target["liveChannels"]
    assert (channel["address"], channel["viewers"], channel["arn"]) == ("channel/main", 1204, stage.main)


def test_streams_are_listed_only_if_a_channel_changes(stage: Stage) -> None:
    rewrite(stage.folder, spec("LOW"))
    stage.sandbox.control.clear_calls()
    assert stage.run("plan", "--detailed-exitcode").code == 0
    assert stage.called("ListStreams") == 0
    rewrite(stage.folder, spec("NORMAL"))
    assert stage.run("plan").code == 0
    assert stage.called("ListStreams") == 1


def test_an_apply_waits_for_the_broadcast_to_end(stage: Stage) -> None:
    looked = stage.called("ListStreams") + 3
    thread = stage.when(
        lambda: stage.called("ListStreams") >= looked, lambda: stage.sandbox.control.go_offline(stage.main)
    )
    done = stage.run("apply", "--auto-approve", "--wait-live", "10m")
    thread.join()
    assert done.code == 0, done.out
    assert "waiting  channel/main: live since" in done.out
    assert stage.modes() == {"main": "NORMAL", "side": "NORMAL"}
    assert stage.keys()[0]["arn"] == stage.key["arn"]


def test_a_blocked_action_is_listed_once_after_the_plan(stage: Stage) -> None:
    done = stage.run("apply", "--auto-approve")
    assert done.code == 4, done.out
    progress, _, report = done.out.partition("Applying to dev\n")[2].partition("\n\n")
    assert "blocked" not in progress
    assert report.count("blocked  update channel/main: live since") == 1


def test_at_the_deadline_an_apply_is_incomplete_and_says_so(stage: Stage) -> None:
    (stage.folder / "ivs-reconciler.yaml").write_text(
        (stage.folder / "ivs-reconciler.yaml").read_text(encoding="utf-8")
        + "guardrails: {onLive: wait, liveDeadline: 2s}\n",
        encoding="utf-8",
    )
    done = stage.run("apply", "--auto-approve", "--format", "json")
    assert done.code == 4
    outcomes = json.loads(done.out.splitlines()[-1])["outcomes"]
    (main,) = [outcome for outcome in outcomes if outcome["address"] == "channel/main"]
    assert main["outcome"] == "blocked"
    assert "1,204 viewers; still live after waiting" in main["message"]
    assert stage.modes() == {"main": "LOW", "side": "NORMAL"}


def test_a_broadcast_is_ended_for_the_address_that_was_named_and_the_key_is_restored(stage: Stage) -> None:
    plan = stage.run("plan", "--stop-live", "channel/main")
    assert "THE CHANNEL GETS A NEW STREAM KEY" in plan.out
    assert "call StopStream" in plan.out
    done = stage.run("apply", "--auto-approve", "--stop-live", "channel/main")
    assert done.code == 0, done.out
    assert stage.modes() == {"main": "NORMAL", "side": "NORMAL"}
    (key,) = stage.keys()
    assert key["arn"] != stage.key["arn"]
    assert key["tags"] == stage.key["tags"]
    assert stage.run("plan", "--detailed-exitcode").code == 0


def test_a_channel_that_leaves_is_stopped_then_deleted(stage: Stage) -> None:
    rewrite(stage.folder, spec("LOW", side={}))
    words = ("--prune", "--allow-deletes", "1", "--auto-approve")
    assert stage.run("apply", *words).code == 3
    assert stage.run("apply", *words, "--stop-live", "channel/main").code == 0
    assert stage.modes() == {"side": "LOW"}


@pytest.mark.parametrize("last", ["DeleteStreamKey", "StopStream", "UpdateChannel", "TagResource"])
def test_a_stop_that_was_interrupted_anywhere_is_completed_by_the_next_apply(stage: Stage, last: str) -> None:
    """Everything after one call fails, as if the process had been killed there."""
    after = {
        "DeleteStreamKey": "StopStream",
        "StopStream": "UpdateChannel",
        "UpdateChannel": "TagResource",
        "TagResource": "CreateStreamKey",
    }[last]
    stage.sandbox.control.add_fault("deny", operation=after, arn=stage.main)
    assert stage.run("apply", "--auto-approve", "--stop-live", "channel/main", "--only", "channel/main").code == 4
    stage.sandbox.control.clear_faults()
    assert stage.keys() == []
    assert "stream-key/main will be created" in stage.run("plan").out
    assert stage.run("apply", "--auto-approve", "--stop-live", "channel/main").code == 0
    (key,) = stage.keys()
    assert key["tags"] == stage.key["tags"]
    assert stage.modes() == {"main": "NORMAL", "side": "NORMAL"}
    assert stage.run("plan", "--detailed-exitcode").code == 0


def test_a_saved_plan_meets_a_channel_that_went_live_since(stage: Stage) -> None:
    stage.sandbox.control.go_offline(stage.main)
    assert stage.run("plan", "--out", "saved.json").code == 0
    stage.sandbox.control.go_live(stage.main, viewers=7)
    done = stage.run("apply", "saved.json", "--auto-approve")
    assert done.code == 4
    assert "7 viewers" in done.out
    assert stage.modes() == {"main": "LOW", "side": "NORMAL"}


def test_a_channel_that_goes_live_between_the_plan_and_the_call_is_blocked_and_not_failed(stage: Stage) -> None:
    stage.sandbox.control.go_offline(stage.main)
    stage.sandbox.control.add_fault("delay", operation="UpdateChannel", seconds=3.0, arn=stage.main)
    before = stage.called("ListStreams")
    thread = stage.when(
        lambda: stage.called("ListStreams") > before, lambda: stage.sandbox.control.go_live(stage.main, viewers=9)
    )
    done = stage.run("apply", "--auto-approve")
    thread.join()
    assert done.code == 4, done.out
    assert "blocked  update channel/main: live since" in done.out
    assert "9 viewers, which began after the plan was created" in done.out


@pytest.mark.parametrize(
    "words",
    [("--stop-live", "stream-key/main"), ("--stop-live", "channel/*"), ("--wait-live", "soon"), ("--wait-live", "0m")],
)
def test_a_flag_that_means_nothing_is_refused(stage: Stage, words: tuple[str, str]) -> None:
    refused = stage.run("plan", *words)
    assert refused.code == 1
    assert words[1] in refused.err


def test_an_unknown_channel_of_stop_live_is_noted(stage: Stage) -> None:
    assert "no channel matches --stop-live channel/mian" in stage.run("plan", "--stop-live", "channel/mian").out


def test_of_two_channels_with_one_address_the_one_that_was_live_is_kept(stage: Stage) -> None:
    there = stage.ivs.get_channel(arn=stage.main)["channel"]
    twins = [
        stage.ivs.create_channel(name="main", latencyMode="LOW", tags=there["tags"])["channel"]["arn"] for _ in range(2)
    ]
    rewrite(stage.folder, spec("LOW"))
    stage.sandbox.control.deny("ListStreamSessions")
    blind = stage.run("apply", "--prune", "--auto-approve", "--allow-deletes", "2")
    assert "missing permission ivs:ListStreamSessions" in blind.out
    stage.sandbox.control.clear_faults()
    stage.sandbox.control.go_offline(stage.main)
    seen = stage.run("plan", "--prune", "--allow-deletes", "2")
    assert seen.out.count(f"{stage.main} is kept for this address, because it was last live at") == 2
    assert stage.run("apply", "--prune", "--auto-approve", "--allow-deletes", "2").code == 0
    status = {channel["arn"] for channel in stage.ivs.list_channels()["channels"]}
    assert stage.main in status
    assert status.isdisjoint(twins)


def test_without_the_permission_to_list_streams_the_rest_is_done(stage: Stage) -> None:
    rewrite(
        stage.folder,
        spec("NORMAL", main={"streamKey": {"tags": {"encoder": "roof"}}, "tags": {"team": "video"}}, side={}, fresh={}),
    )
    stage.sandbox.control.deny("ListStreams")
    planned = stage.run("plan")
    assert planned.code == 1
    assert planned.err.count("missing permission ivs:ListStreams") == 2
    applied = stage.run("apply", "--auto-approve")
    assert applied.code == 4
    assert "done  create channel/fresh" in applied.out
    assert "done  update stream-key/main" in applied.out
    assert "blocked  update channel/side: cannot tell whether the channel is live" in applied.out
    assert stage.modes() == {"main": "LOW", "side": "LOW", "fresh": "NORMAL"}
    stage.sandbox.control.clear_faults()
    stage.sandbox.control.deny("ListStreamKeys")
    stopped = stage.run("plan", "--stop-live", "channel/main")
    assert stopped.code == 1
    assert "ivs:ListStreamKeys" in stopped.err
