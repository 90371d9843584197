from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from reconciler.controller import controller
from reconciler.controller.controller import FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS, Schedule
from reconciler.controller.state import FAILURES, Mode, RepositoryState, Run, RunStatus, TargetState

NOW = 1_000_000.0
draws = st.floats(0, 1)
statuses = st.sampled_from(RunStatus)
states = st.builds(
    TargetState,
    name=st.sampled_from("abcdef"),
    due=st.floats(0, 2 * NOW),
    failures=st.integers(0, 40),
    suspended=st.booleans(),
    requested=st.booleans(),
)


def a_run(status: RunStatus, *, account_read: bool = True) -> Run:
    return Run("a", Mode.OBSERVE, "c1", NOW, status, account_read=account_read)


@given(st.lists(states, unique_by=lambda state: state.name), st.frozensets(st.sampled_from("abcdef")))
def test_nothing_suspended_running_or_early_is_due_and_requests_come_first(
    some: list[TargetState], running: frozenset[str]
) -> None:
    by_name = {state.name: state for state in some}
    found = controller.due(some, NOW, running=running)
    assert set(found) == {
        state.name
        for state in some
        if not state.suspended and state.name not in running and (state.requested or state.due <= NOW)
    }
    order = [(not by_name[name].requested, by_name[name].due) for name in found]
    assert order == sorted(order)


@given(st.lists(states, unique_by=lambda state: state.name))
def test_the_next_moment_is_never_after_a_target_that_waits(some: list[TargetState]) -> None:
    at = controller.next_due(some, NOW, running=frozenset())
    assert all(state.due >= at for state in some if not state.suspended)


@given(states, statuses, draws, st.floats(60, 86_400), st.floats(0, 0.9))
def test_after_a_look_the_next_one_keeps_to_the_interval_or_backs_off(
    state: TargetState, status: RunStatus, draw: float, interval: float, jitter: float
) -> None:
    schedule = Schedule(interval=interval, jitter=jitter)
    after = controller.state_after(state, a_run(status), schedule, NOW, draw)
    wait = after.due - NOW
    if status in FAILURES:
        assert after.failures == state.failures + 1
        assert FIRST_RETRY_SECONDS / 2 - 1 <= wait <= max(MAX_RETRY_SECONDS, interval) + 1
        assert after.last_success == state.last_success
    else:
        assert (after.failures, after.last_success) == (0, NOW)
        assert interval * (1 - jitter) - 1 <= wait <= interval * (1 + jitter) + 1


@given(draws)
def test_each_failure_waits_longer_than_the_last_until_the_longest(draw: float) -> None:
    waits = [controller.retry_delay(failures, MAX_RETRY_SECONDS, draw) for failures in range(1, 60)]
    assert waits == sorted(waits)
    assert waits[6] > 30 * waits[0]
    assert waits[-1] <= MAX_RETRY_SECONDS


@given(states, draws)
def test_a_new_commit_brings_a_target_forward_and_never_puts_it_off(state: TargetState, draw: float) -> None:
    after = controller.on_new_commit(state, NOW, draw)
    assert after.due <= min(max(state.due, 0), NOW + controller.SPREAD_SECONDS)
    assert replace(after, due=state.due) == state


def test_what_was_known_stays_when_a_look_fails() -> None:
    good = controller.state_after(TargetState("a"), a_run(RunStatus.DRIFTED), Schedule(), NOW, 0.5)
    bad = controller.state_after(good, a_run(RunStatus.FAILED, account_read=False), Schedule(), NOW + 600, 0.5)
    assert bad.last_read is good.last_run
    assert bad.last_run is not good.last_run


@given(st.integers(0, 30), draws)
def test_a_forge_that_fails_is_asked_less_often_but_at_least_every_quarter_of_an_hour(
    failures: int, draw: float
) -> None:
    repository = RepositoryState("u", "main", tried_at=NOW, failures=failures)
    wait = controller.next_fetch(repository, Schedule(fetch=60, jitter=0.1), draw) - NOW
    assert 14 <= wait <= 900.1
    assert failures or 53 <= wait <= 67
