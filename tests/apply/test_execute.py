from __future__ import annotations

import errno
import threading
import time as real_time

import pytest

from reconciler.apply import ActionFinished, Event, StepFinished, StepStarted
from reconciler.plan.plan import Result, Verb
from tests.apply.makers import ACTIVE, Service, action, apply, ref, refusal, step

RECORDING_ARN = "arn:aws:ivs:us-west-2:123456789012:recording-configuration/new"
MADE = {"recordingConfiguration": {"arn": RECORDING_ARN, "state": "CREATING"}}

REPLACEMENT = (
    action(
        "recording-configuration/archive",
        step(
            "recording-configuration/archive#1",
            "CreateRecordingConfiguration",
            binds="recording-configuration/archive=recordingConfiguration.arn",
        ),
        step(
            "recording-configuration/archive#2",
            "GetRecordingConfiguration",
            after=("recording-configuration/archive#1",),
            until=ACTIVE,
            arn=ref("recording-configuration/archive"),
        ),
        step(
            "recording-configuration/archive#3",
            "DeleteRecordingConfiguration",
            after=("recording-configuration/archive#2", "channel/main#1"),
            arn="old",
        ),
        verb=Verb.REPLACE,
        arn="old",
    ),
    action(
        "channel/main",
        step(
            "channel/main#1",
            after=("recording-configuration/archive#2",),
            arn="channel-arn",
            recordingConfigurationArn=ref("recording-configuration/archive"),
        ),
        arn="channel-arn",
    ),
    action("channel/side", step("channel/side#1", arn="side-arn"), arn="side-arn"),
)


def service(**answers: object) -> Service:
    return Service(
        {
            "CreateRecordingConfiguration": MADE,
            "GetRecordingConfiguration": {"recordingConfiguration": {"state": "ACTIVE"}},
            **answers,
        }
    )


def test_steps_run_after_what_they_need_and_get_its_arns() -> None:
    calls = service()
    applied = apply(calls, *REPLACEMENT)
    assert applied.result.complete
    assert [operation for operation, parameters in calls.called if parameters.get("arn") != "side-arn"] == [
        "CreateRecordingConfiguration",
        "GetRecordingConfiguration",
        "UpdateChannel",
        "DeleteRecordingConfiguration",
    ]
    assert ("UpdateChannel", {"arn": "channel-arn", "recordingConfigurationArn": RECORDING_ARN}) in calls.called
    assert ("GetRecordingConfiguration", {"arn": RECORDING_ARN}) in calls.called
    assert applied["recording-configuration/archive"].arn == RECORDING_ARN
    assert applied["channel/main"].arn == "channel-arn"
    assert applied.result.calls == 5


def test_references_are_filled_in_at_any_depth_and_parameters_are_plain_json() -> None:
    calls = service()
    made = step(
        "recording-configuration/a#1",
        "CreateRecordingConfiguration",
        binds="recording-configuration/a=recordingConfiguration.arn",
    )
    deep = step(
        "channel/b#1",
        after=("recording-configuration/a#1",),
        tags={"k": ("x", {"deep": ref("recording-configuration/a")})},
    )
    apply(calls, action("recording-configuration/a", made), action("channel/b", deep))
    assert calls.called[-1] == ("UpdateChannel", {"tags": {"k": ["x", {"deep": RECORDING_ARN}]}})


def test_one_answer_can_bring_two_arns() -> None:
    calls = Service({"CreateChannel": {"channel": {"arn": "c"}, "streamKey": {"arn": "k"}}})
    create = step("channel/main#1", "CreateChannel", binds="channel/main=channel.arn")
    create.binds["stream-key/main"] = "streamKey.arn"  # type: ignore[index]
    tag = step("stream-key/main#1", "TagResource", after=("channel/main#1",), resourceArn=ref("stream-key/main"))
    applied = apply(
        calls, action("channel/main", create, verb=Verb.CREATE), action("stream-key/main", tag, verb=Verb.CREATE)
    )
    assert calls.called[-1] == ("TagResource", {"resourceArn": "k"})
    assert (applied["channel/main"].arn, applied["channel/main"].request_id) == ("c", "req-1")


