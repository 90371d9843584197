"""``apply``: runs a saved plan, or plans, shows, asks for approval and runs. ``rotate`` uses the second half too."""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from reconciler import __version__
from reconciler.apply import Event, Forecast, events_json
from reconciler.cli.options import (
    Context,
    Subparsers,
    add_allowances,
    add_format,
    add_live,
    add_patience,
    add_scope,
    context_of,
    outlasted,
    plan_options_of,
    project_of,
    refusals,
)
from reconciler.cli.plan import show_duration, show_plan, tell
from reconciler.cli.progress import watcher
from reconciler.errors import ExitCode, PlanRefused, ReconcilerError, stopped_by
from reconciler.model.target import Project, Target
from reconciler.plan.codec import to_json
from reconciler.plan.plan import ApplyResult, Plan, TargetPlan
from reconciler.report.text import Paint, ansi, plain, render_result
from reconciler.terminal import harmless_lines, shown_json
from reconciler.workflow.drift import expected, explained
from reconciler.workflow.progress import stoppable
from reconciler.workflow.run import Watch, Work, carry_out


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "apply",
        parents=[common],
        help="make the account equal to the spec",
        description="Run a saved plan; or plan, show the plan, ask for approval, and run it.",
    )
    parser.add_argument(
        "plan_file",
        metavar="PLANFILE",
        nargs="?",
        help="a plan saved with plan --out; refused if a resource of it has changed since",
    )
    parser.add_argument(
        "--require-commit",
        action="store_true",
        help="refuse a saved plan of another commit or base than the checked-out one",
    )
    parser.add_argument(
        "--base",
        metavar="REV",
        help="the current base, for --require-commit (default: the name given to plan --base)",
    )
    parser.add_argument("--auto-approve", action="store_true", help="do not ask for approval")
    add_patience(parser)
    add_format(parser, "text", "json")
    add_scope(parser)
    add_live(parser)
    add_allowances(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0 done, 3 refused without a change, 4 partially failed."""
    from reconciler.logs import configure

    context = context_of(args)
    configure(context.log_format, context.verbosity)
    with told(args):
        return _apply(args, context)


def _apply(args: argparse.Namespace, context: Context) -> int:
    from reconciler.errors import UsageError

    if args.base and not args.require_commit:
        raise UsageError("--base needs --require-commit")
    if args.require_commit and not args.plan_file:
        raise UsageError("--require-commit needs a PLANFILE: it checks the commit of a saved plan")
    if args.plan_file:
        return _apply_saved(args, context)
    return _apply_fresh(args, context)


def _apply_fresh(args: argparse.Namespace, context: Context) -> int:
    from pathlib import Path

    from reconciler.cli.plan import warn
    from reconciler.cli.progress import reading
    from reconciler.git.git import head_commit
    from reconciler.workflow.load import load_desired_states
    from reconciler.workflow.survey import must_name_something, surveyed, whole_plan

    options = plan_options_of(args)
    project, targets = project_of(context)
    desired = load_desired_states(project, targets)
    must_be_able_to_ask(args)
    with contextlib.ExitStack() as stack:
        lost = stack.enter_context(locked(args, targets))
        with reading(sys.stderr) as progress:
            surveys = stack.enter_context(surveyed(project, targets, options, desired=desired, progress=progress))
        must_name_something(options, desired, surveys)
        warn(warning for state in desired.values() for warning in state.warnings)
        plan = whole_plan(project, surveys, options, git_commit=head_commit(Path(project.root)))
        work = [(survey.plan, survey) for survey in surveys]
        return show_ask_run(plan, work, project, args, context, lost=lost)


def _apply_saved(args: argparse.Namespace, context: Context) -> int:
    from datetime import UTC, datetime
    from pathlib import Path

    from reconciler.cli.progress import reading
    from reconciler.errors import StalePlan, UsageError
    from reconciler.git.git import must_be_current
    from reconciler.workflow.load import load_desired_states
    from reconciler.workflow.saved_plans import (
        blocked_now,
        claim,
        counted_from,
        load_plan,
        moved_since,
        must_fit,
        restricted,
    )
    from reconciler.workflow.survey import surveyed

    given = [
        flag
        for flag, value in (
            ("--prune", args.prune),
            ("--adopt", args.adopt),
            ("--only", args.only),
            ("--exclude", args.exclude),
            ("--wait-live", args.wait_live),
            ("--stop-live", args.stop_live),
        )
        if value
    ]
    if given:
        raise UsageError(
            f"{' and '.join(given)} cannot change a saved plan; create a new one with plan {' '.join(given)} --out FILE"
        )
    path = context.directory / Path(args.plan_file)
    plan = restricted(load_plan(path), context.targets)
    project, targets = project_of(context)
    must_fit(plan, project)
    if args.require_commit:
        must_be_current(plan, Path(project.root), args.base)
    must_be_able_to_ask(args)
    wanted = {target.name for target in plan.targets}
    targets = tuple(target for target in targets if target.name in wanted)
    desired = load_desired_states(project, targets)
    with contextlib.ExitStack() as stack:
        lost = stack.enter_context(locked(args, targets))
        with reading(sys.stderr) as progress:
            surveys = stack.enter_context(surveyed(project, targets, plan.options, desired=desired, progress=progress))
        moved = moved_since(plan, surveys)
        if moved:
            raise StalePlan(
                "\n".join(
                    [
                        "Saved plan is stale. Changed since it was created:",
                        *(f"  {line}" for line in moved),
                        "Run plan again.",
                    ]
                )
            )
        by_name = {survey.target.name: survey for survey in surveys}
        work = [
            (target, by_name[target.name])
            for target in blocked_now(counted_from(plan, datetime.now(UTC)), surveys, project.guardrails)
        ]
        return show_ask_run(plan, work, project, args, context, lost=lost, before_first_call=lambda: claim(path, plan))


_STOPPING = "\nInterrupted: waiting for in-flight calls. Press Ctrl-C again to exit now.\n"
_STOPPED = "Interrupted. In-flight calls may have been carried out; run plan to see what is left."


@contextmanager
def told(args: argparse.Namespace) -> Iterator[None]:
    """With ``--format json``, print the format's version first, and the reason last if the run ends without a result."""
    if args.format != "json":
        yield
        return
    _line({"type": "version", "formatVersion": "1.0", "program": "ivs-reconciler", "version": __version__})
    try:
        yield
    except ReconcilerError as error:
        sort = "refused" if error.exit_code is ExitCode.REFUSED else "error"
        _ended(sort, error.word, str(error), error.exit_code)
        raise
    except KeyboardInterrupt as stop:
        code, why = stopped_by(stop)
        _ended("error", "stopped", why, code)
        raise


def _ended(sort: str, word: str, message: str, code: ExitCode) -> None:
    with suppress(OSError):  # a reader that has gone does not change how the run ended
        _line({"type": sort, "code": word, "message": message, "exitCode": int(code)})


def must_be_able_to_ask(args: argparse.Namespace) -> None:
    """Raise ``PlanRefused`` if approval is needed and cannot be asked for."""
    if args.auto_approve:
        return
    if args.format == "json":
        raise PlanRefused("cannot prompt for approval: --format json. Use --auto-approve")
    if not sys.stdin.isatty():
        saved = ", or apply a saved plan" if args.command == "apply" and not args.plan_file else ""
        raise PlanRefused(f"cannot prompt for approval: no terminal. Use --auto-approve{saved}")


def locked(
    args: argparse.Namespace, targets: tuple[Target, ...], command: str = "apply"
) -> AbstractContextManager[Mapping[str, threading.Event]]:
    """Hold the locks of these targets from before they are read until the report is printed. Raises ``LockHeld``."""
    from reconciler.workflow.locks import holding

    return holding(targets, command, patience=args.lock_timeout, say=_warn)


def show_ask_run(
    plan: Plan,
    work: Work,
    project: Project,
    args: argparse.Namespace,
    context: Context,
    *,
    lost: Mapping[str, threading.Event],
    before_first_call: Callable[[], None] | None = None,
) -> int:
    """Show the plan, refuse or ask, run every target, report; return the exit code. ``lost`` has an event for each lock, set when it is lost."""
    plan = replace(plan, targets=tuple(target for target, _ in work))
    if args.format == "json":
        _line({"type": "plan", "plan": to_json(plan)})
    else:
        show_plan(plan, "text", context)
        show_duration(plan, project)
        sys.stdout.flush()
    tell(note for _, survey in work for note in explained(project, survey))
    refused = refusals(
        plan, project.guardrails, args, {survey.target.name: expected(project, survey) for _, survey in work}
    )
    if refused:
        raise PlanRefused("\n".join([*refused, "Nothing was changed."]))
    paint = ansi if context.colored(sys.stdout) else plain
    watch: Watch = _JsonLines() if args.format == "json" else _Screen(paint)
    if all(target.is_empty for target in plan.targets):
        carry_out(work, project, watch, stop=threading.Event())
        if args.format == "json":
            _line({"type": "result", "complete": True, "targets": []})
        return ExitCode.OK
    due = [action for target in plan.targets for action in target.actions if action.blocked is None]
    if not due:
        raise PlanRefused(f"{args.command} refused: all actions are blocked, see above. Nothing was changed")
    if not args.auto_approve and not _agreed(plan):
        raise PlanRefused(f"{args.command} not approved. Nothing was changed")
    if before_first_call:
        before_first_call()
    try:
        with outlasted() as failures, stoppable(_STOPPING) as stop:
            results = carry_out(work, project, watch, stop=stop, lost=lost, note=lambda text: tell([text]))
    except KeyboardInterrupt as stopped:
        raise type(stopped)(_STOPPED) from None
    complete = all(result.complete for result in results)
    if failures:
        counts = Counter(outcome.result.value for result in results for outcome in result.outcomes)
        end = ", ".join(f"{count:,} {what}" for what, count in counts.items())
        _warn(
            f"{args.command} ended ({end}), but its report could not be written: {(failures[0].strerror or 'unknown').lower()}"
        )
    return ExitCode.INCOMPLETE if not complete else ExitCode.ERROR if failures else ExitCode.OK


def _warn(text: str) -> None:
    with suppress(OSError):
        sys.stderr.write(f"{harmless_lines(text)}\n")
        sys.stderr.flush()


def _agreed(plan: Plan) -> bool:
    where = ", ".join(
        f"{target.name} ({target.account_id}, {target.region})" for target in plan.targets if not target.is_empty
    )
    sys.stderr.write(f"\nApply these changes to {where}?\nOnly 'yes' will be accepted to confirm: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip() == "yes"


class _JsonLines:
    """Events and results as JSON, one object a line."""

    @contextmanager
    def watching(self, plan: TargetPlan) -> Iterator[Callable[[Event], None]]:
        """Yield a function that prints the events of one target."""
        yield lambda event: _line({"target": plan.name, **events_json(event), **_expected_end(event)})

    def finished(self, plan: TargetPlan, result: ApplyResult) -> None:
        """Print the result of one target."""
        _line(
            {
                "type": "result",
                "target": plan.name,
                "complete": result.complete,
                "interrupted": result.interrupted,
                **_counts(result),
            }
        )


class _Screen:
    """Lines and a bar on the terminal, and the report at the end."""

    def __init__(self, paint: Paint) -> None:
        self._paint = paint

    @contextmanager
    def watching(self, plan: TargetPlan) -> Iterator[Callable[[Event], None]]:
        """Yield a function that shows the events of one target."""
        with watcher(plan, sys.stdout, sys.stderr, self._paint) as shown:
            yield shown.event

    def finished(self, plan: TargetPlan, result: ApplyResult) -> None:
        """Show the report of one target."""
        del plan
        sys.stdout.write("\n" + render_result(result, paint=self._paint))
        sys.stdout.flush()


def _expected_end(event: Event) -> dict[str, object]:
    if not isinstance(event, Forecast):
        return {}
    return {
        "expectedEnd": (datetime.now(UTC) + timedelta(seconds=event.expected.seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    }


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
    sys.stdout.write(shown_json(content) + "\n")
    sys.stdout.flush()
