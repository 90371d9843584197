"""Whether what is missing looks like something that only could not be seen. Pure.

A list that comes back empty without an error, such as after a permission was narrowed, reads as if everything had been deleted.
A person at ``apply`` sees a plan that creates everything anew and wonders; a controller has to wonder by itself.
"""

from __future__ import annotations

from collections.abc import Collection

from reconciler.model.address import Address
from reconciler.model.kinds import KINDS
from reconciler.plan.drift import DriftReport, Standing

LEAST = 2
"""Of a kind with a single resource, one that is gone is an ordinary loss."""


def vanished(report: DriftReport, applied: Collection[Address] | None) -> tuple[str, ...]:
    """Return why the plan should not be carried out by itself: a sentence for each kind of which everything that was applied is gone."""
    missing = {finding.address for finding in report.of(Standing.MISSING)}
    refusals = []
    for kind in KINDS:
        stood = {address for address in applied or () if address.kind is kind}
        if len(stood) >= LEAST and stood <= missing:
            titles = KINDS[kind].titles
            refusals.append(
                f"all {len(stood):,} {titles} that were applied from here are gone at once; if they are really deleted, apply by hand; "
                "if not, see whether the credentials may still list them"
            )
    return tuple(refusals)
