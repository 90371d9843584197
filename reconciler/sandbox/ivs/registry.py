"""Amazon IVS as a service of the sandbox: the handler of each operation, those for tags of every kind, and its row in the registry."""

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
    too_many_tags,
)
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.service import Call, Handler, Service, deleter, getter, lister, not_found, refuse, validation
from reconciler.sandbox.state.world import Row


def tag_resource(call: Call, request: JsonDict) -> JsonDict:
    """Add or overwrite tags; the limit applies to the result (assumed)."""
    row = _tagged(call, request["resourceArn"], call.world.find(request["resourceArn"]))
    tags = {**row.document.get("tags", {}), **request["tags"]}
    refuse(too_many_tags(tags))
    call.world.replace(row, {**row.document, "tags": tags})
    return {}


def untag_resource(call: Call, request: JsonDict) -> JsonDict:
    """Remove tags; keys that are not present are ignored (assumed)."""
    row = _tagged(call, request["resourceArn"], call.world.find(request["resourceArn"]))
    present = row.document.get("tags", {})
    tags = {key: value for key, value in present.items() if key not in request["tagKeys"]}
    call.world.replace(row, {**row.document, "tags": tags})
    return {}


def list_tags_for_resource(call: Call, request: JsonDict) -> JsonDict:
    """Return all tags in one answer (document history: paging was removed)."""
    row = _tagged(call, request["resourceArn"], call.world.visible(request["resourceArn"]))
    return {"tags": row.document.get("tags", {})}


def _tagged(call: Call, arn: str, row: Row | None) -> Row:
    """Return the tagged resource; another account's is not found, as these operations do not model AccessDenied."""
    if arn.split(":")[5].partition("/")[0] not in call.service.kinds:
        raise validation(f"resourceArn: {arn} is not a taggable resource")
    if row is None:
        raise not_found(arn)
    return row


_HANDLERS: Mapping[str, Handler] = {
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
    "ListTagsForResource": list_tags_for_resource,
    "PutMetadata": streams.put_metadata,
    "StartViewerSessionRevocation": streams.start_viewer_session_revocation,
    "StopStream": streams.stop_stream,
    "TagResource": tag_resource,
    "UntagResource": untag_resource,
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
