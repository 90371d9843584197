"""Publishes notifications to SNS topics and EventBridge buses, with the credentials of the receiver.

A call that may have been executed is not retried, because that would notify twice. For five minutes,
a FIFO topic drops messages with the same deduplication id (SNS developer guide).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing

from reconciler.aws.client import Answer, IvsGateway, answer_of
from reconciler.errors import UNREADABLE, AwsError
from reconciler.model.target import Receiver, Target

SOURCE = "ivs-reconciler"
DETAIL_TYPE = "ivs-reconciler drift"

_MAX_MESSAGE_BYTES = 256 * 1024 - 4096
"""Maximum bytes of a message: both services accept 256 KB, including names and attributes (API references)."""


def publish(
    receiver: Receiver,
    *,
    subject: str,
    text: str,
    identity: str,
    group: str,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Publish a message to the receiver's topic. A FIFO topic keeps messages of one ``group`` in order. Raises ``AwsError``."""
    parameters: dict[str, object] = {
        "TopicArn": receiver.arn,
        "Subject": subject,
        "Message": text.encode()[:_MAX_MESSAGE_BYTES].decode("utf-8", "ignore"),
        "MessageAttributes": {"id": {"DataType": "String", "StringValue": identity}},
    }
    if receiver.arn.endswith(".fifo"):
        parameters |= {"MessageGroupId": group, "MessageDeduplicationId": identity}
    answer = _call(receiver, "sns", "Publish", parameters, sleep)
    if not answer.data.get("MessageId"):
        raise AwsError(
            "Publish answered without a message id; check that AWS_ENDPOINT_URL_SNS and the proxy lead to AWS",
            operation="Publish",
            code=UNREADABLE,
            request_id=answer.request_id,
            ambiguous=True,
        )


def put_event(
    receiver: Receiver, *, detail: str, resources: tuple[str, ...], sleep: Callable[[float], None] = time.sleep
) -> None:
    """Put an event on the receiver's bus. Raises ``AwsError``, also if EventBridge rejects the event."""
    entry = {
        "Source": SOURCE,
        "DetailType": DETAIL_TYPE,
        "Detail": detail,
        "EventBusName": receiver.arn,
        "Resources": list(resources),
    }
    answer = _call(receiver, "events", "PutEvents", {"Entries": [entry]}, sleep)
    entries = answer.data.get("Entries")
    result = entries[0] if isinstance(entries, list) and entries and isinstance(entries[0], Mapping) else {}
    if result.get("ErrorCode"):
        code = str(result["ErrorCode"])
        raise AwsError(
            f"EventBridge rejected the event: {result.get('ErrorMessage') or code}",
            operation="PutEvents",
            code=code,
            request_id=answer.request_id,
        )
    if not result.get("EventId"):
        raise AwsError(
            "PutEvents answered without an event id; check that AWS_ENDPOINT_URL_EVENTBRIDGE and the proxy lead to AWS",
            operation="PutEvents",
            code=UNREADABLE,
            request_id=answer.request_id,
            ambiguous=True,
        )


def _call(
    receiver: Receiver, service: str, operation: str, parameters: Mapping[str, object], sleep: Callable[[float], None]
) -> Answer:
    from reconciler.aws.session import open_client, open_session

    target = Target(
        name=receiver.name, region=receiver.arn.split(":")[3], profile=receiver.profile, role_arn=receiver.role_arn
    )
    client = answer_of(
        lambda: open_client(open_session(target, None), service, target, None, 1), operation, writes=True
    )
    with closing(client):
        return IvsGateway(client, pacer=None, sleep=sleep).call(operation, parameters)
