"""The shape of the project file, as pydantic models. Combinations of fields are judged in ``project``.

The JSON Schemas of the project file and of spec files, made from the models, for editors and other tools.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from reconciler.model.target import HOME_REGIONS, Topic
from reconciler.spec.models import ChannelDefaults, Spec, StreamKeyDefaults, Strict, Tags

STACK_PATTERN = r"^[A-Za-z0-9._-]{1,128}$"
TARGET_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
ACCOUNT_PATTERN = r"^[0-9]{12}$"
ROLE_PATTERN = r"^arn:aws:iam::[0-9]{12}:role/[\x21-\x7e]{1,512}$"
VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
RECEIVER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
TOPIC_ARN_PATTERN = r"^arn:aws:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?$"
BUS_ARN_PATTERN = r"^arn:aws:events:[a-z0-9-]+:[0-9]{12}:event-bus/[A-Za-z0-9._/-]{1,256}$"
BUCKET_PATTERN = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
REGION_PATTERN = r"^[a-z]{2}(-[a-z]+)+-[0-9]$"
ENDPOINT_PATTERN = r"^https?://[^\s/@?#]+/?$"

Pattern = Annotated[str, Field(min_length=1, max_length=1024)]
Percent = Annotated[int, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0)]


def _enum(*values: str) -> Any:
    """Editors offer the values; the judgement, with a better message, is made in ``project``."""
    return Field(json_schema_extra={"enum": list(values)})


class S3LockSettings(Strict):
    """An S3 object that says who applies now."""

    bucket: Annotated[str, Field(pattern=BUCKET_PATTERN)] = Field(description="The bucket's name.")
    key: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="The object's key; each target needs one of its own."
    )
    region: Annotated[str, Field(pattern=REGION_PATTERN)] | None = Field(
        None, description="The bucket's region. Default: the target's."
    )


class LockSettings(Strict):
    """Where it is written down who applies to the target now, so that nobody else does. One of `s3` and `file`."""

    s3: S3LockSettings | None = Field(None, description="An S3 object, for everybody who can write to it.")
    file: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        None, description="A file, for the processes of one machine; its path starts from the project file."
    )


class TargetSettings(Strict):
    """One account and region that the stack is applied to."""

    region: Annotated[str, _enum(*HOME_REGIONS)] = Field(
        description="One of the regions that have the IVS control plane."
    )
    accountId: Annotated[str, Field(pattern=ACCOUNT_PATTERN)] | None = Field(
        None, description="The account's 12 digits, in quotes. Checked through STS before anything else is called."
    )
    roleArn: Annotated[str, Field(pattern=ROLE_PATTERN)] | None = Field(None, description="The role to assume.")
    externalId: Annotated[str, Field(min_length=2, max_length=1224)] | None = Field(
        None, description="The external id that the role asks for."
    )
    profile: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="The AWS profile to take credentials from."
    )
    endpointUrl: Annotated[str, Field(pattern=ENDPOINT_PATTERN)] | None = Field(
        None, description="Talk to this server instead of AWS."
    )
    sandbox: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="Apply to the embedded server instead of AWS; its state is kept in this file, whose path starts from the project file.",
    )
    rateLimits: Annotated[str, _enum("aws", "off")] | None = Field(
        None,
        description="Keep to AWS's call rates, or not. Default: aws; off with `sandbox` and with an endpoint on this machine.",
    )
    lock: LockSettings | None = Field(None, description="Let one apply at a time change this target. Default: no lock.")
    prune: bool | None = Field(None, description="Delete managed resources that left the spec. Default: false.")
    specs: Annotated[list[Pattern], Field(min_length=1)] | None = Field(
        None, description="Spec files of this target, instead of the project's `specs`."
    )


class GuardrailSettings(Strict):
    """Limits of one run, for each kind. `null` turns a limit off."""

    maxDeletes: Count | None = Field(None, description="Most deletions of one kind. Default: 20.")
    maxDeletePercent: Percent | None = Field(
        None, description="The same, as a percentage of what is managed. Default: 30."
    )
    maxUpdates: Count | None = Field(None, description="Most updates of one kind. Default: no limit.")
    maxUpdatePercent: Percent | None = Field(
        None, description="The same, as a percentage of what is managed. Default: no limit."
    )
    onLive: Annotated[str, _enum("block", "wait", "stop")] | None = Field(
        None,
        description="What to do if a change needs a channel not to be live: leave it, wait for its broadcast to end, "
        "or end the broadcasts that --stop-live names. Default: block.",
    )
    liveDeadline: str | None = Field(
        None, description="How long `onLive: wait` waits, such as 90s, 30m or 2h. Default: 30m."
    )


class HookSettings(Strict):
    """A webhook. Its URL is a secret, so the environment holds it."""

    urlEnv: Annotated[str, Field(pattern=VARIABLE_PATTERN)] = Field(
        description="The environment variable that holds the URL."
    )


class SignedHookSettings(HookSettings):
    """A webhook that takes JSON."""

    secretEnv: Annotated[str, Field(pattern=VARIABLE_PATTERN)] | None = Field(
        None,
        description="The environment variable that holds the key to sign with: HMAC-SHA-256 of the body, in a header.",
    )


class TopicSettings(Strict):
    """An SNS topic."""

    topicArn: Annotated[str, Field(pattern=TOPIC_ARN_PATTERN)] = Field(
        description="The topic's ARN, which also says its region."
    )
    profile: Annotated[str, Field(min_length=1)] | None = Field(None, description="The AWS profile to publish with.")
    roleArn: Annotated[str, Field(pattern=ROLE_PATTERN)] | None = Field(
        None, description="The role to assume for publishing."
    )


class BusSettings(Strict):
    """An EventBridge event bus."""

    busArn: Annotated[str, Field(pattern=BUS_ARN_PATTERN)] = Field(
        description="The bus's ARN, which also says its region."
    )
    profile: Annotated[str, Field(min_length=1)] | None = Field(None, description="The AWS profile to put events with.")
    roleArn: Annotated[str, Field(pattern=ROLE_PATTERN)] | None = Field(
        None, description="The role to assume for putting events."
    )


class ReceiverSettings(Strict):
    """A receiver of notifications: exactly one of `slack`, `webhook`, `sns` or `eventBridge`."""

    slack: HookSettings | None = Field(None, description="A webhook that takes what Slack's incoming webhooks take.")
    webhook: SignedHookSettings | None = Field(None, description="A webhook that takes JSON.")
    sns: TopicSettings | None = Field(None, description="An SNS topic.")
    eventBridge: BusSettings | None = Field(None, description="An EventBridge event bus.")
    about: Annotated[list[Annotated[str, _enum(*Topic)]], Field(min_length=1)] | None = Field(
        None, description="Topics to notify of. Default: [drift, missing, duplicate, unreadable]."
    )
    targets: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="Only these targets. Default: all."
    )


class Defaults(Strict):
    """What resources take where they do not say otherwise."""

    tags: Tags | None = Field(None, description="Tags of every resource, stream keys included.")
    channel: ChannelDefaults | None = Field(
        None, description="Fields of every channel. In a channel, `null` means without this default."
    )
    streamKey: StreamKeyDefaults | None = Field(
        None,
        description="Rotation and sink of every stream key in the spec. In a channel's streamKey, `null` means without this default.",
    )


class ProjectFile(Strict):
    """`ivs-reconciler.yaml`: one stack, its targets and its rules."""

    stack: Annotated[str, Field(pattern=STACK_PATTERN)] = Field(
        description="The owner's name, written as a tag on everything that is managed."
    )
    specs: Annotated[list[Pattern], Field(min_length=1)] | None = Field(
        None,
        description="Spec files: paths from the folder of this file, with `*`, `?` and `**`. Default: [specs/**/*.yaml].",
    )
    defaults: Defaults | None = Field(None, description="Default tags and channel fields.")
    targets: Annotated[dict[Annotated[str, Field(pattern=TARGET_PATTERN)], TargetSettings], Field(min_length=1)] = (
        Field(description="Where the stack is applied, by name.")
    )
    guardrails: GuardrailSettings | None = Field(None, description="Limits of one run.")
    ignoreTags: list[Annotated[str, Field(min_length=1, max_length=128)]] | None = Field(
        None,
        description="Patterns of tag keys that are nobody's business here: left out of comparisons and never removed.",
    )
    receivers: dict[Annotated[str, Field(pattern=RECEIVER_PATTERN)], ReceiverSettings] | None = Field(
        None,
        description="Receivers of notifications, by name. `drift --notify` and the controller notify them of new and resolved drift.",
    )


DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """Return file name -> schema. What one field alone does not show (combinations, references, keys) only ``validate`` judges."""
    return {
        "project.schema.json": _schema("project.schema.json", "ivs-reconciler project file", ProjectFile),
        "spec.schema.json": _schema("spec.schema.json", "ivs-reconciler spec file", Spec),
    }


def _schema(name: str, title: str, model: type[BaseModel]) -> dict[str, Any]:
    made = _without_titles(model.model_json_schema())
    made.pop("title", None)
    return {"$schema": DIALECT, "$id": name, "title": title, **made}


def _without_titles(node: Any, *, names: bool = False) -> Any:
    """Drop the titles that pydantic makes up, and the nulls it gives as defaults; ``names`` says that the keys are field names, not keywords."""
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
