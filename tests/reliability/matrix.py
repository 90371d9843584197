"""Every step of every kind times every fault: what an apply makes of it, and whether the next one is at the end.

``rows`` are the steps, each a situation whose plan holds that step; ``FAULTS`` are the columns; ``meet`` runs one cell and checks it.
``python -m tests.reliability.matrix --write`` puts the table into ``docs/reliability.md``; a test compares.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from reconciler.model.address import DELIVERED, ID, STACK, Address, KindName
from reconciler.model.kinds import KINDS, Kind
from reconciler.model.resource import DesiredResource, DesiredState
from reconciler.model.target import Sink, Store
from reconciler.model.values import thaw
from reconciler.plan.plan import ApplyResult, PlanOptions, Result
from reconciler.sandbox import Sandbox, VirtualClock
from tests.aws.stores import Stores
from tests.builders import THIS_STACK, desired, refs, wanted
from tests.reliability.world import World, key_pair, worlds_client

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- fault matrix: python -m tests.reliability.matrix --write -->", "<!-- end of fault matrix -->"

PRUNE = PlanOptions(prune=True)
SECRET = Sink(Store.SECRETS_MANAGER, "live/a")
PARAMETER = Sink(Store.PARAMETER_STORE, "/live/a")


@dataclass(frozen=True)
class Fault:
    """A column: what goes wrong, how often, and how the sandbox is set up for it."""

    title: str
    effect: str = ""
    when: str = "before"
    times: int | None = 1
    rule: dict[str, Any] = field(default_factory=dict)
    lag: bool = False

    def arm(self, world: World, operation: str, *, at_the_store: bool) -> None:
        if self.lag:
            world.control.set_lag(create=12, delete=12)
        if not self.effect:
            return
        place: Any = world.stores if at_the_store else world.control
        place.add_fault(self.effect, operation=operation, when=self.when, times=self.times, **self.rule)


FAULTS = (
    Fault("throttled", "throttle", times=3),
    Fault("500 before", "error"),
    Fault("500 after", "error", "after"),
    Fault("reset before", "reset"),
    Fault("reset after", "reset", "after"),
    Fault("timeout before", "hang"),
    Fault("timeout after", "hang", "after"),
    Fault("cut short", "truncate", "after"),
    Fault("503 page", "html"),
    Fault("lists lag", lag=True),
    Fault("reset after, lists lag", "reset", "after", lag=True),
    Fault("refused", "error", times=None, rule={"code": "AccessDeniedException", "status": 403}),
    Fault("down", "html", times=None),
    Fault("deaf", "reset", "after", times=None),
)
"""``down`` answers nothing but 503 for as long as the apply runs; ``deaf`` does the work each time and never answers."""


@dataclass(frozen=True)
class Row:
    """One step of a plan: how things stand, what the spec says now, and which call is meant."""

    kind: KindName
    step: str
    operation: str
    before: tuple[DesiredResource, ...]
    after: tuple[DesiredResource, ...]
    prepare: Callable[[World], None] = lambda world: None
    options: PlanOptions = PRUNE
    store: str = ""
    """The call to a secret store that is meant; ``operation`` is the step that makes it."""


_CREATES = {kind.create for kind in KINDS.values()}
_CHANGES: dict[KindName, dict[str, object]] = {
    KindName.FAILOVER_SLATE_CONFIGURATION: {"minSlateDisplaySeconds": 5},
    KindName.PLAYBACK_RESTRICTION_POLICY: {"allowedCountries": ["DE"]},
    KindName.AD_CONFIGURATION: {"postRollConfiguration": {"enabled": True, "durationSeconds": 20}},
    KindName.CHANNEL: {"latencyMode": "NORMAL"},
}


def _one(
    kind: KindName, properties: dict[str, object] | None = None, *, tags: dict[str, str] | None = None
) -> tuple[DesiredResource, ...]:
    if kind is KindName.PLAYBACK_KEY_PAIR:
        return (key_pair("a", tags=tags),)
    if kind is KindName.STREAM_KEY:
        return (wanted("channel/a"), wanted("stream-key/a", tags=tags))
    return (wanted(f"{kind.value}/a", properties, tags=tags),)


def rows() -> Iterator[Row]:
    """Yield every step of every kind."""
    for kind in KINDS.values():
        yield from _rows_of(kind)
    yield from _replacements()
    yield from _rotations()
    yield from _stops()
    yield from _half_made()


def _rows_of(kind: Kind) -> Iterator[Row]:
    name = kind.name
    if name is KindName.STREAM_KEY:
        yield Row(name, "create", kind.create, _one(name), _one(name), _without_key)
        yield Row(name, "created with its channel: create", "CreateChannel", (), _one(name))
        yield Row(name, "created with its channel: tag", "TagResource", (), _one(name))
    else:
        yield Row(name, "create", kind.create, (), _one(name))
        if kind.ready:
            yield Row(name, "wait", kind.get, (), _one(name))
    if name in _CHANGES and kind.update:
        yield Row(name, "update", kind.update, _one(name), _one(name, _CHANGES[name]))
    yield Row(name, "tag", "TagResource", _one(name), _one(name, tags={"team": "video"}))
    yield Row(name, "untag", "UntagResource", _one(name, tags={"team": "video"}), _one(name))
    if name is not KindName.STREAM_KEY:
        yield Row(name, "delete", kind.delete, _one(name), ())


def _replacements() -> Iterator[Row]:
    def with_channel(**properties: object) -> tuple[DesiredResource, ...]:
        used = refs(recordingConfigurationArn="recording-configuration/a")
        return (wanted("recording-configuration/a", properties), wanted("channel/a", used), wanted("channel/b", used))

    old, new = with_channel(), with_channel(recordingReconnectWindowSeconds=30)
    recording = KINDS[KindName.RECORDING_CONFIGURATION]
    for step, operation in (
        ("create", recording.create),
        ("wait", recording.get),
        ("repoint", "UpdateChannel"),
        ("delete", recording.delete),
    ):
        yield Row(recording.name, f"replace: {step}", operation, old, new)
    pair = KINDS[KindName.PLAYBACK_KEY_PAIR]
    for step, operation in (("import", pair.create), ("delete", pair.delete)):
        yield Row(pair.name, f"replace: {step}", operation, (key_pair("a"),), (key_pair("a", "two"),))
    full = (key_pair("b", "three"), key_pair("c", "four"))
    for step, operation in (("delete", pair.delete), ("import", pair.create)):
        yield Row(
            pair.name, f"replace at the quota: {step}", operation, (key_pair("a"), *full), (key_pair("a", "two"), *full)
        )


def _rotations() -> Iterator[Row]:
    def key(rotation: str, sink: Sink | None = SECRET) -> tuple[DesiredResource, ...]:
        return (wanted("channel/a"), wanted("stream-key/a", rotation=rotation, sink=sink))

    kind = KINDS[KindName.STREAM_KEY]
    for step, operation in (
        ("delete", kind.delete),
        ("create", kind.create),
        ("read the value", kind.get),
        ("record that it is published", "TagResource"),
    ):
        yield Row(kind.name, f"rotation: {step}", operation, key("1"), key("2"))
    yield Row(kind.name, "created with its channel: read the value", kind.get, (), key(""))
    yield Row(kind.name, "publish: new secret", kind.get, key("1", None), key("2"), store="CreateSecret")
    yield Row(kind.name, "publish: secret", kind.get, key("1"), key("2"), store="PutSecretValue")
    yield Row(kind.name, "publish: parameter", kind.get, key("1", PARAMETER), key("2", PARAMETER), store="PutParameter")


def _stops() -> Iterator[Row]:
    def channel(latency: str) -> tuple[DesiredResource, ...]:
        return (wanted("channel/a", {"latencyMode": latency}), wanted("stream-key/a", sink=SECRET))

    options = PRUNE._replace(stop_live=("channel/a",))
    steps = (
        ("delete the key", "DeleteStreamKey"),
        ("stop", "StopStream"),
        ("wait", "ListStreams"),
        ("change", "UpdateChannel"),
        ("new key", "CreateStreamKey"),
    )
    for step, operation in (*steps, ("read the value", "GetStreamKey")):
        yield Row(
            KindName.CHANNEL, f"live: {step}", operation, channel("LOW"), channel("NORMAL"), _live_channel, options
        )
    old, new = (
        (wanted("channel/a"), wanted("stream-key/a", rotation=rotation, sink=SECRET)) for rotation in ("1", "2")
    )
    for step, operation in steps[1:3]:
        yield Row(KindName.STREAM_KEY, f"rotation while live: {step}", operation, old, new, _live_channel, options)


def _half_made() -> Iterator[Row]:
    """Yield a channel's waits for what another caller, or an apply that was killed, has only begun to create."""
    for name, reference in (
        (KindName.RECORDING_CONFIGURATION, "recordingConfigurationArn"),
        (KindName.FAILOVER_SLATE_CONFIGURATION, "failoverSlateConfigurationArn"),
    ):
        kind, (used,) = KINDS[name], _one(name)
        after = (used, wanted("channel/a", refs(**{reference: str(used.address)})))
        yield Row(KindName.CHANNEL, f"wait for its {kind.title}", kind.get, (), after, partial(_begun, used))


