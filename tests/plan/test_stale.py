"""Which changes since a plan was saved make it stale, and how they are named."""

from __future__ import annotations

from reconciler.model.address import SPEC as SPEC_TAG
from reconciler.model.address import KindName
from reconciler.plan.decide import build_plan
from reconciler.plan.plan import PlanOptions
from reconciler.plan.stale import changes_since_plan
from tests.builders import arn, desired, live, of, refs, unowned, wanted
from tests.plan.service import Service

ARCHIVE = wanted("recording-configuration/archive")
MAIN = wanted("channel/main", {"authorized": True, **refs(recordingConfigurationArn="recording-configuration/archive")})
SPEC = desired(ARCHIVE, MAIN)
BEFORE = live(of(ARCHIVE), of(MAIN, changed={"authorized": False}))


def test_a_plan_holds_while_nothing_moves() -> None:
    plan = build_plan(SPEC, BEFORE, PlanOptions(), target_name="prod")
    assert changes_since_plan(plan, SPEC, BEFORE) == ()


def test_each_field_that_moved_is_named_with_both_values() -> None:
    plan = build_plan(SPEC, BEFORE, PlanOptions(), target_name="prod")
    now = live(of(ARCHIVE), of(MAIN, changed={"authorized": False, "latencyMode": "NORMAL"}, tags={"stray": "1"}))
    assert changes_since_plan(plan, SPEC, now) == (
        'channel/main: /latencyMode was "LOW" and is now "NORMAL"',
        'channel/main: /tags/stray was absent and is now "1"',
    )


def test_the_digest_of_the_spec_is_named_only_if_nothing_else_moved() -> None:
    plan = build_plan(SPEC, BEFORE, PlanOptions(), target_name="prod")
    digest = {SPEC_TAG: "of another spec"}
    now = live(of(ARCHIVE), of(MAIN, changed={"authorized": False, "latencyMode": "NORMAL"}, tags=digest))
    assert changes_since_plan(plan, SPEC, now) == ('channel/main: /latencyMode was "LOW" and is now "NORMAL"',)
    now = live(of(ARCHIVE), of(MAIN, changed={"authorized": False}, tags=digest))
    (line,) = changes_since_plan(plan, SPEC, now)
    assert line.startswith("channel/main: /tags/ivs-reconciler:spec was ")


def test_other_changes_in_the_account_do_not_matter() -> None:
    plan = build_plan(SPEC, BEFORE, PlanOptions(), target_name="prod")
    now = live(of(ARCHIVE, tags={"stray": "1"}), of(MAIN, changed={"authorized": False}), unowned("channel/theirs"))
    assert changes_since_plan(plan, SPEC, now) == ()


def test_a_resource_that_is_gone_is_named() -> None:
    plan = build_plan(SPEC, BEFORE, PlanOptions(), target_name="prod")
    assert changes_since_plan(plan, SPEC, live(of(ARCHIVE))) == (
        f"channel/main: {arn('channel/main')} no longer exists",
    )


def test_the_second_run_of_a_plan_that_started_from_nothing_is_stale() -> None:
    plan = build_plan(SPEC, live(), PlanOptions(), target_name="prod")
    assert changes_since_plan(plan, SPEC, live()) == ()
    after = Service(live()).run(plan)
    assert [line.partition(":")[0] for line in changes_since_plan(plan, SPEC, after)] == [
        "recording-configuration/archive",
        "channel/main",
    ]


def test_what_a_call_refers_to_has_to_be_there_still() -> None:
    unattached = live(of(ARCHIVE), of(MAIN, changed={"recordingConfigurationArn": ""}))
    plan = build_plan(SPEC, unattached, PlanOptions(), target_name="prod")
    lines = changes_since_plan(plan, SPEC, live(of(MAIN, changed={"recordingConfigurationArn": ""})))
    assert f"channel/main: {arn('recording-configuration/archive')}, which it refers to, no longer exists" in lines


def test_a_changed_spec_names_the_addresses_that_changed() -> None:
    unattended = wanted("channel/quiet")
    spec = desired(ARCHIVE, MAIN, unattended)
    now = live(*BEFORE.of(KindName.RECORDING_CONFIGURATION), *BEFORE.of(KindName.CHANNEL), of(unattended))
    plan = build_plan(spec, now, PlanOptions(), target_name="prod")
    assert changes_since_plan(
        plan, desired(ARCHIVE, MAIN, wanted("channel/quiet", {"latencyMode": "NORMAL"})), now
    ) == ("the spec changed: channel/quiet",)
    assert changes_since_plan(plan, desired(ARCHIVE, wanted("channel/main"), unattended), now) == (
        "the spec changed: channel/main",
    )
    assert changes_since_plan(plan, desired(ARCHIVE, MAIN, unattended, wanted("channel/added")), now) == (
        "the spec changed: channel/added",
    )


def test_a_delete_whose_resource_came_back_to_the_spec_is_stale() -> None:
    gone = wanted("channel/gone")
    now = live(of(ARCHIVE), of(MAIN), of(gone))
    plan = build_plan(SPEC, now, PlanOptions(prune=True), target_name="prod")
    assert changes_since_plan(plan, desired(ARCHIVE, MAIN, gone), now) == ("the spec changed: channel/gone",)


def test_a_channel_that_began_to_use_what_is_deleted_is_named() -> None:
    gone = wanted("ad-configuration/gone")
    plan = build_plan(SPEC, live(of(ARCHIVE), of(MAIN), of(gone)), PlanOptions(prune=True), target_name="prod")
    user = unowned("channel/theirs", {"adConfigurationArn": arn("ad-configuration/gone")})
    assert changes_since_plan(plan, SPEC, live(of(ARCHIVE), of(MAIN), of(gone), user)) == (
        f"ad-configuration/gone: channel theirs ({user.arn}) now uses {arn('ad-configuration/gone')}",
    )


def test_a_recording_configuration_that_failed_meanwhile_is_named() -> None:
    plan = build_plan(SPEC, live(of(ARCHIVE, tags={"stray": "1"}), of(MAIN)), PlanOptions(), target_name="prod")
    now = live(of(ARCHIVE, tags={"stray": "1"}, state="CREATE_FAILED"), of(MAIN))
    assert changes_since_plan(plan, SPEC, now) == (
        "recording-configuration/archive: its state was ACTIVE and is now CREATE_FAILED",
    )


def test_what_was_blocked_may_move() -> None:
    protected = wanted("recording-configuration/archive", {"recordingReconnectWindowSeconds": 9}, protect=True)
    plan = build_plan(
        desired(protected),
        live(of(protected, changed={"recordingReconnectWindowSeconds": 0})),
        PlanOptions(),
        target_name="prod",
    )
    assert plan.actions[0].blocked is not None
    assert (
        changes_since_plan(
            plan, desired(protected), live(of(protected, changed={"recordingReconnectWindowSeconds": 1}))
        )
        == ()
    )
    assert changes_since_plan(plan._replace(actions=()), desired(protected), live()) == ()
