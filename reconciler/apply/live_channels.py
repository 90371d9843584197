"""Live channels during an apply: steps that wait for a stream to end, and calls that are refused because a channel is live.

One list of all streams serves all waiting steps, and no waiting step occupies a thread.
A step waits as long as the plan says; a stream that the plan did not know of blocks its action.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from reconciler.apply.call import CONFLICT, IN_USE_SECONDS, Answer, Attempt, Context, backoff
from reconciler.apply.events import StepStarted, StepWaiting
from reconciler.errors import UNREADABLE, AwsError
from reconciler.model.address import Address
from reconciler.model.kinds import KINDS
from reconciler.model.kinds.ivs import LIST_STREAMS
from reconciler.model.resource import Stream
from reconciler.plan.plan import Result, Step, StepOutcome

_INTERRUPTING = frozenset(operation for kind in KINDS.values() if kind.live for operation in (kind.update, kind.delete))
_REFUSALS = frozenset({400, 409})
"""Statuses with which IVS may refuse to change a live channel: the service model documents a conflict, and promises nothing."""

_PAGE = 100
_MAX_DELAY = 15.0
_MIN_DELAY = 0.5
_STOP_SECONDS = 1.0
"""How long a request to stop may go unnoticed."""


class ChannelLiveError(Exception):
    """The call was refused, and its channel is live."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        super().__init__(f"{stream}, which began after the plan was created; run apply again when the stream has ended")


def stream_end_reason(attempt: Attempt, parameters: Mapping[str, object], error: AwsError) -> str | None:
    """Return why a refused call may soon succeed because a stream has just ended, or ``None``. Raises ``ChannelLiveError`` while one is active."""
    if attempt.step.operation not in _INTERRUPTING or error.status not in _REFUSALS:
        return None
    arn = str(parameters.get(KINDS[attempt.address.kind].identifier))
    try:
        stream = _active_streams(attempt.call).get(arn)
    except AwsError:
        return None  # the refusal itself says more
    ended = arn in attempt.context.ended_streams and attempt.age < IN_USE_SECONDS
    if ended and (stream is not None or error.code == CONFLICT):
        return "its stream has only just ended"
    if stream is not None:
        attempt.count(error)
        raise ChannelLiveError(stream)
    return None


@dataclass(slots=True)
class StreamCheck:
    """The active streams by the ARN of their channel, or why they could not be listed. ``calls`` counts the requests."""

    streams: Mapping[str, Stream] = field(default_factory=dict)
    error: AwsError | None = None
    calls: int = 0


@dataclass(slots=True)
class WaitingStep:
    """A step that waits until a channel is not live.

    ``again`` means that its call is sent again then; otherwise the step only waits.
    ``ending`` means that the plan itself ends the stream.
    """

    step: Step
    address: Address
    channel_arn: str
    since: float
    deadline: float
    again: bool = False
    ending: bool = False
    reported: bool = False

    def outcome(self, result: Result, now: float, message: str = "", error: AwsError | None = None) -> StepOutcome:
        """Return the outcome of the wait."""
        return StepOutcome(
            self.step.id,
            self.step.operation,
            result,
            seconds=now - self.since,
            request_id="" if error is None else error.request_id,
            error_code="" if error is None else error.code,
            message=message,
        )


