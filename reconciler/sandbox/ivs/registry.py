"""Amazon IVS as a service of the sandbox: the handler of each operation, and its row in the registry."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.sandbox.ivs import resources, streams
from reconciler.sandbox.ivs.kinds import (
    AD,
    CHANNEL,
    DEFAULT_RATE,
    KEY_PAIR,
    KINDS,
    POLICY,
    QUOTAS,
    RATES,
    RECORDING,
    RULES,
    SLATE,
    STREAM_KEY,
)
from reconciler.sandbox.service import TAG_HANDLERS, Handler, Service, deleter, getter, lister

_HANDLERS: Mapping[str, Handler] = {
    **TAG_HANDLERS,
    "BatchGetChannel": resources.batch_getter(CHANNEL),
    "BatchGetStreamKey": resources.batch_getter(STREAM_KEY),
    "BatchStartViewerSessionRevocation": streams.batch_start_viewer_session_revocation,
    "CreateAdConfiguration": resources.create_ad_configuration,
    "CreateChannel": resources.create_channel,
    "CreateFailoverSlateConfiguration": resources.create_failover_slate_configuration,
    "CreatePlaybackRestrictionPolicy": resources.create_playback_restriction_policy,
    "CreateRecordingConfiguration": resources.create_recording_configuration,
    "CreateStreamKey": resources.create_stream_key,
    "DeleteAdConfiguration": deleter(AD),
    "DeleteChannel": resources.delete_channel,
    "DeleteFailoverSlateConfiguration": deleter(SLATE),
    "DeletePlaybackKeyPair": deleter(KEY_PAIR),
    "DeletePlaybackRestrictionPolicy": deleter(POLICY),
    "DeleteRecordingConfiguration": deleter(RECORDING, linked_conflict_documented=True),
    "DeleteStreamKey": deleter(STREAM_KEY),
    "GetAdConfiguration": getter(AD),
    "GetChannel": getter(CHANNEL),
    "GetFailoverSlateConfiguration": getter(SLATE),
    "GetPlaybackKeyPair": getter(KEY_PAIR),
    "GetPlaybackRestrictionPolicy": getter(POLICY),
    "GetRecordingConfiguration": getter(RECORDING),
    "GetStream": streams.get_stream,
    "GetStreamKey": getter(STREAM_KEY),
    "GetStreamSession": streams.get_stream_session,
    "ImportPlaybackKeyPair": resources.import_playback_key_pair,
    "InsertAdBreak": streams.insert_ad_break,
    "ListAdConfigurations": lister(AD),
    "ListChannels": resources.list_channels,
    "ListFailoverSlateConfigurations": lister(SLATE),
    "ListPlaybackKeyPairs": lister(KEY_PAIR),
    "ListPlaybackRestrictionPolicies": lister(POLICY),
    "ListRecordingConfigurations": lister(RECORDING),
    "ListStreamKeys": resources.list_stream_keys,
    "ListStreamSessions": streams.list_stream_sessions,
    "ListStreams": streams.list_streams,
    "PutMetadata": streams.put_metadata,
    "StartViewerSessionRevocation": streams.start_viewer_session_revocation,
    "StopStream": streams.stop_stream,
    "UpdateAdConfiguration": resources.update_ad_configuration,
    "UpdateChannel": resources.update_channel,
    "UpdateFailoverSlateConfiguration": resources.update_failover_slate_configuration,
    "UpdatePlaybackRestrictionPolicy": resources.update_playback_restriction_policy,
}

IVS = Service(
    name="ivs",
    title="Amazon Interactive Video Service",
    kinds=KINDS,
    handlers=_HANDLERS,
    rules=RULES,
    quotas=QUOTAS,
    rates=RATES,
    default_rate=DEFAULT_RATE,
    arn_members=("resourceArn", "arn", "channelArn"),
    # GetChannel answers "" for a channel without a preset (observed), and public clients send it back.
    blanks=frozenset({"preset"}),
    without_resource=frozenset({"ListAdConfigurations", "ListPlaybackRestrictionPolicies", "UpdateAdConfiguration"}),
)
