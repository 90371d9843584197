"""The shape of a spec file, as pydantic models: fields, types, enums, lengths and ranges.

Field names, limits and patterns are those of the service model (botocore, ``ivs`` 2020-07-14); descriptions go into the JSON Schema that editors show.
The models only judge: validation is strict, so what passes is exactly what was written, and the plain mappings go on while the models are dropped.
What one field alone cannot say (combinations, references, tags, keys) is in ``rules``.

The officially assigned country codes of ISO 3166-1 alpha-2. Data only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from reconciler.model.address import KindName
from reconciler.model.kinds import KINDS
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

RENAMED = {"UK": "GB", "EL": "GR", "AN": "BQ", "CS": "RS", "TP": "TL", "ZR": "CD", "YU": "RS"}
"""Codes that people write and that are not, or no longer, assigned, with the one they may mean."""


# A plugin of pydantic's that some other package brings would see what users wrote, private keys by mistake included.
os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"

NAME_PATTERN = r"^[a-zA-Z0-9_-]*$"
MEDIATAILOR_PATTERN = r"^arn:aws:mediatailor:[a-z0-9-]+:[0-9]+:playbackConfiguration/[a-zA-Z0-9-]+$"
BUCKET_PATTERN = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
ORIGIN_PATTERN = r"^[a-z][a-z0-9+.-]*://(\*\.)?([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?$"


def arn_pattern(kind: KindName) -> str:
    """Return the service model's pattern of an ARN that may be empty."""
    row = KINDS[kind]
    return rf"^$|^arn:aws:{row.service.prefix}:[a-z0-9-]+:[0-9]+:{row.arn_type}/[a-zA-Z0-9-]+$"


LABEL_PATTERN = r"^[A-Za-z0-9 _.:/=+@-]{1,128}$"
OVERLAP_PATTERN = r"^[1-9][0-9]{0,3}[hd]$"
RESOLUTIONS = Literal["SD", "HD", "FULL_HD", "LOWEST_RESOLUTION"]

Id = Annotated[str, Field(pattern=ID_PATTERN)]
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=128)]
TagKey = Annotated[str, Field(min_length=1, max_length=128)]
TagValue = Annotated[str, Field(max_length=256)]
Tags = dict[TagKey, TagValue]
Country = Annotated[str, Field(json_schema_extra={"enum": sorted(COUNTRIES)})]
Origin = Annotated[str, Field(max_length=128, pattern=ORIGIN_PATTERN)]


class Strict(BaseModel):
    """No unknown fields, no conversion of types, and no input in messages."""

    model_config = ConfigDict(
        extra="forbid", strict=True, hide_input_in_errors=True, protected_namespaces=(), defer_build=True
    )


class Resource(Strict):
    """What every kind has."""

    name: Name | None = Field(
        None, description="The resource's name in AWS, which AWS does not keep unique. Default: the id."
    )
    tags: Tags | None = Field(None, description="Tags of this resource, over the project's default tags.")
    protect: bool | None = Field(
        None, description="Refuse to delete or replace this resource, even after it has left the spec. Default: false."
    )
    ignoreChanges: list[str] | None = Field(
        None,
        description="Fields whose difference is not looked at: field names, `tags` for all tags, or `tags/<key>` for one.",
    )


class S3Destination(Strict):
    """A bucket in the same account and region."""

    bucketName: Annotated[str, Field(min_length=3, max_length=63, pattern=BUCKET_PATTERN)] = Field(
        description="Name of the S3 bucket that recordings are stored in."
    )


class Destination(Strict):
    """Where recordings are stored."""

    s3: S3Destination = Field(description="An S3 bucket.")


class Thumbnails(Strict):
    """Thumbnails of a recording."""

    recordingMode: Literal["INTERVAL", "DISABLED"] | None = Field(
        None, description="Take thumbnails at an interval, or not at all. Default: INTERVAL."
    )
    targetIntervalSeconds: Annotated[int, Field(ge=1, le=60)] | None = Field(
        None, description="Seconds between thumbnails; only with INTERVAL. Default: 60."
    )
    resolution: RESOLUTIONS | None = Field(None, description="Resolution of thumbnails. Default: that of the source.")
    storage: list[Literal["SEQUENTIAL", "LATEST"]] | None = Field(
        None, description="Keep every thumbnail, the latest one, or both. Default: [SEQUENTIAL]."
    )


