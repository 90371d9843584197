"""The second half of an apply: guardrails, the question, the run with its progress, the report.

What is decided is decided in the plan; here a person is asked and the executor is let run.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler import __version__
from reconciler.apply import Event, events_json, execute
from reconciler.cli.guarding import refusals
from reconciler.cli.options import Context
from reconciler.cli.pipeline import Survey
from reconciler.cli.plan import show_plan
from reconciler.cli.record import remember
from reconciler.cli.watching import watcher
from reconciler.errors import ExitCode, PlanRefused, StalePlan, UsageError
from reconciler.live.reader import read_streams
from reconciler.model.target import Guardrails, Project
from reconciler.plan.actions import ApplyResult, Plan, TargetPlan
from reconciler.plan.codec import to_json
from reconciler.plan.live_streams import needs_streams, with_streams
from reconciler.plan.stale import moved
from reconciler.report.text import ansi, plain, render_result

Work = Sequence[tuple[TargetPlan, Survey]]


def must_be_able_to_ask(args: argparse.Namespace) -> None:
    """Refuse a run that could neither ask nor was told not to. Raises ``PlanRefused`` before anything is read."""
    if args.auto_approve:
        return
    if args.format == "json":
        raise PlanRefused("apply refused: --format json leaves nobody to ask; add --auto-approve")
    if not sys.stdin.isatty():
        raise PlanRefused("apply refused: there is no terminal to ask at; review with plan, then add --auto-approve")


def restricted(plan: Plan, names: tuple[str, ...]) -> Plan:
    """Return the plan with only these targets; all of them when none is named. Raises ``UsageError`` for one it does not hold."""
    held = [target.name for target in plan.targets]
    unknown = [name for name in names if name not in held]
    if unknown:
        raise UsageError(f"the plan holds no target {', '.join(map(repr, unknown))}; it holds {', '.join(held)}")
    return replace(plan, targets=tuple(target for target in plan.targets if not names or target.name in names))


def must_fit(plan: Plan, project: Project) -> None:
    """Raise ``StalePlan`` when the project is not the one the plan was made for."""
    if plan.stack != project.stack:
        raise StalePlan(f"plan refused: it is of stack {plan.stack!r}, and {project.path} is of stack {project.stack!r}; plan again here")
    for target in plan.targets:
        current = project.targets.get(target.name)
        if current is None:
            raise StalePlan(f"plan refused: {project.path} has no target {target.name!r} any more; plan again")
        if current.region != target.region or current.account_id not in (None, target.account_id):
            raise StalePlan(f"plan refused: target {target.name!r} now means another account or region than when the plan was made; plan again")


def moved_since(plan: Plan, surveys: tuple[Survey, ...]) -> list[str]:
    """Return what moved since the plan was made, a line each."""
    saved = {target.name: target for target in plan.targets}
    lines: list[str] = []
    for survey in surveys:
        target = saved[survey.target.name]
        if survey.live.account_id != target.account_id:
            lines.append(f"{target.name}: the credentials are of account {survey.live.account_id}, the plan is of {target.account_id}")
            continue
        lines += [f"{target.name}: {line}" for line in moved(target, survey.desired, survey.live)]
    return lines


def blocked_now(plan: Plan, surveys: tuple[Survey, ...], guardrails: Guardrails) -> Iterator[TargetPlan]:
    """Yield the saved targets' plans with the channels blocked that have gone on air since."""
    connections = {survey.target.name: survey.connection for survey in surveys}
    for target in plan.targets:
        if needs_streams(target):
            yield with_streams(target, read_streams(connections[target.name].gateway), guardrails.on_live)
        else:
            yield target


def show_ask_run(
    plan: Plan,
    work: Work,
    guardrails: Guardrails,
    args: argparse.Namespace,
    context: Context,
    *,
    root: Path,
    before_first_call: Callable[[], None] | None = None,
) -> int:
    """Show the plan, refuse or ask, run every target, report; returns the exit code."""
    plan = replace(plan, targets=tuple(target for target, _ in work))
    if args.format == "json":
        _line({"type": "version", "formatVersion": "1.0", "program": "ivs-reconciler", "version": __version__})
        _line({"type": "plan", "plan": to_json(plan)})
    else:
        show_plan(plan, "text", context)
        sys.stdout.flush()
    refused = refusals(plan, guardrails, args)
    if refused:
        raise PlanRefused("\n".join([*refused, "nothing was changed"]))
    if all(target.is_empty for target in plan.targets):
        for target, survey in work:
            remember(root, plan.stack, target, survey.live, None)
        if args.format == "json":
            _line({"type": "result", "complete": True, "targets": []})
        return ExitCode.OK
    due = [action for target in plan.targets for action in target.actions if action.blocked is None]
    if not due:
        raise PlanRefused("apply refused: every action is blocked, for the reasons above; nothing was changed")
    if not args.auto_approve and not _agreed(plan):
        raise PlanRefused("apply stopped: not confirmed; nothing was changed")
    if before_first_call:
        before_first_call()
    results = _run(work, args, context, root, plan.stack)
    return ExitCode.OK if all(result.complete for result in results) else ExitCode.INCOMPLETE


def _agreed(plan: Plan) -> bool:
    where = ", ".join(f"{target.name} ({target.account_id}, {target.region})" for target in plan.targets if not target.is_empty)
    sys.stderr.write(f"\nApply these changes to {where}? Only 'yes' is taken as yes: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip() == "yes"


def _run(work: Work, args: argparse.Namespace, context: Context, root: Path, stack: str) -> list[ApplyResult]:
    results: list[ApplyResult] = []
    paint = ansi if context.colored(sys.stdout) else plain
    with _stoppable() as stop:
        for target, survey in work:
            if target.is_empty:
                remember(root, stack, target, survey.live, None)
                continue
            calls = survey.connection.gateway
            if args.format == "json":
                result = execute(target, calls, on_event=_printer(target.name), stop=stop, sleep=time.sleep, clock=time.monotonic)
                _line({"type": "result", "target": target.name, "complete": result.complete, "interrupted": result.interrupted, **_counts(result)})
            else:
                with watcher(target, sys.stdout, sys.stderr, paint) as watch:
                    result = execute(target, calls, on_event=watch.event, stop=stop, sleep=time.sleep, clock=time.monotonic)
                sys.stdout.write("\n" + render_result(result, paint=paint))
                sys.stdout.flush()
            results.append(result)
            remember(root, stack, target, survey.live, result)
    return results


def _printer(target: str) -> Callable[[Event], None]:
    def show(event: Event) -> None:
        _line({"target": target, **events_json(event)})

    return show


def _counts(result: ApplyResult) -> dict[str, object]:
    return {
        "calls": result.calls,
        "seconds": round(result.seconds, 3),
        "outcomes": [
            {
                "address": str(outcome.address),
                "action": outcome.verb.value,
                "outcome": outcome.result.value,
                "message": outcome.message or None,
                "requestId": outcome.request_id or None,
                "arn": outcome.arn,
            }
            for outcome in result.outcomes
        ],
    }


def _line(content: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(content, ensure_ascii=False) + "\n")
    sys.stdout.flush()


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop: calls in flight finish and no more start. The second one ends the process."""
    stop = threading.Event()
    previous: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, frame: object) -> None:
        del frame
        stop.set()
        signal.signal(number, previous[number])
        sys.stderr.write("\nstopping: calls in flight finish, no more start; once more to end at once\n")

    for number in previous:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
