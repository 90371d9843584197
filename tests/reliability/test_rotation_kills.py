"""A rotation is killed at each of its calls and at random moments: one key is left in the end, its value is where it belongs, and no other value is taken for it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.model.address import DELIVERED, RETIRES
from reconciler.model.target import Sink, Store
from reconciler.spec.keys import read_public_key
from tests.cli.support import arn_of, rewrite, stack
from tests.reliability.front import Front, fronted

KEYS = Path(__file__).resolve().parent.parent / "scenarios" / "keys"
SINKS = {"secretsManager": Store.SECRETS_MANAGER, "parameterStore": Store.PARAMETER_STORE}
LIMITS = {"maxDeletes": None, "maxDeletePercent": None}


class Stage:
    """A project with stream keys that go to sinks, applied, and what has to hold about it."""

    def __init__(self, folder: Path, front: Front, channels: Mapping[str, str]) -> None:
        self.front = front
        self.channels = channels
        self.label = 0
        self.gone: set[str] = set()
        self.folder = stack(folder, self.spec(), target={"sandbox": None, "endpointUrl": front.url}, guardrails=LIMITS)
        assert front.run(self.folder, "apply", "--auto-approve").code == 0

    def spec(self) -> dict[str, Any]:
        """Return the spec: a sink for each channel that has one, and the label that is due."""

        def key(name: str, sort: str) -> dict[str, Any]:
            return {"rotation": str(self.label), **({"sink": {sort: {"name": f"/live/{name}"}}} if sort else {})}

        return {"channels": {name: {"streamKey": key(name, sort)} for name, sort in self.channels.items()}}

    def due(self) -> None:
        """Make a rotation of every key due."""
        self.gone |= {self.key(name)["arn"] for name in self.channels}
        self.label += 1
        rewrite(self.folder, self.spec())

    def sink(self, name: str) -> Sink:
        return Sink(SINKS[self.channels[name]], f"/live/{name}")

    def keys(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.front.ivs.list_stream_keys(
            channelArn=arn_of(self.front.ivs, name), maxResults=50
        )["streamKeys"]
        return found

    def key(self, name: str) -> dict[str, Any]:
        (found,) = self.keys(name)
        return found

    def value(self, name: str) -> str:
        return str(self.front.ivs.get_stream_key(arn=self.key(name)["arn"])["streamKey"]["value"])

    def no_stale_value_passes_for_the_new_one(self) -> None:
        """After a kill: where a sink does not hold the value of the channel's key, the next plan says so."""
        plan = self.front.run(self.folder, "plan", "--format", "json").json
        due = {action["address"] for action in plan["targets"][0]["actions"] if action["blocked"] is None}
        for name, sort in self.channels.items():
            keys = self.keys(name)
            assert len(keys) <= 1
            if not keys or (sort and self.front.stores.value_of(self.sink(name)) != self.value(name)):
                assert f"stream-key/{name}" in due

    def in_the_end(self) -> None:
        """One key a channel, which is a new one; its value is in the sink; nothing is left to do, and nobody was told a value."""
        for name, sort in self.channels.items():
            key = self.key(name)
            assert key["arn"] not in self.gone
            if sort:
                assert self.front.stores.value_of(self.sink(name)) == self.value(name)
                assert key["tags"][DELIVERED] == self.sink(name).mark
        assert self.front.run(self.folder, "plan", "--detailed-exitcode").code == 0
        self.nobody_was_told()

    def nobody_was_told(self) -> None:
        left = [path.read_text(encoding="utf-8", errors="replace") for path in self.folder.rglob("*") if path.is_file()]
        said = "\n".join([*self.front.said, *left])
        assert self.front.values
        assert [value for value in self.front.values if value in said] == []


def made(front: Front) -> int:
    return sum(
        call["operation"] == "CreateStreamKey" and call["status"] == 200
        for call in front.sandbox.control.calls(limit=10_000)
    )


@pytest.fixture
def front() -> Iterator[Front]:
    with fronted() as front:
        yield front


IN_FLIGHT = dict.fromkeys(("PutSecretValue", "GetStreamKey"), "publishing the stream key of channel/a")
"""What the journal calls a call, where it says more than its name."""


def test_killed_at_each_call_a_rotation_is_brought_to_its_end(tmp_path: Path, front: Front) -> None:
    stage = Stage(tmp_path / "repo", front, {"a": "secretsManager"})
    killed: list[str] = []
    for nth in range(20):
        stage.due()
        before = made(front)
        hit = front.killed_at(nth, stage.folder, "apply", "--auto-approve")
        stage.no_stale_value_passes_for_the_new_one()
        ran = front.run(stage.folder, "apply", "--auto-approve")
        assert (ran.code, made(front) - before) == (0, 1), ran
        stage.in_the_end()
        if not hit:
            break
        killed.append(hit)
        assert f"in-flight calls: {IN_FLIGHT.get(hit, f'{hit} for stream-key/a')}" in ran.err
    assert killed == ["DeleteStreamKey", "CreateStreamKey", "GetStreamKey", "PutSecretValue", "TagResource"]


