"""``status``: shows managed resources, live channels and quotas. Read-only and quick."""

from __future__ import annotations

import argparse
import sys

from reconciler.cli.options import Subparsers, add_format, begin, project_of
from reconciler.errors import ExitCode


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "status",
        parents=[common],
        help="show managed resources, live channels and quotas; read-only",
        description="Show the number of resources by kind, live channels with their viewers, and used quotas. "
        "Does not compare with the spec: use plan or drift.",
    )
    add_format(parser, "text", "json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0, or 1 if a target could not be read."""
    from reconciler.workflow.survey import read_overviews

    context = begin(args)
    project, targets = project_of(context)
    found, failure = read_overviews(project.stack, targets)
    if failure is not None and not found:
        raise failure
    if args.format == "json":
        from reconciler.report.status import status_json
        from reconciler.terminal import display_json

        sys.stdout.write(display_json(status_json(project.stack, found), indent=2) + "\n")
    else:
        from reconciler.report.status import render_status
        from reconciler.terminal import width_of, write_fitted

        paint, width = context.paint(sys.stdout), width_of(sys.stdout)
        text = "\n".join(render_status(overview, project.stack, paint=paint, width=width) for overview in found)
        write_fitted(text, sys.stdout)
    if failure is not None:
        sys.stdout.flush()
        raise failure
    return ExitCode.OK
