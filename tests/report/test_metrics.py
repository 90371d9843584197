"""The text for Prometheus, read back by Prometheus's own parser."""

from __future__ import annotations

import pytest

from reconciler.drift import DriftStatus
from reconciler.report import metrics
from reconciler.report.metrics import Sample, counts_of, is_in_sync, last_successes, render
from tests.drift.test_changes import finding, report

GOOD = Sample(
    "acme",
    "prod",
    1_700_000_000.25,
    1.5,
    1_700_000_000.25,
    in_sync=True,
    counts={"unchanged": 41, "drift": 0},
    calls={("ListChannels", "ok"): 3},
)
BAD = Sample("acme", 'd"e\\v\n', 1_700_000_100.0, 0.5, 1_600_000_000.0)


def test_prometheus_reads_every_line() -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    families = {family.name: family for family in parser.text_string_to_metric_families(render((GOOD, BAD)))}
    found = {
        (sample.name, sample.labels["target"], sample.labels.get("status", "")): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert found[metrics.IN_SYNC.name, "prod", ""] == 1
    assert found[metrics.RESOURCES.name, "prod", "unchanged"] == 41
    assert found[metrics.LAST_RUN_OK.name, BAD.target, ""] == 0
    assert found[metrics.LAST_SUCCESS.name, BAD.target, ""] == 1_600_000_000
    assert (metrics.IN_SYNC.name, BAD.target, "") not in found, "nobody knows"
    assert found[metrics.LAST_RUN.name, "prod", ""] == 1_700_000_000.25
    assert all(family.type == "gauge" for family in families.values())


def test_samples_of_a_metric_are_grouped_under_one_header() -> None:
    lines = render((GOOD, BAD)).splitlines()
    names = [line.split("{")[0] for line in lines if not line.startswith("#")]
    assert names == sorted(names, key=names.index), "no metric is interrupted by another"
    assert len([line for line in lines if line.startswith("# TYPE")]) == len(set(names))


def test_the_last_success_is_carried_on() -> None:
    assert last_successes(render((GOOD,))) == {("acme", "prod"): 1_700_000_000.25}
    assert (
        last_successes(
            "nonsense\nivs_reconciler_last_success_timestamp_seconds{x} y\nivs_reconciler_last_success_timestamp_seconds{"
        )
        == {}
    )


def test_every_standing_is_counted_and_named_once() -> None:
    assert set(counts_of(report(finding(DriftStatus.MISSING)))) == set(metrics.STATUSES)
    assert counts_of(report(finding(DriftStatus.MISSING)))["missing"] == 1
    assert is_in_sync(report())
    assert not is_in_sync(report(finding()))


def test_every_name_is_ours_and_has_the_unit_that_its_name_says() -> None:
    every = [value for value in vars(metrics).values() if isinstance(value, metrics.Metric)]
    assert len({metric.name for metric in every}) == len(every) > 10
    for metric in every:
        assert metric.name.startswith("ivs_reconciler_")
        assert (metric.type == "counter") == metric.name.endswith("_total")
