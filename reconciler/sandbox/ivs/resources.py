"""Operations on channels and stream keys, and on what channels refer to: recording, ad and failover slate configurations, playback keys and policies.

A channel has one stream key, which can be read at any time and never updated.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable

from reconciler.sandbox.ivs.kinds import (
    AD,
    CHANNEL,
    CHANNEL_DEFAULTS,
    KEY_PAIR,
    POLICY,
    RECORDING,
    SLATE,
    STREAM_KEY,
    channel_problems,
    fingerprint,
    merged_channel,
)
from reconciler.sandbox.ivs.sessions import live_session
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.service import (
    Call,
    Handler,
    Kind,
    conflict,
    in_transition,
    new_id,
    not_found,
    page_of,
    refuse,
    settled,
    validation,
)
from reconciler.sandbox.wire import ApiError

_CHANNEL_REFERENCES = (
    "recordingConfigurationArn",
    "playbackRestrictionPolicyArn",
    "adConfigurationArn",
    "failoverSlateConfigurationArn",
)
_CHANNEL_FILTERS = tuple(f"filterBy{name[0].upper()}{name[1:]}" for name in _CHANNEL_REFERENCES)


def create_channel(call: Call, request: JsonDict) -> JsonDict:
    """Create a channel and its stream key; the key has no tags even if the channel has."""
    _refuse_bad_references(call, request)
    call.refuse_over_quota(CHANNEL.quota, call.world.count(CHANNEL.type))
    arn = call.new_arn(CHANNEL)
    body = merged_channel(call.settings.assume, CHANNEL_DEFAULTS, request)
    channel = {"arn": arn, **body, **_endpoints(call, arn), "tags": request.get("tags", {})}
    call.world.insert(CHANNEL.type, channel, links=_references(channel))
    return {"channel": channel, "streamKey": _insert_stream_key(call, arn, {})}


def update_channel(call: Call, request: JsonDict) -> JsonDict:
    """Update a channel, which must not be live (service model: UpdateChannel); omitted members keep their values.

    That the error of a live one is a conflict is assumed.
    """
    row, assume = call.find(request["arn"]), call.settings.assume
    body = merged_channel(assume, row.document, request)
    refuse(channel_problems(assume, body, request))
    _refuse_bad_references(call, request)
    if assume["live-update"] != "accepted":
        _refuse_live(call, row.arn, "updated", conflict if assume["live-update"] == "conflict" else validation)
    call.world.replace(row, body, links=_references(body))
    return {"channel": body}


def delete_channel(call: Call, request: JsonDict) -> JsonDict:
    """Delete a channel and its stream keys, unless it is live (service model)."""
    row = call.find(request["arn"])
    _refuse_live(call, row.arn, "deleted")
    call.world.remove(row)
    return {}


def list_channels(call: Call, request: JsonDict) -> JsonDict:
    """List channels by at most one filter: two are a conflict (service model: ListChannels), "" is none."""
    linked = [request[name] for name in _CHANNEL_FILTERS if request.get(name)]
    name = request.get("filterByName", "")
    if len(linked) + bool(name) > 1:
        raise conflict("Only one filter may be given in a ListChannels request")
    return page_of(call, CHANNEL, request, name=name, linked=linked[0] if linked else "")


def batch_getter(kind: Kind) -> Handler:
    """Return the handler of a kind's BatchGet operation.

    It returns the resources in the order of the request, each ARN once, and an error for each that is not found.
    """

    def batch_get(call: Call, request: JsonDict) -> JsonDict:
        found: list[JsonDict] = []
        errors: list[JsonDict] = []
        for arn in dict.fromkeys(request["arns"]):
            row = call.world.visible(arn)
            if row is not None:
                found.append(row.document)
            elif arn.split(":")[4] != call.world.account:
                errors.append({"arn": arn, "code": batch_code(call, "403"), "message": "not authorized"})
            else:
                errors.append({"arn": arn, "code": batch_code(call, "404"), "message": f"Resource: {arn} not found"})
        if call.assumes("batch-order") == "shuffled":
            call.rng.shuffle(found)
        return {kind.plural: found, "errors": errors}

    return batch_get


def batch_code(call: Call, status: str) -> str:
    """Return the code of a batch error: an HTTP status, as in the only example that AWS prints (assumed)."""
    if call.assumes("batch-code") == "status":
        return status
    return {"403": "AccessDeniedException", "404": "ResourceNotFoundException"}[status]


def _refuse_bad_references(call: Call, request: JsonDict) -> None:
    """Refuse references in the request to resources that do not exist (404) or are not ready.

    Not ready: 409 while the resource is being created, 400 if that failed (both assumed).
    """
    for member in _CHANNEL_REFERENCES:
        arn = request.get(member)
        if not arn:
            continue
        call.refuse_other_account(arn)
        row = call.world.find(arn)
        if row is None:
            if call.assumes("unknown-reference") == "not-found":
                raise not_found(arn)
            raise validation(f"{member}: {arn} does not exist")
        state = settled(row.document, call.world.now).get("state")
        if state == "CREATE_FAILED":
            raise validation(f"{member}: {arn} is in state CREATE_FAILED")
        answer = call.assumes("unsettled-reference")
        if state == "CREATING" and answer != "accepted":
            text = f"Resource: {arn} is in state CREATING"
            raise conflict(text) if answer == "conflict" else validation(text)


def _refuse_live(call: Call, arn: str, verb: str, error: Callable[[str], ApiError] = conflict) -> None:
    """Refuse to change a live channel."""
    if live_session(call.world, arn) is not None:
        raise error(f"Channel: {arn} is live and cannot be {verb}; stop the stream first")


def _references(channel: JsonDict) -> tuple[str, ...]:
    """Return the ARNs that a channel refers to."""
    return tuple(channel[member] for member in _CHANNEL_REFERENCES if channel.get(member))


@functools.lru_cache(maxsize=64)
def _host_label(account: str, region: str) -> str:
    """Return the first label of the host names of an account in a region."""
    return hashlib.sha256(f"{account}/{region}".encode()).hexdigest()[:12]


def _endpoints(call: Call, arn: str) -> JsonDict:
    """Return the ingest, playback and SRT endpoints of a new channel."""
    region, account = call.world.region, call.world.account
    label = _host_label(account, region)
    channel_id = arn.rpartition("/")[2]
    return {
        "ingestEndpoint": f"{label}.global-contribute.live-video.net",
        "playbackUrl": f"https://{label}.{region}.playback.live-video.net/api/video/v1/{region}.{account}.channel.{channel_id}.m3u8",
        "srt": {"endpoint": f"{label}.srt.live-video.net", "passphrase": new_id(call.rng, 69)},
    }


def _insert_stream_key(call: Call, channel: str, tags: dict[str, str]) -> JsonDict:
    """Store and return a new stream key of a channel; only the prefix of its value is documented."""
    arn = call.new_arn(STREAM_KEY)
    value = f"sk_{call.world.region}_{new_id(call.rng)}_{new_id(call.rng, 30)}"
    key = {"arn": arn, "value": value, "channelArn": channel, "tags": tags}
    call.world.insert(STREAM_KEY.type, key, parent=channel)
    return key


def create_stream_key(call: Call, request: JsonDict) -> JsonDict:
    """Create a stream key; 402 while the channel has one: the quota is one (user guide: service quotas)."""
    channel = call.find(request["channelArn"])
    call.refuse_over_quota(STREAM_KEY.quota, len(call.world.children(channel.arn)))
    return {"streamKey": _insert_stream_key(call, channel.arn, request.get("tags", {}))}


def list_stream_keys(call: Call, request: JsonDict) -> JsonDict:
    """List the keys of a channel; an unknown channel is an error, not an empty list."""
    channel = call.visible(request["channelArn"])
    return page_of(call, STREAM_KEY, request, parent=channel.arn)


_POLICY_DEFAULTS: JsonDict = {
    "name": "",
    "allowedCountries": [],
    "allowedOrigins": [],
    "enableStrictOriginEnforcement": False,
}
# In us-east-1 a bucket of another region is accepted and the configuration then fails; elsewhere
# the call itself fails (service model: CreateRecordingConfiguration, "known issue").
_LENIENT_REGION = "us-east-1"
_FAILING_BUCKET = "create-failed"
_AD_DEFAULTS: JsonDict = {"name": "", "postRollConfiguration": {"enabled": False, "durationSeconds": 15}}
_SLATE_DEFAULTS: JsonDict = {
    "name": "",
    "activationThresholdSeconds": 3,
    "minSlateDisplaySeconds": 3,
    "maxSlateDisplaySeconds": 60,
}


def import_playback_key_pair(call: Call, request: JsonDict) -> JsonDict:
    """Import a public key; importing it again is a conflict, even if the quota is used up."""
    imported = fingerprint(request["publicKeyMaterial"])
    present = call.world.all(KEY_PAIR.type)
    if call.assumes("duplicate-key") == "quota":
        call.refuse_over_quota(KEY_PAIR.quota, len(present))
    if any(row.document["fingerprint"] == imported for row in present):
        raise conflict(f"A playback key pair with fingerprint {imported} already exists")
    # A key pair without a name is shown without that member (user guide: creating a key pair).
    named: JsonDict = {member: request[member] for member in ("name", "tags") if member in request}
    return call.create(KEY_PAIR, {"fingerprint": imported, **named})


def create_playback_restriction_policy(call: Call, request: JsonDict) -> JsonDict:
    """Create a policy; empty lists allow everything."""
    return call.create(POLICY, {**_POLICY_DEFAULTS, **_with_ordered_lists(call, request)})


def update_playback_restriction_policy(call: Call, request: JsonDict) -> JsonDict:
    """Update a policy; omitted members keep their values, and an empty list clears its member (assumed)."""
    row = call.find(request["arn"])
    if call.assumes("empty-lists") == "ignored":
        request = {member: value for member, value in request.items() if value != []}
    policy = {**row.document, **_with_ordered_lists(call, request)}
    call.world.replace(row, policy)
    return {"playbackRestrictionPolicy": policy}


def _with_ordered_lists(call: Call, members: JsonDict) -> JsonDict:
    """Return the members with their lists in the order of answers (as given, assumed)."""
    if call.assumes("set-order") == "kept":
        return members
    return {member: sorted(value) if isinstance(value, list) else value for member, value in members.items()}


def create_recording_configuration(call: Call, request: JsonDict) -> JsonDict:
    """Create a recording configuration: CREATING, then ACTIVE or CREATE_FAILED.

    It fails in any region if the bucket's name contains "create-failed".
    """
    bucket = str(request["destinationConfiguration"].get("s3", {}).get("bucketName", ""))
    usable = _bucket_is_usable(call, bucket)
    if bucket and not usable and call.world.region != _LENIENT_REGION:
        raise validation(
            f"S3 bucket {bucket} does not exist in region {call.world.region} or is not owned by the account"
        )
    final = "ACTIVE" if usable and _FAILING_BUCKET not in bucket else "CREATE_FAILED"
    configuration = {
        "name": "",
        "recordingReconnectWindowSeconds": 0,
        **request,
        "thumbnailConfiguration": _with_ordered_lists(
            call, _thumbnail_configuration(request.get("thumbnailConfiguration", {}))
        ),
        "renditionConfiguration": _with_ordered_lists(
            call, {"renditionSelection": "ALL", **request.get("renditionConfiguration", {})}
        ),
    }
    return call.create(RECORDING, in_transition(call, configuration, state="CREATING", then=final))


def _bucket_is_usable(call: Call, bucket: str) -> bool:
    """Return whether the bucket is in the caller's region, by the configured buckets."""
    region = call.settings.buckets.get(bucket)
    if region is None:
        return not call.settings.strict_buckets
    return region == call.world.region


