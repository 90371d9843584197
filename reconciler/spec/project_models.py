"""pydantic models of the project file, and the JSON Schemas of project and spec files. Rules between fields are in ``project``."""

# Without postponed annotations: see ``models``.

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from reconciler.model.kinds import OUTPUT_NAMES
from reconciler.model.target import HOME_REGIONS, Topic
from reconciler.spec.models import ChannelDefaults, DefaultTags, Spec, StreamKeyDefaults, Strict

STACK_PATTERN = r"^[A-Za-z0-9._-]{1,128}$"
TARGET_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
ACCOUNT_PATTERN = r"^[0-9]{12}$"
ROLE_PATTERN = r"^arn:aws:iam::[0-9]{12}:role/[\x21-\x7e]{1,512}$"
VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
RECEIVER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
TOPIC_ARN_PATTERN = r"^arn:aws:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?$"
BUS_ARN_PATTERN = r"^arn:aws:events:[a-z0-9-]+:[0-9]{12}:event-bus/[A-Za-z0-9._/-]{1,256}$"
BUCKET_PATTERN = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
STATE_PREFIX_PATTERN = r"^[A-Za-z0-9!_.*'()/-]*$"
REGION_PATTERN = r"^[a-z]{2}(-[a-z]+)+-[0-9]$"
ENDPOINT_PATTERN = r"^https?://[^\s/@?#]+/?$"

Pattern = Annotated[str, Field(min_length=1, max_length=1024)]
Percent = Annotated[int, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0)]


def _enum(*values: str) -> Any:
    """Return a field with an enum in the schema only; ``project`` validates it, with a better message."""
    return Field(json_schema_extra={"enum": list(values)})


class S3LockSettings(Strict):
    """S3 object that holds the lock."""

    bucket: Annotated[str, Field(pattern=BUCKET_PATTERN)] = Field(description="Name of the bucket.")
    key: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="Key of the object; use a different one for each target."
    )
    region: Annotated[str, Field(pattern=REGION_PATTERN)] | None = Field(
        None, description="Region of the bucket. Default: the region of the target."
    )


class LockSettings(Strict):
    """Lock of a target: exactly one of `s3` and `file`."""

    s3: S3LockSettings | None = Field(None, description="S3 object; locks between machines.")
    file: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        None, description="Path of a lock file, relative to the project file; locks between processes of one machine."
    )


class S3StateSettings(Strict):
    """S3 bucket that holds the records of applies."""

    bucket: Annotated[str, Field(pattern=BUCKET_PATTERN)] = Field(description="Name of the bucket.")
    prefix: Annotated[str, Field(max_length=512, pattern=STATE_PREFIX_PATTERN)] | None = Field(
        None,
        description="Folder of the records, such as `ivs/`; a `/` at its end is added if it is missing. Default: none.",
    )
    region: Annotated[str, Field(pattern=REGION_PATTERN)] | None = Field(
        None, description="Region of the bucket. Default: the region of the first target."
    )
    profile: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="AWS profile to take credentials from. Default: those of the environment, not of a target."
    )
    roleArn: Annotated[str, Field(pattern=ROLE_PATTERN)] | None = Field(None, description="ARN of the role to assume.")


class StateSettings(Strict):
    """Place of the records of applies."""

    s3: S3StateSettings = Field(description="S3 bucket, for several machines.")


class GuardrailSettings(Strict):
    """Limits of one plan, counted per kind. `null` disables a limit."""

    maxDeletes: Count | None = Field(None, description="Maximum number of deletions. Default: 20.")
    maxDeletePercent: Percent | None = Field(
        None, description="Maximum deletions as a percentage of the managed resources. Default: 30."
    )
    maxUpdates: Count | None = Field(None, description="Maximum number of updates. Default: no limit.")
    maxUpdatePercent: Percent | None = Field(
        None, description="Maximum updates as a percentage of the managed resources. Default: no limit."
    )
    onLive: Literal["block", "wait", "stop"] | None = Field(
        None,
        description="What to do if a change requires a live channel to be offline: skip it (block), wait for its stream to end (wait), "
        "or stop the streams given with --stop-live (stop). Default: block.",
    )
    liveDeadline: str | None = Field(
        None, description="Maximum time to wait with `onLive: wait`, such as 90s, 30m or 2h. Default: 30m."
    )


