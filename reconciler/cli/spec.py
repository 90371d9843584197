"""The verbs about the spec that do not call AWS.

``validate`` checks it and reports all problems at once, ``schema`` prints the JSON Schemas of the formats, and ``iam-policy``
the least-privilege IAM policy that it needs.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.options import Context, Subparsers, add_format, begin, context_of, print_lines, project_of, spec_of
from reconciler.cli.plan import distinct
from reconciler.errors import ExitCode, SpecError, UsageError

if TYPE_CHECKING:
    from reconciler.errors import Problem


def add_validate(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "validate",
        parents=[common],
        help="check the spec offline",
        description="Check the project file and every spec file without calling AWS, and report all problems at once, each with file, line and column.",
    )
    add_format(parser, "text", "json", "github", "gitlab")
    parser.set_defaults(run=run_validate)


def run_validate(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0 if the spec is valid, else 1."""
    from reconciler.git.clone import missing_files
    from reconciler.spec.desired import check_specs

    context = context_of(args)
    counts: dict[str, int] = {}
    warnings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    try:
        prefix = _folder(context) if args.format in ("github", "gitlab") else None
        project, targets = project_of(context, prefix=prefix)
        checked = check_specs(project, targets, missing_files(Path(project.root)))
        counts = {name: spec.resources for name, spec in checked.items()}
        warnings = distinct(warning for spec in checked.values() for warning in spec.warnings)
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
            print_lines(sys.stdout, *(f"warning: {warning}" for warning in warnings))
    if args.format in ("text", "github"):
        for name, count in counts.items():
            sys.stdout.write(f"{name}: {count:,} resource{'' if count == 1 else 's'}, no problems\n")
    return ExitCode.ERROR if problems else ExitCode.OK


def _folder(context: Context) -> str:
    """Return the project's directory relative to the root of its repository, as forges need it, or to the current directory without one."""
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


_SCHEMAS = ("project", "spec", "plan", "drift", "events", "outputs")


def add_schema(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "schema",
        parents=[common],
        help="print the JSON Schemas",
        description="Print a JSON Schema, write all of them to a directory, or check that a directory is up to date.",
    )
    parser.add_argument("name", nargs="?", choices=_SCHEMAS, help="schema to print (default: all, as one object)")
    parser.add_argument("--write", metavar="DIR", help="write all schemas to DIR")
    parser.add_argument("--check", metavar="DIR", help="compare with DIR; exit with 1 if a schema is out of date")
    parser.set_defaults(run=run_schema)


def run_schema(args: argparse.Namespace) -> int:
    """Run the verb."""
    import json

    texts = schema_texts()
    if args.write:
        folder = Path(args.write)
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        return ExitCode.OK
    if args.check:
        stale = [name for name, text in texts.items() if not _has_text(Path(args.check) / name, text)]
        if stale:
            raise UsageError(
                f"{args.check}: out of date: {', '.join(stale)}; run: ivs-reconciler schema --write {args.check}"
            )
        return ExitCode.OK
    if args.name:
        sys.stdout.write(texts[f"{args.name}.schema.json"])
    else:
        documents = {name: json.loads(text) for name, text in texts.items()}
        sys.stdout.write(json.dumps(documents, indent=2, ensure_ascii=False) + "\n")
    return ExitCode.OK


def schema_texts() -> dict[str, str]:
    """Return every schema by its file name."""
    import json

    from reconciler.report.json_schemas import drift_schema, events_schema, outputs_schema, plan_schema
    from reconciler.spec.project_models import schemas

    others = {
        "plan.schema.json": plan_schema(),
        "drift.schema.json": drift_schema(),
        "events.schema.json": events_schema(),
        "outputs.schema.json": outputs_schema(),
    }
    documents: dict[str, object] = {**schemas(), **others}
    return {name: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for name, document in documents.items()}


def _has_text(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def add_iam_policy(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "iam-policy",
        parents=[common],
        help="print the least-privilege IAM policy for this spec",
        description="Print the least-privilege IAM policy for this spec and the selected targets. Calls nothing.",
    )
    parser.add_argument(
        "purpose",
        choices=("plan", "apply"),
        metavar="{plan,apply}",
        help="plan: for plan and drift, read-only; apply: for apply, includes plan",
    )
    parser.add_argument(
        "--prune", action="store_true", help="allow reads and deletes of kinds that the spec does not use"
    )
    parser.add_argument("--stop-live", action="store_true", help="allow what apply --stop-live needs")
    parser.add_argument("--blame", action="store_true", help="allow what drift --blame needs")
    parser.add_argument(
        "--take-over",
        metavar="STACK",
        action="append",
        default=[],
        help="allow what apply --take-over STACK needs; repeatable",
    )
    parser.set_defaults(run=run_iam_policy)


def run_iam_policy(args: argparse.Namespace) -> int:
    """Run the verb."""
    import json

    from reconciler.model.target import OutputPlace
    from reconciler.plan.iam import PolicyOptions, PolicyTarget, apply_policy, plan_policy

    context = begin(args)
    project, targets, desired = spec_of(context)
    places = [PolicyTarget(target, desired[target.name]) for target in targets]
    parameters = tuple(one.name for one in project.outputs if one.place is OutputPlace.PARAMETER_STORE)
    options = PolicyOptions(
        prune=args.prune,
        stop_live=args.stop_live,
        blame=args.blame,
        parameters=parameters,
        take_over=tuple(args.take_over),
        state=project.state,
    )
    policy = plan_policy(places, options) if args.purpose == "plan" else apply_policy(places, options)
    sys.stdout.write(json.dumps(policy, indent=2) + "\n")
    if any(target.account_id is None for target in targets):
        print_lines(
            sys.stderr,
            "note: for a target without accountId the policy allows any account it is attached in; add accountId to narrow it",
        )
    return ExitCode.OK
