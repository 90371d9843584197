"""An apply that ends a broadcast is killed at each of its calls and at random moments: the channel is changed in the end and has its key, whichever apply comes next."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.model.address import DELIVERED
from reconciler.model.target import Sink, Store
from tests.cli.support import arn_of, rewrite, stack
from tests.reliability.front import Front, fronted

STOP = ("apply", "--auto-approve", "--stop-live", "channel/main")
SINK = Sink(Store.PARAMETER_STORE, "/live/main")
CALLS = [
    "DeleteStreamKey",
    "StopStream",
    "UpdateChannel",
    "TagResource",
    "CreateStreamKey",
    "GetStreamKey",
    "PutParameter",
    "TagResource",
]


class Stage:
    """A channel that goes live, and whose spec changes each time."""

    def __init__(self, folder: Path, front: Front) -> None:
        self.front = front
        self.mode = "LOW"
        self.folder = stack(folder, self.spec(), target={"sandbox": None, "endpointUrl": front.url})
        assert front.run(self.folder, "apply", "--auto-approve").code == 0
        self.arn = arn_of(front.ivs, "main")

    def spec(self) -> dict[str, Any]:
        key = {"tags": {"encoder": "studio"}, "sink": {"parameterStore": {"name": SINK.name}}}
        return {"channels": {"main": {"latencyMode": self.mode, "streamKey": key}}}

    def due(self) -> None:
        """Change the spec while the channel is live."""
        self.mode = "NORMAL" if self.mode == "LOW" else "LOW"
        rewrite(self.folder, self.spec())
        self.front.sandbox.control.go_live(self.arn, viewers=5)

    @property
    def live_channels(self) -> bool:
        return bool(self.front.ivs.list_streams()["streams"])

    def keys(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.front.ivs.list_stream_keys(channelArn=self.arn, maxResults=50)["streamKeys"]
        return found

    def the_key_arrived(self) -> None:
        (key,) = self.keys()
        assert self.front.stores.value_of(SINK) == self.front.ivs.get_stream_key(arn=key["arn"])["streamKey"]["value"]
        assert (key["tags"][DELIVERED], key["tags"]["encoder"]) == (SINK.mark, "studio")

    def in_the_end(self) -> None:
        assert self.front.ivs.get_channel(arn=self.arn)["channel"]["latencyMode"] == self.mode
        assert not self.live_channels
        self.the_key_arrived()
        assert self.front.run(self.folder, "plan", "--detailed-exitcode").code == 0
        said = "\n".join(self.front.said)
        assert [value for value in self.front.values if value in said] == []


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with fronted(stop_seconds=0.0) as front:
        yield Stage(tmp_path / "repo", front)


def test_killed_at_each_call_the_same_apply_continues(stage: Stage) -> None:
    killed = []
    for nth in range(20):
        stage.due()
        hit = stage.front.killed_at(nth, stage.folder, *STOP)
        if not hit:
            break
        killed.append(hit)
        ran = stage.front.run(stage.folder, *STOP)
        assert ran.code == 0, ran
        assert "the last apply" in ran.err
        stage.in_the_end()
    assert killed == CALLS


def test_killed_at_each_call_an_apply_that_may_not_stop_anything_says_what_is_left(stage: Stage) -> None:
    for nth, call in enumerate(CALLS[:5]):
        stage.due()
        assert stage.front.killed_at(nth, stage.folder, *STOP) == call
        ran = stage.front.run(stage.folder, "apply", "--auto-approve")
        stage.the_key_arrived()
        if call == "DeleteStreamKey":
            # The broadcast continues without its key; the channel gets one, and keeps its setting until the broadcast is over.
            assert (ran.code, stage.live_channels) == (4, True)
            assert "stream-key/main will be created" in ran.out
            assert "its value is published to the parameter /live/main" in ran.out
            assert "blocked  update channel/main: live since" in ran.out
            stage.front.sandbox.control.go_offline(stage.arn)
            ran = stage.front.run(stage.folder, "apply", "--auto-approve")
        assert ran.code == 0, ran
        stage.in_the_end()


def test_an_unreported_new_key_is_reported_by_the_next_run(stage: Stage) -> None:
    rewrite(stage.folder, {"channels": {"main": {"latencyMode": "LOW", "streamKey": {}}}})
    assert stage.front.run(stage.folder, "apply", "--auto-approve").code == 0
    rewrite(stage.folder, {"channels": {"main": {"latencyMode": "NORMAL", "streamKey": {}}}})
    stage.front.sandbox.control.go_live(stage.arn)
    assert stage.front.killed_at(CALLS.index("CreateStreamKey"), stage.folder, *STOP) == "CreateStreamKey"
    (key,) = stage.keys()
    for verb in ("plan", "drift"):
        ran = stage.front.run(stage.folder, verb)
        assert (
            f"CreateStreamKey for stream-key/main (found: {key['arn']}; its encoder needs the value)"
            in ran.out + ran.err
        )


def test_killed_at_random_moments_the_channel_is_changed_and_has_its_key(stage: Stage) -> None:
    rng = random.Random(5)
    kills = 0
    while kills < 4:
        stage.due()
        while stage.front.killed_within(rng.randint(1, 8), rng, stage.folder, *STOP):
            kills += 1
        stage.in_the_end()
