"""The JSON Schema of ``drift --format json``, for the programs of others. Tests hold it against what is printed."""

from __future__ import annotations

from reconciler.model.address import KindName
from reconciler.plan.findings import Standing
from reconciler.plan.json_schema import list_of, object_of, or_null

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
        **object_of(
            {
                "formatVersion": {"type": "string", "pattern": r"^1\.[0-9]+$"},
                "stack": _TEXT,
                "options": {
                    **object_of({"only": _TEXTS, "exclude": _TEXTS}),
                    "description": "Globs of addresses: nothing is said about what they leave out.",
                },
                "drifted": {**_FLAG, "description": "Something changed outside, is missing or stands twice."},
                "pending": {**_FLAG, "description": "Merged changes wait to be applied."},
                "targets": list_of({"$ref": "#/$defs/target"}),
                "failed": {
                    **list_of(object_of({"name": _TEXT, "message": _TEXT})),
                    "description": "Targets that could not be read.",
                },
            },
            optional=("options",),
        ),
        "$defs": {"target": _target(), "finding": _finding(), "change": _change(), "blame": _blame()},
    }


def _target() -> dict[str, object]:
    changes = list_of({"$ref": "#/$defs/change"})
    return object_of(
        {
            "name": _TEXT,
            "accountId": {"type": "string", "pattern": "^[0-9]{12}$"},
            "region": _TEXT,
            "drifted": _FLAG,
            "pending": _FLAG,
            "managed": _COUNT,
            "unchanged": _COUNT,
            "defaults": {
                **_COUNT,
                "description": "Fields that are at the service's default and that the spec does not name.",
            },
            "findings": list_of({"$ref": "#/$defs/finding"}),
            "foreign": list_of(
                object_of(
                    {
                        "kind": {"enum": [kind.value for kind in KindName]},
                        "arn": _ARN,
                        "name": _TEXT,
                        "owner": or_null(_TEXT),
                    }
                )
            ),
            "ignored": {
                **list_of(object_of({"address": _ADDRESS, "standing": _STANDING, "arn": _ARN, "changes": changes})),
                "description": "Differences that the caller asked to ignore.",
            },
            "notes": _TEXTS,
            "unread": {
                **_TEXTS,
                "description": "What of the spec could not be read, so that nothing is said about it.",
            },
            "defaultFields": {
                **list_of(object_of({"address": _ADDRESS, "fields": {"type": "object"}})),
                "description": "With -v: the fields that defaults counts, with their values.",
            },
        },
        optional=("defaultFields",),
    )


def _finding() -> dict[str, object]:
    return object_of(
        {
            "address": _ADDRESS,
            "standing": _STANDING,
            "explanation": _TEXT,
            "arn": or_null(_ARN),
            "wanted": {**_FLAG, "description": "Nobody did it: a replacement left it behind on its way."},
            "changes": list_of({"$ref": "#/$defs/change"}),
            "blame": {"$ref": "#/$defs/blame"},
        },
        optional=("blame",),
    )


def _change() -> dict[str, object]:
    return object_of(
        {
            "path": {
                "type": "string",
                "pattern": "^/",
                "description": "A JSON pointer into the properties, or /tags/<key>.",
            },
            "live": {"description": "What the account has; no member where it has nothing."},
            "spec": {"description": "What the spec says; no member where it says nothing."},
        },
        optional=("live", "spec"),
    )


def _blame() -> dict[str, object]:
    deed = object_of(
        {
            "who": _TEXT,
            "at": _TEXT,
            "source": _TEXT,
            "event": {**_TEXT, "description": "The operation."},
            "eventId": _TEXT,
        }
    )
    return {
        **object_of({"by": list_of(deed), "remark": or_null(_TEXT)}),
        "description": "With --blame: who did it, newest first, from CloudTrail; remark says why nobody is named.",
    }
