"""``plan``: shows what an apply would do, and saves it with ``--out``. Read-only.

Also ``--executor`` and ``--target-timeout``: where the targets of ``plan``, ``drift`` and ``apply`` are worked on.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reconciler.cli.options import (
    Context,
    Subparsers,
    add_allowances,
    add_at_once,
    add_format,
    add_live,
    add_scope,
    add_shard,
    adoptions_of,
    begin,
    desired_in_other_shards,
    duration,
    plan_options_of,
    print_lines,
    spec_of,
)
from reconciler.errors import AwsError, ExitCode, UsageError, os_reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reconciler.executors import Executor
    from reconciler.model.address import Address
    from reconciler.model.target import Project
    from reconciler.plan.plan import Plan, PlanOptions

WORTH_SAYING_SECONDS = 10.0


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "plan",
        parents=[common],
        help="show what an apply would do; read-only",
        description="Read live state, compare it with the spec, and show what an apply would do. Changes nothing.",
    )
    parser.add_argument("--out", metavar="FILE", help="save the plan for apply and show")
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit with 2 when there are changes")
    parser.add_argument(
        "--base", metavar="REV", help="the branch or commit to merge into; checked by apply --require-commit"
    )
    add_format(parser, "text", "json", "markdown", "html")
    add_at_once(parser)
    add_shard(parser)
    add_executor(parser)
    add_scope(parser)
    add_live(parser)
    allowances = add_allowances(parser)
    allowances.add_argument(
        "--allow-by-label",
        action="store_true",
        help="in CI, also allow what a reviewer set as labels of the pull or merge request: "
        "'ivs-reconciler-allow: deletes N', 'updates N' or 'prune'",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0, 2 with ``--detailed-exitcode`` and changes, 3 if a guardrail would refuse the apply."""
    context = begin(args)
    made = make_plan(args, context)
    plan, failures = made.plan, made.failures
    # Saved before it is shown, so that a closed pipe does not prevent it.
    if args.out:
        from reconciler.plan.codec import lines

        write_new(context.directory / args.out, lines(plan))
    show_plan(plan, args.format, context)
    if args.format == "text":
        show_duration(plan, made.project)
    with contextlib.suppress(OSError):  # main deals with it at the end
        sys.stdout.flush()
    warn(made.warnings)
    print_notes(made.notes)
    failures = [*failures, *_unread(plan)]
    if failures:
        raise failures[0]
    refused = refusals(plan, made.project, made.recorded)
    print_lines(sys.stderr, *refused)
    if refused:
        return ExitCode.REFUSED
    changes = any(target.actions for target in plan.targets)
    return ExitCode.DIFFERENT if args.detailed_exitcode and changes else ExitCode.OK


def _unread(plan: Plan) -> list[AwsError]:
    """Return one error for the resources of the spec that AWS denied reading: an incomplete plan is not a success."""
    said = [
        f"{target.name}: {action.address}: {action.blocked.message}"
        for target in plan.targets
        for action in target.actions
        if action.blocked and action.blocked.code == "unreadable"
    ]
    return [AwsError("\n".join(said), code="AccessDeniedException")] if said else []


class PlannedProject(NamedTuple):
    """A plan with its project, the warnings about the spec, and the errors of targets that could not be read.

    ``recorded`` has, by target, the addresses recorded at the last apply; ``notes`` describe an apply that did not finish.
    """

    plan: Plan
    project: Project
    warnings: tuple[str, ...]
    failures: list[AwsError]
    recorded: Mapping[str, frozenset[Address]]
    notes: tuple[str, ...]


