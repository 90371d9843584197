"""``diff``: compares the spec of two git revisions; needs no account and no credentials."""

from __future__ import annotations

import argparse

from reconciler.cli.options import Subparsers, add_format, add_scope, context_of, plan_options_of
from reconciler.errors import ExitCode


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "diff",
        parents=[common],
        help="compare the spec of two git revisions; needs no credentials",
        description="Compare the desired state of two git revisions, shown as a plan. AWS is not called, nothing is checked out, and no code of a revision is run.",
        epilog="BASE..HEAD compares the two; BASE...HEAD starts at their merge base, as a pull request does; BASE alone is compared with the working tree.",
    )
    parser.add_argument("revisions", metavar="BASE..HEAD", help="two commits, branches or tags; an empty side is HEAD")
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit with 2 when there are differences")
    add_format(parser, "text", "json", "markdown", "html")
    add_scope(parser, adopt=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0, or 2 with ``--detailed-exitcode`` and differences."""
    from reconciler.cli.plan import show_plan, warn
    from reconciler.git.compare import compare_revisions

    context = context_of(args)
    plan, warnings = compare_revisions(
        context.directory, context.config, args.revisions, context.targets, plan_options_of(args)
    )
    show_plan(plan, args.format, context)
    warn(warnings)
    different = any(target.actions or target.orphans for target in plan.targets)
    return ExitCode.DIFFERENT if args.detailed_exitcode and different else ExitCode.OK
