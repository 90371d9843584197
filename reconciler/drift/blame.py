"""Attributes drift to calls that CloudTrail has recorded. Pure.

Calls of ivs-reconciler are not blamed, and its last write of a field covers earlier calls of others.
Of several calls on one field the last one counts: it made the present value.
A deleted resource is found by its former ARN: from the record of the last apply, or from its create call in CloudTrail.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from reconciler.drift import DriftStatus
from reconciler.drift.report import AttributedCall, Blame, DriftReport, Finding
from reconciler.model.address import COMMIT, ID, STACK, Address
from reconciler.model.kinds import KINDS, TAG, UNTAG, kind_of, parent_of
from reconciler.model.resource import CloudTrailEvent, Trail

_TAGGING = (TAG, UNTAG)
_COMMIT_TAG = frozenset({f"tags/{COMMIT}"})
_OWN_TAGS = frozenset({f"tags/{STACK}", f"tags/{ID}"})
_MOST = 5


def operations_for(report: DriftReport) -> tuple[str, ...]:
    """Return the operations that can have caused the findings or that identify a resource."""
    found: dict[str, None] = {}
    for finding in report.findings:
        if finding.is_drift:
            found |= dict.fromkeys(_operations(finding))
    return tuple(found)


def blamed(report: DriftReport, trail: Trail, stack: str, former: Mapping[Address, str], days: int) -> DriftReport:
    """Return the report with the callers of each finding that is drift. ``former`` has the recorded ARNs of addresses."""
    attribution = _Attribution(trail, stack, former, days)
    findings = tuple(
        replace(finding, blame=attribution.blame(finding)) if finding.is_drift else finding
        for finding in report.findings
    )
    return replace(report, findings=findings)


def _operations(finding: Finding) -> Iterable[str]:
    kind = KINDS[finding.address.kind]
    match finding.status:
        case DriftStatus.DRIFT:
            paths = [change.path for change in finding.changes]
            if kind.update is not None and not all(path.startswith("/tags/") for path in paths):
                yield kind.update
            if not paths or any(path.startswith("/tags/") for path in paths):
                yield from _TAGGING
        case DriftStatus.MISSING:
            yield from (kind.delete, kind.create)
            if kind.created_with:
                yield from (KINDS[kind.created_with].delete, KINDS[kind.created_with].create)
            yield from _TAGGING
        case DriftStatus.UNTAGGED:
            yield from _TAGGING
        case _:
            yield kind.create
            if kind.created_with:
                yield KINDS[kind.created_with].create
            yield TAG


class _Attribution:
    """The CloudTrail events of one target, by resource."""

    def __init__(self, trail: Trail, stack: str, former: Mapping[Address, str], days: int) -> None:
        self._trail = trail
        self._days = days
        self._about: dict[str, list[CloudTrailEvent]] = {}
        self._arns: dict[Address, set[str]] = {address: {arn} for address, arn in former.items()}
        for event in trail.events:
            for arn in event.arns | event.made:
                self._about.setdefault(arn, []).append(event)
            if event.owner is not None and event.owner[0] == stack:
                for arn in event.arns | event.made:
                    if kind := kind_of(arn):
                        self._arns.setdefault(Address(kind.name, event.owner[1]), set()).add(arn)

    def blame(self, finding: Finding) -> Blame:
        """Return who caused one finding."""
        match finding.status:
            case DriftStatus.DRIFT:
                events = self._about.get(finding.arn or "", [])
                calls, own = _changes(finding, events)
            case DriftStatus.MISSING:
                arns = self._former_arns(finding.address)
                if not arns:
                    return self._unknown(finding)
                calls, own = _last(
                    event for arn in arns for event in self._about.get(arn, ()) if self._ends(event, finding.address)
                )
            case DriftStatus.UNTAGGED:
                events = self._about.get(finding.arn or "", [])
                calls, own = _last(event for event in events if self._ends(event, finding.address))
            case _:
                about = self._about.get(finding.arn or "", [])
                calls, own = _last(
                    event for event in about if finding.arn in event.made or (event.fields or frozenset()) & _OWN_TAGS
                )
        return Blame(tuple(map(_call, calls)), self._remark(bool(calls), own))

    def _former_arns(self, address: Address) -> set[str]:
        # Deleting a channel deletes its key.
        return self._arns.get(address, set()) | self._arns.get(parent_of(address), set())

    def _ends(self, event: CloudTrailEvent, address: Address) -> bool:
        """Return whether a call makes a resource disappear: it deletes it, or removes the tags that identify it."""
        if event.operation in (KINDS[address.kind].delete, KINDS[parent_of(address).kind].delete):
            return True
        return event.operation in _TAGGING and event.owner is None and bool((event.fields or frozenset()) & _OWN_TAGS)

    def _unknown(self, finding: Finding) -> Blame:
        operation = KINDS[finding.address.kind].delete
        deletes = [event for event in self._trail.events if event.operation == operation and not event.ours]
        remark = "the resource's ARN is unknown, so no call can be attributed"
        if deletes and not self._trail.error:
            who = ", ".join(dict.fromkeys(event.who for event in deletes[:_MOST]))
            remark += f"; {operation} was called {len(deletes):,} time{'' if len(deletes) == 1 else 's'} in the last {self._days} days, by {who}"
        return Blame((), self._with_gaps(remark))

    def _remark(self, named: bool, own: bool) -> str:
        if named:
            return self._with_gaps("")
        if own:
            return self._with_gaps(f"CloudTrail has only calls of ivs-reconciler for it in the last {self._days} days")
        if self._trail.error:
            return self._with_gaps("")
        return self._with_gaps(
            f"CloudTrail has no call for it in the last {self._days} days; calls appear there some minutes later"
        )

    def _with_gaps(self, remark: str) -> str:
        """Add what is missing from the events that were read."""
        parts = [remark] if remark else []
        if self._trail.error:
            parts.append(f"attribution is incomplete: {self._trail.error}")
        if self._trail.truncated:
            parts.append(f"only the newest events of {', '.join(self._trail.truncated)} were read")
        return "; ".join(parts)


def _changes(finding: Finding, events: Sequence[CloudTrailEvent]) -> tuple[list[CloudTrailEvent], bool]:
    """Return the last call on each field that differs, newest first, and whether there are calls of our own."""
    update = KINDS[finding.address.kind].update
    paths = [change.path for change in finding.changes] or [""]
    own = any(event.ours for event in events)
    found: dict[str, CloudTrailEvent] = {}
    for path in paths:
        tag = path.startswith("/tags/")
        relevant = (
            [event for event in events if event.operation in _TAGGING]
            if tag
            else [event for event in events if event.operation == update]
        )
        if not path:
            relevant = list(events)
        since = max((event.at for event in relevant if event.ours and event.fields != _COMMIT_TAG), default="")
        others = [event for event in relevant if not event.ours and event.at >= since]
        name = path[1:].replace("~1", "/").replace("~0", "~") if tag else path[1:].partition("/")[0]
        # One field may follow another, as a preset does its type; then any later call may have done it.
        exact = [event for event in others if event.fields is None or name in event.fields]
        for event in (exact or others)[:1]:
            found[event.id] = event
    return sorted(found.values(), key=lambda event: event.at, reverse=True), own


def _last(events: Iterable[CloudTrailEvent]) -> tuple[list[CloudTrailEvent], bool]:
    """Return the newest call unless it is our own, and whether it is."""
    newest = max(events, key=lambda event: event.at, default=None)
    if newest is None:
        return [], False
    return ([], True) if newest.ours else ([newest], False)


def _call(event: CloudTrailEvent) -> AttributedCall:
    return AttributedCall(event.who, event.at, event.source, event.operation, event.id)
