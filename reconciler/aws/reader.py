"""Reads the ``LiveState`` of an account and region with as few calls as possible.

Lists show tags, so unmanaged resources are not read in full. Managed channels are read in batches of 50 while the list is still being read;
recording configurations and key pairs one by one, because IVS has no batch for them. Stream keys are listed only for channels whose spec has one.
A list that fails is never taken for an empty one: it ends the read, or marks the kind as unreadable if a permission is missing or no spec needs it.
Pages are read here because botocore has no paginator for every list; a missing, null or empty token ends a list, an empty page does not.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from sys import intern
from types import MappingProxyType
from typing import Any, NamedTuple

from reconciler.aws.client import ReadCalls
from reconciler.aws.denials import join_errors, missing_permission, why_unreadable
from reconciler.errors import NOT_FOUND, UNREADABLE, AwsError
from reconciler.model import address
from reconciler.model.address import COMMIT, ID, STACK, UNCOMPARED, KindName, comparable_tags
from reconciler.model.kinds import BATCH_SIZE, FIELDS, KINDS, LISTED, Kind, Service, Shape, child_kind_of
from reconciler.model.kinds.ivs import LIST_STREAMS, STREAM_KEY
from reconciler.model.resource import LastStream, LiveResource, LiveState, StackMember, Stream, canonical
from reconciler.model.values import Value
from reconciler.terminal import mask_stream_keys

_SESSIONS_READ = 100
"""Sessions read per channel. Their order is undocumented; a channel with more sessions is in use in any case."""


def last_streams(
    calls: ReadCalls, channels: Iterable[LiveResource], stack: str
) -> tuple[Mapping[str, LastStream], str]:
    """Return the last stream, by ARN, of channels that share an address, and the missing permission if they cannot be read.

    IVS keeps sessions for 60 days (user guide, stream health); a session without an end is live. Raises ``AwsError``.
    """
    managed = [channel for channel in channels if channel.tags.get(STACK) == stack and ID in channel.tags]
    claims = Counter(channel.tags[ID] for channel in managed)
    found: dict[str, LastStream] = {}
    for channel in managed:
        if claims[channel.tags[ID]] == 1:
            continue
        try:
            data: Mapping[str, Any] = calls.call(
                "ListStreamSessions", {"channelArn": channel.arn, "maxResults": _SESSIONS_READ}
            ).data
        except AwsError as error:
            return {}, missing_permission(error)
        if sessions := _items(data, "ListStreamSessions", "streamSessions"):
            found[channel.arn] = max(
                LastStream(not item.get("endTime"), str(item.get("startTime") or "")) for item in sessions
            )
    return found, ""


def _items(data: Mapping[str, object], operation: str, members: str) -> list[Item]:
    """Return the list in an answer. Raises ``AwsError`` if there is none: no list is not an empty list."""
    page = data.get(members)
    if not isinstance(page, list) or not {*map(type, page)} <= _OBJECT:
        raise AwsError(
            f"{operation}: the answer contains no list {members!r}, so the result is unknown",
            operation=operation,
            code=UNREADABLE,
        )
    return page


def _check_item(item: Item, operation: str) -> str:
    """Return the ARN of a resource in a list. Raises ``AwsError`` if it has none, or tags that are no map of strings."""
    arn, tags = item.get("arn") or item.get("channelArn"), item.get("tags") or {}
    # The keys of a JSON object are strings.
    if not isinstance(arn, str) or not isinstance(tags, dict) or not {*map(type, tags.values())} <= _STRING:
        raise AwsError(
            f"{operation}: the answer holds a resource without an ARN, or with unreadable tags, so the result is unknown",
            operation=operation,
            code=UNREADABLE,
        )
    return arn


_NONE: Mapping[str, object] = {}
_STRING, _OBJECT = {str}, {dict}

Item = Mapping[str, Any]
"""A resource in an answer."""


class Pages(NamedTuple):
    """A list operation: the key of the list in an answer, the page size, and the service; ``None`` is IVS."""

    operation: str
    members: str
    size: int
    service: Service | None = None

    @classmethod
    def of(cls, kind: Kind) -> Pages:
        """Return the list operation of a kind."""
        return cls(kind.list, kind.members, kind.page_size, kind.service)


def read_pages(
    calls: ReadCalls, pages: Pages, parameters: Mapping[str, object], stop: threading.Event | None
) -> Iterator[list[Item]]:
    """Yield the items of each page, each ARN once. Ends early when ``stop`` is set. Raises ``AwsError``.

    If AWS refuses a page token, the list is read again from the start, once.
    """
    operation, members, size, service = pages
    seen: set[str] = set()
    used: set[str] = set()
    token = ""
    restarted = False
    while stop is None or not stop.is_set():
        request = {**parameters, "maxResults": size, **({"nextToken": token} if token else {})}
        try:
            data = calls.call(operation, request, service).data
        except AwsError as error:
            if not token or restarted or error.status != 400:
                raise
            restarted, token = True, ""
            used.clear()
            continue
        yield _new_items(data, operation, members, seen)
        following = data.get("nextToken")
        if not following:
            return
        token = str(following)
        if token in used:
            raise AwsError(
                f"{operation}: AWS returned the same page token twice; try again later",
                operation=operation,
                code="RepeatedToken",
            )
        used.add(token)


def read_list(
    calls: ReadCalls, pages: Pages, parameters: Mapping[str, object] = _NONE, stop: threading.Event | None = None
) -> Iterator[Item]:
    """Yield the items of a whole list. Raises ``AwsError``."""
    return (item for page in read_pages(calls, pages, parameters, stop) for item in page)


def list_kind(calls: ReadCalls, kind: Kind, parameters: Mapping[str, object] = _NONE) -> Iterator[Item]:
    """Yield all resources in the list of a kind. Raises ``AwsError``."""
    return read_list(calls, Pages.of(kind), parameters)


def _new_items(data: Mapping[str, object], operation: str, members: str, seen: set[str]) -> list[Item]:
    """Return the items of a page that were on no earlier page: items move between pages while a list is read."""
    new = []
    for item in _items(data, operation, members):
        key = _check_item(item, operation)
        if key not in seen:
            seen.add(key)
            new.append(item)
    return new


class ReadRequest(NamedTuple):
    """What to read of one account and region.

    ``stream_key_channels`` are ids of channels whose spec has a stream key.
    Managed resources are read in full, and so are unowned ones with one of the ``adopt_names`` of their kind, the ``full_arns``, and with ``everything`` all.
    ``take_over`` are other stacks, whose resources with one of these names, or one of the ``adopt_ids`` of their kind, may be adopted too.
    ``needed`` are the kinds in the spec: a failure to read one ends the read unless a permission is missing.
    ``kinds`` are the kinds to read. Stream keys are read with their channels. Without ``outputs`` the texts of outputs are left out.
    """

    stack: str
    stream_key_channels: frozenset[str] = frozenset()
    adopt_names: Mapping[KindName, frozenset[str]] = MappingProxyType({})
    ignore_tags: tuple[str, ...] = ()
    needed: frozenset[KindName] = frozenset()
    full_arns: frozenset[str] = frozenset()
    everything: bool = False
    take_over: frozenset[str] = frozenset()
    adopt_ids: Mapping[KindName, frozenset[str]] = MappingProxyType({})
    kinds: frozenset[KindName] = frozenset(LISTED)
    outputs: bool = True


def tags_of(item: Item) -> Mapping[str, str]:
    """Return the tags of a resource in an answer, which has none or ``null`` without tags."""
    return item.get("tags") or {}


def is_managed(item: Item, request: ReadRequest) -> bool:
    """Return whether the resource has the tag of the stack."""
    return tags_of(item).get(address.STACK) == request.stack


def may_be_adopted(kind: KindName, item: Item, request: ReadRequest) -> bool:
    """Return whether the unmanaged resource may be adopted."""
    if item["arn"] in request.full_arns:
        return True
    tags = tags_of(item)
    has_name = (item.get("name") or "") in request.adopt_names.get(kind, ())
    if (owner := tags.get(address.STACK)) and owner in request.take_over:
        return has_name or tags.get(ID) in request.adopt_ids.get(kind, ())
    return has_name and (not owner or (owner == request.stack and not address.is_valid_id(tags.get(ID, ""))))


def needs_full_read(kind: KindName, item: Item, request: ReadRequest) -> bool:
    """Return whether the list summary of the resource is not enough: a public key that exists already cannot be imported, in any stack."""
    if KINDS[kind].unique and kind in request.needed:
        return True
    return request.everything or is_managed(item, request) or may_be_adopted(kind, item, request)


def needs_stream_keys(kind: KindName, item: Item, request: ReadRequest) -> bool:
    """Return whether to read the stream keys of this channel: its spec has one, or the channel may be adopted."""
    if not request.stream_key_channels:
        return False
    if is_managed(item, request) and item["tags"].get(ID) in request.stream_key_channels:
        return True
    return may_be_adopted(kind, item, request)


_FIELDS = {
    kind: (
        tuple(field.name for field in fields.values() if field.shape is not Shape.OBJECT and field.name != "name"),
        tuple(field.name for field in fields.values() if field.shape is Shape.OBJECT),
    )
    for kind, fields in FIELDS.items()
}
"""By kind, the names of its scalar and list fields except the name, and of its object fields."""


class CanonicalCache:
    """Makes canonical properties and comparable tags; equal strings are one object, which saves memory in large accounts."""

    def __init__(self, ignore_tags: tuple[str, ...]) -> None:
        self._ignore_tags = ignore_tags
        self._known: dict[Hashable, dict[str, Value]] = {}

    def properties(self, kind: KindName, item: Mapping[str, object]) -> dict[str, Value]:
        """Return the canonical properties of an item.

        Most channels of a large account differ only in name, so the result for equal items is copied: a third of the time.
        """
        scalars, objects = _FIELDS[kind]
        name = item.get("name")
        try:
            key = (kind, *map(item.get, scalars), *[_to_hashable(item.get(field)) for field in objects])
            known = self._known.get(key)
        except TypeError:  # a list, or an object within an object, cannot be hashed
            return _intern_values(canonical(kind, item))
        if known is None or not name or not isinstance(name, str):
            properties = _intern_values(canonical(kind, item))
            if "name" in properties:
                self._known[key] = properties
            return properties
        properties = known.copy()
        properties["name"] = intern(name)
        return properties

    def tags(self, raw: Mapping[str, str]) -> dict[str, str]:
        """Return the tags that take part in comparisons."""
        if self._ignore_tags:
            raw = comparable_tags(raw, self._ignore_tags)
        return {intern(key): intern(value) for key, value in raw.items() if key[:4] != "aws:" and key not in UNCOMPARED}


def _to_hashable(value: object) -> object:
    return tuple(value.items()) if isinstance(value, dict) else value


def _intern_values(properties: dict[str, Value]) -> dict[str, Value]:
    for name, value in properties.items():
        if isinstance(value, str):
            properties[name] = intern(value)
    return properties


_STACK_NAME = "aws:cloudformation:stack-name"
_LOGICAL_ID = "aws:cloudformation:logical-id"
_WORKERS = 4
_STREAMS = Pages(LIST_STREAMS, "streams", 100)


def read_live(calls: ReadCalls, request: ReadRequest, *, account_id: str, region: str) -> LiveState:
    """Return the requested live state. Raises ``AwsError``; failures of several kinds are combined into one."""
    return _Reading(calls, request).run(account_id, region)


def read_streams(calls: ReadCalls) -> Mapping[str, Stream]:
    """Return the running broadcasts of the region by channel ARN. Raises ``AwsError``."""
    return {stream.channel_arn: stream for stream in map(Stream.of, read_list(calls, _STREAMS))}


def read_stream_keys(calls: ReadCalls, channel_arn: str) -> tuple[LiveResource, ...]:
    """Return the stream keys of one channel with all tags except ``aws:`` tags. Raises ``AwsError``."""
    shared = CanonicalCache(())
    return tuple(
        LiveResource(
            STREAM_KEY.name, str(item["arn"]), shared.properties(STREAM_KEY.name, item), shared.tags(tags_of(item))
        )
        for item in read_list(calls, Pages.of(STREAM_KEY), {"channelArn": channel_arn})
    )


def read_again(
    calls: ReadCalls, request: ReadRequest, arns: Mapping[KindName, frozenset[str]], key_channels: Iterable[str]
) -> Mapping[KindName, tuple[LiveResource, ...]]:
    """Return these resources read in full, without those that do not exist, and the stream keys of these channels. Raises ``AwsError``."""
    return _Reading(calls, request).run_again(arns, key_channels)


class _Reading:
    """One read with a small pool of workers."""

    def __init__(self, calls: ReadCalls, request: ReadRequest) -> None:
        self._calls = calls
        self._request = request
        self._stop = threading.Event()
        self._shared = CanonicalCache(request.ignore_tags)
        self._pool = ThreadPoolExecutor(max_workers=_WORKERS, thread_name_prefix="read")

    def run(self, account_id: str, region: str) -> LiveState:
        try:
            # Channels are the longest list, so they start first.
            asked = [kind for kind in LISTED.values() if kind.name in self._request.kinds]
            listings = {
                kind.name: self._pool.submit(self._list, kind) for kind in sorted(asked, key=lambda kind: not kind.live)
            }
            resources, unread = self._collect(listings)
            live = [resource for kind in asked if kind.live for resource in resources[kind.name]]
            seen, hidden = last_streams(self._calls, live, self._request.stack)
            not_read = frozenset(LISTED) - self._request.kinds
            return LiveState(account_id, region, resources, unread, seen, hidden, not_read)
        finally:
            self._stop.set()
            self._pool.shutdown(cancel_futures=True)

    def run_again(
        self, arns: Mapping[KindName, frozenset[str]], key_channels: Iterable[str]
    ) -> Mapping[KindName, tuple[LiveResource, ...]]:
        try:
            details = [(STREAM_KEY.name, self._pool.submit(self._stream_keys, arn)) for arn in key_channels]
            for name, some in arns.items():
                details += [(name, detail) for detail in self._full_reads(KINDS[name], sorted(some))]
            found: dict[KindName, list[LiveResource]] = {}
            for name, detail in details:
                found.setdefault(name, []).extend(detail.result())
            return {kind: tuple(resources) for kind, resources in found.items()}
        finally:
            self._stop.set()
            self._pool.shutdown(cancel_futures=True)

    def _full_reads(self, kind: Kind, arns: list[str]) -> list[Future[list[LiveResource]]]:
        if kind.summary_complete:
            return [self._pool.submit(self._listed, kind, frozenset(arns))] if arns else []
        if kind.batch:
            batches = [arns[at : at + BATCH_SIZE] for at in range(0, len(arns), BATCH_SIZE)]
            return [self._pool.submit(self._batch, kind, batch) for batch in batches]
        return [self._pool.submit(self._get, kind, arn) for arn in arns]

    def _listed(self, kind: Kind, arns: frozenset[str]) -> list[LiveResource]:
        return [
            self._resource(kind, item, complete=True)
            for item in read_list(self._calls, Pages.of(kind), {}, self._stop)
            if item["arn"] in arns
        ]

    def _collect(
        self, listings: Mapping[KindName, Future[_Listing]]
    ) -> tuple[dict[KindName, tuple[LiveResource, ...]], dict[KindName, str]]:
        """Wait for all results and sort them. No worker waits for another, so this cannot deadlock."""
        found: dict[KindName, list[LiveResource]] = {kind: [] for kind in KINDS}
        unread: dict[KindName, str] = {}
        failures: list[AwsError] = []
        denied: list[AwsError] = []
        channels: list[Item] = []
        for name, future in listings.items():
            try:
                listing = future.result()
                found[name] += listing.resources
                for detail in listing.details:
                    found[name] += detail.result()
                channels += listing.with_stream_keys
            except AwsError as error:
                reason = why_unreadable(KINDS[name], error, needed=name in self._request.needed)
                if reason is not None:
                    unread[name] = reason
                    found[name].clear()  # a part would be taken for all of them
                    denied.append(error)
                else:
                    failures.append(error)
                    self._stop.set()
        if failures or (denied and len(denied) == len(listings)):
            raise join_errors(failures or denied)
        self._collect_stream_keys(channels, found[STREAM_KEY.name], unread)
        return {
            kind: tuple(sorted(resources, key=lambda resource: resource.arn)) for kind, resources in found.items()
        }, unread

    def _collect_stream_keys(
        self, channels: list[Item], found: list[LiveResource], unread: dict[KindName, str]
    ) -> None:
        try:
            for keys in [self._pool.submit(self._stream_keys, str(channel["arn"])) for channel in channels]:
                found += keys.result()
        except AwsError as error:
            reason = why_unreadable(STREAM_KEY, error, needed=True)
            if reason is None:
                raise join_errors([error]) from None
            unread[STREAM_KEY.name] = reason
            found.clear()

    def _list(self, kind: Kind) -> _Listing:
        """Read the list of one kind, and start full reads page by page."""
        listing = _Listing()
        waiting: list[str] = []
        for page in read_pages(self._calls, Pages.of(kind), {}, self._stop):
            for item in page:
                if kind.summary_complete or not needs_full_read(kind.name, item, self._request):
                    listing.resources.append(self._resource(kind, item, complete=kind.summary_complete))
                elif kind.batch:
                    waiting.append(str(item["arn"]))
                else:
                    listing.details.append(self._pool.submit(self._get, kind, str(item["arn"])))
                if child_kind_of(kind.name) and needs_stream_keys(kind.name, item, self._request):
                    listing.with_stream_keys.append(item)
            while len(waiting) >= BATCH_SIZE:
                listing.details.append(self._pool.submit(self._batch, kind, waiting[:BATCH_SIZE]))
                del waiting[:BATCH_SIZE]
        if waiting:
            listing.details.append(self._pool.submit(self._batch, kind, waiting))
        return listing

    def _get(self, kind: Kind, arn: str) -> list[LiveResource]:
        """Return one resource, read in full; empty if it was deleted since it was listed."""
        try:
            data = self._calls.call(kind.get, {kind.identifier: arn}, kind.service).data
        except AwsError as error:
            if error.code == NOT_FOUND:
                return []
            raise
        item = kind.resource_in(data)
        if item is None:
            raise AwsError(
                f"{kind.get}: the answer for {arn} contains no {kind.member or kind.title!r}",
                operation=kind.get,
                code=UNREADABLE,
            )
        return [self._resource(kind, item, complete=True)]

    def _batch(self, kind: Kind, arns: list[str]) -> list[LiveResource]:
        """Return up to ``BATCH_SIZE`` resources, read in full, without those deleted since they were listed."""
        operation = str(kind.batch)
        data: Mapping[str, Any] = self._calls.call(operation, {"arns": arns}, kind.service).data
        items = _items(data, operation, kind.members) if data.get(kind.members) else []
        for item in items:
            _check_item(item, operation)
        resources = [self._resource(kind, item, complete=True) for item in items]
        refused = {
            str(error.get("arn")): error for error in (_items(data, operation, "errors") if data.get("errors") else ())
        }
        missing = (
            set(arns)
            - {resource.arn for resource in resources}
            - {arn for arn, error in refused.items() if _is_deleted(error)}
        )
        if missing:
            # An existing resource that could not be read must not look missing.
            arn = min(missing)
            error = refused.get(arn, {})
            code = mask_stream_keys(str(error.get("code") or UNREADABLE))
            message = mask_stream_keys(str(error.get("message") or "no reason given"))
            raise AwsError(
                f"{operation}: {len(missing)} of {len(arns)} {kind.titles} could not be read; the first is {arn}: {code}: {message}",
                operation=operation,
                code=code,
            )
        return resources

    def _stream_keys(self, channel_arn: str) -> list[LiveResource]:
        """Return the stream keys of one channel; empty if the channel was deleted since it was listed."""
        keys = read_list(self._calls, Pages.of(STREAM_KEY), {"channelArn": channel_arn}, self._stop)
        try:
            return [self._resource(STREAM_KEY, item, complete=True) for item in keys]
        except AwsError as error:
            if error.code == NOT_FOUND:
                return []
            raise

    def _resource(self, kind: Kind, item: Item, *, complete: bool) -> LiveResource:
        state, tags = item.get("state"), tags_of(item)
        return LiveResource(
            kind=kind.name,
            arn=str(item["arn"]),
            properties=self._shared.properties(kind.name, item),
            tags=self._shared.tags(tags),
            state=state if isinstance(state, str) else None,
            complete=complete,
            output_texts=tuple([output.text_in(item) for output in kind.outputs.values()])
            if complete and self._request.outputs
            else (),
            member_of=StackMember(tags[_STACK_NAME], tags.get(_LOGICAL_ID, "")) if _STACK_NAME in tags else None,
            commit=tags.get(COMMIT, ""),
        )


class _Listing:
    """The result of one list: resources, futures of full reads, and channels whose stream keys are to be read."""

    __slots__ = ("details", "resources", "with_stream_keys")

    def __init__(self) -> None:
        self.resources: list[LiveResource] = []
        self.details: list[Future[list[LiveResource]]] = []
        self.with_stream_keys: list[Item] = []


def _is_deleted(error: Mapping[str, object]) -> bool:
    # The service model does not define this code; AWS's examples show an HTTP status as text.
    return str(error.get("code")) in ("404", NOT_FOUND)
