from __future__ import annotations

import io
import shutil
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from reconciler import logs
from reconciler.controller import pages
from reconciler.controller.controller import Schedule
from reconciler.controller.state import Mode, RunStatus, members_json
from tests.cli.support import arn_of
from tests.controller.repos import Repo
from tests.controller.world import SPEC, Inline, World

READS = ("List", "Get", "BatchGet")
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "123456789012", "AWS_SECRET_ACCESS_KEY": "any"}


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def test_observing_is_the_default_and_changes_nothing(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.settle()
        assert (world.last().mode, world.last().status, world.last().pending) == (Mode.OBSERVE, RunStatus.PENDING, 2)
        assert all(operation.startswith(READS) for operation in world.operations())


def test_planning_keeps_the_plan_and_changes_nothing(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(mode=Mode.PLAN)) as world:
        world.settle()
        run = world.last()
        plan = world.store.plan("dev", run.plan_id)
        assert plan is not None
        assert (plan.git_commit, plan.targets[0].summary.create) == (world.repo.head, 2)
        assert all(operation.startswith(READS) for operation in world.operations())


def test_applying_settles_what_was_merged_and_heals_what_was_changed(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY, interval=300)) as world:
        world.settle()
        assert (world.last().status, world.last().done) == (RunStatus.APPLIED, 2)
        with world.ivs() as ivs:
            arn = arn_of(ivs, "main-stage")
            ivs.update_channel(arn=arn, latencyMode="NORMAL")
            world.pass_time(400)
            assert ivs.get_channel(arn=arn)["channel"]["latencyMode"] == "LOW"
        statuses = [run.status for _, run in world.store.runs("dev")]
        assert statuses.count(RunStatus.APPLIED) == 2
        assert world.last().status in (RunStatus.APPLIED, RunStatus.IN_SYNC)
        assert (world.last().drifted, world.last().pending) == (0, 0)


def test_the_inventory_has_what_aws_reports_and_is_kept_in_the_store_alone(tmp_path: Path) -> None:
    spec: dict[str, object] = {"channels": {"main-stage": {"streamKey": {}}}}
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY), spec=spec) as world, world.ivs() as ivs:
        ivs.create_channel(name="lobby", tags={"ivs-reconciler:stack": "acme-lobby", "ivs-reconciler:id": "lobby"})
        ivs.create_channel(name="by-hand")
        world.settle()
        inventory = world.store.inventory("dev")
        assert inventory is not None
        channel = ivs.get_channel(arn=arn_of(ivs, "main-stage"))["channel"]
        (key,) = ivs.list_stream_keys(channelArn=channel["arn"])["streamKeys"]
        assert channel["playbackUrl"].startswith("https://")
        assert [(str(each.address), each.arn, each.name, each.url) for each in inventory.managed] == [
            ("channel/main-stage", channel["arn"], "main-stage", channel["playbackUrl"]),
            ("stream-key/main-stage", key["arn"], "", ""),
        ]
        owners = {each.name: each.owner for each in inventory.unmanaged}
        assert owners == {"lobby": "acme-lobby", "by-hand": ""}
        secret = ivs.get_stream_key(arn=key["arn"])["streamKey"]["value"]
        page = pages.resources(world.controller.snapshot(), world.store, "dev", {}) or ""
        assert channel["playbackUrl"] in page
        assert "owned by stack acme-lobby" in page
        assert secret not in page
        assert secret not in members_json(inventory)
        # In memory it would be megabytes for each target.
        assert (world.last().inventory, world.last().plan, world.last().result) == (None, None, None)
        world.restart()
        assert world.store.inventory("dev") == inventory


def test_a_new_commit_is_reconciled_at_once(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY, interval=36_000)) as world:
        world.settle()
        commit = world.repo.commit({"specs/dev.yaml": {"channels": {"main-stage": {}, "side-stage": {}, "third": {}}}})
        world.pass_time(90)
        assert (world.last().commit, world.last().status, world.last().managed) == (commit, RunStatus.APPLIED, 3)


