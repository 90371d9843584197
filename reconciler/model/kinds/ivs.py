"""The rows of Amazon IVS, with defaults that depend on other fields and members without effect.

Sources: service model (botocore, ``ivs`` 2020-07-14), API reference, user guide page "service quotas"
(rates in calls a second per account and region, not adjustable), quota codes from the AWS General Reference.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.model.address import KindName
from reconciler.model.kinds.row import TAG, UNTAG, Field, Kind, Operation, Output, Quota, Repeat, Service, Shape
from reconciler.model.values import Value, as_set

LIST_STREAMS, STOP_STREAM = "ListStreams", "StopStream"

IVS = Service(
    client="ivs",
    title="IVS",
    prefix="ivs",
    operations={
        "BatchGetStreamKey": Operation(5.0, Repeat.READ),
        "GetStream": Operation(5.0, Repeat.READ),
        LIST_STREAMS: Operation(5.0, Repeat.READ),
        STOP_STREAM: Operation(5.0, Repeat.SAME),
        "GetStreamSession": Operation(5.0, Repeat.READ),
        "ListStreamSessions": Operation(5.0, Repeat.READ),
        "PutMetadata": Operation(5.0, Repeat.ONCE),
        "InsertAdBreak": Operation(1.0, Repeat.ONCE),
        "StartViewerSessionRevocation": Operation(10.0, Repeat.ONCE),
        "BatchStartViewerSessionRevocation": Operation(2.0, Repeat.ONCE),
        TAG: Operation(10.0, Repeat.SAME),
        UNTAG: Operation(10.0, Repeat.SAME),
        "ListTagsForResource": Operation(10.0, Repeat.READ),
    },
)

CONCURRENT_STREAMS = Quota(100, adjustable=True, code="L-FD1EB8A7")
CONCURRENT_VIEWS = Quota(15_000, adjustable=True, code="L-77A18D5D")

ADVANCED_TYPES = frozenset({"ADVANCED_SD", "ADVANCED_HD"})
"""Channel types that have a preset (service model)."""

_OFF: Mapping[str, Value] = {"enabled": False}
_THUMBNAILS: Mapping[str, Value] = {
    "recordingMode": "INTERVAL",
    "targetIntervalSeconds": 60,
    "storage": ("SEQUENTIAL",),
}
_NO_THUMBNAILS: Mapping[str, Value] = {"recordingMode": "DISABLED"}
_RENDITIONS: Mapping[str, Value] = {"renditionSelection": "ALL"}


def has_preset(properties: Mapping[str, Value]) -> bool:
    """Return whether the type of a channel has a preset (service model)."""
    return properties.get("type") in ADVANCED_TYPES


def _default_preset(properties: Mapping[str, Value]) -> str:
    """Return the default preset of a channel: higher bandwidth for ADVANCED types, none for others (service model)."""
    return "HIGHER_BANDWIDTH_DELIVERY" if has_preset(properties) else ""


def _normalise_switch(value: dict[str, Value]) -> Mapping[str, Value]:
    # IVS answers policy and resolution of a disabled object too; they have no effect.
    return value if value.get("enabled") else {}


def _normalise_thumbnails(value: dict[str, Value]) -> Mapping[str, Value]:
    if value.get("recordingMode") == "DISABLED":
        return _NO_THUMBNAILS
    if "storage" in value:
        value["storage"] = as_set(value["storage"]) or ("SEQUENTIAL",)
    return {key: item for key, item in value.items() if item != _THUMBNAILS.get(key)}


def _normalise_renditions(value: dict[str, Value]) -> Mapping[str, Value]:
    # The list has an effect only with CUSTOM.
    if value.get("renditionSelection", "ALL") != "CUSTOM":
        value.pop("renditions", None)
    elif "renditions" in value:
        value["renditions"] = as_set(value["renditions"])
    return {key: item for key, item in value.items() if item != _RENDITIONS.get(key)}


_NAME = Field("name", default="")

RECORDING_CONFIGURATION = Kind(
    service=IVS,
    name=KindName.RECORDING_CONFIGURATION,
    section="recordingConfigurations",
    title="recording configuration",
    arn_type="recording-configuration",
    rank=0,
    rate=3.0,
    fields=(
        _NAME,
        Field("destinationConfiguration", shape=Shape.OBJECT),
        Field("recordingReconnectWindowSeconds", default=0),
        Field(
            "thumbnailConfiguration",
            default=_THUMBNAILS,
            shape=Shape.OBJECT,
            normalise=_normalise_thumbnails,
            off=_NO_THUMBNAILS,
            send_all_members=True,
        ),
        Field("renditionConfiguration", default=_RENDITIONS, shape=Shape.OBJECT, normalise=_normalise_renditions),
    ),
    create="CreateRecordingConfiguration",
    get="GetRecordingConfiguration",
    list="ListRecordingConfigurations",
    delete="DeleteRecordingConfiguration",
    member="recordingConfiguration",
    members="recordingConfigurations",
    ready="ACTIVE",
    failed="CREATE_FAILED",
    quota=Quota(20, adjustable=True, code="L-90ABAB37"),
    outputs={
        "bucket": Output(("destinationConfiguration", "s3", "bucketName"), "The S3 bucket that recordings go to.")
    },
)

FAILOVER_SLATE_CONFIGURATION = Kind(
    service=IVS,
    name=KindName.FAILOVER_SLATE_CONFIGURATION,
    section="failoverSlateConfigurations",
    title="failover slate configuration",
    arn_type="failover-slate-configuration",
    rank=0,
    rate=3.0,  # not published yet; assumed to be that of the other configurations
    fields=(
        _NAME,
        Field("activationThresholdSeconds", default=3),
        Field("minSlateDisplaySeconds", default=3),
        Field("maxSlateDisplaySeconds", default=60),
    ),
    create="CreateFailoverSlateConfiguration",
    get="GetFailoverSlateConfiguration",
    list="ListFailoverSlateConfigurations",
    update="UpdateFailoverSlateConfiguration",
    delete="DeleteFailoverSlateConfiguration",
    member="failoverSlateConfiguration",
    members="failoverSlateConfigurations",
    summary_complete=True,
    ready="CREATED",
    failed="CREATE_FAILED",
)

PLAYBACK_KEY_PAIR = Kind(
    service=IVS,
    name=KindName.PLAYBACK_KEY_PAIR,
    section="playbackKeyPairs",
    title="playback key pair",
    arn_type="playback-key",
    rank=1,
    rate=3.0,
    fields=(
        _NAME,
        # The service never returns the material, so its fingerprint is compared instead.
        Field("fingerprint", spec_name="publicKeyMaterial"),
    ),
    create="ImportPlaybackKeyPair",
    get="GetPlaybackKeyPair",
    list="ListPlaybackKeyPairs",
    delete="DeletePlaybackKeyPair",
    member="keyPair",
    members="keyPairs",
    quota=Quota(3),
    unique="fingerprint",
    credential=True,
    outputs={"fingerprint": Output(("fingerprint",), "The fingerprint of the public key.")},
)

PLAYBACK_RESTRICTION_POLICY = Kind(
    service=IVS,
    name=KindName.PLAYBACK_RESTRICTION_POLICY,
    section="playbackRestrictionPolicies",
    title="playback restriction policy",
    arn_type="playback-restriction-policy",
    rank=1,
    rate=5.0,
    fields=(
        _NAME,
        Field("allowedCountries", default=(), shape=Shape.SET),
        Field("allowedOrigins", default=(), shape=Shape.SET),
        Field("enableStrictOriginEnforcement", default=False),
    ),
    create="CreatePlaybackRestrictionPolicy",
    get="GetPlaybackRestrictionPolicy",
    list="ListPlaybackRestrictionPolicies",
    update="UpdatePlaybackRestrictionPolicy",
    delete="DeletePlaybackRestrictionPolicy",
    member="playbackRestrictionPolicy",
    members="playbackRestrictionPolicies",
    summary_complete=True,
    quota=Quota(3),
)

AD_CONFIGURATION = Kind(
    service=IVS,
    name=KindName.AD_CONFIGURATION,
    section="adConfigurations",
    title="ad configuration",
    arn_type="ad-configuration",
    rank=1,
    rate=3.0,  # UpdateAdConfiguration has no published rate; that of its siblings is assumed
    fields=(
        _NAME,
        # The order counts: the first playback configuration is the default one.
        Field("mediaTailorPlaybackConfigurations", shape=Shape.LIST),
        Field(
            "postRollConfiguration",
            default={"enabled": False, "durationSeconds": 15},
            shape=Shape.OBJECT,
            normalise=_normalise_switch,
        ),
    ),
    create="CreateAdConfiguration",
    get="GetAdConfiguration",
    list="ListAdConfigurations",
    update="UpdateAdConfiguration",
    update_is_scoped=False,
    delete="DeleteAdConfiguration",
    member="adConfiguration",
    members="adConfigurations",
    summary_complete=True,
    quota=Quota(20),
)

CHANNEL = Kind(
    service=IVS,
    name=KindName.CHANNEL,
    section="channels",
    title="channel",
    arn_type="channel",
    rank=2,
    rate=5.0,
    fields=(
        _NAME,
        Field("latencyMode", default="LOW"),
        Field("type", default="STANDARD", together=("preset",)),
        Field("preset", default="", together=("type",), default_from=_default_preset, applies=has_preset),
        Field("authorized", default=False),
        Field("insecureIngest", default=False),
        Field(
            "recordingConfigurationArn",
            default="",
            shape=Shape.REFERENCE,
            references=KindName.RECORDING_CONFIGURATION,
            spec_name="recordingConfiguration",
        ),
        Field(
            "playbackRestrictionPolicyArn",
            default="",
            shape=Shape.REFERENCE,
            references=KindName.PLAYBACK_RESTRICTION_POLICY,
            spec_name="playbackRestrictionPolicy",
        ),
        Field(
            "adConfigurationArn",
            default="",
            shape=Shape.REFERENCE,
            references=KindName.AD_CONFIGURATION,
            spec_name="adConfiguration",
            together=("containerFormat", "multitrackInputConfiguration"),
        ),
        Field(
            "failoverSlateConfigurationArn",
            default="",
            shape=Shape.REFERENCE,
            references=KindName.FAILOVER_SLATE_CONFIGURATION,
            spec_name="failoverSlateConfiguration",
        ),
        # The service accepts an ad configuration only beside TS without multitrack input.
        Field(
            "containerFormat",
            default="TS",
            together=("multitrackInputConfiguration",),
            together_if_set=("adConfigurationArn",),
        ),
        Field(
            "multitrackInputConfiguration",
            default=_OFF,
            shape=Shape.OBJECT,
            together=("containerFormat",),
            together_if_set=("adConfigurationArn",),
            normalise=_normalise_switch,
        ),
    ),
    create="CreateChannel",
    get="GetChannel",
    list="ListChannels",
    update="UpdateChannel",
    batch="BatchGetChannel",
    delete="DeleteChannel",
    member="channel",
    members="channels",
    quota=Quota(5_000, adjustable=True, code="L-C01DFF58"),
    outputs={
        "playbackUrl": Output(("playbackUrl",), "The URL for viewers."),
        "ingestEndpoint": Output(("ingestEndpoint",), "The host to broadcast to over RTMPS."),
        "ingestUrl": Output(("ingestEndpoint",), "The server URL for an RTMPS encoder.", "rtmps://{}:443/app/"),
        "srtUrl": Output(("srt", "endpoint"), "The server URL for an SRT encoder.", "srt://{}:9000"),
    },
    live=True,
)

STREAM_KEY = Kind(
    service=IVS,
    name=KindName.STREAM_KEY,
    section="streamKey",
    title="stream key",
    arn_type="stream-key",
    rank=3,
    rate=5.0,
    fields=(Field("channelArn", shape=Shape.REFERENCE, references=KindName.CHANNEL),),
    create="CreateStreamKey",
    get="GetStreamKey",
    list="ListStreamKeys",
    delete="DeleteStreamKey",
    member="streamKey",
    members="streamKeys",
    page_size=50,
    created_with=KindName.CHANNEL,
    value_member="value",
    credential=True,
)

ROWS = (
    RECORDING_CONFIGURATION,
    FAILOVER_SLATE_CONFIGURATION,
    PLAYBACK_KEY_PAIR,
    PLAYBACK_RESTRICTION_POLICY,
    AD_CONFIGURATION,
    CHANNEL,
    STREAM_KEY,
)
