from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.controller.controller import Schedule
from reconciler.controller.state import Mode, RunStatus
from reconciler.errors import UsageError
from reconciler.git.source import ProjectRules
from reconciler.model.target import Guardrails
from reconciler.spec.project import load_pin
from tests.controller.test_controller import READS, _credentials  # noqa: F401 - a fixture that is always used
from tests.controller.world import World

WRITER = Schedule(modes={"dev": Mode.APPLY}, interval=100)


def targets_of(world: World) -> dict[str, Any]:
    targets = world.project()["targets"]
    assert isinstance(targets, dict)
    return targets


def put(world: World, targets: Mapping[str, object], stack: str = "acme-live") -> None:
    world.repo.commit({"ivs-reconciler.yaml": {"stack": stack, "specs": [], "targets": targets}})
    world.settle()


def writes(world: World, name: str) -> set[str]:
    return {operation for operation in world.operations(name) if not operation.startswith(READS)}


def test_targets_that_were_swapped_are_observed_until_they_are_accepted(tmp_path: Path) -> None:
    with World(tmp_path, "dev", "prod", schedule=WRITER) as world:
        world.settle()
        assert world.last("dev").status is RunStatus.APPLIED
        world.sandboxes["dev"].control.clear_calls()
        targets = targets_of(world)
        put(world, {"dev": targets["prod"], "prod": targets["dev"]})
        world.restart()
        world.pass_time(300)
        assert (writes(world, "dev"), writes(world, "prod")) == (set(), set())
        assert world.last("dev").mode is Mode.OBSERVE
        assert "was moved from us-west-2, account 123456789012, endpoint http" in world.last("dev").message
        assert "run --accept dev" in world.last("dev").message
        assert world.controller.snapshot().modes == {"dev": Mode.OBSERVE, "prod": Mode.OBSERVE}
        assert world.last("prod").message == "", "the operator has it observed anyway"
        put(world, targets)
        assert world.last("dev").mode is Mode.APPLY, "it is where it was accepted"
        put(world, {"dev": targets["prod"], "prod": targets["dev"]})
        place = world.store.accept("dev")
        assert world.sandboxes["prod"].endpoint_url in str(place)
        world.pass_time(5)
        assert world.last("dev").mode is Mode.APPLY


@pytest.mark.parametrize(
    "change",
    [
        {"region": "eu-west-1"},
        {"accountId": "999999999999"},
        {"roleArn": "arn:aws:iam::123456789012:role/other"},
        {"profile": "other"},
        {"endpointUrl": None, "sandbox": "state.db"},
        {"endpointUrl": None, "sandbox": "state.db", "accountId": None},
    ],
    ids="+".join,
)
def test_any_move_of_a_target_takes_its_mode(tmp_path: Path, change: dict[str, str | None]) -> None:
    with World(tmp_path, schedule=WRITER, spec={"channels": {"a": {}}}) as world:
        world.settle()
        world.sandboxes["dev"].control.clear_calls()
        target = {**targets_of(world)["dev"], **change}
        world.repo.write({"specs/dev.yaml": {"channels": {"a": {}, "b": {}}}})
        put(world, {"dev": {name: value for name, value in target.items() if value is not None}})
        assert world.last().mode is Mode.OBSERVE
        assert "was moved from us-west-2" in world.last().message
        assert writes(world, "dev") <= {"AssumeRole"}


def test_a_stated_account_that_is_the_one_that_was_read_moves_nothing_and_another_one_is_only_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with World(tmp_path, schedule=WRITER) as world:
        stated = targets_of(world)["dev"]
        unstated = {name: value for name, value in stated.items() if name != "accountId"}
        world.repo.commit({"ivs-reconciler.yaml": {"stack": "acme-live", "specs": [], "targets": {"dev": unstated}}})
        world.settle()
        assert world.last().status is RunStatus.APPLIED
        for target in (stated, unstated):
            put(world, {"dev": target})
            assert (world.last().mode, world.last().message) == (Mode.APPLY, "")
        put(world, {"dev": {**unstated, "accountId": "222222222222"}})
        assert world.last().mode is Mode.OBSERVE
        world.sandboxes["dev"].control.clear_calls()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "222222222222")
        put(world, {"dev": unstated})
        assert world.last().mode is Mode.OBSERVE
        assert "its mode applies to account 123456789012" in world.last().message
        assert writes(world, "dev") == set()
        world.store.accept("dev")
        world.pass_time(5)
        assert world.last().status is RunStatus.APPLIED


