"""How many resources an account may have in a region: what AWS grants without being asked, what applies, and what a plan makes of it.

Documented in the user guide's page "service quotas"; codes are from the AWS General Reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.model.address import KindName


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
