"""``adopt`` adopts unowned live resources by ARN, ``forget`` stops managing resources that the spec no longer has. Both change tags alone."""

from __future__ import annotations

import argparse
import contextlib
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.options import (
    Subparsers,
    add_adopting,
    add_approval,
    add_at_once,
    add_format,
    begin,
    did_you_mean,
    spec_of,
)
from reconciler.errors import AdoptionError, AwsError, ExitCode, PlanRefused, Problem, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from reconciler.model.address import Address
    from reconciler.model.resource import DesiredState
    from reconciler.model.target import Target
    from reconciler.plan.plan import TargetPlan
    from reconciler.workflow.survey import Survey


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "adopt",
        parents=[common],
        help="adopt live resources by ARN, and change nothing else",
        description="Write the owner tags of live resources, given by ARN, and change nothing else. Shows the plan and asks for approval. "
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
    from reconciler.cli import approval
    from reconciler.git.clone import head_commit
    from reconciler.plan.plan import PlanOptions
    from reconciler.terminal import write_fitted
    from reconciler.workflow.progress import reading
    from reconciler.workflow.survey import combine_plans, survey_targets

    context = begin(args)
    project, targets, desired = spec_of(context)
    adopt = _address_arn_pairs(args.pairs)
    target = _target_to_adopt(adopt, targets, desired)
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
        survey = survey._replace(plan=_adoptions_only(survey.plan, adopt))
        plan = combine_plans(project, (survey,), options, git_commit=head_commit(Path(project.root)))
        if not survey.plan.actions and args.format == "text":
            said = "".join(f"{address} is managed by this stack already.\n" for address in adopt)
            write_fitted(said, sys.stdout)
            return ExitCode.OK
        return approval.approve_and_run(plan, (survey,), project, args, context, lost=lost)


def _address_arn_pairs(words: list[str]) -> dict[Address, str]:
    """Return the ARNs by address. Raises ``AdoptionError`` with all problems."""
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


def _target_to_adopt(
    adopt: Mapping[Address, str], targets: tuple[Target, ...], desired: Mapping[str, DesiredState]
) -> Target:
    """Return the target that has these addresses, and the region and account of their ARNs. Raises ``AdoptionError`` and ``UsageError``."""
    problems = {target.name: _adopt_problems(adopt, target, desired[target.name]) for target in targets}
    fitting = [target for target in targets if not problems[target.name]]
    if not fitting:
        # An ARN is of one account and region: the other targets' problems say only that.
        fewest = min(map(len, problems.values()))
        raise AdoptionError(tuple(problem for found in problems.values() if len(found) == fewest for problem in found))
    if len(fitting) > 1:
        names = ", ".join(target.name for target in fitting)
        raise UsageError(f"the ARNs can be of several targets ({names}); select one with -t")
    return fitting[0]


def _adopt_problems(adopt: Mapping[Address, str], target: Target, desired: DesiredState) -> list[Problem]:
    from reconciler.spec.adopt_file import faults_of

    return [
        Problem(target.name, str(address), fault.what, fault.hint)
        for address, arn in adopt.items()
        for fault in faults_of(address, arn, target, desired, desired.resources)
    ]


def _adoptions_only(plan: TargetPlan, adopt: Mapping[Address, str]) -> TargetPlan:
    """Return the part of a plan that adopts these resources, and the stream keys of these channels. Other actions that are due are counted."""
    from reconciler.model.kinds import parent_of
    from reconciler.plan.order import blocked_verdicts, with_verdicts
    from reconciler.plan.plan import Verb
    from reconciler.plan.selection import part_of

    left = {
        index: "is not part of this adoption: apply it first"
        for index, action in enumerate(plan.actions)
        if not (parent_of(action.address) in adopt and (action.verb is Verb.ADOPT or action.blocked))
    }
    actions = with_verdicts(plan.actions, blocked_verdicts(plan.actions, {}, left), left)
    return part_of(plan, actions, len(left), "plan")._replace(
        quotas=(), live_channels=tuple(one for one in plan.live_channels if one.address in adopt)
    )


def add_forget(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "forget",
        parents=[common],
        help="stop managing resources, and leave them",
        description="Remove the owner tags of resources that are no longer in the spec, and change nothing else: they stay, and become unmanaged. "
        "A channel's stream key is forgotten with it. Shows what would change and asks for approval. To have it reviewed, write forget: into a spec file.",
    )
    parser.add_argument(
        "addresses",
        metavar="ADDRESS",
        nargs="+",
        help="the address of a managed resource that is not in the spec, such as channel/lobby, or a glob, such as 'channel/pool-*'",
    )
    add_approval(parser)
    add_at_once(parser)
    add_format(parser, "text", "json")
    parser.set_defaults(run=run_forget)


