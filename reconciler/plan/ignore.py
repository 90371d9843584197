"""Differences that whoever runs ``drift`` asks not to be told of, for this run alone. They are taken out of the findings and counted.

What shall never be looked at belongs into the spec (``ignoreChanges``) or the project file (``ignoreTags``), where plans and applies heed it too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from reconciler.errors import UsageError
from reconciler.model.address import Address
from reconciler.model.tags import SPEC
from reconciler.plan.actions import FieldChange
from reconciler.plan.findings import DriftReport, Finding, Ignored, Standing

_OWN = "/tags/ivs-reconciler:"
_RECORD = f"/tags/{SPEC}"


@dataclass(frozen=True, slots=True)
class Ignore:
    """One wish: the addresses like ``glob``, and the field at ``path`` or inside it."""

    glob: str
    path: str

    def __str__(self) -> str:
        return f"{self.glob}:{self.path}"

    @classmethod
    def parse(cls, text: str) -> Ignore:
        """Read ``ADDRESS:PATH``. Raises ``UsageError``."""
        glob, colon, path = text.partition(":")
        if not colon or not glob or not path.startswith("/") or len(path) < 2 or path.endswith("/"):
            raise UsageError(
                f"{text!r} does not say what to ignore; write ADDRESS:PATH, such as channel/main-stage:/latencyMode or 'channel/*:/tags/team'"
            )
        return cls(glob, path)

    def takes(self, address: Address, change: FieldChange) -> bool:
        """Whether this wish is about a difference. Our own tags are meant only by their full path."""
        if not fnmatchcase(str(address), self.glob):
            return False
        return change.path == self.path or (
            change.path.startswith(self.path + "/") and not change.path.startswith(_OWN)
        )


def without(report: DriftReport, ignores: tuple[Ignore, ...]) -> tuple[DriftReport, frozenset[Ignore]]:
    """Return the report without what is to be ignored, and the wishes that met a difference."""
    if not ignores:
        return report, frozenset()
    kept: list[Finding] = []
    ignored: list[Ignored] = []
    met: set[Ignore] = set()
    for finding in report.findings:
        if finding.standing not in (Standing.DRIFT, Standing.PENDING) or finding.arn is None:
            kept.append(finding)
            continue
        takers = {
            change.path: [ignore for ignore in ignores if ignore.takes(finding.address, change)]
            for change in finding.changes
        }
        out = tuple(change for change in finding.changes if takers[change.path])
        if not out:
            kept.append(finding)
            continue
        met.update(ignore for found in takers.values() for ignore in found)
        ignored.append(Ignored(finding.address, finding.standing, finding.arn, out))
        rest = tuple(change for change in finding.changes if not takers[change.path])
        # The record of the spec differs because the field does; by itself it is nothing to be told of.
        if any(change.path != _RECORD for change in rest):
            kept.append(replace(finding, changes=rest))
    return report.with_findings(tuple(kept), tuple(ignored)), frozenset(met)