class Renditions(Strict):
    """Which renditions of a stream are recorded."""

    renditionSelection: Literal["ALL", "NONE", "CUSTOM"] | None = Field(
        None, description="Record all renditions, none, or those listed. Default: ALL."
    )
    renditions: list[RESOLUTIONS] | None = Field(
        None, description="The renditions to record; only with CUSTOM, which needs it."
    )


class RecordingConfiguration(Resource):
    """How streams are recorded. AWS cannot change one: a change is a replacement."""

    destinationConfiguration: Destination = Field(description="Where recordings go.")
    recordingReconnectWindowSeconds: Annotated[int, Field(ge=0, le=300)] | None = Field(
        None, description="Streams that reconnect within so many seconds are recorded as one. Default: 0, off."
    )
    thumbnailConfiguration: Thumbnails | None = Field(None, description="Thumbnails. Default: one every 60 seconds.")
    renditionConfiguration: Renditions | None = Field(None, description="Which renditions are recorded. Default: all.")


class KeyFile(Strict):
    """A public key kept in a file of its own."""

    file: Annotated[str, Field(min_length=1)] = Field(
        description="Path of the PEM file, from the folder of the project file."
    )


def _pem_or_file(value: Any) -> str | None:
    return "pem" if isinstance(value, str) else "file" if isinstance(value, dict) else None


KeyMaterial = Annotated[Annotated[str, Tag("pem")] | Annotated[KeyFile, Tag("file")], Discriminator(_pem_or_file)]


class KeyPairRotation(Strict):
    """How one public key gives way to another."""

    overlap: Annotated[str, Field(pattern=OVERLAP_PATTERN)] = Field(
        description="For how long the old key pair stays beside the new one, such as `7d` or `36h`: as long as tokens signed with the old key are to count."
    )


class PlaybackKeyPair(Resource):
    """The public half of a key that playback tokens are signed with. AWS cannot change one: a change is a replacement."""

    publicKeyMaterial: KeyMaterial = Field(
        description="An ECDSA P-384 public key: PEM text, or `{file: path}` from the folder of the project file. Never a private key."
    )
    rotation: KeyPairRotation | None = Field(
        None, description="What happens when publicKeyMaterial changes. Default: the old key pair goes at once."
    )


class PlaybackRestrictionPolicy(Resource):
    """From which countries and web sites a channel may be watched."""

    allowedCountries: Annotated[list[Country], Field(max_length=200)] | None = Field(
        None, description="ISO 3166-1 alpha-2 codes. Default: [], every country."
    )
    allowedOrigins: Annotated[list[Origin], Field(max_length=5)] | None = Field(
        None,
        description="Values of the Origin header, such as https://example.com or https://*.example.com. Default: [], every origin.",
    )
    enableStrictOriginEnforcement: bool | None = Field(
        None, description="Check the origin of every request, not only of the playlist. Default: false."
    )


class MediaTailorPlaybackConfiguration(Strict):
    """One MediaTailor playback configuration."""

    playbackConfigurationArn: Annotated[str, Field(max_length=128, pattern=MEDIATAILOR_PATTERN)] = Field(
        description="ARN of a playback configuration in AWS Elemental MediaTailor."
    )


class PostRoll(Strict):
    """Ads after the end of a stream."""

    enabled: bool = Field(description="Whether ads are shown after a stream.")
    durationSeconds: Annotated[int, Field(ge=1, le=300)] = Field(description="For how many seconds.")


class AdConfiguration(Resource):
    """Where ads come from."""

    mediaTailorPlaybackConfigurations: Annotated[
        list[MediaTailorPlaybackConfiguration], Field(min_length=1, max_length=3)
    ] = Field(description="One to three; the first is the default one.")
    postRollConfiguration: PostRoll | None = Field(None, description="Ads after the end of a stream. Default: off.")


