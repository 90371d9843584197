from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from reconciler.controller import controller
from reconciler.controller.controller import FIRST_RETRY, LONGEST_RETRY, Pace
from reconciler.controller.state import FAILURES, Ending, Mode, RepositoryState, Run, TargetState

NOW = 1_000_000.0
draws = st.floats(0, 1)
endings = st.sampled_from(Ending)
states = st.builds(
    TargetState,
    name=st.sampled_from("abcdef"),
    due=st.floats(0, 2 * NOW),
    failures=st.integers(0, 40),
    suspended=st.booleans(),
    asked=st.booleans(),
)


def a_run(ending: Ending, *, looked: bool = True) -> Run:
    return Run("a", Mode.OBSERVE, "c1", NOW, ending, looked=looked)


@given(st.lists(states, unique_by=lambda state: state.name), st.frozensets(st.sampled_from("abcdef")))
def test_nothing_suspended_running_or_early_is_due_and_wishes_come_first(
    some: list[TargetState], running: frozenset[str]
) -> None:
    by_name = {state.name: state for state in some}
    found = controller.due(some, NOW, running=running)
    assert set(found) == {
        state.name
        for state in some
        if not state.suspended and state.name not in running and (state.asked or state.due <= NOW)
    }
    order = [(not by_name[name].asked, by_name[name].due) for name in found]
    assert order == sorted(order)


@given(st.lists(states, unique_by=lambda state: state.name))
def test_the_next_moment_is_never_after_a_target_that_waits(some: list[TargetState]) -> None:
    at = controller.next_at(some, NOW, running=frozenset())
    assert all(state.due >= at for state in some if not state.suspended)


@given(states, endings, draws, st.floats(60, 86_400), st.floats(0, 0.9))
def test_after_a_look_the_next_one_keeps_to_the_interval_or_backs_off(
    state: TargetState, ending: Ending, draw: float, interval: float, jitter: float
) -> None:
    pace = Pace(interval=interval, jitter=jitter)
    after = controller.after(state, a_run(ending), pace, NOW, draw)
    wait = after.due - NOW
    if ending in FAILURES:
        assert after.failures == state.failures + 1
        assert FIRST_RETRY / 2 - 1 <= wait <= max(LONGEST_RETRY, interval) + 1
        assert after.last_success == state.last_success
    else:
        assert (after.failures, after.last_success) == (0, NOW)
        assert interval * (1 - jitter) - 1 <= wait <= interval * (1 + jitter) + 1


@given(draws)
def test_each_failure_waits_longer_than_the_last_until_the_longest(draw: float) -> None:
    waits = [controller.retry_after(failures, LONGEST_RETRY, draw) for failures in range(1, 60)]
    assert waits == sorted(waits)
    assert waits[6] > 30 * waits[0]
    assert waits[-1] <= LONGEST_RETRY


@given(states, draws)
def test_a_new_commit_brings_a_target_forward_and_never_puts_it_off(state: TargetState, draw: float) -> None:
    after = controller.on_new_commit(state, NOW, draw)
    assert after.due <= min(max(state.due, 0), NOW + controller.SPREAD)
    assert replace(after, due=state.due) == state


def test_what_was_known_stays_when_a_look_fails() -> None:
    good = controller.after(TargetState("a"), a_run(Ending.DRIFTED), Pace(), NOW, 0.5)
    bad = controller.after(good, a_run(Ending.FAILED, looked=False), Pace(), NOW + 600, 0.5)
    assert bad.known is good.last
    assert bad.last is not good.last


@given(st.integers(0, 30), draws)
def test_a_forge_that_fails_is_asked_less_often_but_at_least_every_quarter_of_an_hour(
    failures: int, draw: float
) -> None:
    repository = RepositoryState("u", "main", tried_at=NOW, failures=failures)
    wait = controller.next_fetch(repository, Pace(fetch=60, jitter=0.1), draw) - NOW
    assert 14 <= wait <= 900.1
    assert failures or 53 <= wait <= 67
