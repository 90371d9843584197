"""How an apply ended is said in the same words everywhere, and a blocked action is no failure."""

from __future__ import annotations

import pytest

from reconciler.model.address import Address, KindName
from reconciler.plan.plan import Outcome, Result, Verb
from reconciler.report import html, markdown, text
from tests.report.makers import a_result


def an_outcome(result: Result, name: str) -> Outcome:
    return Outcome(Address(KindName.CHANNEL, name), Verb.UPDATE, result, "")


@pytest.mark.parametrize(
    ("results", "interrupted", "state", "heading"),
    [
        ((Result.DONE, Result.BLOCKED), False, "incomplete", "Apply incomplete: 1 action blocked"),
        ((Result.BLOCKED, Result.BLOCKED), False, "incomplete", "Apply incomplete: 2 actions blocked"),
        ((Result.DONE, Result.FAILED, Result.BLOCKED), False, "partially failed", "Apply partially failed"),
        ((Result.DONE, Result.FAILED, Result.SKIPPED), False, "partially failed", "Apply partially failed"),
        ((Result.DONE, Result.SKIPPED), True, "interrupted", "Apply interrupted"),
        ((Result.DONE,), False, "complete", "Apply complete"),
    ],
)
def test_an_apply_is_described_as_it_ended(
    results: tuple[Result, ...], interrupted: bool, state: str, heading: str
) -> None:
    result = a_result(*(an_outcome(each, f"c{at}") for at, each in enumerate(results)), interrupted=interrupted)
    assert f"Apply {state} for prod: " in text.render_result(result)
    assert f"<small>{heading}</small>" in html.render_result(result)
    assert f": {state}" in markdown.render_results(result).partition("\n")[0]


def test_many_blocked_actions_with_one_reason_are_counted_and_a_few_are_named() -> None:
    why = "channels could not be read"
    blocked = [an_outcome(Result.BLOCKED, f"c{number}")._replace(message=why) for number in range(4)]
    assert "4 actions blocked (channels could not be read)\n" in text.render_result(a_result(*blocked))
    assert "blocked  update channel/c0: channels could not be read" in text.render_result(a_result(*blocked[:3]))
