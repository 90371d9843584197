"""Playback key pairs and playback restriction policies."""

from __future__ import annotations

from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.operations.context import Call, conflict, refuse
from reconciler.sandbox.operations.kinds import KEY_PAIR, POLICY, new_tags
from reconciler.sandbox.operations.rules import key_problems, policy_problems
from reconciler.sandbox.pem import fingerprint


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