@pytest.mark.parametrize("is_pinned", [False, True])
def test_credentials_of_another_account_are_accepted_by_name_and_by_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_pinned: bool
) -> None:
    with World(tmp_path, schedule=WRITER) as world:
        target = {name: value for name, value in targets_of(world)["dev"].items() if name != "accountId"}
        project = {"stack": "acme-live", "specs": [], "targets": {"dev": target}}
        world.repo.commit({"ivs-reconciler.yaml": project})
        pin = tmp_path / "pin.yaml"
        pin.write_text(yaml.safe_dump(project), encoding="utf-8")
        rules = ProjectRules(pin=load_pin(pin) if is_pinned else None)
        world.store.close()
        world.begin(rules=rules)
        world.settle()
        assert world.last().status is RunStatus.APPLIED
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "222222222222")
        for number in range(3):
            world.pass_time(200)
            assert "its mode applies to account 123456789012" in world.last().message
            world.repo.commit({"specs/dev.yaml": {"channels": {f"c{number}": {}}}})
            world.settle()
            world.store.close()
            world.begin(rules=rules)
        assert "account 222222222222" in str(world.store.accept("dev"))
        world.pass_time(5)
        assert world.last().mode is Mode.APPLY


def test_a_target_that_is_new_or_was_renamed_is_observed_until_it_is_accepted(tmp_path: Path) -> None:
    with World(tmp_path, "dev", "prod", schedule=Schedule(mode=Mode.APPLY, interval=100)) as world:
        prod, dev = targets_of(world)["prod"], targets_of(world)["dev"]
        world.repo.commit({"ivs-reconciler.yaml": {"stack": "acme-live", "specs": [], "targets": {"dev": dev}}})
        world.settle()
        assert world.last().status is RunStatus.APPLIED, "the first commit has the modes that the operator gave"
        put(world, {"dev": dev, "prod": prod})
        world.restart()
        world.pass_time(200)
        assert writes(world, "prod") == set()
        assert "the target is new (us-west-2, account 123456789012" in world.last("prod").message
        world.store.accept("prod")
        world.pass_time(5)
        assert world.last("prod").status is RunStatus.APPLIED
        world.sandboxes["prod"].control.clear_calls()
        world.repo.write({"specs/prod.yaml": {"channels": {"other": {}}}})
        put(world, {"dev": dev, "prod2": prod})
        world.pass_time(200)
        assert world.last("prod2").mode is Mode.OBSERVE
        assert writes(world, "prod") == set()


def test_a_suspension_stays_with_the_account_and_the_name(tmp_path: Path) -> None:
    with World(tmp_path, "dev", "prod", schedule=Schedule(interval=100)) as world:
        world.settle()
        targets = targets_of(world)
        world.store.suspend("prod", suspended=True)

        def suspended() -> set[str]:
            return {name for name, state in world.controller.snapshot().states.items() if state.suspended}

        put(world, {"dev": targets["dev"], "prod2": targets["prod"]})
        assert suspended() == {"prod2"}
        world.restart()
        world.settle()
        assert suspended() == {"prod2"}
        world.store.suspend("prod2", suspended=False)
        put(world, {"dev": targets["dev"], "prod3": targets["prod"]})
        assert suspended() == set()
        put(world, targets)
        world.store.suspend("prod", suspended=True)
        put(world, {"dev": targets["prod"], "prod": targets["dev"]})
        assert suspended() == {"dev", "prod"}
        world.store.suspend("dev", suspended=False)
        world.settle()
        assert suspended() == {"prod"}


def test_a_place_that_a_suspended_target_left_stays_suspended(tmp_path: Path) -> None:
    with World(
        tmp_path, "dev", "prod", schedule=Schedule(interval=100, modes={"dev": Mode.APPLY, "prod": Mode.APPLY})
    ) as world:
        world.settle()
        targets = targets_of(world)
        dev, prod = targets["dev"], targets["prod"]

        def suspended() -> set[str]:
            return {name for name, state in world.controller.snapshot().states.items() if state.suspended}

        world.store.suspend("prod", suspended=True)
        put(world, {"dev": dev, "prod": {**prod, "region": "eu-west-1"}})  # away from its place,
        assert suspended() == {"prod"}
        world.restart()
        world.sandboxes["prod"].control.clear_calls()
        world.repo.write({"specs/prod.yaml": {"channels": {"other": {}}}})
        put(world, {"dev": prod})  # and another accepted name to it
        world.pass_time(200)
        assert suspended() == {"dev"}
        assert world.sandboxes["prod"].control.calls() == []
        put(world, {"dev": dev, "prod": prod})
        world.store.suspend("prod", suspended=False)
        world.settle()
        assert suspended() == {"dev"}, "its name was suspended where it was put"
        world.store.suspend("dev", suspended=False)
        world.settle()
        assert suspended() == set()
        put(world, {"dev": prod, "prod": dev})
        assert suspended() == set(), "both places were resumed"
        put(world, {"dev": {**prod, "region": "eu-west-1"}, "prod": dev})
        assert suspended() == {"dev"}, "nobody resumed a target there"


