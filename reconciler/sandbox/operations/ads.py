"""Ad configurations and failover slate configurations."""

from __future__ import annotations

from reconciler.sandbox.lifecycle import pending, settled
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.operations.context import Call, conflict, refuse
from reconciler.sandbox.operations.kinds import AD, SLATE, new_tags
from reconciler.sandbox.operations.rules import ad_problems, tag_problems

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