def _begun(resource: DesiredResource, world: World) -> None:
    properties = {name: thaw(value) for name, value in resource.properties.items()}
    method = {operation: name for name, operation in world.client.meta.method_to_api_mapping.items()}[
        KINDS[resource.address.kind].create
    ]
    getattr(world.client, method)(**properties, tags=dict(resource.tags))


def _our_channel(world: World) -> str:
    (arn,) = (
        found["arn"]
        for found in world.everything()
        if found["kind"] == "channel" and found["tags"].get(STACK) == THIS_STACK
    )
    return str(arn)


def _live_channel(world: World) -> None:
    world.control.go_live(_our_channel(world), viewers=7)


def _without_key(world: World) -> None:
    for key in world.client.list_stream_keys(channelArn=_our_channel(world))["streamKeys"]:
        world.client.delete_stream_key(arn=key["arn"])


@dataclass(frozen=True)
class Situation:
    """The state in which a row's plan is made, for each of its faults: a sandbox's file, its clock, and what the stores hold."""

    db: Path
    now: float
    unmanaged: dict[str, Any]
    held: dict[Sink, str]


class Bench:
    """One client and one folder for all cells; each cell has a sandbox of its own, a copy of its row's."""

    def __init__(self, root: Path) -> None:
        self._client = worlds_client()
        self._stores = Stores()
        self._root = root

    def cells(self, row: Row) -> dict[str, str]:
        """Run all cells of a row and return what came of each, by the fault's title; every claim of the page is asserted here."""
        situation = self._prepare(row)
        return {fault.title: self._cell(row, fault, situation) for fault in FAULTS}

    @contextmanager
    def _world(self, db: Path, clock: VirtualClock, seed: int) -> Iterator[World]:
        self._stores.reset()
        sandbox = Sandbox(db, serve=False, clock=clock, seed=seed, settle_seconds=2)
        detach = sandbox.attach(self._client)
        try:
            yield World(sandbox, clock, self._client, self._root, stores=self._stores)
        finally:
            detach()
            sandbox.stop()

    def _prepare(self, row: Row) -> Situation:
        db, clock = self._root / "prepared.db", VirtualClock()
        db.unlink(missing_ok=True)
        with self._world(db, clock, seed=7) as world:
            unmanaged = _unmanaged(world)
            assert not row.before or _complete(world.apply(desired(*row.before), PRUNE))
            row.prepare(world)
            sinks = {resource.sink for resource in row.before if resource.sink is not None}
            held = {sink: value for sink in sinks if (value := self._stores.value_of(sink)) is not None}
            assert held.keys() == sinks
        return Situation(db, clock.now(), unmanaged, held)

    def _cell(self, row: Row, fault: Fault, situation: Situation) -> str:
        db = self._root / "cell.db"
        shutil.copyfile(situation.db, db)
        # With the seed of the situation, the ids of new resources would be those of the ones that are there.
        with self._world(db, VirtualClock(situation.now), seed=8) as world:
            for sink, value in situation.held.items():
                self._stores.hold(sink, value)
            after = desired(*row.after)
            survey = world.survey(after, row.options)
            assert row.operation in [step.operation for action in survey.plan.actions for step in action.steps], (
                "the plan does not hold the step"
            )
            fault.arm(world, row.store or row.operation, at_the_store=bool(row.store))
            world.control.clear_calls()
            result = world.carry_out(survey)
            assert result is not None
            said = _outcome(result)
            _nothing_made_twice(world)
            world.control.clear_faults()
            self._stores.clear_faults()
            kept = _nothing_doubled(
                world, after, result, made_anew={KindName.STREAM_KEY} if row.options.stop_live else set()
            )
            no_value_is_stale(world, after)
            world.control.set_lag()
            world.clock.advance(31)
            _converges(world, after, row)
            every_value_arrived(world, after)
            assert kept <= {found["arn"] for found in world.everything()}, (
                "what was made before the failure was recreated instead of completed"
            )
            assert _seen(world, situation.unmanaged) == situation.unmanaged, "another owner's resource was touched"
            return said


