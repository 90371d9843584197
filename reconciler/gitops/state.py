"""The nouns of the controller: how a target is worked on, how a look at it ended, and what is known of it since.

Frozen values. Times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.gitops.git import Trouble
from reconciler.gitops.source import Commit
from reconciler.plan.actions import ApplyResult, Plan
from reconciler.plan.drift import DriftReport, Finding, Standing


class Mode(StrEnum):
    """What is done about a target: say what drifted, keep a plan as well, or carry it out."""

    OBSERVE = "observe"
    PLAN = "plan"
    APPLY = "apply"


class Ending(StrEnum):
    """How a look at a target ended."""

    IN_SYNC = "in-sync"
    DRIFTED = "drifted"
    PENDING = "pending"
    APPLIED = "applied"
    BLOCKED = "blocked"
    """Everything that is due is held back, such as by a channel on air."""
    REFUSED = "refused"
    """A guardrail or a lock; a person decides."""
    INCOMPLETE = "incomplete"
    BAD_SPEC = "bad-spec"
    FAILED = "failed"


FAILURES = frozenset({Ending.INCOMPLETE, Ending.BAD_SPEC, Ending.FAILED})
"""After these the next look comes later each time."""


@dataclass(frozen=True, slots=True)
class OnAir:
    """A broadcast that was running when the target was looked at. ``viewers`` is ``-1`` where they could not be counted."""

    name: str
    arn: str
    since: str
    viewers: int
    health: str


@dataclass(frozen=True, slots=True)
class Run:
    """One look at one target, with what came of it."""

    target: str
    mode: Mode
    commit: str
    started: float
    ending: Ending
    seconds: float = 0.0
    message: str = ""
    plan_id: str = ""
    account_id: str = ""
    region: str = ""
    counts: Mapping[Standing, int] = field(default_factory=dict)
    """What was found when the run ended, after an apply what is left."""
    managed: int = 0
    unchanged: int = 0
    foreign: int = 0
    calls: int = 0
    done: int = 0
    """Actions that an apply carried out."""
    waiting_on_air: int = 0
    """Actions held back by a channel on air."""
    stack: str = ""
    looked: bool = True
    """Whether the account could be read, so that the counts mean something."""
    on_air: tuple[OnAir, ...] = ()
    findings: tuple[Finding, ...] = ()
    plan: Plan | None = None
    result: ApplyResult | None = None
    report: DriftReport | None = None

    @property
    def drifted(self) -> int:
        """Resources that changed outside, are missing, or stand twice."""
        return sum(self.counts.get(standing, 0) for standing in (Standing.DRIFT, Standing.MISSING, Standing.DUPLICATE))

    @property
    def pending(self) -> int:
        """Resources that wait to be applied."""
        return self.counts.get(Standing.PENDING, 0)


@dataclass(frozen=True, slots=True)
class TargetState:
    """What is known of a target between looks.

    ``due`` is when it is looked at next. ``last`` is the newest run, ``known`` the newest that could read the account; it holds the findings.
    """

    name: str
    due: float = 0.0
    failures: int = 0
    suspended: bool = False
    asked: bool = False
    last_success: float = 0.0
    commit: str = ""
    last: Run | None = None
    known: Run | None = None


@dataclass(frozen=True, slots=True)
class RepositoryState:
    """What is known of the branch. ``trouble`` says why the newest state of it is not followed, with ``message`` for people."""

    url: str
    branch: str
    commit: Commit | None = None
    fetched_at: float = 0.0
    tried_at: float = 0.0
    failures: int = 0
    trouble: Trouble | None = None
    message: str = ""
