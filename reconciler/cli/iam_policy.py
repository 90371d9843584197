"""``iam-policy``: prints the least-privilege IAM policy for planning or applying this spec."""

from __future__ import annotations

import argparse
import sys

from reconciler.cli.options import Subparsers, begin, spec_of
from reconciler.errors import ExitCode


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
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
        from reconciler.terminal import write_fitted

        write_fitted(
            "note: for a target without accountId the policy allows any account it is attached in; add accountId to narrow it\n",
            sys.stderr,
        )
    return ExitCode.OK
