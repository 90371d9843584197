"""Every situation under ``tests/cases/drift``: what is said of it, field by field, and how it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.drift import DriftStatus
from reconciler.drift.classify import classify
from reconciler.drift.report import DriftReport, Ignore, without_ignored
from reconciler.model.address import PREFIX, Address
from reconciler.model.resource import DesiredState, LiveState, canonical
from reconciler.plan.stale import AppliedSpec
from tests.builders import LOADER, THIS_STACK
from tests.plan.case import Case, _arns, _values, short

FOLDER = Path(__file__).resolve().parent.parent / "cases" / "drift"


class DriftCase(Case):
    """A situation, with the record of the last apply and the differences that the caller ignores."""

    def __init__(self, content: dict[str, Any]) -> None:
        super().__init__(content)
        applied = content.get("applied")
        self.stood = None if applied is None else frozenset(map(Address.parse, applied))
        self.records = {
            Address.parse(address): self._record(address, given or {})
            for address, given in content.get("records", {}).items()
        }
        self.recorded |= {address: record.arn for address, record in self.records.items() if record.arn}
        self.ignores = tuple(map(Ignore.parse, content.get("ignore", ())))

    def _record(self, address: str, given: dict[str, Any]) -> AppliedSpec:
        parsed = Address.parse(address)
        own = {
            f"{PREFIX}stack": THIS_STACK,
            f"{PREFIX}id": parsed.id,
            f"{PREFIX}spec": given.get("spec", "digest-of-before"),
        }
        properties = canonical(parsed.kind, {"name": parsed.id, **_frozen(_values(given.get("properties", {})))})
        return AppliedSpec(
            own[f"{PREFIX}spec"],
            properties,
            {**given.get("tags", {}), **own},
            _arns(given.get("arn", "")),
            frozenset(given.get("ignore", ())),
        )

    def classified(self, wanted: DesiredState | None = None, live: LiveState | None = None) -> DriftReport:
        """Return the report before anything is ignored."""
        wanted, live = wanted or self.desired, live or self.live
        return classify(self.plan(wanted, live), wanted, live, applied=self.stood, records=self.records)


def _frozen(values: dict[str, Any]) -> dict[str, Any]:
    from reconciler.model.values import freeze

    return {name: freeze(value) for name, value in values.items()}


def read_drift_cases() -> list[Any]:
    return [
        pytest.param(DriftCase(content), id=f"{path.stem}: {content['title']}")
        for path in sorted(FOLDER.glob("*.yaml"))
        for content in yaml.load_all(path.read_text(encoding="utf-8"), LOADER)
    ]


ALL = read_drift_cases()


def path_of(path: str) -> str:
    return path.replace("/tags/" + PREFIX, "/tags/$")


@pytest.mark.parametrize("case", ALL)
def test_a_case_is_classified_as_expected(case: DriftCase) -> None:
    report, met = without_ignored(case.classified(), case.ignores)
    expected = case.expect
    found = [f"{finding.status} {finding.address}" for finding in report.findings]
    wanted = expected.get("findings", [])
    assert found == [f"{status} {one[status]}" for one in wanted for status in one if status in set(DriftStatus)]
    for finding, one in zip(report.findings, wanted, strict=True):
        if "paths" in one:
            assert [path_of(change.path) for change in finding.changes] == one["paths"]
        assert one.get("says", "") in short(finding.explanation)
        assert one.get("arn", short(finding.arn or "")) == short(finding.arn or "")
    assert (2 if report.drifted else 5 if report.pending else 0) == expected["exit"]
    assert [short(unmanaged.arn) for unmanaged in report.unmanaged] == expected.get("unmanaged", [])
    assert [
        f"{each.status} {each.address} {path_of(change.path)}" for each in report.ignored for change in each.changes
    ] == expected.get("ignored", [])
    assert [str(ignore) for ignore in case.ignores if ignore not in met] == expected.get("unmet", [])
    assert all(any(text in note for note in report.notes) for text in expected.get("notes", [])), report.notes
    if "unchanged" in expected:
        assert report.unchanged == expected["unchanged"]
    if "defaults" in expected:
        assert report.defaults == expected["defaults"]


@pytest.mark.parametrize("case", ALL)
def test_no_change_of_a_resource_is_reported_twice_and_none_is_lost(case: DriftCase) -> None:
    report = case.classified()
    if report.unread:
        return  # what depends on something unread is left out on purpose; its cases say so
    for action in case.plan().actions:
        told = [
            change
            for finding in report.findings
            if finding.address == action.address and finding.arn == action.arn
            for change in finding.changes
        ]
        if action.arn is not None and told:
            assert sorted(map(str, told)) == sorted(map(str, action.changes))


@pytest.mark.parametrize("case", ALL)
def test_the_order_in_which_things_came_does_not_show(case: DriftCase) -> None:
    turned = case.desired._replace(resources=dict(reversed(list(case.desired.resources.items()))))
    live = case.live._replace(resources={kind: tuple(reversed(group)) for kind, group in case.live.resources.items()})
    assert case.classified(turned, live) == case.classified()
