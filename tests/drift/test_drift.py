"""What is drift, what is pending, and what cannot be told apart."""

from __future__ import annotations

from reconciler.drift import DriftStatus
from reconciler.drift.classify import classify
from reconciler.drift.report import DriftReport
from reconciler.model.address import ID, SPEC, STACK
from reconciler.model.resource import DesiredState, LiveState
from reconciler.plan.decide import build_plan
from reconciler.plan.plan import PlanOptions
from tests.builders import arn, desired, live, of, refs, unowned, wanted

ARCHIVE = wanted("recording-configuration/archive")
MAIN = wanted("channel/main", {"authorized": True, **refs(recordingConfigurationArn="recording-configuration/archive")})
SPEC_STATE = desired(ARCHIVE, MAIN)


def drift(spec: DesiredState, now: LiveState, *, prune: bool = False) -> DriftReport:
    return classify(build_plan(spec, now, PlanOptions(prune=prune), target_name="prod"), spec, now)


def statuses(report: DriftReport) -> dict[str, DriftStatus]:
    return {str(finding.address): finding.status for finding in report.findings}


def test_nothing_differs_is_neither_drift_nor_pending() -> None:
    report = drift(SPEC_STATE, live(of(ARCHIVE), of(MAIN)))
    assert (report.drifted, report.pending, report.findings, report.unchanged, report.managed) == (
        False,
        False,
        (),
        2,
        2,
    )


def test_a_difference_under_the_recorded_spec_is_drift_and_names_the_field() -> None:
    report = drift(SPEC_STATE, live(of(ARCHIVE), of(MAIN, changed={"authorized": False}, tags={"stray": "1"})))
    assert (report.drifted, report.pending) == (True, False)
    (finding,) = report.of(DriftStatus.DRIFT)
    assert [change.path for change in finding.changes] == ["/authorized", "/tags/stray"]


def test_a_spec_that_changed_since_is_pending() -> None:
    report = drift(SPEC_STATE, live(of(ARCHIVE), of(MAIN, changed={"authorized": False}, tags={SPEC: "before"})))
    assert (report.drifted, report.pending) == (False, True)


def test_drift_and_pending_are_distinguished_between_resources() -> None:
    report = drift(SPEC_STATE, live(of(ARCHIVE, tags={"stray": "1"}), of(MAIN, tags={SPEC: "before"})))
    assert statuses(report) == {
        "recording-configuration/archive": DriftStatus.DRIFT,
        "channel/main": DriftStatus.PENDING,
    }
    assert (report.drifted, report.pending) == (True, True)


def test_a_deleted_channel_is_never_reported_as_in_sync() -> None:
    report = drift(SPEC_STATE, live(of(ARCHIVE)))
    assert statuses(report) == {"channel/main": DriftStatus.MISSING}
    assert (report.drifted, report.pending) == (True, False)


def test_a_stack_that_was_never_applied_is_pending() -> None:
    report = drift(SPEC_STATE, live(unowned("channel/theirs")))
    assert (report.drifted, report.pending) == (False, True)
    assert [unmanaged.name for unmanaged in report.unmanaged] == ["theirs"]


def test_an_orphan_is_listed_and_is_no_drift() -> None:
    gone = wanted("channel/gone")
    report = drift(SPEC_STATE, live(of(ARCHIVE), of(MAIN), of(gone)))
    assert statuses(report) == {"channel/gone": DriftStatus.ORPHAN}
    assert (report.drifted, report.pending) == (False, False)


def test_an_orphan_that_prune_would_delete_is_pending() -> None:
    report = drift(SPEC_STATE, live(of(ARCHIVE), of(MAIN), of(wanted("channel/gone"))), prune=True)
    assert statuses(report) == {"channel/gone": DriftStatus.ORPHAN}
    assert (report.drifted, report.pending) == (False, True)


def test_channels_that_follow_a_pending_replacement_wait_with_it() -> None:
    before = of(ARCHIVE, changed={"recordingReconnectWindowSeconds": 60}, tags={SPEC: "before"})
    report = drift(SPEC_STATE, live(before, of(MAIN)))
    assert statuses(report) == {
        "recording-configuration/archive": DriftStatus.PENDING,
        "channel/main": DriftStatus.PENDING,
    }
    assert (report.drifted, report.pending) == (False, True)


def test_channels_of_an_interrupted_replacement_are_pending_not_drift() -> None:
    before = of(ARCHIVE, suffix="-before", changed={"recordingReconnectWindowSeconds": 60}, tags={SPEC: "before"})
    report = drift(SPEC_STATE, live(of(ARCHIVE), before, of(MAIN, changed={"recordingConfigurationArn": before.arn})))
    assert statuses(report) == {
        "channel/main": DriftStatus.PENDING,
        "recording-configuration/archive": DriftStatus.DUPLICATE,
    }
    assert (report.drifted, report.pending) == (False, True)


def test_a_channel_that_follows_and_differs_otherwise_has_drifted_in_the_other_field() -> None:
    before = of(ARCHIVE, changed={"recordingReconnectWindowSeconds": 60}, tags={SPEC: "before"})
    report = drift(SPEC_STATE, live(before, of(MAIN, changed={"authorized": False})))
    (finding,) = report.of(DriftStatus.DRIFT)
    assert [change.path for change in finding.changes] == ["/authorized"]


def test_a_recording_configuration_that_failed_is_drift() -> None:
    report = drift(desired(ARCHIVE), live(of(ARCHIVE, state="CREATE_FAILED")))
    assert (report.drifted, report.pending) == (True, False)


def test_tags_of_ours_that_were_taken_off_show_as_what_they_make() -> None:
    without_stack = drift(SPEC_STATE, live(of(ARCHIVE), of(MAIN, tags={STACK: None})))
    assert statuses(without_stack) == {"channel/main": DriftStatus.MISSING}
    assert [unmanaged.arn for unmanaged in without_stack.unmanaged] == [arn("channel/main")]
    without_id = drift(SPEC_STATE, live(of(ARCHIVE), of(MAIN, tags={ID: None})))
    assert statuses(without_id) == {"channel/main": DriftStatus.MISSING}
    assert "no id tag" in without_id.notes[0]
    without_spec = drift(SPEC_STATE, live(of(ARCHIVE), of(MAIN, tags={SPEC: None})))
    assert statuses(without_spec) == {"channel/main": DriftStatus.DRIFT}


def test_a_key_that_is_not_adopted_is_missing() -> None:
    key = wanted("stream-key/main")
    report = drift(desired(ARCHIVE, MAIN, key), live(of(ARCHIVE), of(MAIN), unowned("stream-key/main")))
    assert statuses(report) == {"stream-key/main": DriftStatus.MISSING}


def test_a_duplicate_that_stays_is_listed() -> None:
    report = drift(SPEC_STATE, live(of(ARCHIVE), of(MAIN), of(MAIN, suffix="-2")))
    assert statuses(report) == {"channel/main": DriftStatus.DUPLICATE}
    assert (report.drifted, report.pending) == (True, False)


def test_what_is_blocked_has_drifted_all_the_same() -> None:
    protected = wanted("recording-configuration/archive", protect=True)
    report = drift(desired(protected), live(of(protected, changed={"recordingReconnectWindowSeconds": 60})))
    assert report.drifted
