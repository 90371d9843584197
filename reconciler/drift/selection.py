"""``--only`` and ``--exclude`` for a drift report. Pure.

The whole target is compared, because a selected resource may depend on others; only the report is limited.
Unmanaged resources have no address, so ``--only`` leaves them out.
"""

from __future__ import annotations

from dataclasses import replace

from reconciler.drift.classify import unread_of
from reconciler.drift.report import DriftReport
from reconciler.model.resource import LiveState
from reconciler.plan.plan import PlanOptions, TargetPlan, Verb
from reconciler.plan.selection import wanted


def narrowed(report: DriftReport, plan: TargetPlan, live: LiveState, stack: str, scope: PlanOptions) -> DriftReport:
    """Return the selected part of a report, which must have ``default_fields``: their number is counted from them."""
    findings = tuple(finding for finding in report.findings if wanted(scope, finding.address))
    addresses = tuple(address for address in report.addresses if wanted(scope, address))
    fields = tuple(one for one in report.default_fields if wanted(scope, one.address))
    touched = {action.address for action in plan.actions if action.verb is not Verb.DELETE}
    unread = tuple(unread_of(addresses, live))
    part = replace(
        report,
        unmanaged=() if scope.only else report.unmanaged,
        managed=sum(wanted(scope, address) for address, _ in live.claims(stack)),
        unchanged=sum(address not in touched for address in addresses),
        notes=(
            *(note for note in report.notes if note not in report.unread),
            _said(scope, len(report.findings) - len(findings)),
            *unread,
        ),
        addresses=addresses,
        defaults=sum(len(one.fields) for one in fields),
        default_fields=fields,
        deletes_due=any(action.verb is Verb.DELETE and wanted(scope, action.address) for action in plan.actions),
        unread=unread,
        only=scope.only,
        exclude=scope.exclude,
    )
    return part.with_findings(findings, ())


def _said(scope: PlanOptions, left: int) -> str:
    globs = [f"--{word} {glob}" for word, found in (("only", scope.only), ("exclude", scope.exclude)) for glob in found]
    return f"partial report ({' '.join(globs)}); {left:,} {'finding' if left == 1 else 'findings'} skipped"
