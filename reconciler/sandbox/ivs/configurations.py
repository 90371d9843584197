"""Creating recording configurations: defaults, combination rules, buckets and their regions.

Playback key pairs and playback restriction policies.

Ad configurations and failover slate configurations.
"""

from __future__ import annotations

from reconciler.sandbox.ivs.common import (
    AD,
    KEY_PAIR,
    POLICY,
    RECORDING,
    SLATE,
    Call,
    conflict,
    new_tags,
    pending,
    refuse,
    settled,
)
from reconciler.sandbox.ivs.rules import (
    ad_problems,
    fingerprint,
    key_problems,
    policy_problems,
    recording_problems,
    tag_problems,
)
from reconciler.sandbox.model import JsonDict


def import_playback_key_pair(call: Call, request: JsonDict) -> JsonDict:
    """One public key is imported once only: a second time conflicts, even with a full quota."""
    refuse(key_problems(call.settings.assume, request))
    mark = fingerprint(request["publicKeyMaterial"])
    present = call.world.all(KEY_PAIR.type)
    if call.assumes("duplicate-key") == "quota":
        call.refuse_over_quota(KEY_PAIR.quota, len(present))
    if any(row.document["fingerprint"] == mark for row in present):
        raise conflict(f"A playback key pair with fingerprint {mark} already exists")
    call.refuse_over_quota(KEY_PAIR.quota, len(present))
    pair: JsonDict = {"arn": call.new_arn(KEY_PAIR.type), "fingerprint": mark, "tags": new_tags(request)}
    # A nameless key pair answers without a name (user guide: creating a key pair).
    if "name" in request:
        pair["name"] = request["name"]
    call.world.insert(KEY_PAIR.type, pair["arn"], pair)
    return {"keyPair": pair}


def create_playback_restriction_policy(call: Call, request: JsonDict) -> JsonDict:
    """Make a policy; empty lists allow everything."""
    refuse(policy_problems(call.settings.assume, request))
    call.refuse_over_quota(POLICY.quota, call.world.count(POLICY.type))
    policy = {
        "name": "",
        "allowedCountries": [],
        "allowedOrigins": [],
        "enableStrictOriginEnforcement": False,
        **in_order(call, request),
        "arn": call.new_arn(POLICY.type),
        "tags": new_tags(request),
    }
    call.world.insert(POLICY.type, policy["arn"], policy)
    return {"playbackRestrictionPolicy": policy}


def update_playback_restriction_policy(call: Call, request: JsonDict) -> JsonDict:
    """Members not given stay; lists are replaced whole, and an empty one clears (assumed)."""
    row = call.find(request["arn"])
    refuse(policy_problems(call.settings.assume, request))
    if call.assumes("empty-lists") == "ignored":
        request = {member: value for member, value in request.items() if value != []}
    policy = {**row.document, **in_order(call, request)}
    call.world.replace(row, policy)
    return {"playbackRestrictionPolicy": policy}


def in_order(call: Call, members: JsonDict) -> JsonDict:
    """Return the members, lists in the order they are to come back in (as given, assumed)."""
    if call.assumes("set-order") == "kept":
        return members
    return {member: sorted(value) if isinstance(value, list) else value for member, value in members.items()}


# In us-east-1 a bucket of another region is accepted and the configuration then fails; elsewhere
# the call itself fails (service model: CreateRecordingConfiguration, "known issue").
LENIENT_REGION = "us-east-1"
FAILS_BY_NAME = "create-failed"


