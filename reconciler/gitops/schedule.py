"""When each target, and the branch, is looked at next. State and time in, names and times out.

A look that went well comes again after the interval, spread by jitter so that targets do not march in step.
One that failed comes again soon, then later each time, up to an hour or the interval, whichever is longer.
A new commit makes every target due; so does a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from reconciler.gitops.state import FAILURES, Mode, RepositoryState, Run, TargetState

FIRST_RETRY = 30.0
LONGEST_RETRY = 3600.0
SPREAD = 5.0
"""Seconds over which targets are spread when all are due at once."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often. Times in seconds; ``jitter`` is a share of the interval, from 0 to 1."""

    interval: float = 600.0
    fetch: float = 60.0
    jitter: float = 0.1
    intervals: Mapping[str, float] = field(default_factory=dict)
    mode: Mode = Mode.OBSERVE
    modes: Mapping[str, Mode] = field(default_factory=dict)

    def of(self, target: str) -> float:
        """Return the interval of a target."""
        return self.intervals.get(target, self.interval)

    def mode_of(self, target: str) -> Mode:
        """Return what is done about a target."""
        return self.modes.get(target, self.mode)


def due(states: Iterable[TargetState], now: float, *, running: frozenset[str]) -> tuple[str, ...]:
    """Return the targets to look at now, the longest overdue first. A suspended one is never among them."""
    ready = [
        state
        for state in states
        if not state.suspended and state.name not in running and (state.asked or state.due <= now)
    ]
    return tuple(state.name for state in sorted(ready, key=lambda state: (not state.asked, state.due, state.name)))


def next_at(states: Iterable[TargetState], now: float, *, running: frozenset[str]) -> float:
    """Return when the next target is due, or an hour from now when none is."""
    return min(
        (state.due for state in states if not state.suspended and state.name not in running),
        default=now + LONGEST_RETRY,
    )


def after(state: TargetState, run: Run, pace: Pace, now: float, draw: float) -> TargetState:
    """Return a target's state after a look at it. ``draw`` is a random number from 0 to 1."""
    interval = pace.of(state.name)
    state = replace(state, last=run, known=run if run.looked else state.known, commit=run.commit)
    if run.ending in FAILURES:
        failures = state.failures + 1
        return replace(state, due=now + retry_after(failures, max(LONGEST_RETRY, interval), draw), failures=failures)
    return replace(state, due=now + interval * (1 + pace.jitter * (2 * draw - 1)), failures=0, last_success=now)


def on_new_commit(state: TargetState, now: float, draw: float) -> TargetState:
    """Return a target's state when the branch has moved: due at once, failed or not, because the cause may be gone."""
    return replace(state, due=min(state.due, now + SPREAD * draw))


def next_fetch(repository: RepositoryState, pace: Pace, draw: float) -> float:
    """Return when the branch is asked about again."""
    if repository.failures:
        return repository.tried_at + retry_after(repository.failures, max(LONGEST_RETRY / 4, pace.fetch), draw)
    return repository.tried_at + pace.fetch * (1 + pace.jitter * (2 * draw - 1))


def retry_after(failures: int, longest: float, draw: float) -> float:
    """Return the wait after so many failures in a row: doubled each time, the upper half of it left to chance."""
    whole = min(longest, FIRST_RETRY * 2.0 ** min(failures - 1, 20))
    return whole * (0.5 + 0.5 * draw)
