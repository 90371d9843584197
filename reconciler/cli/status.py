"""``status``: shows managed resources, live channels and quotas. Read-only and quick."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from reconciler.cli.options import Subparsers, add_format, add_shard, begin, project_of
from reconciler.errors import ExitCode

if TYPE_CHECKING:
    from reconciler.errors import AwsError
    from reconciler.model.observed import Overview
    from reconciler.model.target import Target


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
    add_shard(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0, or 1 if a target could not be read."""
    context = begin(args)
    project, targets = project_of(context)
    found, failure = _read(project.stack, targets)
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
        shown = [render_status(overview, project.stack, paint=paint, width=width) for overview in found]
        if context.shard:
            from reconciler.report.words import shards_line

            shown.insert(0, shards_line(context.shard, len(targets)) + "\n")
        write_fitted("\n".join(shown), sys.stdout)
    if failure is not None:
        sys.stdout.flush()
        raise failure
    return ExitCode.OK


def _read(stack: str, targets: tuple[Target, ...]) -> tuple[tuple[Overview, ...], AwsError | None]:
    """Return the overviews that could be read, and the failures as one error with a line for each target."""
    from reconciler.aws.connection import connect
    from reconciler.aws.overview import read_overview
    from reconciler.errors import AwsError
    from reconciler.workflow.survey import combine_failures, map_targets

    def read(target: Target) -> Overview:
        with connect(target) as connection:
            return read_overview(
                connection.gateway,
                connection.quotas,
                stack,
                name=target.name,
                account_id=connection.account_id,
                region=connection.region,
            )

    found = map_targets(targets, read)
    return tuple(one for one in found if not isinstance(one, AwsError)), combine_failures(targets, found)
