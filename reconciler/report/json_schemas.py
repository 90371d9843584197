"""The published JSON Schemas of the plan file, of ``drift`` and ``outputs --format json``, and of a line of ``apply --format json``.

They come from the tables that read and write: ``plan.codec``, ``drift.report``, ``accounts``, ``apply.events``. Later versions may add members,
so unknown ones are allowed.
"""

from __future__ import annotations

from typing import Any

from reconciler import json_format as form
from reconciler.apply.events import APPLY_RESULT, OUTCOME, STEP, STEP_OUTCOME
from reconciler.drift.report import REPORT
from reconciler.json_format import COUNT, SECONDS, TEXT, Form, Format, described, object_of
from reconciler.plan.codec import ADDRESS, DIGEST, FORMAT_VERSION, PLAN
from reconciler.report.accounts import OUTPUTS

_MEMBERS = {
    "accountId": "The AWS account, 12 digits.",
    "action": "What is done with the resource.",
    "actions": "What is to be done, in the order of addresses. Unchanged resources are counted only.",
    "address": "Kind and id in the spec; a stream key has the id of its channel.",
    "adopt": "Whether unmanaged resources with the name of one in the spec are adopted.",
    "adjustable": "Whether AWS raises the quota on request.",
    "after": "The value after the apply; absent if there is none.",
    "arn": "ARN; empty or null while the resource does not exist.",
    "at": "UTC, ISO 8601.",
    "before": "The value before the apply; absent if there is none.",
    "blame": "Who changed it, with drift --blame.",
    "blocked": "Why the action is not carried out; null if it is.",
    "by": "The calls, newest first.",
    "calls": "API calls that were sent, retries included.",
    "callsLeft": "The calls that are left, by operation.",
    "callsPerSecond": "The rate at which the operation with the most time left is called.",
    "changes": "The fields and tags that differ.",
    "code": "The reason, for programs.",
    "commit": "Commit id of the base.",
    "count": "How many resources use it.",
    "deleted": "What was removed.",
    "duplicates": "Addresses with more than one live resource.",
    "elapsed": "Seconds since the start of the apply.",
    "equals": "The value that ends the wait.",
    "eventId": "Id of the CloudTrail event.",
    "exclude": "Globs of addresses that are left out.",
    "exitCode": "The exit code of the run.",
    "explanation": "The reason, for people.",
    "failsOn": "The value that ends the wait with an error.",
    "failures": "What could not be published, and why.",
    "fields": "The values by field.",
    "findings": "The resources that are out of sync.",
    "formatVersion": "Version of this format: a reader of 1.0 can read 1.1.",
    "gitCommit": "The checked-out commit; null outside of a git repository.",
    "health": "Health of the stream, as AWS reports it.",
    "interrupted": "Whether the apply was stopped by a signal.",
    "kept": "The ARN of the one that stays.",
    "kind": "Kind of the resource.",
    "kmsKeyId": "The KMS key that encrypts it; empty for the default.",
    "limit": "The quota.",
    "liveDeadline": "Seconds that an apply waits for broadcasts to end.",
    "managed": "How many live resources the stack owns.",
    "maxDeletePercent": "Most deletes, in percent of the resources of a kind; null for no limit.",
    "maxDeletes": "Most deletes of a kind; null for no limit.",
    "maxUpdatePercent": "Most updates, in percent of the resources of a kind; null for no limit.",
    "maxUpdates": "Most updates of a kind; null for no limit.",
    "member": "JSON pointer to the member of the answer that is waited for.",
    "message": "Why, and what to do next.",
    "name": "The name.",
    "notes": "Notes, as sentences.",
    "now": "How many exist.",
    "observed": "What the account had when the plan was created; null for a create. Apply compares it.",
    "onLive": "What is done with a change that would end or disturb a broadcast.",
    "only": "Globs of addresses that are considered; empty for all.",
    "operation": "The API operation.",
    "options": "The options of the run.",
    "orphans": "Resources of the stack that are not in the spec, and that are not deleted.",
    "others": "The other ones.",
    "outcome": "How it ended.",
    "outcomes": "The outcome of each action.",
    "owner": "The stack, or the CloudFormation stack, that owns it; null if none does.",
    "parameters": "Parameters of the call.",
    "path": "The setting, with dots.",
    "peak": "The most that exist at one time during the apply.",
    "pending": "Whether changes of the spec are not applied yet.",
    "drifted": "Whether something was modified outside, is missing, or is a duplicate.",
    "program": "The program.",
    "properties": "Fields of the resource, without defaults.",
    "protected": "Whether the spec protected it.",
    "prune": "Whether resources that the spec no longer has are deleted.",
    "reason": "Why the action is there, for programs.",
    "region": "The AWS region.",
    "remark": "Why no call is named, or what is incomplete.",
    "replacedBy": "ARN of the resource that replaced it.",
    "requestId": "Id of the last request, for AWS support.",
    "seconds": "Seconds.",
    "secondsLeft": "Seconds until the end, at the call rates of the target.",
    "settings": "Settings of the project file that the plan changes.",
    "since": "When the broadcast began: UTC, ISO 8601.",
    "skipped": "Parameters that another owner has; they were not changed.",
    "source": "The address that the call came from.",
    "specDigest": "Digest of the desired state.",
    "stack": "The stack.",
    "state": "Life-cycle state of the resource, if its kind has one.",
    "status": "How the resource differs.",
    "step": "Id of the step.",
    "stopLive": "Globs of channels whose broadcast may be ended.",
    "store": "Kind of the sink.",
    "tags": "Its tags.",
    "target": "Name of the target.",
    "targets": "One entry a target, in the order of the project file.",
    "type": "Type of the event.",
    "unchanged": "How many resources need no change.",
    "unmanaged": "Live resources that the stack does not own.",
    "usage": "How many use it, and whose they are.",
    "users": "The resources that use it.",
    "version": "Version of the program.",
    "viewers": "Number of viewers.",
    "waitLive": "Seconds that an apply waits for broadcasts to end; null if --wait-live is not given.",
    "warnings": "What to check before the apply, as sentences.",
    "who": "ARN of the caller.",
    "why": "What it waits for.",
    "written": "What was written.",
    "step/id": "Id of the step: the address of its resource and a number.",
    "summary/adopt": "Resources to adopt.",
    "summary/blocked": "Actions that are blocked.",
    "summary/create": "Resources to create.",
    "summary/defaults": "Fields that the spec leaves out and the account has at the service's default.",
    "summary/delete": "Resources to delete.",
    "summary/forget": "Resources to stop managing.",
    "summary/orphaned": "Orphans.",
    "summary/replace": "Resources to replace.",
    "summary/update": "Resources to update.",
    "quotas/after": "How many exist after the apply.",
    "quotas/code": "Code of the quota in Service Quotas.",
    "quotas/others": "How many of them are not the stack's.",
    "value/$ref": "The address whose ARN is used here at the apply.",
}
"""What a member is, by its name, or by the name of what it is in and its own; for members whose table says nothing else."""