def make_plan(args: argparse.Namespace, context: Context) -> PlannedProject:
    """Read and plan every target. Raises ``AwsError`` if none could be read: of a shard, that is part of the plan of all shards."""
    from reconciler.executors.fleet import Planning, fleet_of, tasks_of
    from reconciler.git.clone import head_commit, tree_of
    from reconciler.git.revision import read_base, with_stricter_guardrails
    from reconciler.plan.plan import FailedTarget
    from reconciler.workflow.last_apply import last_applies
    from reconciler.workflow.progress import reading
    from reconciler.workflow.survey import check_globs, combine_plans

    options = plan_options_of(args)
    project, targets, desired = spec_of(context)
    granted: tuple[str, ...] = ()
    if getattr(args, "allow_by_label", False):
        options, granted = _with_labels(options, Path(project.root))
    base = read_base(project, args.base) if args.base else None
    if base:
        project = with_stricter_guardrails(project, base)
    executor = executor_of(args, context, len(targets))
    with adoptions_of(args, context, project, targets, desired) as adopt, reading(sys.stderr, len(targets)) as progress:
        tasks = tasks_of(project, targets, desired, options, adopt)
        fleet = fleet_of(project, targets, desired, executor.run(Planning(), tasks, progress=progress))
        surveys = fleet.surveys
        check_globs(options, desired, surveys, desired_in_other_shards(context, project, options, targets))
        commit = head_commit(Path(project.root))
        plan = combine_plans(project, surveys, options, git_commit=commit, shards=context.shard)
        plan = plan._replace(failed=tuple(FailedTarget(name, str(error)) for name, error in fleet.missed.items()))
        recorded, notes = last_applies(project, surveys)
    failures = [fleet.failure] if fleet.failure else []
    if failures and not plan.targets and context.shard is None:
        raise failures[0]
    if plan.git_commit:
        plan = plan._replace(git_tree=tree_of(Path(project.root), plan.git_commit), base=base)
    return PlannedProject(
        plan,
        project,
        tuple(warning for state in desired.values() for warning in state.warnings),
        failures,
        recorded,
        (*granted, *notes),
    )


def _with_labels(options: PlanOptions, root: Path) -> tuple[PlanOptions, tuple[str, ...]]:
    """Return the options with what the labels of the commit's request allow, and notes about them."""
    from reconciler.forge.ci import access_in, detect_ci, open_forge
    from reconciler.git.clone import head_commit, is_ancestor, why_no_commit
    from reconciler.git.comments import granted_by_labels

    ci = detect_ci(os.environ)
    if not ci.provider:
        raise UsageError("--allow-by-label needs GitHub Actions or GitLab CI, which name the request")
    commit = head_commit(root)
    if commit is None:
        raise UsageError(f"--allow-by-label: {why_no_commit(root)}")
    forge = open_forge(access_in(ci, os.environ), user="plan --allow-by-label")
    granted, notes = granted_by_labels(forge, ci, commit, partial(is_ancestor, root))
    return options.allowing(granted), notes


def show_plan(plan: Plan, view: str, context: Context) -> None:
    """Write the plan to stdout in one of the four views."""
    match view:
        case "json":
            from reconciler.plan.codec import lines

            sys.stdout.writelines(lines(plan))
            return
        case "markdown":
            from reconciler.report import markdown

            text = markdown.render_plan(plan)
        case "html":
            from reconciler.report import html

            text = html.render_plan(plan)
        case _:
            from reconciler.report.text import render_plan
            from reconciler.terminal import fit_to_width

            text = fit_to_width(
                render_plan(plan, paint=context.paint(sys.stdout), calls=context.verbosity > 0), sys.stdout
            )
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def show_duration(plan: Plan, project: Project) -> None:
    """Print how long each target's apply takes at the published rates, from ten seconds on."""
    from reconciler.model.kinds import pace_of
    from reconciler.plan.steps import calls_of, expected
    from reconciler.report.words import expected_words

    for target in plan.targets:
        coming = expected(calls_of(target), pace_of) if project.targets[target.name].paced else None
        if coming is not None and coming.seconds >= WORTH_SAYING_SECONDS:
            print_lines(sys.stdout, f"{target.name}: {expected_words(coming)}.")


def refusals(plan: Plan, project: Project, recorded: Mapping[str, frozenset[Address]]) -> list[str]:
    """Return the guardrails' refusals of every target, each with its counts, its limit and the way to proceed.

    ``recorded`` has, by target, the addresses recorded at the last apply.
    """
    from reconciler.plan.guardrails import check, check_shard

    return [
        f"plan refused: {target.name}: {message}"
        for target in plan.targets
        for message in check(
            target, project.guardrails_of(target.name), plan.options, recorded.get(target.name, frozenset())
        )
    ] + [
        f"plan refused: {target.name}: {message}, or run without --shard"
        for target in plan.targets
        if plan.shards
        for message in check_shard(target, project, plan.shards)
    ]


def warn(warnings: Iterable[str]) -> None:
    """Write warnings about the spec to stderr, each once."""
    print_lines(sys.stderr, *(f"warning: {warning}" for warning in distinct(warnings)))


def distinct(warnings: Iterable[str]) -> tuple[str, ...]:
    """Return warnings without repetitions: targets whose warnings differ only in what else has the problem have one, the longest."""
    found: dict[str, str] = {}
    for warning in warnings:
        subject = re.sub(r" \(also [^)]*\)", "", warning)
        found[subject] = max(found.get(subject, ""), warning, key=len)
    return tuple(found.values())


