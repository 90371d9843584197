"""One step: its references filled in, its call sent, its answer looked at. Runs in a worker; returns what became of it and never raises ``AwsError``.

A step is sent again here only where AWS said that nothing was done, and time alone may change that.
Such are a delete of what was detached a moment ago, a call that names something made a moment ago, and a read that waits for a state.
Repeating after throttling and lost connections is the gateway's business.

A step that hands the value of a stream key over. Neither the step nor its outcome ever holds the value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.apply.call import (
    LAG_SECONDS,
    NOT_FOUND,
    Attempt,
    Bound,
    Context,
    InterruptedStepError,
    backoff,
    retry_reason,
)
from reconciler.apply.create import Creation, DeferredCheck, arn_at, kind_created_by
from reconciler.apply.events import StepStarted
from reconciler.apply.live_channels import ChannelLiveError, stream_end_reason
from reconciler.errors import AwsError
from reconciler.model.address import DELIVERED, STACK, WAITING, Address
from reconciler.model.kinds import KINDS, TAG
from reconciler.model.kinds.ivs import STREAM_KEY
from reconciler.model.resource import Stream
from reconciler.model.target import Sink, Store
from reconciler.model.values import thaw
from reconciler.plan.plan import Result, Step, StepOutcome, Until


def publish_value(attempt: Attempt, arn: str, sink: Sink) -> None:
    """Hand the value of this key over to the sink. Raises ``AwsError``, which says that the value waits and how it goes on, and ``StoppedError``."""
    deliver = attempt.context.deliver
    if deliver is None:
        raise attempt.error(f"nothing here hands values over to {sink}; apply from the command line", "NoCourier")
    for pause in backoff():
        try:
            answer = deliver(arn, sink)
        except AwsError as error:
            attempt.note(error)
            fresh = error.code == NOT_FOUND and error.operation == STREAM_KEY.get
            if fresh and (why := retry_reason(attempt, error)):
                attempt.pause(pause, why)
                continue
            again = (
                "repeat the rotation with another file" if sink.store is Store.FILE else "correct that and apply again"
            )
            said = f"{error}; the value of {arn} waits: {again}, which hands it over and makes no other key"
            raise AwsError(
                said, operation=error.operation, code=error.code, request_id=error.request_id, calls=0
            ) from None
        attempt.sent += answer.calls
        attempt.request_id = answer.request_id
        key = STREAM_KEY.resource_in(answer.data)
        if isinstance(key, Mapping):
            attempt.context.channels[arn] = str(key.get("channelArn", ""))
        return


def superseded_error(attempt: Attempt, parameters: Mapping[str, object], error: AwsError) -> AwsError:
    """Return what to say of a failed note that a value is where it belongs; another error is returned as it is.

    A key that is gone by then was deleted by another apply, which may have handed the value of its own key over first.
    What the sink holds would be the older one, and that key says that its value is there. So it is made to say that it waits.
    """
    tags, arn = parameters.get("tags"), str(parameters.get("resourceArn"))
    channel, lookout = attempt.context.channels.get(arn), attempt.context.lookout
    if (
        error.code != NOT_FOUND
        or not isinstance(tags, Mapping)
        or DELIVERED not in tags
        or not channel
        or lookout is None
    ):
        return error
    attempt.note(error)
    head = f"{arn} is gone: another apply deleted it while its value was handed over to {tags[DELIVERED]}"
    try:
        ours = [
            key
            for key in lookout.keys_of(STREAM_KEY, channel)
            if key.arn != arn and key.tags.get(STACK) == lookout.stack
        ]
        for key in ours:
            attempt.call(TAG, {"resourceArn": key.arn, "tags": {DELIVERED: WAITING}})
    except AwsError as failure:
        attempt.note(failure)
        said = (
            f"{head}, which may hold the wrong value now ({failure}); rotate the key once more when no other apply runs"
        )
        return attempt.error(said, error.code)
    if not ours:
        return attempt.error(f"{head}; apply again", error.code)
    return attempt.error(f"{head}; the value of {ours[0].arn} waits: apply again, which hands it over", error.code)


WAIT_SECONDS = 90.0
"""How long a state is waited for; the user guide speaks of up to 20 seconds."""

STOP_STREAM = "StopStream"
_NOT_LIVE = "ChannelNotBroadcasting"
_NOT_FOUND = "ResourceNotFoundException"
_CREATES = frozenset(kind.create for kind in KINDS.values())
_DELETES = frozenset(kind.delete for kind in KINDS.values())


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of a step, and the ARNs it brought. ``stopped`` says that it would have gone on but for the request to stop.

    ``made`` is what the run still holds against rivals at its end. ``on_air`` is the broadcast that was found in the way.
    """

    outcome: StepOutcome
    bound: Mapping[Address, Bound] = field(default_factory=dict)
    stopped: bool = False
    made: DeferredCheck | None = None
    on_air: Stream | None = None