def _describe(schema: Any, place: str) -> None:
    """Add the descriptions to a JSON Schema and everything in it."""
    if isinstance(schema, list):
        for item in schema:
            _describe(item, place)
    if not isinstance(schema, dict):
        return
    for name, member in schema.get("properties", {}).items():
        if isinstance(member, dict):
            text = _MEMBERS.get(f"{place}/{name}") or _MEMBERS.get(name)
            if text and not {"description", "const"} & member.keys():
                member["description"] = text
            _describe(member, name)
    for name, definition in schema.get("$defs", {}).items():
        _describe(definition, name)
    for name in ("items", "additionalProperties", "anyOf", "oneOf", "allOf", "then"):
        _describe(schema.get(name), place)


def _document(title: str, description: str, content: dict[str, Any]) -> dict[str, Any]:
    _describe(content, "")
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
    "summary": (
        "How the apply of each of several targets ended; before their results.",
        object_of(
            counts=described(
                form.ANY, "Targets by state.", type="object", additionalProperties={"type": "integer", "minimum": 0}
            ),
            targets=described(
                form.ANY,
                "The state of each target: applied, in sync, incomplete, interrupted, failed.",
                type="object",
                additionalProperties={"type": "string"},
            ),
        ),
    ),
    "result": (
        "The end of the apply of one target, in the order of the project; without a target if there was nothing to do.",
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
