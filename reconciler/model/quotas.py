"""How many resources an account may have in a region: what AWS grants without being asked, what applies, and what a plan makes of it.

Documented in the user guide's page "service quotas"; codes are from the AWS General Reference.

How fast the service lets each operation be called, and the pace that is kept.

Rates are those of the user guide's page "service quotas" (calls a second, for each account and region, not adjustable).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.model.address import KindName
from reconciler.model.kinds import KINDS


@dataclass(frozen=True, slots=True)
class Quota:
    """One row. ``code`` is the code in Service Quotas, where one is published; AWS raises what is ``adjustable`` on request."""

    default: int
    adjustable: bool = False
    code: str = ""


QUOTAS: Mapping[KindName, Quota] = {
    KindName.CHANNEL: Quota(5_000, adjustable=True, code="L-C01DFF58"),
    KindName.RECORDING_CONFIGURATION: Quota(20, adjustable=True, code="L-90ABAB37"),
    KindName.PLAYBACK_KEY_PAIR: Quota(3),
    KindName.PLAYBACK_RESTRICTION_POLICY: Quota(3),
    KindName.AD_CONFIGURATION: Quota(20),
}
"""By kind. None is published for failover slate configurations; stream keys are counted for each channel, of which there is one."""

CONCURRENT_STREAMS = Quota(100, adjustable=True, code="L-FD1EB8A7")
CONCURRENT_VIEWS = Quota(15_000, adjustable=True, code="L-77A18D5D")

DEFAULTS: Mapping[KindName, int] = {kind: quota.default for kind, quota in QUOTAS.items()}


@dataclass(frozen=True, slots=True)
class Applied:
    """What Service Quotas said, by code; ``why_not`` says why it was not asked or did not answer, and the documented defaults stand."""

    by_code: Mapping[str, int] = field(default_factory=dict)
    why_not: str = ""

    def value(self, quota: Quota) -> int:
        """Return what applies."""
        return self.by_code.get(quota.code, quota.default) if quota.code else quota.default

    def is_applied(self, quota: Quota) -> bool:
        """Whether Service Quotas gave this one."""
        return bool(quota.code) and quota.code in self.by_code

    @property
    def limits(self) -> Mapping[KindName, int]:
        """What applies to each kind."""
        return {kind: self.value(quota) for kind, quota in QUOTAS.items()}


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """What a plan makes of the quota of one kind.

    ``now`` counts what is there, anybody's, and ``others`` what of it is not this stack's.
    ``peak`` is the most that may be there at any moment of the plan, and ``after`` what is there at its end.
    ``applied`` says that ``limit`` came from Service Quotas; else it is the documented default.
    """

    kind: KindName
    now: int
    others: int
    peak: int
    after: int
    limit: int
    adjustable: bool = False
    code: str = ""
    applied: bool = False


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
