"""Channel operations and the rules between a channel's members."""

from __future__ import annotations

import functools
import hashlib

from reconciler.sandbox.lifecycle import settled
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.operations.context import Call, conflict, not_found, validation
from reconciler.sandbox.operations.kinds import CHANNEL, STREAM_KEY, new_tags, page_of
from reconciler.sandbox.sessions import live_session

# What a channel made with no member given answers (observed on the real service by others, and in
# AWS's own examples): policy and resolution are shown even while multitrack input is off.
DEFAULTS: JsonDict = {
    "name": "",
    "latencyMode": "LOW",
    "type": "STANDARD",
    "authorized": False,
    "insecureIngest": False,
    "containerFormat": "TS",
    "recordingConfigurationArn": "",
    "playbackRestrictionPolicyArn": "",
    "adConfigurationArn": "",
    "failoverSlateConfigurationArn": "",
}
MULTITRACK_DEFAULTS: JsonDict = {"enabled": False, "policy": "ALLOW", "maximumResolution": "FULL_HD"}
REFERENCES = (
    "recordingConfigurationArn",
    "playbackRestrictionPolicyArn",
    "adConfigurationArn",
    "failoverSlateConfigurationArn",
)
FILTERS = {
    "filterByRecordingConfigurationArn",
    "filterByPlaybackRestrictionPolicyArn",
    "filterByAdConfigurationArn",
    "filterByFailoverSlateConfigurationArn",
}


def create_channel(call: Call, request: JsonDict) -> JsonDict:
    """Make a channel and its stream key; the key is born untagged even if the channel is tagged."""
    tags = new_tags(request)
    body = merge(call, {**DEFAULTS, "multitrackInputConfiguration": MULTITRACK_DEFAULTS}, request)
    refuse_bad_combination(call, body, request)
    refuse_bad_references(call, request)
    call.refuse_over_quota(CHANNEL.quota, call.world.count(CHANNEL.type))
    arn = call.new_arn(CHANNEL.type)
    channel = {"arn": arn, **body, **endpoints(call, arn), "tags": tags}
    call.world.insert(CHANNEL.type, arn, channel, links=links(channel))
    return {"channel": channel, "streamKey": insert_stream_key(call, arn, {})}


def update_channel(call: Call, request: JsonDict) -> JsonDict:
    """Members not given stay; a live channel cannot be updated (service model: UpdateChannel)."""
    row = call.find(request["arn"])
    if request.get("adConfigurationArn") == "" and call.assumes("empty-ad-reference") == "refused":
        raise validation("adConfigurationArn: an ad configuration cannot be detached")
    body = merge(call, row.document, request)
    refuse_bad_combination(call, body, request)
    refuse_bad_references(call, request)
    refuse_live_update(call, row.arn)
    call.world.replace(row, body, links=links(body))
    return {"channel": body}


def delete_channel(call: Call, request: JsonDict) -> JsonDict:
    """Delete the channel with its stream keys, unless it is live (service model)."""
    row = call.find(request["arn"])
    refuse_live(call, row.arn, "deleted")
    call.world.remove(row)
    return {}


def list_channels(call: Call, request: JsonDict) -> JsonDict:
    """At most one filter; two of them conflict (service model: ListChannels). "" filters nothing."""
    linked = [request[name] for name in FILTERS if request.get(name)]
    name = request.get("filterByName", "")
    if len(linked) + bool(name) > 1:
        raise conflict("Only one filter may be given in a ListChannels request")
    return page_of(call, CHANNEL, request, name=name, linked=linked[0] if linked else "")


def batch_get_channel(call: Call, request: JsonDict) -> JsonDict:
    """Found and missing channels side by side."""
    found, errors = batch(call, request["arns"])
    return {"channels": found, "errors": errors}


def batch(call: Call, arns: list[str]) -> tuple[list[JsonDict], list[JsonDict]]:
    """Documents in order of the request, each ARN once; what cannot be shown, as batch errors."""
    found: list[JsonDict] = []
    errors: list[JsonDict] = []
    for arn in dict.fromkeys(arns):
        row = call.world.see(arn)
        if row is not None:
            found.append(row.document)
        elif arn.split(":")[4] != call.world.account:
            errors.append({"arn": arn, "code": batch_code(call, "403"), "message": "not authorized"})
        else:
            errors.append({"arn": arn, "code": batch_code(call, "404"), "message": f"Resource: {arn} not found"})
    if call.assumes("batch-order") == "shuffled":
        call.rng.shuffle(found)
    return found, errors


def batch_code(call: Call, status: str) -> str:
    """Return the code of a batch error.

    It is an HTTP status in the only example AWS prints, so it is here (assumed).
    """
    return status if call.assumes("batch-code") == "status" else {"403": "AccessDeniedException", "404": "ResourceNotFoundException"}[status]