class FailoverSlateConfiguration(Resource):
    """The slate that viewers see while the encoder is away."""

    activationThresholdSeconds: Annotated[int, Field(ge=3, le=5)] | None = Field(
        None, description="Seconds without input before the slate is shown. Default: 3."
    )
    minSlateDisplaySeconds: Annotated[int, Field(ge=3, le=10)] | None = Field(
        None, description="Show the slate at least so many seconds. Default: 3."
    )
    maxSlateDisplaySeconds: Annotated[int, Field(ge=60, le=180)] | None = Field(
        None, description="Show the slate at most so many seconds. Default: 60."
    )


class MultitrackInput(Strict):
    """Several renditions sent by the encoder itself."""

    enabled: bool | None = Field(
        None,
        description="Needs type STANDARD, containerFormat FRAGMENTED_MP4, policy and maximumResolution. Default: false.",
    )
    policy: Literal["ALLOW", "REQUIRE"] | None = Field(
        None, description="Whether an encoder may or must send several tracks."
    )
    maximumResolution: Literal["SD", "HD", "FULL_HD"] | None = Field(
        None, description="The highest resolution that an encoder may send."
    )


class SecretSink(Strict):
    """A secret of AWS Secrets Manager, by name or by ARN. One that is named and not there is made."""

    name: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="Its name; {stack}, {target}, {region} and {id} are filled in."
    )
    arn: Annotated[str, Field(min_length=1)] | None = Field(None, description="Its ARN, in the region of the target.")
    kmsKeyId: Annotated[str, Field(min_length=1, max_length=2048)] | None = Field(
        None, description="The KMS key that a secret is made with. Default: the account's own."
    )


class ParameterSink(Strict):
    """A SecureString parameter of Systems Manager Parameter Store."""

    name: Annotated[str, Field(min_length=1)] = Field(
        description="Its name; {stack}, {target}, {region} and {id} are filled in."
    )
    kmsKeyId: Annotated[str, Field(min_length=1, max_length=2048)] | None = Field(
        None, description="The KMS key that the value is encrypted with. Default: the account's own."
    )


class Sink(Strict):
    """Where the value of a stream key is handed over to. One of the two."""

    secretsManager: SecretSink | None = Field(None, description="A secret of AWS Secrets Manager.")
    parameterStore: ParameterSink | None = Field(None, description="A SecureString parameter.")


class StreamKeyDefaults(Strict):
    """What stream keys take where they do not say otherwise."""

    rotation: Annotated[str, Field(pattern=LABEL_PATTERN)] | None = Field(
        None, description="A label of your own, such as `2026-11`. A key that was made for another label is made anew."
    )
    sink: Sink | None = Field(
        None,
        description="Where the value goes whenever the key is new. Default: nowhere; it can be read with GetStreamKey.",
    )


class StreamKey(StreamKeyDefaults):
    """The channel's stream key. AWS makes its value; the spec never holds it."""

    tags: Tags | None = Field(None, description="Tags of the stream key, over the project's default tags.")


