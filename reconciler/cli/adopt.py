"""``adopt``: adopts unowned live resources by ARN, and changes nothing else."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING

from reconciler.cli.options import Subparsers, add_adopting, add_approval, add_format, begin, spec_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.errors import Problem
    from reconciler.model.address import Address
    from reconciler.model.resource import DesiredState
    from reconciler.model.target import Target
    from reconciler.plan.plan import TargetPlan


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "adopt",
        parents=[common],
        help="adopt live resources by ARN, and change nothing else",
        description="Tag unowned live resources as those of addresses of the spec. Shows what would change, asks for approval, and changes nothing else. "
        "For many resources, see plan --adopt-file.",
    )
    parser.add_argument(
        "pairs",
        metavar="ADDRESS ARN",
        nargs="+",
        help="an address of the spec, such as channel/main-stage, and the ARN of its live resource; repeatable",
    )
    add_adopting(parser)
    add_approval(parser)
    add_format(parser, "text", "json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0 done, 3 refused without a change, 4 partially failed."""
    from reconciler.cli import approval

    with approval.json_output(args):
        return _adopt(args)


def _adopt(args: argparse.Namespace) -> int:
    from dataclasses import replace
    from pathlib import Path

    from reconciler.cli import approval
    from reconciler.errors import ExitCode
    from reconciler.git.clone import head_commit
    from reconciler.plan.plan import PlanOptions
    from reconciler.terminal import write_fitted
    from reconciler.workflow.progress import reading
    from reconciler.workflow.survey import combine_plans, survey_targets

    context = begin(args)
    project, targets, desired = spec_of(context)
    adopt = _pairs(args.pairs)
    target = _target_of(adopt, targets, desired)
    approval.check_can_prompt(args)
    options = PlanOptions(adopt_with_changes=args.adopt_with_changes, take_over=tuple(args.take_over))
    with contextlib.ExitStack() as stack:
        lost = stack.enter_context(approval.hold_locks(args, (target,), "adopt"))
        with reading(sys.stderr) as progress:
            (survey,) = stack.enter_context(
                survey_targets(
                    project, (target,), options, desired=desired, adopt={target.name: adopt}, progress=progress
                )
            )
        survey = replace(survey, plan=_adoptions_only(survey.plan, adopt))
        plan = combine_plans(project, (survey,), options, git_commit=head_commit(Path(project.root)))
        if not survey.plan.actions and args.format == "text":
            said = "".join(f"{address} is managed by this stack already.\n" for address in adopt)
            write_fitted(said, sys.stdout)
            return ExitCode.OK
        return approval.approve_and_run(plan, (survey,), project, args, context, lost=lost)


def _pairs(words: list[str]) -> dict[Address, str]:
    """Return the ARNs by address. Raises ``AdoptionError`` with all problems."""
    from reconciler.errors import AdoptionError, Problem, UsageError
    from reconciler.model.address import Address

    if len(words) % 2:
        raise UsageError(f"{words[-1]} has no ARN; write pairs: ADDRESS ARN, such as channel/main-stage arn:aws:ivs:…")
    found: dict[Address, str] = {}
    problems: list[Problem] = []
    for word, arn in zip(words[::2], words[1::2], strict=True):
        try:
            address = Address.parse(word)
        except ValueError as error:
            problems.append(Problem("", "", str(error)))
            continue
        if address in found:
            problems.append(Problem("", word, "given twice", "give one ARN for it"))
        found[address] = arn
    if problems:
        raise AdoptionError(tuple(problems))
    return found


def _target_of(
    adopt: Mapping[Address, str], targets: tuple[Target, ...], desired: Mapping[str, DesiredState]
) -> Target:
    """Return the target that has these addresses, and the region and account of their ARNs. Raises ``AdoptionError`` and ``UsageError``."""
    from reconciler.errors import AdoptionError, UsageError

    problems = {target.name: _problems(adopt, target, desired[target.name]) for target in targets}
    fitting = [target for target in targets if not problems[target.name]]
    if not fitting:
        raise AdoptionError(tuple(problem for found in problems.values() for problem in found))
    if len(fitting) > 1:
        names = ", ".join(target.name for target in fitting)
        raise UsageError(f"the ARNs can be of several targets ({names}); select one with -t")
    return fitting[0]


def _problems(adopt: Mapping[Address, str], target: Target, desired: DesiredState) -> list[Problem]:
    from reconciler.errors import Problem
    from reconciler.spec.adopt_file import faults_of

    return [
        Problem(target.name, str(address), fault.what, fault.hint)
        for address, arn in adopt.items()
        for fault in faults_of(address, arn, target, desired, desired.resources)
    ]


def _adoptions_only(plan: TargetPlan, adopt: Mapping[Address, str]) -> TargetPlan:
    """Return the part of a plan that adopts these resources, and the stream keys of these channels. Other actions that are due are counted."""
    from dataclasses import replace

    from reconciler.model.kinds import parent_of
    from reconciler.plan.order import blocked_verdicts, with_verdicts
    from reconciler.plan.plan import Verb

    left = {
        index: "is not part of this adoption: apply it first"
        for index, action in enumerate(plan.actions)
        if not (parent_of(action.address) in adopt and (action.verb is Verb.ADOPT or action.blocked))
    }
    actions = with_verdicts(plan.actions, blocked_verdicts(plan.actions, {}, left), left)
    count = len(left)
    notes = (f"{count:,} other {'action is' if count == 1 else 'actions are'} due; run plan for them",) if left else ()
    return replace(
        plan,
        actions=actions,
        summary=plan.summary.counting(actions),
        orphans=(),
        duplicates=(),
        kept=(),
        quotas=(),
        live_channels=tuple(one for one in plan.live_channels if one.address in adopt),
        notes=notes,
    )
