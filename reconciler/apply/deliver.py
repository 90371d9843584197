"""A step that hands the value of a stream key over. Neither the step nor its outcome ever holds the value."""

from __future__ import annotations

from reconciler.apply.attempt import NOT_FOUND, Attempt, passing, pauses
from reconciler.errors import AwsError
from reconciler.model.kinds import STREAM_KEY
from reconciler.model.sink import Sink, Store


def hand_over(attempt: Attempt, arn: str, sink: Sink) -> None:
    """Hand the value of this key over to the sink. Raises ``AwsError``, which says that the value waits and how it goes on, and ``StoppedError``."""
    deliver = attempt.context.deliver
    if deliver is None:
        raise attempt.error(f"nothing here hands values over to {sink}; apply from the command line", "NoCourier")
    for pause in pauses():
        try:
            answer = deliver(arn, sink)
        except AwsError as error:
            attempt.note(error)
            fresh = error.code == NOT_FOUND and error.operation == STREAM_KEY.get
            if fresh and (why := passing(attempt, error)):
                attempt.pause(pause, why)
                continue
            again = "repeat the rotation with another file" if sink.store is Store.FILE else "correct that and apply again"
            said = f"{error}; the value of {arn} waits: {again}, which hands it over and makes no other key"
            raise AwsError(said, operation=error.operation, code=error.code, request_id=error.request_id, calls=0) from None
        attempt.sent += answer.calls
        attempt.request_id = answer.request_id
        return
