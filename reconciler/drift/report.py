"""The result of comparing live state with the spec: values only. ``classify`` makes them, views show them. Pure.

Also the fields with AWS defaults that a report folds into a count, and ``--ignore``, which removes differences from one run's report and counts
them. To ignore a difference in plans and applies too, use ``ignoreChanges`` in the spec or ``ignoreTags`` in the project file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import NamedTuple

from reconciler.diff import FieldChange
from reconciler.errors import UsageError
from reconciler.model.address import ID, SPEC, STACK, Address
from reconciler.model.kinds import FIELDS
from reconciler.model.resource import DesiredState, LiveState, UnmanagedResource
from reconciler.model.values import Value
from reconciler.plan.plan import TargetPlan


class DriftStatus(StrEnum):
    """How a resource differs from the spec or the last apply."""

    DRIFT = "drift"
    PENDING = "pending"
    MISSING = "missing"
    UNTAGGED = "untagged"
    """It exists, and its owner tags are gone."""
    ORPHAN = "orphan"
    DUPLICATE = "duplicate"
    KEPT = "kept"
    """It was replaced, and resources of other owners still use it."""


@dataclass(frozen=True, slots=True)
class AttributedCall:
    """One call that changed a resource, from CloudTrail. Parameter values are not kept: they may contain secrets.

    ``who`` is the principal, ``at`` the time in ISO 8601, ``source`` the client, ``operation`` its name, ``event`` the id of the CloudTrail event.
    """

    who: str
    at: str
    source: str
    operation: str
    event: str


@dataclass(frozen=True, slots=True)
class Blame:
    """The calls that caused a finding, newest first. ``remark`` says why there are none, or what is incomplete."""

    calls: tuple[AttributedCall, ...] = ()
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One resource that is out of sync; ``changes`` go from the live value to the one of the spec.

    ``wanted`` means that it is expected: an interrupted replacement left it behind.
    ``blame`` is set with ``--blame``.
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
        """Return whether it is drift; a duplicate left behind by a replacement is not."""
        return self.status in (DriftStatus.DRIFT, DriftStatus.MISSING, DriftStatus.UNTAGGED) or (
            self.status is DriftStatus.DUPLICATE and not self.wanted
        )


@dataclass(frozen=True, slots=True)
class Ignored:
    """Differences of one resource that the caller asked to ignore, and their standing."""

    address: Address
    status: DriftStatus
    arn: str
    changes: tuple[FieldChange, ...]


@dataclass(frozen=True, slots=True)
class AtDefault:
    """The fields of one resource that the spec does not set and that have the AWS default."""

    address: Address
    fields: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The findings of one target.

    ``drifted`` means that there is drift, ``pending`` that there are pending changes; both may be true.
    ``unread`` has a line for each kind of the spec that could not be read: the report says nothing about such resources.
    ``addresses`` are all of the spec; ``defaults`` counts the unset fields with AWS defaults; ``default_fields`` lists them if requested.
    ``only`` and ``exclude`` are the globs that limit the report.
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
        """Return whether the report is incomplete, because something could not be read or was not selected."""
        return bool(self.unread or self.only or self.exclude)

    @property
    def ignored_differences(self) -> int:
        """How many differences the caller asked to ignore."""
        return sum(len(one.changes) for one in self.ignored)

    def with_findings(self, findings: tuple[Finding, ...], ignored: tuple[Ignored, ...]) -> DriftReport:
        """Return the report with other findings, and the ignored ones. Due deletes stay pending."""
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
    """Return the resources with unset fields, by address; as many fields as the plan counted."""
    others = {arn for duplicate in plan.duplicates for arn in duplicate.others} | {one.arn for one in plan.kept}
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
                name: field.default_beside(resource.properties)
                for name, field in FIELDS[kind].items()
                if name not in named
            }
            if fields:
                found.append(AtDefault(address, fields))
    return tuple(sorted(found, key=lambda one: one.address))


_OWN = "/tags/ivs-reconciler:"
_RECORD = f"/tags/{SPEC}"


class Ignore(NamedTuple):
    """One rule of ``--ignore``: the addresses that match ``glob``, and the field at ``path`` or inside it."""

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

    def matches(self, address: Address, change: FieldChange) -> bool:
        """Return whether the rule matches a difference. Our own tags match only by their full path."""
        if not fnmatchcase(str(address), self.glob):
            return False
        return change.path == self.path or (
            change.path.startswith(self.path + "/") and not change.path.startswith(_OWN)
        )


def without(report: DriftReport, ignores: tuple[Ignore, ...]) -> tuple[DriftReport, frozenset[Ignore]]:
    """Return the report without ignored differences, and the rules that matched one."""
    if not ignores:
        return report, frozenset()
    kept: list[Finding] = []
    ignored: list[Ignored] = []
    matched: set[Ignore] = set()
    for finding in report.findings:
        if finding.status not in (DriftStatus.DRIFT, DriftStatus.PENDING) or finding.arn is None:
            kept.append(finding)
            continue
        rules = {
            change.path: [ignore for ignore in ignores if ignore.matches(finding.address, change)]
            for change in finding.changes
        }
        out = tuple(change for change in finding.changes if rules[change.path])
        if not out:
            kept.append(finding)
            continue
        matched.update(ignore for found in rules.values() for ignore in found)
        ignored.append(Ignored(finding.address, finding.status, finding.arn, out))
        rest = tuple(change for change in finding.changes if not rules[change.path])
        # The digest tag differs because the field does, and is no finding by itself.
        if any(change.path != _RECORD for change in rest):
            kept.append(replace(finding, changes=rest))
    return report.with_findings(tuple(kept), tuple(ignored)), frozenset(matched)
