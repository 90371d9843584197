"""``outputs``: prints what other systems need to know of the resources of the spec. Read-only."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from reconciler.cli.options import Subparsers, add_format, begin, spec_of
from reconciler.errors import ExitCode, UsageError, os_reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reconciler.model.observed import TargetOutputs
    from reconciler.report.text import Paint


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "outputs",
        parents=[common],
        help="print ARNs, playback and ingest URLs, buckets for other systems; read-only",
        description="Print what other systems need to know of the resources of the spec: ARN, name, playback URL, ingest endpoint and URLs, "
        "bucket, fingerprint, and where the value of a stream key is kept. Prints no secret. "
        "Exit code 5: a resource of the spec does not exist, and nothing is printed.",
    )
    parser.add_argument(
        "addresses", metavar="ADDRESS", nargs="*", help="only these addresses; globs such as 'channel/*' (default: all)"
    )
    add_format(parser, "text", "json", "env")
    parser.add_argument("--out", metavar="FILE", help="write FILE instead, if its content would change")
    parser.add_argument("--partial", action="store_true", help="leave out what does not exist, and exit with 0")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0, or 5 if a resource of the spec does not exist."""
    from reconciler.plan.plan import PlanOptions
    from reconciler.plan.selection import unmatched_globs
    from reconciler.report.text import plain
    from reconciler.terminal import fitted
    from reconciler.workflow.outputs import outputs_of
    from reconciler.workflow.progress import reading
    from reconciler.workflow.survey import survey_targets

    context = begin(args)
    project, targets, desired = spec_of(context)
    known = {address for state in desired.values() for address in state.resources}
    if unmatched := unmatched_globs(args.addresses, (), known, "no address in the spec"):
        raise UsageError("\n".join(line.removeprefix("--only ") for line in unmatched))
    with (
        reading(sys.stderr, len(targets)) as progress,
        survey_targets(project, targets, PlanOptions(), desired=desired, progress=progress) as surveys,
    ):
        found = [outputs_of(survey, args.addresses) for survey in surveys]
    missing = [f"{target.name}: {address} does not exist" for target in found for address in target.missing]
    if missing and not args.partial:
        missing.append("Run apply first, or use --partial to leave these out")
    elif args.out:
        _write(context.directory / args.out, _rendered(found, project.stack, args.format, plain))
    else:
        text = _rendered(found, project.stack, args.format, context.paint(sys.stdout))
        sys.stdout.write(fitted(text, sys.stdout) if args.format == "text" else text)
        sys.stdout.flush()
    sys.stderr.write(fitted("".join(f"{line}\n" for line in missing), sys.stderr))
    return ExitCode.PENDING if missing and not args.partial else ExitCode.OK


def _rendered(found: Sequence[TargetOutputs], stack: str, view: str, paint: Paint) -> str:
    from reconciler.report.outputs import outputs_env, outputs_json, outputs_text
    from reconciler.terminal import display_json

    match view:
        case "json":
            return display_json(outputs_json(stack, found), indent=2) + "\n"
        case "env":
            return outputs_env(found)
        case _:
            return outputs_text(found, stack, paint=paint)


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole, and only if its content differs. Raises ``UsageError`` if it cannot be written."""
    from reconciler.workflow.outputs import write_if_different

    try:
        write_if_different(path, text)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot write the outputs ({os_reason(error)}); choose a file in a writable folder"
        ) from None
