"""The nouns of the controller: how a target is worked on, how a look at it ended, and what is known of it since.

Frozen values. Times are seconds since the epoch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from reconciler.diff import FieldChange
from reconciler.drift.report import DriftReport, Finding, Standing
from reconciler.git.git import Trouble
from reconciler.git.source import Commit
from reconciler.model.address import Address, KindName
from reconciler.model.values import freeze, thaw
from reconciler.plan.plan import ApplyResult, OnAir, Outcome, Plan, Result, StepOutcome, Verb


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
    unmanaged: int = 0
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


# What of a run is kept as JSON


def detail_json(run: Run) -> str:
    """Return as JSON what only the newest run of a target is shown with: findings and live channels, with no secret."""
    content = {
        "findings": [_finding(finding) for finding in run.findings],
        "onAir": [[each.name, each.arn, each.since, each.viewers, each.health] for each in run.on_air],
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def read_detail(text: str) -> tuple[tuple[Finding, ...], tuple[OnAir, ...]]:
    """Return findings and live channels of a run."""
    content = json.loads(text)
    return tuple(map(_read_finding, content["findings"])), tuple(
        OnAir(Address(KindName.CHANNEL, name), *facts) for name, *facts in content["onAir"]
    )


def result_json(result: ApplyResult) -> str:
    """Return the result of an apply as JSON."""
    content = {
        "interrupted": result.interrupted,
        "calls": result.calls,
        "seconds": result.seconds,
        "outcomes": [
            {
                "address": str(outcome.address),
                "verb": outcome.verb.value,
                "result": outcome.result.value,
                "message": outcome.message,
                "requestId": outcome.request_id,
                "arn": outcome.arn,
                "steps": [
                    [
                        step.step,
                        step.operation,
                        step.result.value,
                        step.calls,
                        round(step.seconds, 3),
                        step.request_id,
                        step.error_code,
                        step.message,
                    ]
                    for step in outcome.steps
                ],
            }
            for outcome in result.outcomes
        ],
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def read_result(target: str, text: str) -> ApplyResult:
    """Return the result of an apply from its JSON."""
    content = json.loads(text)
    outcomes = tuple(
        Outcome(
            Address.parse(each["address"]),
            Verb(each["verb"]),
            Result(each["result"]),
            each["message"],
            each["requestId"],
            each["arn"],
            tuple(StepOutcome(step[0], step[1], Result(step[2]), *step[3:]) for step in each["steps"]),
        )
        for each in content["outcomes"]
    )
    return ApplyResult(
        target, outcomes, interrupted=content["interrupted"], calls=content["calls"], seconds=content["seconds"]
    )


def _finding(finding: Finding) -> Mapping[str, object]:
    return {
        "address": str(finding.address),
        "standing": finding.standing.value,
        "explanation": finding.explanation,
        "arn": finding.arn,
        "changes": [
            [change.path, thaw(change.before), thaw(change.after), change.absent_before, change.absent_after]
            for change in finding.changes
        ],
    }


def _read_finding(content: Mapping[str, Any]) -> Finding:
    changes = tuple(
        FieldChange(path, freeze(before), freeze(after), absent_before=no_before, absent_after=no_after)
        for path, before, after, no_before, no_after in content["changes"]
    )
    return Finding(
        Address.parse(content["address"]),
        Standing(content["standing"]),
        content["explanation"],
        content["arn"],
        changes,
    )
