"""``show``: shows a saved plan in any format; needs no spec and no account."""

from __future__ import annotations

import argparse

from reconciler.cli.options import Subparsers, add_format, context_of
from reconciler.errors import ExitCode


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "show", parents=[common], help="show a saved plan", description="Show a saved plan. Reads nothing else."
    )
    parser.add_argument("plan_file", metavar="PLANFILE", help="a plan saved with plan --out")
    add_format(parser, "text", "json", "markdown", "html")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from pathlib import Path

    from reconciler.cli.plan import show_plan
    from reconciler.workflow.saved_plans import load_plan, select_targets

    context = context_of(args)
    show_plan(
        select_targets(load_plan(context.directory / Path(args.plan_file)), context.targets), args.format, context
    )
    return ExitCode.OK
