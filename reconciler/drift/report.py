"""The result of comparing live state with the spec, and its JSON form. ``classify`` makes it, views show it. Pure.

Also the fields with AWS defaults that a report folds into a count, and ``--ignore``, which removes differences from one run's report and counts
them. To ignore a difference in plans and applies too, use ``ignoreChanges`` in the spec or ``ignoreTags`` in the project file.
Readers of the JSON skip members they do not know, since later versions may add some.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from pydantic_core import core_schema as core

from reconciler import json_format as form
from reconciler.diff import FieldChange
from reconciler.drift import DriftStatus
from reconciler.errors import UsageError
from reconciler.json_format import ANY, COUNT, FLAG, TEXT, TEXT_OR_NULL, TEXTS, Format, described, list_of
from reconciler.model.address import PREFIX, SPEC, Address
from reconciler.model.kinds import FIELDS
from reconciler.model.resource import DesiredState, LiveState, UnmanagedResource
from reconciler.model.target import Shards
from reconciler.model.values import Value, thaw
from reconciler.plan.codec import ADDRESS, ARN, PATH, SHARDS, UNMANAGED, freeze_value
from reconciler.plan.plan import TargetPlan


class AttributedCall(NamedTuple):
    """One call that changed a resource, from CloudTrail. Parameter values are not kept: they may contain secrets.

    ``who`` is the principal, ``at`` the time in ISO 8601, ``source`` the client, ``operation`` its name, ``event`` the id of the CloudTrail event.
    """

    who: str
    at: str
    source: str
    operation: str
    event: str


class Blame(NamedTuple):
    """The calls that caused a finding, newest first. ``remark`` says why there are none, or what is incomplete."""

    calls: tuple[AttributedCall, ...] = ()
    remark: str = ""


class Finding(NamedTuple):
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

    @property
    def has_two_sides(self) -> bool:
        """Return whether a live resource was compared with the spec, and its changes have a value of each."""
        return self.status in (DriftStatus.DRIFT, DriftStatus.PENDING) and self.arn is not None


class Ignored(NamedTuple):
    """Differences of one resource that the caller asked to ignore, and their standing."""

    address: Address
    status: DriftStatus
    arn: str
    changes: tuple[FieldChange, ...]


class AtDefault(NamedTuple):
    """The fields of one resource that the spec does not set and that have the AWS default."""

    address: Address
    fields: Mapping[str, Value]


class DriftReport(NamedTuple):
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
        return self._replace(
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
    for address, resource in live.claims(desired.stack):
        wanted = desired.resources.get(address)
        if wanted is None or resource.arn in others:
            continue
        named = resource.properties.keys() | wanted.properties.keys()
        fields = {
            name: field.default_beside(resource.properties)
            for name, field in FIELDS[address.kind].items()
            if name not in named
        }
        if fields:
            found.append(AtDefault(address, fields))
    return tuple(sorted(found, key=lambda one: one.address))


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
            change.path.startswith(self.path + "/") and not change.tag.startswith(PREFIX)
        )


def without_ignored(report: DriftReport, ignores: tuple[Ignore, ...]) -> tuple[DriftReport, frozenset[Ignore]]:
    """Return the report without ignored differences, and the rules that matched one."""
    if not ignores:
        return report, frozenset()
    kept: list[Finding] = []
    ignored: list[Ignored] = []
    matched: set[Ignore] = set()
    for finding in report.findings:
        if finding.arn is None or not finding.has_two_sides:
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
        if any(change.tag != SPEC for change in rest):
            kept.append(finding._replace(changes=rest))
    return report.with_findings(tuple(kept), tuple(ignored)), frozenset(matched)


EVENTS_OUTPUT, DRIFT_OUTPUT = "the events of an apply", "a drift report"


def _read_change(content: Mapping[str, Value]) -> FieldChange:
    return FieldChange(
        str(content["path"]),
        content.get("live"),
        content.get("spec"),
        absent_before="live" not in content,
        absent_after="spec" not in content,
    )


def _write_change(change: FieldChange) -> dict[str, object]:
    sides = (("live", change.before, change.absent_before), ("spec", change.after, change.absent_after))
    return {"path": change.path, **{name: thaw(value) for name, value, absent in sides if not absent}}


_VALUE = form.converted(ANY, freeze_value, thaw)
_CHANGE = form.converted(
    form.object_of(
        path=PATH,
        live=form.omitted(described(_VALUE, "The live value; no member if there is none.")),
        spec=form.omitted(described(_VALUE, "The value of the spec; no member if there is none.")),
    ),
    _read_change,
    _write_change,
)
_CHANGES = list_of(form.defined("change", _CHANGE))
_STATUS = form.choice(DriftStatus)
_CALL = form.record(
    AttributedCall,
    who=TEXT,
    at=TEXT,
    source=TEXT,
    operation=form.called("event", described(TEXT, "The operation.")),
    event=form.called("eventId", TEXT),
)
_BLAME = described(
    form.record(Blame, calls=form.called("by", list_of(_CALL)), remark=TEXT_OR_NULL),
    "With --blame: the calls that caused it, newest first, from CloudTrail; remark says why there are none.",
)
FINDING = form.record(
    Finding,
    address=ADDRESS,
    status=_STATUS,
    explanation=TEXT,
    arn=form.or_null(ARN),
    wanted=form.lenient(described(FLAG, "Expected: an interrupted replacement left it behind.")),
    changes=_CHANGES,
    blame=form.omitted(form.defined("blame", _BLAME)),
)
_AT_DEFAULT = form.record(AtDefault, address=ADDRESS, fields=form.converted(core.dict_schema(), freeze_value, thaw))
_DEFAULTS = "Fields that the spec does not set and that have the AWS default."
_TARGET = form.record(
    DriftReport,
    name=TEXT,
    account_id=described(TEXT, pattern="^[0-9]{12}$"),
    region=TEXT,
    drifted=FLAG,
    pending=FLAG,
    managed=COUNT,
    unchanged=COUNT,
    defaults=form.lenient(described(COUNT, _DEFAULTS)),
    findings=list_of(form.defined("finding", FINDING)),
    unmanaged=list_of(UNMANAGED),
    ignored=form.lenient(
        described(
            list_of(form.record(Ignored, address=ADDRESS, status=_STATUS, arn=ARN, changes=_CHANGES)),
            "Differences that the caller asked to ignore.",
        )
    ),
    notes=TEXTS,
    unread=form.lenient(described(TEXTS, "Kinds of the spec that could not be read: nothing is known about them.")),
    default_fields=form.written_only(
        form.omitted(described(list_of(_AT_DEFAULT), "With -v: the fields that defaults counts, with their values."))
    ),
)
_FAILED = list_of(form.object_of(name=TEXT, message=TEXT))
REPORT = Format(
    form.object_of(
        formatVersion=form.version("1.0", minor=True),
        stack=TEXT,
        options=form.omitted(
            described(
                form.object_of(only=TEXTS, exclude=TEXTS),
                "Globs of addresses: nothing is known about what they leave out.",
            )
        ),
        drifted=form.lenient(described(FLAG, "Something was modified outside, is missing or is a duplicate.")),
        pending=form.lenient(described(FLAG, "Changes of the spec are not applied yet.")),
        targets=list_of(form.defined("target", _TARGET)),
        failed=form.lenient(described(_FAILED, "Targets that could not be read.")),
        shards=form.omitted(SHARDS),
    )
)


class DriftReports(NamedTuple):
    """The reports of the targets of a run. ``failed`` are those that could not be read, and why; ``shards`` as of ``Plan``."""

    stack: str
    reports: tuple[DriftReport, ...]
    failed: Mapping[str, str] = {}
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    shards: Shards | None = None


def read_drift(content: object) -> DriftReports:
    """Return the reports of ``drift --format json``. Raises ``FormatError``."""
    report = REPORT.read(content)
    options = report.get("options", {})
    return DriftReports(
        report["stack"],
        tuple(target._replace(**options) for target in report["targets"]),
        {one["name"]: one["message"] for one in report.get("failed") or ()},
        **options,
        shards=report.get("shards"),
    )


def drift_json(
    stack: str,
    reports: tuple[DriftReport, ...],
    failed: Mapping[str, str] | None = None,
    *,
    only: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    shards: Shards | None = None,
) -> dict[str, object]:
    """Return the reports of all targets as one JSON object. ``failed`` are the targets that could not be read, and why; ``only`` and ``exclude`` what was asked for."""
    return REPORT.write(
        {
            "formatVersion": "1.0",
            "stack": stack,
            "options": {"only": only, "exclude": exclude},
            "drifted": any(report.drifted for report in reports),
            "pending": any(report.pending for report in reports),
            "targets": reports,
            **({"shards": shards} if shards else {}),
            "failed": tuple({"name": name, "message": message} for name, message in (failed or {}).items()),
        }
    )


def describe_output(text: str) -> str:
    """Return which output of this program a text is that is no plan; empty if it is none of them."""
    if text.startswith('{"type"'):
        return EVENTS_OUTPUT
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(content, dict):
        return ""
    sorts = {
        "drifted": DRIFT_OUTPUT,
        "problems": "the output of validate",
        "fingerprints": "the marker of an applied plan",
        "$schema": "a JSON Schema",
    }
    known = next((sort for key, sort in sorts.items() if key in content), "")
    if known or not {"stack", "targets"} <= content.keys() or "options" in content:
        return known
    targets = content["targets"] if isinstance(content["targets"], list) else []
    with_outputs = any(isinstance(target, dict) and "missing" in target for target in targets)
    return "the output of outputs" if with_outputs else "the output of status"
