"""Receivers that are notified once, independent of the others; SNS and EventBridge against a server that speaks their protocols."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest

from reconciler.drift import DriftStatus
from reconciler.drift.changes import NOTHING, KnownFindings
from reconciler.errors import AwsError, UsageError
from reconciler.model.address import KindName
from reconciler.model.resource import UnmanagedResource
from reconciler.model.target import Receiver, ReceiverType, Target, Topic
from reconciler.workflow.notifications import (
    Delivery,
    NotificationFile,
    TargetReading,
    UnreadableTarget,
    notify,
    open_notification_file,
)
from tests.drift.test_changes import LATENCY, finding, report
from tests.workflow.hook import hook

OPS = Receiver("ops", ReceiverType.SLACK, url_env="OPS_URL")
AUDIT = Receiver("audit", ReceiverType.WEBHOOK, url_env="AUDIT_URL", secret_env="AUDIT_KEY")
DRIFTED = report(finding(DriftStatus.DRIFT, "main", LATENCY))


class Kept:
    """A memory in memory."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, str], KnownFindings] = {}

    def known(self, channel: str, target: str, /) -> KnownFindings:
        return self.told.get((channel, target), NOTHING)

    def keep(self, channel: str, target: str, known: KnownFindings, /) -> None:
        self.told[channel, target] = known


def told(
    channels: tuple[Receiver, ...], looks: tuple[TargetReading, ...], memory: Any, link: str = "", **environment: str
) -> tuple[Delivery, ...]:
    return notify(
        channels,
        "acme",
        looks,
        memory,
        environment=environment,
        link=link,
        sleep=lambda _: None,
        now=lambda: datetime(2026, 11, 20, 10, tzinfo=UTC),
    )


def test_every_receiver_is_notified_once() -> None:
    memory = Kept()
    with hook() as ops, hook() as audit:
        urls = {"OPS_URL": ops.url, "AUDIT_URL": audit.url, "AUDIT_KEY": "k"}
        assert [
            telling.failure for telling in told((OPS, AUDIT), (DRIFTED,), memory, "https://ci.example/1", **urls)
        ] == ["", ""]
        assert told((OPS, AUDIT), (DRIFTED,), memory, **urls) == ()
        assert len(told((OPS, AUDIT), (report(),), memory, **urls)) == 2
        assert told((OPS, AUDIT), (report(),), memory, **urls) == ()
    first, last = (json.loads(got.body)["text"] for got in ops.got)
    assert first == "acme / prod: 1 drifted\nNew: 1\n• channel/main: drifted in latencyMode\nhttps://ci.example/1"
    assert last == "acme / prod: all resolved\nResolved: 1\n• drift channel/main"
    body, after = (json.loads(got.body) for got in audit.got)
    assert (body["state"], body["number"], body["at"], body["link"]) == (
        "open",
        1,
        "2026-11-20T10:00:00Z",
        "https://ci.example/1",
    )
    assert body["new"] == [
        {"topic": "drift", "address": "channel/main", "explanation": "", "paths": ["/latencyMode"], "who": []}
    ]
    assert (after["state"], after["resolved"], after["counts"]) == (
        "clear",
        ["drift channel/main"],
        {"new": 0, "resolved": 1, "open": {}},
    )


def test_a_failed_receiver_gets_the_later_state_and_the_others_nothing_twice() -> None:
    memory = Kept()
    with hook() as ops, hook() as audit:
        urls = {"OPS_URL": ops.url, "AUDIT_URL": audit.url, "AUDIT_KEY": "k"}
        ops.answers = [404]
        failed, sent = told((OPS, AUDIT), (DRIFTED,), memory, **urls)
        assert (failed.failure, sent.failure) == ("HTTP 404, Not Found", "")
        later = told((OPS, AUDIT), (report(finding(), finding(DriftStatus.DRIFT, "side")),), memory, **urls)
        assert [telling.receiver for telling in later] == ["ops", "audit"]
    assert json.loads(ops.got[-1].body)["text"].startswith("acme / prod: 2 drifted\nNew: 2")
    assert [item["address"] for item in json.loads(audit.got[-1].body)["new"]] == [
        "channel/main",
        "channel/side",
    ]  # what main says has changed too


def test_a_variable_that_is_not_set_fails_its_channel_alone() -> None:
    with hook() as audit:
        failed, sent = told((OPS, AUDIT), (DRIFTED,), Kept(), AUDIT_URL=audit.url, AUDIT_KEY="k")
    assert failed.failure == "environment variable OPS_URL is not set; set it, or remove the receiver"
    assert sent.failure == ""


