"""What claims an address that this run is making, and what to do about it. Pure: no call, no clock.

IVS has no token that makes a create happen once, names are not unique, and another apply may be making the same resource at the same time.
So a run looks at what carries the address's tags and was not there when its plan was read, and goes by these rules:

- The lowest ARN stays, for every run that looks.
- A run deletes only what it made itself and knows that it made: its own, when another stays.
  It knows its own by the answer to its create, and where that was lost, by the number of the try that the create wrote on it.
- Whoever made the one that would stay waits for the other's maker. If nothing moves, that maker is not there any more, and the run withdraws its own.
- A run goes on looking until the list shows what it did itself: its create, or its delete. What others did before is shown by then too.
  So of two runs, the one that acted last sees everything and leaves exactly one.
- If a look after a withdrawal shows none, the resource is made again.

Looks at what is there while an apply runs: which resources claim an address that was free when the plan was read.

A look lists one kind. Several workers that ask while a look is under way share the next one, so that many lost answers cost few calls.
Only a look that began after the question answers it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from reconciler.model.address import ATTEMPT, ID, STACK, Address, KindName, comparable
from reconciler.model.kinds import Kind

Listing: TypeAlias = Callable[[Kind, Mapping[str, object]], Iterable[Mapping[str, Any]]]
"""Lists a kind to its end, with these parameters beside its own; yields items as answers hold them. Raises ``AwsError``."""


@dataclass(frozen=True, slots=True)
class ListedResource:
    """A resource as a list shows it."""

    arn: str
    name: str
    tags: Mapping[str, str]
    state: str = ""

    def __str__(self) -> str:
        facts = [f"name {self.name!r}" if self.name else "no name", *([f"state {self.state}"] if self.state else [])]
        return f"{self.arn} ({', '.join(facts)})"


@dataclass(slots=True)
class _Listing:
    """The last look at one kind."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    begun: int = 0
    at: float = float("-inf")
    sightings: Mapping[str, tuple[ListedResource, ...]] = field(default_factory=dict)


class NewResources:
    """Looks for resources of one stack. Safe to share between threads.

    ``known`` are the ARNs that were there when the plan was read, which began at ``read_at`` by ``clock``.
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
        self._views: dict[KindName, _Listing] = {}

    def new(self, kind: Kind) -> Mapping[str, tuple[ListedResource, ...]]:
        """Look now; return, by id, the stack's resources of this kind that were not there when the plan was read, in ARN order. Raises ``AwsError``."""
        view = self._view(kind.name)
        asked = view.begun
        with view.lock:
            if view.begun > asked:
                return view.sightings  # a look that began after we asked
            view.begun += 1
            began = self._clock()
            view.sightings = self._look(kind)
            view.at = began
            return view.sightings

    def claims(self, kind: Kind, address: Address) -> tuple[ListedResource, ...]:
        """Look now; return what claims one address and was not there when the plan was read. Raises ``AwsError``."""
        return self.new(kind).get(address.id, ())

    def keys_of(self, kind: Kind, channel_arn: str) -> tuple[ListedResource, ...]:
        """Return the stream keys of a channel that were not there when the plan was read, anybody's. Raises ``AwsError``."""
        return tuple(
            sorted(
                (
                    seen
                    for seen in map(_sighting, self._listing(kind, {"channelArn": channel_arn}))
                    if seen.arn not in self._known
                ),
                key=_lookout_arn,
            )
        )

    def age(self, kind: KindName) -> float:
        """Return how many seconds ago this kind was last looked at, or read for the plan."""
        return self._clock() - max(self._read_at, self._view(kind).at)

    def looked(self, kind: KindName) -> bool:
        """Whether this kind was looked at since the plan was read."""
        return self._view(kind).begun > 0

    def _look(self, kind: Kind) -> Mapping[str, tuple[ListedResource, ...]]:
        found: dict[str, list[ListedResource]] = {}
        for item in self._listing(kind, {}):
            seen = _sighting(item)
            if seen.arn not in self._known and seen.tags.get(STACK) == self.stack and ID in seen.tags:
                found.setdefault(seen.tags[ID], []).append(seen)
        return {identifier: tuple(sorted(group, key=_lookout_arn)) for identifier, group in found.items()}

    def _view(self, kind: KindName) -> _Listing:
        with self._lock:
            return self._views.setdefault(kind, _Listing())