def test_one_failure_stops_only_what_waits_for_it() -> None:
    calls = service(CreateRecordingConfiguration=refusal("ServiceQuotaExceededException", "20 of 20"))
    applied = apply(calls, *REPLACEMENT)
    assert applied.results == {
        "recording-configuration/archive": "failed",
        "channel/main": "skipped",
        "channel/side": "done",
    }
    failed = applied["recording-configuration/archive"]
    assert (failed.message, failed.request_id) == ("CreateRecordingConfiguration: 20 of 20", "req-refused")
    assert [outcome.result for outcome in failed.steps] == [Result.FAILED, Result.SKIPPED, Result.SKIPPED]
    assert failed.steps[0].error_code == "ServiceQuotaExceededException"
    assert applied["channel/main"].message == "depends on recording-configuration/archive, which failed"


def test_a_failure_midway_says_what_was_done() -> None:
    applied = apply(
        service(UpdateChannel=lambda given: refusal() if given["arn"] == "channel-arn" else {}), *REPLACEMENT
    )
    assert applied.results == {
        "recording-configuration/archive": "skipped",
        "channel/main": "failed",
        "channel/side": "done",
    }
    assert applied["recording-configuration/archive"].message == (
        "depends on channel/main, which failed (already done: CreateRecordingConfiguration, GetRecordingConfiguration)"
    )
    assert applied["recording-configuration/archive"].arn == RECORDING_ARN


def test_what_waits_far_behind_names_the_action_that_failed() -> None:
    chain = [action("channel/a", step("channel/a#1", "DeleteStreamKey"))]
    chain += [
        action(f"channel/{here}", step(f"channel/{here}#1", after=(f"channel/{before}#1",)))
        for before, here in ("ab", "bc", "cd")
    ]
    applied = apply(Service({"DeleteStreamKey": refusal()}), *chain)
    assert applied["channel/d"].message == "depends on channel/a, which failed"


def test_a_blocked_action_is_left_alone_with_all_that_waits_for_it() -> None:
    main = action("channel/main", *REPLACEMENT[1].steps, blocked="it is live since 10:00", arn="channel-arn")
    calls = service()
    applied = apply(calls, REPLACEMENT[0], main, REPLACEMENT[2])
    assert applied.results == {
        "recording-configuration/archive": "blocked",
        "channel/main": "blocked",
        "channel/side": "done",
    }
    assert applied["channel/main"].message == "it is live since 10:00"
    assert applied["recording-configuration/archive"].message == (
        "depends on channel/main, which is blocked (already done: CreateRecordingConfiguration, GetRecordingConfiguration)"
    )
    assert "DeleteRecordingConfiguration" not in calls.operations


def test_actions_without_steps_are_settled_at_once() -> None:
    applied = apply(Service(), action("channel/a"), action("channel/b", blocked="no"))
    assert applied.results == {"channel/a": "done", "channel/b": "blocked"}
    assert not applied.result.interrupted


def test_an_empty_plan_is_complete() -> None:
    applied = apply(Service())
    assert (applied.result.complete, applied.result.outcomes, applied.events) == (True, (), [])


def test_two_actions_of_one_address_keep_their_own_outcomes() -> None:
    keep = action("channel/main", step("channel/main#1"), arn="kept")
    drop = action("channel/main", step("channel/main#2", "DeleteChannel"), verb=Verb.DELETE, arn="dropped")
    applied = apply(Service({"UpdateChannel": refusal()}), keep, drop)
    assert [(outcome.verb, outcome.arn, outcome.result) for outcome in applied.result.outcomes] == [
        (Verb.UPDATE, "kept", Result.FAILED),
        (Verb.DELETE, "dropped", Result.DONE),
    ]


@pytest.mark.parametrize(
    ("operation", "said"),
    [("CreateChannel", "it carries our tags: wait 30 seconds"), ("UpdateChannel", "Run plan again to check")],
)
def test_a_lost_answer_leaves_the_outcome_unknown_and_says_so(operation: str, said: str) -> None:
    applied = apply(
        Service({operation: refusal("ReadTimeout", "no answer within the time limit", ambiguous=True)}),
        action("channel/a", step("channel/a#1", operation)),
    )
    assert applied.results == {"channel/a": "failed"}
    assert "it is unknown whether the call succeeded" in applied["channel/a"].message
    assert said in applied["channel/a"].message


