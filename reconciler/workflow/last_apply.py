"""What the last apply of a target left: the addresses that are expected to exist, and where an apply ended that did not finish."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from reconciler.model.address import Address
from reconciler.model.kinds import CHILD_KINDS, KINDS, child_of, parent_of
from reconciler.model.target import Project
from reconciler.plan.plan import Verb
from reconciler.workflow.history import record_problem, recorded_addresses
from reconciler.workflow.journal import last_run
from reconciler.workflow.records import records_of
from reconciler.workflow.survey import Survey

_MAX_CALLS = 8
"""Calls of an unfinished apply that are listed."""


def last_applies(project: Project, surveys: Iterable[Survey]) -> tuple[dict[str, frozenset[Address]], tuple[str, ...]]:
    """Return by target the addresses that the last apply left, and where an apply ended that did not finish."""
    expected: dict[str, frozenset[Address]] = {}
    notes: list[str] = []
    for survey in surveys:
        expected[survey.target.name] = expected_addresses(project, survey)
        notes += unfinished_apply_notes(project, survey)
    return expected, tuple(notes)


def expected_addresses(project: Project, survey: Survey) -> frozenset[Address]:
    """Return the addresses that existed after the last apply, including one that did not finish.

    They are compared with what a plan would create. If it creates nothing, none are returned: the record of 5,000 channels takes 30 ms to read.
    """
    if not any(action.verb is Verb.CREATE for action in survey.plan.actions):
        return frozenset()
    root = Path(project.root)
    found = recorded_addresses(records_of(project), project.stack, survey.target.name, survey.live) or frozenset()
    last = last_run(root, survey.target.name)
    if last is None or last.ended or last.account not in ("", survey.live.account_id):
        return found
    return (found | last.created) - last.deleted


def unfinished_apply_notes(project: Project, survey: Survey) -> tuple[str, ...]:
    """Return where the last apply of a target ended if it did not finish, and why its record cannot be used; nothing otherwise."""
    name = survey.target.name
    problem = record_problem(records_of(project), name) if survey.plan.actions else ""
    notes = (f"{name}: {problem}",) if problem else ()
    last = last_run(Path(project.root), name)
    if last is None or last.ended:
        return notes
    if last.running:
        return (
            *notes,
            f"{name}: an apply started {last.started} is still running (process {last.pid}); nothing will be created twice",
        )
    head = f"{name}: the last apply, started {last.started}, did not finish"
    if not last.in_flight:
        return (*notes, f"{head}; no call was in flight")
    calls = [_describe_call(address, operation, survey) for address, operation in list(last.in_flight)[:_MAX_CALLS]]
    more = len(last.in_flight) - len(calls)
    return (*notes, f"{head}; in-flight calls: {'; '.join(calls)}{f'; and {more} more' if more > 0 else ''}")


def _describe_call(address: Address, operation: str, survey: Survey) -> str:
    inner = child_of(address) or address
    kind = KINDS[inner.kind]
    if kind.value_member and operation == kind.get:
        return f"publishing the {kind.title} of {parent_of(address)}"
    if operation in (kind.create, kind.delete):
        address = inner  # a channel's own steps replace its key when its stream is ended
    arns = _arns(address, survey)
    if operation != KINDS[address.kind].create:
        return f"{operation} for {address}" + ("" if arns else " (not found)")
    if not arns:
        return f"{operation} for {address} (not found)"
    desired = survey.desired.resources.get(address)
    unpublished = address.kind in CHILD_KINDS and desired is not None and desired.sink is None
    return f"{operation} for {address} (found: {' and '.join(arns)}" + (
        "; its encoder needs the value)" if unpublished else ")"
    )


def _arns(address: Address, survey: Survey) -> list[str]:
    return [resource.arn for claimed, resource in survey.live.claims(survey.desired.stack) if claimed == address]
