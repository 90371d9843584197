"""``apply``: carries out a saved plan, or plans, shows, asks and carries out."""

from __future__ import annotations

import argparse
import contextlib
import sys

from reconciler.cli.options import (
    Context,
    Subparsers,
    add_allowances,
    add_format,
    add_live,
    add_patience,
    add_scope,
    context_of,
    plan_options_of,
    project_of,
)


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "apply",
        parents=[common],
        help="make the account equal to the spec",
        description="Carry out a saved plan; or plan, show the plan, ask, and carry it out.",
    )
    parser.add_argument(
        "plan_file",
        metavar="PLANFILE",
        nargs="?",
        help="what plan --out saved; refused when anything it touches has moved since",
    )
    parser.add_argument(
        "--require-commit",
        action="store_true",
        help="refuse a saved plan when the checked-out commit or its base is another than it was made for",
    )
    parser.add_argument(
        "--base",
        metavar="REV",
        help="where the base is now, for --require-commit (default: the name that plan --base was given)",
    )
    parser.add_argument("--auto-approve", action="store_true", help="do not ask")
    add_patience(parser)
    add_format(parser, "text", "json")
    add_scope(parser)
    add_live(parser)
    add_allowances(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb: 0 done, 3 refused before anything was changed, 4 incomplete."""
    from reconciler.cli import applying
    from reconciler.log import configure

    context = context_of(args)
    configure(context.log_format, context.verbosity)
    with applying.told(args):
        return _apply(args, context)


def _apply(args: argparse.Namespace, context: Context) -> int:
    from reconciler.errors import UsageError

    if args.base and not args.require_commit:
        raise UsageError("--base goes with --require-commit; add it, or leave both out")
    if args.require_commit and not args.plan_file:
        raise UsageError("--require-commit holds a saved plan to its commit; name the PLANFILE")
    if args.plan_file:
        return _apply_saved(args, context)
    return _apply_fresh(args, context)


def _apply_fresh(args: argparse.Namespace, context: Context) -> int:
    from pathlib import Path

    from reconciler.cli import applying
    from reconciler.cli.plan import warn
    from reconciler.cli.progress import reading
    from reconciler.gitops.repository import head_commit
    from reconciler.pipeline.loading import load_desired_states
    from reconciler.pipeline.scope import must_name_something
    from reconciler.pipeline.survey import surveyed, whole_plan

    options = plan_options_of(args)
    project, targets = project_of(context)
    desired = load_desired_states(project, targets)
    applying.must_be_able_to_ask(args)
    with contextlib.ExitStack() as stack:
        lost = stack.enter_context(applying.locked(args, targets))
        with reading(sys.stderr) as progress:
            surveys = stack.enter_context(surveyed(project, targets, options, desired=desired, progress=progress))
        must_name_something(options, desired, surveys)
        warn(warning for state in desired.values() for warning in state.warnings)
        plan = whole_plan(project, surveys, options, git_commit=head_commit(Path(project.root)))
        work = [(survey.plan, survey) for survey in surveys]
        return applying.show_ask_run(plan, work, project, args, context, lost=lost)


def _apply_saved(args: argparse.Namespace, context: Context) -> int:
    from datetime import UTC, datetime
    from pathlib import Path

    from reconciler.cli import applying
    from reconciler.cli.progress import reading
    from reconciler.errors import StalePlan, UsageError
    from reconciler.gitops.commits import must_be_current
    from reconciler.pipeline.loading import load_desired_states
    from reconciler.pipeline.saved import blocked_now, claim, counted_from, load_plan, moved_since, must_fit, restricted
    from reconciler.pipeline.survey import surveyed

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
            f"{' and '.join(given)} cannot change a saved plan; make a new one with plan {' '.join(given)} --out FILE"
        )
    path = context.directory / Path(args.plan_file)
    plan = restricted(load_plan(path), context.targets)
    project, targets = project_of(context)
    must_fit(plan, project)
    if args.require_commit:
        must_be_current(plan, Path(project.root), args.base)
    applying.must_be_able_to_ask(args)
    wanted = {target.name for target in plan.targets}
    targets = tuple(target for target in targets if target.name in wanted)
    desired = load_desired_states(project, targets)
    with contextlib.ExitStack() as stack:
        lost = stack.enter_context(applying.locked(args, targets))
        with reading(sys.stderr) as progress:
            surveys = stack.enter_context(surveyed(project, targets, plan.options, desired=desired, progress=progress))
        moved = moved_since(plan, surveys)
        if moved:
            raise StalePlan(
                "\n".join(
                    [
                        "plan refused: it is stale, because since it was made",
                        *(f"  {line}" for line in moved),
                        "plan again",
                    ]
                )
            )
        by_name = {survey.target.name: survey for survey in surveys}
        work = [
            (target, by_name[target.name])
            for target in blocked_now(counted_from(plan, datetime.now(UTC)), surveys, project.guardrails)
        ]
        return applying.show_ask_run(
            plan, work, project, args, context, lost=lost, before_first_call=lambda: claim(path, plan)
        )
