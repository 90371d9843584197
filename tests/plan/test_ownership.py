"""Consents that name nothing they could apply to, and what has to be read before a plan."""

from __future__ import annotations

import pytest

from reconciler.errors import UsageError
from reconciler.model.address import STACK, Address, KindName
from reconciler.model.resource import LiveResource
from reconciler.plan.decide import build_plan
from reconciler.plan.pairing import classify
from reconciler.plan.plan import PlanOptions, Verb
from tests.builders import arn, desired, live, of, unowned, wanted

MAIN = wanted("channel/main")


@pytest.mark.parametrize(
    ("address", "consent", "said"),
    [
        ("channel/unknown", arn("channel/main-unowned"), "not in the spec; add the channel"),
        ("channel/main", arn("channel/nowhere"), "does not exist in account"),
        ("channel/main", arn("recording-configuration/x-unowned"), "does not exist in account"),
        ("stream-key/main", arn("stream-key/x"), "a stream key is adopted with its channel"),
    ],
)
def test_a_consent_that_cannot_apply_is_the_callers_to_correct(address: str, consent: str, said: str) -> None:
    now = live(unowned("channel/main"), unowned("recording-configuration/x"))
    with pytest.raises(UsageError, match=said):
        build_plan(
            desired(MAIN, wanted("stream-key/main")),
            now,
            PlanOptions(),
            target_name="prod",
            adopt={Address.parse(address): consent},
        )


def test_an_address_that_is_managed_already_takes_no_second_resource() -> None:
    with pytest.raises(UsageError, match="channel/main under this address"):
        build_plan(
            desired(MAIN),
            live(of(MAIN), unowned("channel/main")),
            PlanOptions(),
            target_name="prod",
            adopt={MAIN.address: arn("channel/main-unowned")},
        )


def test_what_is_ours_under_another_address_is_not_taken_twice() -> None:
    other = wanted("channel/other")
    with pytest.raises(UsageError, match="as channel/other"):
        build_plan(
            desired(MAIN, other),
            live(of(other)),
            PlanOptions(),
            target_name="prod",
            adopt={MAIN.address: arn("channel/other")},
        )


def test_what_is_adopted_by_arn_is_not_adopted_by_name_as_well() -> None:
    plan = build_plan(
        desired(MAIN, wanted("channel/second", {"name": "shared"})),
        live(unowned("channel/x", {"name": "shared"})),
        PlanOptions(adopt=True),
        target_name="prod",
        adopt={MAIN.address: arn("channel/x-unowned")},
    )
    adopted = [(str(action.address), action.arn) for action in plan.actions if action.verb is Verb.ADOPT]
    assert adopted == [("channel/main", arn("channel/x-unowned"))]


def test_a_consent_that_was_carried_out_changes_nothing() -> None:
    plan = build_plan(
        desired(MAIN),
        live(of(MAIN)),
        PlanOptions(adopt=True),
        target_name="prod",
        adopt={MAIN.address: arn("channel/main")},
    )
    assert plan.actions == ()


def test_resources_to_adopt_are_read_in_full_first() -> None:
    summary = unowned("channel/main", complete=False)
    now = live(summary, unowned("channel/whole"), unowned("channel/theirs", tags={STACK: "other"}, complete=False))
    spec = desired(MAIN, wanted("channel/whole"), wanted("channel/theirs"))

    def summaries(options: PlanOptions, adopt: dict[Address, str]) -> list[LiveResource]:
        consents = classify(spec, now, options, adopt).consents
        return [resource for resource in consents.values() if not resource.complete]

    assert summaries(PlanOptions(adopt=True), {}) == [summary]
    assert summaries(PlanOptions(), {}) == []
    assert summaries(PlanOptions(), {MAIN.address: summary.arn}) == [summary]


def test_every_live_resource_is_counted_once_as_managed_or_unmanaged() -> None:
    plan = build_plan(
        desired(MAIN, wanted("stream-key/main")),
        live(
            of(MAIN),
            of(wanted("stream-key/main")),
            of(wanted("channel/gone")),
            unowned("channel/theirs"),
            unowned("playback-key-pair/theirs"),
        ),
        PlanOptions(),
        target_name="prod",
    )
    assert plan.managed == {**dict.fromkeys(KindName, 0), KindName.CHANNEL: 2, KindName.STREAM_KEY: 1}
    assert plan.summary.unmanaged == 2
