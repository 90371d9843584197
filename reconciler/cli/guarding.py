"""Guardrails at the command line: which refusals stand after this run's acknowledgements."""

from __future__ import annotations

import argparse

from reconciler.model.target import Guardrails
from reconciler.plan.actions import Plan, TargetPlan
from reconciler.plan.guard import Allowances, check


def refusals(plan: Plan, guardrails: Guardrails, args: argparse.Namespace) -> list[str]:
    """Return the guardrails' refusals of every target, each with its counts, its limit and the way to proceed."""
    return [f"plan refused: {target.name}: {message}" for target in plan.targets for message in refusals_of(target, guardrails, args)]


def refusals_of(target: TargetPlan, guardrails: Guardrails, args: argparse.Namespace) -> tuple[str, ...]:
    """Return the guardrails' refusals of one target."""
    return tuple(check(target, guardrails, Allowances(deletes=args.allow_deletes, updates=args.allow_updates, empty=args.allow_empty)))