class TargetSettings(Strict):
    """Account and region that the stack is applied to."""

    region: Annotated[str, _enum(*HOME_REGIONS)] = Field(description="AWS region; one that has the IVS control plane.")
    accountId: Annotated[str, Field(pattern=ACCOUNT_PATTERN)] | None = Field(
        None,
        description="Account ID, 12 digits in quotes. Compared with the caller's account (STS) before any other call.",
    )
    roleArn: Annotated[str, Field(pattern=ROLE_PATTERN)] | None = Field(None, description="ARN of the role to assume.")
    externalId: Annotated[str, Field(min_length=2, max_length=1224)] | None = Field(
        None, description="External ID for assuming the role."
    )
    profile: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="AWS profile to take credentials from."
    )
    endpointUrl: Annotated[str, Field(pattern=ENDPOINT_PATTERN)] | None = Field(
        None, description="URL of a server to use instead of AWS, such as http://localhost:8080."
    )
    sandbox: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="Use the embedded server instead of AWS. Path of its state file, relative to the project file.",
    )
    rateLimits: Literal["aws", "off"] | None = Field(
        None,
        description="Keep calls within the published AWS rates (aws), or do not limit them (off). Default: aws; off with `sandbox` or a loopback endpointUrl.",
    )
    lock: LockSettings | None = Field(None, description="Lock that allows one apply at a time. Default: none.")
    prune: bool | None = Field(
        None, description="Delete managed resources that were removed from the spec. Default: false."
    )
    specs: Annotated[list[Pattern], Field(min_length=1)] | None = Field(
        None, description="Spec files of this target, in addition to the project's `specs`."
    )
    guardrails: GuardrailSettings | None = Field(
        None, description="Stricter limits for this target. Default: the project's `guardrails`."
    )


class HookSettings(Strict):
    """Webhook whose URL is a secret, kept in an environment variable."""

    urlEnv: Annotated[str, Field(pattern=VARIABLE_PATTERN)] = Field(
        description="Name of the environment variable that holds the URL."
    )


class SignedHookSettings(HookSettings):
    """Webhook that accepts JSON."""

    secretEnv: Annotated[str, Field(pattern=VARIABLE_PATTERN)] | None = Field(
        None,
        description="Name of the environment variable that holds the signing key. The HMAC-SHA-256 of the body is sent in a header. Default: unsigned.",
    )


class TopicSettings(Strict):
    """Amazon SNS topic."""

    topicArn: Annotated[str, Field(pattern=TOPIC_ARN_PATTERN)] = Field(description="ARN of the topic.")
    profile: Annotated[str, Field(min_length=1)] | None = Field(None, description="AWS profile to publish with.")
    roleArn: Annotated[str, Field(pattern=ROLE_PATTERN)] | None = Field(
        None, description="ARN of the role to assume to publish."
    )


class BusSettings(Strict):
    """Amazon EventBridge event bus."""

    busArn: Annotated[str, Field(pattern=BUS_ARN_PATTERN)] = Field(description="ARN of the event bus.")
    profile: Annotated[str, Field(min_length=1)] | None = Field(None, description="AWS profile to put events with.")
    roleArn: Annotated[str, Field(pattern=ROLE_PATTERN)] | None = Field(
        None, description="ARN of the role to assume to put events."
    )


class ReceiverSettings(Strict):
    """A receiver of notifications: exactly one of `slack`, `webhook`, `sns` or `eventBridge`."""

    slack: HookSettings | None = Field(None, description="Slack incoming webhook, or one that is compatible with it.")
    webhook: SignedHookSettings | None = Field(None, description="Webhook that accepts JSON.")
    sns: TopicSettings | None = Field(None, description="Amazon SNS topic.")
    eventBridge: BusSettings | None = Field(None, description="Amazon EventBridge event bus.")
    about: Annotated[list[Annotated[str, _enum(*Topic)]], Field(min_length=1)] | None = Field(
        None, description="Topics to notify of. Default: [drift, missing, untagged, duplicate, unreadable]."
    )
    targets: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="Targets to notify about. Default: all."
    )


class Defaults(Strict):
    """Default fields of resources."""

    tags: DefaultTags | None = Field(None, description="Tags of every resource, including stream keys.")
    channel: ChannelDefaults | None = Field(
        None, description="Default fields of channels. Write `null` in a channel to remove a default."
    )
    streamKey: StreamKeyDefaults | None = Field(
        None,
        description="Default rotation and sink of stream keys. Write `null` in a channel's streamKey to remove a default.",
    )


class ParameterOutput(Strict):
    """String parameters in Systems Manager Parameter Store, one for each output."""

    name: Annotated[str, Field(min_length=1, max_length=1011)] = Field(
        description="Name of a parameter, such as /ivs/{stack}/{target}/{kind}/{id}/{output}. Placeholders: {stack}, {target}, {region}, {accountId}, {kind}, {id}, {output}."
    )


class FileOutput(Strict):
    """File that is replaced as a whole if its content changes."""

    path: Pattern = Field(
        description="Path relative to the project file. Placeholders: {stack}, {target}, {region}, {accountId}."
    )
    format: Literal["json", "env"] | None = Field(
        None, description="The format, as of `outputs --format`. Default: json."
    )


class JobOutput(Strict):
    """Outputs of the CI job that applies: step outputs in GitHub Actions (GITHUB_OUTPUT), a dotenv file in GitLab CI."""

    dotenv: Pattern | None = Field(
        None, description="Path of the dotenv file for GitLab, relative to the project file. Default: ivs-outputs.env."
    )


