"""The order of steps: what is refused, and how ties are settled."""

from __future__ import annotations

import pytest

from reconciler.model.address import Address
from reconciler.plan.order import action_key
from reconciler.plan.plan import Action, Reason, Step, Verb
from tests.plan.service import in_order


def an_action(address: str, *steps: Step, verb: Verb = Verb.UPDATE) -> Action:
    return Action(Address.parse(address), verb, Reason.PROPERTIES_DIFFER, "because", steps=steps)


def a_step(name: str, *after: str) -> Step:
    return Step(name, "UpdateChannel", {}, after=after)


def test_a_step_comes_after_what_it_waits_for_and_otherwise_in_the_order_of_actions() -> None:
    actions = (
        an_action("channel/a", a_step("a#1", "c#1"), a_step("a#2")),
        an_action("channel/b", a_step("b#1")),
        an_action("channel/c", a_step("c#1")),
    )
    assert [step.id for step in in_order(actions)] == ["a#2", "b#1", "c#1", "a#1"]


def test_steps_that_wait_for_one_another_are_refused() -> None:
    with pytest.raises(ValueError, match=r"in a circle: a#1, b#1"):
        in_order((an_action("channel/a", a_step("a#1", "b#1")), an_action("channel/b", a_step("b#1", "a#1"))))


def test_a_step_that_waits_for_nothing_known_is_refused() -> None:
    with pytest.raises(ValueError, match="a#1 waits for z#9, which is no step of this plan"):
        in_order((an_action("channel/a", a_step("a#1", "z#9")),))


def test_makers_come_by_rising_rank_and_deletes_after_them_by_falling_rank() -> None:
    actions = [
        an_action("recording-configuration/a", verb=Verb.DELETE),
        an_action("channel/b", verb=Verb.DELETE),
        an_action("stream-key/a", verb=Verb.CREATE),
        an_action("channel/b"),
        an_action("channel/a", verb=Verb.REPLACE),
        an_action("recording-configuration/z", verb=Verb.ADOPT),
    ]
    assert [str(action.address) for action in sorted(actions, key=action_key)] == [
        "recording-configuration/z",
        "channel/a",
        "channel/b",
        "stream-key/a",
        "channel/b",
        "recording-configuration/a",
    ]
