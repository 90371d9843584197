"""The JSON Schema of ``drift --format json``, for the programs of others. Tests hold it against what is printed."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.model.address import KindName
from reconciler.plan.findings import Standing

_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_FLAG = {"type": "boolean"}
_COUNT = {"type": "integer", "minimum": 0}
_ADDRESS = {"type": "string", "pattern": f"^({'|'.join(kind.value for kind in KindName)})/.+$"}
_ARN = {"type": "string", "pattern": "^arn:"}
_STANDING = {"enum": [standing.value for standing in Standing]}


def drift_schema() -> dict[str, object]:
    """Return the schema of format 1. A later 1.x may add keys, so what is not named here is allowed."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ivs-reconciler drift report",
        "description": "What drift --format json prints. Holds no secret.",
        **_object(
            {
                "formatVersion": {"type": "string", "pattern": r"^1\.[0-9]+$"},
                "stack": _TEXT,
                "drifted": {**_FLAG, "description": "Something changed outside, is missing or stands twice."},
                "pending": {**_FLAG, "description": "Merged changes wait to be applied."},
                "targets": _list({"$ref": "#/$defs/target"}),
                "failed": {**_list(_object({"name": _TEXT, "message": _TEXT})), "description": "Targets that could not be read."},
            }
        ),
        "$defs": {"target": _target(), "finding": _finding(), "change": _change(), "blame": _blame()},
    }


def _object(properties: Mapping[str, object], optional: tuple[str, ...] = ()) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": [name for name in properties if name not in optional]}


def _list(items: Mapping[str, object]) -> dict[str, object]:
    return {"type": "array", "items": items}


def _or_null(schema: Mapping[str, object]) -> dict[str, object]:
    return {"anyOf": [schema, {"type": "null"}]}


def _target() -> dict[str, object]:
    changes = _list({"$ref": "#/$defs/change"})
    return _object(
        {
            "name": _TEXT,
            "accountId": {"type": "string", "pattern": "^[0-9]{12}$"},
            "region": _TEXT,
            "drifted": _FLAG,
            "pending": _FLAG,
            "managed": _COUNT,
            "unchanged": _COUNT,
            "defaults": {**_COUNT, "description": "Fields that are at the service's default and that the spec does not name."},
            "findings": _list({"$ref": "#/$defs/finding"}),
            "foreign": _list(_object({"kind": {"enum": [kind.value for kind in KindName]}, "arn": _ARN, "name": _TEXT, "owner": _or_null(_TEXT)})),
            "ignored": {
                **_list(_object({"address": _ADDRESS, "standing": _STANDING, "arn": _ARN, "changes": changes})),
                "description": "Differences that the caller asked to ignore.",
            },
            "notes": _TEXTS,
            "unread": {**_TEXTS, "description": "What of the spec could not be read, so that nothing is said about it."},
            "defaultFields": {
                **_list(_object({"address": _ADDRESS, "fields": {"type": "object"}})),
                "description": "With -v: the fields that defaults counts, with their values.",
            },
        },
        optional=("defaultFields",),
    )


def _finding() -> dict[str, object]:
    return _object(
        {
            "address": _ADDRESS,
            "standing": _STANDING,
            "explanation": _TEXT,
            "arn": _or_null(_ARN),
            "wanted": {**_FLAG, "description": "Nobody did it: a replacement left it behind on its way."},
            "changes": _list({"$ref": "#/$defs/change"}),
            "blame": {"$ref": "#/$defs/blame"},
        },
        optional=("blame",),
    )


def _change() -> dict[str, object]:
    return _object(
        {
            "path": {"type": "string", "pattern": "^/", "description": "A JSON pointer into the properties, or /tags/<key>."},
            "live": {"description": "What the account has; no member where it has nothing."},
            "spec": {"description": "What the spec says; no member where it says nothing."},
        },
        optional=("live", "spec"),
    )


def _blame() -> dict[str, object]:
    deed = _object({"who": _TEXT, "at": _TEXT, "source": _TEXT, "event": {**_TEXT, "description": "The operation."}, "eventId": _TEXT})
    return {
        **_object({"by": _list(deed), "remark": _or_null(_TEXT)}),
        "description": "With --blame: who did it, newest first, from CloudTrail; remark says why nobody is named.",
    }
