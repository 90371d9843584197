"""``forget``: stops managing resources that the spec no longer has, and leaves them."""

from __future__ import annotations

import argparse
import contextlib
import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from reconciler.cli.options import Subparsers, add_approval, add_at_once, add_format, begin, did_you_mean, spec_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from reconciler.model.address import Address
    from reconciler.model.resource import DesiredState
    from reconciler.plan.plan import TargetPlan
    from reconciler.workflow.survey import Survey


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
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
        help="the address of a managed resource that the spec does not have, such as channel/lobby, or a glob, such as 'channel/pool-*'",
    )
    add_approval(parser)
    add_at_once(parser)
    add_format(parser, "text", "json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0 done, 3 refused without a change, 4 partially failed."""
    from reconciler.cli import approval

    with approval.json_output(args):
        return _forget(args)


def _forget(args: argparse.Namespace) -> int:
    from dataclasses import replace
    from pathlib import Path

    from reconciler.cli import approval
    from reconciler.git.clone import head_commit
    from reconciler.plan.plan import PlanOptions
    from reconciler.workflow.progress import reading
    from reconciler.workflow.survey import combine_plans, survey_targets

    context = begin(args)
    project, targets, desired = spec_of(context)
    exact, globs = _words(args.addresses)
    approval.check_can_prompt(args)
    options = PlanOptions()
    with contextlib.ExitStack() as stack:
        lost = stack.enter_context(approval.hold_locks(args, targets, "forget"))

        def survey(forget: Mapping[str, frozenset[Address]]) -> tuple[Survey, ...]:
            states = {
                name: replace(state, forget=state.forget | forget[name] - _in_spec(state))
                for name, state in desired.items()
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
                    )
                )

        surveys = survey(dict.fromkeys(desired, exact))
        chosen = {one.target.name: _chosen(one, exact, globs) for one in surveys}
        _check(exact, globs, surveys, chosen)
        if globs:
            surveys = survey(chosen)  # again, with the stream keys of these channels
        surveys = tuple(
            replace(one, plan=_forgotten_only(one.plan, chosen[one.target.name]))
            for one in surveys
            if chosen[one.target.name]
        )
        plan = combine_plans(project, surveys, options, git_commit=head_commit(Path(project.root)))
        return approval.approve_and_run(plan, surveys, project, args, context, lost=lost)


def _words(words: Sequence[str]) -> tuple[frozenset[Address], tuple[str, ...]]:
    """Return the addresses and the globs among these words. Raises ``UsageError``."""
    from reconciler.errors import UsageError
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


def _managed(survey: Survey) -> set[Address]:
    """Return the addresses that can be forgotten in a target: its managed resources that the spec does not have."""
    from reconciler.workflow.history import live_addresses

    return live_addresses(survey.live, survey.desired.stack) - _in_spec(survey.desired)


def _chosen(survey: Survey, exact: frozenset[Address], globs: tuple[str, ...]) -> frozenset[Address]:
    managed = _managed(survey)
    matching = {address for address in managed for glob in globs if fnmatchcase(str(address), glob)}
    return frozenset(matching | (exact & managed))


def _check(
    exact: frozenset[Address],
    globs: tuple[str, ...],
    surveys: tuple[Survey, ...],
    chosen: Mapping[str, frozenset[Address]],
) -> None:
    """Raise ``PlanRefused`` for what the spec still has, and ``UsageError`` for what is not managed."""
    from reconciler.errors import PlanRefused, UsageError

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
            unknown.append(f"{word}: {_why_unknown(word, surveys)}")
    if unknown:
        raise UsageError("\n".join([*unknown, *refused]))
    if refused:
        raise PlanRefused("\n".join([*refused, "Nothing was changed."]))


def _matches(word: str, addresses: Iterable[Address]) -> bool:
    return any(fnmatchcase(str(address), word) for address in addresses)


def _why_unknown(word: str, surveys: tuple[Survey, ...]) -> str:
    unread = list(_unread(word, surveys))
    if unread:
        return f"unknown whether it is managed: {'; '.join(unread)}"
    known = sorted(str(address) for one in surveys for address in _managed(one))
    near = did_you_mean(word, known) or "; drift lists what is orphaned"
    return f"no resource of this stack has this address{near}"


def _unread(word: str, surveys: tuple[Survey, ...]) -> Iterator[str]:
    from reconciler.model.kinds import KINDS

    for one in surveys:
        for kind, why in one.live.unreadable.items():
            if fnmatchcase(f"{kind.value}/", word.partition("/")[0] + "/"):
                yield f"{KINDS[kind].titles} of {one.target.name} could not be read ({why})"


def _forgotten_only(plan: TargetPlan, addresses: frozenset[Address]) -> TargetPlan:
    """Return the part of a plan that forgets these resources, and the stream keys of these channels. Other actions that are due are counted."""
    from dataclasses import replace

    from reconciler.model.kinds import parent_of
    from reconciler.plan.plan import Verb

    actions = tuple(
        action
        for action in plan.actions
        if action.verb is Verb.FORGET and not addresses.isdisjoint((action.address, parent_of(action.address)))
    )
    left = len(plan.actions) - len(actions)
    notes = (f"{left:,} other {'action is' if left == 1 else 'actions are'} due; run plan for them",) if left else ()
    return replace(
        plan,
        actions=actions,
        summary=replace(plan.summary.counting(actions), orphaned=0),
        orphans=(),
        duplicates=(),
        kept=(),
        quotas=(),
        live_channels=(),
        notes=notes,
    )