def test_a_delete_of_what_is_gone_is_done() -> None:
    calls = Service({"DeleteChannel": refusal("ResourceNotFoundException", "no such channel")})
    assert apply(calls, action("channel/a", step("channel/a#1", "DeleteChannel"), verb=Verb.DELETE)).result.complete
    assert len(calls.called) == 1


def test_an_answer_without_the_arn_it_should_bring_is_a_failure_that_says_it_was_done() -> None:
    calls = Service({"CreateChannel": {"channel": {}}})
    create = action("channel/a", step("channel/a#1", "CreateChannel", binds="channel/a=channel.arn"), verb=Verb.CREATE)
    applied = apply(calls, create)
    assert "the call succeeded, but the answer has no channel.arn" in applied["channel/a"].message
    assert applied.result.calls == 1


def test_a_reference_that_nothing_brought_is_a_failure_without_a_call() -> None:
    calls = Service()
    applied = apply(
        calls, action("channel/a", step("channel/a#1", recordingConfigurationArn=ref("recording-configuration/gone")))
    )
    assert "the ARN of recording-configuration/gone is unknown" in applied["channel/a"].message
    assert (calls.called, applied.result.calls) == ([], 0)


def test_a_plan_that_waits_for_a_step_it_does_not_have_runs_the_rest() -> None:
    applied = apply(
        Service(),
        action("channel/a", step("channel/a#1", after=("channel/z#1",))),
        action("channel/b", step("channel/b#1")),
    )
    assert applied.results == {"channel/a": "skipped", "channel/b": "done"}
    assert "channel/z#1, which is not in this plan" in applied["channel/a"].message


def test_steps_that_wait_for_one_another_end_instead_of_hanging() -> None:
    one = action("channel/a", step("channel/a#1", after=("channel/b#1",)))
    other = action("channel/b", step("channel/b#1", after=("channel/a#1",)))
    applied = apply(Service(), one, other, action("channel/c", step("channel/c#1")))
    assert applied.results == {"channel/a": "skipped", "channel/b": "skipped", "channel/c": "done"}
    assert "in a cycle" in applied["channel/a"].message


def test_independent_steps_run_at_the_same_time_but_few_of_one_operation() -> None:
    together = {"UpdateChannel": threading.Barrier(3, timeout=60), "TagResource": threading.Barrier(3, timeout=60)}

    def hold(operation: str) -> None:
        together[operation].wait()

    calls = Service(hold=hold)
    actions = [
        action(f"channel/{number}", step(f"channel/{number}#1", "UpdateChannel" if number % 2 else "TagResource"))
        for number in range(24)
    ]
    assert apply(calls, *actions).result.complete
    assert calls.most_at_once == {"UpdateChannel": 3, "TagResource": 3}


def test_a_slow_operation_holds_up_no_other() -> None:
    released = threading.Event()

    def hold(operation: str) -> None:
        if operation == "CreateChannel":
            assert released.wait(60)

    def on_event(event: Event) -> None:
        if isinstance(event, ActionFinished) and str(event.outcome.address) == "channel/quick":
            released.set()

    slow = [action(f"channel/{number}", step(f"channel/{number}#1", "CreateChannel")) for number in range(10)]
    assert apply(
        Service(hold=hold), *slow, action("channel/quick", step("channel/quick#1")), on_event=on_event
    ).result.complete


def test_every_outcome_is_reported_as_it_happens_in_one_thread() -> None:
    threads: set[int] = set()
    applied = apply(service(), *REPLACEMENT, on_event=lambda _: threads.add(threading.get_ident()))
    assert threads == {threading.get_ident()}
    started = [event.step for event in applied.events if isinstance(event, StepStarted)]
    finished = [event.outcome.step for event in applied.events if isinstance(event, StepFinished)]
    assert sorted(started) == sorted(finished)
    assert all(
        applied.events.index(
            next(event for event in applied.events if isinstance(event, StepStarted) and event.step == name)
        )
        < applied.events.index(
            next(event for event in applied.events if isinstance(event, StepFinished) and event.outcome.step == name)
        )
        for name in started
    )
    assert {str(event.outcome.address) for event in applied.events if isinstance(event, ActionFinished)} == set(
        applied.results
    )