def print_notes(notes: Iterable[str]) -> None:
    """Write notes about applies to stderr: ``TARGET: TEXT`` once for all targets with the same text."""
    from reconciler.report.words import names_words

    names: dict[str, list[str]] = {}
    for note in notes:
        name, colon, text = note.partition(": ")
        names.setdefault(colon + text, []).append(name)
    print_lines(sys.stderr, *(f"note: {names_words(found)}{text}" for text, found in names.items()))


def write_new(path: Path, text: Iterable[str]) -> None:
    """Write a file, whose text comes in parts, atomically. Raises ``UsageError`` if it cannot be written."""
    from reconciler.files import replace_file

    try:
        replace_file(path, text, mode=None)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot save the plan ({os_reason(error)}); choose a file in a writable folder"
        ) from None


EXECUTOR_VARIABLE = "IVS_RECONCILER_EXECUTOR"
MANY_TARGETS = 200
"""From so many targets on, processes are the default: starting them costs more below, see docs/decisions.md."""

_TARGET_TIMEOUT = 3600.0


class ExecutorChoice(NamedTuple):
    """What ``--executor`` says: ``threads``, ``processes`` or ``dask``; how many processes, or the address of a scheduler."""

    kind: str
    processes: int | None = None
    address: str = ""


def add_executor(
    parser: argparse.ArgumentParser, default: str = f"threads, and processes from {MANY_TARGETS} targets on"
) -> None:
    """Add the options for where targets are worked on; ``default`` says where without them."""
    parser.add_argument(
        "--executor",
        metavar="WHERE",
        type=_executor_choice,
        help="where targets are worked on: threads or processes[:N] of this machine, or the Dask cluster at dask://HOST:PORT "
        "or, with TLS, dask+tls://HOST:PORT "
        f"(default: {EXECUTOR_VARIABLE}, or {default})",
    )
    parser.add_argument(
        "--target-timeout",
        metavar="TIME",
        type=duration,
        help="report a target as failed if a worker process or Dask worker needs longer than TIME, such as 30m (default: 1h)",
    )


def executor_of(args: argparse.Namespace, context: Context, targets: int = 0) -> Executor:
    """Return what runs the work on so many targets; by default threads for less than ``MANY_TARGETS``. Raises ``UsageError``."""
    where, timeout = (
        getattr(args, "executor", None) or _executor_from_environment(),
        getattr(args, "target_timeout", None),
    )
    at_once: int | None = getattr(args, "targets_at_once", None)  # comment plans without these options
    if where is None:
        where = ExecutorChoice("processes" if targets >= MANY_TARGETS else "threads")
    if where.kind == "threads" and timeout:
        raise UsageError("--target-timeout needs --executor processes or dask: a thread cannot be stopped")
    if where.kind == "threads":
        from reconciler.executors import Threads

        return Threads(at_once)
    if where.kind == "dask":
        from reconciler.executors.dask_cluster import DaskCluster

        return DaskCluster(where.address, at_once, timeout or _TARGET_TIMEOUT)
    from reconciler.executors.processes import LogSettings, Processes

    logs = LogSettings(context.log_format, context.verbosity, context.no_color)
    return Processes(where.processes, at_once, timeout or _TARGET_TIMEOUT, logs)


def _executor_from_environment() -> ExecutorChoice | None:
    given = os.environ.get(EXECUTOR_VARIABLE)
    try:
        return _executor_choice(given) if given else None
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{EXECUTOR_VARIABLE}: {error}") from None


def _executor_choice(text: str) -> ExecutorChoice:
    if text in ("threads", "processes"):
        return ExecutorChoice(text)
    kind, _, count = text.partition(":")
    if kind == "processes" and re.fullmatch("[1-9][0-9]{0,2}", count):
        return ExecutorChoice(kind, int(count))
    if found := re.fullmatch(r"dask(\+tls)?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})/?", text):
        return ExecutorChoice("dask", address=f"{'tls' if found[1] else 'tcp'}://{found[2]}:{found[3]}")
    if found := re.match("(tcp|tls)(?=://)", text):  # as Dask prints it
        scheme = "dask+tls" if found[1] == "tls" else "dask"
        raise argparse.ArgumentTypeError(f"for the Dask scheduler at {text}, use {scheme}{text[3:]}")
    raise argparse.ArgumentTypeError(
        f"{text!r} is not threads, processes, processes:N, dask://HOST:PORT or dask+tls://HOST:PORT"
    )
