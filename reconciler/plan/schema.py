"""The JSON Schema of the plan file, for the programs of others. Tests hold it against what ``codec`` writes."""

from __future__ import annotations

from reconciler.model.address import KindName
from reconciler.model.sink import Store
from reconciler.model.values import REF
from reconciler.plan.actions import Reason, ReplaceOrder, Verb
from reconciler.plan.json_schema import list_of, object_of, or_null

_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_TEXTS = {"type": "array", "items": _TEXT}
_TEXT_MAP = {"type": "object", "additionalProperties": _TEXT}
_COUNT = {"type": "integer", "minimum": 0}
_DIGEST = {"type": "string", "pattern": "^sha256:[0-9a-f]+$"}
_ADDRESS = {"type": "string", "pattern": f"^({'|'.join(kind.value for kind in KindName)})/.+$"}
_ARN = {"type": "string", "pattern": "^arn:"}


def plan_schema() -> dict[str, object]:
    """Return the schema of format 1. A later 1.x may add keys, so what is not named here is allowed."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ivs-reconciler plan",
        "description": "What plan --out saves and apply runs. Holds no secret.",
        **object_of(
            {
                "formatVersion": {"type": "string", "pattern": r"^1\.[0-9]+$"},
                "stack": _TEXT,
                "createdAt": {"type": "string", "description": "UTC, ISO 8601."},
                "gitCommit": _TEXT_OR_NULL,
                "gitTree": {
                    **_TEXT,
                    "description": "The tree of gitCommit: the same for a merge that brings in nothing else.",
                },
                "base": {
                    **object_of({"name": _TEXT, "commit": _TEXT}),
                    "description": "What gitCommit is to be merged into, when the plan was made.",
                },
                "ofRevisions": {
                    "const": True,
                    "description": "The spec of base stood in the place of live state; there are no calls, and it cannot be applied.",
                },
                "specDigest": _DIGEST,
                "fingerprint": {**_DIGEST, "description": "Of everything but createdAt, gitCommit, gitTree and base."},
                "options": object_of(
                    {
                        "prune": {"type": "boolean"},
                        "adopt": {"type": "boolean"},
                        "only": _TEXTS,
                        "exclude": _TEXTS,
                        "stopLive": _TEXTS,
                        "waitLive": or_null(_COUNT),
                    }
                ),
                "targets": list_of({"$ref": "#/$defs/target"}),
            },
            optional=("gitTree", "base", "ofRevisions"),
        ),
        "$defs": {"target": _target(), "action": _action(), "change": _change(), "step": _step(), "value": _value()},
    }


def _target() -> dict[str, object]:
    counts = (*(verb.value for verb in Verb), "unchanged", "foreign", "orphaned", "blocked", "defaults")
    return object_of(
        {
            "name": _TEXT,
            "accountId": {
                "type": "string",
                "pattern": "^([0-9]{12})?$",
                "description": "Empty where a comparison of revisions does not know it.",
            },
            "region": _TEXT,
            "specDigest": {**_TEXT, "description": "Digest of the desired state of this target."},
            "fingerprint": {**_DIGEST, "description": "Of everything in this target but the fingerprint itself."},
            "summary": {
                **object_of(dict.fromkeys(counts, _COUNT)),
                "description": "A blocked action counts in blocked alone.",
            },
            "managed": {
                "type": "object",
                "propertyNames": {"enum": [kind.value for kind in KindName]},
                "additionalProperties": _COUNT,
            },
            "desired": {**_COUNT, "description": "How many resources the spec has for this target."},
            "actions": list_of({"$ref": "#/$defs/action"}),
            "orphans": list_of(
                object_of(
                    {
                        "address": _ADDRESS,
                        "arn": {"type": "string", "pattern": "^(arn:.*)?$"},
                        "protected": {"type": "boolean"},
                    }
                )
            ),
            "duplicates": list_of(
                object_of({"address": _ADDRESS, "kept": _ARN, "others": {"type": "array", "items": _ARN}})
            ),
            "notes": _TEXTS,
            "onAir": {
                **list_of(
                    object_of(
                        {
                            "address": _ADDRESS,
                            "arn": _ARN,
                            "since": _TEXT,
                            "viewers": {"type": "integer"},
                            "health": _TEXT,
                        }
                    )
                ),
                "description": "Channels on air that the plan touches; -1 viewers where the service could not count.",
            },
            "quotas": {
                **list_of(
                    object_of(
                        {
                            "kind": {"enum": [kind.value for kind in KindName]},
                            **dict.fromkeys(("now", "others", "peak", "after", "limit"), _COUNT),
                            "adjustable": {"type": "boolean"},
                            "code": _TEXT,
                            "applied": {
                                "type": "boolean",
                                "description": "False where limit is the documented default.",
                            },
                        }
                    )
                ),
                "description": "Of the kinds that the plan creates: what is there, what is not this stack's, the most at any moment, what is there at the end.",
            },
            "waitLive": {
                **_COUNT,
                "description": "Seconds that an apply waits for a channel that goes on air meanwhile.",
            },
        }
    )


def _action() -> dict[str, object]:
    return object_of(
        {
            "address": _ADDRESS,
            "kind": {"enum": [kind.value for kind in KindName]},
            "action": {"enum": [verb.value for verb in Verb]},
            "reason": {"enum": [reason.value for reason in Reason]},
            "explanation": _TEXT,
            "arn": _TEXT_OR_NULL,
            "order": {
                "enum": [None, *(order.value for order in ReplaceOrder)],
                "description": "Of a replacement: which half comes first.",
            },
            "changes": list_of({"$ref": "#/$defs/change"}),
            "blocked": or_null(
                object_of(
                    {"code": {"enum": ["protected", "live", "foreign", "unreadable", "depends"]}, "message": _TEXT}
                )
            ),
            "warnings": _TEXTS,
            "steps": {**list_of({"$ref": "#/$defs/step"}), "description": "None while the action is blocked."},
            "observed": or_null(
                object_of({"properties": {"type": "object"}, "tags": _TEXT_MAP, "state": _TEXT_OR_NULL})
            ),
        }
    )


def _change() -> dict[str, object]:
    return object_of(
        {
            "path": {
                "type": "string",
                "pattern": "^/",
                "description": "A JSON pointer into the properties, or /tags/<key>.",
            },
            "before": {"$ref": "#/$defs/value"},
            "after": {"$ref": "#/$defs/value"},
            "absentBefore": {"const": True},
            "absentAfter": {"const": True},
        },
        optional=("absentBefore", "absentAfter"),
    )


def _step() -> dict[str, object]:
    return object_of(
        {
            "id": {"type": "string", "pattern": "#[0-9]+$"},
            "operation": {**_TEXT, "description": "The IVS API operation."},
            "parameters": {"type": "object", "additionalProperties": {"$ref": "#/$defs/value"}},
            "after": {**_TEXTS, "description": "The steps that must be done before."},
            "binds": {**_TEXT_MAP, "description": "By address, the path in the answer that holds its ARN."},
            "until": {
                **object_of(
                    {
                        "member": _TEXT,
                        "equals": _TEXT,
                        "failsOn": _TEXT_OR_NULL,
                        "absent": {"const": True},
                        "seconds": _COUNT,
                    },
                    optional=("absent", "seconds"),
                ),
                "description": "Repeat the read until the member has the value; with absent, until nothing in the list has it.",
            },
            "deliver": {
                **object_of(
                    {"store": {"enum": [store.value for store in Store]}, "name": _TEXT, "kmsKeyId": _TEXT},
                    optional=("kmsKeyId",),
                ),
                "description": "Where the stream key's value, read by this step, goes; it goes there and nowhere else.",
            },
        },
        optional=("until", "deliver"),
    )


def _value() -> dict[str, object]:
    reference = {**object_of({REF: _ADDRESS}), "additionalProperties": False}
    return {
        "description": f'Any JSON; an object {{"{REF}": address}} stands for the ARN of that resource, known once it is made.',
        "anyOf": [{"type": ["null", "boolean", "integer", "string", "array", "object"]}, reference],
    }
