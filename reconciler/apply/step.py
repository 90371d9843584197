"""Runs one step in a thread: resolves its references, sends its call, reads the answer. Returns an outcome and never raises ``AwsError`` or ``OSError``.

A call is sent again here only where AWS did nothing, and time alone may change that: a delete of what was detached just now,
a call that names a resource created just now, a read that waits for a state. Retries after throttling and lost connections
are the client's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.apply.call import LAG_SECONDS, Attempt, Bound, Context, InterruptedStepError, backoff, retry_reason
from reconciler.apply.create import PLAN_LATER, Creation, DeferredCheck
from reconciler.apply.events import StepStarted
from reconciler.apply.live_channels import ChannelLiveError, stream_end_reason
from reconciler.errors import NOT_FOUND, AwsError, os_reason
from reconciler.model.address import DELIVERED, STACK, WAITING, Address
from reconciler.model.kinds import CREATED_BY, DELETED_BY, KINDS, TAG
from reconciler.model.kinds.ivs import CHANNEL, STOP_STREAM, STREAM_KEY
from reconciler.model.resource import Stream
from reconciler.model.target import Sink, Store
from reconciler.network import is_out_of_descriptors, out_of_descriptors
from reconciler.plan.plan import Result, Step, StepOutcome, Until

WAIT_SECONDS = 90.0
"""How long to wait for a state; the IVS user guide says up to 20 seconds."""

_LOCAL = "LocalError"
_NOT_LIVE = "ChannelNotBroadcasting"


@dataclass(frozen=True, slots=True)
class StepResult:
    """The outcome of a step, and the ARNs that it returned. ``interrupted`` means that it would have continued without the request to stop.

    ``deferred`` is a check for duplicates that is left to the end of the apply. ``live`` is the stream because of which a call was refused.
    ``unavailable`` means that the step failed because AWS was.
    """

    outcome: StepOutcome
    bound: Mapping[Address, Bound] = field(default_factory=dict)
    interrupted: bool = False
    deferred: DeferredCheck | None = None
    live: Stream | None = None
    unavailable: bool = False


def run_step(step: Step, address: Address, context: Context) -> StepResult:
    """Run one step to its end."""
    if context.ended:
        skipped = StepOutcome(step.id, step.operation, Result.SKIPPED, message=context.ended)
        return StepResult(skipped, interrupted=context.stop.is_set())
    context.emit(StepStarted(address, step.id, step.operation))
    attempt = Attempt(step, address, context, context.clock())
    try:
        return _run(attempt)
    except InterruptedStepError as error:
        return StepResult(attempt.outcome(Result.SKIPPED, message=str(error)), interrupted=True)
    except ChannelLiveError as error:
        return StepResult(attempt.outcome(Result.BLOCKED, message=str(error)), live=error.stream)
    except AwsError as error:
        attempt.count(error)
        failed = attempt.outcome(Result.FAILED, code=error.code, message=_failure_message(error, step))
        return StepResult(failed, unavailable=attempt.unavailable)
    except OSError as error:  # such as running out of file descriptors where no call reports it
        reason = out_of_descriptors() if is_out_of_descriptors(error) else os_reason(error)
        failure = AwsError(f"{step.operation}: {reason}", operation=step.operation, code=_LOCAL, ambiguous=True)
        return StepResult(attempt.outcome(Result.FAILED, code=_LOCAL, message=_failure_message(failure, step)))


def _run(attempt: Attempt) -> StepResult:
    """Send the call, or repeat the read. Raises ``AwsError``, ``ChannelLiveError`` and ``InterruptedStepError``."""
    step, context = attempt.step, attempt.context
    if step.until is not None:
        _wait_until(attempt, attempt.parameters(), step.until)
        return StepResult(attempt.outcome(Result.DONE))
    context.before_step(attempt.address, step.operation)
    if step.deliver is not None:
        publish_value(attempt, str(attempt.parameters()["arn"]), step.deliver)
        return StepResult(attempt.outcome(Result.DONE))
    created = CREATED_BY.get(step.operation)
    if created is None or context.new_resources is None:
        return StepResult(*_send(attempt))
    creation = Creation.of(attempt, KINDS[created], attempt.parameters(), context.new_resources)
    bound = creation.run()
    return StepResult(attempt.outcome(Result.DONE, message=creation.message), bound, deferred=creation.deferred)


def _send(attempt: Attempt) -> tuple[StepOutcome, Mapping[Address, Bound]]:
    parameters = attempt.parameters()
    for delay in backoff():
        try:
            answer = attempt.call(attempt.step.operation, parameters)
        except AwsError as error:
            if (error.code == NOT_FOUND and attempt.step.operation in DELETED_BY) or (
                error.code == _NOT_LIVE and attempt.step.operation == STOP_STREAM
            ):
                attempt.count(error)
                return attempt.outcome(Result.DONE), {}  # already the intended state
            why = stream_end_reason(attempt, parameters, error) or retry_reason(attempt, error)
            if why is None:
                raise superseded_error(attempt, parameters, error) from None
            attempt.count(error)
            attempt.wait(delay, why)
        else:
            bound = attempt.bound_by(answer.data)
            return attempt.outcome(Result.DONE), bound
    raise AssertionError("backoff() never ends")


def _wait_until(attempt: Attempt, parameters: Mapping[str, object], until: Until) -> None:
    for delay in backoff():
        state: str | None = None
        try:
            state = _state(attempt.call(attempt.step.operation, parameters).data, until)
        except AwsError as error:
            if error.code != NOT_FOUND or attempt.age >= LAG_SECONDS:
                raise
            attempt.count(error)
        if state == until.equals:
            return
        if state is not None and state == until.fails_on:
            raise attempt.error(f"ended as {state}; IVS gives no reason", state)
        if attempt.age >= WAIT_SECONDS:
            message = f"{state or 'not found'} instead of {until.equals} after {WAIT_SECONDS:.0f} seconds; run apply again to continue"
            raise attempt.error(message, "NotReady")
        attempt.wait(delay, f"state {state}" if state else "not found yet")


def _state(data: Mapping[str, object], until: Until) -> str | None:
    """Return the awaited member of the one object in an answer."""
    for item in (data, *data.values()):
        if isinstance(item, Mapping) and until.member in item:
            return str(item[until.member])
    return None


def publish_value(attempt: Attempt, arn: str, sink: Sink) -> None:
    """Write the value of a stream key to its sink. Neither the step nor its outcome ever holds the value.

    Raises ``InterruptedStepError``, and ``AwsError`` with what is left to do.
    """
    publish = attempt.context.publish
    if publish is None:
        raise attempt.error(
            f"values cannot be published to {sink} from here; run apply on the command line", "NoPublisher"
        )
    for delay in backoff():
        try:
            answer = publish(arn, sink)
        except AwsError as error:
            attempt.count(error)
            attempt.unavailable = error.unavailable
            new = error.code == NOT_FOUND and error.operation in (STREAM_KEY.get, CHANNEL.batch)
            if new and (why := retry_reason(attempt, error)):
                attempt.wait(delay, why)
                continue
            if sink.store is Store.FILE:
                again = "repeat the rotation with another file"
            else:
                again = "correct that, then run apply again"
            raise AwsError(
                f"{error}; the value of {arn} is not published yet: {again}; no other key will be created",
                operation=error.operation,
                code=error.code,
                request_id=error.request_id,
                calls=0,
            ) from None
        attempt.calls += answer.calls
        attempt.request_id = answer.request_id
        key = STREAM_KEY.resource_in(answer.data)
        if isinstance(key, Mapping):
            attempt.context.key_channels[arn] = str(key.get("channelArn", ""))
        return


def superseded_error(attempt: Attempt, parameters: Mapping[str, object], error: AwsError) -> AwsError:
    """Return the error for a key that could not be tagged as published because another apply deleted it; other errors unchanged.

    The other apply may have published the value of its own key first: then the sink holds the value of the deleted key,
    although the tag of the other key says that its value is published. So that key is tagged as not published.
    """
    tags, arn = parameters.get("tags"), str(parameters.get("resourceArn"))
    channel, new_resources = attempt.context.key_channels.get(arn), attempt.context.new_resources
    if (
        error.code != NOT_FOUND
        or not isinstance(tags, Mapping)
        or DELIVERED not in tags
        or not channel
        or new_resources is None
    ):
        return error
    attempt.count(error)
    head = f"{arn} is gone: another apply deleted it while its value was published to {tags[DELIVERED]}"
    try:
        keys = [
            key
            for key in new_resources.stream_keys(STREAM_KEY, channel)
            if key.arn != arn and key.tags.get(STACK) == new_resources.stack
        ]
        for key in keys:
            attempt.call(TAG, {"resourceArn": key.arn, "tags": {DELIVERED: WAITING}})
    except AwsError as failure:
        attempt.count(failure)
        advice = f"which may hold the wrong value now ({failure}); rotate the key again when no other apply is running"
        return attempt.error(f"{head}, {advice}", error.code)
    if not keys:
        return attempt.error(f"{head}; run apply again", error.code)
    return attempt.error(f"{head}; run apply again to publish the value of {keys[0].arn}", error.code)


def _failure_message(error: AwsError, step: Step) -> str:
    if not error.ambiguous:
        return str(error)
    advice = "Run plan again to check" if step.operation not in CREATED_BY else PLAN_LATER
    return f"{error}; it is unknown whether the call succeeded. {advice}"
