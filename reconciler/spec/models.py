"""pydantic models of a spec file: fields, types, enums, lengths and ranges.

Names, limits and patterns are those of the service model (botocore, ``ivs`` 2020-07-14). Descriptions go into the JSON Schema, which editors show.
The models only validate; the plain mappings are used afterwards. Rules between fields are in ``rules``.
"""

# Without postponed annotations: pydantic would compile each one again from its text, half of the time that the models take.

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from reconciler.model.address import KindName
from reconciler.model.kinds import KINDS, LISTED
from reconciler.spec.problems import ID_PATTERN

_CODES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR
GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP
KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ
NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ
UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""

COUNTRIES = frozenset(_CODES.split())
"""The officially assigned codes of ISO 3166-1 alpha-2."""

RENAMED = {"UK": "GB", "EL": "GR", "AN": "BQ", "CS": "RS", "TP": "TL", "ZR": "CD", "YU": "RS"}
"""Unassigned or withdrawn codes that are in use, with the assigned one."""


# A pydantic plugin of another package would see the spec, and a private key written into it by mistake.
os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"

NAME_PATTERN = r"^[a-zA-Z0-9_-]*$"
MEDIATAILOR_PATTERN = r"^arn:aws:mediatailor:[a-z0-9-]+:[0-9]+:playbackConfiguration/[a-zA-Z0-9-]+$"
BUCKET_PATTERN = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
ORIGIN_PATTERN = r"^[a-z][a-z0-9+.-]*://(\*\.)?([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?$"


def arn_pattern(kind: KindName) -> str:
    """Return the service model's pattern of an ARN of this kind; it also matches an empty string."""
    row = KINDS[kind]
    return rf"^$|^arn:aws:{row.service.prefix}:[a-z0-9-]+:[0-9]+:{row.arn_type}/[a-zA-Z0-9-]+$"


FINGERPRINT_PATTERN = r"^([0-9A-Fa-f]{2}:){15}[0-9A-Fa-f]{2}$"
LABEL_PATTERN = r"^[A-Za-z0-9 _.:/=+@-]{1,128}$"
OVERLAP_PATTERN = r"^[1-9][0-9]{0,3}[hd]$"
RESOLUTIONS = Literal["SD", "HD", "FULL_HD", "LOWEST_RESOLUTION"]

Id = Annotated[str, Field(pattern=ID_PATTERN)]


def _template(characters: str) -> dict[str, Any]:
    """Return what the JSON Schema says of a string that may contain placeholders, before they are replaced."""
    return {"pattern": rf"^([{characters}]|\{{[A-Za-z0-9._-]+\}})*$", "minLength": 0, "maxLength": 1024}


Reference = Annotated[str, Field(pattern=ID_PATTERN, json_schema_extra=_template("A-Za-z0-9_-"))]
_ARN_TEMPLATE = _template("a-zA-Z0-9:/_-")

Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=128, json_schema_extra=_template("a-zA-Z0-9_-"))]
TagKey = Annotated[str, Field(min_length=1, max_length=128)]
TagValue = Annotated[str, Field(max_length=256)]
DefaultTags = dict[TagKey, TagValue]
Tags = dict[TagKey, TagValue | None]
Country = Annotated[str, Field(json_schema_extra={"enum": sorted(COUNTRIES)})]
Origin = Annotated[str, Field(max_length=128, pattern=ORIGIN_PATTERN)]


class Strict(BaseModel):
    """Base model: no unknown fields, no type conversion, no input in messages."""

    model_config = ConfigDict(
        extra="forbid", strict=True, hide_input_in_errors=True, protected_namespaces=(), defer_build=True
    )


class Written(Strict):
    """Fields that say how an entry becomes resources; they are gone before the others are validated."""

    forEach: list[str | int] | dict[str, dict[str, Any] | int | None] | None = Field(
        None,
        description="Create one resource for each member: a list, or a mapping of names to fields. Every value may contain `{each}`, `{each.FIELD}` and `{index}`; the ids are `<id>-<member>`.",
    )
    count: Annotated[int, Field(ge=0, le=10_000)] | None = Field(
        None, description="Create this many resources, with `{index}` from 0; the ids are `<id>-<index>`."
    )
    override: bool | None = Field(
        None,
        description="Merge these fields into the resource of the same id; only in files of a target's `specs`. Default: false.",
    )


