from __future__ import annotations

import threading

import pytest

from reconciler.apply import StepWaiting
from reconciler.apply.call import IN_USE_SECONDS, LAG_SECONDS
from reconciler.apply.step import WAIT_SECONDS
from reconciler.plan.plan import Action, Verb
from tests.apply.makers import ACTIVE, Reply, Service, Time, action, apply, ref, refusal, step

NOT_FOUND = refusal("ResourceNotFoundException", "not there")
IN_USE = refusal("ConflictException", "still attached")


def state(value: str) -> dict[str, object]:
    return {"recordingConfiguration": {"arn": "new", "state": value}}


def waiting() -> Action:
    return action(
        "recording-configuration/a",
        step(
            "recording-configuration/a#1",
            "CreateRecordingConfiguration",
            binds="recording-configuration/a=recordingConfiguration.arn",
        ),
        step(
            "recording-configuration/a#2",
            "GetRecordingConfiguration",
            after=("recording-configuration/a#1",),
            until=ACTIVE,
            arn=ref("recording-configuration/a"),
        ),
        verb=Verb.CREATE,
    )


def service(*gets: object) -> Service:
    return Service({"CreateRecordingConfiguration": state("CREATING"), "GetRecordingConfiguration": list(gets)})


def test_a_state_is_waited_for_with_growing_pauses() -> None:
    calls = service(state("CREATING"), state("CREATING"), state("CREATING"), state("CREATING"), state("ACTIVE"))
    applied = apply(calls, waiting())
    assert applied.result.complete
    assert applied.time.slept == [1.0, 2.0, 3.0, 3.0]
    assert next((event.seconds, event.why) for event in applied.events if isinstance(event, StepWaiting)) == (
        1.0,
        "state CREATING",
    )
    assert applied["recording-configuration/a"].steps[1].calls == 5


def test_a_state_that_is_there_at_once_takes_no_pause() -> None:
    assert apply(service(state("ACTIVE")), waiting()).time.slept == []


def test_a_state_that_means_failure_ends_the_wait() -> None:
    applied = apply(service(state("CREATING"), state("CREATE_FAILED")), waiting())
    outcome = applied["recording-configuration/a"]
    assert outcome.message == (
        "GetRecordingConfiguration: ended as CREATE_FAILED; IVS gives no reason (already done: CreateRecordingConfiguration)"
    )
    assert (outcome.result.value, outcome.arn, outcome.steps[1].error_code) == ("failed", "new", "CREATE_FAILED")


def test_a_state_that_never_comes_ends_the_wait_after_a_while() -> None:
    applied = apply(service(state("CREATING")), waiting())
    assert (
        f"after {WAIT_SECONDS:.0f} seconds; run apply again to continue" in applied["recording-configuration/a"].message
    )
    assert WAIT_SECONDS <= applied.time.now <= WAIT_SECONDS + 3


def test_what_was_just_made_may_be_found_late() -> None:
    applied = apply(service(NOT_FOUND, NOT_FOUND, state("ACTIVE")), waiting())
    assert applied.result.complete
    assert applied.result.calls == 4


def test_what_is_never_found_is_a_failure() -> None:
    applied = apply(service(NOT_FOUND), waiting())
    assert "not there" in applied["recording-configuration/a"].message
    assert LAG_SECONDS <= applied.time.now <= LAG_SECONDS + 3


def test_another_refusal_ends_the_wait_at_once() -> None:
    applied = apply(service(refusal("AccessDeniedException", "not allowed")), waiting())
    assert "not allowed" in applied["recording-configuration/a"].message
    assert applied.time.slept == []


def test_when_asked_to_stop_a_wait_ends_and_is_not_called_a_failure() -> None:
    stop = threading.Event()
    applied = apply(service(state("CREATING")), waiting(), stop=stop, time=Time(on_sleep=stop.set))
    outcome = applied["recording-configuration/a"]
    assert (outcome.result.value, applied.result.interrupted) == ("skipped", True)
    assert outcome.message == "interrupted while waiting: state CREATING (already done: CreateRecordingConfiguration)"
    assert applied.time.slept == [1.0]


def test_a_call_that_names_what_was_just_made_waits_until_it_is_found() -> None:
    calls = Service({"CreateChannel": {"streamKey": {"arn": "k"}}, "TagResource": [NOT_FOUND, NOT_FOUND, {}]})
    create = action("channel/a", step("channel/a#1", "CreateChannel", binds="stream-key/a=streamKey.arn"))
    tag = action(
        "stream-key/a", step("stream-key/a#1", "TagResource", after=("channel/a#1",), resourceArn=ref("stream-key/a"))
    )
    applied = apply(calls, create, tag)
    assert applied.result.complete
    assert (applied.time.slept, applied.result.calls) == ([1.0, 2.0], 4)


def test_a_call_that_names_what_is_long_there_takes_not_found_for_an_answer() -> None:
    applied = apply(
        Service({"TagResource": NOT_FOUND}),
        action("channel/a", step("channel/a#1", "TagResource", resourceArn="long-there")),
    )
    assert (applied.results, applied.time.slept) == ({"channel/a": "failed"}, [])


def test_a_delete_waits_while_what_was_detached_is_still_in_use() -> None:
    calls = Service({"DeleteRecordingConfiguration": [IN_USE, IN_USE, Reply({}, "req-9")]})
    detach = action("channel/a", step("channel/a#1"))
    delete = action(
        "recording-configuration/a",
        step("recording-configuration/a#1", "DeleteRecordingConfiguration", after=("channel/a#1",)),
        verb=Verb.DELETE,
    )
    applied = apply(calls, detach, delete)
    assert applied.result.complete
    assert applied["recording-configuration/a"].request_id == "req-9"
    assert applied["recording-configuration/a"].steps[0].calls == 3


def test_a_delete_that_stays_in_use_fails_with_aws_own_words() -> None:
    delete = action(
        "recording-configuration/a",
        step("recording-configuration/a#1", "DeleteRecordingConfiguration", after=("channel/a#1",)),
        verb=Verb.DELETE,
    )
    applied = apply(Service({"DeleteRecordingConfiguration": IN_USE}), action("channel/a", step("channel/a#1")), delete)
    assert applied["recording-configuration/a"].message == "DeleteRecordingConfiguration: still attached"
    assert IN_USE_SECONDS <= applied.time.now <= IN_USE_SECONDS + 3


@pytest.mark.parametrize("operation", ["UpdateChannel", "DeleteChannel"])
def test_a_conflict_that_nothing_of_ours_will_lift_is_final(operation: str) -> None:
    applied = apply(Service({operation: IN_USE}), action("channel/a", step("channel/a#1", operation)))
    assert (applied.results, applied.time.slept) == ({"channel/a": "failed"}, [])
