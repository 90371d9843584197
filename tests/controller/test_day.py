"""A day in the life of a controller, on a clock of the test's own: 24 hours of commits, changes outside, outages of AWS, of the forge and of a receiver, and restarts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.controller.controller import Schedule
from reconciler.controller.state import Mode, RunStatus
from tests.cli.support import arn_of
from tests.controller.receiver import Receiver, receiver
from tests.controller.repos import Repo
from tests.controller.world import World

HOUR = 3600.0
# Twice as often would only double the passes that find nothing to do.
PACE = Schedule(interval=1800, fetch=600, mode=Mode.APPLY)
WATCHED = Schedule(interval=1800, fetch=600, mode=Mode.APPLY, modes={"watched": Mode.OBSERVE})


class Day:
    """What may happen, each thing once or more at a random moment. ``spec`` is what the branch says at the end."""

    def __init__(self, world: World, told: Receiver, seed: int) -> None:
        self.world = world
        self.told = told
        self.random = random.Random(seed)
        self.spec: dict[str, Any] = {"channels": {f"stage-{number}": {} for number in range(8)}}
        self.happened: Counter[str] = Counter()
        self.away = Path(f"{world.repo.folder}-away")

    def events(self) -> list[tuple[float, Callable[[], None]]]:
        """Return what happens when, in order: nothing in the last two hours, so that everything can come to rest."""
        every: list[tuple[int, Callable[[], None]]] = [
            (10, self.commit),
            (2, self.broken_commit),
            (2, self.force_push),
            (14, self.change_outside),
            (4, self.delete_outside),
            (3, self.watched_changes),
            (4, self.aws_outage),
            (3, self.throttling),
            (3, self.lost_answers),
            (3, self.forge_outage),
            (2, self.deaf),
            (4, self.broadcast),
            (8, self.restart),
        ]
        moments = [(self.random.uniform(0.5 * HOUR, 21.5 * HOUR), what) for count, what in every for _ in range(count)]
        return sorted(moments, key=lambda moment: moment[0])

    def live_names(self) -> list[str]:
        return sorted(self.spec["channels"])

    def repo(self) -> Repo | None:
        return self.world.repo if self.world.repo.folder.exists() else None

    def push(self, *options: str) -> None:
        if repo := self.repo():
            repo.commit({f"specs/{name}.yaml": self.spec for name in self.world.names}, "A change", *options)

    def commit(self) -> None:
        if not self.repo():
            return
        channels = self.spec["channels"]
        match self.random.randrange(3):
            case 0:
                channels[f"new-{self.random.randrange(10**6)}"] = {}
            case 1:
                del channels[self.random.choice(sorted(channels))]
            case _:
                name = self.random.choice(sorted(channels))
                channels[name] = {"latencyMode": "NORMAL"} if not channels[name] else {}
        self.push()

    def broken_commit(self) -> None:
        if repo := self.repo():
            repo.commit({"specs/prod.yaml": "channels: [\n"}, "Broken")
            self.world.pass_time(1500)
            self.push()

    def force_push(self) -> None:
        """The branch is rewritten, which is not followed, and put back."""
        if repo := self.repo():
            head = repo.head
            self.push("--amend")
            self.world.pass_time(1500)
            repo.git("reset", "--quiet", "--hard", head)
            self.push()

    def change_outside(self) -> None:
        with self.world.ivs("prod") as ivs:
            for channel in ivs.list_channels(maxResults=100)["channels"][:2]:
                ivs.update_channel(arn=channel["arn"], latencyMode=self.random.choice(["LOW", "NORMAL"]))

    def delete_outside(self) -> None:
        with self.world.ivs("stage") as ivs:
            ours = [each for each in ivs.list_channels(maxResults=100)["channels"] if each["name"] != "unmanaged"]
            if ours:
                ivs.delete_channel(arn=ours[0]["arn"])

    def watched_changes(self) -> None:
        """A channel of the target that is only observed is changed, and put back after an hour."""
        with self.world.ivs("watched") as ivs:
            arn = arn_of(ivs, "stage-0")
            ivs.update_channel(arn=arn, latencyMode="NORMAL")
            self.world.pass_time(HOUR)
            ivs.update_channel(arn=arn, latencyMode="LOW")
            self.world.pass_time(HOUR / 2)

    def aws_outage(self) -> None:
        name = self.random.choice(self.world.names)
        self.world.sandboxes[name].control.add_fault(
            "error", operation="*", times=None, code="InternalServerException", status=500
        )
        self.world.pass_time(self.random.uniform(300, 2400))
        self.world.sandboxes[name].control.clear_faults()

    def throttling(self) -> None:
        self.world.sandboxes["prod"].control.add_fault("throttle", operation="*", times=12, every=2)

    def lost_answers(self) -> None:
        for name in ("prod", "stage"):
            self.world.sandboxes[name].control.add_fault("reset", operation="CreateChannel", when="after", times=1)

    def forge_outage(self) -> None:
        if repo := self.repo():
            repo.folder.rename(self.away)
            self.world.pass_time(self.random.uniform(300, 3000))
            self.away.rename(repo.folder)

    def deaf(self) -> None:
        self.told.broken = True
        self.world.pass_time(HOUR)
        self.told.broken = False

    def broadcast(self) -> None:
        with self.world.ivs("prod") as ivs:
            arn = ivs.list_channels(maxResults=100)["channels"][0]["arn"]
            self.world.sandboxes["prod"].control.go_live(arn, viewers=self.random.randrange(5000))
            self.world.pass_time(HOUR / 2)
            self.world.sandboxes["prod"].control.go_offline(arn)

    def restart(self) -> None:
        self.world.restart()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_a_day_of_the_controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "123456789012")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    spec: dict[str, Any] = {"channels": {f"stage-{number}": {} for number in range(8)}}
    with receiver() as told, World(tmp_path, "prod", "stage", "watched", schedule=PACE, spec=spec) as world:
        world.environment["HOOK"] = told.url
        project = world.project(receivers={"ops": {"webhook": {"urlEnv": "HOOK"}}})
        for target in project["targets"].values():  # type: ignore[attr-defined]
            target["prune"] = True
        # The target that is only observed has its own spec, which nobody changes.
        project["targets"]["watched"]["specs"] = ["specs/quiet.yaml"]  # type: ignore[index]
        world.repo.commit({"ivs-reconciler.yaml": project, "specs/quiet.yaml": spec})
        for name in world.names:
            with world.ivs(name) as ivs:
                ivs.create_channel(name="unmanaged", tags={"owner": "somebody-else"})
        began = world.clock.now()
        world.settle()
        world.schedule = WATCHED
        world.restart()
        day = Day(world, told, seed)
        for at, happens in day.events():
            world.pass_time(max(0.0, began + at - world.clock.now()))
            happens()
            day.happened[happens.__name__] += 1
        world.pass_time(max(2 * HOUR, began + 24 * HOUR - world.clock.now()))

        assert day.happened["restart"] == 8
        assert world.clock.now() - began >= 24 * HOUR
        for name in world.names:
            assert world.last(name).status in (RunStatus.IN_SYNC, RunStatus.APPLIED), (name, world.last(name).message)
            assert (world.last(name).drifted, world.last(name).pending) == (0, 0)
            with world.ivs(name) as ivs:
                found = sorted(channel["name"] for channel in ivs.list_channels(maxResults=100)["channels"])
            wanted = spec["channels"] if name == "watched" else day.spec["channels"]
            assert found == sorted([*wanted, "unmanaged"])
        writes = {
            operation
            for operation in world.operations("watched")
            if not operation.startswith(("List", "Get", "BatchGet"))
        }
        assert "DeleteChannel" not in writes

        # Every message once: no id twice, and each channel's messages about a target are counted without a gap or a repetition.
        assert len(told.identities) == len(set(told.identities)) > 6
        for name in world.names:
            assert [body["number"] for body in told.of(name)] == list(range(1, len(told.of(name)) + 1))
        watched = [body["state"] for body in told.of("watched")]
        assert watched.count("open") >= 3
        assert {told.of(name)[-1]["state"] for name in world.names if told.of(name)} == {"clear"}
        assert all(telling.failure for telling in world.deliveries if telling.id not in told.identities)


def test_a_receiver_that_failed_gets_the_later_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "123456789012")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    with receiver() as told, World(tmp_path, schedule=PACE) as world, world.ivs() as ivs:
        world.environment["HOOK"] = told.url
        world.repo.commit({"ivs-reconciler.yaml": world.project(receivers={"ops": {"webhook": {"urlEnv": "HOOK"}}})})
        world.settle()
        world.schedule = Schedule(interval=900)
        world.restart()
        world.settle()
        assert told.bodies == []
        told.broken = True
        ivs.update_channel(arn=arn_of(ivs, "main-stage"), latencyMode="NORMAL")
        world.pass_time(2000)
        assert [bool(telling.failure) for telling in world.deliveries] == [True] * len(world.deliveries) != []
        world.restart()
        told.broken = False
        world.pass_time(2000)
        (body,) = told.bodies
        assert (body["state"], body["link"], body["new"][0]["address"]) == (
            "open",
            "https://status.example.com/targets/dev",
            "channel/main-stage",
        )
        world.sandboxes["dev"].control.add_fault(
            "error", operation="*", times=None, code="AccessDeniedException", status=403
        )
        world.pass_time(2000)
        world.sandboxes["dev"].control.clear_faults()
        ivs.update_channel(arn=arn_of(ivs, "main-stage"), latencyMode="LOW")
        world.pass_time(4000)
        assert [body["state"] for body in told.bodies] == ["open", "unreadable", "clear"]
