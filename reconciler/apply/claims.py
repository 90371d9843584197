"""Which live resources claim an address that this apply creates, and what to do about it.

IVS has no idempotency token for creates, names are not unique, and another apply may create the same resource at the same time.
So an apply lists the resources that carry the address's tags and were not there when its plan was read, and follows these rules:

- The resource with the lowest ARN is kept, by every apply that lists.
- An apply deletes only what it created itself: its own resource, when another one is kept.
  It knows its own by the answer to its create or, if that was lost, by the attempt number that the create wrote into the tags.
- An apply whose resource would be kept waits for the other apply to delete. If nothing changes for a while, that apply is gone,
  and this one deletes its own.
- An apply lists until it sees its own create or delete. By then it also sees what others did before.
  So of two applies, the one that acted last sees everything and leaves exactly one resource.
- If none is left after a deletion, the resource is created again.

``NewResources`` lists, ``decide`` applies the rules to what was listed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, TypeAlias

from reconciler.model.address import ATTEMPT, ID, STACK, Address, KindName, comparable_tags
from reconciler.model.kinds import Kind

Listing: TypeAlias = Callable[[Kind, Mapping[str, object]], Iterable[Mapping[str, Any]]]
"""Lists all resources of a kind, with additional parameters; yields items as answers hold them. Raises ``AwsError``."""

_BY_ARN = attrgetter("arn")


@dataclass(frozen=True, slots=True)
class ListedResource:
    """A resource as a list operation shows it."""

    arn: str
    name: str
    tags: Mapping[str, str]
    state: str = ""

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> ListedResource:
        """Return the resource of one item of a list."""
        return cls(
            str(item["arn"]), str(item.get("name") or ""), dict(item.get("tags") or {}), str(item.get("state") or "")
        )

    def __str__(self) -> str:
        facts = [f"name {self.name!r}" if self.name else "no name", *([f"state {self.state}"] if self.state else [])]
        return f"{self.arn} ({', '.join(facts)})"


@dataclass(slots=True)
class _Listed:
    """The last list of one kind, by id."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    begun: int = 0
    at: float = float("-inf")
    resources: Mapping[str, tuple[ListedResource, ...]] = field(default_factory=dict)


class NewResources:
    """Lists the resources of one stack that appeared since the plan was read. Thread-safe.

    ``known`` are the ARNs that were there when the plan was read, which began at ``read_at`` by ``clock``.
    Threads that ask while a list is in progress share the next one, so that many lost answers cost few calls.
    """

    def __init__(
        self, listing: Listing, stack: str, known: Iterable[str], *, read_at: float, clock: Callable[[], float]
    ) -> None:
        self._listing = listing
        self.stack = stack
        self._known = frozenset(known)
        self._read_at = read_at
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[KindName, _Listed] = {}

    def list_kind(self, kind: Kind) -> Mapping[str, tuple[ListedResource, ...]]:
        """List now and return the stack's new resources of this kind by id, in ARN order. Raises ``AwsError``."""
        listed = self._of(kind.name)
        asked = listed.begun
        with listed.lock:
            if listed.begun > asked:
                return listed.resources  # only a list that began after the question answers it
            listed.begun += 1
            began = self._clock()
            found: dict[str, list[ListedResource]] = {}
            for resource in self._new(kind, {}):
                if resource.tags.get(STACK) == self.stack and ID in resource.tags:
                    found.setdefault(resource.tags[ID], []).append(resource)
            listed.resources = {name: tuple(resources) for name, resources in found.items()}
            listed.at = began
            return listed.resources

    def claiming(self, kind: Kind, address: Address) -> tuple[ListedResource, ...]:
        """List now and return the new resources that claim one address. Raises ``AwsError``."""
        return self.list_kind(kind).get(address.id, ())

    def stream_keys(self, kind: Kind, channel_arn: str) -> tuple[ListedResource, ...]:
        """Return the new stream keys of a channel, of any owner. Raises ``AwsError``."""
        return tuple(self._new(kind, {"channelArn": channel_arn}))

    def age(self, kind: KindName) -> float:
        """Return how many seconds ago this kind was listed here or read for the plan."""
        return self._clock() - max(self._read_at, self._of(kind).at)

    def was_listed(self, kind: KindName) -> bool:
        """Whether this kind was listed since the plan was read."""
        return self._of(kind).begun > 0

    def _new(self, kind: Kind, parameters: Mapping[str, object]) -> list[ListedResource]:
        listed = map(ListedResource.of, self._listing(kind, parameters))
        return sorted((resource for resource in listed if resource.arn not in self._known), key=_BY_ARN)

    def _of(self, kind: KindName) -> _Listed:
        with self._lock:
            return self._kinds.setdefault(kind, _Listed())


