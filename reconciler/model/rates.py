"""How fast the service lets each operation be called, and the pace that is kept.

Rates are those of the user guide's page "service quotas" (calls a second, for each account and region, not adjustable).
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.model.address import KindName
from reconciler.model.kinds import KINDS

SHARE = 0.99
"""How much of the published rate is used: what is left absorbs jitter on the way."""

_KIND_RATES: Mapping[KindName, float] = {
    KindName.RECORDING_CONFIGURATION: 3.0,
    KindName.PLAYBACK_KEY_PAIR: 3.0,
    KindName.AD_CONFIGURATION: 3.0,  # UpdateAdConfiguration has no row of its own; its siblings' rate is assumed
    KindName.FAILOVER_SLATE_CONFIGURATION: 3.0,  # no rows yet; the rate of the other configurations is assumed
    KindName.PLAYBACK_RESTRICTION_POLICY: 5.0,
    KindName.CHANNEL: 5.0,
    KindName.STREAM_KEY: 5.0,
}

RATES: Mapping[str, float] = {
    **{
        operation: _KIND_RATES[kind.name]
        for kind in KINDS.values()
        for operation in (kind.create, kind.get, kind.list, kind.delete, kind.update)
        if operation is not None
    },
    "BatchGetChannel": 5.0,
    "BatchGetStreamKey": 5.0,
    "GetStream": 5.0,
    "ListStreams": 5.0,
    "StopStream": 5.0,
    "GetStreamSession": 5.0,
    "ListStreamSessions": 5.0,
    "PutMetadata": 5.0,
    "InsertAdBreak": 1.0,
    "StartViewerSessionRevocation": 10.0,
    "BatchStartViewerSessionRevocation": 2.0,
    "TagResource": 10.0,
    "UntagResource": 10.0,
    "ListTagsForResource": 10.0,
}
"""Published calls a second of each operation."""

UNPUBLISHED = 3.0
"""The rate assumed for an operation without a row: the lowest that whole families of operations have."""


def pace_of(operation: str, rates: Mapping[str, float] = RATES) -> float:
    """Return the calls a second that are made of an operation while nobody else takes from its rate."""
    return SHARE * rates.get(operation, UNPUBLISHED)
