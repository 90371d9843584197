"""Two applies of one stack without a lock, their calls in random order: one of everything is left, and nothing is lost."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.errors import AwsError
from reconciler.model.resource import DesiredState
from reconciler.model.target import Sink, Store
from reconciler.plan.plan import ApplyResult, PlanOptions, Result
from reconciler.sandbox import Sandbox, VirtualClock
from reconciler.workflow.survey import Survey
from tests.aws.stores import Stores
from tests.builders import desired, refs, wanted
from tests.reliability.interleave import Turnstile
from tests.reliability.matrix import every_value_arrived
from tests.reliability.world import World, key_pair, worlds_client

SPEC = desired(
    wanted("recording-configuration/archive", protect=True),
    wanted("playback-restriction-policy/eu", {"allowedCountries": ["DE"]}),
    wanted("playback-restriction-policy/us", {"allowedCountries": ["US"]}),
    key_pair("web"),
    wanted(
        "channel/a",
        refs(
            recordingConfigurationArn="recording-configuration/archive",
            playbackRestrictionPolicyArn="playback-restriction-policy/eu",
        ),
    ),
    wanted("stream-key/a"),
    wanted("channel/b", protect=True),
    wanted("channel/c", refs(playbackRestrictionPolicyArn="playback-restriction-policy/us")),
)


@contextmanager
def race(
    seed: int, root: Path, *, create_lag: float = 0.0, delete_lag: float = 0.0, lossy: float = 0.0
) -> Iterator[tuple[World, list[ApplyResult | None]]]:
    """Let two applies run against each other; yields the world afterwards and what became of each."""
    clock = VirtualClock()
    with Sandbox(serve=False, clock=clock, seed=seed, settle_seconds=2) as sandbox:
        results = _results(seed, sandbox, clock, root, create_lag, delete_lag, lossy)
        sandbox.control.set_lag()
        sandbox.control.clear_faults()
        clock.advance(40)
        client = worlds_client()
        sandbox.attach(client)
        yield World(sandbox, clock, client, root), results


def _results(
    seed: int, sandbox: Sandbox, clock: VirtualClock, root: Path, create_lag: float, delete_lag: float, lossy: float
) -> list[ApplyResult | None]:
    rng = random.Random(seed)
    sandbox.control.set_lag(create=create_lag, delete=delete_lag)
    if lossy:
        for when in ("before", "after"):
            sandbox.control.add_fault("reset", operation="*e*", when=when, times=None, probability=lossy)
    paces = {"one": 1.0, "two": rng.choice([1.0, 1.0, 0.3, 0.05])}
    with Turnstile(rng, clock, paces) as gate:

        def run(who: str) -> ApplyResult | None:
            client = worlds_client()
            sandbox.attach(client)
            world = World(sandbox, clock, client, root / who)
            world.root.mkdir()
            world.draw = random.Random(f"{seed} {who}").random
            world.sleep = gate.sleep(who)
            late = rng.choice([0.0, 0.0, 1.0, 4.0]) if who == "two" else 0.0
            if late:
                world.sleep(late)
            return world.carry_out(_surveyed(world, gate.before(who)))

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(run, paces))


def _surveyed(world: World, before: Callable[[str, Mapping[str, object]], None]) -> Survey:
    """Read and plan as often as it takes: a reading that lost too many answers is an error, and a user begins again."""
    for _ in range(9):
        try:
            return world.survey(SPEC, before=before)
        except AwsError:
            world.sleep(1.0)
    return world.survey(SPEC, before=before)


def check(world: World, results: list[ApplyResult | None]) -> None:
    said = [(str(outcome.address), outcome.message) for result in results if result for outcome in result.outcomes]
    assert world.status() == dict.fromkeys(SPEC.resources, 1), said
    plan = world.survey(SPEC, PlanOptions(prune=True)).plan
    assert plan.actions == (), (plan.actions, said)
    # On a busy machine the clock of the two can run far ahead of one of them, who then gives up waiting and says so: honest, though incomplete.
    # That both give up would mean that neither did the work.
    assert any(result is None or result.complete for result in results), said


@pytest.mark.parametrize("seed", range(12))
def test_one_of_everything_is_left(seed: int, tmp_path: Path) -> None:
    with race(seed, tmp_path) as end:
        check(*end)


@pytest.mark.parametrize("seed", range(8))
def test_one_of_everything_is_left_when_lists_lag(seed: int, tmp_path: Path) -> None:
    with race(seed, tmp_path, create_lag=6, delete_lag=6) as end:
        check(*end)


@pytest.mark.parametrize("seed", range(16))
def test_one_of_everything_is_left_when_answers_are_lost_too(seed: int, tmp_path: Path) -> None:
    """A run whose create was carried out and not answered knows its own among two by the number that the create wrote on it."""
    lag = 6 if seed % 3 == 2 else 0
    with race(seed, tmp_path, create_lag=lag, delete_lag=lag, lossy=0.15 if seed % 2 else 0.08) as (world, results):
        said = [(str(outcome.address), outcome.message) for result in results if result for outcome in result.outcomes]
        status = world.status()
        assert set(status) <= set(SPEC.resources), said
        # Who lost too many answers may have given up on one, or on deleting its own of two, and says so.
        gave_up = {
            one.address for result in results if result for one in result.outcomes if one.result is Result.FAILED
        }
        assert all(count == 1 or address in gave_up for address, count in status.items()), said
        # The next apply makes what is missing, deletes what is there twice, and does nothing else.
        world.apply(SPEC, PlanOptions(prune=True))
        assert world.status() == dict.fromkeys(SPEC.resources, 1), said
        assert world.survey(SPEC, PlanOptions(prune=True)).plan.actions == (), said


def test_a_value_that_comes_late_does_not_pass_for_that_of_the_key_that_is_there(tmp_path: Path) -> None:
    """While one apply hands a value over, another one makes the next key, for a newer spec, and hands its value over first."""
    sink = Sink(Store.SECRETS_MANAGER, "acme/a")

    def spec(label: str) -> DesiredState:
        return desired(wanted("channel/a"), wanted("stream-key/a", rotation=label, sink=sink))

    clock = VirtualClock()
    client = worlds_client()
    with Sandbox(serve=False, clock=clock, seed=3) as sandbox:
        sandbox.attach(client)
        stores = Stores()
        world = World(sandbox, clock, client, tmp_path, stores=stores)
        world.apply(spec("1"))
        newer: list[ApplyResult | None] = []

        def first_the_other(_action: str, _resource: str) -> bool:
            if not newer:
                newer.append(None)
                newer[0] = world.apply(spec("3"))
            return True

        stores.allowed = first_the_other
        older = world.apply(spec("2"))
        assert newer[0] is not None
        assert newer[0].complete
        assert older is not None
        assert (
            "is gone: another apply deleted it while its value was published to secretsManager:acme/a; run apply again to publish the value of"
            in older.outcomes[0].message
        )
        world.apply(spec("3"))
        every_value_arrived(world, spec("3"))
        assert not world.survey(spec("3")).plan.actions
