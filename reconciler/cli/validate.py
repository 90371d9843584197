"""``validate``: everything that is wrong with the spec, offline, all at once."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from reconciler.cli.options import Context, Subparsers, add_format, context_of, project_of
from reconciler.errors import ExitCode

if TYPE_CHECKING:
    from reconciler.errors import Problem


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "validate",
        parents=[common],
        help="check the spec offline; every problem with its place",
        description="Check the project file and every spec file without any call, and report all problems at once.",
    )
    add_format(parser, "text", "json", "github", "gitlab")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb: 0 when the spec is good, 1 when it is not."""
    from reconciler.errors import SpecError
    from reconciler.workflow.load import load_desired_states

    context = context_of(args)
    counts: dict[str, int] = {}
    warnings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    try:
        project, targets = project_of(context, prefix=_folder(context) if args.format in ("github", "gitlab") else None)
        desired = load_desired_states(project, targets)
        counts = {name: len(state.resources) for name, state in desired.items()}
        warnings = tuple(dict.fromkeys(warning for state in desired.values() for warning in state.warnings))
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
            from reconciler.terminal import harmless

            for warning in warnings:
                sys.stdout.write(f"warning: {harmless(warning)}\n")
    if args.format in ("text", "github"):
        for name, count in counts.items():
            sys.stdout.write(f"{name}: {count:,} resource{'' if count == 1 else 's'}, no problems\n")
    return ExitCode.ERROR if problems else ExitCode.OK


def _folder(context: Context) -> str:
    """Return the project's folder from the top of its repository, which is where a forge starts paths from; from the current folder where there is none."""
    import os
    from pathlib import Path

    from reconciler.git.git import top_of

    folder = os.path.realpath((context.directory / (context.config or "_")).parent)
    path = os.path.relpath(folder, os.path.realpath(top_of(context.directory) or "."))
    return "" if path == "." else f"{Path(path).as_posix()}/"


def _print_json(problems: tuple[Problem, ...], warnings: tuple[str, ...], resources: dict[str, int]) -> None:
    import json

    report = {
        "formatVersion": "1.0",
        "ok": not problems,
        "problems": [_problem(problem) for problem in problems],
        "warnings": list(warnings),
        "targets": resources,
    }
    sys.stdout.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


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
