"""The parts of a run that are kept as JSON, and back: findings, broadcasts, outcomes. No secret gets this far: what was read holds none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from reconciler.gitops.state import OnAir, Run
from reconciler.model.address import Address
from reconciler.model.values import freeze, thaw
from reconciler.plan.actions import ApplyResult, FieldChange, Outcome, Result, StepOutcome, Verb
from reconciler.plan.drift import Finding, Standing


def dumps(run: Run) -> str:
    """Return what only the newest run of a target is shown with."""
    content = {
        "findings": [_finding(finding) for finding in run.findings],
        "onAir": [[each.name, each.arn, each.since, each.viewers, each.health] for each in run.on_air],
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def loads(text: str) -> tuple[tuple[Finding, ...], tuple[OnAir, ...]]:
    """Return findings and broadcasts of a run."""
    content = json.loads(text)
    return tuple(map(_read_finding, content["findings"])), tuple(OnAir(*each) for each in content["onAir"])


def result_json(result: ApplyResult) -> str:
    """Return the end of an apply."""
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
    """Return the end of an apply, read back."""
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
