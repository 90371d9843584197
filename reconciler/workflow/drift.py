"""A target that was looked at -> its drift report, with what this machine remembers of its last apply.

What this machine knows of the last apply of a target, held against what is there now: what is expected to stand, and where it ended.

Nothing is decided from it but whether to believe a list that has become empty; everything else is explanation.

A drift report -> the same, with who did it, where CloudTrail can tell. One that found nothing asks nothing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.drift.blame import blamed, operations_for
from reconciler.drift.classify import classify
from reconciler.drift.report import DriftReport, at_default
from reconciler.model.address import ID, STACK, Address
from reconciler.model.kinds import INNER, KINDS, inner_of, parent_of
from reconciler.model.target import Project
from reconciler.plan.guardrails import gone
from reconciler.plan.plan import PlanOptions, Verb
from reconciler.workflow.history import applied_specs, complete_addresses, recorded_addresses
from reconciler.workflow.journal import last_run
from reconciler.workflow.survey import Survey

_MAX_CALLS = 8


def expected_addresses(project: Project, survey: Survey) -> frozenset[Address]:
    """Return the addresses that stood here after the last apply from here, one that did not come to its end included.

    They are held against what a plan would make anew. Where that is nothing, none are returned: the record of 5,000 channels takes 30 ms to read.
    """
    if not any(action.verb is Verb.CREATE for action in survey.plan.actions):
        return frozenset()
    root = Path(project.root)
    found = recorded_addresses(root, project.stack, survey.target.name, survey.live) or frozenset()
    last = last_run(root, survey.target.name)
    if last is None or last.ended or last.account not in ("", survey.live.account_id):
        return found
    return (found | last.made) - last.removed


def unfinished_apply_notes(project: Project, survey: Survey) -> tuple[str, ...]:
    """Say where the last apply of a target ended, when it did not come to its end; nothing otherwise."""
    name = survey.target.name
    last = last_run(Path(project.root), name)
    if last is None or last.ended:
        return ()
    if last.running:
        return (
            f"{name}: an apply from here, started {last.started}, is still running as process {last.pid}; what it makes meanwhile is not made twice",
        )
    head = f"{name}: the last apply, started {last.started}, did not come to its end"
    if not last.under_way:
        return (f"{head}; it was between two steps",)
    said = [_describe_call(address, operation, survey) for address, operation in list(last.under_way)[:_MAX_CALLS]]
    more = len(last.under_way) - len(said)
    return (f"{head}; it was in the middle of {'; '.join(said)}{f'; and {more} more' if more > 0 else ''}",)


def _describe_call(address: Address, operation: str, survey: Survey) -> str:
    inner = inner_of(address) or address
    kind = KINDS[inner.kind]
    if kind.value_member and operation == kind.get:
        return f"handing over the value of the {kind.title} of {parent_of(address)}"
    if operation in (kind.create, kind.delete):
        address = inner  # the channel's own steps replace its key when a broadcast is ended
    arns = _arns(address, survey)
    if operation != KINDS[address.kind].create:
        return f"{operation} for {address}" + ("" if arns else ", which is not there")
    if not arns:
        return f"{operation} for {address}, which is not there"
    desired = survey.desired.resources.get(address)
    unheard = address.kind in INNER and desired is not None and desired.sink is None
    return f"{operation} for {address}, which is there as {' and '.join(arns)}" + (
        " and has a value that its encoder needs" if unheard else ""
    )


def _arns(address: Address, survey: Survey) -> list[str]:
    stack = survey.desired.stack
    return [
        resource.arn
        for resource in survey.live.of(address.kind)
        if resource.tags.get(STACK) == stack and resource.tags.get(ID) == address.id
    ]


_WHOLE = PlanOptions()


def drift_report(project: Project, survey: Survey, *, expand: bool = False, scope: PlanOptions = _WHOLE) -> DriftReport:
    """Return what is drift, pending, missing, unmanaged or double in a target; with ``expand`` also which fields are at the service's default.

    ``scope`` says with ``only`` and ``exclude`` what of it is told.
    """
    partial = bool(scope.only or scope.exclude)
    root, name = Path(project.root), survey.target.name
    applied = complete_addresses(root, project.stack, name, survey.live)
    records = {} if survey.plan.is_empty else applied_specs(root, project.stack, name, survey.live)
    report = classify(survey.plan, survey.desired, survey.live, applied=applied, records=records)
    doubts = (
        f"{found}: deleted outside, or the caller may not see them any more"
        for found in gone(survey.plan, expected_addresses(project, survey))
    )
    fields = at_default(survey.plan, survey.desired, survey.live) if expand or partial else ()
    report = replace(report, default_fields=fields)
    if partial:
        from reconciler.drift.selection import narrowed  # noqa: PLC0415 - few ask for a part

        report = narrowed(report, survey.plan, survey.live, project.stack, scope)
    return replace(
        report,
        notes=(*report.notes, *doubts, *unfinished_apply_notes(project, survey)),
        default_fields=report.default_fields if expand else (),
    )


def former_arns(project: Project, survey: Survey) -> dict[Address, str]:
    """Return the ARNs that addresses had after the last apply from here, where that is remembered."""
    found = applied_specs(Path(project.root), project.stack, survey.target.name, survey.live)
    return {address: one.arn for address, one in found.items() if one.arn}


def attribute_drift(project: Project, survey: Survey, report: DriftReport, days: int) -> DriftReport:
    """Ask CloudTrail about what was found, as far back as that many days."""
    operations = operations_for(report)
    if not operations:
        return report
    trail = survey.connection.trail(operations, datetime.now(UTC) - timedelta(days=days))
    return blamed(report, trail, project.stack, former_arns(project, survey), days)