def _thumbnail_configuration(given: JsonDict) -> JsonDict:
    """Return the thumbnail configuration with its defaults (service model)."""
    mode = given.get("recordingMode", "INTERVAL")
    filled = {**given, "recordingMode": mode, "storage": given.get("storage", ["SEQUENTIAL"])}
    if mode == "INTERVAL":
        filled.setdefault("targetIntervalSeconds", 60)
    return filled


def create_ad_configuration(call: Call, request: JsonDict) -> JsonDict:
    """Create an ad configuration; the order of its MediaTailor configurations matters and is kept."""
    return call.create(AD, {**_AD_DEFAULTS, **request})


def update_ad_configuration(call: Call, request: JsonDict) -> JsonDict:
    """Update an ad configuration; omitted members keep their values (API reference: UpdateAdConfiguration)."""
    row = call.find(request["arn"])
    configuration = {**row.document, **request}
    call.world.replace(row, configuration)
    return {"adConfiguration": configuration}


def create_failover_slate_configuration(call: Call, request: JsonDict) -> JsonDict:
    """Create a failover slate: CREATING, then CREATED (not ACTIVE: service model)."""
    return call.create(SLATE, in_transition(call, {**_SLATE_DEFAULTS, **request}, state="CREATING", then="CREATED"))


def update_failover_slate_configuration(call: Call, request: JsonDict) -> JsonDict:
    """Update a failover slate: UPDATING, then CREATED; a conflict during either (assumed)."""
    row = call.find(request["arn"])
    state = settled(row.document, call.world.now)["state"]
    if state != "CREATED":
        raise conflict(f"Resource: {row.arn} is in state {state}")
    stored = in_transition(call, {**row.document, **request}, state="UPDATING", then="CREATED")
    call.world.replace(row, stored)
    return {"failoverSlateConfiguration": stored}
