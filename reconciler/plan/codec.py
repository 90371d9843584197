"""A plan as JSON, and back. The file is written once and only read by programs, so reading it is strict.

Every target carries a fingerprint of its content and the file one of all of it, when and from which commit it was made left out.
A file that somebody edited does not match its fingerprints and is refused: a plan is reviewed and applied as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict

from reconciler.errors import PlanRefused, UsageError
from reconciler.model.sink import sink_to_json
from reconciler.model.values import Value, thaw
from reconciler.plan.actions import (
    Action,
    Blocked,
    Duplicate,
    FieldChange,
    Observed,
    OnAir,
    Orphan,
    Plan,
    PlanOptions,
    Step,
    TargetPlan,
    Until,
)
from reconciler.plan.decode import FORMAT_VERSION, DamagedPlanError, read_plan
from reconciler.text import shown_json

_NOT_COVERED = ("createdAt", "gitCommit", "gitTree", "base", "fingerprint")


def to_json(plan: Plan) -> dict[str, object]:
    """Return the plan as plain JSON."""
    content: dict[str, object] = {
        "formatVersion": FORMAT_VERSION,
        "stack": plan.stack,
        "createdAt": plan.created_at,
        "gitCommit": plan.git_commit,
        **_origin(plan),
        "specDigest": plan.spec_digest,
        "options": _options(plan.options),
        "targets": [{**_target(target), "fingerprint": fingerprint(target)} for target in plan.targets],
    }
    content["fingerprint"] = _digest({key: value for key, value in content.items() if key not in _NOT_COVERED})
    return content


def dumps(plan: Plan) -> str:
    """Return the plan as the text of a plan file: the same plan gives the same text."""
    return shown_json(to_json(plan), indent=2) + "\n"


def fingerprint(target: TargetPlan) -> str:
    """Return ``sha256:`` and the digest of everything in one target's plan."""
    return _digest(_target(target))


def from_json(content: object) -> Plan:
    """Read a plan back. Raises ``UsageError`` for what is no plan of this format, ``PlanRefused`` for one that was changed after it was made."""
    try:
        plan = read_plan(content)
    except DamagedPlanError as error:
        raise UsageError(f"not a usable plan: {error}; make one with plan --out FILE") from None
    written = to_json(plan)
    # What was read has to be all there was: a key that reading passes over would escape the fingerprint.
    if content != json.loads(json.dumps(written)):
        raise PlanRefused(
            f"the plan was changed after it was made ({_where(content, written)} does not match its fingerprint); plan again"
        )
    return plan


def _where(content: object, written: Mapping[str, object]) -> str:
    if isinstance(content, Mapping):
        before, after = content.get("targets"), written["targets"]
        if isinstance(before, list) and isinstance(after, list):
            for one, other in zip(before, after, strict=False):
                if one != other:
                    return f"target {other['name']}"
    return "the file"


def _digest(content: Mapping[str, object]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _origin(plan: Plan) -> dict[str, object]:
    """Write what is known of where the plan comes from; what is not known has no member."""
    content: dict[str, object] = {}
    if plan.git_tree is not None:
        content["gitTree"] = plan.git_tree
    if plan.base is not None:
        content["base"] = {"name": plan.base.name, "commit": plan.base.commit}
    if plan.of_revisions:
        content["ofRevisions"] = True
    return content


def _options(options: PlanOptions) -> dict[str, object]:
    return {
        "prune": options.prune,
        "adopt": options.adopt,
        "only": list(options.only),
        "exclude": list(options.exclude),
        "stopLive": list(options.stop_live),
        "waitLive": options.wait_live,
    }


def _target(target: TargetPlan) -> dict[str, object]:
    return {
        "name": target.name,
        "accountId": target.account_id,
        "region": target.region,
        "specDigest": target.spec_digest,
        "summary": asdict(target.summary),
        "managed": {kind.value: count for kind, count in sorted(target.managed.items())},
        "desired": target.desired_count,
        "actions": [_action(action) for action in target.actions],
        "orphans": [_orphan(orphan) for orphan in target.orphans],
        "duplicates": [_duplicate(duplicate) for duplicate in target.duplicates],
        "notes": list(target.notes),
        "onAir": [_on_air(channel) for channel in target.on_air],
        "waitLive": target.wait_live,
        "quotas": [{**asdict(use), "kind": use.kind.value} for use in target.quotas],
    }


def _action(action: Action) -> dict[str, object]:
    return {
        "address": str(action.address),
        "kind": action.kind.value,
        "action": action.verb.value,
        "reason": action.reason.value,
        "explanation": action.explanation,
        "arn": action.arn,
        "order": None if action.order is None else action.order.value,
        "changes": [_change(change) for change in action.changes],
        "blocked": _blocked(action.blocked),
        "warnings": list(action.warnings),
        "steps": [_step(step) for step in action.steps],
        "observed": _observed(action.observed),
    }


def _change(change: FieldChange) -> dict[str, object]:
    """Write the two values always; that one is not there is said beside it, since ``null`` may be a value."""
    content: dict[str, object] = {"path": change.path, "before": thaw(change.before), "after": thaw(change.after)}
    if change.absent_before:
        content["absentBefore"] = True
    if change.absent_after:
        content["absentAfter"] = True
    return content


def _step(step: Step) -> dict[str, object]:
    content: dict[str, object] = {
        "id": step.id,
        "operation": step.operation,
        "parameters": _object(step.parameters),
        "after": list(step.after),
        "binds": dict(sorted(step.binds.items())),
    }
    if step.until is not None:
        content["until"] = _until(step.until)
    if step.deliver is not None:
        content["deliver"] = sink_to_json(step.deliver)
    return content


def _until(until: Until) -> dict[str, object]:
    content: dict[str, object] = {"member": until.member, "equals": until.equals, "failsOn": until.fails_on}
    if until.absent:
        content["absent"] = True
    if until.seconds is not None:
        content["seconds"] = until.seconds
    return content


def _blocked(blocked: Blocked | None) -> dict[str, object] | None:
    return None if blocked is None else {"code": blocked.code, "message": blocked.message}


def _observed(observed: Observed | None) -> dict[str, object] | None:
    if observed is None:
        return None
    return {
        "properties": _object(observed.properties),
        "tags": dict(sorted(observed.tags.items())),
        "state": observed.state,
    }


def _orphan(orphan: Orphan) -> dict[str, object]:
    return {"address": str(orphan.address), "arn": orphan.arn, "protected": orphan.protected}


def _duplicate(duplicate: Duplicate) -> dict[str, object]:
    return {"address": str(duplicate.address), "kept": duplicate.kept, "others": list(duplicate.others)}


def _on_air(channel: OnAir) -> dict[str, object]:
    return {
        "address": str(channel.address),
        "arn": channel.arn,
        "since": channel.since,
        "viewers": channel.viewers,
        "health": channel.health,
    }


def _object(values: Mapping[str, Value]) -> dict[str, object]:
    """Write an object with its keys in order at every depth, so that the order in which values came in is forgotten."""
    return {key: _ordered(thaw(values[key])) for key in sorted(values)}


def _ordered(value: object) -> object:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(item) for item in value] if isinstance(value, list) else value