def _sighting(item: Mapping[str, Any]) -> ListedResource:
    return ListedResource(
        str(item["arn"]), str(item.get("name") or ""), dict(item.get("tags") or {}), str(item.get("state") or "")
    )


def _lookout_arn(seen: ListedResource) -> str:
    return seen.arn


@dataclass(frozen=True, slots=True)
class Keep:
    """This is the one."""

    arn: str


@dataclass(frozen=True, slots=True)
class Absent:
    """There is none: send the create again."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again later."""

    why: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Delete the one this run made."""

    arn: str


@dataclass(frozen=True, slots=True)
class Undecidable:
    """It cannot be told which one is meant, or the one to go cannot go."""

    candidates: tuple[ListedResource, ...]


Verdict: TypeAlias = Keep | Absent | Wait | Withdraw | Undecidable


@dataclass(slots=True)
class Claim:
    """One address that this run makes a resource for.

    ``tags`` are what the create gave it; a resource whose tags have become others is somebody's by now and is not withdrawn.
    ``number`` is what this run's creates write on what they make; empty where they write none.
    ``mine`` is the ARN that AWS answered this run's create with, or that carries its number; ``None`` while that is not known.
    ``uncertain`` says that a create was sent whose answer was lost, so that one of this run's may appear.
    ``withdrawn`` are those that this run made and deleted again. ``held`` says that AWS refused such a delete.
    ``since`` is when what claims the address last changed.
    """

    address: Address
    tags: dict[str, str]
    since: float
    number: str = ""
    mine: str | None = None
    uncertain: bool = False
    withdrawn: set[str] = field(default_factory=set)
    held: bool = False
    seen: frozenset[tuple[str, str]] = frozenset()

    def notice(self, sightings: Sequence[ListedResource], now: float) -> None:
        """Take note of what a look showed."""
        seen = frozenset((sighting.arn, sighting.state) for sighting in sightings)
        if seen != self.seen:
            self.seen, self.since = seen, now
        if self.mine is None:
            self.mine = next((sighting.arn for sighting in sightings if self.made_by_me(sighting)), None)

    def made_by_me(self, sighting: ListedResource) -> bool:
        """Whether this run made it and has not deleted it again."""
        if sighting.arn in self.withdrawn:
            return False
        return sighting.arn == self.mine or (self.number != "" and sighting.tags.get(ATTEMPT) == self.number)

    def took_back(self, arn: str, now: float) -> None:
        """Take note that this run deleted what it had made."""
        self.withdrawn.add(arn)
        self.mine = None
        self.since = now

    def made(self, arn: str, now: float) -> None:
        """Take note that this run's create was answered."""
        self.mine = arn
        self.held = False
        self.since = now


def decide(claim: Claim, sightings: Sequence[ListedResource], *, patient: bool) -> Verdict:
    """Return what follows from a look. ``patient`` says that the list may still lag behind, or another run may still move."""
    there = [sighting for sighting in sightings if sighting.arn not in claim.withdrawn]
    ghost = len(there) < len(sightings)
    if claim.mine is not None and all(sighting.arn != claim.mine for sighting in there):
        # AWS's answer to the create counts more than a list that never shows it.
        return Wait("the list does not show yet what was just made") if patient else Keep(claim.mine)
    if len(there) > 1:
        return _decide_among(claim, there, patient=patient)
    if patient and ghost:
        return Wait("the list still shows what was just deleted")
    if there and patient and claim.uncertain and claim.number and claim.mine is None:
        return Wait("another apply made it, and what this one sent may still appear")
    if there:
        return Keep(there[0].arn)
    if patient and not claim.withdrawn:
        return Wait("the list may show what was just made a little late")
    return Absent()


def _decide_among(claim: Claim, there: Sequence[ListedResource], *, patient: bool) -> Verdict:
    first = min(there, key=_arn)
    own = [sighting for sighting in there if claim.made_by_me(sighting)]
    may_go = [] if claim.held else [sighting for sighting in own if comparable(sighting.tags) == claim.tags]
    spare = max((sighting for sighting in may_go if sighting is not first), key=_arn, default=None)
    if spare is not None:
        return Withdraw(spare.arn)
    if patient:
        return Wait("another apply made the same resource, and one of them has to go")
    return Withdraw(may_go[0].arn) if may_go else Undecidable(tuple(there))


def _arn(sighting: ListedResource) -> str:
    return sighting.arn