def create_recording_configuration(call: Call, request: JsonDict) -> JsonDict:
    """Make a configuration in state CREATING, which is ACTIVE (or CREATE_FAILED) a little later.

    A bucket whose name contains "create-failed" makes the creation fail anywhere, for rehearsals.
    """
    problems = recording_problems(call.settings.assume, request)
    bucket = str(request["destinationConfiguration"].get("s3", {}).get("bucketName", ""))
    usable = bucket_is_usable(call, bucket)
    if bucket and not usable and call.world.region != LENIENT_REGION:
        problems.append(
            f"S3 bucket {bucket} does not exist in region {call.world.region} or is not owned by the account"
        )
    refuse(problems)
    call.refuse_over_quota(RECORDING.quota, call.world.count(RECORDING.type))
    final = "ACTIVE" if usable and FAILS_BY_NAME not in bucket else "CREATE_FAILED"
    configuration = {
        **request,
        "arn": call.new_arn(RECORDING.type),
        "name": request.get("name", ""),
        "recordingReconnectWindowSeconds": request.get("recordingReconnectWindowSeconds", 0),
        "thumbnailConfiguration": in_order(call, thumbnail_configuration(request.get("thumbnailConfiguration", {}))),
        "renditionConfiguration": in_order(
            call, {"renditionSelection": "ALL", **request.get("renditionConfiguration", {})}
        ),
        "tags": new_tags(request),
    }
    due = call.world.now + call.settings.settle_seconds
    stored = pending(configuration, state="CREATING", then=final, at=due)
    call.world.insert(RECORDING.type, configuration["arn"], stored)
    return {"recordingConfiguration": stored}


def bucket_is_usable(call: Call, bucket: str) -> bool:
    """Whether the bucket lies in the caller's region, by the configured table."""
    region = call.settings.buckets.get(bucket)
    if region is None:
        return not call.settings.strict_buckets
    return region == call.world.region


def thumbnail_configuration(given: JsonDict) -> JsonDict:
    """Fill the defaults in (service model)."""
    mode = given.get("recordingMode", "INTERVAL")
    filled = {**given, "recordingMode": mode, "storage": given.get("storage", ["SEQUENTIAL"])}
    if mode == "INTERVAL":
        filled.setdefault("targetIntervalSeconds", 60)
    return filled


POST_ROLL_DEFAULT: JsonDict = {"enabled": False, "durationSeconds": 15}
SLATE_DEFAULTS: JsonDict = {
    "name": "",
    "activationThresholdSeconds": 3,
    "minSlateDisplaySeconds": 3,
    "maxSlateDisplaySeconds": 60,
}


def create_ad_configuration(call: Call, request: JsonDict) -> JsonDict:
    """Make an ad configuration; the order of its MediaTailor configurations matters and is kept."""
    refuse(ad_problems(call.settings.assume, request))
    call.refuse_over_quota(AD.quota, call.world.count(AD.type))
    configuration = {
        "name": "",
        "postRollConfiguration": POST_ROLL_DEFAULT,
        **request,
        "arn": call.new_arn(AD.type),
        "tags": new_tags(request),
    }
    call.world.insert(AD.type, configuration["arn"], configuration)
    return {"adConfiguration": configuration}


def update_ad_configuration(call: Call, request: JsonDict) -> JsonDict:
    """Members not given stay (API reference: UpdateAdConfiguration)."""
    row = call.find(request["arn"])
    refuse(ad_problems(call.settings.assume, request))
    configuration = {**row.document, **request}
    call.world.replace(row, configuration)
    return {"adConfiguration": configuration}


def create_failover_slate_configuration(call: Call, request: JsonDict) -> JsonDict:
    """Make a slate in state CREATING, which is CREATED (not ACTIVE: service model) a little later."""
    refuse(tag_problems(call.settings.assume, request))
    call.refuse_over_quota(SLATE.quota, call.world.count(SLATE.type))
    slate = {**SLATE_DEFAULTS, **request, "arn": call.new_arn(SLATE.type), "tags": new_tags(request)}
    due = call.world.now + call.settings.settle_seconds
    stored = pending(slate, state="CREATING", then="CREATED", at=due)
    call.world.insert(SLATE.type, slate["arn"], stored)
    return {"failoverSlateConfiguration": stored}


def update_failover_slate_configuration(call: Call, request: JsonDict) -> JsonDict:
    """Make it UPDATING, then CREATED; refused while the last change is still under way (assumed)."""
    row = call.find(request["arn"])
    state = settled(row.document, call.world.now)["state"]
    if state != "CREATED":
        raise conflict(f"Resource: {row.arn} is in state {state}")
    due = call.world.now + call.settings.settle_seconds
    stored = pending({**row.document, **request}, state="UPDATING", then="CREATED", at=due)
    call.world.replace(row, stored)
    return {"failoverSlateConfiguration": stored}