def test_a_guardrail_refuses_and_is_never_forced(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY)) as world:
        world.repo.commit({"ivs-reconciler.yaml": world.project(guardrails={"maxDeletes": 0, "maxUpdates": 0})})
        world.settle()
        world.repo.commit(
            {
                "specs/dev.yaml": {
                    "channels": {"main-stage": {"latencyMode": "NORMAL"}, "side-stage": {"latencyMode": "NORMAL"}}
                }
            }
        )
        world.settle()
        assert world.last().status is RunStatus.REFUSED
        assert "--allow-updates" in world.last().message
        assert world.last().plan_id
        assert "UpdateChannel" not in world.operations()


def test_a_spec_without_resources_deletes_nothing(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY)) as world:
        project = world.project()
        project["targets"]["dev"]["prune"] = True  # type: ignore[index]
        world.repo.commit({"ivs-reconciler.yaml": project})
        world.settle()
        world.repo.commit({"specs/dev.yaml": {"channels": {}}})
        world.settle()
        assert world.last().status is RunStatus.REFUSED
        assert "DeleteChannel" not in world.operations()


def test_a_live_channel_blocks_its_change_until_the_stream_ends(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY)) as world, world.ivs() as ivs:
        world.settle()
        arn = arn_of(ivs, "main-stage")
        world.sandboxes["dev"].control.go_live(arn, viewers=41)
        world.repo.commit(
            {
                "specs/dev.yaml": {
                    "channels": {"main-stage": {"latencyMode": "NORMAL"}, "side-stage": {"latencyMode": "NORMAL"}}
                }
            }
        )
        world.settle()
        assert (world.last().status, world.last().blocked_by_live) == (RunStatus.BLOCKED, 1)
        assert world.last().message.endswith("with 41 viewers; it is applied when the stream has ended")
        assert [(each.name, each.viewers) for each in world.last().live_channels] == [("main-stage", 41)]
        world.sandboxes["dev"].control.go_offline(arn)
        world.pass_time(800)
        assert world.last().status in (RunStatus.APPLIED, RunStatus.IN_SYNC)
        assert ivs.get_channel(arn=arn)["channel"]["latencyMode"] == "NORMAL"


def test_the_controller_waits_for_a_broadcast_by_looking_again_and_not_by_holding_up_its_target(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY, interval=300)) as world:
        world.repo.commit({"ivs-reconciler.yaml": world.project(guardrails={"onLive": "wait", "liveDeadline": "2h"})})
        world.settle()
        with world.ivs() as ivs:
            arn = arn_of(ivs, "main-stage")
        world.sandboxes["dev"].control.go_live(arn, viewers=41)
        world.repo.commit({"specs/dev.yaml": {"channels": {"main-stage": {"latencyMode": "NORMAL"}, "side-stage": {}}}})
        world.settle()
        assert (world.last().status, world.last().blocked_by_live) == (RunStatus.BLOCKED, 1)
        world.sandboxes["dev"].control.go_offline(arn)
        world.pass_time(700)
        with world.ivs() as ivs:
            assert ivs.get_channel(arn=arn)["channel"]["latencyMode"] == "NORMAL"


def test_a_bad_file_stops_the_targets_it_belongs_to_and_no_other(tmp_path: Path) -> None:
    with World(tmp_path, "dev", "prod", schedule=Schedule(mode=Mode.APPLY)) as world:
        world.settle()
        world.repo.commit(
            {
                "specs/prod.yaml": "channels: {main-stage: {latencyMode: ULTRA}}\n",
                "specs/dev.yaml": {"channels": {"main-stage": {"latencyMode": "NORMAL"}}},
            }
        )
        world.settle()
        assert world.last("dev").status is RunStatus.APPLIED
        assert world.last("prod").status is RunStatus.BAD_SPEC
        assert "specs/prod.yaml:1:38" in world.last("prod").message
        assert str(tmp_path) not in world.last("prod").message
        assert world.controller.snapshot().states["prod"].last_read is not None
        world.repo.commit({"specs/prod.yaml": SPEC})
        world.settle()
        assert world.last("prod").status is RunStatus.IN_SYNC
        assert world.controller.snapshot().states["prod"].failures == 0


