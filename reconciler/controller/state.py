"""The state of targets, of the repository, and of runs. A run is one reconciliation of one target.

Frozen values. Times are seconds since the epoch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from reconciler.diff import FieldChange
from reconciler.drift.report import DriftReport, DriftStatus, Finding
from reconciler.git.git import Trouble
from reconciler.git.source import Commit
from reconciler.model.address import Address, KindName
from reconciler.model.values import freeze, thaw
from reconciler.plan.plan import ApplyResult, LiveChannel, Outcome, Plan, Result, StepOutcome, Verb


class Mode(StrEnum):
    """What the controller does with a target: report drift, plan as well, or apply the plan."""

    OBSERVE = "observe"
    PLAN = "plan"
    APPLY = "apply"


class RunStatus(StrEnum):
    """How a run ended."""

    IN_SYNC = "in-sync"
    DRIFTED = "drifted"
    PENDING = "pending"
    APPLIED = "applied"
    BLOCKED = "blocked"
    """All actions are blocked, such as by a live channel."""
    REFUSED = "refused"
    """By a guardrail or a lock: someone has to decide."""
    INCOMPLETE = "incomplete"
    """The apply partially failed, or was interrupted."""
    BAD_SPEC = "bad-spec"
    FAILED = "failed"


FAILURES = frozenset({RunStatus.INCOMPLETE, RunStatus.BAD_SPEC, RunStatus.FAILED})
"""After these, the next reconciliation is delayed more each time."""


@dataclass(frozen=True, slots=True)
class Run:
    """One reconciliation of one target. ``counts`` are from its end: after an apply, what is left."""

    target: str
    mode: Mode
    commit: str
    started: float
    status: RunStatus
    seconds: float = 0.0
    message: str = ""
    plan_id: str = ""
    account_id: str = ""
    region: str = ""
    counts: Mapping[DriftStatus, int] = field(default_factory=dict)
    managed: int = 0
    unchanged: int = 0
    unmanaged: int = 0
    calls: int = 0
    done: int = 0
    """Actions that the apply completed."""
    blocked_by_live: int = 0
    """Actions blocked by a live channel."""
    stack: str = ""
    account_read: bool = True
    """Whether the account was read; without it, the counts mean nothing."""
    live_channels: tuple[LiveChannel, ...] = ()
    findings: tuple[Finding, ...] = ()
    plan: Plan | None = None
    result: ApplyResult | None = None
    report: DriftReport | None = None

    @property
    def drifted(self) -> int:
        """The number of resources that are modified outside, missing, or duplicate."""
        return sum(
            self.counts.get(status, 0) for status in (DriftStatus.DRIFT, DriftStatus.MISSING, DriftStatus.DUPLICATE)
        )

    @property
    def pending(self) -> int:
        """The number of resources with changes that were not applied yet."""
        return self.counts.get(DriftStatus.PENDING, 0)


@dataclass(frozen=True, slots=True)
class TargetState:
    """The state of a target between runs.

    ``due`` is the next run. ``last_run`` is the newest run; ``last_read`` the newest that read the account, with its findings.
    """

    name: str
    due: float = 0.0
    failures: int = 0
    suspended: bool = False
    requested: bool = False
    last_success: float = 0.0
    commit: str = ""
    last_run: Run | None = None
    last_read: Run | None = None


@dataclass(frozen=True, slots=True)
class RepositoryState:
    """The state of the branch. ``trouble`` and ``message`` say why its newest commit is not followed."""

    url: str
    branch: str
    commit: Commit | None = None
    fetched_at: float = 0.0
    tried_at: float = 0.0
    failures: int = 0
    trouble: Trouble | None = None
    message: str = ""


def detail_json(run: Run) -> str:
    """Return findings and live channels of a run as JSON. They are shown for the newest run of a target only."""
    content = {
        "findings": [_finding(finding) for finding in run.findings],
        "liveChannels": [[each.name, each.arn, each.since, each.viewers, each.health] for each in run.live_channels],
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def read_detail(text: str) -> tuple[tuple[Finding, ...], tuple[LiveChannel, ...]]:
    """Return findings and live channels from their JSON."""
    content = json.loads(text)
    return tuple(map(_read_finding, content["findings"])), tuple(
        LiveChannel(Address(KindName.CHANNEL, name), *facts) for name, *facts in content["liveChannels"]
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
        "status": finding.status.value,
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
        DriftStatus(content["status"]),
        content["explanation"],
        content["arn"],
        changes,
    )
