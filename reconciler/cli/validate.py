"""``validate``: everything that is wrong with the spec, offline, all at once."""

from __future__ import annotations

import argparse
import sys

from reconciler.cli.options import Subparsers, add_format, context_of, project_of
from reconciler.errors import ExitCode


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "validate",
        parents=[common],
        help="check the spec offline; every problem with its place",
        description="Check the project file and every spec file without any call, and report all problems at once.",
    )
    add_format(parser, "text", "json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb: 0 when the spec is good, 1 when it is not."""
    from reconciler.errors import SpecError
    from reconciler.pipeline.loading import load_desired_states

    context = context_of(args)
    counts: dict[str, int] = {}
    warnings: tuple[str, ...] = ()
    try:
        project, targets = project_of(context)
        desired = load_desired_states(project, targets)
        counts = {name: len(state.resources) for name, state in desired.items()}
        warnings = tuple(dict.fromkeys(warning for state in desired.values() for warning in state.warnings))
    except SpecError as error:
        if args.format == "text":
            raise
        _print_json(ok=False, problems=[_problem(str(p.where), p.address, p.what, p.hint) for p in error.problems], warnings=(), resources=counts)
        return ExitCode.ERROR
    if args.format == "json":
        _print_json(ok=True, problems=[], warnings=warnings, resources=counts)
        return ExitCode.OK
    for warning in warnings:
        sys.stdout.write(f"warning: {warning}\n")
    for name, count in counts.items():
        sys.stdout.write(f"{name}: {count:,} resource{'' if count == 1 else 's'}, no problems\n")
    return ExitCode.OK


def _print_json(*, ok: bool, problems: list[dict[str, object]], warnings: tuple[str, ...], resources: dict[str, int]) -> None:
    import json

    report = {"formatVersion": "1.0", "ok": ok, "problems": problems, "warnings": list(warnings), "targets": resources}
    sys.stdout.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def _problem(where: str, address: str, what: str, hint: str) -> dict[str, object]:
    file, line, column = where, 0, 0
    parts = where.rsplit(":", 2)
    if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
        file, line, column = parts[0], int(parts[1]), int(parts[2])
    return {"file": file, "line": line or None, "column": column or None, "address": address or None, "what": what, "hint": hint or None}
