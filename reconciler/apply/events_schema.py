"""The JSON Schema of one line of ``apply --format json``, for the programs of others. Tests hold it against what is printed."""

from __future__ import annotations

from reconciler.model.address import KindName
from reconciler.plan.actions import Result, Verb
from reconciler.plan.json_schema import object_of

_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_FLAG = {"type": "boolean"}
_COUNT = {"type": "integer", "minimum": 0}
_SECONDS = {"type": "number", "minimum": 0}
_ADDRESS = {"type": "string", "pattern": f"^({'|'.join(kind.value for kind in KindName)})/.+$"}
_VERB = {"enum": [verb.value for verb in Verb]}
_RESULT = {"enum": [result.value for result in Result]}


def events_schema() -> dict[str, object]:
    """Return the schema of format 1. A later 1.x may add types and keys, so what is not named here is allowed."""
    sorts = {
        "version": (_version(), "The first line."),
        "plan": (
            object_of({"plan": {"type": "object", "description": "As plan.schema.json describes it."}}),
            "What is carried out, or refused.",
        ),
        "step_started": (_step({}), "A call is about to be sent."),
        "step_waiting": (_step({"seconds": _SECONDS, "why": _TEXT}), "A step looks again later."),
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


def _step(more: dict[str, object]) -> dict[str, object]:
    return object_of({"target": _TEXT, "address": _ADDRESS, "step": _TEXT, "operation": _TEXT, **more})


def _step_finished() -> dict[str, object]:
    return _step(
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
                "description": "False where something failed, was blocked or not attempted: exit code 4.",
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