def run_forget(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0 done, 3 refused without a change, 4 partially failed."""
    from reconciler.cli import approval

    with approval.json_output(args):
        return _forget(args)


def _forget(args: argparse.Namespace) -> int:
    from reconciler.cli import approval
    from reconciler.git.clone import head_commit
    from reconciler.plan.plan import PlanOptions
    from reconciler.workflow.progress import reading
    from reconciler.workflow.survey import combine_plans, survey_targets

    context = begin(args)
    project, targets, desired = spec_of(context)
    exact, globs = _addresses_and_globs(args.addresses)
    approval.check_can_prompt(args)
    options = PlanOptions()
    missed: dict[str, AwsError] = {}
    with contextlib.ExitStack() as stack:
        lost = stack.enter_context(approval.hold_locks(args, targets, "forget"))

        def survey(targets: tuple[Target, ...], forget: Mapping[str, frozenset[Address]]) -> tuple[Survey, ...]:
            states = {
                name: desired[name]._replace(forget=desired[name].forget | addresses - _in_spec(desired[name]))
                for name, addresses in forget.items()
            }
            with reading(sys.stderr, len(targets)) as progress:
                return stack.enter_context(
                    survey_targets(
                        project,
                        targets,
                        options,
                        desired=states,
                        progress=progress,
                        every_kind=True,
                        at_once=args.targets_at_once,
                        missed=missed,
                    )
                )

        surveys = survey(targets, dict.fromkeys(desired, exact))
        chosen = {one.target.name: _chosen(one, exact, globs) for one in surveys}
        _check_forgettable(exact, globs, surveys, chosen, missed)
        if globs:  # again, with the stream keys of these channels
            surveys = survey(tuple(one.target for one in surveys), chosen)
        surveys = tuple(
            one._replace(plan=_forgotten_only(one.plan, chosen[one.target.name]))
            for one in surveys
            if chosen[one.target.name]
        )
        plan = combine_plans(project, surveys, options, git_commit=head_commit(Path(project.root)))
        return approval.approve_and_run(plan, surveys, project, args, context, lost=lost, missed=missed)


def _addresses_and_globs(words: Sequence[str]) -> tuple[frozenset[Address], tuple[str, ...]]:
    """Return the addresses and the globs among these words. Raises ``UsageError``."""
    from reconciler.model.address import Address

    exact: set[Address] = set()
    globs: list[str] = []
    problems: list[str] = []
    for word in words:
        if any(sign in word for sign in "*?["):
            globs.append(word)
            continue
        try:
            exact.add(Address.parse(word))
        except ValueError as error:
            problems.append(f"{error}; or a glob, such as 'channel/pool-*'")
    if problems:
        raise UsageError("\n".join(problems))
    return frozenset(exact), tuple(globs)


def _in_spec(state: DesiredState) -> frozenset[Address]:
    """Return the addresses that a spec has, under their former ids too."""
    return frozenset(state.resources) | frozenset(state.moved)


def _forgettable(survey: Survey) -> set[Address]:
    """Return the addresses that can be forgotten in a target: its managed resources that the spec does not have."""
    from reconciler.workflow.history import live_addresses

    return live_addresses(survey.live, survey.desired.stack) - _in_spec(survey.desired)


def _chosen(survey: Survey, exact: frozenset[Address], globs: tuple[str, ...]) -> frozenset[Address]:
    from reconciler.plan.selection import matches_any

    managed = _forgettable(survey)
    matching = {address for address in managed if matches_any(address, globs)}
    return frozenset(matching | (exact & managed))


def _check_forgettable(
    exact: frozenset[Address],
    globs: tuple[str, ...],
    surveys: tuple[Survey, ...],
    chosen: Mapping[str, frozenset[Address]],
    missed: Mapping[str, AwsError],
) -> None:
    """Raise ``PlanRefused`` for what the spec still has, and ``UsageError`` for what is not managed in a target that could be read."""
    found = {address for addresses in chosen.values() for address in addresses}
    refused, unknown = [], []
    for word in (*sorted(map(str, exact)), *globs):
        if _matches(word, found):
            continue
        still = next((one for one in surveys if _matches(word, _in_spec(one.desired))), None)
        if still is not None:
            where = f"the spec of target {still.target.name}"
            moved = _matches(word, still.desired.moved)
            refused.append(
                f"{word}: is moved in {where}; remove that line first"
                if moved
                else f"{word}: is in {where}, so the next plan would manage it again; remove it from the spec first"
            )
        else:
            unknown.append(f"{word}: {_why_unknown(word, surveys, missed)}")
    if unknown:
        raise UsageError("\n".join([*unknown, *refused]))
    if refused:
        raise PlanRefused("\n".join([*refused, "Nothing was changed."]))


def _matches(word: str, addresses: Iterable[Address]) -> bool:
    return any(fnmatchcase(str(address), word) for address in addresses)


def _why_unknown(word: str, surveys: tuple[Survey, ...], missed: Mapping[str, AwsError]) -> str:
    unread = [*_unread_kinds(word, surveys), *(f"{name} could not be read ({why})" for name, why in missed.items())]
    if unread:
        return f"unknown whether it is managed: {'; '.join(unread)}"
    known = sorted(str(address) for one in surveys for address in _forgettable(one))
    near = did_you_mean(word, known) or "; drift lists what is orphaned"
    return f"no resource of this stack has this address{near}"


def _unread_kinds(word: str, surveys: tuple[Survey, ...]) -> Iterator[str]:
    from reconciler.model.kinds import KINDS

    for one in surveys:
        for kind, why in one.live.unreadable.items():
            if fnmatchcase(f"{kind.value}/", word.partition("/")[0] + "/"):
                yield f"{KINDS[kind].titles} of {one.target.name} could not be read ({why})"


def _forgotten_only(plan: TargetPlan, addresses: frozenset[Address]) -> TargetPlan:
    """Return the part of a plan that forgets these resources, and the stream keys of these channels. Other actions that are due are counted."""
    from reconciler.model.kinds import parent_of
    from reconciler.plan.plan import Verb
    from reconciler.plan.selection import part_of

    actions = tuple(
        action
        for action in plan.actions
        if action.verb is Verb.FORGET and not addresses.isdisjoint((action.address, parent_of(action.address)))
    )
    part = part_of(plan, actions, len(plan.actions) - len(actions), "plan")
    return part._replace(summary=part.summary._replace(orphaned=0), quotas=(), live_channels=())
