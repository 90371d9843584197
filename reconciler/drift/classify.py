"""Tells drift from pending changes, and attributes drift to calls that CloudTrail has recorded.

The spec tag of a live resource is the digest of the spec it was last applied from.
While it equals the digest of the present spec, a difference was made outside: that is drift.
Otherwise the spec has changed since, and differences are pending, unless a record of the last apply distinguishes the two.
A resource that does not exist has no tag.
With a record of the last apply, it is missing if it is in the record, and pending if not.
Without one, the spec of the commit that was applied last decides, if that is known.
Otherwise it is missing, so that a deleted channel is never hidden, unless the stack has nothing in the target yet.

Calls of ivs-reconciler are not blamed, and its last write of a field covers earlier calls of others.
Of several calls on one field the last one counts: it made the present value.
A deleted resource is found by its former ARN: from the record of the last apply, or from its create call in CloudTrail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from reconciler.diff import FieldChange
from reconciler.drift import DriftStatus
from reconciler.drift.report import AttributedCall, Blame, DriftReport, Finding
from reconciler.model.address import COMMIT, ID, SPEC, STACK, Address
from reconciler.model.kinds import KINDS, TAG, UNTAG, kind_of, parent_of
from reconciler.model.resource import CloudTrailEvent, DesiredState, LiveState, Trail
from reconciler.model.values import Ref
from reconciler.plan.plan import Action, PlanOptions, Reason, TargetPlan, Verb
from reconciler.plan.selection import is_selected
from reconciler.plan.stale import AppliedSpec, modified_outside

_UNKNOWN: Mapping[Address, AppliedSpec] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class AppliedCommit:
    """The commit of the last apply in short, and the addresses in its spec: ``None`` if they are unknown, and then why."""

    commit: str
    addresses: frozenset[Address] | None
    unknown: str = ""


def depends_on_record(plan: TargetPlan) -> bool:
    """Return whether the last apply decides what an action of a plan is: whether a resource that does not exist was applied before."""
    return any(plan.managed.values()) and any(
        action.verb is Verb.CREATE or action.reason is Reason.BORN_WITH_CHANNEL for action in plan.actions
    )


def classify(
    plan: TargetPlan,
    desired: DesiredState,
    live: LiveState,
    *,
    applied: frozenset[Address] | None = None,
    records: Mapping[Address, AppliedSpec] = _UNKNOWN,
    commit: AppliedCommit | None = None,
) -> DriftReport:
    """Sort the actions of a plan into drift and pending changes. Blocked actions count: whether a difference may be corrected is another question.

    ``applied`` are the addresses recorded at the last apply, if there is a record, and ``records`` their applied specs.
    ``commit`` is used without a record.
    """
    state = _Classification(plan, desired, live, applied, records, commit if applied is None else None)
    findings: list[Finding] = []
    for action in filter(None, (_known(action, live) for action in plan.actions)):
        found = _findings(action, state)
        findings += found
        if found:
            state.note(action, found[-1].status)
    findings += [
        Finding(
            orphan.address,
            DriftStatus.ORPHAN,
            f"removed from the spec (prune disabled{'; protected' if orphan.protected else ''})",
            orphan.arn,
        )
        for orphan in plan.orphans
    ]
    reported = {finding.arn for finding in findings if finding.status is DriftStatus.DUPLICATE}
    findings += [
        Finding(duplicate.address, DriftStatus.DUPLICATE, f"has the same address as {duplicate.kept}", arn)
        for duplicate in plan.duplicates
        for arn in duplicate.others
        if arn not in reported and duplicate.address in desired.resources
    ]
    findings += [Finding(kept.address, DriftStatus.KEPT, kept.explanation, kept.arn) for kept in plan.kept]
    unread = tuple(unread_of(desired.resources, live))
    report = DriftReport(
        name=plan.name,
        account_id=plan.account_id,
        region=plan.region,
        findings=(),
        unmanaged=plan.unmanaged,
        managed=sum(plan.managed.values()),
        unchanged=plan.summary.unchanged,
        drifted=False,
        pending=False,
        notes=(*plan.notes, *_unknown_commit(commit), *unread),
        addresses=tuple(sorted(desired.resources)),
        defaults=plan.summary.defaults,
        deletes_due=any(action.verb is Verb.DELETE for action in plan.actions),
        unread=unread,
    )
    ordered = sorted(findings, key=lambda finding: (str(finding.address), finding.status, finding.arn or ""))
    return report.with_findings(tuple(ordered), ())


def _unknown_commit(commit: AppliedCommit | None) -> Iterable[str]:
    if commit is not None and commit.unknown:
        yield f"cannot distinguish a resource deleted outside from one never applied: there is no record of the last apply, and {commit.unknown}"


def _known(action: Action, live: LiveState) -> Action | None:
    """Return the action without changes that are only due to unreadable resources, or ``None`` if nothing is left."""
    if not live.unreadable:
        return action
    if action.verb is Verb.CREATE and (
        action.address.kind in live.unreadable or parent_of(action.address).kind in live.unreadable
    ):
        return None
    changes = tuple(
        change
        for change in action.changes
        if not (isinstance(change.after, Ref) and change.after.address.kind in live.unreadable)
    )
    return action._replace(changes=changes) if changes or not action.changes else None


def unread_of(addresses: Iterable[Address], live: LiveState) -> Iterable[str]:
    """Yield a line for each kind of these addresses that could not be read."""
    counts = Counter(address.kind for address in addresses)
    for kind, why in live.unreadable.items():
        if counts[kind]:
            yield f"{KINDS[kind].with_count(counts[kind])} in the spec could not be read: {why}"


class _Classification:
    """The inputs of one classification, and what it has found so far about resources that others refer to.

    ``made`` has the addresses that will get another ARN, each with the present or former one if it is known.
    """

    def __init__(
        self,
        plan: TargetPlan,
        desired: DesiredState,
        live: LiveState,
        applied: frozenset[Address] | None,
        records: Mapping[Address, AppliedSpec],
        commit: AppliedCommit | None,
    ) -> None:
        self.desired = desired
        self.applied = applied
        self.commit = commit.commit if commit and commit.addresses is not None else ""
        if commit and commit.addresses is not None:
            self.applied = commit.addresses | {desired.moved.get(old, old) for old in commit.addresses}
        self.records = records
        self.manages_nothing = not any(plan.managed.values())
        self.leftovers = {arn for duplicate in plan.duplicates for arn in duplicate.others}
        self.leftovers |= {one.arn for one in plan.kept}
        self.arns = {
            address: resource.arn
            for claimed, resource in live.claims(desired.stack)
            if resource.arn not in self.leftovers
            for address in dict.fromkeys((claimed, desired.moved.get(claimed, claimed)))
        }
        self.owned = frozenset(self.arns.values())
        self.made: dict[Address, str] = {}
        self.new: set[Address] = set()
        self.untagged = {
            action.address for action in plan.actions if action.reason is Reason.OWNER_TAGS_LOST and action.blocked
        }

    def is_new(self, action: Action) -> bool:
        """Return whether the resource was never applied."""
        return self.manages_nothing if self.applied is None else action.address not in self.applied

    def words_of_commit(self, where: str) -> str:
        """Return the commit that decided, as the end of an explanation; empty if a record did."""
        return f" ({where} commit {self.commit}, the last applied)" if self.commit else ""

    def note(self, action: Action, status: DriftStatus) -> None:
        """Record what an action means for resources that refer to this one."""
        if action.verb is Verb.REPLACE:
            self.made[action.address] = action.arn or ""
        elif action.verb is Verb.CREATE and status is DriftStatus.PENDING:
            self.new.add(action.address)
        elif action.verb is Verb.CREATE:
            self.made[action.address] = self.records[action.address].arn if action.address in self.records else ""

    def follows(self, change: FieldChange) -> bool:
        """Return whether a reference differs only because the resource it refers to is created or recreated."""
        if not isinstance(change.before, str):
            return isinstance(change.after, Ref) and change.after.address in self.new
        if not isinstance(change.after, Ref):
            return change.before in self.leftovers
        address = change.after.address
        if address in self.new or change.before in self.leftovers:
            return True
        if address not in self.made:
            return False
        # If the former ARN is unknown, any ARN that is not ours here is accepted.
        return change.before == self.made[address] if self.made[address] else change.before not in self.owned


_MODIFIED = "modified outside ivs-reconciler since the last apply"


def _finding(action: Action, status: DriftStatus, explanation: str = "") -> Finding:
    """Return a finding with all changes of an action, and with its explanation if there is no other."""
    return Finding(action.address, status, explanation or action.explanation, action.arn, action.changes)


def _findings(action: Action, state: _Classification) -> tuple[Finding, ...]:
    """Return the findings of an action: two if one resource was changed outside and in the spec, the pending one last."""
    match action.verb:
        case Verb.ADOPT if action.reason is Reason.OWNER_TAGS_LOST:
            explanation = f"removed outside ivs-reconciler since the last apply; restore them with adopt {action.address} {action.arn}, or apply --adopt"
            return (_finding(action, DriftStatus.UNTAGGED, explanation),)
        case Verb.CREATE if parent_of(action.address) in state.untagged:
            return ()  # nothing was read about the stream key of such a channel
        case Verb.CREATE | Verb.ADOPT if state.is_new(action) and (
            action.verb is Verb.CREATE or action.reason is Reason.BORN_WITH_CHANNEL
        ):
            explanation = f"not applied yet{state.words_of_commit('not in')}{_namesake_words(action)}"
            return (_finding(action, DriftStatus.PENDING, explanation),)
        case Verb.CREATE:
            gone = f"deleted outside ivs-reconciler since the last apply{state.words_of_commit('in')}"
            explanation = gone if state.applied is not None else "deleted outside ivs-reconciler, or never applied"
            if action.blocked is not None and action.blocked.code == "unreadable":
                explanation = action.explanation
            return (_finding(action, DriftStatus.MISSING, explanation + _namesake_words(action)),)
        case Verb.DELETE if action.reason is Reason.RETIRED:
            return (_finding(action, DriftStatus.PENDING),)
        case Verb.DELETE:
            status = DriftStatus.ORPHAN if action.reason is Reason.LEFT_SPEC else DriftStatus.DUPLICATE
            return (_finding(action, status)._replace(wanted=action.reason is Reason.SUPERSEDED),)
        case Verb.ADOPT if action.reason is Reason.BORN_WITH_CHANNEL:
            return (_finding(action, DriftStatus.MISSING, "the channel's stream key is not adopted yet"),)
        case Verb.ADOPT | Verb.FORGET:
            return (_finding(action, DriftStatus.PENDING),)
        case Verb.UPDATE if action.reason in (Reason.DELIVERY_DUE, Reason.RETIRING):
            return (_finding(action, DriftStatus.PENDING)._replace(changes=()),)
        case Verb.UPDATE | Verb.REPLACE:
            return _difference(action, state)


def _namesake_words(action: Action) -> str:
    """Return why a create is blocked: by an existing resource in its place, or without a public key."""
    if action.verb is not Verb.CREATE or action.blocked is None:
        return ""
    if action.blocked.code not in ("unmanaged", "no-public-key", "renamed"):
        return ""
    return f"; {action.blocked.message}"


def _difference(action: Action, state: _Classification) -> tuple[Finding, ...]:
    spec = state.desired.resources[action.address]
    if action.blocked is not None and action.blocked.code == "moved" and not action.changes:
        return (_finding(action, DriftStatus.PENDING, action.blocked.message),)
    recorded = action.observed.tags.get(SPEC) if action.observed else None
    # A change that follows a replacement is no drift: it is pending with the replacement.
    following = [change for change in action.changes if state.follows(change) or _is_rename(action, change)]
    own = [change for change in action.changes if change not in following]
    if recorded is not None and recorded != spec.digest:
        former = Address(action.address.kind, action.observed.tags.get(ID, "")) if action.observed else action.address
        record = state.records.get(action.address) or (state.records.get(former) if _is_move(action) else None)
        outside = modified_outside(action, spec, record, state.arns)
        if outside is None and _is_move(action):
            return (_finding(action, DriftStatus.PENDING),)
        if outside is None:
            explanation = "the spec changed since the last apply; unknown whether it was also modified outside"
            return (_finding(action, DriftStatus.PENDING, explanation),)
        drifted = tuple(change for change in own if change in outside)
        rest = tuple(change for change in action.changes if change not in drifted)
        explanation = action.explanation if _is_move(action) else "the spec changed since the last apply"
        if not _is_move(action) and all(change.tag == SPEC for change in rest):
            explanation += "; live values already match"
        pending = (_finding(action, DriftStatus.PENDING, explanation)._replace(changes=rest),) if rest else ()
        if not drifted:
            return pending
        return (
            _finding(action, DriftStatus.DRIFT, f"{_MODIFIED}; the spec changed too")._replace(changes=drifted),
            *pending,
        )
    if action.reason is Reason.CREATE_FAILED:
        return (_finding(action, DriftStatus.DRIFT),)
    found = []
    if own or not following:
        found.append(_finding(action, DriftStatus.DRIFT, _MODIFIED)._replace(changes=tuple(own)))
    if following:
        explanation = action.explanation if _is_move(action) else _following_words(following)
        found.append(_finding(action, DriftStatus.PENDING, explanation)._replace(changes=tuple(following)))
    return tuple(found)


def _following_words(following: Iterable[FieldChange]) -> str:
    """Return why references are pending that change only because another resource does."""
    others = dict.fromkeys(str(change.after.address) for change in following if isinstance(change.after, Ref))
    if others:
        return f"refers to {' and '.join(others)}, which will be created or recreated"
    return "left over from an unfinished replacement"


def _is_move(action: Action) -> bool:
    return action.reason is Reason.MOVED


def _is_rename(action: Action, change: FieldChange) -> bool:
    """Return whether a change is the rewritten id of a renamed address."""
    return _is_move(action) and change.tag == ID


def select_findings(
    report: DriftReport, plan: TargetPlan, live: LiveState, stack: str, scope: PlanOptions
) -> DriftReport:
    """Return the part of a report that ``--only`` and ``--exclude`` select; ``report`` must have its ``default_fields``.

    The whole target is compared, because a selected resource may depend on others; only the report is limited.
    Unmanaged resources have no address, so ``--only`` leaves them out.
    """
    findings = tuple(finding for finding in report.findings if is_selected(scope, finding.address))
    addresses = tuple(address for address in report.addresses if is_selected(scope, address))
    fields = tuple(one for one in report.default_fields if is_selected(scope, one.address))
    touched = {action.address for action in plan.actions if action.verb is not Verb.DELETE}
    unread = tuple(unread_of(addresses, live))
    part = report._replace(
        unmanaged=() if scope.only else report.unmanaged,
        managed=sum(is_selected(scope, address) for address, _ in live.claims(stack)),
        unchanged=sum(address not in touched for address in addresses),
        notes=(
            *(note for note in report.notes if note not in report.unread),
            _partial_note(scope, len(report.findings) - len(findings)),
            *unread,
        ),
        addresses=addresses,
        defaults=sum(len(one.fields) for one in fields),
        default_fields=fields,
        deletes_due=any(action.verb is Verb.DELETE and is_selected(scope, action.address) for action in plan.actions),
        unread=unread,
        only=scope.only,
        exclude=scope.exclude,
    )
    return part.with_findings(findings, ())


def _partial_note(scope: PlanOptions, left: int) -> str:
    globs = [f"--{word} {glob}" for word, found in (("only", scope.only), ("exclude", scope.exclude)) for glob in found]
    return f"partial report ({' '.join(globs)}); {left:,} {'finding' if left == 1 else 'findings'} skipped"


_TAGGING = (TAG, UNTAG)
_COMMIT_TAG = frozenset({f"tags/{COMMIT}"})
_OWN_TAGS = frozenset({f"tags/{STACK}", f"tags/{ID}"})
_MAX_CALLS = 5


def operations_for(report: DriftReport) -> tuple[str, ...]:
    """Return the operations that can have caused the findings or that identify a resource."""
    found: dict[str, None] = {}
    for finding in report.findings:
        if finding.is_drift:
            found |= dict.fromkeys(_operations_of(finding))
    return tuple(found)


def with_blame(report: DriftReport, trail: Trail, stack: str, former: Mapping[Address, str], days: int) -> DriftReport:
    """Return the report with the callers of each finding that is drift. ``former`` has the recorded ARNs of addresses."""
    attribution = _Attribution(trail, stack, former, days)
    findings = tuple(
        finding._replace(blame=attribution.blame(finding)) if finding.is_drift else finding
        for finding in report.findings
    )
    return report._replace(findings=findings)


def _operations_of(finding: Finding) -> Iterable[str]:
    kind = KINDS[finding.address.kind]
    match finding.status:
        case DriftStatus.DRIFT:
            if kind.update is not None and not all(change.tag for change in finding.changes):
                yield kind.update
            if not finding.changes or any(change.tag for change in finding.changes):
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
                calls, own = _changing_events(finding, events)
            case DriftStatus.MISSING:
                arns = self._former_arns(finding.address)
                if not arns:
                    return self._unknown(finding)
                calls, own = _last_events(
                    event for arn in arns for event in self._about.get(arn, ()) if self._ends(event, finding.address)
                )
            case DriftStatus.UNTAGGED:
                events = self._about.get(finding.arn or "", [])
                calls, own = _last_events(event for event in events if self._ends(event, finding.address))
            case _:
                about = self._about.get(finding.arn or "", [])
                calls, own = _last_events(
                    event for event in about if finding.arn in event.made or (event.fields or frozenset()) & _OWN_TAGS
                )
        return Blame(tuple(map(_attributed_call, calls)), self._remark(bool(calls), own))

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
            who = ", ".join(dict.fromkeys(event.who for event in deletes[:_MAX_CALLS]))
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


def _changing_events(finding: Finding, events: Sequence[CloudTrailEvent]) -> tuple[list[CloudTrailEvent], bool]:
    """Return the last call on each field that differs, newest first, and whether there are calls of our own."""
    update = KINDS[finding.address.kind].update
    own = any(event.ours for event in events)
    found: dict[str, CloudTrailEvent] = {}
    for change in finding.changes or (None,):
        name, relevant = "", list(events)
        if change is not None:
            name, operations = (f"tags/{change.tag}", _TAGGING) if change.tag else (change.field, (update,))
            relevant = [event for event in events if event.operation in operations]
        since = max((event.at for event in relevant if event.ours and event.fields != _COMMIT_TAG), default="")
        others = [event for event in relevant if not event.ours and event.at >= since]
        # One field may follow another, as a preset does its type; then any later call may have done it.
        exact = [event for event in others if event.fields is None or name in event.fields]
        for event in (exact or others)[:1]:
            found[event.id] = event
    return sorted(found.values(), key=lambda event: event.at, reverse=True), own


def _last_events(events: Iterable[CloudTrailEvent]) -> tuple[list[CloudTrailEvent], bool]:
    """Return the newest call unless it is our own, and whether it is."""
    newest = max(events, key=lambda event: event.at, default=None)
    if newest is None:
        return [], False
    return ([], True) if newest.ours else ([newest], False)


def _attributed_call(event: CloudTrailEvent) -> AttributedCall:
    return AttributedCall(event.who, event.at, event.source, event.operation, event.id)
