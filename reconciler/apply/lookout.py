"""Looks at what is there while an apply runs: which resources claim an address that was free when the plan was read.

A look lists one kind. Several workers that ask while a look is under way share the next one, so that many lost answers cost few calls.
Only a look that began after the question answers it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from reconciler.model.address import Address, KindName
from reconciler.model.kinds import Kind
from reconciler.model.tags import ID, STACK

Listing: TypeAlias = Callable[[Kind, Mapping[str, object]], Iterable[Mapping[str, Any]]]
"""Lists a kind to its end, with these parameters beside its own; yields items as answers hold them. Raises ``AwsError``."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A resource as a list shows it."""

    arn: str
    name: str
    tags: Mapping[str, str]
    state: str = ""

    def __str__(self) -> str:
        facts = [f"name {self.name!r}" if self.name else "no name", *([f"state {self.state}"] if self.state else [])]
        return f"{self.arn} ({', '.join(facts)})"


@dataclass(slots=True)
class _View:
    """The last look at one kind."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    begun: int = 0
    at: float = float("-inf")
    sightings: Mapping[str, tuple[Sighting, ...]] = field(default_factory=dict)


class Lookout:
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
        self._views: dict[KindName, _View] = {}

    def new(self, kind: Kind) -> Mapping[str, tuple[Sighting, ...]]:
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

    def claims(self, kind: Kind, address: Address) -> tuple[Sighting, ...]:
        """Look now; return what claims one address and was not there when the plan was read. Raises ``AwsError``."""
        return self.new(kind).get(address.id, ())

    def keys_of(self, kind: Kind, channel_arn: str) -> tuple[Sighting, ...]:
        """Return the stream keys of a channel that were not there when the plan was read, anybody's. Raises ``AwsError``."""
        return tuple(
            sorted(
                (
                    seen
                    for seen in map(_sighting, self._listing(kind, {"channelArn": channel_arn}))
                    if seen.arn not in self._known
                ),
                key=_arn,
            )
        )

    def age(self, kind: KindName) -> float:
        """Return how many seconds ago this kind was last looked at, or read for the plan."""
        return self._clock() - max(self._read_at, self._view(kind).at)

    def looked(self, kind: KindName) -> bool:
        """Whether this kind was looked at since the plan was read."""
        return self._view(kind).begun > 0

    def _look(self, kind: Kind) -> Mapping[str, tuple[Sighting, ...]]:
        found: dict[str, list[Sighting]] = {}
        for item in self._listing(kind, {}):
            seen = _sighting(item)
            if seen.arn not in self._known and seen.tags.get(STACK) == self.stack and ID in seen.tags:
                found.setdefault(seen.tags[ID], []).append(seen)
        return {identifier: tuple(sorted(group, key=_arn)) for identifier, group in found.items()}

    def _view(self, kind: KindName) -> _View:
        with self._lock:
            return self._views.setdefault(kind, _View())


def _sighting(item: Mapping[str, Any]) -> Sighting:
    return Sighting(
        str(item["arn"]), str(item.get("name") or ""), dict(item.get("tags") or {}), str(item.get("state") or "")
    )


def _arn(seen: Sighting) -> str:
    return seen.arn
