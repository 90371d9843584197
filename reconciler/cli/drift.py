"""``drift``: what changed outside since the last apply, what waits to be applied, what is foreign; read-only."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from reconciler.cli.options import Subparsers, add_format, context_of, project_of
from reconciler.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reconciler.cli.options import Context
    from reconciler.errors import AwsError
    from reconciler.model.target import Project
    from reconciler.plan.findings import DriftReport
    from reconciler.plan.ignore import Ignore


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "drift",
        parents=[common],
        help="say what changed outside, and what waits to be applied; read-only",
        description="Compare live state with the spec. Exit code 2: something changed outside. 5: nothing did, but changes wait to be applied. 0: in sync.",
    )
    add_format(parser, "text", "json", "markdown", "html", "junit")
    parser.add_argument(
        "--ignore",
        metavar="ADDRESS:PATH",
        action="append",
        default=[],
        help="for this run, only count differences of this field, such as channel/main-stage:/latencyMode or 'channel/*:/tags/team'; may be repeated",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from reconciler.cli.progress import reading
    from reconciler.errors import AwsError
    from reconciler.log import configure
    from reconciler.pipeline.drifting import drift_of
    from reconciler.pipeline.loading import load_desired_states
    from reconciler.pipeline.survey import surveyed
    from reconciler.plan.actions import PlanOptions
    from reconciler.plan.ignore import Ignore

    context = context_of(args)
    configure(context.log_format, context.verbosity)
    ignores = tuple(map(Ignore.parse, args.ignore))
    project, targets = project_of(context)
    desired = load_desired_states(project, targets)
    failures: list[AwsError] = []
    missed: dict[str, AwsError] = {}
    with (
        reading(sys.stderr) as progress,
        surveyed(project, targets, PlanOptions(), desired=desired, progress=progress, failures=failures, missed=missed) as surveys,
    ):
        reports = tuple(drift_of(project, survey, expand=context.verbosity > 0) for survey in surveys)
    reports = _without(reports, ignores)
    if reports:
        _show(args.format, context, project, reports, {name: str(error) for name, error in missed.items()})
    failures += [AwsError(f"{report.name}: {line}") for report in reports for line in report.unread]
    if failures:
        sys.stdout.flush()
        raise failures[0] if len(failures) == 1 else AwsError("\n".join(map(str, failures)))
    if any(report.drifted for report in reports):
        return ExitCode.DIFFERENT
    return ExitCode.PENDING if any(report.pending for report in reports) else ExitCode.OK


def _without(reports: Sequence[DriftReport], ignores: tuple[Ignore, ...]) -> tuple[DriftReport, ...]:
    """Return the reports without what is to be ignored, and say which wishes met nothing."""
    from reconciler.plan.ignore import without

    done = [without(report, ignores) for report in reports]
    for ignore in ignores if reports else ():
        if not any(ignore in met for _, met in done):
            sys.stderr.write(f"note: --ignore {ignore} met no difference\n")
    return tuple(report for report, _ in done)


def _show(view: str, context: Context, project: Project, reports: tuple[DriftReport, ...], missed: Mapping[str, str]) -> None:
    if view == "json":
        import json

        from reconciler.report.drift_json import drift_json

        sys.stdout.write(json.dumps(drift_json(project.stack, reports, missed), indent=2, ensure_ascii=False) + "\n")
    elif view == "markdown":
        from reconciler.report import markdown_drift

        sys.stdout.write("\n".join(markdown_drift.render_drift(report) for report in reports))
    elif view == "html":
        from reconciler.report import html_drift

        sys.stdout.write(html_drift.render_drift(reports, stack=project.stack))
    elif view == "junit":
        from datetime import UTC, datetime

        from reconciler.report import drift_junit

        sys.stdout.write(drift_junit.render_drift(reports, stack=project.stack, at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"), failed=missed))
    else:
        from reconciler.report.drift_text import render_drift
        from reconciler.report.text import ansi, plain

        paint = ansi if context.colored(sys.stdout) else plain
        sys.stdout.write("\n".join(render_drift(report, paint=paint) for report in reports))