def test_a_target_that_cannot_be_read_comes_later_each_time_and_stops_no_other(tmp_path: Path) -> None:
    with World(tmp_path, "dev", "prod", schedule=Schedule(interval=100)) as world:
        world.sandboxes["prod"].control.add_fault(
            "error", operation="ListChannels", times=None, code="AccessDeniedException", status=403
        )
        world.pass_time(3600)
        failed = [run for _, run in world.store.runs("prod", 1000) if run.status is RunStatus.FAILED]
        good = [run for _, run in world.store.runs("dev", 1000)]
        assert len(good) > 30
        assert 3 < len(failed) < 12
        gaps = [later.started - earlier.started for earlier, later in zip(failed[::-1], failed[::-1][1:], strict=False)]
        assert gaps[-1] > 5 * gaps[0]
        world.sandboxes["prod"].control.clear_faults()
        world.pass_time(3700)
        assert world.last("prod").status is RunStatus.PENDING


def test_a_project_file_that_cannot_be_read_leaves_the_last_commit_in_place(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY)) as world:
        first = world.repo.head
        world.settle()
        world.repo.commit({"ivs-reconciler.yaml": "stack: [\n"})
        world.settle()
        repository = world.controller.snapshot().repository
        assert repository.trouble == "no-project"
        assert repository.commit is not None
        assert repository.commit.id == first
        with world.ivs() as ivs:
            ivs.update_channel(arn=arn_of(ivs, "main-stage"), latencyMode="NORMAL")
        world.pass_time(700)
        assert RunStatus.APPLIED in [run.status for _, run in world.store.runs("dev", 2)]
        world.restart()
        world.settle()
        repository = world.controller.snapshot().repository
        assert (repository.commit and repository.commit.id, repository.trouble) == (first, "no-project")


def test_a_branch_that_vanished_is_an_error_and_nothing_is_applied(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY)) as world, world.ivs() as ivs:
        world.settle()
        world.repo.git("checkout", "--quiet", "-b", "other")
        world.repo.git("branch", "-D", "main")
        world.settle()
        assert world.controller.snapshot().repository.trouble == "no-branch"
        arn = arn_of(ivs, "main-stage")
        ivs.update_channel(arn=arn, latencyMode="NORMAL")
        world.pass_time(700)
        assert (world.last().mode, world.last().status, world.last().drifted) == (Mode.PLAN, RunStatus.DRIFTED, 1)
        world.repo.git("branch", "main")
        world.pass_time(2000)
        assert world.controller.snapshot().repository.trouble is None
        assert ivs.get_channel(arn=arn)["channel"]["latencyMode"] == "LOW"


def test_a_suspended_target_is_left_alone_over_restarts_until_it_is_resumed(tmp_path: Path) -> None:
    with World(tmp_path, "dev", "prod", schedule=Schedule(interval=60)) as world:
        world.settle()
        world.store.suspend("dev", suspended=True)
        before = len(world.store.runs("dev", 1000))
        world.pass_time(300)
        world.restart()
        world.pass_time(300)
        assert len(world.store.runs("dev", 1000)) == before
        assert len(world.store.runs("prod", 1000)) > 8
        assert world.controller.snapshot().ready
        world.store.suspend("dev", suspended=False)
        world.step(1)
        assert len(world.store.runs("dev", 1000)) == before + 1


def test_a_request_is_served_at_once_and_once(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(interval=3600)) as world:
        world.settle()
        before = len(world.store.runs("dev", 1000))
        world.store.request("dev")
        world.pass_time(120)
        assert len(world.store.runs("dev", 1000)) == before + 1


