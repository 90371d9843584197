"""AWS -> ``LiveState``, with as few calls as tell the truth.

Lists show tags, so ownership is settled from them and a foreign resource is never read in full.
Channels of ours are read in batches of fifty while the list is still coming in.
Recording configurations and key pairs of ours are read one by one, because no batch exists.
The other kinds are complete in their lists.
Stream keys are listed only for channels whose spec speaks of one, and their values are never asked for.
Only List, Get and BatchGet operations are called.
A list that fails is never taken for an empty one: it ends the read, or, where a permission is missing or nobody needs the kind, marks the kind as unreadable.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from reconciler.errors import AwsError
from reconciler.live.answer import ReadCalls as ReadCalls  # the seam that callers of this module fill
from reconciler.live.last_streams import last_streams
from reconciler.live.listing import Item, items
from reconciler.live.request import ReadRequest as ReadRequest
from reconciler.live.request import in_full, speaks_of_stream_key
from reconciler.live.retries import NOT_FOUND
from reconciler.live.shared import Shared
from reconciler.live.unreadable import joined, unreadable
from reconciler.model.address import KindName
from reconciler.model.kinds import KINDS, STREAM_KEY, Kind
from reconciler.model.resource import LiveResource, LiveState, Stream

_WORKERS = 4
_BATCH = 50
"""ARNs that BatchGetChannel takes at once (service model)."""

_STREAMS_PAGE = 100


def read_live(calls: ReadCalls, request: ReadRequest, *, account_id: str, region: str) -> LiveState:
    """Read what the request asks for. Raises ``AwsError``; failures of several kinds come as one."""
    return _Reading(calls, request).run(account_id, region)


def read_streams(calls: ReadCalls) -> Mapping[str, Stream]:
    """Return the running broadcasts of the region by channel ARN. Raises ``AwsError``."""
    pages = items(calls, "ListStreams", "streams", _STREAMS_PAGE, {}, threading.Event())
    return {stream.channel_arn: stream for stream in map(Stream.of, _flat(pages))}


def read_stream_keys(calls: ReadCalls, channel_arn: str) -> tuple[LiveResource, ...]:
    """Return the stream keys of one channel with every tag but AWS's own. Raises ``AwsError``."""
    shared = Shared(())
    pages = items(
        calls, STREAM_KEY.list, STREAM_KEY.members, STREAM_KEY.page_size, {"channelArn": channel_arn}, threading.Event()
    )
    return tuple(
        LiveResource(
            STREAM_KEY.name,
            str(item["arn"]),
            shared.properties(STREAM_KEY.name, item),
            shared.tags(item.get("tags") or {}),
        )
        for item in _flat(pages)
    )