def test_what_is_accepted_is_what_was_seen(tmp_path: Path) -> None:
    with World(tmp_path, "dev", "prod", schedule=Schedule(interval=100, modes={"dev": Mode.APPLY})) as world:
        world.settle()
        targets = targets_of(world)
        put(world, {**targets, "dev": {**targets["dev"], "region": "eu-west-1"}})
        world.pass_time(200)
        (check,) = re.findall(r"--accept dev@([0-9a-f]{8})", world.last("dev").message)
        put(world, {**targets, "dev": {**targets["dev"], "region": "eu-central-1"}})
        world.pass_time(200)
        with pytest.raises(
            UsageError, match=r"dev is no longer where dev@[0-9a-f]{8} was: it is in eu-central-1.*--accept dev@"
        ):
            world.store.accept("dev", check)
        (check,) = re.findall(r"--accept dev@([0-9a-f]{8})", world.last("dev").message)
        assert world.store.accept("dev", check) == world.store.accept("dev")
        world.pass_time(200)
        assert world.last("dev").mode is Mode.APPLY


def test_a_suspension_stays_with_the_account_that_was_read_after_further_commits(tmp_path: Path) -> None:
    with World(tmp_path, schedule=Schedule(interval=100)) as world:
        stated = targets_of(world)["dev"]
        unstated = {name: value for name, value in stated.items() if name != "accountId"}
        put(world, {"dev": unstated})
        world.store.suspend("dev", suspended=True)
        put(world, {"dev": unstated})
        put(world, {"dev2": {**stated, "profile": "other"}})
        assert world.controller.snapshot().states["dev2"].suspended


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE targets SET accepted = '{'",
        "UPDATE targets SET accepted = '[1]'",
        "UPDATE targets SET accepted = '7'",
        "UPDATE targets SET detail = x'00'",
        "UPDATE runs SET status = 'nonsense'",
        "UPDATE runs SET counts = '{'",
        "DROP TABLE targets",
        "",
    ],
)
def test_with_a_damaged_or_lost_state_nothing_is_applied(tmp_path: Path, damage: str) -> None:
    with World(tmp_path, schedule=WRITER) as world:
        world.settle()
        world.sandboxes["dev"].control.clear_calls()
        world.repo.commit({"specs/dev.yaml": {"channels": {"other": {}}}})
        world.store.close()
        path = tmp_path / "state" / "controller.db"
        if damage:
            with closing(sqlite3.connect(path)) as db:
                db.execute(damage)
                db.commit()
        else:
            path.unlink()
        world.begin()
        world.pass_time(300)
        assert "ListChannels" in world.operations()
        assert writes(world, "dev") == set()
        assert world.last().mode is Mode.OBSERVE
        assert world.last().message
        if not damage:
            world.store.accept("dev")
            world.pass_time(5)
            assert world.last().status is RunStatus.APPLIED


def test_a_mirror_whose_commit_is_not_usable_any_more_is_no_first_use(tmp_path: Path) -> None:
    with World(tmp_path, schedule=WRITER) as world:
        world.settle()
        world.sandboxes["dev"].control.clear_calls()
        project = world.project()
        world.store.close()
        (tmp_path / "state" / "controller.db").unlink()
        world.begin(rules=ProjectRules(config="other.yaml"))
        world.repo.commit({"other.yaml": project, "specs/dev.yaml": {"channels": {"other": {}}}})
        world.settle()
        assert world.last().mode is Mode.OBSERVE
        assert writes(world, "dev") == set()


def test_a_state_that_becomes_unreadable_stops_applies_until_it_can_be_read(tmp_path: Path) -> None:
    with World(tmp_path, schedule=WRITER) as world:
        world.settle()
        world.sandboxes["dev"].control.clear_calls()
        with closing(sqlite3.connect(tmp_path / "state" / "controller.db", isolation_level=None)) as db:
            db.execute("ALTER TABLE targets RENAME TO away")
            world.repo.commit({"specs/dev.yaml": {"channels": {"other": {}}}})
            world.settle()
            world.pass_time(200)
            assert writes(world, "dev") == set()
            assert "nothing is applied: cannot read the state: no such table: targets" in world.last().message
            db.execute("ALTER TABLE away RENAME TO targets")
        world.pass_time(200)
        assert "CreateChannel" in writes(world, "dev")


