"""Reads the ``Overview`` of an account and region: counts per kind, live channels, applied quotas.

Uses list operations only. Stream keys are not counted, because they can be listed for one channel at a time only.
A list that the caller may not read is reported as unreadable; any other failure ends the read. Without Service Quotas, the documented defaults are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from reconciler.aws.client import ReadCalls, answer_of
from reconciler.aws.denials import DENIED_CODES, describe, join_errors, why_unreadable
from reconciler.aws.reader import Item, list_kind, read_streams, tags_of
from reconciler.errors import AwsError
from reconciler.model.address import ID, STACK, Address, KindName
from reconciler.model.kinds import KINDS, LISTED, QUOTAS, AppliedQuotas, Kind
from reconciler.model.kinds.ivs import CHANNEL, CONCURRENT_STREAMS, CONCURRENT_VIEWS, LIST_STREAMS
from reconciler.model.resource import Broadcast, KindCount, Overview, QuotaCount, Stream, UnmanagedResource

_WORKERS = 4


def read_overview(
    calls: ReadCalls, quotas: Callable[[], AppliedQuotas], stack: str, *, name: str, account_id: str, region: str
) -> Overview:
    """Return the overview. Raises ``AwsError``; failures of several lists are combined into one."""
    kinds = sorted(LISTED.values(), key=lambda kind: not kind.live)  # the channels are the longest list
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="overview") as pool:
        lists = {kind.name: pool.submit(_listed, calls, kind) for kind in kinds}
        live = pool.submit(_streams, calls)
        limits = pool.submit(quotas)
        found = {kind: future.result() for kind, future in lists.items()}
        streams, applied = live.result(), limits.result()
    failures = [one for one in (*found.values(), streams) if isinstance(one, AwsError)]
    if failures:
        raise join_errors(failures)
    notes = [f"applied quotas are unknown ({applied.error}); documented defaults are shown"] if applied.error else []
    if isinstance(streams, str):
        notes.insert(0, f"live channels are unknown: {streams}")
    counts = tuple(_count(kind, found[kind], stack) for kind in KINDS if kind in found)
    live_channels = _broadcasts(streams, found[CHANNEL.name], stack) if isinstance(streams, Mapping) else None
    used = _used(counts, streams, applied)
    return Overview(
        name, account_id, region, counts, live_channels, used, tuple(notes), tuple(_unmanaged(found, stack))
    )


def _listed(calls: ReadCalls, kind: Kind) -> list[Item] | str | AwsError:
    """Return the list of a kind, the missing permission, or the error."""
    try:
        return list(list_kind(calls, kind))
    except AwsError as error:
        if error.code in DENIED_CODES:
            return f"missing permission {kind.service.prefix}:{kind.list}"
        return why_unreadable(kind, error, needed=False) or error


def _streams(calls: ReadCalls) -> Mapping[str, Stream] | str | AwsError:
    try:
        return read_streams(calls)
    except AwsError as error:
        return f"missing permission {CHANNEL.service.prefix}:{LIST_STREAMS}" if error.code in DENIED_CODES else error


def _count(kind: KindName, found: list[Item] | str | AwsError, stack: str) -> KindCount:
    if not isinstance(found, list):
        return KindCount(kind, unreadable=str(found))
    managed = sum(tags_of(item).get(STACK) == stack for item in found)
    return KindCount(kind, managed, len(found) - managed)


def _unmanaged(found: Mapping[KindName, list[Item] | str | AwsError], stack: str) -> Iterator[UnmanagedResource]:
    """Yield the resources that are not this stack's, in the order of kinds and ARNs."""
    for kind in KINDS:
        items = found.get(kind)
        for item in sorted(items, key=lambda item: str(item["arn"])) if isinstance(items, list) else ():
            owner = str(tags_of(item).get(STACK) or "")
            if owner != stack:
                yield UnmanagedResource(kind, str(item["arn"]), str(item.get("name") or ""), owner)


def _broadcasts(
    streams: Mapping[str, Stream], channels: list[Item] | str | AwsError, stack: str
) -> tuple[Broadcast, ...]:
    known = {str(item["arn"]): item for item in channels} if isinstance(channels, list) else {}
    found = []
    for arn, stream in streams.items():
        channel = known.get(arn, {})
        tags = tags_of(channel)
        address = Address(CHANNEL.name, str(tags[ID])) if tags.get(STACK) == stack and tags.get(ID) else None
        found.append(Broadcast(stream, address, str(channel.get("name") or "")))
    return tuple(sorted(found, key=lambda one: (-one.stream.viewers, one.stream.channel_arn)))


def _used(counts: tuple[KindCount, ...], streams: object, applied: AppliedQuotas) -> tuple[QuotaCount, ...]:
    rows = [
        (KINDS[count.kind].titles, count.managed + count.others, QUOTAS[count.kind])
        for count in counts
        if count.kind in QUOTAS and not count.unreadable
    ]
    if isinstance(streams, Mapping):
        rows.append(("concurrent streams", len(streams), CONCURRENT_STREAMS))
        rows.append(("concurrent views", sum(max(0, stream.viewers) for stream in streams.values()), CONCURRENT_VIEWS))
    return tuple(
        QuotaCount(name, used, applied.value(quota), quota.adjustable, quota.code, applied.is_applied(quota))
        for name, used, quota in rows
    )


_MAX_QUOTAS = 2_000
"""Maximum quotas read per service."""


def read_quotas(client: Any) -> AppliedQuotas:  # botocore builds its clients at run time
    """Return the applied quotas, or why they are unknown. Reads once, without retries: the documented defaults are good enough."""
    found: dict[str, int] = {}

    def list_quotas() -> None:
        pages = client.get_paginator("list_service_quotas")
        for service in dict.fromkeys(KINDS[kind].service.prefix for kind, quota in QUOTAS.items() if quota.code):
            for page in pages.paginate(
                ServiceCode=service, PaginationConfig={"PageSize": 100, "MaxItems": _MAX_QUOTAS}
            ):
                found.update(
                    (str(row["QuotaCode"]), int(row["Value"]))
                    for row in page.get("Quotas") or ()
                    if "QuotaCode" in row and row.get("Value") is not None
                )

    try:
        answer_of(list_quotas, "ListServiceQuotas", writes=False)
    except AwsError as error:
        return AppliedQuotas(error=describe(error))
    return AppliedQuotas(found) if found else AppliedQuotas(error="Service Quotas has no quotas for IVS")
