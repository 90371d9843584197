"""The resource kinds of Amazon IVS, with its documented quotas and call rates.

Quotas and rates: user guide, service quotas; quota codes: AWS General Reference. Nothing is published for failover
slate configurations and for UpdateAdConfiguration: the values of their siblings are assumed.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.sandbox.service import Kind
from reconciler.sandbox.settings import ResourceQuota

CONCURRENT_STREAMS = ResourceQuota("concurrent-streams", "Concurrent streams", 100, adjustable=True, code="L-FD1EB8A7")
CONCURRENT_VIEWS = ResourceQuota("concurrent-views", "Concurrent views", 15_000, adjustable=True, code="L-77A18D5D")
_STREAM_TAKEOVERS = ResourceQuota(
    "stream-takeovers", "Stream takeovers per stream", 100, adjustable=True, code="L-41152BE7"
)

CHANNEL = Kind(
    type="channel",
    member="channel",
    plural="channels",
    quota=ResourceQuota("channels", "Channels", 5_000, adjustable=True, code="L-C01DFF58"),
    cloudtrail_type="AWS::IVS::Channel",
)
STREAM_KEY = Kind(
    type="stream-key",
    member="streamKey",
    plural="streamKeys",
    quota=ResourceQuota("stream-keys-per-channel", "Stream keys per channel", 1),
    page=1,
    cloudtrail_type="AWS::IVS::StreamKey",
)
RECORDING = Kind(
    type="recording-configuration",
    member="recordingConfiguration",
    plural="recordingConfigurations",
    quota=ResourceQuota("recording-configurations", "Recording configurations", 20, adjustable=True, code="L-90ABAB37"),
    refuse_linked=True,
    settles=True,
    cloudtrail_type="AWS::IVS::RecordingConfiguration",
)
KEY_PAIR = Kind(
    type="playback-key",
    member="keyPair",
    plural="keyPairs",
    quota=ResourceQuota("playback-keys", "Playback authorization key pairs", 3),
    cloudtrail_type="AWS::IVS::PlaybackKeyPair",
)
POLICY = Kind(
    type="playback-restriction-policy",
    member="playbackRestrictionPolicy",
    plural="playbackRestrictionPolicies",
    quota=ResourceQuota("playback-restriction-policies", "Playback restriction policies", 3),
    page=1,
    refuse_linked=True,
    cloudtrail_type="AWS::IVS::PlaybackRestrictionPolicy",
)
AD = Kind(
    type="ad-configuration",
    member="adConfiguration",
    plural="adConfigurations",
    quota=ResourceQuota("ad-configurations", "Ad configurations", 20),
    refuse_linked=True,
)
SLATE = Kind(
    type="failover-slate-configuration",
    member="failoverSlateConfiguration",
    plural="failoverSlateConfigurations",
    quota=ResourceQuota("failover-slate-configurations", "Failover slate configurations", 20),
    refuse_linked=True,
    settles=True,
)

KINDS: Mapping[str, Kind] = {kind.type: kind for kind in (CHANNEL, STREAM_KEY, RECORDING, KEY_PAIR, POLICY, AD, SLATE)}
# In the order in which Service Quotas lists them.
QUOTAS = (
    *(kind.quota for kind in (CHANNEL, RECORDING, KEY_PAIR, POLICY, AD, SLATE, STREAM_KEY)),
    CONCURRENT_STREAMS,
    CONCURRENT_VIEWS,
    _STREAM_TAKEOVERS,
)

DEFAULT_RATE = 5.0
RATES: Mapping[str, float] = {
    "InsertAdBreak": 1,
    "BatchStartViewerSessionRevocation": 2,
    **dict.fromkeys(
        (
            "CreateAdConfiguration",
            "GetAdConfiguration",
            "ListAdConfigurations",
            "UpdateAdConfiguration",
            "DeleteAdConfiguration",
            "ImportPlaybackKeyPair",
            "GetPlaybackKeyPair",
            "ListPlaybackKeyPairs",
            "DeletePlaybackKeyPair",
            "CreateRecordingConfiguration",
            "GetRecordingConfiguration",
            "ListRecordingConfigurations",
            "DeleteRecordingConfiguration",
            "CreateFailoverSlateConfiguration",
            "GetFailoverSlateConfiguration",
            "ListFailoverSlateConfigurations",
            "UpdateFailoverSlateConfiguration",
            "DeleteFailoverSlateConfiguration",
        ),
        3.0,
    ),
    "StartViewerSessionRevocation": 10,
    "TagResource": 10,
    "UntagResource": 10,
    "ListTagsForResource": 10,
    "PutMetadata": 155,
}
