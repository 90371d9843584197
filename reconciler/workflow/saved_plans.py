"""Saved plans: reads one, checks that it is not stale, and makes sure that it is applied once."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path

from reconciler.diff import FieldChange
from reconciler.errors import PlanRefused, StalePlan, UsageError, os_reason
from reconciler.files import read_private, read_report, replace_file, report_parts
from reconciler.json_format import JsonError
from reconciler.model.address import RETIRES, Address
from reconciler.model.kinds.ivs import LIST_STREAMS, STOP_STREAM
from reconciler.model.target import Project
from reconciler.model.values import format_time, resolve
from reconciler.plan.codec import fingerprint, read_plan
from reconciler.plan.order import blocked_verdicts, with_verdicts
from reconciler.plan.plan import Action, Plan, Step, TargetPlan
from reconciler.plan.stale import changes_since_plan
from reconciler.spec.problems import target_hint
from reconciler.workflow.survey import Survey


def load_plan(path: Path) -> Plan:
    """Return the plan of a file. Raises ``UsageError`` if the file is missing, is not a plan, or was edited."""
    piped = ""
    try:
        if not path.is_file():
            piped = read_report(path)  # once: what describes another output reads it again
        return read_plan([piped] if piped else report_parts(path))
    except OSError as error:
        target = "" if path.suffix else f", or -t {path.name} to select a target"
        raise UsageError(f"{path}: {os_reason(error)}; pass a file saved by plan --out{target}") from None
    except (UsageError, PlanRefused) as error:
        raise _other_output(path, piped) or type(error)(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        where = f": {error}" if isinstance(error, JsonError) else ""
        raise _other_output(path, piped) or UsageError(
            f"{path}: not a saved plan (it is not JSON{where}); save one with plan --out FILE"
        ) from None


def _other_output(path: Path, piped: str) -> UsageError | None:
    """Return the error for a file that holds another output of this program, with the command that shows it."""
    from reconciler.drift.report import DRIFT_OUTPUT, EVENTS_OUTPUT, describe_output  # noqa: PLC0415 - only a file that is not a plan needs it

    try:
        sort = describe_output(piped or read_report(path))
    except (OSError, ValueError):
        return None
    shown = (
        f"comment --dry-run --plan {path} shows it"
        if sort in (DRIFT_OUTPUT, EVENTS_OUTPUT)
        else "save one with plan --out FILE"
    )
    return UsageError(f"{path}: {sort}, not a saved plan; {shown}") if sort else None


def mark_applied(files: Sequence[tuple[Path, Sequence[TargetPlan]]]) -> None:
    """Mark saved plans as applied, each with the targets that are, before the first call. Raises ``StalePlan`` if one is marked already.

    The mark is a file next to the plan, of which only one of two processes succeeds in creating it.
    It is a convenience: an apply also compares live state with the plan, which refuses a second run also of a copied file.
    """
    marked: list[Path] = []
    try:
        for path, targets in files:
            if targets and (mark := _mark(path, targets)):
                marked.append(mark)
    except StalePlan:
        for mark in marked:  # nothing was applied
            mark.unlink(missing_ok=True)
        raise


def _mark(path: Path, targets: Sequence[TargetPlan]) -> Path | None:
    """Create the mark of one file and return its path; ``None`` if there can be none. Raises ``StalePlan`` if it exists."""
    mark = path.with_name(path.name + ".applied")
    content = {"fingerprints": [fingerprint(target) for target in targets], "at": format_time(time.time())}
    try:
        handle = os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if _is_mark_of(mark, content["fingerprints"]):
            raise StalePlan(
                f"{path}: this plan was already applied (see {mark.name}); a plan can be applied once; run plan again"
            ) from None
        with contextlib.suppress(OSError):
            replace_file(mark, json.dumps(content))
        return mark
    except OSError:
        return None  # a read-only directory holds no mark; live state still refuses a second run
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(content, stream)
    except OSError:
        # Nothing was applied yet, but an empty mark would mean that it was.
        mark.unlink(missing_ok=True)
        return None
    return mark


def select_targets(plan: Plan, names: tuple[str, ...]) -> Plan:
    """Return the plan with only these targets; no name means all targets. Raises ``UsageError`` for an unknown one."""
    if not names:
        return plan
    known = [*(target.name for target in plan.targets), *(target.name for target in plan.failed)]
    unknown = [name for name in names if name not in known]
    if unknown:
        hint = target_hint(unknown[0], known, "its")
        raise UsageError(f"the plan has no target {', '.join(map(repr, unknown))}; {hint}")
    return only_targets(plan, names)


def only_targets(plan: Plan, names: Container[str]) -> Plan:
    """Return the plan with those of its targets that are among the names, those that could not be read included."""
    return plan._replace(
        targets=tuple(target for target in plan.targets if target.name in names),
        failed=tuple(target for target in plan.failed if target.name in names),
    )


def check_project(plan: Plan, project: Project) -> None:
    """Raise ``StalePlan`` if the plan was created for another project, account or region."""
    if plan.of_revisions:
        raise UsageError(
            "this is a comparison of two revisions, without live state, so it cannot be applied; save a plan with plan --out FILE"
        )
    if plan.stack != project.stack:
        raise StalePlan(
            f"plan refused: it is for stack {plan.stack!r}, {project.path} is for stack {project.stack!r}; run plan again here"
        )
    for target in plan.targets:
        current = project.targets.get(target.name)
        if current is None:
            raise StalePlan(f"plan refused: {project.path} has no target {target.name!r} any more; run plan again")
        if current.region != target.region or current.account_id not in (None, target.account_id):
            raise StalePlan(
                f"plan refused: the account or region of target {target.name!r} changed since it was created; run plan again"
            )


def stale_reasons(plan: Plan, surveys: tuple[Survey, ...]) -> list[str]:
    """Return what changed since the plan was created, a line each."""
    saved = {target.name: target for target in plan.targets}
    lines: list[str] = []
    for survey in surveys:
        lines += stale_lines(saved[survey.target.name], survey)
    return lines


def stale_lines(saved: TargetPlan, survey: Survey) -> list[str]:
    """Return what changed in a target since its plan was created, a line each."""
    if survey.live.account_id != saved.account_id:
        return [
            f"{saved.name}: the credentials are for account {survey.live.account_id}, the plan is for {saved.account_id}"
        ]
    return [f"{saved.name}: {line}" for line in changes_since_plan(saved, survey.desired, survey.live)]


def plan_to_run(saved: TargetPlan, survey: Survey) -> TargetPlan:
    """Return the plan to run for a saved one: a new plan from the spec and live state, in which the saved plan's blocked actions are blocked.

    A file can be edited, and its fingerprint computed again, so its steps are never sent: what was reviewed is compared
    with what the spec says now, and ownership, protection and guardrails are judged by live state.
    Resources that changed since, and that the saved plan does not touch, are left alone.
    Raises ``StalePlan`` with a line for each difference.
    """
    reviewed = {_action_key(action): action for action in saved.actions}
    differences = tuple(_differences(reviewed, survey.plan))
    if differences:
        raise StalePlan(
            "\n".join(
                (
                    f"{saved.name}: the saved plan is not what the spec and live state make:",
                    *(f"  {line}" for line in differences),
                    "Run plan again.",
                )
            )
        )
    current = survey.plan.actions
    later = {
        index: "is not part of the saved plan"
        for index, action in enumerate(current)
        if _action_key(action) not in reviewed
    }
    actions = tuple(
        action if action.blocked else action._replace(blocked=reviewed[_action_key(action)].blocked)
        for action in with_verdicts(current, blocked_verdicts(current, {}, later), later)
    )
    notes = [
        f"{current[index].address} changed since the plan was saved and is not part of it" for index in sorted(later)
    ]
    return survey.plan._replace(
        actions=actions, summary=survey.plan.summary.counting(actions), notes=(*survey.plan.notes, *notes)
    )


def rest_to_run(approved: TargetPlan, survey: Survey) -> tuple[TargetPlan, tuple[Action, ...]]:
    """Return the plan to run for an approved one that was started before, and its actions that are done.

    Done is what the spec and live state need no more. What is left must be what was approved, references to resources
    that exist now included, as in ``plan_to_run``. Raises ``StalePlan`` with a line for each difference.
    """
    there = {action.address for action in survey.plan.actions}
    arns = {address: resource.arn for address, resource in survey.live.claims(survey.desired.stack)}
    left = tuple(_resolved(action, arns) for action in approved.actions if action.address in there)
    done = tuple(action for action in approved.actions if action.address not in there and not action.blocked)
    return plan_to_run(approved._replace(actions=left), survey), done


def _resolved(action: Action, arns: Mapping[Address, str]) -> Action:
    """Return an action with the references to existing resources replaced by their ARNs."""
    changes = tuple(
        change._replace(before=resolve(change.before, arns), after=resolve(change.after, arns))
        for change in action.changes
    )
    steps = tuple(
        step._replace(parameters={name: resolve(value, arns) for name, value in step.parameters.items()})
        for step in action.steps
    )
    return action._replace(changes=changes, steps=steps)


def _action_key(action: Action) -> tuple[str, str, str]:
    return str(action.address), action.verb.value, action.arn or ""


def _differences(reviewed: Mapping[tuple[str, str, str], Action], current: TargetPlan) -> Iterator[str]:
    made = {_action_key(action): action for action in current.actions}
    for key in sorted(reviewed):
        address, verb, arn = key
        what = f"{address}: {verb}{f' of {arn}' if arn else ''}"
        if key not in made:
            yield f"{what} is in the saved plan only"
        elif _changes(reviewed[key]) != _changes(made[key]):
            yield f"{what} changes other fields or values"
        elif (calls := _calls(reviewed[key])) != (now := _calls(made[key])) and None not in (calls, now):
            yield f"{what} makes other calls"


def _changes(action: Action) -> tuple[FieldChange, ...]:
    """Return the changes except for the end of a retention, which counts from the apply."""
    return tuple(change for change in action.changes if change.tag != RETIRES)


def _calls(action: Action) -> list[tuple[str, Mapping[str, object]]] | None:
    """Return the calls of an action, or ``None`` if it has none now, or others for a live channel."""
    if action.blocked or any(step.operation in (STOP_STREAM, LIST_STREAMS) for step in action.steps):
        return None
    return [(step.operation, _parameters(step)) for step in action.steps]


def _parameters(step: Step) -> Mapping[str, object]:
    tags = step.parameters.get("tags")
    if not isinstance(tags, Mapping):
        return step.parameters
    return {**step.parameters, "tags": {key: value for key, value in tags.items() if key != RETIRES}}


def _is_mark_of(mark: Path, fingerprints: object) -> bool:
    """Whether a mark is of this plan, and not of an older one saved under the same name."""
    try:
        content = json.loads(read_private(mark))
    except (OSError, ValueError, RecursionError):
        return True
    return isinstance(content, dict) and content.get("fingerprints") == fingerprints