def test_a_target_that_left_the_project_keeps_what_it_has(tmp_path: Path) -> None:
    with World(tmp_path, "dev", "prod", schedule=Schedule(mode=Mode.APPLY)) as world:
        world.settle()
        project = world.project()
        del project["targets"]["prod"]  # type: ignore[attr-defined]
        world.repo.commit({"ivs-reconciler.yaml": project})
        world.settle()
        assert list(world.controller.snapshot().states) == ["dev"]
        assert "DeleteChannel" not in world.operations("prod")
        with world.ivs("prod") as ivs:
            assert len(ivs.list_channels()["channels"]) == 2


def test_a_restart_continues_from_the_mirror_without_the_forge(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY)) as world, world.ivs() as ivs:
        world.settle()
        world.repo.folder.rename(tmp_path / "away")
        ivs.update_channel(arn=arn_of(ivs, "main-stage"), latencyMode="NORMAL")
        world.restart()
        world.settle()
        snapshot = world.controller.snapshot()
        assert snapshot.repository.trouble == "unreachable"
        assert not snapshot.ready
        assert snapshot.states["dev"].last_run is not None
        assert world.last().status is RunStatus.APPLIED
        (tmp_path / "away").rename(world.repo.folder)
        world.pass_time(2000)
        assert world.controller.snapshot().ready


def test_a_stop_gives_a_look_up_without_a_word(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.settle()
        before = len(world.store.runs("dev"))
        world.store.request("dev")
        world.controller.step()
        assert len(world.store.runs("dev")) == before + 1
        world.stop.set()
        world.step(10_000)
        assert len(world.store.runs("dev")) == before + 1


def test_a_fault_of_our_own_ends_one_look_and_is_said_without_its_words(tmp_path: Path) -> None:
    with World(tmp_path, "dev", "prod") as world:
        world.sandboxes["prod"].control.add_fault("html", operation="*", times=1)
        world.settle()

        def broken(*_: object) -> None:
            raise KeyError("sk_us-west-2_secret")

        deps = world.controller._deps
        object.__setattr__(deps, "on_request", broken)
        world.pass_time(700)
        assert world.last().status is RunStatus.FAILED
        assert "KeyError" in world.last().message
        assert "secret" not in world.last().message


def test_a_list_that_comes_back_empty_does_not_recreate_everything(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY)) as world, world.ivs() as ivs:
        world.settle()
        arns = [channel["arn"] for channel in ivs.list_channels()["channels"]]
        for arn in arns:
            ivs.delete_channel(arn=arn)
        world.sandboxes["dev"].control.clear_calls()
        world.pass_time(700)
        assert (world.last().status, world.last().drifted) == (RunStatus.REFUSED, 2)
        said = "AWS lists 0 of the 2 channels recorded at the last apply, so 2 would be recreated"
        assert said in world.last().message
        assert "--allow-missing" in world.last().message
        assert "CreateChannel" not in world.operations()


def test_a_spec_that_lost_one_of_them_does_not_make_an_empty_list_more_credible(tmp_path: Path) -> None:
    spec: dict[str, object] = {"channels": {name: {} for name in ("one", "two", "three")}}
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY), spec=spec) as world, world.ivs() as ivs:
        world.settle()
        for channel in ivs.list_channels()["channels"]:
            ivs.delete_channel(arn=channel["arn"])
        world.repo.commit({"specs/dev.yaml": {"channels": {"one": {}, "two": {}}}})
        world.settle()
        assert world.last().status is RunStatus.REFUSED
        assert "AWS lists 0 of the 3 channels recorded at the last apply" in world.last().message
        assert ivs.list_channels()["channels"] == []


def test_a_list_without_most_resources_is_refused_and_one_without_stream_keys_is_not(tmp_path: Path) -> None:
    spec: dict[str, object] = {"channels": {f"c{number:02}": {"streamKey": {}} for number in range(12)}}
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY), spec=spec) as world, world.ivs() as ivs:
        world.settle()
        arns = {channel["name"]: channel["arn"] for channel in ivs.list_channels()["channels"]}
        for arn in arns.values():
            ivs.delete_stream_key(arn=ivs.list_stream_keys(channelArn=arn)["streamKeys"][0]["arn"])
        world.pass_time(700)
        assert (world.last().drifted, world.last().pending) == (0, 0), (
            "channels without keys are nothing unusual, and get them again"
        )
        for name in list(arns)[:7]:
            ivs.delete_channel(arn=arns[name])
        world.pass_time(700)
        assert world.last().status is RunStatus.REFUSED
        assert (
            "AWS lists 5 of the 12 channels recorded at the last apply, so 7 would be recreated" in world.last().message
        )


