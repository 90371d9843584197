"""The published JSON Schemas of the plan file, of ``drift`` and ``outputs --format json``, and of a line of ``apply --format json``.

They come from the tables that read and write: ``plan.codec``, ``drift.codec``, ``outputs``, ``apply.events``. Later versions may add members,
so unknown ones are allowed.
"""

from __future__ import annotations

from typing import Any

from reconciler import json_format as form
from reconciler.apply.events import APPLY_RESULT, OUTCOME, STEP, STEP_OUTCOME
from reconciler.drift.codec import REPORT
from reconciler.json_format import COUNT, SECONDS, TEXT, Form, Format, described, object_of
from reconciler.plan.codec import ADDRESS, DIGEST, FORMAT_VERSION, PLAN
from reconciler.report.outputs import OUTPUTS


def _document(title: str, description: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"ivs-reconciler {title}",
        "description": f"{description} Holds no secret.",
        **content,
    }


def plan_schema() -> dict[str, Any]:
    """Return the schema of the plan file."""
    content = PLAN.schema()
    _add(content, "formatVersion", form.version(FORMAT_VERSION))
    _add(content, "fingerprint", described(DIGEST, "Of everything but createdAt, gitCommit, gitTree and base."))
    _add(
        content["$defs"]["target"],
        "fingerprint",
        described(DIGEST, "Of everything in this target but the fingerprint itself."),
    )
    return _document("plan", "What plan --out saves and apply runs.", content)


def _add(schema: dict[str, Any], name: str, member: Form) -> None:
    schema["properties"][name] = Format(member).schema()
    schema["required"].append(name)


def drift_schema() -> dict[str, Any]:
    """Return the schema of the drift report."""
    return _document("drift report", "What drift --format json prints.", REPORT.schema())


def outputs_schema() -> dict[str, Any]:
    """Return the schema of the outputs."""
    return _document("outputs", "What outputs --format json prints.", OUTPUTS.schema())


def _ending(codes: tuple[str, ...], *exit_codes: int) -> Form:
    return object_of(
        code=described(TEXT, enum=codes),
        message=described(TEXT, "Why, and what to do next; the same as on stderr."),
        exitCode=described(COUNT, enum=exit_codes),
    )


_EVENTS: dict[str, tuple[str, Form]] = {
    "version": (
        "The first line.",
        object_of(formatVersion=form.version("1.0", minor=True), program=TEXT, version=TEXT),
    ),
    "plan": (
        "The plan that is applied or refused.",
        object_of(plan=described(form.ANY, "As plan.schema.json describes it.", type="object")),
    ),
    "step_started": ("A call is about to be sent.", object_of(target=TEXT, **STEP)),
    "step_waiting": ("A step waits and tries again.", object_of(target=TEXT, **STEP, seconds=SECONDS, why=TEXT)),
    "step_finished": ("A step has an outcome.", object_of(target=TEXT, address=ADDRESS, **STEP_OUTCOME)),
    "action_finished": ("An action has an outcome.", object_of(target=TEXT, **OUTCOME)),
    "forecast": (
        "The rest of a rate-limited apply.",
        object_of(
            target=TEXT,
            callsLeft=described(form.ANY, type="object", additionalProperties={"type": "integer", "minimum": 0}),
            narrow=described(TEXT, "The operation with the most time left."),
            callsPerSecond=SECONDS,
            secondsLeft=SECONDS,
            elapsed=SECONDS,
            expectedEnd=described(TEXT, "UTC, ISO 8601."),
        ),
    ),
    "result": (
        "The end of the apply of one target; without a target if there was nothing to do.",
        object_of(
            **{name: member if name == "complete" else form.omitted(member) for name, member in APPLY_RESULT.items()},
            outputs=form.omitted(
                described(
                    form.ANY,
                    "In the last line: the outputs of all targets, changed or not, as outputs.schema.json describes them.",
                    type="object",
                )
            ),
            published=form.omitted(
                described(
                    object_of(written=form.TEXTS, deleted=form.TEXTS, skipped=form.TEXTS, failures=form.TEXTS),
                    "In the last line, if the project file has outputs: names of parameters and paths of files.",
                )
            ),
        ),
    ),
    "refused": (
        "The last line if nothing was changed: approval is missing, another apply runs, or the plan is stale.",
        _ending(("refused", "locked", "stale"), 3),
    ),
    "error": (
        "The last line if the run ended with an error, or was stopped by a signal.",
        _ending(("error", "stopped"), 1, 130, 143),
    ),
}


def events_schema() -> dict[str, Any]:
    """Return the schema of one event."""
    types = [
        {
            "if": {"properties": {"type": {"const": name}}},
            "then": {**Format(members).schema(), "description": description},
        }
        for name, (description, members) in _EVENTS.items()
    ]
    return _document(
        "apply event",
        "One line of what apply and rotate print with --format json. Readers skip types they do not know.",
        {**Format(object_of(type=TEXT)).schema(), "allOf": types},
    )
