"""What a service consists of: kinds of resources, handlers of operations, and what handlers work with.

A service (`ivs/` today) is a sub-package with one `Service` row, listed in `registry`. A handler is a function from a
`Call` and a validated request to an answer; `getter`, `lister` and `deleter` return those that are alike for all kinds,
`TAG_HANDLERS` are those that are alike for all services.

States that change with time are computed when a resource is read, without timers: a document may hold the private
member {"~next": {"at": instant, "state": name}}, and from that instant on the resource is in that state. No output
shape has such a member, so it is never sent.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from reconciler.sandbox.auth import Caller
from reconciler.sandbox.model import JsonDict, violation_text
from reconciler.sandbox.settings import Assumptions, ResourceQuota, Settings, applied_quota
from reconciler.sandbox.state.world import Row, World, new_salt
from reconciler.sandbox.wire import ApiError

_ALPHANUMERIC = string.ascii_letters + string.digits
# Maps each byte to a letter or digit: thirty times faster than choosing each, and ids need no even distribution.
_LETTERS = bytes(ord(_ALPHANUMERIC[byte % len(_ALPHANUMERIC)]) for byte in range(256))
_READ_PREFIXES = ("Get", "BatchGet", "List")
_NEXT = "~next"
_MAX_TAGS = 50

Handler = Callable[["Call", JsonDict], JsonDict]
Rule = Callable[[Assumptions, JsonDict], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of resource.

    type: the part of its ARN.
    member, plural: the members of answers that hold one, or a list.
    page: the documented default page size (service model: two lists default to 1).
    refuse_linked: a resource that a channel refers to cannot be deleted.
    settles: it passes through CREATING or UPDATING.
    cloudtrail_type: its resource type in CloudTrail.
    """

    type: str
    member: str
    plural: str
    quota: ResourceQuota
    page: int = 100
    refuse_linked: bool = False
    settles: bool = False
    cloudtrail_type: str = "AWS::IVS::Resource"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service.

    name: its folder in botocore's data, and the service in its ARNs and signatures.
    title: its name in Service Quotas.
    handlers: by operation. The model's other operations answer UnknownOperationException.
    rules: by operation, the checks of a request that its shapes cannot express.
    rates: documented calls a second by operation; `default_rate` for the others.
    arn_members: the input members that name the resource of a call, the most specific first.
    blanks: top-level input members that may be "" for none, though the model's enum lacks it.
    without_resource: operations that IAM authorizes without a resource (Service Authorization Reference).
    """

    name: str
    title: str
    kinds: Mapping[str, Kind]
    handlers: Mapping[str, Handler]
    rules: Mapping[str, Rule]
    quotas: tuple[ResourceQuota, ...]
    rates: Mapping[str, float]
    default_rate: float
    arn_members: tuple[str, ...]
    blanks: frozenset[str] = field(default_factory=frozenset)
    without_resource: frozenset[str] = field(default_factory=frozenset)


@dataclass(slots=True)
class Call:
    """One validated call inside its transaction."""

    service: Service
    operation: str
    caller: Caller
    world: World
    settings: Settings
    rng: random.Random

    def assumes(self, name: str) -> str:
        """Return the chosen option of an assumption; see `settings.ASSUMPTIONS`."""
        return self.settings.assume[name]

    def new_arn(self, kind: Kind) -> str:
        """Return the ARN of a new resource."""
        world = self.world
        return f"arn:aws:{self.service.name}:{world.region}:{world.account}:{kind.type}/{new_id(self.rng)}"

    def create(self, kind: Kind, document: JsonDict) -> JsonDict:
        """Store a new resource and return the answer. Raises ApiError if the quota is used up."""
        self.refuse_over_quota(kind.quota, self.world.count(kind.type))
        resource = {"tags": {}, **document, "arn": self.new_arn(kind)}
        self.world.insert(kind.type, resource)
        return {kind.member: resource}

    def visible(self, arn: str) -> Row:
        """Return a resource as reads show it. Raises ApiError if there is none, or if it is another account's."""
        self.refuse_other_account(arn)
        row = self.world.visible(arn)
        if row is None:
            raise not_found(arn)
        return row

    def find(self, arn: str) -> Row:
        """Return a resource to change. Raises ApiError if there is none, or if it is another account's."""
        self.refuse_other_account(arn)
        row = self.world.find(arn)
        if row is None:
            raise not_found(arn)
        return row

    def refuse_other_account(self, arn: str) -> None:
        """Raise ApiError (access denied) for an ARN of another account; one of another region is not found instead (assumed)."""
        parts = arn.split(":")
        if len(parts) > 4 and parts[4] != self.world.account:
            action = f"{self.service.name}:{self.operation}"
            raise ApiError(
                "AccessDeniedException",
                f"User: {self.caller.arn} is not authorized to perform: {action} on resource: {arn}",
            )

    def refuse_over_quota(self, quota: ResourceQuota, present: int) -> None:
        """Raise ApiError with 402, the service's status for quotas (service model), if no more is allowed."""
        limit = applied_quota(self.world.connection, quota, self.world.account, self.world.region)
        if present >= limit:
            raise ApiError(
                "ServiceQuotaExceededException",
                f"Your request would cause the quota for {quota.name} to be exceeded: {limit}",
            )