def test_one_lost_resource_of_several_is_recreated(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY)) as world, world.ivs() as ivs:
        world.settle()
        ivs.delete_channel(arn=arn_of(ivs, "main-stage"))
        world.pass_time(700)
        assert RunStatus.APPLIED in [run.status for _, run in world.store.runs("dev", 2)]
        assert arn_of(ivs, "main-stage")


def test_settings_for_targets_that_are_not_there_are_pointed_out(tmp_path: Path) -> None:
    stream = io.StringIO()
    logs.configure("json", stream=stream)
    with World(tmp_path, schedule=Schedule(modes={"prdo": Mode.APPLY})) as world:
        world.settle()
    logs.configure()
    assert "settings for unknown targets" in stream.getvalue()


@pytest.mark.parametrize(
    "remains",
    [{}, {"ivs-reconciler.yaml": "stack: acme-live\ntargets: {}\n"}, {"other/ivs-reconciler.yaml": "stack: x\n"}],
)
def test_a_branch_or_folder_that_became_empty_takes_nothing_away(tmp_path: Path, remains: dict[str, object]) -> None:
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY)) as world, world.ivs() as ivs:
        project = world.project()
        project["targets"]["dev"]["prune"] = True  # type: ignore[index]
        world.repo.commit({"ivs-reconciler.yaml": project})
        world.settle()
        world.repo.git("rm", "-r", "--quiet", ".")
        world.repo.commit(remains, "Gone")
        world.settle()
        world.pass_time(2000)
        assert world.controller.snapshot().repository.trouble == "no-project"
        assert len(ivs.list_channels()["channels"]) == 2
        world.restart()
        world.pass_time(2000)
        assert len(ivs.list_channels()["channels"]) == 2


def test_specs_that_are_all_gone_take_nothing_away(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY)) as world, world.ivs() as ivs:
        world.settle()
        world.repo.commit({"specs/dev.yaml": None})
        world.settle()
        assert world.last().status is RunStatus.BAD_SPEC
        assert len(ivs.list_channels()["channels"]) == 2


def test_a_request_during_a_fetch_is_not_lost(tmp_path: Path) -> None:
    class Later(Inline):
        """Holds jobs back until they are let go."""

        def __init__(self) -> None:
            self.held: list[tuple[Future[Any], Any, Any]] = []

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            self.held.append((future, fn, args))
            return future

    with World(tmp_path, schedule=Schedule(fetch=36_000)) as world:
        world.settle()
        later = Later()
        world.controller._fetcher = later
        world.controller.request_fetch()
        world.step(1)
        (job,) = later.held
        found = job[1](*job[2])
        commit = world.repo.commit({})
        world.controller.request_fetch()
        world.step(1)
        job[0].set_result(found)
        world.step(1)
        assert len(later.held) == 2
        later.held[1][0].set_result(later.held[1][1](*later.held[1][2]))
        world.step(1)
        followed = world.controller.snapshot().repository.commit
        assert followed is not None
        assert followed.id == commit
        world.step(1)
        assert len(later.held) == 2


def test_a_held_lock_postpones_the_apply_and_a_file_lock_is_in_the_state_folder(tmp_path: Path) -> None:
    from reconciler.model.target import FileLock, Target
    from reconciler.workflow.locks import lock_targets

    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY)) as world:
        project = world.project()
        project["targets"]["dev"]["lock"] = {"file": "locks/dev.lock"}  # type: ignore[index]
        world.repo.commit({"ivs-reconciler.yaml": project})
        path = tmp_path / "state" / "targets" / "locks" / "dev.lock"
        path.parent.mkdir(parents=True)
        with lock_targets((Target("dev", "us-west-2", lock=FileLock(str(path))),), "apply"):
            world.settle()
            assert world.last().status is RunStatus.REFUSED
            assert "the next reconciliation tries again, or release it if that run has ended" in world.last().message
            world.pass_time(60)
            assert "CreateChannel" not in world.operations()
        world.pass_time(30)
        assert (world.last().status, world.last().managed) == (RunStatus.APPLIED, 2)