@pytest.mark.parametrize(("nth", "call"), [(0, "DeleteStreamKey"), (1, "CreateStreamKey"), (3, "PutParameter")])
def test_killed_before_a_call_does_its_work_a_rotation_that_was_asked_for_is_brought_to_its_end(
    tmp_path: Path, front: Front, nth: int, call: str
) -> None:
    stage = Stage(tmp_path / "repo", front, {"a": "parameterStore"})
    old, before = stage.key("a")["arn"], made(front)
    rotate = ("rotate", "stream-key", "stream-key/a", "--auto-approve")
    assert front.killed_at(nth, stage.folder, *rotate, after=False) == call
    stage.no_stale_value_passes_for_the_new_one()
    # An apply continues what was begun; where nothing was done yet, only a new request rotates.
    assert front.run(stage.folder, "apply", "--auto-approve").code == 0
    assert (stage.key("a")["arn"] == old) == (call == "DeleteStreamKey")
    if call == "DeleteStreamKey":
        assert front.run(stage.folder, *rotate).code == 0
    stage.gone = {old}
    stage.in_the_end()
    assert made(front) - before == 1


def test_killed_at_random_moments_many_rotations_are_brought_to_their_end(tmp_path: Path, front: Front) -> None:
    rng = random.Random(11)
    stage = Stage(tmp_path / "repo", front, {f"c{number}": sort for number, sort in enumerate([*SINKS, *SINKS, ""])})
    kills = 0
    while kills < 5:
        stage.due()
        before = made(front)
        while front.killed_within(rng.randint(1, 12), rng, stage.folder, "apply", "--auto-approve"):
            kills += 1
            stage.no_stale_value_passes_for_the_new_one()
        stage.in_the_end()
        assert made(front) - before == len(stage.channels)


def test_killed_at_each_call_a_rotation_into_a_file_leaves_a_whole_value_or_none(tmp_path: Path, front: Front) -> None:
    stage = Stage(tmp_path / "repo", front, {"a": ""})
    killed: list[str] = []
    for nth in range(20):
        stage.gone.add(stage.key("a")["arn"])
        before = made(front)
        path = tmp_path / f"{nth}.txt"
        words = ("rotate", "stream-key", "stream-key/a", "--auto-approve", "--to-file")
        hit = front.killed_at(nth, stage.folder, *words, str(path))
        if path.exists():
            assert path.read_text(encoding="utf-8") == stage.value("a") + "\n"
        if not hit:
            break
        killed.append(hit)
        if hit == "DeleteStreamKey":
            assert "stream-key/a will be created" in front.run(stage.folder, "plan").out
        elif hit != "UntagResource":
            assert (
                "stream-key/a: created by an interrupted rotation, and its value may not be published"
                in front.run(stage.folder, "plan").out
            )
        if hit != "UntagResource":
            again = path.with_suffix(".again")
            assert front.run(stage.folder, *words, str(again)).code == 0
            assert again.read_text(encoding="utf-8") == stage.value("a") + "\n"
        stage.in_the_end()
        assert made(front) - before == 1
    assert killed == ["DeleteStreamKey", "CreateStreamKey", "GetStreamKey", "UntagResource"]


def pairs(front: Front) -> tuple[str, dict[str, str]]:
    """Return the fingerprint of the one pair that is wanted, and until when the others stay, by fingerprint."""
    found = front.ivs.list_playback_key_pairs(maxResults=50)["keyPairs"]
    read = [front.ivs.get_playback_key_pair(arn=pair["arn"])["keyPair"] for pair in found]
    (kept,) = [pair["fingerprint"] for pair in read if RETIRES not in pair["tags"]]
    return kept, {pair["fingerprint"]: pair["tags"][RETIRES] for pair in read if RETIRES in pair["tags"]}


def test_killed_at_each_call_key_pairs_overlap_and_the_old_one_gets_its_time(tmp_path: Path, front: Front) -> None:
    texts = {key: (KEYS / f"{key}.pem").read_text(encoding="utf-8") for key in ("one", "two", "three")}
    prints = {key: read_public_key(text).fingerprint for key, text in texts.items()}

    def wants(key: str) -> dict[str, Any]:
        return {"playbackKeyPairs": {"web": {"publicKeyMaterial": texts[key], "rotation": {"overlap": "7d"}}}}

    folder = stack(
        tmp_path / "repo", wants("one"), target={"sandbox": None, "endpointUrl": front.url}, guardrails=LIMITS
    )
    assert front.run(folder, "apply", "--auto-approve").code == 0
    before = {"one"}
    # The second and the third change swap two pairs that are there; the last one finds room for one more.
    for key, nth, call in (
        ("two", 0, "ImportPlaybackKeyPair"),
        ("one", 0, ""),
        ("two", 1, ""),
        ("three", 1, "TagResource"),
    ):
        rewrite(folder, wants(key))
        hit = front.killed_at(nth, folder, "apply", "--auto-approve")
        assert hit == call if call else hit in {"TagResource", "UntagResource"}
        assert front.run(folder, "apply", "--auto-approve").code == 0
        kept, retiring = pairs(front)
        assert (kept, set(retiring)) == (prints[key], {prints[other] for other in before - {key}})
        assert front.run(folder, "plan", "--detailed-exitcode").code == 0
        before.add(key)
    for pair in front.ivs.list_playback_key_pairs(maxResults=50)["keyPairs"]:
        if RETIRES in pair["tags"]:
            front.ivs.tag_resource(resourceArn=pair["arn"], tags={RETIRES: "2020-01-01T00:00:00Z"})
    assert front.killed_at(0, folder, "apply", "--auto-approve") == "DeletePlaybackKeyPair"
    assert pairs(front)[0] == prints["three"]
    front.run(folder, "apply", "--auto-approve")
    assert pairs(front) == (prints["three"], {})
    assert front.run(folder, "plan", "--detailed-exitcode").code == 0
