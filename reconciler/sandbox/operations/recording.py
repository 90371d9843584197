"""Creating recording configurations: defaults, combination rules, buckets and their regions."""

from __future__ import annotations

from reconciler.sandbox.lifecycle import pending
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.operations.context import Call, validation
from reconciler.sandbox.operations.kinds import RECORDING, new_tags
from reconciler.sandbox.operations.playback import in_order

# In us-east-1 a bucket of another region is accepted and the configuration then fails; elsewhere
# the call itself fails (service model: CreateRecordingConfiguration, "known issue").
LENIENT_REGION = "us-east-1"
FAILS_BY_NAME = "create-failed"


def create_recording_configuration(call: Call, request: JsonDict) -> JsonDict:
    """Make a configuration in state CREATING, which is ACTIVE (or CREATE_FAILED) a little later.

    A bucket whose name contains "create-failed" makes the creation fail anywhere, for rehearsals.
    """
    tags = new_tags(request)
    thumbnails = thumbnail_configuration(request.get("thumbnailConfiguration", {}))
    renditions = rendition_configuration(request.get("renditionConfiguration", {}))
    bucket = bucket_name(request)
    usable = bucket_is_usable(call, bucket)
    if not usable and call.world.region != LENIENT_REGION:
        raise validation(f"S3 bucket {bucket} does not exist in region {call.world.region} or is not owned by the account")
    call.refuse_over_quota(RECORDING.quota, call.world.count(RECORDING.type))
    final = "ACTIVE" if usable and FAILS_BY_NAME not in bucket else "CREATE_FAILED"
    configuration = {
        **request,
        "arn": call.new_arn(RECORDING.type),
        "name": request.get("name", ""),
        "recordingReconnectWindowSeconds": request.get("recordingReconnectWindowSeconds", 0),
        "thumbnailConfiguration": in_order(call, thumbnails),
        "renditionConfiguration": in_order(call, renditions),
        "tags": tags,
    }
    due = call.world.now + call.settings.settle_seconds
    stored = pending(configuration, state="CREATING", then=final, at=due)
    call.world.insert(RECORDING.type, configuration["arn"], stored)
    return {"recordingConfiguration": stored}


def bucket_name(request: JsonDict) -> str:
    """Return the bucket; exactly one destination must be given, and S3 is the only one there is."""
    s3 = request["destinationConfiguration"].get("s3")
    if s3 is None:
        raise validation("destinationConfiguration must hold exactly one destination: s3")
    return str(s3["bucketName"])


def bucket_is_usable(call: Call, bucket: str) -> bool:
    """Whether the bucket lies in the caller's region, by the configured table."""
    region = call.settings.buckets.get(bucket)
    if region is None:
        return not call.settings.strict_buckets
    return region == call.world.region


def thumbnail_configuration(given: JsonDict) -> JsonDict:
    """Defaults filled in (service model); an interval without thumbnails is refused (assumed)."""
    mode = given.get("recordingMode", "INTERVAL")
    if mode == "DISABLED" and "targetIntervalSeconds" in given:
        raise validation("thumbnailConfiguration.targetIntervalSeconds can only be set when recordingMode is INTERVAL")
    filled = {**given, "recordingMode": mode, "storage": given.get("storage", ["SEQUENTIAL"])}
    if mode == "INTERVAL":
        filled.setdefault("targetIntervalSeconds", 60)
    return filled


def rendition_configuration(given: JsonDict) -> JsonDict:
    """Fill the default in: CUSTOM needs renditions (service model); without CUSTOM they mean nothing and are kept."""
    selection = given.get("renditionSelection", "ALL")
    if selection == "CUSTOM" and not given.get("renditions"):
        raise validation("renditionConfiguration.renditions is required when renditionSelection is CUSTOM")
    return {**given, "renditionSelection": selection}
