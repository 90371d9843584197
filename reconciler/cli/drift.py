"""``drift``: reports what was modified outside since the last apply, what is pending, and what is unmanaged. Read-only."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.options import (
    Subparsers,
    add_at_once,
    add_format,
    add_globs,
    add_shard,
    begin,
    desired_in_other_shards,
    desired_of,
    print_lines,
    project_of,
)
from reconciler.cli.plan import add_executor, executor_of, print_notes
from reconciler.errors import AwsError, ExitCode, SpecError, UsageError, os_reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reconciler.cli.options import Context
    from reconciler.drift.report import DriftReport
    from reconciler.model.target import Project, Shards, Target
    from reconciler.workflow.drift import RunMetrics

_MAX_NAMED = 20
_DAYS, _MAX_DAYS = 7, 90
"""How far ``--blame`` looks back; CloudTrail keeps 90 days (CloudTrail user guide, event history)."""


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "drift",
        parents=[common],
        help="report resources modified outside, and pending changes; read-only",
        description="Compare live state with the spec. Exit code 2: drift. 5: no drift, but changes are pending. 0: in sync.",
    )
    add_format(parser, "text", "json", "markdown", "html", "junit")
    add_at_once(parser)
    add_shard(parser)
    add_executor(parser)
    parser.add_argument(
        "--from",
        metavar="FILE",
        dest="files",
        nargs="+",
        action="extend",
        help="show reports saved with --format json, such as those of all shards, as one; reads nothing else",
    )
    parser.add_argument(
        "--ignore",
        metavar="ADDRESS:PATH",
        action="append",
        default=[],
        help="ignore differences of a field in this run, such as channel/main-stage:/type or 'channel/*:/tags/team'; repeatable",
    )
    add_globs(parser.add_argument_group("scope"))
    parser.add_argument(
        "--accept",
        metavar="ADDRESS[:PATH]",
        action="append",
        default=[],
        help="write the live values of this drift into the spec files instead, such as channel/main-stage:/latencyMode; repeatable",
    )
    parser.add_argument(
        "--prometheus", metavar="FILE", help="write metrics to FILE for the node exporter's textfile collector"
    )
    group = parser.add_argument_group("blame")
    group.add_argument(
        "--blame",
        action="store_true",
        help="look up in CloudTrail who changed, deleted or duplicated a resource; needs cloudtrail:LookupEvents",
    )
    group.add_argument(
        "--blame-days", metavar="N", type=_days, help=f"days to look back, at most {_MAX_DAYS} (default: {_DAYS})"
    )
    group = parser.add_argument_group("notifications")
    group.add_argument(
        "--notify", action="store_true", help="notify the configured receivers of new and resolved drift"
    )
    group.add_argument("--link", metavar="URL", help="URL of the whole report, for the notifications")
    group.add_argument(
        "--state",
        metavar="FILE",
        help="file that records sent notifications (default: .ivs-reconciler/notifications.json beside the project file)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from reconciler.drift.report import Ignore
    from reconciler.executors.fleet import DriftDetection, DriftFound, detect_drift, fleet_of, tasks_of
    from reconciler.git.committed import addresses_applied
    from reconciler.plan.plan import PlanOptions
    from reconciler.workflow.drift import RunMetrics
    from reconciler.workflow.progress import reading
    from reconciler.workflow.survey import check_globs

    context = begin(args)
    if args.files:
        return _saved(args, context)
    ignores = tuple(map(Ignore.parse, args.ignore))
    days = _blame_days(args)
    if args.accept:
        others = ("ignore", "only", "exclude", "prometheus", "blame", "notify")
        if given := [f"--{name}" for name in others if getattr(args, name)]:
            raise UsageError(f"--accept cannot be combined with {', '.join(given)}; run drift twice")
        return accept(args, args.accept)
    scope = PlanOptions(only=tuple(args.only), exclude=tuple(args.exclude))
    _refuse_partial(args)
    project, targets = project_of(context)
    state = _state(args, context, project)
    metrics = RunMetrics()
    try:
        desired = desired_of(project, targets)
    except SpecError:
        _write_metrics(args, context, project, targets, (), metrics)
        raise
    executor = executor_of(args, context, len(targets))
    work = DriftDetection(scope, addresses_applied, ignores, days, expand=context.verbosity > 0)
    with reading(sys.stderr, len(targets)) as progress:
        found = detect_drift(executor, work, tasks_of(project, targets, desired, PlanOptions()), project, progress)
    for target, one in zip(targets, found, strict=True):
        if isinstance(one, DriftFound):
            metrics.add(target.name, one.calls)
    fleet = fleet_of(project, targets, desired, [one.survey if isinstance(one, DriftFound) else one for one in found])
    check_globs(scope, desired, fleet.surveys, desired_in_other_shards(context, project, scope, targets))
    by_name = {one.report.name: one for one in found if isinstance(one, DriftFound) and one.report}
    missed, failures = fleet.missed, [fleet.failure] if fleet.failure else []
    reports = tuple(report for one in fleet.surveys if (report := by_name[one.target.name].report))
    for ignore in ignores if reports else ():
        if not any(ignore in one.ignored for one in by_name.values()):
            print_lines(sys.stderr, f"note: --ignore {ignore} matched no difference")
    if reports or context.shard or args.format in ("json", "junit"):
        _show(
            args, context, project.stack, reports, {name: str(error) for name, error in missed.items()}, context.shard
        )
        sys.stdout.flush()
    if state is not None:
        _notify(project, targets, reports, missed, state, args.link or "")
    _write_metrics(args, context, project, targets, reports, metrics)
    failures += [AwsError(f"{report.name}: {line}") for report in reports for line in report.unread]
    if failures:
        raise failures[0] if len(failures) == 1 else AwsError("\n".join(map(str, failures)))
    return _exit_code(reports)


def _exit_code(reports: Sequence[DriftReport]) -> ExitCode:
    if any(report.drifted for report in reports):
        return ExitCode.DIFFERENT
    return ExitCode.PENDING if any(report.pending for report in reports) else ExitCode.OK


def _saved(args: argparse.Namespace, context: Context) -> int:
    """Show saved reports as one and return the exit code that one run would have had: 1 if a target, or a shard, has no report."""
    from reconciler.report.words import join_words
    from reconciler.workflow.reports import read_drift_reports

    others = [
        "ignore",
        "only",
        "exclude",
        "accept",
        "prometheus",
        "blame",
        "blame_days",
        "notify",
        "link",
        "state",
        "shard",
        "targets_at_once",
        "executor",
        "target_timeout",
    ]
    given = [f"--{name.replace('_', '-')}" for name in others if getattr(args, name)]
    if context.targets:
        given.append("--target")
    if given:
        raise UsageError(f"--from cannot be combined with {', '.join(given)}: it shows what was reported")
    found = read_drift_reports([context.directory / name for name in args.files])
    args.only, args.exclude = found.only, found.exclude
    _show(args, context, found.stack, found.reports, found.failed, found.shards)
    sys.stdout.flush()
    lines = [f"{name}: {message}" for name, message in found.failed.items()]
    lines += [f"{report.name}: {line}" for report in found.reports for line in report.unread]
    if found.shards:
        missing = found.shards.missing
        which = f"shard{'s' if len(missing) > 1 else ''} {join_words(map(str, missing[:_MAX_NAMED]))}"
        have, them = ("have", "their files") if len(missing) > 1 else ("has", "its file")
        lines.append(f"{which} of {found.shards.total:,} {have} no report; pass {them} too")
    if lines:
        raise AwsError("\n".join(lines))
    return _exit_code(found.reports)


def accept(args: argparse.Namespace, choices: Sequence[str] | None) -> int:
    """Write the live values of the chosen drift into the spec files, of all drift for ``None``; the exit code is 2 if something could not be written."""
    from reconciler.git.committed import addresses_applied
    from reconciler.plan.plan import PlanOptions
    from reconciler.workflow.accept import Chosen, accept_drift, write_accepted
    from reconciler.workflow.drift import drift_report
    from reconciler.workflow.progress import reading
    from reconciler.workflow.survey import survey_targets

    context = begin(args)
    chosen = None if choices is None else tuple(map(Chosen.parse, choices))
    project, targets = project_of(context)
    desired = desired_of(project, targets)
    with (
        reading(sys.stderr, len(targets)) as progress,
        survey_targets(project, targets, PlanOptions(), desired=desired, progress=progress) as surveys,
    ):
        found = [(survey, drift_report(project, survey, addresses_applied)) for survey in surveys]
        if unread := [f"{report.name}: {line}" for _, report in found for line in report.unread]:
            raise AwsError("\n".join((*unread, "Nothing was accepted")))
        for survey, report in found:  # such as why a deletion is not known from what was never applied
            print_notes(f"{report.name}: {note}" for note in report.notes if note not in survey.plan.notes)
        accepted = accept_drift(project, found, chosen)
    write_accepted(accepted)
    lines = [f"accepted {line}" if ": " in line else line for line in accepted.lines] or ["No drift to accept."]
    print_lines(sys.stdout, *lines)
    if accepted.gaps:
        sys.stdout.flush()
        print_lines(sys.stderr, "Could not be written:", *accepted.gaps)
    return ExitCode.DIFFERENT if accepted.gaps else ExitCode.OK


def _refuse_partial(args: argparse.Namespace) -> None:
    """Refuse ``--only`` and ``--exclude`` with ``--notify`` or ``--prometheus``: what they leave out would be reported as resolved and in sync."""
    flags = [flag for flag, given in (("--notify", args.notify), ("--prometheus", args.prometheus)) if given]
    if flags and (args.only or args.exclude):
        raise UsageError(
            f"{' and '.join(flags)} cannot be combined with --only and --exclude: they report whole targets. Run drift twice"
        )


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= _MAX_DAYS and len(text) <= 2):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of days from 1 to {_MAX_DAYS} (CloudTrail keeps {_MAX_DAYS} days)"
        )
    return int(text)


def _blame_days(args: argparse.Namespace) -> int:
    if args.blame_days and not args.blame:
        raise UsageError("--blame-days needs --blame")
    return (args.blame_days or _DAYS) if args.blame else 0


def _state(args: argparse.Namespace, context: Context, project: Project) -> Path | None:
    """Return the file that records notifications, or ``None`` without ``--notify``. Raises ``UsageError``."""
    if not args.notify:
        if args.link or args.state:
            raise UsageError("--link and --state need --notify")
        return None

    from reconciler.workflow.notifications import NotificationFile
    from reconciler.workflow.records import FOLDER, ensure_folder

    if not project.receivers:
        raise UsageError(f"{project.path}: no receivers are configured; add one under receivers")
    if args.state:
        path: Path = context.directory / args.state
    else:
        path = Path(project.root) / FOLDER / "notifications.json"
        try:
            ensure_folder(Path(project.root))
        except OSError as error:
            raise UsageError(
                f"{path}: cannot be written ({os_reason(error)}); choose another file with --state"
            ) from None
    NotificationFile(path, project.stack)  # refuses a file of another kind now, not after minutes of reading
    return path


def _notify(
    project: Project,
    targets: Sequence[Target],
    reports: Sequence[DriftReport],
    missed: Mapping[str, AwsError],
    state: Path,
    link: str,
) -> None:
    """Notify every receiver of what is new to it. A delivery failure is printed and does not change the exit code."""
    from reconciler.workflow.notifications import UnreadableTarget, notify, open_notification_file, reading_of

    found = {report.name: report for report in reports}
    readings = [
        reading_of(target, found[target.name])
        if target.name in found
        else UnreadableTarget(target, missed[target.name])
        for target in targets
    ]
    try:
        with open_notification_file(state, project.stack) as store:
            deliveries = notify(project.receivers, project.stack, readings, store, environment=os.environ, link=link)
    except UsageError as error:
        print_lines(sys.stderr, f"no notifications were sent: {error}")
        return
    print_lines(sys.stderr, *map(str, deliveries))


def _write_metrics(
    args: argparse.Namespace,
    context: Context,
    project: Project,
    targets: Sequence[Target],
    reports: Sequence[DriftReport],
    metrics: RunMetrics,
) -> None:
    """Write the metrics file; a target without a report has failed."""
    if not args.prometheus:
        return
    from reconciler.workflow.drift import write_metrics

    found = {report.name: report for report in reports}
    write_metrics(
        context.directory / args.prometheus,
        [metrics.sample(project.stack, target.name, found.get(target.name)) for target in targets],
    )


def _show(
    args: argparse.Namespace,
    context: Context,
    stack: str,
    reports: tuple[DriftReport, ...],
    missed: Mapping[str, str],
    shards: Shards | None,
) -> None:
    from reconciler.report.words import SHARD, shards_words

    view = args.format
    facts = {SHARD: shards_words(shards)} if shards else {}
    if view == "json":
        from reconciler.drift.report import drift_json
        from reconciler.terminal import display_json

        content = drift_json(stack, reports, missed, only=tuple(args.only), exclude=tuple(args.exclude), shards=shards)
        sys.stdout.write(display_json(content, indent=2) + "\n")
    elif view == "markdown":
        from reconciler.report.markdown import render_drift as render_markdown

        sys.stdout.write(render_markdown(*reports, failed=missed, facts=facts))
    elif view == "html":
        from reconciler.report import html

        sys.stdout.write(html.render_drift(reports, stack=stack, failed=missed, extra=facts))
    elif view == "junit":
        from datetime import UTC, datetime

        from reconciler.report import ci

        sys.stdout.write(
            ci.render_drift(reports, stack=stack, at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"), failed=missed)
        )
    else:
        from reconciler.report.text import render_drifts
        from reconciler.terminal import write_fitted

        paint = context.paint(sys.stdout)
        verbose = context.verbosity > 0
        write_fitted(render_drifts(reports, missed, shards=shards, paint=paint, verbose=verbose), sys.stdout)