def test_a_rule_to_wait_for_broadcasts_holds_no_worker_up(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY)) as world, world.ivs() as ivs:
        world.repo.commit({"ivs-reconciler.yaml": world.project(guardrails={"onLive": "wait", "liveDeadline": "6h"})})
        world.settle()
        arn = arn_of(ivs, "main-stage")
        world.sandboxes["dev"].control.go_live(arn, viewers=3)
        world.repo.commit(
            {
                "specs/dev.yaml": {
                    "channels": {"main-stage": {"latencyMode": "NORMAL"}, "side-stage": {"latencyMode": "NORMAL"}}
                }
            }
        )
        began = world.clock.now()
        world.settle()
        assert world.clock.now() - began < 60
        assert (world.last().status, world.last().blocked_by_live) == (RunStatus.BLOCKED, 1)
        world.sandboxes["dev"].control.go_offline(arn)
        world.pass_time(800)
        assert ivs.get_channel(arn=arn)["channel"]["latencyMode"] == "NORMAL"


def test_a_submodule_below_a_pattern_is_a_bad_spec_of_its_targets_and_deletes_nothing(tmp_path: Path) -> None:
    with World(tmp_path, "dev", "other", schedule=Schedule(mode=Mode.APPLY)) as world:
        project = world.project(guardrails={"maxDeletePercent": None})
        targets = project["targets"]
        assert isinstance(targets, dict)
        targets["dev"] |= {"prune": True, "specs": ["specs/dev/**/*.yaml", "specs/dev.yaml"]}
        files: dict[str, object] = {
            "specs/dev.yaml": {"channels": {"a": {}}},
            "specs/dev/b.yaml": {"channels": {"b": {}}},
        }
        world.repo.commit({"ivs-reconciler.yaml": project, **files})
        world.settle()
        shared = Repo(tmp_path / "shared")
        shared.commit({"b.yaml": {"channels": {"b": {}}}})
        world.repo.write({"specs/dev/b.yaml": None, "specs/dev/c.yaml": "channels: {}\n"})
        world.repo.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(shared.folder), "specs/dev/s")
        world.repo.commit({})
        world.pass_time(120)
        run = world.last("dev")
        assert run.status is RunStatus.BAD_SPEC
        assert "specs/dev/s: is a submodule, and the controller does not fetch submodules" in run.message
        assert world.last("other").status in (RunStatus.APPLIED, RunStatus.IN_SYNC)
        with world.ivs("dev") as ivs:
            assert {one["name"] for one in ivs.list_channels()["channels"]} == {"a", "b"}


def test_a_branch_that_was_moved_back_keeps_the_last_commit_until_it_is_allowed_once(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY)) as world, world.ivs() as ivs:
        project = world.project(guardrails={"maxDeletePercent": None})
        targets = project["targets"]
        assert isinstance(targets, dict)
        targets["dev"]["prune"] = True
        old = world.repo.commit({"ivs-reconciler.yaml": project})
        new = world.repo.commit({"specs/dev.yaml": {"channels": {name: {} for name in "abcd"}}})
        world.settle()
        assert len(ivs.list_channels()["channels"]) == 4
        world.repo.git("reset", "--quiet", "--hard", old)
        for _ in range(2):
            world.settle()
            repository = world.controller.snapshot().repository
            assert (repository.commit and repository.commit.id, repository.trouble) == (new, "rewound")
            world.pass_time(700)
            assert {one["name"] for one in ivs.list_channels()["channels"]} == set("abcd")
            world.restart()
        world.store.close()
        world.begin(allow_rewind=True)
        world.settle()
        repository = world.controller.snapshot().repository
        assert (repository.commit and repository.commit.id, repository.trouble) == (old, None)
        assert {one["name"] for one in ivs.list_channels()["channels"]} == {"main-stage", "side-stage"}
        world.repo.git("reset", "--quiet", "--hard", "HEAD~1")
        world.settle()
        assert world.controller.snapshot().repository.trouble == "rewound"


