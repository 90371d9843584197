"""What changed behind our back, and what merely waits to be applied.

The spec tag of a live resource records the spec it was last applied from.
While it equals the digest of the spec at hand, a difference was made outside: that is drift.
When it does not, the spec has changed since, and whatever differs is pending: a change made outside at the same time cannot be told apart.
A resource that is not there at all left no record of its own.
Where somebody remembers what was applied, that settles it: what was there is missing, what never was is pending.
Otherwise it counts as drift unless the stack has nothing in the target yet, because a deleted channel must never look calm.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from reconciler.model.address import Address, KindName
from reconciler.model.kinds import KINDS
from reconciler.model.resource import DesiredState, LiveResource, LiveState
from reconciler.model.tags import SPEC, STACK
from reconciler.model.values import Ref
from reconciler.plan.actions import Action, FieldChange, Reason, TargetPlan, Verb


class Standing(StrEnum):
    """How a resource stands to the spec."""

    DRIFT = "drift"
    PENDING = "pending"
    MISSING = "missing"
    ORPHAN = "orphan"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Finding:
    """One resource that is not as the spec says; ``changes`` go from what is live to what the spec says."""

    address: Address
    standing: Standing
    explanation: str
    arn: str | None = None
    changes: tuple[FieldChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Foreign:
    """A live resource that is not this stack's; ``owner`` is the stack that its tag names, or empty."""

    kind: KindName
    arn: str
    name: str
    owner: str


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What a comparison found in one target.

    ``drifted`` says that something changed outside, ``pending`` that merged changes wait to be applied; both may hold.
    """

    name: str
    account_id: str
    region: str
    findings: tuple[Finding, ...]
    foreign: tuple[Foreign, ...]
    managed: int
    unchanged: int
    drifted: bool
    pending: bool
    notes: tuple[str, ...] = ()

    def of(self, standing: Standing) -> tuple[Finding, ...]:
        """Return the findings of one standing."""
        return tuple(finding for finding in self.findings if finding.standing is standing)


def classify(plan: TargetPlan, desired: DesiredState, live: LiveState, *, applied: frozenset[Address] | None = None) -> DriftReport:
    """Sort what a plan found into drift and pending changes. Blocked actions count: whether a difference may be mended is another question.

    ``applied`` are the addresses that stood after the last apply, where that is remembered.
    """
    fresh = not any(plan.managed.values())
    pending_addresses: set[Address] = set()
    findings: list[Finding] = []
    leftovers = {arn: duplicate.address for duplicate in plan.duplicates for arn in duplicate.others}
    for action in plan.actions:
        new = fresh if applied is None else action.address not in applied
        finding = _finding(action, desired, pending_addresses, leftovers, new=new, remembered=applied is not None)
        if finding.standing is Standing.PENDING:
            pending_addresses.add(action.address)
        findings.append(finding)
    findings += [
        Finding(orphan.address, Standing.ORPHAN, "it left the spec, and prune is not granted" + (" (protected)" if orphan.protected else ""), orphan.arn)
        for orphan in plan.orphans
    ]
    known = {finding.arn for finding in findings if finding.standing is Standing.DUPLICATE}
    findings += [
        Finding(duplicate.address, Standing.DUPLICATE, f"claims the same address as {duplicate.kept}", arn)
        for duplicate in plan.duplicates
        for arn in duplicate.others
        if arn not in known and duplicate.address in desired.resources
    ]
    deletes_due = any(action.verb is Verb.DELETE for action in plan.actions)
    return DriftReport(
        name=plan.name,
        account_id=plan.account_id,
        region=plan.region,
        findings=tuple(sorted(findings, key=lambda finding: (str(finding.address), finding.standing, finding.arn or ""))),
        foreign=tuple(foreign_in(live, desired.stack)),
        managed=sum(plan.managed.values()),
        unchanged=plan.summary.unchanged,
        drifted=any(finding.standing in (Standing.DRIFT, Standing.MISSING) or _is_accident(finding, plan) for finding in findings),
        pending=deletes_due or any(finding.standing is Standing.PENDING for finding in findings),
        notes=plan.notes,
    )


def foreign_in(live: LiveState, stack: str) -> Iterable[Foreign]:
    """Return the live resources that are not this stack's, in the order of kinds and ARNs. Stream keys go with their channels and are not listed."""
    for kind in KINDS:
        if kind is KindName.STREAM_KEY:
            continue
        for resource in sorted(live.of(kind), key=_arn):
            owner = resource.tags.get(STACK, "")
            if owner != stack:
                yield Foreign(kind, resource.arn, resource.name, owner)


def _finding(action: Action, desired: DesiredState, pending: set[Address], leftovers: dict[str, Address], *, new: bool, remembered: bool) -> Finding:
    match action.verb:
        case Verb.CREATE | Verb.ADOPT if new and (action.verb is Verb.CREATE or action.reason is Reason.BORN_WITH_CHANNEL):
            return Finding(action.address, Standing.PENDING, "it is in the spec and was not applied yet", action.arn, action.changes)
        case Verb.CREATE:
            explanation = "it was applied and is gone" if remembered else "it is in the spec and not in the account: deleted outside, or never applied"
            return Finding(action.address, Standing.MISSING, explanation, None, action.changes)
        case Verb.DELETE:
            standing = Standing.ORPHAN if action.reason is Reason.LEFT_SPEC else Standing.DUPLICATE
            return Finding(action.address, standing, action.explanation, action.arn)
        case Verb.ADOPT if action.reason is Reason.BORN_WITH_CHANNEL:
            return Finding(action.address, Standing.MISSING, "the spec has a stream key and the channel's key is not taken over", action.arn, action.changes)
        case Verb.ADOPT | Verb.FORGET:
            return Finding(action.address, Standing.PENDING, action.explanation, action.arn, action.changes)
        case Verb.UPDATE | Verb.REPLACE:
            return _difference(action, desired, pending, leftovers)


def _difference(action: Action, desired: DesiredState, pending: set[Address], leftovers: dict[str, Address]) -> Finding:
    recorded = action.observed.tags.get(SPEC) if action.observed else None
    if recorded is not None and recorded != desired.resources[action.address].digest:
        return Finding(action.address, Standing.PENDING, "the spec changed since it was last applied", action.arn, action.changes)
    # A channel that follows a replacement is not changed by anybody: it waits with what it follows.
    following = [change for change in action.changes if _follows(change, pending, leftovers)]
    if action.changes and len(following) == len(action.changes):
        return Finding(action.address, Standing.PENDING, "it waits for a replacement to be applied to its end", action.arn, action.changes)
    if action.reason is Reason.CREATE_FAILED:
        return Finding(action.address, Standing.DRIFT, action.explanation, action.arn, action.changes)
    changes = tuple(change for change in action.changes if change not in following)
    return Finding(action.address, Standing.DRIFT, "it was changed outside, since the spec was last applied", action.arn, changes)


def _is_accident(finding: Finding, plan: TargetPlan) -> bool:
    """Whether a duplicate is one that nobody asked for, and not what a replacement left behind on its way."""
    if finding.standing is not Standing.DUPLICATE:
        return False
    return not any(action.arn == finding.arn and action.reason is Reason.SUPERSEDED for action in plan.actions)


def _follows(change: FieldChange, pending: set[Address], leftovers: dict[str, Address]) -> bool:
    if isinstance(change.after, Ref):
        return change.after.address in pending
    return isinstance(change.before, str) and change.before in leftovers


def _arn(resource: LiveResource) -> str:
    return resource.arn
