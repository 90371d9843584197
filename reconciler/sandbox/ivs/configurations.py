"""Operations on what channels refer to: recording, ad and failover slate configurations, playback keys and policies."""

from __future__ import annotations

from reconciler.sandbox.ivs.kinds import AD, KEY_PAIR, POLICY, RECORDING, SLATE
from reconciler.sandbox.ivs.rules import fingerprint
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.service import Call, conflict, in_transition, settled, validation

POLICY_DEFAULTS: JsonDict = {
    "name": "",
    "allowedCountries": [],
    "allowedOrigins": [],
    "enableStrictOriginEnforcement": False,
}
# In us-east-1 a bucket of another region is accepted and the configuration then fails; elsewhere
# the call itself fails (service model: CreateRecordingConfiguration, "known issue").
LENIENT_REGION = "us-east-1"
FAILING_BUCKET = "create-failed"
AD_DEFAULTS: JsonDict = {"name": "", "postRollConfiguration": {"enabled": False, "durationSeconds": 15}}
SLATE_DEFAULTS: JsonDict = {
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
    return call.create(POLICY, {**POLICY_DEFAULTS, **_in_order(call, request)})


def update_playback_restriction_policy(call: Call, request: JsonDict) -> JsonDict:
    """Update a policy; omitted members keep their values, and an empty list clears its member (assumed)."""
    row = call.find(request["arn"])
    if call.assumes("empty-lists") == "ignored":
        request = {member: value for member, value in request.items() if value != []}
    policy = {**row.document, **_in_order(call, request)}
    call.world.replace(row, policy)
    return {"playbackRestrictionPolicy": policy}


def _in_order(call: Call, members: JsonDict) -> JsonDict:
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
    if bucket and not usable and call.world.region != LENIENT_REGION:
        raise validation(
            f"S3 bucket {bucket} does not exist in region {call.world.region} or is not owned by the account"
        )
    final = "ACTIVE" if usable and FAILING_BUCKET not in bucket else "CREATE_FAILED"
    configuration = {
        "name": "",
        "recordingReconnectWindowSeconds": 0,
        **request,
        "thumbnailConfiguration": _in_order(call, _thumbnail_configuration(request.get("thumbnailConfiguration", {}))),
        "renditionConfiguration": _in_order(
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
    return call.create(AD, {**AD_DEFAULTS, **request})


def update_ad_configuration(call: Call, request: JsonDict) -> JsonDict:
    """Update an ad configuration; omitted members keep their values (API reference: UpdateAdConfiguration)."""
    row = call.find(request["arn"])
    configuration = {**row.document, **request}
    call.world.replace(row, configuration)
    return {"adConfiguration": configuration}


def create_failover_slate_configuration(call: Call, request: JsonDict) -> JsonDict:
    """Create a failover slate: CREATING, then CREATED (not ACTIVE: service model)."""
    return call.create(SLATE, in_transition(call, {**SLATE_DEFAULTS, **request}, state="CREATING", then="CREATED"))


def update_failover_slate_configuration(call: Call, request: JsonDict) -> JsonDict:
    """Update a failover slate: UPDATING, then CREATED; a conflict during either (assumed)."""
    row = call.find(request["arn"])
    state = settled(row.document, call.world.now)["state"]
    if state != "CREATED":
        raise conflict(f"Resource: {row.arn} is in state {state}")
    stored = in_transition(call, {**row.document, **request}, state="UPDATING", then="CREATED")
    call.world.replace(row, stored)
    return {"failoverSlateConfiguration": stored}
