"""The JSON Schema of the plan file, for the programs of others. Tests hold it against what ``codec`` writes.

The few shapes that published JSON Schemas are made of.

The JSON Schema of ``drift --format json``, for the programs of others. Tests hold it against what is printed.

The JSON Schema of one line of ``apply --format json``, for the programs of others. Tests hold it against what is printed.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.drift.report import DriftStatus
from reconciler.model.address import KindName
from reconciler.model.target import Store
from reconciler.model.values import REF
from reconciler.plan.plan import Reason, ReplaceOrder, Result, Verb


def object_of(properties: Mapping[str, object], optional: tuple[str, ...] = ()) -> dict[str, object]:
    """Return the schema of an object whose properties are required, but for those that are optional."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }


def list_of(items: Mapping[str, object]) -> dict[str, object]:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def or_null(schema: Mapping[str, object]) -> dict[str, object]:
    """Return a schema that takes null too."""
    return {"anyOf": [schema, {"type": "null"}]}


_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_TEXTS = {"type": "array", "items": _TEXT}
_TEXT_MAP = {"type": "object", "additionalProperties": _TEXT}
_COUNT = {"type": "integer", "minimum": 0}
_DIGEST = {"type": "string", "pattern": "^sha256:[0-9a-f]+$"}
_ADDRESS = {"type": "string", "pattern": f"^({'|'.join(kind.value for kind in KindName)})/.+$"}
_ARN = {"type": "string", "pattern": "^arn:"}


def plan_schema() -> dict[str, object]:
    """Return the schema of format 2. A later 2.x may add keys, so what is not named here is allowed."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ivs-reconciler plan",
        "description": "What plan --out saves and apply runs. Holds no secret.",
        **object_of(
            {
                "formatVersion": {"type": "string", "pattern": r"^2\.[0-9]+$"},
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
    counts = (*(verb.value for verb in Verb), "unchanged", "unmanaged", "orphaned", "blocked", "defaults")
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
            "liveChannels": {
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
                "description": "Live channels that the plan changes; -1 viewers if the service could not count them.",
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
            "notRead": {
                **list_of({"enum": [kind.value for kind in KindName]}),
                "description": "Kinds that neither the spec nor the last apply has, and that were not read: nothing is known about them.",
            },
            "waitLive": {
                **_COUNT,
                "description": "Seconds that an apply waits for a channel that goes live after the plan was made.",
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
                    {"code": {"enum": ["protected", "live", "unmanaged", "unreadable", "depends"]}, "message": _TEXT}
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


_FLAG = {"type": "boolean"}
_DRIFT_STATUS = {"enum": [status.value for status in DriftStatus]}


def drift_schema() -> dict[str, object]:
    """Return the schema of format 2. A later 2.x may add keys, so what is not named here is allowed."""
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
        "$defs": {
            "target": _drift_schema_target(),
            "finding": _finding(),
            "change": _drift_schema_change(),
            "blame": _blame(),
        },
    }


def _drift_schema_target() -> dict[str, object]:
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
            "unmanaged": list_of(
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
                **list_of(object_of({"address": _ADDRESS, "status": _DRIFT_STATUS, "arn": _ARN, "changes": changes})),
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
            "status": _DRIFT_STATUS,
            "explanation": _TEXT,
            "arn": or_null(_ARN),
            "wanted": {**_FLAG, "description": "Nobody did it: a replacement left it behind on its way."},
            "changes": list_of({"$ref": "#/$defs/change"}),
            "blame": {"$ref": "#/$defs/blame"},
        },
        optional=("blame",),
    )


def _drift_schema_change() -> dict[str, object]:
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


_SECONDS = {"type": "number", "minimum": 0}
_VERB = {"enum": [verb.value for verb in Verb]}
_RESULT = {"enum": [result.value for result in Result]}


def events_schema() -> dict[str, object]:
    """Return the schema of format 2. A later 2.x may add types and keys, so what is not named here is allowed."""
    sorts = {
        "version": (_version(), "The first line."),
        "plan": (
            object_of({"plan": {"type": "object", "description": "As plan.schema.json describes it."}}),
            "What is carried out, or refused.",
        ),
        "step_started": (_events_schema_step({}), "A call is about to be sent."),
        "step_waiting": (_events_schema_step({"seconds": _SECONDS, "why": _TEXT}), "A step looks again later."),
        "step_finished": (_step_finished(), "A step is settled."),
        "action_finished": (_action_finished(), "An action is settled."),
        "forecast": (_forecast(), "What is left, where a pace is kept."),
        "result": (_result(), "The end of the apply of one target; without a target where there was nothing to do."),
        "refused": (
            _ending(("refused", "locked", "stale"), 3),
            "The last line where nothing was changed, because a person decides, somebody else applies, or things moved.",
        ),
        "error": (
            _ending(("error", "stopped"), 1, 130, 143),
            "The last line where the run ended with an error, or was stopped by a signal.",
        ),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ivs-reconciler apply event",
        "description": "One line of what apply and rotate print with --format json. A reader skips types that it does not know. Holds no secret.",
        **object_of({"type": _TEXT}),
        "allOf": [
            {"if": {"properties": {"type": {"const": sort}}}, "then": {**schema, "description": description}}
            for sort, (schema, description) in sorts.items()
        ],
    }


def _version() -> dict[str, object]:
    return object_of(
        {"formatVersion": {"type": "string", "pattern": r"^1\.[0-9]+$"}, "program": _TEXT, "version": _TEXT}
    )


def _events_schema_step(more: dict[str, object]) -> dict[str, object]:
    return object_of({"target": _TEXT, "address": _ADDRESS, "step": _TEXT, "operation": _TEXT, **more})


def _step_finished() -> dict[str, object]:
    return _events_schema_step(
        {
            "outcome": _RESULT,
            "calls": _COUNT,
            "seconds": _SECONDS,
            "requestId": _TEXT_OR_NULL,
            "code": _TEXT_OR_NULL,
            "message": _TEXT_OR_NULL,
        }
    )


def _action_finished() -> dict[str, object]:
    return object_of({"target": _TEXT, **_outcome()})


def _outcome() -> dict[str, object]:
    return {
        "address": _ADDRESS,
        "action": _VERB,
        "outcome": _RESULT,
        "arn": _TEXT_OR_NULL,
        "requestId": _TEXT_OR_NULL,
        "message": _TEXT_OR_NULL,
    }


def _forecast() -> dict[str, object]:
    return object_of(
        {
            "target": _TEXT,
            "callsLeft": {"type": "object", "additionalProperties": _COUNT},
            "narrow": {**_TEXT, "description": "The operation with the most time left."},
            "callsPerSecond": _SECONDS,
            "secondsLeft": _SECONDS,
            "elapsed": _SECONDS,
            "expectedEnd": {**_TEXT, "description": "UTC, ISO 8601."},
        }
    )


def _result() -> dict[str, object]:
    return object_of(
        {
            "complete": {
                **_FLAG,
                "description": "False where something failed, was blocked or skipped: exit code 4.",
            },
            "target": _TEXT,
            "interrupted": _FLAG,
            "calls": _COUNT,
            "seconds": _SECONDS,
            "outcomes": {"type": "array", "items": object_of(_outcome())},
        },
        optional=("target", "interrupted", "calls", "seconds", "outcomes"),
    )


def _ending(codes: tuple[str, ...], *exit_codes: int) -> dict[str, object]:
    return object_of(
        {
            "code": {"enum": codes},
            "message": {**_TEXT, "description": "Why, and what to do next; as stderr has it."},
            "exitCode": {"enum": exit_codes},
        }
    )
