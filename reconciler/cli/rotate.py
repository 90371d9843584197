"""``rotate``: makes stream keys anew now, whatever their label says, and hands their values over."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING

from reconciler.cli.options import Subparsers, add_format, add_patience, context_of, no_allowances, project_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from reconciler.model.address import Address
    from reconciler.model.resource import DesiredState
    from reconciler.model.target import Sink
    from reconciler.plan.plan import Action, TargetPlan


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "rotate",
        parents=[common],
        help="make stream keys anew, and hand their values over",
        description="Delete and create stream keys, whatever label the spec asks for, and hand each new value over to the sink that the spec names. "
        "A rotation that was interrupted is brought to its end; no second key is made.",
    )
    parser.add_argument("what", choices=("stream-key",), metavar="stream-key", help="what is made anew")
    parser.add_argument(
        "addresses", metavar="ADDRESS", nargs="+", help="a stream key, such as stream-key/main-stage, or its channel"
    )
    parser.add_argument(
        "--to-file",
        metavar="PATH",
        help="write the value of one key into this file too, which must not be there yet (mode 0600)",
    )
    parser.add_argument(
        "--even-live",
        action="store_true",
        help="also while the channel is on air: the broadcast goes on, but cannot be resumed with the old key",
    )
    parser.add_argument("--auto-approve", action="store_true", help="do not ask")
    add_patience(parser)
    add_format(parser, "text", "json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb: 0 done, 3 refused before anything was changed, 4 incomplete."""
    from reconciler.cli import apply

    # What a rotation has in common with an apply, it does as an apply that was acknowledged nothing.
    with apply.told(args):
        return _rotate(argparse.Namespace(**{**no_allowances(), **vars(args)}))


def _rotate(args: argparse.Namespace) -> int:
    from dataclasses import replace
    from pathlib import Path

    from reconciler.cli import apply
    from reconciler.cli.progress import reading
    from reconciler.errors import UsageError
    from reconciler.git.git import head_commit
    from reconciler.logs import configure
    from reconciler.plan.decision import Rotate
    from reconciler.plan.plan import PlanOptions
    from reconciler.workflow.load import load_desired_states
    from reconciler.workflow.survey import surveyed, whole_plan

    context = context_of(args)
    configure(context.log_format, context.verbosity)
    project, targets = project_of(context)
    desired = load_desired_states(project, targets)
    addresses = _addresses(args.addresses)
    targets = tuple(target for target in targets if _known(addresses, desired[target.name]))
    if not targets:
        raise UsageError(_unknown(addresses, desired))
    file = None
    if args.to_file is not None:
        if len(addresses) > 1 or len(targets) > 1:
            raise UsageError("--to-file takes the value of one key; name one ADDRESS, and one target with -t")
        file = _file(context.directory / args.to_file)
    apply.must_be_able_to_ask(args)
    rotate = Rotate(frozenset(addresses), file, args.even_live)
    with contextlib.ExitStack() as stack:
        lost = stack.enter_context(apply.locked(args, targets, "rotate"))
        with reading(sys.stderr) as progress:
            surveys = stack.enter_context(
                surveyed(project, targets, PlanOptions(), desired=desired, progress=progress, rotate=rotate)
            )
        surveys = tuple(replace(survey, plan=_alone(survey.plan, rotate.addresses)) for survey in surveys)
        plan = whole_plan(project, surveys, PlanOptions(), git_commit=head_commit(Path(project.root)))
        return apply.show_ask_run(
            plan, [(survey.plan, survey) for survey in surveys], project, args, context, lost=lost
        )


def _addresses(words: list[str]) -> tuple[Address, ...]:
    """Read the addresses; a channel stands for its key. Raises ``UsageError``."""
    from reconciler.errors import UsageError
    from reconciler.model.address import Address, KindName

    found: dict[Address, None] = {}
    for word in words:
        try:
            address = Address.parse(word)
        except ValueError as error:
            raise UsageError(str(error)) from None
        if address.kind not in (KindName.STREAM_KEY, KindName.CHANNEL):
            raise UsageError(f"{address} is no stream key; write stream-key/<id of the channel>")
        found[Address(KindName.STREAM_KEY, address.id)] = None
    return tuple(found)


def _known(addresses: tuple[Address, ...], desired: DesiredState) -> bool:
    """Whether one target's spec has all of these keys."""
    return all(address in desired.resources for address in addresses)


def _unknown(addresses: tuple[Address, ...], desired: Mapping[str, DesiredState]) -> str:
    from reconciler.model.address import Address, KindName

    known = set().union(*(state.resources for state in desired.values()))
    for address in addresses:
        channel = Address(KindName.CHANNEL, address.id)
        if address not in known and channel in known:
            return f"{address}: the spec has {channel} and says nothing of its stream key; add streamKey: {{}} to it and apply that first"
        if address not in known:
            return f"{address}: the spec has no {channel}; name the id of a channel in the spec"
    return f"no target has all of {', '.join(map(str, addresses))}; name the keys of one target, and the target with -t"


def _alone(plan: TargetPlan, addresses: frozenset[Address]) -> TargetPlan:
    """Return the part of a plan that a rotation carries out: those keys, and nothing that happens to be due beside them. Raises ``UsageError``."""
    from dataclasses import replace

    from reconciler.errors import UsageError

    actions = tuple(_advised(action) for action in plan.actions if action.address in addresses)
    own = {step.id for action in actions for step in action.steps}
    for action in actions:
        if any(needed not in own for step in action.steps for needed in step.after):
            raise UsageError(f"{action.address}: its channel is not there yet, or about to be replaced; apply first")
    left = len(plan.actions) - len(actions)
    notes = (
        (f"{left:,} other {'action is' if left == 1 else 'actions are'} due too; apply carries them out",)
        if left
        else ()
    )
    return replace(
        plan, actions=actions, summary=plan.summary.counting(actions), orphans=(), duplicates=(), notes=notes
    )


def _advised(action: Action) -> Action:
    """Return an action that a broadcast stands in the way of with the way around it."""
    from dataclasses import replace

    if action.blocked is None or action.blocked.code != "live":
        return action
    return replace(
        action,
        blocked=replace(
            action.blocked,
            message=f"{action.blocked.message}; or add --even-live: the broadcast goes on, with a key that is gone",
        ),
    )


def _file(path: Path) -> Sink:
    """Judge where a value is to be written before any key is touched. Raises ``UsageError``."""
    from reconciler.errors import UsageError
    from reconciler.git.git import ignores, work_tree_of
    from reconciler.model.target import Sink, Store

    path = path.absolute()
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path}: is there already, and is not written over; name another file for --to-file")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such folder; make it, or name another file for --to-file")
    tree = work_tree_of(path.parent)
    if tree is not None and not ignores(tree, path):
        raise UsageError(
            f"{path}: lies in the git work tree {tree}, which does not ignore it, so that it might be committed; name a file outside of it"
        )
    return Sink(Store.FILE, str(path))
