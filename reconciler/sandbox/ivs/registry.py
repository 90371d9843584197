"""Which function answers which operation."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.sandbox.ivs import channels, configurations, streams, tags
from reconciler.sandbox.ivs import channels as stream_keys
from reconciler.sandbox.ivs.common import (
    AD,
    CHANNEL,
    KEY_PAIR,
    POLICY,
    RECORDING,
    SLATE,
    STREAM_KEY,
    Handler,
    deleter,
    getter,
    lister,
)

HANDLERS: Mapping[str, Handler] = {
    "BatchGetChannel": channels.batch_get_channel,
    "BatchGetStreamKey": stream_keys.batch_get_stream_key,
    "BatchStartViewerSessionRevocation": streams.batch_start_viewer_session_revocation,
    "CreateAdConfiguration": configurations.create_ad_configuration,
    "CreateChannel": channels.create_channel,
    "CreateFailoverSlateConfiguration": configurations.create_failover_slate_configuration,
    "CreatePlaybackRestrictionPolicy": configurations.create_playback_restriction_policy,
    "CreateRecordingConfiguration": configurations.create_recording_configuration,
    "CreateStreamKey": stream_keys.create_stream_key,
    "DeleteAdConfiguration": deleter(AD),
    "DeleteChannel": channels.delete_channel,
    "DeleteFailoverSlateConfiguration": deleter(SLATE),
    "DeletePlaybackKeyPair": deleter(KEY_PAIR),
    "DeletePlaybackRestrictionPolicy": deleter(POLICY),
    "DeleteRecordingConfiguration": deleter(RECORDING),
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
    "ImportPlaybackKeyPair": configurations.import_playback_key_pair,
    "InsertAdBreak": streams.insert_ad_break,
    "ListAdConfigurations": lister(AD),
    "ListChannels": channels.list_channels,
    "ListFailoverSlateConfigurations": lister(SLATE),
    "ListPlaybackKeyPairs": lister(KEY_PAIR),
    "ListPlaybackRestrictionPolicies": lister(POLICY),
    "ListRecordingConfigurations": lister(RECORDING),
    "ListStreamKeys": stream_keys.list_stream_keys,
    "ListStreamSessions": streams.list_stream_sessions,
    "ListStreams": streams.list_streams,
    "ListTagsForResource": tags.list_tags_for_resource,
    "PutMetadata": streams.put_metadata,
    "StartViewerSessionRevocation": streams.start_viewer_session_revocation,
    "StopStream": streams.stop_stream,
    "TagResource": tags.tag_resource,
    "UntagResource": tags.untag_resource,
    "UpdateAdConfiguration": configurations.update_ad_configuration,
    "UpdateChannel": channels.update_channel,
    "UpdateFailoverSlateConfiguration": configurations.update_failover_slate_configuration,
    "UpdatePlaybackRestrictionPolicy": configurations.update_playback_restriction_policy,
}

READ_PREFIXES = ("Get", "BatchGet", "List")


def is_write(operation: str) -> bool:
    """Whether an operation may change state; reads take no write lock on the database."""
    return not operation.startswith(READ_PREFIXES)
