"""``apply``: runs saved plans, or plans, shows, asks for approval and runs."""

from __future__ import annotations

import argparse
import contextlib
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.options import (
    Context,
    Subparsers,
    add_allowances,
    add_approval,
    add_at_once,
    add_format,
    add_live,
    add_scope,
    add_shard,
    adoptions_of,
    begin,
    desired_in_other_shards,
    desired_of,
    plan_options_of,
    project_of,
    spec_of,
)
from reconciler.cli.plan import add_executor, executor_of, warn
from reconciler.errors import AdoptionError, AwsError, StalePlan, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack

    from reconciler.executors import Executor
    from reconciler.executors.fleet import ApplyElsewhere
    from reconciler.model.address import Address
    from reconciler.model.resource import DesiredState
    from reconciler.model.target import Project, Shards, Target
    from reconciler.plan.plan import Plan, PlanOptions, TargetPlan
    from reconciler.workflow.survey import Survey


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "apply",
        parents=[common],
        help="make the account match the spec",
        description="Run a saved plan; or plan, show the plan, ask for approval, and run it.",
    )
    parser.add_argument(
        "plan_files",
        metavar="PLANFILE",
        nargs="*",
        help="a plan saved with plan --out, or those of several shards; refused if the spec or one of its resources has changed since",
    )
    parser.add_argument(
        "--require-commit",
        action="store_true",
        help="refuse a saved plan of another commit or base than the checked-out one, or spec files with uncommitted changes",
    )
    parser.add_argument(
        "--base",
        metavar="REV",
        help="refuse a saved plan with another base, and apply the guardrails of REV too (with --require-commit, default: the name given to plan --base)",
    )
    add_approval(parser)
    add_at_once(parser)
    add_format(parser, "text", "json")
    add_shard(parser)
    add_executor(parser, default="threads")
    add_scope(parser)
    add_live(parser)
    add_allowances(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0 done, 3 refused without a change, 4 partially failed."""
    from reconciler.cli.approval import json_output

    context = begin(args)
    with json_output(args):
        return _apply(args, context)


def _apply(args: argparse.Namespace, context: Context) -> int:
    if args.base and not args.plan_files:
        raise UsageError("--base needs a PLANFILE; to plan with a base, use plan --base REV --out FILE")
    if args.require_commit and not args.plan_files:
        raise UsageError("--require-commit needs a PLANFILE: it checks the commit of a saved plan")
    if args.plan_files:
        return _apply_saved(args, context)
    return _apply_fresh(args, context)


def _apply_fresh(args: argparse.Namespace, context: Context) -> int:
    from reconciler.cli.approval import approve_and_run, check_can_prompt, hold_locks
    from reconciler.git.clone import head_commit
    from reconciler.workflow.survey import check_globs, combine_plans

    options = plan_options_of(args)
    project, targets, desired = spec_of(context)
    check_can_prompt(args)
    executor = executor_of(args, context)
    missed: dict[str, AwsError] = {}
    with contextlib.ExitStack() as stack:
        adopt = stack.enter_context(adoptions_of(args, context, project, targets, desired))
        lost = stack.enter_context(hold_locks(args, targets))
        surveys, elsewhere = _read(stack, executor, project, targets, desired, options, adopt, args, missed=missed)
        check_globs(options, desired, surveys, desired_in_other_shards(context, project, options, targets))
        warn(warning for state in desired.values() for warning in state.warnings)
        commit = head_commit(Path(project.root))
        plan = combine_plans(project, surveys, options, git_commit=commit, shards=context.shard)
        return approve_and_run(plan, surveys, project, args, context, lost=lost, elsewhere=elsewhere, missed=missed)


def _apply_saved(args: argparse.Namespace, context: Context) -> int:
    from reconciler.cli.approval import approve_and_run, check_can_prompt, hold_locks
    from reconciler.git.committed import require_committed
    from reconciler.workflow.saved_plans import load_plan, mark_applied, plan_to_run, stale_reasons

    _refuse_plan_options(args)
    saved = [(path, load_plan(path)) for path in (context.directory / name for name in args.plan_files)]
    plan, project, targets = _checked(saved, args, context)
    check_can_prompt(args)
    approved = {target.name: target for target in plan.targets}
    targets = tuple(target for target in targets if target.name in approved)
    desired = desired_of(project, targets)
    if args.require_commit:
        require_committed(project, desired)
    executor = executor_of(args, context)
    missed = {
        one.name: AwsError(f"could not be read by plan: {one.message}", code="NotPlanned")
        for one in plan.failed
        if one.name in project.targets
    }
    with contextlib.ExitStack() as stack:
        lost = stack.enter_context(hold_locks(args, targets))
        adopt = {target.name: {one.address: one.arn for one in target.adopt} for target in plan.targets}
        try:
            surveys, elsewhere = _read(
                stack, executor, project, targets, desired, plan.options, adopt, args, missed=missed, approved=approved
            )
        except AdoptionError as error:
            raise StalePlan.because(map(str, error.problems)) from None
        if elsewhere is None:  # otherwise each worker has compared its target with the saved plan
            if changed := stale_reasons(plan, surveys):
                raise StalePlan.because(changed)
            surveys = tuple(
                survey._replace(plan=plan_to_run(approved[survey.target.name], survey)) for survey in surveys
            )
        files = [(path, [target for target in one.targets if target.name in approved]) for path, one in saved]
        return approve_and_run(
            plan._replace(failed=()),
            surveys,
            project,
            args,
            context,
            lost=lost,
            before_first_call=partial(mark_applied, files),
            elsewhere=elsewhere,
            missed=missed,
        )


def _checked(
    saved: Sequence[tuple[Path, Plan]], args: argparse.Namespace, context: Context
) -> tuple[Plan, Project, tuple[Target, ...]]:
    """Return saved plans as one, with the options of this run, and its project and targets, once it fits them.

    Raises ``StalePlan`` and ``UsageError`` if it does not.
    """
    from reconciler.git.clone import require_current
    from reconciler.git.revision import read_base, with_stricter_guardrails
    from reconciler.workflow.reports import merge_plans
    from reconciler.workflow.saved_plans import check_project, select_targets

    plan = select_targets(merge_plans([(str(path), one) for path, one in saved]), context.targets)
    plan = plan._replace(options=plan.options.allowing(plan_options_of(args)))
    project, targets = project_of(context)
    check_project(plan, project)
    if context.shard:
        plan = _of_shard(plan, targets, context.shard)
    if args.base and plan.base is None:
        raise StalePlan(
            f"plan refused: it records no base to compare with {args.base}; run plan with --base {args.base}"
        )
    if plan.base:
        project = with_stricter_guardrails(project, plan.base)
    if args.require_commit:
        require_current(plan, Path(project.root), args.base)
    if args.base:
        # The file may have been edited, its base included; the command line was not.
        project = with_stricter_guardrails(project, read_base(project, args.base))
    return plan, project, targets


def _read(  # noqa: PLR0913 - a caller names each
    stack: ExitStack,
    executor: Executor,
    project: Project,
    targets: tuple[Target, ...],
    desired: Mapping[str, DesiredState],
    options: PlanOptions,
    adopt: Mapping[str, Mapping[Address, str]],
    args: argparse.Namespace,
    *,
    missed: dict[str, AwsError],
    approved: Mapping[str, TargetPlan] | None = None,
) -> tuple[tuple[Survey, ...], ApplyElsewhere | None]:
    """Return the surveys of the targets that could be read, and what applies their plans, unless this process does.

    ``stack`` keeps connections open, ``missed`` receives the errors of the others. Workers elsewhere compare targets with their ``approved`` plans.
    Raises ``AdoptionError``, ``AwsError`` and ``StalePlan``.
    """
    from reconciler.executors import Threads
    from reconciler.executors.fleet import ApplyElsewhere, read_all, tasks_of
    from reconciler.workflow.progress import reading
    from reconciler.workflow.survey import survey_targets

    with reading(sys.stderr, len(targets)) as progress:
        if not isinstance(executor, Threads):
            tasks = tasks_of(project, targets, desired, options, adopt, approved)
            with_outputs = bool(args.format == "json" or project.outputs)
            surveys = read_all(executor, tasks, project, progress, missed)
            return surveys, ApplyElsewhere(executor, tasks, with_outputs)
        surveys = stack.enter_context(
            survey_targets(
                project,
                targets,
                options,
                desired=desired,
                adopt=adopt,
                progress=progress,
                at_once=args.targets_at_once,
                missed=missed,
            )
        )
        return surveys, None


def _of_shard(plan: Plan, targets: tuple[Target, ...], shard: Shards) -> Plan:
    """Return the plan of those targets of a shard that it has. Raises ``UsageError`` if it has none of them."""
    from reconciler.workflow.saved_plans import only_targets

    found = only_targets(plan, {target.name for target in targets})
    if targets and not (found.targets or found.failed):
        raise UsageError(f"--shard {shard}: the plan has none of its targets; pass the plan of this shard too")
    return found._replace(shards=shard)


def _refuse_plan_options(args: argparse.Namespace) -> None:
    """Raise ``UsageError`` for options that would change what a saved plan does."""
    given = [
        flag
        for flag, value in (
            ("--prune", args.prune),
            ("--adopt", args.adopt),
            ("--adopt-file", args.adopt_file),
            ("--adopt-with-changes", args.adopt_with_changes),
            ("--take-over", args.take_over),
            ("--only", args.only),
            ("--exclude", args.exclude),
            ("--wait-live", args.wait_live),
            ("--stop-live", args.stop_live),
        )
        if value
    ]
    if given:
        raise UsageError(
            f"{' and '.join(given)} cannot change a saved plan; create a new one with plan {' '.join(given)} --out FILE"
        )