class Resource(Written):
    """Fields that every kind has."""

    name: Name | None = Field(None, description="Name of the resource in AWS; it need not be unique. Default: the id.")
    tags: Tags | None = Field(
        None, description="Tags of this resource, merged over the project's default tags; `null` removes one."
    )
    protect: bool | None = Field(
        None,
        description="Refuse to delete or replace this resource, even after it is removed from the spec. Default: false.",
    )
    ignoreChanges: list[str] | None = Field(
        None,
        description="Fields to leave out of the comparison: field names, `tags` for all tags, or `tags/<key>` for one tag.",
    )


class S3Destination(Strict):
    """S3 bucket in the account and region of the target."""

    bucketName: Annotated[
        str, Field(min_length=3, max_length=63, pattern=BUCKET_PATTERN, json_schema_extra=_template("a-z0-9.-"))
    ] = Field(description="Name of the S3 bucket.")


class Destination(Strict):
    """Where to store recordings: an S3 bucket."""

    s3: S3Destination = Field(description="S3 bucket to store recordings in.")


class Thumbnails(Strict):
    """Thumbnail settings of a recording."""

    recordingMode: Literal["INTERVAL", "DISABLED"] | None = Field(
        None, description="Record thumbnails at an interval, or disable them. Default: INTERVAL."
    )
    targetIntervalSeconds: Annotated[int, Field(ge=1, le=60)] | None = Field(
        None, description="Seconds between thumbnails, 1 to 60; only with INTERVAL. Default: 60."
    )
    resolution: RESOLUTIONS | None = Field(
        None, description="Resolution of thumbnails. Default: the resolution of the source."
    )
    storage: list[Literal["SEQUENTIAL", "LATEST"]] | None = Field(
        None, description="Store all thumbnails (SEQUENTIAL), the latest one (LATEST), or both. Default: [SEQUENTIAL]."
    )


class Renditions(Strict):
    """Renditions to record."""

    renditionSelection: Literal["ALL", "NONE", "CUSTOM"] | None = Field(
        None, description="Record all renditions, none, or those in `renditions`. Default: ALL."
    )
    renditions: list[RESOLUTIONS] | None = Field(
        None, description="Renditions to record. Required with CUSTOM, not allowed otherwise."
    )


class RecordingConfiguration(Resource):
    """Recording configuration. IVS has no update operation for it, so a change replaces it."""

    destinationConfiguration: Destination = Field(description="Destination of recordings.")
    recordingReconnectWindowSeconds: Annotated[int, Field(ge=0, le=300)] | None = Field(
        None,
        description="Merge recordings of streams that reconnect within this many seconds, 0 to 300. Default: 0 (off).",
    )
    thumbnailConfiguration: Thumbnails | None = Field(
        None, description="Thumbnail settings. Default: one thumbnail every 60 seconds."
    )
    renditionConfiguration: Renditions | None = Field(None, description="Renditions to record. Default: all.")


class KeyFile(Strict):
    """Public key in a file."""

    file: Annotated[str, Field(min_length=1)] = Field(description="Path of the PEM file, relative to the project file.")


def _pem_or_file(value: Any) -> str | None:
    return "pem" if isinstance(value, str) else "file" if isinstance(value, dict) else None


KeyMaterial = Annotated[Annotated[str, Tag("pem")] | Annotated[KeyFile, Tag("file")], Discriminator(_pem_or_file)]


class KeyPairRotation(Strict):
    """Rotation of a public key."""

    overlap: Annotated[str, Field(pattern=OVERLAP_PATTERN)] = Field(
        description="How long to keep the old key pair after a replacement, such as `7d` or `36h`. Tokens signed with the old key stay valid until then."
    )