def run_step(step: Step, address: Address, context: Context) -> StepResult:
    """Run one step to its end."""
    if context.stop.is_set():
        return StepResult(
            StepOutcome(step.id, step.operation, Result.NOT_ATTEMPTED, message="the apply was stopped before it"),
            stopped=True,
        )
    context.tell(StepStarted(address, step.id, step.operation))
    attempt = Attempt(step, address, context, context.clock())
    try:
        return _run(attempt)
    except InterruptedStepError as error:
        return StepResult(attempt.outcome(Result.NOT_ATTEMPTED, message=str(error)), stopped=True)
    except ChannelLiveError as error:
        return StepResult(attempt.outcome(Result.BLOCKED, message=str(error)), on_air=error.stream)
    except AwsError as error:
        attempt.note(error)
        return StepResult(attempt.outcome(Result.FAILED, code=error.code, message=_failure_message(error, step)))


def _run(attempt: Attempt) -> StepResult:
    """Send the call, or repeat the read. Raises ``AwsError`` and ``StoppedError``."""
    step, context = attempt.step, attempt.context
    parameters = {key: thaw(attempt.filled(value)) for key, value in step.parameters.items()}
    if step.until is not None:
        _wait_until(attempt, parameters, step.until)
        return StepResult(attempt.outcome(Result.DONE))
    context.before(attempt.address, step.operation)
    if step.deliver is not None:
        publish_value(attempt, str(parameters["arn"]), step.deliver)
        return StepResult(attempt.outcome(Result.DONE))
    kind = kind_created_by(step.operation)
    if kind is None or context.lookout is None:
        try:
            bound = _send(attempt, parameters)
        except AwsError as error:
            raise superseded_error(attempt, parameters, error) from None
        return StepResult(attempt.outcome(Result.DONE), bound)
    creation = Creation.of(attempt, kind, parameters, context.lookout)
    bound = creation.run()
    return StepResult(attempt.outcome(Result.DONE, message=creation.said), bound, made=creation.deferred)


def _send(attempt: Attempt, parameters: Mapping[str, object]) -> Mapping[Address, Bound]:
    for pause in backoff():
        try:
            answer = attempt.call(attempt.step.operation, parameters)
        except AwsError as error:
            if (error.code == _NOT_FOUND and attempt.step.operation in _DELETES) or (
                error.code == _NOT_LIVE and attempt.step.operation == STOP_STREAM
            ):
                attempt.note(error)
                return {}  # gone is what was wanted
            why = stream_end_reason(attempt, parameters, error) or retry_reason(attempt, error)
            if why is None:
                raise
            attempt.note(error)
            attempt.pause(pause, why)
        else:
            return {
                Address.parse(text): Bound(arn_at(attempt, answer.data, path), attempt.context.clock())
                for text, path in attempt.step.binds.items()
            }
    raise AssertionError("pauses never end")


def _wait_until(attempt: Attempt, parameters: Mapping[str, object], until: Until) -> None:
    now = attempt.context.clock
    for pause in backoff():
        state: str | None = None
        try:
            state = _state(attempt.call(attempt.step.operation, parameters).data, until)
        except AwsError as error:
            if error.code != _NOT_FOUND or now() - attempt.began >= LAG_SECONDS:
                raise
            attempt.note(error)
        if state == until.equals:
            return
        if state is not None and state == until.fails_on:
            raise attempt.error(f"it ended as {state}; the service gives no reason", state)
        if now() - attempt.began >= WAIT_SECONDS:
            said = f"it is {state or 'not found'} and not {until.equals} after {WAIT_SECONDS:.0f} seconds; apply again to go on from here"
            raise attempt.error(said, "NotReady")
        attempt.pause(pause, f"it is {state or 'not found yet'}")


def _state(data: Mapping[str, object], until: Until) -> str | None:
    """Return the awaited member of the one object in an answer, which may be the answer itself."""
    for item in (data, *data.values()):
        if isinstance(item, Mapping) and until.member in item:
            return str(item[until.member])
    return None


def _failure_message(error: AwsError, step: Step) -> str:
    if not error.ambiguous:
        return str(error)
    if step.operation in _CREATES:
        return f"{error}; whether it was carried out is not known. It carries our tags: wait half a minute, so that the list shows what was made, if anything was, and plan again"
    return f"{error}; whether it was carried out is not known; plan again to see"
