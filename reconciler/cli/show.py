"""``show``: shows saved plans in any format, those of several shards as one; needs no spec and no account."""

from __future__ import annotations

import argparse

from reconciler.cli.options import Subparsers, add_format, context_of
from reconciler.errors import ExitCode


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "show",
        parents=[common],
        help="show a saved plan",
        description="Show a saved plan, or those of several shards or targets as one. Reads nothing else.",
    )
    parser.add_argument("plan_files", metavar="PLANFILE", nargs="+", help="plans saved with plan --out")
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit with 2 when there are changes")
    add_format(parser, "text", "json", "markdown", "html")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from reconciler.cli.plan import show_plan
    from reconciler.workflow.reports import merge_plans
    from reconciler.workflow.saved_plans import load_plan, select_targets

    context = context_of(args)
    paths = [context.directory / name for name in args.plan_files]
    plan = select_targets(merge_plans([(str(path), load_plan(path)) for path in paths]), context.targets)
    show_plan(plan, args.format, context)
    changes = any(target.actions for target in plan.targets)
    return ExitCode.DIFFERENT if args.detailed_exitcode and changes else ExitCode.OK
