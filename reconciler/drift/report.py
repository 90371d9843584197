"""What a comparison of live state with the spec found: values only. ``drift`` finds them, views show them.

The fields that are at the service's default and that the spec does not name: what a report folds into a count, one by one. Pure.

Differences that whoever runs ``drift`` asks not to be told of, for this run alone. They are taken out of the findings and counted.

What shall never be looked at belongs into the spec (``ignoreChanges``) or the project file (``ignoreTags``), where plans and applies heed it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase

from reconciler.diff import FieldChange
from reconciler.errors import UsageError
from reconciler.model.address import ID, SPEC, STACK, Address, KindName
from reconciler.model.kinds import FIELDS
from reconciler.model.normalise import default_of
from reconciler.model.resource import DesiredState, LiveState
from reconciler.model.values import Value
from reconciler.plan.plan import TargetPlan


class DriftStatus(StrEnum):
    """How a resource stands to the spec."""

    DRIFT = "drift"
    PENDING = "pending"
    MISSING = "missing"
    ORPHAN = "orphan"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class AttributedCall:
    """One call that changed a resource, as CloudTrail has it. Values of its parameters are not kept: they may hold secrets.

    ``who`` is the principal, ``at`` an instant in ISO 8601, ``source`` what the call was made with, ``call`` the operation, ``event`` CloudTrail's id of it.
    """

    who: str
    at: str
    source: str
    call: str
    event: str


@dataclass(frozen=True, slots=True)
class Blame:
    """Who did it, newest first. ``remark`` says why nobody is named, or what else is to be known."""

    deeds: tuple[AttributedCall, ...] = ()
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One resource that is not as the spec says; ``changes`` go from what is live to what the spec says.

    ``wanted`` says that nobody did it: a replacement left it behind on its way.
    ``blame`` is there where somebody asked who did it.
    """

    address: Address
    status: DriftStatus
    explanation: str
    arn: str | None = None
    changes: tuple[FieldChange, ...] = ()
    wanted: bool = False
    blame: Blame | None = None

    @property
    def is_drift(self) -> bool:
        """Whether somebody did it who should not have; a duplicate that a replacement left behind on its way is nobody's doing."""
        return self.status in (DriftStatus.DRIFT, DriftStatus.MISSING) or (
            self.status is DriftStatus.DUPLICATE and not self.wanted
        )


@dataclass(frozen=True, slots=True)
class Ignored:
    """Differences of one resource that the caller asked to ignore, and what they would have counted as."""

    address: Address
    status: DriftStatus
    arn: str
    changes: tuple[FieldChange, ...]


