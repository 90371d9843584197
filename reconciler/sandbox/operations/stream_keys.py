"""Stream key operations: one key a channel, readable at any time, never updatable."""

from __future__ import annotations

from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.operations.channels import batch, insert_stream_key
from reconciler.sandbox.operations.context import Call, refuse
from reconciler.sandbox.operations.kinds import STREAM_KEY, new_tags, page_of
from reconciler.sandbox.operations.rules import tag_problems


def create_stream_key(call: Call, request: JsonDict) -> JsonDict:
    """Fails with 402 while the channel has a key: the quota is one (user guide: service quotas)."""
    refuse(tag_problems(call.settings.assume, request))
    channel = call.find(request["channelArn"])
    call.refuse_over_quota(STREAM_KEY.quota, len(call.world.children(channel.arn)))
    return {"streamKey": insert_stream_key(call, channel.arn, new_tags(request))}


def list_stream_keys(call: Call, request: JsonDict) -> JsonDict:
    """Return the keys of one channel; an unknown channel is an error, not an empty list."""
    channel = call.see(request["channelArn"])
    return page_of(call, STREAM_KEY, request, parent=channel.arn)


def batch_get_stream_key(call: Call, request: JsonDict) -> JsonDict:
    """Keys with their values."""
    found, errors = batch(call, request["arns"])
    return {"streamKeys": found, "errors": errors}
