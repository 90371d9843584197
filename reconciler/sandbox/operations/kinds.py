"""The table of resource kinds, and the operations that are alike for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.sandbox.lifecycle import settled
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.operations.context import Call, Handler, conflict, validation
from reconciler.sandbox.world import BadTokenError, Page, new_salt


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource kind: `type` is the part of its ARN, the others name members of answers.

    `page` is the documented default page size (service model: two lists default to 1).
    """

    type: str
    member: str
    plural: str
    page: int
    quota: str
    refuse_linked: bool = False
    settles: bool = False


CHANNEL = Kind("channel", "channel", "channels", 100, "channels")
STREAM_KEY = Kind("stream-key", "streamKey", "streamKeys", 1, "stream-keys-per-channel")
RECORDING = Kind(
    "recording-configuration",
    "recordingConfiguration",
    "recordingConfigurations",
    100,
    "recording-configurations",
    refuse_linked=True,
    settles=True,
)
KEY_PAIR = Kind("playback-key", "keyPair", "keyPairs", 100, "playback-keys")
POLICY = Kind(
    "playback-restriction-policy",
    "playbackRestrictionPolicy",
    "playbackRestrictionPolicies",
    1,
    "playback-restriction-policies",
    refuse_linked=True,
)
AD = Kind(
    "ad-configuration",
    "adConfiguration",
    "adConfigurations",
    100,
    "ad-configurations",
    refuse_linked=True,
)
SLATE = Kind(
    "failover-slate-configuration",
    "failoverSlateConfiguration",
    "failoverSlateConfigurations",
    100,
    "failover-slate-configurations",
    refuse_linked=True,
    settles=True,
)

KINDS: Mapping[str, Kind] = {kind.type: kind for kind in (CHANNEL, STREAM_KEY, RECORDING, KEY_PAIR, POLICY, AD, SLATE)}


def getter(kind: Kind) -> Handler:
    """Return the Get operation of a kind."""

    def get(call: Call, request: JsonDict) -> JsonDict:
        document = call.see(request["arn"]).document
        return {kind.member: settled(document, call.world.now)}

    return get


def lister(kind: Kind) -> Handler:
    """Return the List operation of a kind that has no filters."""

    def list_all(call: Call, request: JsonDict) -> JsonDict:
        return page_of(call, kind, request)

    return list_all


def deleter(kind: Kind) -> Handler:
    """Return the Delete operation of a kind.

    Deleting what a channel refers to conflicts (service model for recording configurations; by
    analogy for the others), and so does deleting what is still being created (assumed).
    """

    def delete(call: Call, request: JsonDict) -> JsonDict:
        row = call.find(request["arn"])
        # For recording configurations the conflict is documented, and no assumption.
        bound = kind is RECORDING or call.assumes("attached-delete") == "conflict"
        if kind.refuse_linked and bound and call.world.is_linked(row.arn):
            raise conflict(f"Resource: {row.arn} is associated with one or more channels")
        if kind.settles and call.assumes("unsettled-delete") == "conflict":
            state = settled(row.document, call.world.now).get("state", "")
            if state in ("CREATING", "UPDATING"):
                raise conflict(f"Resource: {row.arn} is in state {state}")
        call.world.remove(row)
        return {}

    return delete


def page_of(
    call: Call,
    kind: Kind,
    request: JsonDict,
    *,
    name: str = "",
    parent: str = "",
    linked: str = "",
) -> JsonDict:
    """One page of a listing as its answer."""
    try:
        page: Page = call.world.page(
            kind.type,
            request.get("maxResults", kind.page),
            request.get("nextToken", ""),
            name=name,
            prefix=call.assumes("name-filter") == "prefix",
            parent=parent,
            linked=linked,
            salt=salt(call),
            short=call.assumes("list-pages") == "short",
        )
    except BadTokenError:
        raise validation("The provided nextToken is invalid") from None
    now = call.world.now
    answer: JsonDict = {kind.plural: [settled(row.document, now) for row in page.rows]}
    if page.token:
        answer["nextToken"] = page.token
    return answer


def salt(call: Call) -> int:
    """Return what a new listing is shuffled by; 0 leaves it in order of creation."""
    return new_salt(call.rng) if call.assumes("list-order") == "shuffled" else 0


def new_tags(request: JsonDict) -> dict[str, str]:
    """Return the tags of a create call."""
    return dict(request.get("tags", {}))
