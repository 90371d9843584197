"""Guardrails at the command line: which refusals stand after this run's acknowledgements."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from reconciler.model.address import Address
from reconciler.model.target import Guardrails
from reconciler.plan.actions import Plan, TargetPlan
from reconciler.plan.guard import Allowances, check


def refusals(
    plan: Plan, guardrails: Guardrails, args: argparse.Namespace, remembered: Mapping[str, frozenset[Address]]
) -> list[str]:
    """Return the guardrails' refusals of every target, each with its counts, its limit and the way to proceed.

    ``remembered`` are, by target, the addresses that stood there after the last apply.
    """
    return [
        f"plan refused: {target.name}: {message}"
        for target in plan.targets
        for message in refusals_of(target, guardrails, args, remembered.get(target.name, frozenset()))
    ]


def refusals_of(
    target: TargetPlan, guardrails: Guardrails, args: argparse.Namespace, remembered: frozenset[Address]
) -> tuple[str, ...]:
    """Return the guardrails' refusals of one target."""
    allow = Allowances(
        deletes=args.allow_deletes, updates=args.allow_updates, empty=args.allow_empty, believe_empty=args.believe_empty
    )
    return check(target, guardrails, allow, remembered)