def test_when_asked_to_stop_calls_in_flight_finish_and_no_more_start() -> None:
    stop = threading.Event()
    actions = [action(f"channel/{number:02}", step(f"channel/{number:02}#1")) for number in range(20)]

    def hold(_: str) -> None:
        stop.set()
        real_time.sleep(0.02)

    calls = Service(hold=hold)
    applied = apply(calls, *actions, stop=stop)
    assert applied.result.interrupted
    assert 1 <= len(calls.called) <= 3
    assert list(applied.results.values()).count("done") == len(calls.called)
    assert {outcome.message for outcome in applied.result.outcomes if outcome.result is Result.SKIPPED} == {
        "interrupted"
    }


def test_a_stop_that_comes_too_late_interrupts_nothing() -> None:
    stop = threading.Event()
    applied = apply(Service(hold=lambda _: stop.set()), action("channel/a", step("channel/a#1")), stop=stop)
    assert (applied.results, applied.result.interrupted) == ({"channel/a": "done"}, False)


def test_an_error_in_a_listener_ends_the_run_and_starts_no_more() -> None:
    calls = Service()
    actions = [action(f"channel/{number}", step(f"channel/{number}#1")) for number in range(200)]

    def on_event(event: Event) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        apply(calls, *actions, on_event=on_event)
    seen = len(calls.called)
    real_time.sleep(0.05)
    assert len(calls.called) <= seen + 3


def test_steps_wait_in_the_plans_order_and_not_in_the_threads_of_their_operation() -> None:
    names = [f"{number:03}" for number in range(200)]
    calls, listening, seen = Service(), threading.Event(), [0]

    def on_event(_event: Event) -> None:
        if not listening.is_set():  # until then nothing is finished, so no more steps are submitted
            real_time.sleep(0.1)
            seen[0] = len(calls.called)
            listening.set()

    applied = apply(
        calls, *(action(f"channel/{name}", step(f"channel/{name}#1", arn=name)) for name in names), on_event=on_event
    )
    assert seen[0] <= 12
    started = [event.address.id for event in applied.events if isinstance(event, StepStarted)]
    assert len(started) == 200
    assert all(started.index(name) > place - 12 for place, name in enumerate(names))


def test_a_fault_of_this_program_in_a_worker_is_raised_and_does_not_hang() -> None:
    with pytest.raises(ZeroDivisionError):
        apply(
            Service({"UpdateChannel": ZeroDivisionError()}),
            action("channel/a", step("channel/a#1")),
            action("channel/b", step("channel/b#1")),
        )


def test_thousands_of_actions_take_time_in_proportion() -> None:
    def cost(count: int) -> float:
        actions = [
            action(
                f"channel/c{number}",
                step(f"channel/c{number}#1", "CreateChannel", binds=f"channel/c{number}=channel.arn"),
                step(
                    f"channel/c{number}#2",
                    "TagResource",
                    after=(f"channel/c{number}#1",),
                    resourceArn=ref(f"channel/c{number}"),
                ),
            )
            for number in range(count)
        ]
        # Half of them wait for one action, as channels wait for a recording configuration.
        first = action("recording-configuration/r", step("recording-configuration/r#1", "TagResource"))
        last = action(
            "recording-configuration/s",
            step(
                "recording-configuration/s#1",
                "DeleteRecordingConfiguration",
                after=tuple(f"channel/c{n}#2" for n in range(count)),
            ),
        )
        began = real_time.process_time()
        applied = apply(Service({"CreateChannel": {"channel": {"arn": "x"}}}), first, *actions, last)
        assert applied.result.complete
        assert applied.result.calls == 2 * count + 2
        return real_time.process_time() - began

    small = cost(500)
    assert cost(5000) < 30 * max(small, 0.02)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "too many open files (the limit is "),
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on device"),
    ],
)
def test_an_error_of_this_machine_fails_the_step_and_not_the_run(error: OSError, said: str) -> None:
    calls = Service({"TagResource": error})
    tagging = step("channel/b#2", "TagResource", resourceArn="b")
    later = action("channel/c", step("channel/c#1", after=("channel/b#2",), arn="c"))
    applied = apply(calls, action("channel/a", step("channel/a#1", arn="a")), action("channel/b", tagging), later)
    assert applied.results == {"channel/a": "done", "channel/b": "failed", "channel/c": "skipped"}
    assert applied["channel/b"].message.startswith("TagResource: ")
    assert said in applied["channel/b"].message
    assert "it is unknown whether the call succeeded. Run plan again to check" in applied["channel/b"].message
