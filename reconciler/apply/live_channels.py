"""Channels on air while an apply runs: steps that wait for the end of a broadcast, and calls that find one in their way.

One look at everything that is on air serves all steps that wait, and none of them holds up a worker.
Only what the plan says is done: a step waits as long as the plan says, and a broadcast that nobody expected blocks its action.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from reconciler.apply.call import CONFLICT, IN_USE_SECONDS, Answer, Attempt, Context, backoff
from reconciler.apply.events import StepStarted, StepWaiting
from reconciler.errors import AwsError
from reconciler.model.address import Address
from reconciler.model.kinds import KINDS
from reconciler.model.resource import Stream
from reconciler.plan.plan import Result, Step, StepOutcome

_INTERRUPTING = frozenset(operation for kind in KINDS.values() if kind.live for operation in (kind.update, kind.delete))
_REFUSALS = frozenset({400, 409})
"""How IVS may refuse to touch a live channel: the service model names the conflict for it, and promises nothing."""

_PAGE = 100
_LONGEST_PAUSE = 15.0
_LEAST_PAUSE = 0.5
_SLICE = 1.0
"""How long the request to stop may go unnoticed."""


class ChannelLiveError(Exception):
    """The call was refused, and its channel is on air."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        super().__init__(f"{stream}, which began after the plan was made; apply again when the stream has ended")


def stream_end_reason(attempt: Attempt, parameters: Mapping[str, object], error: AwsError) -> str | None:
    """Return why a refused call may soon succeed where a broadcast has only just ended. Raises ``OnAirError`` where one is running."""
    if attempt.step.operation not in _INTERRUPTING or error.status not in _REFUSALS:
        return None
    arn = str(parameters.get(KINDS[attempt.address.kind].identifier))
    try:
        stream = _streams(attempt.call).get(arn)
    except AwsError:
        return None  # what the call itself was told says more
    ended = arn in attempt.context.off_air and attempt.context.clock() - attempt.began < IN_USE_SECONDS
    if ended and (stream is not None or error.code == CONFLICT):
        return "its broadcast has only just ended"
    if stream is not None:
        attempt.note(error)
        raise ChannelLiveError(stream)
    return None


@dataclass(slots=True)
class StreamCheck:
    """What was on air, or why that could not be seen. ``calls`` counts the requests."""

    streams: Mapping[str, Stream] = field(default_factory=dict)
    error: AwsError | None = None
    calls: int = 0


@dataclass(slots=True)
class WaitingStep:
    """A step that waits until a channel is off air.

    ``again`` says that it is a call to be sent again then; else the wait is the whole step.
    ``ending`` says that the plan itself ended the broadcast.
    """

    step: Step
    address: Address
    arn: str
    since: float
    deadline: float
    again: bool = False
    ending: bool = False
    told: bool = False


class LiveWaits:
    """The steps that wait, and the one worker that looks. Belongs to the thread of the loop; looks come back through ``answer``."""

    def __init__(self, context: Context, answer: Callable[[StreamCheck], None]) -> None:
        self._context = context
        self._answer = answer
        self._parked: list[WaitingStep] = []
        self._pauses = backoff(_LONGEST_PAUSE)
        self._worker: ThreadPoolExecutor | None = None
        self._looking = False

    def park(self, parked: WaitingStep) -> None:
        """Let a step wait."""
        self._context.tell(StepStarted(parked.address, parked.step.id, parked.step.operation))
        self._parked.append(parked)
        self._pauses = backoff(_LONGEST_PAUSE)
        if not self._looking:
            self._look(0.0)

    def settled(self, look: StreamCheck) -> Iterator[tuple[WaitingStep, StepOutcome]]:
        """Yield the steps that wait no longer, each with what became of the wait, and look again for the others."""
        self._looking = False
        now = self._context.clock()
        waiting, self._parked = self._parked, []
        pause = next(self._pauses)
        for parked in waiting:
            outcome = self._outcome(parked, look, now)
            if outcome is not None:
                yield parked, outcome
                continue
            self._parked.append(parked)
            if not parked.told and parked.arn in look.streams:
                parked.told = True
                left = max(0.0, parked.deadline - now)
                self._context.tell(
                    StepWaiting(
                        parked.address,
                        parked.step.id,
                        parked.step.operation,
                        round(left, 1),
                        str(look.streams[parked.arn]),
                    )
                )
        if self._parked and not self._looking:
            soonest = min(parked.deadline for parked in self._parked) - now
            self._look(max(_LEAST_PAUSE, min(pause, soonest)))

    def close(self) -> None:
        """Look no more."""
        if self._worker is not None:
            self._worker.shutdown(wait=False, cancel_futures=True)

    def _outcome(self, parked: WaitingStep, look: StreamCheck, now: float) -> StepOutcome | None:
        if self._context.stop.is_set():
            return self._said(parked, Result.NOT_ATTEMPTED, "the apply was stopped while the channel was on air", now)
        if look.error is not None and not look.error.retryable:
            return self._said(parked, Result.FAILED, str(look.error), now, look.error)
        if look.error is None and parked.arn not in look.streams:
            return self._said(parked, Result.DONE, "", now)
        if now < parked.deadline:
            return None
        seen = (
            str(look.streams[parked.arn])
            if parked.arn in look.streams
            else f"what is on air could not be seen: {look.error}"
        )
        waited = f"{now - parked.since:.0f} seconds"
        if parked.ending:
            return self._said(
                parked,
                Result.FAILED,
                f"{seen}; still so {waited} after it was stopped; apply again to go on from here",
                now,
            )
        return self._said(
            parked,
            Result.BLOCKED,
            f"{seen}; still so after {waited}, which is as long as this apply waits; apply again when the stream has ended",
            now,
        )

    def _said(
        self, parked: WaitingStep, result: Result, message: str, now: float, error: AwsError | None = None
    ) -> StepOutcome:
        return StepOutcome(
            parked.step.id,
            parked.step.operation,
            result,
            seconds=now - parked.since,
            request_id="" if error is None else error.request_id,
            error_code="" if error is None else error.code,
            message=message,
        )

    def _look(self, pause: float) -> None:
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="apply-air")
        self._looking = True
        self._worker.submit(self._seen, pause).add_done_callback(lambda future: self._answer(future.result()))

    def _seen(self, pause: float) -> StreamCheck:
        """Pause, then look. Runs in the worker."""
        look = StreamCheck()
        while pause > 0 and not self._context.stop.is_set():
            self._context.sleep(min(pause, _SLICE))
            pause -= _SLICE
        if self._context.stop.is_set():
            return look

        def call(operation: str, parameters: Mapping[str, object]) -> Answer:
            answer = self._context.calls.call(operation, parameters)
            look.calls += answer.calls
            return answer

        try:
            look.streams = _streams(call)
        except AwsError as error:
            look.calls += error.calls
            look.error = error
        return look


def _streams(call: Callable[[str, Mapping[str, object]], Answer]) -> dict[str, Stream]:
    """Return the running broadcasts by the ARN of their channel. Raises ``AwsError``."""
    found: dict[str, Stream] = {}
    token = ""
    while True:
        data = call("ListStreams", {"maxResults": _PAGE, **({"nextToken": token} if token else {})}).data
        page = data.get("streams")
        if not isinstance(page, list):
            raise AwsError(
                "ListStreams: the answer holds no list 'streams'; nothing can be concluded from it",
                operation="ListStreams",
                code="UnreadableAnswer",
            )
        found.update((stream.channel_arn, stream) for stream in map(Stream.of, page))
        following = str(data.get("nextToken") or "")
        if not following or following == token:
            return found
        token = following