class OutputSettings(Strict):
    """A place that outputs are published to after an apply: exactly one of `parameterStore`, `file` and `job`."""

    parameterStore: ParameterOutput | None = Field(None, description="Parameters in Parameter Store.")
    file: FileOutput | None = Field(None, description="A file.")
    job: JobOutput | None = Field(None, description="The outputs of the CI job; elsewhere it does nothing.")
    only: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | None = Field(
        None, description="Globs of addresses, such as channel/*. Default: all resources."
    )
    values: Annotated[list[Annotated[str, _enum(*OUTPUT_NAMES)]], Field(min_length=1)] | None = Field(
        None, description="Names of outputs. Default: all."
    )


class ProjectFile(Strict):
    """Project file `ivs-reconciler.yaml`: a stack, its targets and its settings."""

    stack: Annotated[str, Field(pattern=STACK_PATTERN)] = Field(
        description="Name of the stack, written as a tag on every managed resource."
    )
    specs: list[Pattern] | None = Field(
        None,
        description="Spec files of every target: paths relative to this file, with the wildcards `*`, `?` and `**`. Default: [specs/**/*.yaml, specs/**/*.yml].",
    )
    defaults: Defaults | None = Field(None, description="Default tags, channel fields and stream key fields.")
    targets: Annotated[dict[Annotated[str, Field(pattern=TARGET_PATTERN)], TargetSettings], Field(min_length=1)] = (
        Field(description="Targets that the stack is applied to, by name.")
    )
    guardrails: GuardrailSettings | None = Field(None, description="Limits of one plan.")
    ignoreTags: list[Annotated[str, Field(min_length=1, max_length=128)]] | None = Field(
        None, description="Patterns of tag keys to leave out of comparisons; such tags are never removed."
    )
    state: StateSettings | None = Field(
        None,
        description="Place of the records of applies, with which `drift` distinguishes deleted resources from pending ones. "
        "Default: the directory .ivs-reconciler.",
    )
    receivers: dict[Annotated[str, Field(pattern=RECEIVER_PATTERN)], ReceiverSettings] | None = Field(
        None,
        description="Receivers of notifications, by name. `drift --notify` and the controller notify them of new and resolved drift.",
    )
    outputs: list[OutputSettings] | None = Field(
        None,
        description="Places that ARNs, URLs and other outputs are published to by `apply` and the controller, if they differ.",
    )


DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """Return the schemas by file name. Rules between fields, references and keys are checked by ``validate`` only."""
    return {
        "project.schema.json": _schema("project.schema.json", "ivs-reconciler project file", ProjectFile),
        "spec.schema.json": _schema("spec.schema.json", "ivs-reconciler spec file", Spec),
    }


def _schema(name: str, title: str, model: type[BaseModel]) -> dict[str, Any]:
    made = _without_titles(model.model_json_schema())
    made.pop("title", None)
    for owner, definition in {**made.get("$defs", {}), model.__name__: made}.items():
        for field, content in definition.get("properties", {}).items():
            if not _means_something(owner, field):
                _remove_null(content)
            if model is Spec and owner not in ("Spec", "Written"):
                _allow_each(content)
    if model is Spec:
        made["patternProperties"] = {"^x-": {"description": "Holds YAML anchors; nothing else reads it."}}
    return {"$schema": DIALECT, "$id": name, "title": title, **made}


def _means_something(owner: str, field: str) -> bool:
    """Return whether ``null`` removes a default, disables a limit, or is an empty section. Elsewhere it is the same as leaving the field out."""
    return owner in ("Channel", "StreamKey", "Spec") or (owner == "GuardrailSettings" and field.startswith("max"))


def _remove_null(content: dict[str, Any]) -> None:
    """Remove ``null`` from the values that editors offer for a field."""
    if {"type": "null"} in content.get("anyOf", ()):
        others = [one for one in content.pop("anyOf") if one != {"type": "null"}]
        content.update(others[0] if len(others) == 1 else {"anyOf": others})
    elif None in content.get("enum", ()):
        content["enum"] = [one for one in content["enum"] if one is not None]


def _allow_each(content: dict[str, Any]) -> None:
    """Also allow ``{each.FIELD}`` for a choice, a boolean or a number: an entry with a loop has its value there."""
    kinds = content.get("anyOf") or [content]
    if (
        any("enum" in one or one.get("type") in ("boolean", "integer", "array") for one in kinds)
        and "oneOf" not in content
    ):
        each = {"type": "string", "pattern": r"^\{(each|index)"}
        if "anyOf" in content:
            content["anyOf"].append(each)
        else:
            only = {key: content.pop(key) for key in [*content] if key != "description"}
            content["anyOf"] = [only, each]


def _without_titles(node: Any, *, names: bool = False) -> Any:
    """Return the schema without generated titles and null defaults; ``names`` says that the keys are field names, not keywords."""
    if isinstance(node, list):
        return [_without_titles(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: value
        for key, value in node.items()
        if names or not (key == "title" or (key == "default" and value is None))
    }
    return {
        key: _without_titles(value, names=not names and key in ("properties", "$defs")) for key, value in kept.items()
    }