class PlaybackKeyPair(Resource):
    """Playback key pair: the public key that verifies playback tokens. IVS has no update operation for it, so a change replaces it."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": [name]} for name in ("publicKeyMaterial", "fingerprint", "override")],
            "not": {"required": ["publicKeyMaterial", "fingerprint"]},
        }
    )

    publicKeyMaterial: KeyMaterial | None = Field(
        None,
        description="ECDSA P-384 public key: PEM text, or `{file: path}` relative to the project file. Never a private key.",
    )
    fingerprint: (
        Annotated[
            str,
            Field(
                pattern=FINGERPRINT_PATTERN,
                json_schema_extra={"pattern": rf"{FINGERPRINT_PATTERN}|^\{{each(\.[^{{}}]*)?\}}$"},
            ),
        ]
        | None
    ) = Field(
        None,
        description='Fingerprint of a key pair that is in the account, such as "53:fd:…", in place of `publicKeyMaterial`: it can be adopted, tagged and protected, and is never created.',
    )
    rotation: KeyPairRotation | None = Field(
        None, description="Rotation when publicKeyMaterial changes. Default: delete the old key pair at once."
    )


class PlaybackRestrictionPolicy(Resource):
    """Playback restriction policy: the countries and origins that may play a channel."""

    allowedCountries: Annotated[list[Country], Field(max_length=200)] | None = Field(
        None,
        description="Countries that may play, as ISO 3166-1 alpha-2 codes; at most 200. Default: [] (every country).",
    )
    allowedOrigins: Annotated[list[Origin], Field(max_length=5)] | None = Field(
        None,
        description="Origins that may play, such as https://example.com or https://*.example.com; at most 5. Default: [] (every origin).",
    )
    enableStrictOriginEnforcement: bool | None = Field(
        None, description="Check the origin of every request, not only of the multivariant playlist. Default: false."
    )


class MediaTailorPlaybackConfiguration(Strict):
    """MediaTailor playback configuration."""

    playbackConfigurationArn: Annotated[
        str, Field(max_length=128, pattern=MEDIATAILOR_PATTERN, json_schema_extra=_ARN_TEMPLATE)
    ] = Field(description="ARN of the playback configuration in AWS Elemental MediaTailor.")


class PostRoll(Strict):
    """Post-roll ads, shown after the end of a stream."""

    enabled: bool = Field(description="Show ads after the end of a stream.")
    durationSeconds: Annotated[int, Field(ge=1, le=300)] = Field(
        description="Duration of the ads in seconds, 1 to 300."
    )


class AdConfiguration(Resource):
    """Ad configuration: the MediaTailor configurations that ads come from."""

    mediaTailorPlaybackConfigurations: Annotated[
        list[MediaTailorPlaybackConfiguration], Field(min_length=1, max_length=3)
    ] = Field(description="One to three MediaTailor playback configurations; the first is the default.")
    postRollConfiguration: PostRoll | None = Field(None, description="Post-roll ads. Default: off.")


class FailoverSlateConfiguration(Resource):
    """Failover slate configuration: the slate to show while the encoder sends no input."""

    activationThresholdSeconds: Annotated[int, Field(ge=3, le=5)] | None = Field(
        None, description="Seconds without input before the slate is shown, 3 to 5. Default: 3."
    )
    minSlateDisplaySeconds: Annotated[int, Field(ge=3, le=10)] | None = Field(
        None, description="Minimum seconds to show the slate, 3 to 10. Default: 3."
    )
    maxSlateDisplaySeconds: Annotated[int, Field(ge=60, le=180)] | None = Field(
        None, description="Maximum seconds to show the slate, 60 to 180. Default: 60."
    )


class MultitrackInput(Strict):
    """Multitrack input: the encoder sends several renditions."""

    enabled: bool | None = Field(
        None,
        description="Enable multitrack input. Requires type STANDARD, containerFormat FRAGMENTED_MP4, policy and maximumResolution. Default: false.",
    )
    policy: Literal["ALLOW", "REQUIRE"] | None = Field(
        None, description="Allow or require multitrack input. Required if enabled."
    )
    maximumResolution: Literal["SD", "HD", "FULL_HD"] | None = Field(
        None, description="Maximum resolution that the encoder may send. Required if enabled."
    )


class SecretSink(Strict):
    """AWS Secrets Manager secret: exactly one of `name` and `arn`. A missing secret is created by name."""

    name: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="Name of the secret. Placeholders: {stack}, {target}, {region}, {accountId}, {id}."
    )
    arn: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="ARN of an existing secret in the region of the target."
    )
    kmsKeyId: Annotated[str, Field(min_length=1, max_length=2048)] | None = Field(
        None, description="KMS key of a secret that is created. Default: the account's AWS managed key."
    )


class ParameterSink(Strict):
    """SecureString parameter in Systems Manager Parameter Store."""

    name: Annotated[str, Field(min_length=1)] = Field(
        description="Name of the parameter. Placeholders: {stack}, {target}, {region}, {accountId}, {id}."
    )
    kmsKeyId: Annotated[str, Field(min_length=1, max_length=2048)] | None = Field(
        None, description="KMS key that encrypts the value. Default: the account's AWS managed key."
    )


class Sink(Strict):
    """Store that a stream key value is published to: exactly one of `secretsManager` and `parameterStore`."""

    value: Literal["key", "json"] | None = Field(
        None,
        description='What is stored: the value (key), or an object {"url": "rtmps://…", "key": "…"} with the ingest URL of the channel (json). Default: key.',
    )

    secretsManager: SecretSink | None = Field(None, description="AWS Secrets Manager secret.")
    parameterStore: ParameterSink | None = Field(None, description="Parameter Store parameter.")


class StreamKeyDefaults(Strict):
    """Default fields of stream keys."""

    rotation: Annotated[str, Field(pattern=LABEL_PATTERN)] | None = Field(
        None, description="Label of your choice, such as `2026-11`. Changing it rotates the stream key."
    )
    sink: Sink | None = Field(
        None,
        description="Store to publish the value of each new key to. Default: none; read the value with GetStreamKey.",
    )


class StreamKey(StreamKeyDefaults):
    """Stream key of a channel. AWS generates the value; never write it in the spec."""

    tags: Tags | None = Field(
        None, description="Tags of the stream key, merged over the project's default tags; `null` removes one."
    )


class ChannelDefaults(Strict):
    """Default fields of channels."""

    name: Name | None = Field(None, description="Name of the channel in AWS; it need not be unique. Default: the id.")
    tags: DefaultTags | None = Field(None, description="Tags of the channel, merged over the project's default tags.")
    protect: bool | None = Field(
        None,
        description="Refuse to delete or replace the channel, even after it is removed from the spec. Default: false.",
    )
    ignoreChanges: list[str] | None = Field(
        None,
        description="Fields to leave out of the comparison: field names, `tags` for all tags, or `tags/<key>` for one tag.",
    )
    latencyMode: Literal["NORMAL", "LOW"] | None = Field(None, description="Latency of the channel. Default: LOW.")
    type: Literal["BASIC", "STANDARD", "ADVANCED_SD", "ADVANCED_HD"] | None = Field(
        None, description="Channel type, which sets how streams are transcoded. Default: STANDARD."
    )
    preset: Literal["HIGHER_BANDWIDTH_DELIVERY", "CONSTRAINED_BANDWIDTH_DELIVERY"] | None = Field(
        None, description="Transcode preset; only with an ADVANCED type. Default: HIGHER_BANDWIDTH_DELIVERY."
    )
    authorized: bool | None = Field(
        None,
        description="Make the channel private: viewers need a token signed with the private key of a playback key pair. Default: false.",
    )
    insecureIngest: bool | None = Field(None, description="Allow RTMP, and SRT without a passphrase. Default: false.")
    recordingConfiguration: Reference | None = Field(None, description="Id of a recording configuration in this spec.")
    recordingConfigurationArn: (
        Annotated[
            str,
            Field(
                max_length=128, pattern=arn_pattern(KindName.RECORDING_CONFIGURATION), json_schema_extra=_ARN_TEMPLATE
            ),
        ]
        | None
    ) = Field(None, description='ARN of a recording configuration outside this spec; "" for none.')
    playbackRestrictionPolicy: Reference | None = Field(
        None, description="Id of a playback restriction policy in this spec."
    )
    playbackRestrictionPolicyArn: (
        Annotated[
            str,
            Field(
                max_length=128,
                pattern=arn_pattern(KindName.PLAYBACK_RESTRICTION_POLICY),
                json_schema_extra=_ARN_TEMPLATE,
            ),
        ]
        | None
    ) = Field(None, description='ARN of a playback restriction policy outside this spec; "" for none.')
    adConfiguration: Reference | None = Field(
        None, description="Id of an ad configuration in this spec. Requires containerFormat TS."
    )
    adConfigurationArn: (
        Annotated[
            str, Field(max_length=128, pattern=arn_pattern(KindName.AD_CONFIGURATION), json_schema_extra=_ARN_TEMPLATE)
        ]
        | None
    ) = Field(None, description='ARN of an ad configuration outside this spec; "" for none.')
    failoverSlateConfiguration: Reference | None = Field(
        None, description="Id of a failover slate configuration in this spec."
    )
    failoverSlateConfigurationArn: (
        Annotated[
            str,
            Field(
                max_length=128,
                pattern=arn_pattern(KindName.FAILOVER_SLATE_CONFIGURATION),
                json_schema_extra=_ARN_TEMPLATE,
            ),
        ]
        | None
    ) = Field(None, description='ARN of a failover slate configuration outside this spec; "" for none.')
    containerFormat: Literal["TS", "FRAGMENTED_MP4"] | None = Field(
        None, description="Container format of the stream. Default: TS."
    )
    multitrackInputConfiguration: MultitrackInput | None = Field(None, description="Multitrack input. Default: off.")


class Channel(ChannelDefaults, Written):
    """Channel, and its stream key."""

    tags: Tags | None = Field(  # type: ignore[assignment]  # null removes a default tag
        None, description="Tags of the channel, merged over the default tags; `null` removes one."
    )
    streamKey: StreamKey | None = Field(
        None, description="Manage the stream key of the channel; `{}` for the defaults. Default: unmanaged."
    )


_ADDRESS = rf"^({'|'.join(LISTED)})/[A-Za-z0-9][A-Za-z0-9_-]{{0,127}}$"
ListedAddress = Annotated[str, Field(pattern=_ADDRESS)]
AnyAddress = Annotated[str, Field(pattern=_ADDRESS.replace("|channel", "|channel|stream-key"))]


class Spec(Strict):
    """Spec file. A section may be split over several files."""

    recordingConfigurations: dict[Id, RecordingConfiguration] | None = Field(
        None, description="Recording configurations, by id."
    )
    playbackKeyPairs: dict[Id, PlaybackKeyPair] | None = Field(
        None, description="Playback key pairs, by id; at most 3 per account and region."
    )
    playbackRestrictionPolicies: dict[Id, PlaybackRestrictionPolicy | None] | None = Field(
        None, description="Playback restriction policies, by id; at most 3 per account and region."
    )
    adConfigurations: dict[Id, AdConfiguration] | None = Field(None, description="Ad configurations, by id.")
    failoverSlateConfigurations: dict[Id, FailoverSlateConfiguration | None] | None = Field(
        None, description="Failover slate configurations, by id."
    )
    channels: dict[Id, Channel | None] | None = Field(None, description="Channels, by id.")
    moved: dict[ListedAddress, ListedAddress] | None = Field(
        None,
        description="Renamed addresses, such as `channel/old: channel/new`: the live resource keeps its ARN, and its tags are rewritten. A line may stay after it was applied.",
    )
    forget: list[AnyAddress] | None = Field(
        None,
        description="Addresses, such as `channel/old`, that are no longer managed: the live resource is kept, and its owner tags are removed. An entry may stay after it was applied.",
    )


MODELS: Mapping[KindName, type[Strict]] = {
    KindName.RECORDING_CONFIGURATION: RecordingConfiguration,
    KindName.FAILOVER_SLATE_CONFIGURATION: FailoverSlateConfiguration,
    KindName.PLAYBACK_KEY_PAIR: PlaybackKeyPair,
    KindName.PLAYBACK_RESTRICTION_POLICY: PlaybackRestrictionPolicy,
    KindName.AD_CONFIGURATION: AdConfiguration,
    KindName.CHANNEL: Channel,
}
"""By kind, the model; a stream key is part of its channel."""