def test_a_channel_hears_of_its_targets_and_topics_alone() -> None:
    deaf = Receiver("deaf", ReceiverType.SLACK, url_env="OPS_URL", targets=frozenset({"dev"}))
    picky = Receiver("picky", ReceiverType.SLACK, url_env="OPS_URL", topics=frozenset({Topic.UNMANAGED}))
    assert told((deaf, picky), (DRIFTED,), Kept()) == ()


def test_an_unmanaged_resource_has_its_name_and_owner() -> None:
    ops = Receiver("ops", ReceiverType.SLACK, url_env="OPS_URL", topics=frozenset({Topic.UNMANAGED}))
    found = (
        UnmanagedResource(KindName.CHANNEL, "arn:x", "by-hand", ""),
        UnmanagedResource(KindName.CHANNEL, "arn:y", "", "other"),
    )
    with hook() as server:
        told((ops,), (report(unmanaged=found),), Kept(), OPS_URL=server.url)
    lines = json.loads(server.got[0].body)["text"].splitlines()
    assert "• arn:x: unmanaged channel by-hand, no owner" in lines
    assert "• arn:y: unmanaged channel, owned by stack other" in lines


def test_user_text_cannot_mention_anybody_in_slack() -> None:
    with hook() as ops:
        error = AwsError("role <!channel> & <@U1> `x`\nsecond line", code="AccessDenied")
        told((OPS,), (UnreadableTarget(Target("prod", "us-west-2"), error),), Kept(), OPS_URL=ops.url)
    text = json.loads(ops.got[0].body)["text"]
    assert text == "acme / prod: cannot be read\nrole &lt;!channel&gt; &amp; &lt;@U1&gt; 'x' second line"


def test_a_long_message_is_cut_and_says_so() -> None:
    many = report(*(finding(DriftStatus.DRIFT, f"c{number:03}", LATENCY) for number in range(500)))
    with hook() as ops, hook() as audit:
        told((OPS, AUDIT), (many,), Kept(), OPS_URL=ops.url, AUDIT_URL=audit.url, AUDIT_KEY="k")
    assert "… and 480 more" in json.loads(ops.got[0].body)["text"]
    body = json.loads(audit.got[0].body)
    assert (len(body["new"]), body["counts"]["new"]) == (200, 500)


def test_a_notification_state_that_cannot_be_written_is_reported() -> None:
    class Full(Kept):
        def keep(self, channel: str, target: str, known: KnownFindings, /) -> None:
            raise OSError(28, "No space left on device")

    with hook() as ops:
        (telling,) = told((OPS,), (DRIFTED,), Full(), OPS_URL=ops.url)
    assert telling.failure == "sent, but not recorded (no space left on device); it will be sent again"


def test_the_file_keeps_what_each_receiver_was_notified_of(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.json"
    with hook() as ops:
        for look, messages in ((DRIFTED, 1), (DRIFTED, 0), (report(), 1), (report(), 0)):
            with open_notification_file(path, "acme") as memory:
                assert len(told((OPS,), (look,), memory, OPS_URL=ops.url)) == messages
    assert "latencyMode" not in path.read_text(encoding="utf-8")
    assert sorted(item.name for item in path.parent.iterdir()) == ["state.json", "state.json.lock"]


def test_a_run_that_does_not_end_is_named_and_the_wait_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    script = (
        "import pathlib, sys; from reconciler.workflow.notifications import open_notification_file\n"
        "with open_notification_file(pathlib.Path(sys.argv[1]), 'acme'):\n    print('up', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(UsageError) as caught, open_notification_file(path, "acme", timeout=0.2):
            pytest.fail("two tell")
        assert (
            f"another run has been notifying for more than 0.2 seconds (process {other.pid} on {socket.gethostname()})"
            in str(caught.value)
        )
        other.kill()
    with open_notification_file(path, "acme", timeout=60):
        pass


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        '{"formatVersion": "1.0", "stack": "other", "receivers": []}',
        '{"formatVersion": "1.0", "stack": "acme", "receivers": [{}]}',
    ],
)
def test_a_file_that_is_something_else_is_refused_and_left_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match="--state"):
        NotificationFile(path, "acme")
    assert path.read_text(encoding="utf-8") == content


