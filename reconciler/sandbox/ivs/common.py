"""What an operation gets to work with, and the answers every operation shares.

States that change with time, decided from stored due-times when read: no timers, no threads.

A document may hold a private note {"~next": {"at": instant, "state": name}}; from that instant on
the resource is in the named state. Notes never leave: no output shape has such a member.

The table of resource kinds, and the operations that are alike for all of them.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reconciler.sandbox.auth import Caller
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.settings import Settings, quota
from reconciler.sandbox.validation import violation_text
from reconciler.sandbox.wire import ApiError
from reconciler.sandbox.world import BadTokenError, Page, Row, World, new_salt

ALPHANUMERIC = string.ascii_letters + string.digits
# Any byte as a letter or digit: an id needs no even distribution, and this is thirty times faster than choosing each.
_LETTERS = bytes(ord(ALPHANUMERIC[byte % len(ALPHANUMERIC)]) for byte in range(256))


@dataclass(slots=True)
class Call:
    """One validated call inside its transaction."""

    operation: str
    caller: Caller
    world: World
    settings: Settings
    rng: random.Random

    def assumes(self, name: str) -> str:
        """Return the answer to an open question about the service; see `assumptions`."""
        return self.settings.assume[name]

    def identifier(self, length: int = 12) -> str:
        """Random letters and digits, the form of the service's ids."""
        return self.rng.randbytes(length).translate(_LETTERS).decode()

    def new_arn(self, kind: str) -> str:
        """Return a fresh ARN of a kind."""
        world = self.world
        return f"arn:aws:ivs:{world.region}:{world.account}:{kind}/{self.identifier()}"

    def see(self, arn: str) -> Row:
        """Return the resource a read asks for, or the error that says why not."""
        self.refuse_foreign(arn)
        return self.world.see(arn) or _missing(arn)

    def find(self, arn: str) -> Row:
        """Return the resource a write is about, or the error that says why not."""
        self.refuse_foreign(arn)
        return self.world.find(arn) or _missing(arn)

    def refuse_foreign(self, arn: str) -> None:
        """Another account's ARN is denied; another region's simply is not found here (assumed)."""
        parts = arn.split(":")
        if len(parts) > 4 and parts[4] != self.world.account:
            raise ApiError(
                "AccessDeniedException",
                f"User: {self.caller.arn} is not authorized to perform: ivs:{self.operation} on resource: {arn}",
            )

    def refuse_over_quota(self, name: str, present: int) -> None:
        """402 is the service's quota status (service model)."""
        limit = quota(self.world.connection, name, self.world.account, self.world.region)
        if present >= limit:
            raise ApiError(
                "ServiceQuotaExceededException",
                f"Your request would cause the quota for {name} to be exceeded: {limit}",
            )


Handler = Callable[[Call, JsonDict], JsonDict]


def validation(text: str) -> ApiError:
    """Return the error for a broken rule between members."""
    return ApiError("ValidationException", text)


def refuse(problems: list[str]) -> None:
    """Refuse a request that breaks rules, with all of them in one answer."""
    if problems:
        raise validation(problems[0] if len(problems) == 1 else violation_text(problems))


def conflict(text: str) -> ApiError:
    """Return the error for what the resource's present state forbids."""
    return ApiError("ConflictException", text)


def not_found(arn: str) -> ApiError:
    """No such resource."""
    return ApiError("ResourceNotFoundException", f"Resource: {arn} not found")


def _missing(arn: str) -> Row:
    raise not_found(arn)


NOTE = "~next"


def pending(document: JsonDict, *, state: str, then: str, at: float) -> JsonDict:
    """Return the document in a passing state, with the state it goes to."""
    return {**document, "state": state, NOTE: {"at": at, "state": then}}


def settled(document: JsonDict, now: float) -> JsonDict:
    """Return the document as it is at this instant."""
    note = document.get(NOTE)
    if note is None or now < note["at"]:
        return document
    return {**document, "state": note["state"]}


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
