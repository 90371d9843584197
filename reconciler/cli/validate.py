"""``validate``: checks the spec offline and reports all problems at once."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from reconciler.cli.options import Context, Subparsers, add_format, context_of, spec_of
from reconciler.cli.plan import distinct
from reconciler.errors import ExitCode

if TYPE_CHECKING:
    from reconciler.errors import Problem


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "validate",
        parents=[common],
        help="check the spec offline",
        description="Check the project file and every spec file without calling AWS, and report all problems at once, each with file, line and column.",
    )
    add_format(parser, "text", "json", "github", "gitlab")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0 if the spec is valid, else 1."""
    from reconciler.errors import SpecError

    context = context_of(args)
    counts: dict[str, int] = {}
    warnings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    try:
        _, _, desired = spec_of(context, prefix=_folder(context) if args.format in ("github", "gitlab") else None)
        counts = {name: len(state.resources) for name, state in desired.items()}
        warnings = distinct(warning for state in desired.values() for warning in state.warnings)
    except SpecError as error:
        if args.format == "text":
            raise
        problems = error.problems
    match args.format:
        case "json":
            _print_json(problems, warnings, counts)
        case "github":
            from reconciler.report.ci import workflow_commands

            sys.stdout.write(workflow_commands(problems, warnings))
        case "gitlab":
            from reconciler.report.ci import code_quality

            sys.stdout.write(code_quality(problems))
        case _:
            from reconciler.terminal import sanitize, write_fitted

            for warning in warnings:
                write_fitted(f"warning: {sanitize(warning)}\n", sys.stdout)
    if args.format in ("text", "github"):
        for name, count in counts.items():
            sys.stdout.write(f"{name}: {count:,} resource{'' if count == 1 else 's'}, no problems\n")
    return ExitCode.ERROR if problems else ExitCode.OK


def _folder(context: Context) -> str:
    """Return the project's directory relative to the root of its repository, as forges need it, or to the current directory without one."""
    import os
    from pathlib import Path

    from reconciler.git.clone import top_of

    folder = os.path.realpath((context.directory / (context.config or "_")).parent)
    path = os.path.relpath(folder, os.path.realpath(top_of(context.directory) or "."))
    return "" if path == "." else f"{Path(path).as_posix()}/"


def _print_json(problems: tuple[Problem, ...], warnings: tuple[str, ...], resources: dict[str, int]) -> None:
    from reconciler.terminal import display_json

    report = {
        "formatVersion": "1.0",
        "ok": not problems,
        "problems": [_problem(problem) for problem in problems],
        "warnings": list(warnings),
        "targets": resources,
    }
    sys.stdout.write(display_json(report, indent=2) + "\n")


def _problem(problem: Problem) -> dict[str, object]:
    from reconciler.report.ci import place_of

    file, line, column = place_of(problem)
    return {
        "file": file,
        "line": line or None,
        "column": column or None,
        "address": problem.address or None,
        "what": problem.what,
        "hint": problem.hint or None,
    }