def _unmanaged(world: World) -> dict[str, Any]:
    """Make what is not ours: of no stack, and of another stack under an address like one of ours."""
    world.client.create_channel(name="unmanaged")
    world.client.create_channel(name="theirs", tags={"ivs-reconciler:stack": "other", "ivs-reconciler:id": "a"})
    world.client.create_recording_configuration(
        name="theirs", destinationConfiguration={"s3": {"bucketName": "vod"}}, tags={"ivs-reconciler:stack": "other"}
    )
    world.clock.advance(3)
    return {found["arn"]: found for found in world.everything()}


def _seen(world: World, unmanaged: dict[str, Any]) -> dict[str, Any]:
    return {found["arn"]: found for found in world.everything() if found["arn"] in unmanaged}


def _outcome(result: ApplyResult) -> str:
    if not result.complete:
        return "next apply"
    found = any(outcome.message for outcome in result.outcomes)
    return "found" if found else "done"


def _nothing_made_twice(world: World) -> None:
    """No create was carried out a second time, not even to be taken back afterwards."""
    made = Counter(
        (call["operation"], call["parameters"].get("tags", {}).get(ID, ""))
        for call in world.control.calls(limit=1000)
        if call["operation"] in _CREATES and (call["status"] == 200 or call["fault"].endswith(" after"))
    )
    assert all(count == 1 for count in made.values()), made