@pytest.fixture
def clients(moto: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for name, value in {
        "AWS_ENDPOINT_URL": moto,
        "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": "any",
    }.items():
        monkeypatch.setenv(name, value)
    return {name: boto3.client(name, region_name="us-west-2") for name in ("sns", "sqs", "events")}


def queue(clients: dict[str, Any], name: str) -> tuple[str, str]:
    attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "false"} if name.endswith(".fifo") else {}
    url = clients["sqs"].create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return url, clients["sqs"].get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def received(clients: dict[str, Any], url: str) -> list[dict[str, Any]]:
    found = clients["sqs"].receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
    return [json.loads(message["Body"]) for message in found]


@pytest.mark.parametrize("suffix", ["", ".fifo"])
def test_an_sns_topic_is_notified(clients: dict[str, Any], suffix: str) -> None:
    attributes = {"FifoTopic": "true"} if suffix else {}
    topic = clients["sns"].create_topic(Name=f"drift{suffix}", Attributes=attributes)["TopicArn"]
    url, arn = queue(clients, f"q{suffix}")
    clients["sns"].subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    memory = Kept()
    channel = Receiver("topic", ReceiverType.SNS, arn=topic)
    (telling,) = told((channel,), (DRIFTED,), memory)
    assert telling.failure == ""
    assert told((channel,), (DRIFTED,), memory) == ()
    (message,) = received(clients, url)
    assert message["Subject"] == "ivs-reconciler: acme / prod: 1 drifted"
    assert message["Message"].splitlines()[-1] == "• channel/main: drifted in latencyMode"
    assert message["MessageAttributes"]["id"]["Value"] == telling.id


def test_a_bus_takes_an_event(clients: dict[str, Any]) -> None:
    bus = clients["events"].create_event_bus(Name="ops")["EventBusArn"]
    memory = Kept()
    (telling,) = told((Receiver("bus", ReceiverType.EVENT_BRIDGE, arn=bus),), (DRIFTED,), memory)
    assert telling.failure == ""
    assert told((Receiver("bus", ReceiverType.EVENT_BRIDGE, arn=bus),), (DRIFTED,), memory) == ()
    (gone,) = told((Receiver("gone", ReceiverType.EVENT_BRIDGE, arn=f"{bus}-gone"),), (DRIFTED,), memory)
    assert "ResourceNotFoundException" in gone.failure


def test_an_event_says_what_the_webhook_says(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = "arn:aws:events:us-west-2:123456789012:event-bus/ops"
    with hook() as events:
        for name, value in {
            "AWS_ENDPOINT_URL_EVENTBRIDGE": events.url,
            "AWS_ACCESS_KEY_ID": "AKIATEST",
            "AWS_SECRET_ACCESS_KEY": "any",
        }.items():
            monkeypatch.setenv(name, value)
        events.answers = [(200, {}, '{"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}')]
        events.answers.append(
            (
                200,
                {},
                '{"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure", "ErrorMessage": "try later"}]}',
            )
        )
        (telling,) = told((Receiver("bus", ReceiverType.EVENT_BRIDGE, arn=bus),), (DRIFTED,), Kept())
        assert telling.failure == ""
        (refused,) = told((Receiver("bus", ReceiverType.EVENT_BRIDGE, arn=bus),), (DRIFTED,), Kept())
        assert refused.failure == "EventBridge rejected the event: try later (InternalFailure)"
    (entry,) = json.loads(events.got[0].body)["Entries"]
    assert (entry["Source"], entry["DetailType"], entry["EventBusName"]) == (
        "ivs-reconciler",
        "ivs-reconciler drift",
        bus,
    )
    detail = json.loads(entry["Detail"])
    assert (detail["id"], detail["target"], detail["state"]) == (telling.id, "prod", "open")


def test_a_topic_that_is_not_there_fails_with_what_aws_says(clients: dict[str, Any]) -> None:
    memory = Kept()
    channel = Receiver("topic", ReceiverType.SNS, arn="arn:aws:sns:us-west-2:123456789012:gone")
    (telling,) = told((channel,), (DRIFTED,), memory)
    assert "NotFound" in telling.failure
    assert memory.told == {}


def test_without_credentials_the_channel_fails_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    (telling,) = told(
        (Receiver("topic", ReceiverType.SNS, arn="arn:aws:sns:us-west-2:123456789012:t"),), (DRIFTED,), Kept()
    )
    assert "no AWS credentials found" in telling.failure