def new_id(rng: random.Random, length: int = 12) -> str:
    """Return random letters and digits, the form of the service's ids."""
    return rng.randbytes(length).translate(_LETTERS).decode()


def is_write(operation: str) -> bool:
    """Return whether an operation may change state; reads take no write lock on the database."""
    return not operation.startswith(_READ_PREFIXES)


def validation(text: str) -> ApiError:
    """Return the error for a broken rule between members."""
    return ApiError("ValidationException", text)


def refuse(problems: list[str]) -> None:
    """Raise ApiError for a request that breaks rules, with all of them in one answer."""
    if problems:
        raise validation(problems[0] if len(problems) == 1 else violation_text(problems))


def conflict(text: str) -> ApiError:
    """Return the error for an operation that the resource's state does not allow."""
    return ApiError("ConflictException", text)


def not_found(arn: str) -> ApiError:
    """Return the error for a resource that does not exist."""
    return ApiError("ResourceNotFoundException", f"Resource: {arn} not found")


def in_transition(call: Call, document: JsonDict, *, state: str, then: str) -> JsonDict:
    """Return the document in a temporary state; `then` is its state when the settings' time has passed."""
    return {**document, "state": state, _NEXT: {"at": call.world.now + call.settings.settle_seconds, "state": then}}


def settled(document: JsonDict, now: float) -> JsonDict:
    """Return the document with the state it has at an instant."""
    change = document.get(_NEXT)
    if change is None or now < change["at"]:
        return document
    return {**document, "state": change["state"]}


def getter(kind: Kind) -> Handler:
    """Return the handler of a kind's Get operation."""

    def get(call: Call, request: JsonDict) -> JsonDict:
        document = call.visible(request["arn"]).document
        return {kind.member: settled(document, call.world.now)}

    return get


def lister(kind: Kind) -> Handler:
    """Return the handler of a kind's List operation without filters."""

    def list_all(call: Call, request: JsonDict) -> JsonDict:
        return page_of(call, kind, request)

    return list_all


def deleter(kind: Kind, *, linked_conflict_documented: bool = False) -> Handler:
    """Return the handler of a kind's Delete operation.

    Deleting a resource that a channel refers to is a conflict (service model for recording configurations, assumed for
    the others), and so is deleting one that is still being created (assumed).
    """

    def delete(call: Call, request: JsonDict) -> JsonDict:
        row = call.find(request["arn"])
        conflicts = linked_conflict_documented or call.assumes("attached-delete") == "conflict"
        if kind.refuse_linked and conflicts and call.world.is_linked(row.arn):
            raise conflict(f"Resource: {row.arn} is associated with one or more channels")
        if kind.settles and call.assumes("unsettled-delete") == "conflict":
            state = settled(row.document, call.world.now).get("state", "")
            if state in ("CREATING", "UPDATING"):
                raise conflict(f"Resource: {row.arn} is in state {state}")
        call.world.remove(row)
        return {}

    return delete


def page_of(
    call: Call, kind: Kind, request: JsonDict, *, name: str = "", parent: str = "", linked: str = ""
) -> JsonDict:
    """Return one page of a listing as an answer."""
    page = call.world.page(
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
    return {kind.plural: [settled(row.document, call.world.now) for row in page.rows], "nextToken": page.token or None}


def salt(call: Call) -> int:
    """Return the salt that shuffles a new listing; 0 keeps the order of creation."""
    return new_salt(call.rng) if call.assumes("list-order") == "shuffled" else 0


def _tag_resource(call: Call, request: JsonDict) -> JsonDict:
    """Add or overwrite tags; the limit applies to the result (assumed)."""
    row = _tagged(call, request["resourceArn"], call.world.find(request["resourceArn"]))
    tags = {**row.document.get("tags", {}), **request["tags"]}
    # System tags do not count (Tag Editor guide).
    if sum(not key.startswith("aws:") for key in tags) > _MAX_TAGS:
        raise validation(f"A resource may have at most {_MAX_TAGS} tags")
    call.world.replace(row, {**row.document, "tags": tags})
    return {}


def _untag_resource(call: Call, request: JsonDict) -> JsonDict:
    """Remove tags; keys that are not present are ignored (assumed)."""
    row = _tagged(call, request["resourceArn"], call.world.find(request["resourceArn"]))
    present = row.document.get("tags", {})
    tags = {key: value for key, value in present.items() if key not in request["tagKeys"]}
    call.world.replace(row, {**row.document, "tags": tags})
    return {}


def _list_tags(call: Call, request: JsonDict) -> JsonDict:
    """Return all tags in one answer (document history: paging was removed)."""
    row = _tagged(call, request["resourceArn"], call.world.visible(request["resourceArn"]))
    return {"tags": row.document.get("tags", {})}


def _tagged(call: Call, arn: str, row: Row | None) -> Row:
    """Return the tagged resource; another account's is not found, as these operations do not model AccessDenied."""
    if arn.split(":")[5].partition("/")[0] not in call.service.kinds:
        raise validation(f"resourceArn: {arn} is not a taggable resource")
    if row is None:
        raise not_found(arn)
    return row


TAG_HANDLERS: Mapping[str, Handler] = {
    "ListTagsForResource": _list_tags,
    "TagResource": _tag_resource,
    "UntagResource": _untag_resource,
}
"""The tag operations, which are alike in every service (service models)."""
