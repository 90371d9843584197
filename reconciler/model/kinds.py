"""The one table of kinds: what an IVS kind is called, which fields it has, which calls make and unmake it, and where it stands in the order.

Adding a kind is one row here, one spec model, and one set of cases.
A test holds every row against botocore's service model, so a row cannot name an operation or a field that does not exist.

Names, defaults and which operations exist are the service model's and its documentation's; where the service leaves a default unsaid, the row says what is assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from reconciler.model.address import KindName
from reconciler.model.values import Value


class Shape(StrEnum):
    """How the values of a field are compared."""

    PLAIN = "plain"
    SET = "set"
    """A list whose order and repetitions mean nothing; canonical form is a sorted tuple without repetitions."""
    LIST = "list"
    """A list whose order means something."""
    OBJECT = "object"
    REFERENCE = "reference"
    """The ARN of another kind's resource; ``""`` (or ``"none"``, seen in one AWS guide) when there is none."""


@dataclass(frozen=True, slots=True)
class Field:
    """One property of a kind, named as the API names it.

    ``default`` is what the service takes when the field is left out; the canonical form leaves such a value out.
    ``spec_name`` is the field's name in YAML where that differs: a reference is written ``recordingConfiguration`` by id, ``recordingConfigurationArn`` by ARN.
    ``together`` names the fields that have to travel with this one in an update, because the service judges them together.
    """

    name: str
    default: Value = None
    shape: Shape = Shape.PLAIN
    references: KindName | None = None
    spec_name: str = ""
    together: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """One row.

    ``rank`` orders creation: a kind refers only to kinds of lower rank.
    ``member`` and ``members`` are the keys of one object and of the list in answers.
    ``update`` is ``None`` where the service has no such operation: a change is then a replacement.
    ``summary_complete`` says that a list summary carries every field, so that no Get is needed.
    ``ready`` is the state to wait for after a create, ``failed`` the one that ends the wait.
    ``quota`` is the service's default count per region where it is small and fixed, else ``None``.
    """

    name: KindName
    section: str
    title: str
    arn_type: str
    rank: int
    fields: tuple[Field, ...]
    create: str
    get: str
    list: str
    delete: str
    member: str
    members: str
    update: str | None = None
    page_size: int = 100
    summary_complete: bool = False
    ready: str | None = None
    failed: str | None = None
    quota: int | None = None

    @property
    def titles(self) -> str:
        """The title of several."""
        return self.title[:-1] + "ies" if self.title.endswith("cy") else self.title + "s"

    def field(self, name: str) -> Field:
        """Return the field of this name. Raises ``KeyError``."""
        return FIELDS[self.name][name]


_NAME = Field("name", default="")

RECORDING_CONFIGURATION = Kind(
    name=KindName.RECORDING_CONFIGURATION,
    section="recordingConfigurations",
    title="recording configuration",
    arn_type="recording-configuration",
    rank=0,
    fields=(
        _NAME,
        Field("destinationConfiguration", shape=Shape.OBJECT),
        Field("recordingReconnectWindowSeconds", default=0),
        Field("thumbnailConfiguration", shape=Shape.OBJECT),
        Field("renditionConfiguration", shape=Shape.OBJECT),
    ),
    create="CreateRecordingConfiguration",
    get="GetRecordingConfiguration",
    list="ListRecordingConfigurations",
    delete="DeleteRecordingConfiguration",
    member="recordingConfiguration",
    members="recordingConfigurations",
    ready="ACTIVE",
    failed="CREATE_FAILED",
)

FAILOVER_SLATE_CONFIGURATION = Kind(
    name=KindName.FAILOVER_SLATE_CONFIGURATION,
    section="failoverSlateConfigurations",
    title="failover slate configuration",
    arn_type="failover-slate-configuration",
    rank=0,
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
    name=KindName.PLAYBACK_KEY_PAIR,
    section="playbackKeyPairs",
    title="playback key pair",
    arn_type="playback-key",
    rank=1,
    fields=(
        _NAME,
        # The service never returns the material; its fingerprint stands for it on both sides.
        Field("fingerprint", spec_name="publicKeyMaterial"),
    ),
    create="ImportPlaybackKeyPair",
    get="GetPlaybackKeyPair",
    list="ListPlaybackKeyPairs",
    delete="DeletePlaybackKeyPair",
    member="keyPair",
    members="keyPairs",
    quota=3,
)

PLAYBACK_RESTRICTION_POLICY = Kind(
    name=KindName.PLAYBACK_RESTRICTION_POLICY,
    section="playbackRestrictionPolicies",
    title="playback restriction policy",
    arn_type="playback-restriction-policy",
    rank=1,
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
    quota=3,
)

AD_CONFIGURATION = Kind(
    name=KindName.AD_CONFIGURATION,
    section="adConfigurations",
    title="ad configuration",
    arn_type="ad-configuration",
    rank=1,
    fields=(
        _NAME,
        # The order counts: the first playback configuration is the default one.
        Field("mediaTailorPlaybackConfigurations", shape=Shape.LIST),
        Field("postRollConfiguration", shape=Shape.OBJECT),
    ),
    create="CreateAdConfiguration",
    get="GetAdConfiguration",
    list="ListAdConfigurations",
    update="UpdateAdConfiguration",
    delete="DeleteAdConfiguration",
    member="adConfiguration",
    members="adConfigurations",
    summary_complete=True,
)

CHANNEL = Kind(
    name=KindName.CHANNEL,
    section="channels",
    title="channel",
    arn_type="channel",
    rank=2,
    fields=(
        _NAME,
        Field("latencyMode", default="LOW"),
        Field("type", default="STANDARD", together=("preset",)),
        Field("preset", default="", together=("type",)),
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
        Field("containerFormat", default="TS", together=("multitrackInputConfiguration",)),
        Field("multitrackInputConfiguration", shape=Shape.OBJECT, together=("containerFormat",)),
    ),
    create="CreateChannel",
    get="GetChannel",
    list="ListChannels",
    update="UpdateChannel",
    delete="DeleteChannel",
    member="channel",
    members="channels",
)

STREAM_KEY = Kind(
    name=KindName.STREAM_KEY,
    section="streamKey",
    title="stream key",
    arn_type="stream-key",
    rank=3,
    fields=(Field("channelArn", shape=Shape.REFERENCE, references=KindName.CHANNEL),),
    create="CreateStreamKey",
    get="GetStreamKey",
    list="ListStreamKeys",
    delete="DeleteStreamKey",
    member="streamKey",
    members="streamKeys",
    page_size=50,
    quota=1,
)

KINDS: Mapping[KindName, Kind] = {
    kind.name: kind
    for kind in (
        RECORDING_CONFIGURATION,
        FAILOVER_SLATE_CONFIGURATION,
        PLAYBACK_KEY_PAIR,
        PLAYBACK_RESTRICTION_POLICY,
        AD_CONFIGURATION,
        CHANNEL,
        STREAM_KEY,
    )
}
"""Every kind, in the order of creation."""

FIELDS: Mapping[KindName, Mapping[str, Field]] = {
    kind.name: {field.name: field for field in kind.fields} for kind in KINDS.values()
}

ADVANCED_TYPES = frozenset({"ADVANCED_SD", "ADVANCED_HD"})
"""Channel types for which a preset may be chosen (service model)."""
