"""The mode ``heal``: outside changes are reverted to what was last applied, and new commits wait for a person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.controller.controller import Schedule
from reconciler.controller.state import Mode, RunStatus
from tests.cli.support import arn_of, run
from tests.controller.test_controller import READS, _credentials  # noqa: F401 - a fixture that is always used
from tests.controller.test_modes import targets_of
from tests.controller.world import World

SPEC: dict[str, object] = {
    "recordingConfigurations": {"archive": {"destinationConfiguration": {"s3": {"bucketName": "acme-vod"}}}},
    "channels": {
        "main": {"recordingConfiguration": "archive", "streamKey": {}},
        "side": {"latencyMode": "NORMAL"},
        "gone": {},
    },
}
NEXT: dict[str, object] = {
    "channels": {
        "main": {"authorized": True, "streamKey": {}},
        "side": {"latencyMode": "NORMAL", "type": "BASIC"},
        "new": {"streamKey": {}},
    }
}


LAX = {"maxDeletePercent": None}


@pytest.fixture
def healing(tmp_path: Path) -> Iterator[World]:
    """A target that was applied, and is healed from now on."""
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY, interval=100), spec=SPEC) as world:
        target = {**targets_of(world)["dev"], "prune": True}
        world.repo.commit(
            {"ivs-reconciler.yaml": {"stack": "acme-live", "specs": [], "guardrails": LAX, "targets": {"dev": target}}}
        )
        world.settle()
        assert world.last().status is RunStatus.APPLIED
        world.schedule = Schedule(mode=Mode.HEAL, interval=100)
        world.restart()
        world.settle()
        assert (world.last().mode, world.last().status) == (Mode.HEAL, RunStatus.IN_SYNC)
        world.sandboxes["dev"].control.clear_calls()
        yield world


def names(ivs: Any) -> set[str]:
    return {each["name"] for each in ivs.list_channels()["channels"]}


def writes(world: World) -> set[str]:
    return {operation for operation in world.operations() if not operation.startswith(READS)}


def test_outside_changes_are_reverted_and_a_commit_waits_for_a_person(healing: World) -> None:
    world = healing
    with world.ivs() as ivs:
        main, side = arn_of(ivs, "main"), arn_of(ivs, "side")
        ivs.update_channel(arn=main, latencyMode="NORMAL")
        world.settle()
        world.pass_time(120)
        assert ivs.get_channel(arn=main)["channel"]["latencyMode"] == "LOW"
        world.repo.commit({"specs/dev.yaml": NEXT})
        world.sandboxes["dev"].control.clear_calls()
        world.settle()
        world.pass_time(300)
        assert writes(world) == set()
        assert (world.last().status, world.last().drifted) == (RunStatus.PENDING, 0)
        plan = world.store.plan("dev", world.last().plan_id)
        assert plan is not None
        summary = plan.targets[0].summary
        assert (summary.create, summary.update, summary.delete) == (2, 2, 2), "the commit's plan is kept for review"
        # Changed outside, removed and created again, while the commit waits.
        ivs.update_channel(arn=side, latencyMode="LOW", insecureIngest=True)
        ivs.update_channel(arn=arn_of(ivs, "gone"), name="renamed")
        ivs.tag_resource(resourceArn=main, tags={"by": "hand"})
        world.pass_time(120)
        found = ivs.get_channel(arn=side)["channel"]
        assert (found["latencyMode"], found["insecureIngest"], found["type"]) == ("NORMAL", False, "STANDARD")
        assert names(ivs) == {"main", "side", "gone"}
        assert "by" not in ivs.get_channel(arn=main)["channel"]["tags"]
        assert not ivs.get_channel(arn=main)["channel"]["authorized"]
        assert ivs.get_channel(arn=main)["channel"]["recordingConfigurationArn"]
        assert (world.last().status, world.last().drifted) == (RunStatus.PENDING, 0)
        assert writes(world) <= {"UpdateChannel", "TagResource", "UntagResource"}
        ivs.delete_channel(arn=side)
        world.pass_time(250)
        assert names(ivs) == {"main", "side", "gone"}
        assert ivs.get_channel(arn=arn_of(ivs, "side"))["channel"]["type"] == "STANDARD"
        # A person applies the commit, elsewhere: from now on it is what was last applied.
        applied = run(world.repo.folder, "apply", "--auto-approve")
        assert applied.code == 0, applied.err
        world.pass_time(120)
        assert world.last().status is RunStatus.IN_SYNC
        ivs.update_channel(arn=arn_of(ivs, "side"), type="STANDARD")
        ivs.delete_channel(arn=arn_of(ivs, "new"))
        world.pass_time(250)
        assert ivs.get_channel(arn=arn_of(ivs, "side"))["channel"]["type"] == "BASIC"
        assert names(ivs) == {"main", "side", "new"}
        assert ivs.list_stream_keys(channelArn=arn_of(ivs, "new"))["streamKeys"]


def test_guardrails_live_channels_and_a_missing_branch_hold_heal_back(healing: World) -> None:
    world = healing
    with world.ivs() as ivs:
        main = arn_of(ivs, "main")
        ivs.update_channel(arn=main, latencyMode="NORMAL")
        world.sandboxes["dev"].control.go_live(main, viewers=3)
        world.pass_time(120)
        assert (world.last().status, world.last().blocked_by_live) == (RunStatus.BLOCKED, 1)
        world.sandboxes["dev"].control.go_offline(main)
        world.pass_time(120)
        assert ivs.get_channel(arn=main)["channel"]["latencyMode"] == "LOW"
        target = {**targets_of(world)["dev"], "guardrails": {"maxUpdates": 0}}
        world.repo.commit({"ivs-reconciler.yaml": {"stack": "acme-live", "specs": [], "targets": {"dev": target}}})
        world.settle()
        ivs.update_channel(arn=main, latencyMode="NORMAL")
        world.pass_time(120)
        assert world.last().status is RunStatus.REFUSED
        assert "--allow-updates" in world.last().message
        world.repo.commit(
            {"ivs-reconciler.yaml": {"stack": "acme-live", "specs": [], "targets": {"dev": targets_of(world)["dev"]}}}
        )
        world.repo.git("checkout", "--quiet", "-b", "other")
        world.repo.git("branch", "--quiet", "-D", "main")
        world.settle()
        world.pass_time(300)
        assert (world.last().mode, ivs.get_channel(arn=main)["channel"]["latencyMode"]) == (Mode.PLAN, "NORMAL")


def test_a_create_that_failed_is_tried_again(healing: World) -> None:
    world = healing
    with world.ivs() as ivs:
        ivs.delete_channel(arn=arn_of(ivs, "side"))
        world.sandboxes["dev"].control.add_fault(
            "error", operation="CreateChannel", times=2, code="ServiceQuotaExceededException", status=402
        )
        world.pass_time(120)
        assert world.last().status is RunStatus.INCOMPLETE
        world.pass_time(600)
        assert names(ivs) == {"main", "side", "gone"}
        assert world.last().status in (RunStatus.APPLIED, RunStatus.IN_SYNC)


def test_without_a_record_only_what_is_as_the_commit_says_is_healed(tmp_path: Path) -> None:
    spec: dict[str, object] = {"channels": {"main": {}, "side": {"latencyMode": "NORMAL"}}}
    with World(tmp_path, schedule=Schedule(mode=Mode.HEAL, interval=100), spec=spec) as world, world.ivs() as ivs:
        world.settle()
        assert (world.last().status, writes(world)) == (RunStatus.PENDING, set()), "a first commit waits as well"
        assert run(world.repo.folder, "apply", "--auto-approve").code == 0
        world.repo.commit({"specs/dev.yaml": {"channels": {"main": {"type": "BASIC"}, "side": {"type": "BASIC"}}}})
        ivs.update_channel(arn=arn_of(ivs, "side"), latencyMode="LOW")
        world.sandboxes["dev"].control.clear_calls()
        world.settle()
        world.pass_time(120)
        assert (world.last().status, writes(world)) == (RunStatus.PENDING, set()), "nobody knows what was applied"
