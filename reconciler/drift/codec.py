"""The drift report as JSON, and back. Readers skip members they do not know, since later versions may add some."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pydantic_core import core_schema as core

from reconciler import json_format as form
from reconciler.diff import FieldChange
from reconciler.drift.report import AtDefault, AttributedCall, Blame, DriftReport, DriftStatus, Finding, Ignored
from reconciler.json_format import ANY, COUNT, FLAG, TEXT, TEXT_OR_NULL, TEXTS, Format, described, list_of
from reconciler.model.shards import Shards
from reconciler.model.values import Value, thaw
from reconciler.plan.codec import ADDRESS, ARN, PATH, SHARDS, UNMANAGED, freeze_value

EVENTS, DRIFT = "the events of an apply", "a drift report"


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


@dataclass(frozen=True, slots=True)
class DriftReports:
    """The reports of the targets of a run. ``failed`` are those that could not be read, and why; ``shards`` as of ``Plan``."""

    stack: str
    reports: tuple[DriftReport, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    shards: Shards | None = None


def read_drift(content: object) -> DriftReports:
    """Return the reports of ``drift --format json``. Raises ``FormatError``."""
    report = REPORT.read(content)
    options = report.get("options", {})
    return DriftReports(
        report["stack"],
        tuple(replace(target, **options) for target in report["targets"]),
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
        return EVENTS
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(content, dict):
        return ""
    sorts = {
        "drifted": DRIFT,
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
