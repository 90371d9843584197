"""A step that hands the value of a stream key over. Neither the step nor its outcome ever holds the value."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.apply.attempt import NOT_FOUND, Attempt, passing, pauses
from reconciler.errors import AwsError
from reconciler.model.kinds import STREAM_KEY
from reconciler.model.sink import Sink, Store
from reconciler.model.tags import DELIVERED, STACK, WAITING


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
            again = (
                "repeat the rotation with another file" if sink.store is Store.FILE else "correct that and apply again"
            )
            said = f"{error}; the value of {arn} waits: {again}, which hands it over and makes no other key"
            raise AwsError(
                said, operation=error.operation, code=error.code, request_id=error.request_id, calls=0
            ) from None
        attempt.sent += answer.calls
        attempt.request_id = answer.request_id
        key = answer.data.get(STREAM_KEY.member)
        if isinstance(key, Mapping):
            attempt.context.channels[arn] = str(key.get("channelArn", ""))
        return


def superseded(attempt: Attempt, parameters: Mapping[str, object], error: AwsError) -> AwsError:
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
            attempt.call("TagResource", {"resourceArn": key.arn, "tags": {DELIVERED: WAITING}})
    except AwsError as failure:
        attempt.note(failure)
        said = (
            f"{head}, which may hold the wrong value now ({failure}); rotate the key once more when no other apply runs"
        )
        return attempt.error(said, error.code)
    if not ours:
        return attempt.error(f"{head}; apply again", error.code)
    return attempt.error(f"{head}; the value of {ours[0].arn} waits: apply again, which hands it over", error.code)
