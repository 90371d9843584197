"""The wire: statuses, headers, bodies, tag paths, compression, refusals (IVS facts 9)."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from collections.abc import Iterator

import pytest

from reconciler.sandbox import Sandbox
from reconciler.sandbox.state.store import FORMAT
from reconciler.sandbox.wire import Request

CREDENTIAL = (
    "AWS4-HMAC-SHA256 Credential=123456789012/20260101/us-west-2/ivs/aws4_request, SignedHeaders=host, Signature=0"
)


@pytest.fixture
def raw(sandbox: Sandbox) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(sandbox.endpoint_url.removeprefix("http://"), timeout=60)
    yield connection
    connection.close()


def ask(
    raw: http.client.HTTPConnection, method: str, path: str, body: bytes = b"{}", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    raw.request(
        method,
        path,
        body,
        {
            "Authorization": CREDENTIAL,
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
    )
    answer = raw.getresponse()
    return answer, answer.read()


def test_an_error_has_its_code_in_the_header_and_both_message_members(raw: http.client.HTTPConnection) -> None:
    answer, body = ask(raw, "POST", "/GetChannel", b'{"arn": "arn:aws:ivs:us-west-2:123456789012:channel/absent"}')
    assert answer.status == 404
    assert answer.headers["x-amzn-ErrorType"] == "ResourceNotFoundException"
    assert answer.headers["x-amzn-RequestId"]
    assert answer.headers["X-Frame-Options"] == "DENY"
    document = json.loads(body)
    assert document["message"] == document["exceptionMessage"] != ""


def test_no_content_has_no_body_and_announces_none(raw: http.client.HTTPConnection) -> None:
    _, made = ask(raw, "POST", "/CreateChannel")
    arn = json.loads(made)["channel"]["arn"]
    answer, body = ask(raw, "POST", "/DeleteChannel", json.dumps({"arn": arn}).encode())
    assert (answer.status, body, answer.headers["Content-Length"]) == (204, b"", None)


def test_many_calls_share_one_connection(raw: http.client.HTTPConnection) -> None:
    ask(raw, "POST", "/ListChannels")
    local = raw.sock.getsockname()
    for _ in range(20):
        ask(raw, "POST", "/ListChannels")
    assert raw.sock.getsockname() == local


def test_tag_paths_work_encoded_and_bare_and_a_plus_is_a_plus(raw: http.client.HTTPConnection) -> None:
    _, made = ask(raw, "POST", "/CreateChannel", b'{"tags": {"a b": "1", "c+d": "2", "e": "3"}}')
    arn = json.loads(made)["channel"]["arn"]
    encoded = arn.replace(":", "%3A").replace("/", "%2F")
    answer, body = ask(raw, "DELETE", f"/tags/{encoded}?tagKeys=a%20b&tagKeys=c+d", b"")
    assert (answer.status, body) == (200, b"{}")
    answer, body = ask(raw, "GET", f"/tags/{arn}", b"")
    assert json.loads(body) == {"tags": {"e": "3"}}


def test_gzip_is_taken_and_given(raw: http.client.HTTPConnection) -> None:
    answer, _ = ask(raw, "POST", "/CreateChannel", gzip.compress(b'{"name": "packed"}'), Content_Encoding="gzip")
    assert answer.status == 200
    for _ in range(5):
        ask(raw, "POST", "/CreateChannel", b'{"name": "packed"}')
    answer, body = ask(raw, "POST", "/ListChannels", Accept_Encoding="gzip")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(body))["channels"]) == 6


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"\xff\xfe", b'{"name": NaN}', b"[" * 50_000, b'{"maxResults": ' + b"9" * 5000 + b"}", b'"text"'],
)
def test_a_body_that_is_no_json_object_is_a_serialization_error(raw: http.client.HTTPConnection, body: bytes) -> None:
    answer, _ = ask(raw, "POST", "/CreateChannel", body)
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (400, "SerializationException")


def test_bad_gzip_and_a_gzip_bomb_are_refused(raw: http.client.HTTPConnection) -> None:
    answer, _ = ask(raw, "POST", "/CreateChannel", b"not gzip", Content_Encoding="gzip")
    assert answer.status == 400
    bomb = gzip.compress(b" " * 50_000_000)
    answer, _ = ask(raw, "POST", "/CreateChannel", bomb, Content_Encoding="gzip")
    assert answer.status == 413


def test_a_body_above_one_megabyte_is_refused_and_the_connection_stays_open(raw: http.client.HTTPConnection) -> None:
    answer, _ = ask(raw, "POST", "/CreateChannel", b" " * (1024 * 1024 + 1))
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (413, "RequestEntityTooLargeException")
    answer, _ = ask(raw, "POST", "/ListChannels")
    assert answer.status == 200


def test_a_huge_announced_body_is_refused_unread(raw: http.client.HTTPConnection) -> None:
    raw.putrequest("POST", "/CreateChannel")
    raw.putheader("Content-Length", str(10**12))
    raw.endheaders()
    assert raw.getresponse().status == 413


def test_what_is_not_http_is_refused_and_the_server_continues(
    raw: http.client.HTTPConnection, sandbox: Sandbox
) -> None:
    host, port = sandbox.endpoint_url.removeprefix("http://").split(":")
    for garbage in (
        b"hello\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 101 + b"\r\n",
    ):
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(garbage)
            assert connection.recv(12) in (b"HTTP/1.1 400", b"HTTP/1.1 431")
    assert ask(raw, "POST", "/ListChannels")[0].status == 200


def test_a_client_that_expects_100_continue_gets_it(sandbox: Sandbox) -> None:
    host, port = sandbox.endpoint_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(
            b"POST /CreateChannel HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"{}")
        assert b"streamKey" in b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    "query", ["X-Amz-Credential=", "notX-Amz-Credential=1/2/3/4/5", "X-Amz-Credential=a", "X-Amz-Credential=a/b"]
)
def test_an_odd_credential_in_the_address_is_the_default_caller_and_no_broken_connection(
    raw: http.client.HTTPConnection, query: str
) -> None:
    raw.request("POST", f"/ListChannels?{query}", b"{}")
    answer = raw.getresponse()
    assert (answer.status, answer.read()) == (200, b'{"channels":[]}')


def test_the_page_answers_head_as_health_checks_ask(raw: http.client.HTTPConnection) -> None:
    raw.request("HEAD", "/")
    answer = raw.getresponse()
    assert (answer.status, answer.headers["Content-Type"], answer.read()) == (200, "text/html; charset=utf-8", b"")


def test_a_chunked_body_is_understood(raw: http.client.HTTPConnection) -> None:
    raw.request(
        "POST", "/CreateChannel", iter([b'{"name":', b' "chunks"}']), {"Authorization": CREDENTIAL}, encode_chunked=True
    )
    assert json.loads(raw.getresponse().read())["channel"]["name"] == "chunks"


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/NoSuchOperation"), ("GET", "/CreateChannel"), ("PUT", "/tags/x"), ("POST", "/createchannel")],
)
def test_what_no_operation_answers_is_an_unknown_operation(
    raw: http.client.HTTPConnection, method: str, path: str
) -> None:
    answer, _ = ask(raw, method, path)
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (404, "UnknownOperationException")


def test_unsigned_requests_fall_into_the_default_account_and_region(raw: http.client.HTTPConnection) -> None:
    raw.request("POST", "/CreateChannel", b"{}")
    assert json.loads(raw.getresponse().read())["channel"]["arn"].startswith(
        "arn:aws:ivs:us-west-2:123456789012:channel/"
    )


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("ivs.eu-west-1.amazonaws.com", "eu-west-1"),
        ("ivs.ap-south-1.api.aws", "ap-south-1"),
        ("ivs.eu-central-1.api.aws:443", "eu-central-1"),
        ("ivs.eu-west-1.amazonaws.com.evil.example", "us-west-2"),
        ("localhost", "us-west-2"),
    ],
)
def test_both_styles_of_the_services_host_name_give_the_region_and_a_signature_overrides_them(
    sandbox: Sandbox, host: str, region: str
) -> None:
    unsigned = sandbox.handle(Request("POST", "/CreateChannel", headers={"host": host}, body=b"{}"))
    assert f":ivs:{region}:" in json.loads(unsigned.body)["channel"]["arn"]
    signed = sandbox.handle(
        Request("POST", "/CreateChannel", headers={"host": host, "authorization": CREDENTIAL}, body=b"{}")
    )
    assert ":ivs:us-west-2:" in json.loads(signed.body)["channel"]["arn"]


def test_the_control_api_returns_its_versions(raw: http.client.HTTPConnection) -> None:
    answer, body = ask(raw, "GET", "/_sandbox/version", b"")
    found = json.loads(body)
    assert (answer.status, found["control"], found["format"], found["model"]) == (200, 1, FORMAT, "2020-07-14")
    assert found["operations"] >= 46


def test_times_are_iso_8601_strings(raw: http.client.HTTPConnection, sandbox: Sandbox) -> None:
    _, made = ask(raw, "POST", "/CreateChannel")
    arn = json.loads(made)["channel"]["arn"]
    sandbox.control.go_live(arn)
    _, body = ask(raw, "POST", "/GetStream", json.dumps({"channelArn": arn}).encode())
    assert json.loads(body)["stream"]["startTime"] == "2026-01-01T00:00:00Z"


def test_the_control_api_refuses_pages_of_other_sites_and_forms(raw: http.client.HTTPConnection) -> None:
    answer, _ = ask(raw, "POST", "/_sandbox/reset", Origin="https://evil.example")
    assert answer.status == 403
    raw.request("POST", "/_sandbox/reset", b"{}", {"Content-Type": "text/plain"})
    answer = raw.getresponse()
    answer.read()
    assert answer.status == 415


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("nothing", b"{}"),
        ("go_live", b"{}"),
        ("go_live", b'{"arn": 5}'),
        ("go_live", b'{"arn": "x", "colour": 1}'),
        ("go_live", b"[]"),
        ("go_live", b"{"),
        ("add_fault", b'{"effect": "explode"}'),
        ("add_fault", b'{"effect": "error", "operation": 5}'),
        ("add_fault", b'{"effect": "error", "times": "x"}'),
        ("set_lag", b'{"create": -1}'),
        ("set_quota", b'{"name": "nonsense", "value": 1}'),
        ("set_rates", b'{"rates": {"CreateChannel": 0}}'),
        ("set_rates", b'{"rates": 5}'),
        ("drift", b'{"arn": "x", "changes": {}}'),
        ("advance", b'{"seconds": -1}'),
        ("flush", b"{}"),
        ("__init__", b"{}"),
    ],
)
def test_a_control_request_that_makes_no_sense_is_refused_in_words(
    raw: http.client.HTTPConnection, path: str, body: bytes
) -> None:
    answer, text = ask(raw, "POST", f"/_sandbox/{path}", body)
    assert answer.status in (400, 404)
    assert json.loads(text)["error"]


def test_control_queries_answer_get_with_parameters(raw: http.client.HTTPConnection) -> None:
    ask(raw, "POST", "/CreateChannel")
    answer, body = ask(raw, "GET", "/_sandbox/calls?operation=CreateChannel&limit=1", b"")
    assert (answer.status, [call["operation"] for call in json.loads(body)]) == (200, ["CreateChannel"])
