"""One step: its references filled in, its call sent, its answer looked at. Runs in a worker; returns what became of it and never raises ``AwsError``.

A step is sent again here only where AWS said that nothing was done, and time alone may change that.
Such are a delete of what was detached a moment ago, a call that names something made a moment ago, and a read that waits for a state.
Repeating after throttling and lost connections is the gateway's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.apply.air import OnAirError, in_the_way
from reconciler.apply.attempt import IN_USE_SECONDS as IN_USE_SECONDS  # what tests of waits know the step by
from reconciler.apply.attempt import LAG_SECONDS as LAG_SECONDS
from reconciler.apply.attempt import Attempt, Bound, Context, StoppedError, passing, pauses
from reconciler.apply.attempt import WriteCalls as WriteCalls
from reconciler.apply.create import Creation, Made, kind_made_by
from reconciler.apply.deliver import hand_over, superseded
from reconciler.apply.events import StepStarted
from reconciler.apply.takeover import found_in
from reconciler.errors import AwsError
from reconciler.model.address import Address
from reconciler.model.kinds import KINDS
from reconciler.model.resource import Stream
from reconciler.model.values import thaw
from reconciler.plan.actions import Result, Step, StepOutcome, Until

WAIT_SECONDS = 90.0
"""How long a state is waited for; the user guide speaks of up to 20 seconds."""

STOP = "StopStream"
_NOT_LIVE = "ChannelNotBroadcasting"
_NOT_FOUND = "ResourceNotFoundException"
_CREATES = frozenset(kind.create for kind in KINDS.values())
_DELETES = frozenset(kind.delete for kind in KINDS.values())


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a step, and the ARNs it brought. ``stopped`` says that it would have gone on but for the request to stop.

    ``made`` is what the run still holds against rivals at its end. ``on_air`` is the broadcast that was found in the way.
    """

    outcome: StepOutcome
    bound: Mapping[Address, Bound] = field(default_factory=dict)
    stopped: bool = False
    made: Made | None = None
    on_air: Stream | None = None


def run_step(step: Step, address: Address, context: Context) -> Settled:
    """Run one step to its end."""
    if context.stop.is_set():
        return Settled(
            StepOutcome(step.id, step.operation, Result.NOT_ATTEMPTED, message="the apply was stopped before it"),
            stopped=True,
        )
    context.tell(StepStarted(address, step.id, step.operation))
    attempt = Attempt(step, address, context, context.clock())
    try:
        return _run(attempt)
    except StoppedError as error:
        return Settled(attempt.outcome(Result.NOT_ATTEMPTED, message=str(error)), stopped=True)
    except OnAirError as error:
        return Settled(attempt.outcome(Result.BLOCKED, message=str(error)), on_air=error.stream)
    except AwsError as error:
        attempt.note(error)
        return Settled(attempt.outcome(Result.FAILED, code=error.code, message=_said(error, step)))


def _run(attempt: Attempt) -> Settled:
    """Send the call, or repeat the read. Raises ``AwsError`` and ``StoppedError``."""
    step, context = attempt.step, attempt.context
    parameters = {key: thaw(attempt.filled(value)) for key, value in step.parameters.items()}
    if step.until is not None:
        _await(attempt, parameters, step.until)
        return Settled(attempt.outcome(Result.DONE))
    context.before(attempt.address, step.operation)
    if step.deliver is not None:
        hand_over(attempt, str(parameters["arn"]), step.deliver)
        return Settled(attempt.outcome(Result.DONE))
    kind = kind_made_by(step.operation)
    if kind is None or context.lookout is None:
        try:
            bound = _send(attempt, parameters)
        except AwsError as error:
            raise superseded(attempt, parameters, error) from None
        return Settled(attempt.outcome(Result.DONE), bound)
    creation = Creation.of(attempt, kind, parameters, context.lookout)
    bound = creation.run()
    return Settled(attempt.outcome(Result.DONE, message=creation.said), bound, made=creation.deferred)


def _send(attempt: Attempt, parameters: Mapping[str, object]) -> Mapping[Address, Bound]:
    for pause in pauses():
        try:
            answer = attempt.call(attempt.step.operation, parameters)
        except AwsError as error:
            if (error.code == _NOT_FOUND and attempt.step.operation in _DELETES) or (
                error.code == _NOT_LIVE and attempt.step.operation == STOP
            ):
                attempt.note(error)
                return {}  # gone is what was wanted
            why = in_the_way(attempt, parameters, error) or passing(attempt, error)
            if why is None:
                raise
            attempt.note(error)
            attempt.pause(pause, why)
        else:
            return {
                Address.parse(text): Bound(found_in(attempt, answer.data, path), attempt.context.clock())
                for text, path in attempt.step.binds.items()
            }
    raise AssertionError("pauses never end")


def _await(attempt: Attempt, parameters: Mapping[str, object], until: Until) -> None:
    now = attempt.context.clock
    for pause in pauses():
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
    """Return the awaited member of the one object in an answer."""
    for item in data.values():
        if isinstance(item, Mapping) and until.member in item:
            return str(item[until.member])
    return None


def _said(error: AwsError, step: Step) -> str:
    if not error.ambiguous:
        return str(error)
    if step.operation in _CREATES:
        return f"{error}; whether it was carried out is not known. It carries our tags: wait half a minute, so that the list shows what was made, if anything was, and plan again"
    return f"{error}; whether it was carried out is not known; plan again to see"