def test_a_lost_mirror_does_not_let_a_branch_go_back(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY)) as world, world.ivs() as ivs:
        old = world.repo.head
        new = world.repo.commit({"specs/dev.yaml": {"channels": {name: {} for name in "abcd"}}})
        world.settle()
        world.repo.git("reset", "--quiet", "--hard", old)
        for damage in ("mirror", "objects"):
            if damage == "mirror":
                shutil.rmtree(tmp_path / "state" / "mirror.git")
            else:
                (tmp_path / "state" / "mirror.git" / "HEAD").write_text("damaged")
            world.restart()
            world.settle()
            snapshot = world.controller.snapshot()
            assert (snapshot.repository.trouble, snapshot.repository.commit) == ("rewound", None)
            assert {one["name"] for one in ivs.list_channels()["channels"]} == set("abcd")
        world.repo.git("reset", "--quiet", "--hard", new)
        world.repo.commit({})
        world.settle()
        assert world.controller.snapshot().repository.trouble is None
        assert world.last().mode is Mode.APPLY


def begin_on_a_fresh_disk(world: World) -> None:
    """Replace the controller by one that only observes, and whose state directory is empty."""
    world.store.close()
    shutil.rmtree(world.folder / "state")
    world.schedule = Schedule()
    world.begin()
    world.settle()


THREE = {"channels": {**dict(SPEC["channels"]), "third-stage": {}}}  # type: ignore[call-overload]


def test_on_an_empty_disk_git_distinguishes_missing_from_pending(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY)) as world, world.ivs() as ivs:
        world.settle()
        world.repo.commit({"specs/dev.yaml": THREE})
        begin_on_a_fresh_disk(world)
        assert (world.last().status, world.last().drifted, world.last().pending) == (RunStatus.PENDING, 0, 1)
        ivs.delete_channel(arn=arn_of(ivs, "side-stage"))
        world.pass_time(700)
        assert (world.last().status, world.last().drifted, world.last().pending) == (RunStatus.DRIFTED, 1, 1)
        assert world.last().message == ""


def test_of_a_long_history_only_the_newest_commits_decide(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY)) as world:
        world.settle()
        applied = world.repo.head
        world.repo.commit({"specs/dev.yaml": THREE})
        for number in range(50):
            world.repo.commit({"README.md": str(number)})
        begin_on_a_fresh_disk(world)
        assert (world.last().status, world.last().drifted, world.last().pending) == (RunStatus.DRIFTED, 1, 0)
        assert f"commit {applied[:10]} of the last apply is not among the newest commits" in world.last().message


def test_a_target_in_sync_gets_its_commit_recorded_once_if_that_is_unknown(tmp_path: Path) -> None:
    tag = "ivs-reconciler:commit"
    with World(tmp_path, schedule=Schedule(mode=Mode.APPLY)) as world, world.ivs() as ivs:
        world.settle()
        (arn,) = (each["arn"] for each in ivs.list_channels()["channels"] if tag in each["tags"])
        ivs.tag_resource(resourceArn=arn, tags={tag: "unknown-0123456789ab"})
        head = world.repo.commit({"README.md": "No change of the spec"})
        world.settle()
        assert ivs.list_tags_for_resource(resourceArn=arn)["tags"][tag] == head
        assert world.last().status is RunStatus.IN_SYNC
        world.repo.commit({"README.md": "Nor here"})
        world.sandboxes["dev"].control.clear_calls()
        world.settle()
        assert world.last().status is RunStatus.IN_SYNC
        assert "TagResource" not in world.operations()