class _Reading:
    """One read: a small pool of workers, and what they found so far."""

    def __init__(self, calls: ReadCalls, request: ReadRequest) -> None:
        self._calls = calls
        self._request = request
        self._stop = threading.Event()
        self._shared = Shared(request.ignore_tags)
        self._pool = ThreadPoolExecutor(max_workers=_WORKERS, thread_name_prefix="read")

    def run(self, account_id: str, region: str) -> LiveState:
        try:
            # The channels are the longest list, so they start first.
            kinds = sorted(
                (kind for kind in KINDS.values() if kind is not STREAM_KEY),
                key=lambda kind: kind.name is not KindName.CHANNEL,
            )
            listings = {kind.name: self._pool.submit(self._list, kind) for kind in kinds}
            resources, closed = self._gather(listings)
            seen, hidden = last_streams(self._calls, resources[KindName.CHANNEL], self._request.stack)
            return LiveState(account_id, region, resources, closed, seen, hidden)
        finally:
            self._stop.set()
            self._pool.shutdown(cancel_futures=True)

    def _gather(
        self, listings: Mapping[KindName, Future[_Listing]]
    ) -> tuple[dict[KindName, tuple[LiveResource, ...]], dict[KindName, str]]:
        """Wait for everything and put it in order; no worker waits for another, so this cannot lock up."""
        found: dict[KindName, list[LiveResource]] = {kind: [] for kind in KINDS}
        closed: dict[KindName, str] = {}
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
                reason = unreadable(KINDS[name], error, needed=name in self._request.needed)
                if reason is not None:
                    closed[name] = reason
                    found[name].clear()  # half of a kind would be taken for the whole
                    denied.append(error)
                else:
                    failures.append(error)
                    self._stop.set()
        if failures or len(denied) == len(listings):
            raise joined(failures or denied)
        if KindName.CHANNEL not in closed:
            self._gather_stream_keys(channels, found[KindName.STREAM_KEY], closed)
        return {
            kind: tuple(sorted(resources, key=lambda resource: resource.arn)) for kind, resources in found.items()
        }, closed

    def _gather_stream_keys(self, channels: list[Item], found: list[LiveResource], closed: dict[KindName, str]) -> None:
        try:
            for keys in [self._pool.submit(self._stream_keys, str(channel["arn"])) for channel in channels]:
                found += keys.result()
        except AwsError as error:
            reason = unreadable(STREAM_KEY, error, needed=True)
            if reason is None:
                raise joined([error]) from None
            closed[STREAM_KEY.name] = reason
            found.clear()

    def _list(self, kind: Kind) -> _Listing:
        """Read the list of one kind and start reading in full what matters, page by page."""
        listing = _Listing()
        waiting: list[str] = []
        for page in items(self._calls, kind.list, kind.members, kind.page_size, {}, self._stop):
            for item in page:
                if kind.summary_complete or not in_full(kind.name, item, self._request):
                    listing.resources.append(self._resource(kind, item, complete=kind.summary_complete))
                elif kind.name is KindName.CHANNEL:
                    waiting.append(str(item["arn"]))
                else:
                    listing.details.append(self._pool.submit(self._get, kind, str(item["arn"])))
                if kind.name is KindName.CHANNEL and speaks_of_stream_key(item, self._request):
                    listing.with_stream_keys.append(item)
            while len(waiting) >= _BATCH:
                listing.details.append(self._pool.submit(self._batch, waiting[:_BATCH]))
                del waiting[:_BATCH]
        if waiting:
            listing.details.append(self._pool.submit(self._batch, waiting))
        return listing

    def _get(self, kind: Kind, arn: str) -> list[LiveResource]:
        """Read one resource in full; nothing when it vanished since it was listed."""
        try:
            data: Mapping[str, Any] = self._calls.call(kind.get, {"arn": arn}).data
        except AwsError as error:
            if error.code == NOT_FOUND:
                return []
            raise
        if kind.member not in data:
            raise AwsError(
                f"{kind.get}: the answer for {arn} holds no {kind.member!r}",
                operation=kind.get,
                code="UnreadableAnswer",
            )
        return [self._resource(kind, data[kind.member], complete=True)]

    def _batch(self, arns: list[str]) -> list[LiveResource]:
        """Read up to fifty channels in full, without those that vanished since they were listed."""
        kind = KINDS[KindName.CHANNEL]
        data: Mapping[str, Any] = self._calls.call("BatchGetChannel", {"arns": arns}).data
        resources = [self._resource(kind, item, complete=True) for item in data.get("channels") or []]
        refused = {str(error.get("arn")): error for error in data.get("errors") or []}
        missing = (
            set(arns)
            - {resource.arn for resource in resources}
            - {arn for arn, error in refused.items() if _vanished(error)}
        )
        if missing:
            # A channel that is there but could not be read must not look like one to be created.
            arn = min(missing)
            error = refused.get(arn, {})
            code = str(error.get("code") or "UnreadableAnswer")
            said = str(error.get("message") or "no reason given")
            raise AwsError(
                f"BatchGetChannel: {len(missing)} of {len(arns)} channels could not be read; the first is {arn}: {code}: {said}",
                operation="BatchGetChannel",
                code=code,
            )
        return resources

    def _stream_keys(self, channel_arn: str) -> list[LiveResource]:
        """List the stream keys of one channel; none when the channel vanished since it was listed."""
        pages = items(
            self._calls,
            STREAM_KEY.list,
            STREAM_KEY.members,
            STREAM_KEY.page_size,
            {"channelArn": channel_arn},
            self._stop,
        )
        try:
            return [self._resource(STREAM_KEY, item, complete=True) for item in _flat(pages)]
        except AwsError as error:
            if error.code == NOT_FOUND:
                return []
            raise

    def _resource(self, kind: Kind, item: Item, *, complete: bool) -> LiveResource:
        state = item.get("state")
        return LiveResource(
            kind=kind.name,
            arn=str(item["arn"]),
            properties=self._shared.properties(kind.name, item),
            tags=self._shared.tags(item.get("tags") or {}),
            state=state if isinstance(state, str) else None,
            complete=complete,
        )


class _Listing:
    """What one list brought: resources, futures of those read in full, and channels whose stream keys matter."""

    __slots__ = ("details", "resources", "with_stream_keys")

    def __init__(self) -> None:
        self.resources: list[LiveResource] = []
        self.details: list[Future[list[LiveResource]]] = []
        self.with_stream_keys: list[Item] = []


def _flat(pages: Iterable[list[Item]]) -> Iterator[Item]:
    return (item for page in pages for item in page)


def _vanished(error: Mapping[str, object]) -> bool:
    # The model does not say what a code looks like here; AWS's examples show an HTTP status as text.
    return str(error.get("code")) in ("404", NOT_FOUND)
