from __future__ import annotations

import json
from typing import Any

import botocore.session
import pytest
from botocore.parsers import ResponseParserError, ResponseParserFactory, create_parser

from reconciler.aws.client import secret_paths
from reconciler.aws.parser import PlainParserFactory
from reconciler.terminal import without_surrogates

SERVICE = botocore.session.Session().get_service_model("ivs")
CHANNEL = {
    "arn": "a",
    "authorized": False,
    "tags": {"k": "v"},
    "multitrackInputConfiguration": {"enabled": True},
    "srt": {"passphrase": "p"},
}
ANSWERS: dict[str, dict[str, Any]] = {
    "ListChannels": {"channels": [{"arn": "a", "authorized": False, "tags": {"k": "v"}}], "nextToken": "t"},
    "BatchGetChannel": {"channels": [CHANNEL], "errors": [{"arn": "b", "code": "404", "message": "gone"}]},
    "GetRecordingConfiguration": {
        "recordingConfiguration": {"arn": "r", "state": "ACTIVE", "recordingReconnectWindowSeconds": 60}
    },
    "DeleteChannel": {},
}


def response(status: int, body: bytes, **headers: str) -> dict[str, Any]:
    return {"status_code": status, "body": body, "headers": {"x-amzn-requestid": "r-1", **headers}, "context": {}}


def parsed_by(factory: ResponseParserFactory, operation: str, given: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = factory.create_parser("rest-json").parse(
        given, SERVICE.operation_model(operation).output_shape
    )
    return result


@pytest.mark.parametrize("operation", ANSWERS)
def test_answers_come_out_as_botocore_would_have_them(operation: str) -> None:
    given = response(200, json.dumps(ANSWERS[operation]).encode())
    plain, walked = (
        parsed_by(PlainParserFactory(), operation, given),
        parsed_by(ResponseParserFactory(), operation, given),
    )
    assert plain.pop("ResponseMetadata")["RequestId"] == walked.pop("ResponseMetadata")["RequestId"] == "r-1"
    assert plain == walked


def test_no_member_of_an_answer_has_another_name_on_the_wire() -> None:
    renamed = []

    def walk(shape: Any, inside: frozenset[str]) -> None:
        if shape is None or shape.name in inside:
            return
        if shape.type_name == "structure":
            assert "payload" not in shape.serialization
            for name, member in shape.members.items():
                if member.serialization.get("location") is None and member.serialization.get("name", name) != name:
                    renamed.append((shape.name, name))
                walk(member, inside | {shape.name})
        elif shape.type_name == "list":
            walk(shape.member, inside)
        else:
            assert shape.type_name != "blob"

    for operation in SERVICE.operation_names:
        walk(SERVICE.operation_model(operation).output_shape, frozenset())
    assert renamed == []


def test_headers_do_not_become_members() -> None:
    given = response(200, b'{"channels": []}', **{"access-control-allow-origin": "*", "cache-control": "no-store"})
    assert set(parsed_by(PlainParserFactory(), "BatchGetChannel", given)) == {"channels", "ResponseMetadata"}


@pytest.mark.parametrize("body", [b"", b"{}", b'{"message": "m", "exceptionMessage": "m"}'])
@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_errors_come_out_as_botocore_would_have_them(status: int, body: bytes) -> None:
    given = response(status, body, **{"x-amzn-errortype": "ConflictException:http://x"})
    assert parsed_by(PlainParserFactory(), "UpdateChannel", given) == parsed_by(
        ResponseParserFactory(), "UpdateChannel", given
    )


@pytest.mark.parametrize("body", [b'{"channels": [', b"<html></html>", b"[]", b"\xff"])
def test_a_success_that_is_not_whole_is_an_error(body: bytes) -> None:
    with pytest.raises(ResponseParserError, match="not a JSON object"):
        parsed_by(PlainParserFactory(), "ListChannels", response(200, body))


@pytest.mark.parametrize(
    "value",
    [
        rb'"\ud800"',
        rb'"a\uDC00b"',
        b'"\xed\xa0\x80"',
        rb'"\ud83d\ude00 \u0000 \/"',
        b"-0",
        b"1.0",
        b"1e999",
        b"0.1234567890123456789",
        b"12345678901234567890123",
        b"9" * 4000,
        b"9" * 5000,
        b"01",
        b".5",
        b"1,",
        b'"\x01"',
        b'"\x7f"',
        b'"\xff"',
        b"1} x",
        b'1, "a": 2',
        b"[" * 60 + b"]" * 60,
    ],
)
def test_values_are_read_as_the_json_module_reads_them(value: bytes) -> None:
    body = b'{"a": %s}' % value
    try:
        expected = without_surrogates(json.loads(body))
    except ValueError:
        with pytest.raises(ResponseParserError, match="not a JSON object"):
            parsed_by(PlainParserFactory(), "ListChannels", response(200, body))
        return
    answer = parsed_by(PlainParserFactory(), "ListChannels", response(200, body))
    del answer["ResponseMetadata"]
    assert json.dumps(answer) == json.dumps(expected)


@pytest.mark.parametrize("levels", [70, 190, 300, 100_000])
def test_deep_answers_are_refused(levels: int) -> None:
    with pytest.raises(ResponseParserError, match="nested too deeply"):
        parsed_by(PlainParserFactory(), "ListChannels", response(200, b'{"a":' + b"[" * levels + b"]" * levels + b"}"))


def test_other_protocols_are_botocores() -> None:
    assert type(PlainParserFactory().create_parser("query")) is type(create_parser("query"))


def test_what_the_model_calls_sensitive_is_what_is_dropped() -> None:
    found = {
        operation: secret_paths(SERVICE.operation_model(operation).output_shape)
        for operation in SERVICE.operation_names
    }
    secrets = {
        (operation, *path)
        for operation, paths in found.items()
        for path in paths
        if path[-1] in ("value", "passphrase")
    }
    assert secrets == {
        ("BatchGetChannel", "channels", "*", "srt", "passphrase"),
        ("BatchGetStreamKey", "streamKeys", "*", "value"),
        ("CreateChannel", "channel", "srt", "passphrase"),
        ("CreateChannel", "streamKey", "value"),
        ("CreateStreamKey", "streamKey", "value"),
        ("GetChannel", "channel", "srt", "passphrase"),
        ("GetStreamKey", "streamKey", "value"),
        ("GetStreamSession", "streamSession", "channel", "srt", "passphrase"),
        ("UpdateChannel", "channel", "srt", "passphrase"),
    }
    assert ("accessControlAllowOrigin",) in found["BatchGetChannel"]
