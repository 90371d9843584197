"""The record of calls, CloudTrail from it, the page; and that no secret is in any of them."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from reconciler.sandbox import Sandbox
from tests.sandbox.helpers import PUBLIC_KEY, refusal


def page(sandbox: Sandbox) -> str:
    with urllib.request.urlopen(sandbox.endpoint_url, timeout=60) as answer:
        return str(answer.read().decode())


def test_calls_are_recorded_with_time_caller_status_and_error(ivs: Any, sandbox: Sandbox) -> None:
    arn = ivs.create_channel(name="stage")["channel"]["arn"]
    ivs.get_channel(arn=arn)
    refusal(ivs.get_channel, arn=f"{arn}x")
    wrong, read, made = sandbox.control.calls()
    assert [made["operation"], read["operation"]] == ["CreateChannel", "GetChannel"]
    assert (made["status"], made["read_only"], read["read_only"]) == (200, False, True)
    assert made["user"] == "arn:aws:iam::123456789012:user/sandbox"
    assert made["parameters"] == {"name": "stage"}
    assert made["result"]["channel"]["arn"] == arn
    assert (wrong["status"], wrong["error_code"]) == (404, "ResourceNotFoundException")
    assert [call["operation"] for call in sandbox.control.calls(operation="CreateChannel")] == ["CreateChannel"]
    assert sandbox.control.calls(account="999988887777") == []
    sandbox.control.clear_calls()
    assert sandbox.control.calls() == []


def test_a_lost_answer_is_in_the_record_with_its_fault(ivs: Any, sandbox: Sandbox) -> None:
    sandbox.control.add_fault("error", operation="CreateChannel", when="after")
    refusal(ivs.create_channel)
    (call,) = sandbox.control.calls()
    assert (call["status"], call["fault"]) == (200, "error after")


def test_cloudtrail_shows_who_changed_what(ivs: Any, client: Any, sandbox: Sandbox) -> None:
    arn = ivs.create_channel(name="stage")["channel"]["arn"]
    sandbox.control.drift(arn, {"latencyMode": "NORMAL"})
    refusal(ivs.delete_channel, arn=f"{arn}x")
    trail = client("cloudtrail")

    def look(key: str, value: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = trail.lookup_events(
            LookupAttributes=[{"AttributeKey": key, "AttributeValue": value}]
        )["Events"]
        return found

    assert [event["EventName"] for event in look("ResourceName", arn)] == ["UpdateChannel", "CreateChannel"]
    (update,) = look("EventName", "UpdateChannel")
    assert (update["Username"], update["EventSource"], update["ReadOnly"]) == (
        "someone-else",
        "ivs.amazonaws.com",
        "false",
    )
    detail = json.loads(update["CloudTrailEvent"])
    assert detail["requestParameters"] == {"arn": arn, "latencyMode": "NORMAL"}
    assert detail["userIdentity"]["arn"] == "arn:aws:iam::123456789012:user/someone-else"
    (failed,) = look("EventName", "DeleteChannel")
    assert json.loads(failed["CloudTrailEvent"])["errorCode"] == "ResourceNotFoundException"
    assert look("EventSource", "ec2.amazonaws.com") == []
    (create,) = look("EventName", "CreateChannel")
    shown = json.loads(create["CloudTrailEvent"])["responseElements"]
    assert shown["streamKey"].keys() == {"arn", "channelArn", "tags"}
    assert shown["channel"]["srt"].keys() == {"endpoint"}
    assert client("cloudtrail", key="999988887777").lookup_events()["Events"] == []


def test_cloudtrail_pages_and_bounds_time(ivs: Any, client: Any, sandbox: Sandbox) -> None:
    from datetime import UTC, datetime

    for number in range(5):
        ivs.create_channel(name=f"c{number}")
        sandbox.control.advance(60)
    trail = client("cloudtrail")
    pages = list(trail.get_paginator("lookup_events").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(each["Events"]) for each in pages] == [2, 2, 1]
    start = datetime(2026, 1, 1, 0, 2, tzinfo=UTC)
    assert len(trail.lookup_events(StartTime=start, EndTime=datetime(2026, 1, 1, 0, 3, tzinfo=UTC))["Events"]) == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"MaxResults": 51}, "InvalidMaxResultsException"),
        ({"NextToken": "x"}, "InvalidNextTokenException"),
        ({"NextToken": "9" * 30}, "InvalidNextTokenException"),
        ({"StartTime": 2, "EndTime": 1}, "InvalidTimeRangeException"),
        (
            {"LookupAttributes": [{"AttributeKey": "Nonsense", "AttributeValue": "x"}]},
            "InvalidLookupAttributesException",
        ),
    ],
)
def test_cloudtrail_refuses_nonsense(client: Any, arguments: dict[str, Any], code: str) -> None:
    assert refusal(client("cloudtrail").lookup_events, **arguments) == (400, code)


def test_no_secret_is_in_records_events_cloudtrail_page_or_log(
    ivs: Any, client: Any, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    answer = ivs.create_channel(name="stage")
    arn = answer["channel"]["arn"]
    secrets = {answer["channel"]["srt"]["passphrase"], answer["streamKey"]["value"], "THE-METADATA"}
    ivs.batch_get_stream_key(arns=[answer["streamKey"]["arn"]])
    ivs.delete_stream_key(arn=answer["streamKey"]["arn"])
    secrets.add(ivs.create_stream_key(channelArn=arn)["streamKey"]["value"])
    sandbox.control.go_live(arn)
    ivs.put_metadata(channelArn=arn, metadata="THE-METADATA")
    private = PUBLIC_KEY.replace("PUBLIC", "EC PRIVATE")
    errors = [refusal(ivs.import_playback_key_pair, publicKeyMaterial=private)]
    assert errors == [(400, "ValidationException")]
    secrets.add(private.splitlines()[1])
    seen = "\n".join(
        (
            json.dumps(sandbox.control.calls()),
            json.dumps(sandbox.control.events()),
            json.dumps(sandbox.control.inventory()),
            str(client("cloudtrail").lookup_events()),
            page(sandbox),
            caplog.text.split("Event ")[0],
        )
    )
    signatures = [record for record in seen.split() if "Signature=" in record]
    assert signatures == []
    for secret in secrets:
        assert secret not in seen


def test_the_page_shows_what_exists_and_is_live_and_escapes_it(ivs: Any, sandbox: Sandbox) -> None:
    assert "No resources yet" in page(sandbox)
    arn = ivs.create_channel(name="stage", tags={"team": "video/@a"})["channel"]["arn"]
    sandbox.control.go_live(arn, viewers=42)
    sandbox.control.add_fault("throttle", operation="<script>,List*")
    text = page(sandbox)
    for part in (arn, "stage", "42", "HEALTHY", "team=video/@a", "Stream Start", "CreateChannel", "&lt;script&gt;"):
        assert part in text
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "").replace(sandbox.endpoint_url, "")


def test_the_page_shows_changed_settings_and_how_many_rows_it_leaves_out(ivs: Any, sandbox: Sandbox) -> None:
    assert "Changed settings" in page(sandbox), "the clock of these tests is virtual"
    sandbox.control.assume("list-order", "shuffled")
    sandbox.control.set_lag(create=5)
    sandbox.control.deny("UpdateChannel", arn="channel/abc")
    for number in range(30):
        ivs.create_channel(name=f"c{number}")
    sandbox.control.set_rates(True)
    text = page(sandbox)
    for part in (
        "assumption list-order",
        "shuffled",
        "create lag",
        "5 s",
        "call-rate quotas",
        "ARN channel/abc",
        "25 of 30",
        "0, until cleared",
    ):
        assert part in text, part
    assert "<b>30</b><span>channels</span>" in text
    with Sandbox() as usual:
        assert "Changed settings" not in page(usual)


def test_every_cell_of_the_page_says_what_it_is_for_narrow_screens(ivs: Any, sandbox: Sandbox) -> None:
    sandbox.control.go_live(ivs.create_channel(name="stage")["channel"]["arn"])
    text = page(sandbox)
    assert text.count("<td") > 10
    assert text.count("<td") == text.count('<td data-head="')


def test_the_overview_reloads_itself_if_asked(sandbox: Sandbox) -> None:
    with urllib.request.urlopen(f"{sandbox.endpoint_url}/?refresh", timeout=60) as answer:
        assert b'http-equiv="refresh"' in answer.read()
