"""Creating recording configurations: defaults, combination rules, buckets and their regions."""

from __future__ import annotations

from reconciler.sandbox.lifecycle import pending
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.operations.context import Call, refuse
from reconciler.sandbox.operations.kinds import RECORDING, new_tags
from reconciler.sandbox.operations.playback import in_order
from reconciler.sandbox.operations.rules import recording_problems

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
