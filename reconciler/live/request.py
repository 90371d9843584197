"""What a reader is asked to look at, and how it sorts what the lists show: ours, perhaps ours, somebody else's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.live.listing import Item
from reconciler.model import tags
from reconciler.model.address import KindName


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """What a plan needs to know about one account and region.

    ``stream_key_channels`` are ids of channels whose spec speaks of a stream key.
    ``adopt_names`` are, for each kind, names under which an unowned resource may be adopted; ``full_arns`` are single resources to read whatever they are.
    Both are read in full, like our own. ``everything`` reads every resource in full, for an export.
    ``needed`` are the kinds that the spec has; of these, only one that the caller may not read may stay unreadable.
    """

    stack: str
    stream_key_channels: frozenset[str] = frozenset()
    adopt_names: Mapping[KindName, frozenset[str]] = field(default_factory=dict)
    ignore_tags: tuple[str, ...] = ()
    needed: frozenset[KindName] = frozenset()
    full_arns: frozenset[str] = frozenset()
    everything: bool = False


def is_managed(item: Item, request: ReadRequest) -> bool:
    """Whether the resource carries the stack's tag."""
    return (item.get("tags") or {}).get(tags.STACK) == request.stack


def is_candidate(kind: KindName, item: Item, request: ReadRequest) -> bool:
    """Whether the resource, though not ours, may be taken over."""
    if item["arn"] in request.full_arns:
        return True
    names = request.adopt_names.get(kind)
    return names is not None and item.get("name", "") in names and tags.STACK not in (item.get("tags") or {})


def in_full(kind: KindName, item: Item, request: ReadRequest) -> bool:
    """Whether more than the list summary has to be known of the resource."""
    return request.everything or is_managed(item, request) or is_candidate(kind, item, request)


def speaks_of_stream_key(item: Item, request: ReadRequest) -> bool:
    """Whether the stream keys of this channel matter: the spec speaks of them, or will once the channel is adopted."""
    if not request.stream_key_channels:
        return False
    if is_managed(item, request):
        return item["tags"].get(tags.ID) in request.stream_key_channels
    return is_candidate(KindName.CHANNEL, item, request)