@dataclass(frozen=True, slots=True)
class Keep:
    """This resource is kept."""

    arn: str


@dataclass(frozen=True, slots=True)
class Absent:
    """There is none: send the create again."""


@dataclass(frozen=True, slots=True)
class Wait:
    """List again later."""

    why: str


@dataclass(frozen=True, slots=True)
class DeleteOwn:
    """Delete the one that this apply created."""

    arn: str


@dataclass(frozen=True, slots=True)
class Undecidable:
    """It is unknown which one is meant, or the one to delete cannot be deleted."""

    candidates: tuple[ListedResource, ...]


Verdict: TypeAlias = Keep | Absent | Wait | DeleteOwn | Undecidable


@dataclass(slots=True)
class Claim:
    """One address that this apply creates a resource for.

    ``tags`` are those of the create; a resource whose tags have changed since is in use, and is not deleted.
    ``attempt`` is what this apply's creates write into the attempt tag; empty where they write none.
    ``own`` is the ARN in the answer to this apply's create, or the one that carries ``attempt``; ``None`` while unknown.
    ``uncertain`` means that the answer to a create was lost, so that a resource of this apply may still appear.
    ``deleted`` are those that this apply created and deleted. ``delete_refused`` means that AWS refused such a delete.
    ``changed_at`` is when the resources that claim the address last changed.
    """

    address: Address
    tags: Mapping[str, str]
    changed_at: float
    attempt: str = ""
    own: str | None = None
    uncertain: bool = False
    deleted: frozenset[str] = frozenset()
    delete_refused: bool = False
    seen: tuple[tuple[str, str], ...] = ()

    def record_list(self, resources: Sequence[ListedResource], now: float) -> None:
        """Record what a list showed, in ARN order."""
        seen = tuple((resource.arn, resource.state) for resource in resources)
        if seen != self.seen:
            self.seen, self.changed_at = seen, now
        if self.own is None:
            self.own = next((resource.arn for resource in resources if self.is_own(resource)), None)

    def is_own(self, resource: ListedResource) -> bool:
        """Whether this apply created it and has not deleted it."""
        if resource.arn in self.deleted:
            return False
        return resource.arn == self.own or (self.attempt != "" and resource.tags.get(ATTEMPT) == self.attempt)

    def record_delete(self, arn: str, now: float) -> None:
        """Record that this apply deleted what it had created."""
        self.deleted |= {arn}
        self.own = None
        self.changed_at = now

    def record_create(self, arn: str, now: float) -> None:
        """Record the answer to this apply's create."""
        self.own = arn
        self.delete_refused = False
        self.changed_at = now


def decide(claim: Claim, resources: Sequence[ListedResource], *, patient: bool) -> Verdict:
    """Return what to do after a list. ``patient`` means that the list may still lag behind, or that another apply may still act."""
    there = [resource for resource in resources if resource.arn not in claim.deleted]
    if claim.own is not None and all(resource.arn != claim.own for resource in there):
        # The answer to the create is more reliable than a list that never shows the resource.
        return Wait("the list does not show the created resource yet") if patient else Keep(claim.own)
    if len(there) > 1:
        return _decide_among(claim, there, patient=patient)
    if patient and len(there) < len(resources):
        return Wait("the list still shows the deleted resource")
    if there and patient and claim.uncertain and claim.attempt and claim.own is None:
        return Wait("another apply created it, and the one of this apply may still appear")
    if there:
        return Keep(there[0].arn)
    if patient and not claim.deleted:
        return Wait("the list may lag behind")
    return Absent()


def _decide_among(claim: Claim, there: Sequence[ListedResource], *, patient: bool) -> Verdict:
    kept = min(there, key=_BY_ARN)
    deletable = [
        resource for resource in there if claim.is_own(resource) and comparable_tags(resource.tags) == claim.tags
    ]
    if claim.delete_refused:
        deletable = []
    spare = max((resource for resource in deletable if resource is not kept), key=_BY_ARN, default=None)
    if spare is not None:
        return DeleteOwn(spare.arn)
    if patient:
        return Wait("another apply created the same resource, and one of them has to be deleted")
    return DeleteOwn(deletable[0].arn) if deletable else Undecidable(tuple(there))
