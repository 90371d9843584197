"""Verbs that show and change nothing: ``show`` (saved plans), ``diff`` (the spec of two git revisions), ``status`` and ``outputs`` (live resources)."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from reconciler.cli.options import (
    Subparsers,
    add_format,
    add_scope,
    add_shard,
    begin,
    context_of,
    plan_options_of,
    project_of,
    spec_of,
)
from reconciler.cli.plan import show_plan, warn
from reconciler.errors import AwsError, ExitCode, UsageError, os_reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reconciler.cli.options import Context
    from reconciler.model.resource import Overview, TargetOutputs
    from reconciler.model.target import Target
    from reconciler.report.text import Paint


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
    from reconciler.workflow.reports import merge_plans
    from reconciler.workflow.saved_plans import load_plan, select_targets

    context = context_of(args)
    paths = [context.directory / name for name in args.plan_files]
    plan = select_targets(merge_plans([(str(path), load_plan(path)) for path in paths]), context.targets)
    show_plan(plan, args.format, context)
    changes = any(target.actions for target in plan.targets)
    return ExitCode.DIFFERENT if args.detailed_exitcode and changes else ExitCode.OK


def add_diff(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
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
    parser.set_defaults(run=run_diff)


def run_diff(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0, or 2 with ``--detailed-exitcode`` and differences."""
    from reconciler.git.compare import compare_revisions

    context = context_of(args)
    plan, warnings = compare_revisions(
        context.directory, context.config, args.revisions, context.targets, plan_options_of(args)
    )
    show_plan(plan, args.format, context)
    warn(warnings)
    different = any(target.actions or target.orphans for target in plan.targets)
    return ExitCode.DIFFERENT if args.detailed_exitcode and different else ExitCode.OK


def add_status(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
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
    parser.set_defaults(run=run_status)


def run_status(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0, or 1 if a target could not be read."""
    context = begin(args)
    project, targets = project_of(context)
    found, failure = _read_overviews(project.stack, targets)
    if failure is not None and not found:
        raise failure
    if args.format == "json":
        from reconciler.report.accounts import status_json
        from reconciler.terminal import display_json

        sys.stdout.write(display_json(status_json(project.stack, found), indent=2) + "\n")
    else:
        from reconciler.report.accounts import render_status
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


def _read_overviews(stack: str, targets: tuple[Target, ...]) -> tuple[tuple[Overview, ...], AwsError | None]:
    """Return the overviews that could be read, and the failures as one error with a line for each target."""
    from reconciler.aws.connection import connect
    from reconciler.aws.overview import read_overview
    from reconciler.workflow.survey import combine_failures, failures_by_target, map_targets

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
    failure = combine_failures(failures_by_target(targets, found))
    return tuple(one for one in found if not isinstance(one, AwsError)), failure


def add_outputs(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "outputs",
        parents=[common],
        help="print ARNs, playback and ingest URLs, buckets for other systems; read-only",
        description="Print the values of the spec's resources that other systems need: ARN, name, playback URL, ingest endpoint and URLs, "
        "bucket, fingerprint, and where the value of a stream key is kept. Prints no secret. "
        "Nothing is printed if a resource of the spec does not exist (exit code 5) or a target cannot be read (1).",
    )
    parser.add_argument(
        "addresses", metavar="ADDRESS", nargs="*", help="only these addresses; globs such as 'channel/*' (default: all)"
    )
    add_format(parser, "text", "json", "env")
    parser.add_argument("--out", metavar="FILE", help="write to FILE instead, only if its content changes")
    parser.add_argument(
        "--partial", action="store_true", help="leave out what does not exist, and targets that cannot be read"
    )
    parser.set_defaults(run=run_outputs)


def run_outputs(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0, or 5 if a resource of the spec does not exist. Raises ``AwsError`` for targets that could not be read."""
    from reconciler.plan.plan import PlanOptions
    from reconciler.plan.selection import unmatched_globs
    from reconciler.terminal import fit_to_width
    from reconciler.workflow.outputs import outputs_of
    from reconciler.workflow.progress import reading
    from reconciler.workflow.survey import combine_failures, survey_targets

    context = begin(args)
    project, targets, desired = spec_of(context)
    known = {address for state in desired.values() for address in state.resources}
    if unmatched := unmatched_globs(args.addresses, (), known, "no address in the spec"):
        raise UsageError("\n".join(line.removeprefix("--only ") for line in unmatched))
    found: list[TargetOutputs] = []
    missed: dict[str, AwsError] = {}
    with (
        reading(sys.stderr, len(targets)) as progress,
        survey_targets(project, targets, PlanOptions(), desired=desired, progress=progress, missed=missed) as surveys,
    ):
        for survey in surveys:
            try:
                found.append(outputs_of(survey, args.addresses))
            except AwsError as error:
                missed[survey.target.name] = error
    failure = combine_failures(missed)
    if failure is not None and not found:
        raise failure
    missing = [f"{target.name}: {address} does not exist" for target in found for address in target.missing]
    whole = args.partial or not (missing or failure)
    if whole and not (failure and args.out):
        _show_outputs(args, context, found, project.stack, with_target=len(targets) > 1)
    elif failure is None:
        missing.append("Run apply first, or use --partial to leave these out")
    sys.stderr.write(fit_to_width("".join(f"{line}\n" for line in missing), sys.stderr))
    if failure is None:
        return ExitCode.OK if whole else ExitCode.PENDING
    hint = ""
    if not whole:
        hint = "\nNothing was printed; use --partial to leave out what cannot be read"
    elif args.out:
        hint = f"\n{args.out} was not written, because outputs that it has may be among those that cannot be read"
    raise AwsError(f"{failure}{hint}")


def _show_outputs(
    args: argparse.Namespace, context: Context, found: Sequence[TargetOutputs], stack: str, *, with_target: bool
) -> None:
    """Print outputs, or write them to a file. Raises ``UsageError`` if it cannot be written, or if two have the same name."""
    from reconciler.report.text import plain
    from reconciler.terminal import fit_to_width

    if args.out:
        text = _rendered_outputs(found, stack, args.format, plain, with_target=with_target)
        _write_outputs(context.directory / args.out, text)
        return
    text = _rendered_outputs(found, stack, args.format, context.paint(sys.stdout), with_target=with_target)
    sys.stdout.write(fit_to_width(text, sys.stdout) if args.format == "text" else text)
    sys.stdout.flush()


def _rendered_outputs(found: Sequence[TargetOutputs], stack: str, view: str, paint: Paint, *, with_target: bool) -> str:
    from reconciler.report.accounts import outputs_env, outputs_json, outputs_text
    from reconciler.terminal import display_json

    match view:
        case "json":
            return display_json(outputs_json(stack, found), indent=2) + "\n"
        case "env":
            return outputs_env(found, with_target=with_target)
        case _:
            return outputs_text(found, stack, paint=paint)


def _write_outputs(path: Path, text: str) -> None:
    """Replace a file as a whole, and only if its content differs. Raises ``UsageError`` if it cannot be written."""
    from reconciler.workflow.outputs import write_if_different

    try:
        write_if_different(path, text)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot write the outputs ({os_reason(error)}); choose a file in a writable folder"
        ) from None