def test_a_renamed_stack_is_not_followed_until_it_is_allowed_once(tmp_path: Path) -> None:
    with World(tmp_path, schedule=WRITER) as world:
        world.settle()
        first = world.repo.head
        world.sandboxes["dev"].control.clear_calls()
        put(world, targets_of(world), stack="acme-2")
        for _ in range(2):
            world.pass_time(300)
            repository = world.controller.snapshot().repository
            assert (repository.trouble, repository.commit and repository.commit.id) == ("new-stack", first)
            assert "renames the stack from acme-live to acme-2" in repository.message
            assert "--allow-new-stack" in repository.message
            assert writes(world, "dev") == set()
            world.restart()
        world.store.close()
        world.begin(allow_new_stack=True)
        world.settle()
        snapshot = world.controller.snapshot()
        assert (snapshot.repository.trouble, snapshot.stack) == (None, "acme-2")
        put(world, targets_of(world))
        assert world.controller.snapshot().repository.trouble == "new-stack"


def test_guardrails_of_the_settings_are_not_lifted_by_a_commit(tmp_path: Path) -> None:
    spec: dict[str, object] = {"channels": {name: {} for name in "abcdef"}}
    with World(tmp_path, schedule=WRITER, spec=spec) as world:
        world.store.close()
        world.begin(rules=ProjectRules(floor=Guardrails(max_deletes=2, max_delete_percent=None)))
        target = {**targets_of(world)["dev"], "prune": True}
        lax = {"maxDeletes": 100, "maxDeletePercent": None}
        world.repo.commit(
            {"ivs-reconciler.yaml": {"stack": "acme-live", "specs": [], "guardrails": lax, "targets": {"dev": target}}}
        )
        world.settle()
        world.repo.commit({"specs/dev.yaml": {"channels": {name: {} for name in "abc"}}})
        world.settle()
        assert world.last().status is RunStatus.REFUSED
        assert "3 of 6 managed channels would be deleted (the limit is 2)" in world.last().message
        world.repo.commit({"specs/dev.yaml": {"channels": {name: {} for name in "abcd"}}})
        world.settle()
        assert world.last().status is RunStatus.APPLIED
        strict = {"dev": {**target, "guardrails": {"maxDeletes": 0}}}
        world.repo.commit(
            {
                "ivs-reconciler.yaml": {"stack": "acme-live", "specs": [], "guardrails": lax, "targets": strict},
                "specs/dev.yaml": {"channels": {name: {} for name in "abc"}},
            }
        )
        world.settle()
        assert "1 of 4 managed channels would be deleted (the limit is 0)" in world.last().message


def test_a_pin_of_the_operator_holds_against_the_repository_and_accepts_what_it_names(tmp_path: Path) -> None:
    with World(tmp_path, "dev", "prod", schedule=Schedule(mode=Mode.APPLY, interval=100)) as world:
        dev, prod = (targets_of(world)[name] for name in ("dev", "prod"))
        pin = tmp_path / "pin.yaml"
        pin.write_text(yaml.safe_dump(world.project()), encoding="utf-8")
        world.store.close()
        world.begin(rules=ProjectRules(pin=load_pin(pin)))
        world.repo.commit({"ivs-reconciler.yaml": {"stack": "acme-live", "specs": [], "targets": {"dev": dev}}})
        world.settle()
        put(world, {"dev": dev, "prod": prod})
        assert world.last("prod").status is RunStatus.APPLIED, "it is new, and the pin names it"
        world.sandboxes["dev"].control.clear_calls()
        world.sandboxes["prod"].control.clear_calls()
        put(world, {"dev": prod, "prod": {**prod, "region": "eu-west-1"}, "new": {**dev, "region": "eu-west-1"}})
        assert {world.last(name).status for name in ("dev", "prod", "new")} == {RunStatus.BAD_SPEC}
        assert "targets.dev.endpointUrl is " in world.last("dev").message
        assert "targets.new is not in " in world.last("new").message
        assert world.operations("dev") | world.operations("prod") == set()
        receivers = {"ops": {"webhook": {"urlEnv": "HOME"}}}
        world.repo.commit({"ivs-reconciler.yaml": {**world.project(), "receivers": receivers}})
        world.settle()
        repository = world.controller.snapshot().repository
        assert (repository.trouble, "receivers.ops is not as in " in repository.message) == ("no-project", True)


def test_files_outside_the_repository_need_an_allowed_path(tmp_path: Path) -> None:
    with World(tmp_path, schedule=WRITER) as world:
        place = tmp_path / "store" / "x.db"
        target = {"region": "us-west-2", "sandbox": str(place), "specs": ["specs/dev.yaml"]}
        world.repo.commit({"ivs-reconciler.yaml": {"stack": "acme-live", "specs": [], "targets": {"dev": target}}})
        world.settle()
        assert world.controller.snapshot().repository.trouble == "no-project"
        assert "--allow-path" in world.controller.snapshot().repository.message
        assert not place.exists()
        world.store.close()
        world.begin(rules=ProjectRules(allowed_paths=(str(tmp_path / "store"),)))
        world.settle()
        assert world.last().status is RunStatus.APPLIED
        assert place.exists()