def merge(call: Call, present: JsonDict, request: JsonDict) -> JsonDict:
    """Return the state after a request: `type` and `preset` move together, multitrack input by member.

    Presets exist for ADVANCED types only and default to HIGHER_BANDWIDTH_DELIVERY there (service
    model); that a change of type resets them is assumed. So is that absent members of the multitrack
    object keep their stored values.
    """
    given = {key: value for key, value in request.items() if key not in ("arn", "tags")}
    body = {**present, **given}
    multitrack = request.get("multitrackInputConfiguration", {})
    kept = present["multitrackInputConfiguration"] if call.assumes("multitrack-update") == "kept" or not multitrack else MULTITRACK_DEFAULTS
    body["multitrackInputConfiguration"] = {**kept, **multitrack}
    if not body["type"].startswith("ADVANCED"):
        body["preset"] = ""
    elif not body.get("preset"):
        body["preset"] = "HIGHER_BANDWIDTH_DELIVERY"
    return body


def refuse_bad_combination(call: Call, body: JsonDict, request: JsonDict) -> None:
    """Apply the rules between members, judged on the state the request would lead to."""
    multitrack = body["multitrackInputConfiguration"]
    problems = []
    if request.get("preset") and not body["type"].startswith("ADVANCED") and call.assumes("idle-preset") == "refused":
        problems.append("preset can only be set for the types ADVANCED_SD and ADVANCED_HD")
    if multitrack["enabled"]:
        if body["type"] != "STANDARD":
            problems.append("multitrackInputConfiguration can only be enabled for type STANDARD")
        if body["containerFormat"] != "FRAGMENTED_MP4":
            problems.append("multitrack input requires containerFormat FRAGMENTED_MP4")
        given = request.get("multitrackInputConfiguration", {})
        if given.get("enabled") and "arn" not in request:
            problems += [
                f"multitrackInputConfiguration.{member} is required when enabled is true" for member in ("policy", "maximumResolution") if member not in given
            ]
    if body.get("adConfigurationArn") and body["containerFormat"] == "FRAGMENTED_MP4":
        problems.append("adConfigurationArn cannot be combined with containerFormat FRAGMENTED_MP4")
    if problems:
        raise validation("; ".join(problems))


def refuse_bad_references(call: Call, request: JsonDict) -> None:
    """Refuse references to what does not exist (404) or is not ready.

    Only references the request sets are looked at. Not ready: 409 while it is being made, 400 if
    making it failed (both assumed).
    """
    for member in REFERENCES:
        arn = request.get(member)
        if not arn:
            continue
        call.refuse_foreign(arn)
        row = call.world.find(arn)
        if row is None:
            raise not_found(arn) if call.assumes("unknown-reference") == "not-found" else validation(f"{member}: {arn} does not exist")
        state = settled(row.document, call.world.now).get("state")
        if state == "CREATE_FAILED":
            raise validation(f"{member}: {arn} is in state CREATE_FAILED")
        answer = call.assumes("unsettled-reference")
        if state == "CREATING" and answer != "accepted":
            text = f"Resource: {arn} is in state CREATING"
            raise conflict(text) if answer == "conflict" else validation(text)


def refuse_live(call: Call, arn: str, verb: str) -> None:
    """Refuse, as a live channel is neither updated nor deleted."""
    if live_session(call.world, arn) is not None:
        raise conflict(f"Channel: {arn} is live and cannot be {verb}; stop the stream first")


def refuse_live_update(call: Call, arn: str) -> None:
    """Live channels cannot be updated (service model); that it is a conflict is assumed."""
    answer = call.assumes("live-update")
    if answer == "conflict":
        refuse_live(call, arn, "updated")
    elif answer == "validation" and live_session(call.world, arn) is not None:
        raise validation(f"Channel: {arn} is live and cannot be updated")


def links(channel: JsonDict) -> tuple[str, ...]:
    """Return the ARNs a channel refers to."""
    return tuple(channel[member] for member in REFERENCES if channel.get(member))


@functools.lru_cache(maxsize=64)
def host_label(account: str, region: str) -> str:
    """Return the first label of all hosts of an account in a region."""
    return hashlib.sha256(f"{account}/{region}".encode()).hexdigest()[:12]


def endpoints(call: Call, arn: str) -> JsonDict:
    """Return the hosts of a channel; whose first label they share with all others."""
    region, account = call.world.region, call.world.account
    label = host_label(account, region)
    channel_id = arn.rpartition("/")[2]
    return {
        "ingestEndpoint": f"{label}.global-contribute.live-video.net",
        "playbackUrl": f"https://{label}.{region}.playback.live-video.net/api/video/v1/{region}.{account}.channel.{channel_id}.m3u8",
        "srt": {"endpoint": f"{label}.srt.live-video.net", "passphrase": call.identifier(69)},
    }


def insert_stream_key(call: Call, channel: str, tags: dict[str, str]) -> JsonDict:
    """Return a new stream key of a channel; only the prefix of its value is documented."""
    arn = call.new_arn(STREAM_KEY.type)
    value = f"sk_{call.world.region}_{call.identifier(12)}_{call.identifier(30)}"
    key = {"arn": arn, "value": value, "channelArn": channel, "tags": tags}
    call.world.insert(STREAM_KEY.type, arn, key, parent=channel)
    return key