def _nothing_doubled(
    world: World, spec: DesiredState, result: ApplyResult, made_anew: AbstractSet[KindName]
) -> set[str]:
    """After the troubled apply: one of each, or, of a replacement that did not come to its end, the old one beside the new.

    Returns the ARNs that have to be there at the end too: what the troubled apply made or left status of the spec, and does not replace.
    ``made_anew`` are kinds that are replaced on the way of another's change.
    """
    halfway = {
        outcome.address
        for outcome in result.outcomes
        if outcome.result is not Result.DONE and outcome.verb.value == "replace"
    }
    for address, count in world.status().items():
        assert count <= (2 if address in halfway else 1), f"{count} of {address}"
    staying = {
        address.id
        for address in spec.resources
        if address not in halfway and address.kind is not KindName.PLAYBACK_KEY_PAIR
    }
    passing = {KINDS[kind].arn_type for kind in made_anew}
    return {
        found["arn"]
        for found in world.everything()
        if found["tags"].get(STACK) == THIS_STACK
        and found["tags"][ID] in staying
        and not halfway
        and found["kind"] not in passing
    }


def no_value_is_stale(world: World, spec: DesiredState) -> None:
    """What a sink holds is the value of the key that the channel has, or the key says that its value is still to come."""
    for key, sink in _keys_with_sinks(world, spec):
        if key["tags"].get(DELIVERED) == sink.mark:
            _holds(world, sink, key["arn"])


def every_value_arrived(world: World, spec: DesiredState) -> None:
    """Every sink of the spec holds the value of its channel's one key, which says so."""
    found = list(_keys_with_sinks(world, spec))
    assert len(found) == sum(resource.sink is not None for resource in spec.resources.values())
    for key, sink in found:
        assert key["tags"].get(DELIVERED) == sink.mark
        _holds(world, sink, key["arn"])


def _keys_with_sinks(world: World, spec: DesiredState) -> Iterator[tuple[dict[str, Any], Sink]]:
    for key in world.everything():
        resource = (
            spec.resources.get(Address(KindName.STREAM_KEY, key["tags"].get(ID, "a")))
            if key["kind"] == "stream-key"
            else None
        )
        if resource is not None and resource.sink is not None and key["tags"].get(STACK) == THIS_STACK:
            yield key, resource.sink


def _holds(world: World, sink: Sink, arn: str) -> None:
    assert world.stores is not None
    value = world.client.get_stream_key(arn=arn)["streamKey"]["value"]
    assert world.stores.value_of(sink) == value, f"{sink} does not hold the value of {arn}"


def _converges(world: World, spec: DesiredState, row: Row) -> None:
    """The next apply is at the end, and the one after it has nothing to do; exactly one of each address is left."""
    again = world.apply(spec, row.options)
    if again is not None:  # without a result its plan was empty, and the next one would be the same
        assert _complete(again), again
        assert world.survey(spec, row.options).plan.actions == (), "the plan after the next apply is not empty"
    assert world.status() == dict.fromkeys(spec.resources, 1)


def _complete(result: ApplyResult | None) -> bool:
    return result is not None and result.complete


def table(cells: dict[tuple[str, str], dict[str, str]]) -> str:
    """Return the table of the page."""
    titles = [fault.title for fault in FAULTS]
    lines = ["| Kind | Step | " + " | ".join(titles) + " |", "| --- " * (len(titles) + 2) + "|"]
    lines += [
        f"| {kind} | {step} | " + " | ".join(found[title] for title in titles) + " |"
        for (kind, step), found in cells.items()
    ]
    return "\n".join(lines)


def shown() -> str:
    """Return the table that the page shows."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip()


def main() -> None:
    """Write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True)
    parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        cells = {(KINDS[row.kind].title, row.step): bench.cells(row) for row in rows()}
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{table(cells)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()

__all__ = ["FAULTS", "Address", "Bench", "Row", "rows", "shown", "table"]
