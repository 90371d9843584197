"""Messages to SNS topics and EventBridge buses, with the credentials the receiver names.

Comes in: a receiver and a message, as plain values. Goes out: nothing, or ``AwsError``.
Both calls would tell twice when sent twice, so they are repeated only where AWS said that it did nothing (``retries``).
A FIFO topic drops a second message with the same id by itself for five minutes (SNS developer guide).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from reconciler.errors import AwsError
from reconciler.model.target import Receiver, Target

if TYPE_CHECKING:
    from reconciler.aws.client import Answer

SOURCE = "ivs-reconciler"
DETAIL_TYPE = "ivs-reconciler drift"

_LONGEST = 256 * 1024 - 4096
"""Bytes: both services take 256 KB, names and attributes included (SNS and EventBridge API references)."""


def publish(
    receiver: Receiver,
    *,
    subject: str,
    text: str,
    identity: str,
    group: str,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Publish a text to the receiver's topic. ``group`` keeps the messages of one target in order where the topic has an order. Raises ``AwsError``."""
    parameters: dict[str, object] = {
        "TopicArn": receiver.arn,
        "Subject": subject,
        "Message": text.encode()[:_LONGEST].decode("utf-8", "ignore"),
        "MessageAttributes": {"id": {"DataType": "String", "StringValue": identity}},
    }
    if receiver.arn.endswith(".fifo"):
        parameters |= {"MessageGroupId": group, "MessageDeduplicationId": identity}
    _call(receiver, "sns", "Publish", parameters, sleep)


def put_event(
    receiver: Receiver, *, detail: str, resources: tuple[str, ...], sleep: Callable[[float], None] = time.sleep
) -> None:
    """Put one event on the receiver's bus. Raises ``AwsError``, also where AWS took the call and refused the event."""
    entry = {
        "Source": SOURCE,
        "DetailType": DETAIL_TYPE,
        "Detail": detail,
        "EventBusName": receiver.arn,
        "Resources": list(resources),
    }
    answer = _call(receiver, "events", "PutEvents", {"Entries": [entry]}, sleep)
    entries = answer.data.get("Entries")
    refused = entries[0] if answer.data.get("FailedEntryCount") and isinstance(entries, list) and entries else None
    if isinstance(refused, Mapping):
        code = str(refused.get("ErrorCode") or "")
        raise AwsError(
            f"EventBridge rejected the event: {refused.get('ErrorMessage') or code}",
            operation="PutEvents",
            code=code,
            request_id=answer.request_id,
        )


def _call(
    receiver: Receiver, service: str, operation: str, parameters: Mapping[str, object], sleep: Callable[[float], None]
) -> Answer:
    from reconciler.aws.client import IvsGateway
    from reconciler.aws.errors import BOTO_ERRORS, to_aws_error
    from reconciler.aws.session import open_client, open_session

    # The ARN says the region; nothing else of a target plays a part.
    place = Target(
        name=receiver.name, region=receiver.arn.split(":")[3], profile=receiver.profile, role_arn=receiver.role_arn
    )
    try:
        client = open_client(open_session(place, None), service, place, None, 1)
    except BOTO_ERRORS as error:
        raise to_aws_error(error, operation, writes=True) from None
    with closing(client):
        return IvsGateway(client, pacer=None, sleep=sleep).call(operation, parameters)
