"""The number that a create writes on what it makes: where it is, that nothing compares it, and that it gives its place to a tag of the spec."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.drift.classify import classify
from reconciler.model.address import ATTEMPT, MAX_TAGS, MAX_TAGS_WITH_ATTEMPT, OWNERSHIP, KindName
from reconciler.plan.plan import PlanOptions
from tests.builders import desired, wanted
from tests.reliability.world import World, key_pair, one_world

OF_ALL_KINDS = desired(
    wanted("recording-configuration/archive", {"destinationConfiguration": {"s3": {"bucketName": "acme-archive"}}}),
    wanted("failover-slate-configuration/slate", {"s3Uri": "s3://acme-slates/slate.mp4"}),
    wanted("playback-restriction-policy/eu", {"allowedCountries": ["DE"]}),
    wanted(
        "ad-configuration/ads",
        {
            "mediaTailorPlaybackConfigurations": [
                {"playbackConfigurationArn": "arn:aws:mediatailor:eu-west-1:123456789012:playbackConfiguration/ads"}
            ]
        },
    ),
    key_pair("web"),
    wanted("channel/main"),
    wanted("stream-key/main"),
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    numbers = iter(range(1, 100))
    with one_world(tmp_path, seed=5) as world:
        world.draw = lambda: next(numbers) / 100
        yield world


def tagged(count: int) -> dict[str, str]:
    """Return so many tags of a spec that a resource has ``count`` of them, the three of ownership included."""
    return {f"team-{number}": "video" for number in range(count - len(OWNERSHIP) + 1)}


def test_kinds_that_could_be_duplicated_carry_it_and_it_is_no_difference(world: World) -> None:
    world.apply(OF_ALL_KINDS)
    numbers = {found["arn"].split(":")[5].partition("/")[0]: found["tags"].get(ATTEMPT) for found in world.everything()}
    assert numbers.pop("playback-key") is numbers.pop("stream-key") is None
    assert len(set(numbers.values()) - {None}) == len(numbers) == 5
    survey = world.survey(OF_ALL_KINDS, PlanOptions(prune=True))
    assert not survey.plan.actions
    report = classify(survey.plan, survey.desired, survey.live)
    assert (report.drifted, report.findings) == (False, ())


def test_it_is_left_out_where_tags_are_many(world: World) -> None:
    world.apply(
        desired(
            wanted("channel/few", tags=tagged(MAX_TAGS_WITH_ATTEMPT - 1)),
            wanted("channel/many", tags=tagged(MAX_TAGS_WITH_ATTEMPT)),
        )
    )
    assert {
        found["name"]: ATTEMPT in found["tags"]
        for found in world.everything()
        if KindName.CHANNEL.value in found["arn"]
    } == {"few": True, "many": False}


def test_it_makes_space_for_the_tags_of_the_spec(world: World) -> None:
    world.apply(desired(wanted("channel/a", tags=tagged(MAX_TAGS_WITH_ATTEMPT - 1))))
    full = desired(wanted("channel/a", tags=tagged(MAX_TAGS - 1), protect=True))
    result = world.apply(full)
    assert result is not None
    assert result.complete
    (channel,) = [found for found in world.everything() if ":channel/" in found["arn"]]
    assert len(channel["tags"]) == MAX_TAGS
    assert ATTEMPT not in channel["tags"]
    assert not world.survey(full).plan.actions
