"""Quotas of resources and rates of operations.

The published figures come from the rows of ``kinds``; the quotas that apply to an account are read from Service Quotas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.model.address import KindName
from reconciler.model.kinds import KINDS, OPERATIONS, Quota

QUOTAS: Mapping[KindName, Quota] = {kind.name: kind.quota for kind in KINDS.values() if kind.quota is not None}
"""By kind, the quota on its resources per account and region."""

DEFAULTS: Mapping[KindName, int] = {kind: quota.default for kind, quota in QUOTAS.items()}


@dataclass(frozen=True, slots=True)
class AppliedQuotas:
    """The applied quotas, by code. ``error`` says why they are unknown; the documented defaults hold then."""

    by_code: Mapping[str, int] = field(default_factory=dict)
    error: str = ""

    def value(self, quota: Quota) -> int:
        """Return the limit that applies."""
        return self.by_code.get(quota.code, quota.default) if quota.code else quota.default

    def is_applied(self, quota: Quota) -> bool:
        """Return whether the limit is from Service Quotas."""
        return bool(quota.code) and quota.code in self.by_code

    @property
    def limits(self) -> Mapping[KindName, int]:
        """The limits by kind."""
        return {kind: self.value(quota) for kind, quota in QUOTAS.items()}


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """How a plan uses the quota of one kind.

    ``now`` counts all resources, ``others`` those that this stack does not own.
    ``peak`` is the highest count at any moment of the apply, ``after`` the count at its end.
    ``applied`` says that ``limit`` is from Service Quotas instead of the documented default.
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
"""The share of the published rate that is used; the rest absorbs network jitter."""

RATES: Mapping[tuple[str, str], float] = {key: operation.rate for key, operation in OPERATIONS.items()}
"""By client and operation, the published rate in calls a second."""

UNPUBLISHED = 3.0
"""The rate assumed for an unknown operation: the lowest common one."""


def pace_of(service: str, operation: str, rates: Mapping[tuple[str, str], float] = RATES) -> float:
    """Return the pace of an operation in calls a second, if it is never throttled."""
    return SHARE * rates.get((service, operation), UNPUBLISHED)