class ChannelDefaults(Strict):
    """Fields that every channel of the project takes where it does not name them."""

    tags: Tags | None = Field(None, description="Tags of channels, over `defaults.tags`.")
    protect: bool | None = Field(
        None, description="Refuse to delete or replace channels, even after they have left the spec. Default: false."
    )
    ignoreChanges: list[str] | None = Field(
        None,
        description="Fields whose difference is not looked at: field names, `tags` for all tags, or `tags/<key>` for one.",
    )
    latencyMode: Literal["NORMAL", "LOW"] | None = Field(None, description="Default: LOW.")
    type: Literal["BASIC", "STANDARD", "ADVANCED_SD", "ADVANCED_HD"] | None = Field(
        None, description="How streams are transcoded. Default: STANDARD."
    )
    preset: Literal["HIGHER_BANDWIDTH_DELIVERY", "CONSTRAINED_BANDWIDTH_DELIVERY"] | None = Field(
        None, description="Only with an ADVANCED type. Default there: HIGHER_BANDWIDTH_DELIVERY."
    )
    authorized: bool | None = Field(
        None, description="Viewers need a token signed with the private half of a playback key pair. Default: false."
    )
    insecureIngest: bool | None = Field(None, description="Allow RTMP, and SRT without a passphrase. Default: false.")
    recordingConfiguration: Id | None = Field(None, description="Id of a recording configuration of this spec.")
    recordingConfigurationArn: (
        Annotated[str, Field(max_length=128, pattern=arn_pattern(KindName.RECORDING_CONFIGURATION))] | None
    ) = Field(None, description='ARN of a recording configuration kept elsewhere; "" for none.')
    playbackRestrictionPolicy: Id | None = Field(None, description="Id of a playback restriction policy of this spec.")
    playbackRestrictionPolicyArn: (
        Annotated[str, Field(max_length=128, pattern=arn_pattern(KindName.PLAYBACK_RESTRICTION_POLICY))] | None
    ) = Field(None, description='ARN of a playback restriction policy kept elsewhere; "" for none.')
    adConfiguration: Id | None = Field(
        None, description="Id of an ad configuration of this spec. Needs containerFormat TS."
    )
    adConfigurationArn: Annotated[str, Field(max_length=128, pattern=arn_pattern(KindName.AD_CONFIGURATION))] | None = (
        Field(None, description='ARN of an ad configuration kept elsewhere; "" for none.')
    )
    failoverSlateConfiguration: Id | None = Field(
        None, description="Id of a failover slate configuration of this spec."
    )
    failoverSlateConfigurationArn: (
        Annotated[str, Field(max_length=128, pattern=arn_pattern(KindName.FAILOVER_SLATE_CONFIGURATION))] | None
    ) = Field(None, description='ARN of a failover slate configuration kept elsewhere; "" for none.')
    containerFormat: Literal["TS", "FRAGMENTED_MP4"] | None = Field(None, description="Default: TS.")
    multitrackInputConfiguration: MultitrackInput | None = Field(
        None, description="Several tracks from the encoder. Default: off."
    )


class Channel(ChannelDefaults):
    """A channel, and its stream key as a child."""

    name: Name | None = Field(
        None, description="The channel's name in AWS, which AWS does not keep unique. Default: the id."
    )
    streamKey: StreamKey | None = Field(
        None,
        description="Manage the channel's stream key: `{}`, or with tags of its own. Left out, the key that AWS makes is let alone.",
    )


class Spec(Strict):
    """One spec file. Sections may be split over any number of files."""

    recordingConfigurations: dict[Id, RecordingConfiguration] | None = Field(
        None, description="How streams are recorded, by id."
    )
    playbackKeyPairs: dict[Id, PlaybackKeyPair] | None = Field(
        None, description="Public keys for playback tokens, by id. An account has room for three per region."
    )
    playbackRestrictionPolicies: dict[Id, PlaybackRestrictionPolicy | None] | None = Field(
        None, description="Where channels may be watched, by id. An account has room for three per region."
    )
    adConfigurations: dict[Id, AdConfiguration] | None = Field(None, description="Where ads come from, by id.")
    failoverSlateConfigurations: dict[Id, FailoverSlateConfiguration | None] | None = Field(
        None, description="Slates for encoder failures, by id."
    )
    channels: dict[Id, Channel | None] | None = Field(None, description="Channels, by id.")


MODELS: Mapping[KindName, type[Strict]] = {
    KindName.RECORDING_CONFIGURATION: RecordingConfiguration,
    KindName.FAILOVER_SLATE_CONFIGURATION: FailoverSlateConfiguration,
    KindName.PLAYBACK_KEY_PAIR: PlaybackKeyPair,
    KindName.PLAYBACK_RESTRICTION_POLICY: PlaybackRestrictionPolicy,
    KindName.AD_CONFIGURATION: AdConfiguration,
    KindName.CHANNEL: Channel,
}
"""The model of every kind that has a section of its own; stream keys stand in their channel."""
