"""How many resources an account may have, how fast operations may be called, and the pace that is kept.

The published figures are those of the rows of ``kinds``; what applies to an account may differ and is read from Service Quotas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.model.address import KindName
from reconciler.model.kinds import KINDS, OPERATIONS, Quota

QUOTAS: Mapping[KindName, Quota] = {kind.name: kind.quota for kind in KINDS.values() if kind.quota is not None}
"""By kind, the quotas that count its resources in an account and region."""

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

RATES: Mapping[tuple[str, str], float] = {key: operation.rate for key, operation in OPERATIONS.items()}
"""By client and operation, the published calls a second."""

UNPUBLISHED = 3.0
"""The rate assumed for an operation without a row: the lowest that whole families of operations have."""


def pace_of(service: str, operation: str, rates: Mapping[tuple[str, str], float] = RATES) -> float:
    """Return the calls a second that are made of an operation of a service while no other client uses its rate."""
    return SHARE * rates.get((service, operation), UNPUBLISHED)
