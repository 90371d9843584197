"""``rotate``: rotates stream keys now, with any label, and publishes the new values."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.options import Subparsers, add_approval, add_at_once, add_format, begin, did_you_mean, spec_of
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.model.address import Address
    from reconciler.model.resource import DesiredState
    from reconciler.model.target import Sink, SinkValue
    from reconciler.plan.plan import Action, TargetPlan


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "rotate",
        parents=[common],
        help="rotate stream keys and publish the new values",
        description="Rotate stream keys, regardless of their rotation label: delete each, create a new one, and publish its value to the sink in the spec. "
        "An interrupted rotation is completed; no second key is created.",
    )
    parser.add_argument("what", choices=("stream-key",), metavar="stream-key", help="what to rotate")
    parser.add_argument(
        "addresses", metavar="ADDRESS", nargs="+", help="a stream key, such as stream-key/main-stage, or its channel"
    )
    parser.add_argument(
        "--to-file", metavar="PATH", help="also write the value of one key to this new file (mode 0600)"
    )
    parser.add_argument(
        "--value",
        choices=["key", "json"],
        help="what --to-file writes: the value (key), or an object with the ingest URL and the value (json) (default: key)",
    )
    parser.add_argument(
        "--even-live",
        action="store_true",
        help="rotate even if the channel is live: the broadcast continues, but cannot reconnect with the old key",
    )
    add_approval(parser)
    add_at_once(parser)
    add_format(parser, "text", "json")
    # A rotation is an apply without guardrail overrides.
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0 done, 3 refused without a change, 4 partially failed."""
    from reconciler.cli import approval

    with approval.json_output(args):
        return _rotate(args)


def _rotate(args: argparse.Namespace) -> int:
    from reconciler.cli import approval
    from reconciler.git.clone import head_commit
    from reconciler.plan.decision import Rotate
    from reconciler.plan.plan import PlanOptions
    from reconciler.workflow.progress import reading
    from reconciler.workflow.survey import combine_plans, survey_targets

    context = begin(args)
    project, targets, desired = spec_of(context)
    addresses = _addresses(args.addresses)
    targets = tuple(target for target in targets if _known(addresses, desired[target.name]))
    if not targets:
        raise UsageError(_unknown(addresses, desired))
    file = None
    if args.to_file is not None:
        if len(addresses) > 1 or len(targets) > 1:
            raise UsageError("--to-file takes one key: give one ADDRESS, and one target with -t")
        from reconciler.model.target import SinkValue

        file = _file(context.directory / args.to_file, SinkValue(args.value or SinkValue.KEY))
    elif args.value is not None:
        raise UsageError("--value needs --to-file PATH; for a store, set value in its sink in the spec")
    approval.check_can_prompt(args)
    rotate = Rotate(frozenset(addresses), file, args.even_live)
    with contextlib.ExitStack() as stack:
        lost = stack.enter_context(approval.hold_locks(args, targets, "rotate"))
        with reading(sys.stderr, len(targets)) as progress:
            surveys = stack.enter_context(
                survey_targets(
                    project,
                    targets,
                    PlanOptions(),
                    desired=desired,
                    progress=progress,
                    rotate=rotate,
                    at_once=args.targets_at_once,
                )
            )
        surveys = tuple(survey._replace(plan=_rotations_only(survey.plan, rotate.addresses)) for survey in surveys)
        plan = combine_plans(project, surveys, PlanOptions(), git_commit=head_commit(Path(project.root)))
        return approval.approve_and_run(plan, surveys, project, args, context, lost=lost)


def _addresses(words: list[str]) -> tuple[Address, ...]:
    """Return stream key addresses; a channel means its key. Raises ``UsageError``."""
    from reconciler.model.address import Address, KindName

    found: dict[Address, None] = {}
    for word in words:
        try:
            address = Address.parse(word)
        except ValueError as error:
            raise UsageError(str(error)) from None
        if address.kind not in (KindName.STREAM_KEY, KindName.CHANNEL):
            raise UsageError(f"{address} is not a stream key; use stream-key/<id of the channel>")
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
            return f"{address}: {channel} has no streamKey in the spec; add streamKey: {{}} and apply first"
        if address not in known:
            near = did_you_mean(str(channel), sorted(str(one) for one in known if one.kind is KindName.CHANNEL))
            return f"{address}: the spec has no {channel}{near or '; use the id of a channel in the spec'}"
    return f"no target has all of {', '.join(map(str, addresses))}; give the keys of one target, and the target with -t"


def _rotations_only(plan: TargetPlan, addresses: frozenset[Address]) -> TargetPlan:
    """Return the part of a plan that rotates these keys, without other actions that are due. Raises ``UsageError``."""
    from reconciler.plan.selection import part_of

    actions = tuple(_with_hint(action) for action in plan.actions if action.address in addresses)
    own = {step.id for action in actions for step in action.steps}
    for action in actions:
        if any(needed not in own for step in action.steps for needed in step.after):
            raise UsageError(f"{action.address}: its channel is not created yet, or will be replaced; apply first")
    return part_of(plan, actions, len(plan.actions) - len(actions), "apply")


def _with_hint(action: Action) -> Action:
    """Return an action blocked by a broadcast with a hint to ``--even-live``."""
    if action.blocked is None or action.blocked.code != "live":
        return action
    return action._replace(
        blocked=action.blocked._replace(
            message=f"{action.blocked.message}; or add --even-live: the broadcast continues, with a deleted key"
        )
    )


def _file(path: Path, value: SinkValue) -> Sink:
    """Return the sink for ``--to-file``. Raises ``UsageError`` before any key is changed."""
    from reconciler.git.clone import is_ignored, work_tree_of
    from reconciler.model.target import Sink, Store

    path = path.absolute()
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path}: already exists and is not overwritten; choose another file for --to-file")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such directory; create it, or choose another file for --to-file")
    tree = work_tree_of(path.parent)
    if tree is not None and not is_ignored(tree, path):
        raise UsageError(
            f"{path}: is in the git work tree {tree} and not ignored, so it could be committed; choose a file outside"
        )
    return Sink(Store.FILE, str(path), value=value)
