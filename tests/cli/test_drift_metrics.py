"""``drift --prometheus``: a file that a collector can read at any moment, with the controller's names and values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reconciler.report import metrics
from tests.cli.support import arn_of, outside, rewrite, run, stack

SPEC: dict[str, Any] = {"channels": {"main": {}, "side": {}}}


def families(text: str) -> dict[str, Any]:
    parser = pytest.importorskip("prometheus_client.parser")
    return {family.name: family for family in parser.text_string_to_metric_families(text)}


def value(text: str, name: str, **labels: str) -> float | None:
    found = [
        one.value
        for family in families(text).values()
        for one in family.samples
        if one.name == name and labels.items() <= one.labels.items()
    ]
    return float(found[0]) if found else None


def test_the_file_has_the_state_of_the_target_and_keeps_the_last_success_over_failures(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", SPEC)
    assert run(folder, "apply", "--auto-approve").code == 0
    with outside(folder) as (ivs, _):
        ivs.update_channel(arn=arn_of(ivs, "main"), latencyMode="NORMAL")
    kept = folder / "drift.prom"
    assert run(folder, "drift", "--prometheus", "drift.prom", "--ignore", "channel/none:/name").code == 2
    text = kept.read_text(encoding="utf-8")
    assert value(text, metrics.IN_SYNC.name, target="dev") == 0
    assert value(text, metrics.RESOURCES.name, status="drift") == 1
    assert value(text, metrics.CALLS.name, operation="ListChannels", outcome="ok") == 1
    assert value(text, metrics.LAST_RUN_OK.name) == 1
    success = value(text, metrics.LAST_SUCCESS.name)
    assert (kept.stat().st_mode & 0o777) == 0o644, "a collector runs as another user"
    assert [each.name for each in folder.iterdir() if "prom" in each.name] == ["drift.prom"]
    rewrite(folder, {"channels": {"main": {"latencyMode": "SOON"}}})
    assert run(folder, "drift", "--prometheus", "drift.prom").code == 1
    after = kept.read_text(encoding="utf-8")
    assert value(after, metrics.LAST_RUN_OK.name) == 0
    assert value(after, metrics.IN_SYNC.name) is None
    assert value(after, metrics.LAST_SUCCESS.name) == success


def test_what_is_ignored_is_measured(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", SPEC)
    assert run(folder, "apply", "--auto-approve").code == 0
    with outside(folder) as (ivs, _):
        ivs.update_channel(arn=arn_of(ivs, "main"), latencyMode="NORMAL")
    assert run(folder, "drift", "--prometheus", "x.prom", "--ignore", "channel/main:/latencyMode").code == 0
    text = (folder / "x.prom").read_text(encoding="utf-8")
    assert (value(text, metrics.IGNORED.name), value(text, metrics.IN_SYNC.name)) == (1, 1)


def test_a_file_that_cannot_be_written_is_an_error_after_the_report(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", SPEC)
    shown = run(folder, "drift", "--prometheus", "no/such/folder/x.prom")
    assert shown.code == 1
    assert "pending" in shown.out
    assert "cannot be written (no such file or directory); choose another file with --prometheus" in shown.err


def test_cron_and_controller_agree_on_names_labels_types_and_values(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client")
    from reconciler.controller.controller import Snapshot
    from reconciler.controller.metrics import Metrics
    from reconciler.controller.state import Mode, RepositoryState, Run, RunStatus, TargetState
    from reconciler.drift import DriftStatus
    from reconciler.report.metrics import Sample, counts_of, is_in_sync
    from tests.drift.test_changes import LATENCY, finding, report

    found = report(finding(DriftStatus.DRIFT, "main", LATENCY), finding(DriftStatus.MISSING, "side"))
    counts = {status: len(found.of(status)) for status in DriftStatus}
    last = Run(
        "prod",
        Mode.OBSERVE,
        "c" * 40,
        1000.0,
        RunStatus.DRIFTED,
        seconds=2.0,
        stack="acme",
        counts=counts,
        unchanged=found.unchanged,
        report=found,
        unmanaged=0,
    )
    state = TargetState("prod", last_success=1002.0, last_run=last, last_read=last)
    snapshot = Snapshot(
        "acme",
        RepositoryState("u", "main"),
        {"prod": state},
        {"prod": Mode.OBSERVE},
        frozenset(),
        0.0,
        ready=True,
        now=0.0,
    )
    exported = families(Metrics().expose(lambda: snapshot)()[0].decode())
    sample = Sample(
        "acme",
        "prod",
        1002.0,
        2.0,
        1002.0,
        in_sync=is_in_sync(found),
        counts=counts_of(found),
        calls={("ListChannels", "ok"): 1},
    )
    written = families(metrics.render([sample]))
    # A single run has no counters; what it ignored and called is its own.
    assert set(written) - set(exported) == {metrics.IGNORED.name, metrics.CALLS.name}
    for name in set(written) & set(exported):
        one, other = written[name], exported[name]
        assert (one.type, one.documentation) == (other.type, other.documentation)
        assert {tuple(sorted(each.labels.items())): each.value for each in one.samples} == {
            tuple(sorted(each.labels.items())): each.value for each in other.samples
        }
    assert len(set(written) & set(exported)) >= 6