class LiveWaits:
    """The waiting steps, and the one thread that lists streams. Belongs to the executor's thread; ``on_check`` takes each check."""

    def __init__(self, context: Context, on_check: Callable[[StreamCheck], None]) -> None:
        self._context = context
        self._on_check = on_check
        self._waiting: list[WaitingStep] = []
        self._delays = backoff(_MAX_DELAY)
        self._thread: ThreadPoolExecutor | None = None
        self._checking = False

    def add(self, waiting: WaitingStep) -> None:
        """Let a step wait."""
        self._context.emit(StepStarted(waiting.address, waiting.step.id, waiting.step.operation))
        self._waiting.append(waiting)
        self._delays = backoff(_MAX_DELAY)
        if not self._checking:
            self._start_check(0.0)

    def settled(self, check: StreamCheck) -> Iterator[tuple[WaitingStep, StepOutcome]]:
        """Yield the steps that wait no longer, each with the outcome of the wait, and start the next check for the others."""
        self._checking = False
        now = self._context.clock()
        before, self._waiting = self._waiting, []
        delay = next(self._delays)
        for waiting in before:
            outcome = self._outcome(waiting, check, now)
            if outcome is not None:
                yield waiting, outcome
                continue
            self._waiting.append(waiting)
            stream = check.streams.get(waiting.channel_arn)
            if stream is not None and not waiting.reported:
                waiting.reported = True
                left = round(max(0.0, waiting.deadline - now), 1)
                step = waiting.step
                self._context.emit(StepWaiting(waiting.address, step.id, step.operation, left, str(stream)))
        if self._waiting and not self._checking:
            soonest = min(waiting.deadline for waiting in self._waiting) - now
            self._start_check(max(_MIN_DELAY, min(delay, soonest)))

    def close(self) -> None:
        """Start no more checks."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _outcome(self, waiting: WaitingStep, check: StreamCheck, now: float) -> StepOutcome | None:
        stream = check.streams.get(waiting.channel_arn)
        if self._context.stop.is_set():
            return waiting.outcome(Result.SKIPPED, now, "interrupted while the channel was live")
        if self._context.ended:
            return waiting.outcome(Result.SKIPPED, now, self._context.ended)
        if check.error is not None and not check.error.retryable:
            return waiting.outcome(Result.FAILED, now, str(check.error), check.error)
        if check.error is None and stream is None:
            return waiting.outcome(Result.DONE, now)
        if now < waiting.deadline:
            return None
        reason = str(stream) if stream is not None else f"live channels could not be listed: {check.error}"
        waited = f"{now - waiting.since:.0f} seconds"
        if waiting.ending:
            message = f"{reason}; still live {waited} after the stream was stopped; run apply again to continue"
            return waiting.outcome(Result.FAILED, now, message)
        message = f"{reason}; still live after waiting {waited}; run apply again when the stream has ended"
        return waiting.outcome(Result.BLOCKED, now, message)

    def _start_check(self, delay: float) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="apply-live")
        self._checking = True
        self._thread.submit(self._check, delay).add_done_callback(lambda future: self._on_check(future.result()))

    def _check(self, delay: float) -> StreamCheck:
        """Wait, then list the streams. Runs in the thread."""
        check = StreamCheck()
        while delay > 0 and not self._context.ended:
            self._context.sleep(min(delay, _STOP_SECONDS))
            delay -= _STOP_SECONDS
        if self._context.ended:
            return check

        def call(operation: str, parameters: Mapping[str, object]) -> Answer:
            answer = self._context.calls.call(operation, parameters)
            check.calls += answer.calls
            return answer

        try:
            check.streams = _active_streams(call)
        except AwsError as error:
            check.calls += error.calls
            check.error = error
        return check


def _active_streams(call: Callable[[str, Mapping[str, object]], Answer]) -> dict[str, Stream]:
    """Return the active streams by the ARN of their channel. Raises ``AwsError``."""
    found: dict[str, Stream] = {}
    token = ""
    while True:
        data = call(LIST_STREAMS, {"maxResults": _PAGE, **({"nextToken": token} if token else {})}).data
        page = data.get("streams")
        if not isinstance(page, list):
            raise AwsError(
                f"{LIST_STREAMS}: the answer has no list 'streams', so it is unknown which channels are live",
                operation=LIST_STREAMS,
                code=UNREADABLE,
            )
        found.update((stream.channel_arn, stream) for stream in map(Stream.of, page))
        following = str(data.get("nextToken") or "")
        if not following or following == token:
            return found
        token = following