@dataclass(frozen=True, slots=True)
class AtDefault:
    """The fields of one resource that are at the service's default and that the spec does not name."""

    address: Address
    fields: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class UnmanagedResource:
    """A live resource that is not this stack's; ``owner`` is the stack that its tag names, or empty."""

    kind: KindName
    arn: str
    name: str
    owner: str


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What a comparison found in one target.

    ``drifted`` says that something changed outside, ``pending`` that merged changes wait to be applied; both may hold.
    ``unread`` says, a line a kind, what the spec has and the caller may not read: nothing is said about such resources.
    ``addresses`` are all that the spec has; ``defaults`` counts the fields that are at the service's default and that the spec does not name;
    ``default_fields`` names them where somebody asked.
    ``only`` and ``exclude`` are globs of addresses that the caller looked at, or left out: nothing is said about the rest.
    """

    name: str
    account_id: str
    region: str
    findings: tuple[Finding, ...]
    unmanaged: tuple[UnmanagedResource, ...]
    managed: int
    unchanged: int
    drifted: bool
    pending: bool
    notes: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    defaults: int = 0
    ignored: tuple[Ignored, ...] = ()
    deletes_due: bool = False
    unread: tuple[str, ...] = ()
    default_fields: tuple[AtDefault, ...] = ()
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def is_partial(self) -> bool:
        """Whether something was not looked at, because it could not be read or was not asked for."""
        return bool(self.unread or self.only or self.exclude)

    @property
    def ignored_differences(self) -> int:
        """How many differences the caller asked to ignore."""
        return sum(len(one.changes) for one in self.ignored)

    def with_findings(self, findings: tuple[Finding, ...], ignored: tuple[Ignored, ...]) -> DriftReport:
        """Return the report with other findings, and what was ignored for them. Deletes that are due stay due."""
        return replace(
            self,
            findings=findings,
            drifted=any(finding.is_drift for finding in findings),
            pending=self._waits(findings),
            ignored=(*self.ignored, *ignored),
        )

    def _waits(self, findings: Iterable[Finding]) -> bool:
        return self.deletes_due or any(finding.status is DriftStatus.PENDING for finding in findings)

    def of(self, status: DriftStatus) -> tuple[Finding, ...]:
        """Return the findings of one status."""
        return tuple(finding for finding in self.findings if finding.status is status)


def at_default(plan: TargetPlan, desired: DesiredState, live: LiveState) -> tuple[AtDefault, ...]:
    """Return the resources that have such fields, by address; as many fields as the plan counted."""
    others = {arn for duplicate in plan.duplicates for arn in duplicate.others}
    found = []
    for kind, group in live.resources.items():
        for resource in group:
            if resource.tags.get(STACK) != desired.stack or ID not in resource.tags or resource.arn in others:
                continue
            address = Address(kind, resource.tags[ID])
            wanted = desired.resources.get(address)
            if wanted is None:
                continue
            named = resource.properties.keys() | wanted.properties.keys()
            fields = {
                name: default_of(field, resource.properties)
                for name, field in FIELDS[kind].items()
                if name not in named
            }
            if fields:
                found.append(AtDefault(address, fields))
    return tuple(sorted(found, key=lambda one: one.address))


_OWN = "/tags/ivs-reconciler:"
_RECORD = f"/tags/{SPEC}"


@dataclass(frozen=True, slots=True)
class Ignore:
    """One wish: the addresses like ``glob``, and the field at ``path`` or inside it."""

    glob: str
    path: str

    def __str__(self) -> str:
        return f"{self.glob}:{self.path}"

    @classmethod
    def parse(cls, text: str) -> Ignore:
        """Read ``ADDRESS:PATH``. Raises ``UsageError``."""
        glob, colon, path = text.partition(":")
        if not colon or not glob or not path.startswith("/") or len(path) < 2 or path.endswith("/"):
            raise UsageError(
                f"{text!r} is not ADDRESS:PATH, such as channel/main-stage:/latencyMode or 'channel/*:/tags/team'"
            )
        return cls(glob, path)

    def takes(self, address: Address, change: FieldChange) -> bool:
        """Whether this wish is about a difference. Our own tags are meant only by their full path."""
        if not fnmatchcase(str(address), self.glob):
            return False
        return change.path == self.path or (
            change.path.startswith(self.path + "/") and not change.path.startswith(_OWN)
        )


def without(report: DriftReport, ignores: tuple[Ignore, ...]) -> tuple[DriftReport, frozenset[Ignore]]:
    """Return the report without what is to be ignored, and the wishes that met a difference."""
    if not ignores:
        return report, frozenset()
    kept: list[Finding] = []
    ignored: list[Ignored] = []
    met: set[Ignore] = set()
    for finding in report.findings:
        if finding.status not in (DriftStatus.DRIFT, DriftStatus.PENDING) or finding.arn is None:
            kept.append(finding)
            continue
        takers = {
            change.path: [ignore for ignore in ignores if ignore.takes(finding.address, change)]
            for change in finding.changes
        }
        out = tuple(change for change in finding.changes if takers[change.path])
        if not out:
            kept.append(finding)
            continue
        met.update(ignore for found in takers.values() for ignore in found)
        ignored.append(Ignored(finding.address, finding.status, finding.arn, out))
        rest = tuple(change for change in finding.changes if not takers[change.path])
        # The record of the spec differs because the field does; by itself it is nothing to be told of.
        if any(change.path != _RECORD for change in rest):
            kept.append(replace(finding, changes=rest))
    return report.with_findings(tuple(kept), tuple(ignored)), frozenset(met)
