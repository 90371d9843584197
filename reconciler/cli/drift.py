"""``drift``: what changed outside since the last apply, what waits to be applied, what is foreign; read-only."""

from __future__ import annotations

import argparse
import sys

from reconciler.cli.options import Subparsers, add_format, context_of, project_of
from reconciler.errors import ExitCode


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "drift",
        parents=[common],
        help="say what changed outside, and what waits to be applied; read-only",
        description="Compare live state with the spec. Exit code 2: something changed outside. 5: nothing did, but changes wait to be applied. 0: in sync.",
    )
    add_format(parser, "text", "json", "markdown", "html")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    import json

    from reconciler.cli.progress import reading
    from reconciler.errors import AwsError
    from reconciler.log import configure
    from reconciler.pipeline.loading import load_desired_states
    from reconciler.pipeline.recall import drift_report
    from reconciler.pipeline.survey import surveyed
    from reconciler.plan.actions import PlanOptions

    context = context_of(args)
    configure(context.log_format, context.verbosity)
    project, targets = project_of(context)
    desired = load_desired_states(project, targets)
    failures: list[AwsError] = []
    with reading(sys.stderr) as progress, surveyed(project, targets, PlanOptions(), desired=desired, progress=progress, failures=failures) as surveys:
        reports = tuple(drift_report(project, survey) for survey in surveys)
    if failures and not reports:
        raise failures[0]
    if args.format == "json":
        from reconciler.report.drift_json import drift_json

        sys.stdout.write(json.dumps(drift_json(project.stack, reports), indent=2, ensure_ascii=False) + "\n")
    elif args.format == "markdown":
        from reconciler.report import markdown_drift

        sys.stdout.write("\n".join(markdown_drift.render_drift(report) for report in reports))
    elif args.format == "html":
        from reconciler.report import html_drift

        sys.stdout.write(html_drift.render_drift(reports, stack=project.stack))
    else:
        from reconciler.report.drift_text import render_drift
        from reconciler.report.text import ansi, plain

        paint = ansi if context.colored(sys.stdout) else plain
        sys.stdout.write("\n".join(render_drift(report, paint=paint) for report in reports))
    failures += [AwsError(f"{report.name}: {line}") for report in reports for line in report.unread]
    if failures:
        sys.stdout.flush()
        raise AwsError("\n".join(map(str, failures)))
    if any(report.drifted for report in reports):
        return ExitCode.DIFFERENT
    return ExitCode.PENDING if any(report.pending for report in reports) else ExitCode.OK
