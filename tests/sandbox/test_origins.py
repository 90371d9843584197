"""Which browser pages and which Host a sandbox accepts, on every path, over HTTP."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import boto3
import pytest

from reconciler.sandbox import Sandbox

PATHS = [
    ("POST", "/CreateChannel"),
    ("POST", "/BatchGetChannel"),
    ("POST", "/GetChannel"),
    ("GET", "/tags/arn%3Aaws%3Aivs%3Aus-west-2%3A123456789012%3Achannel%2Fa"),
    ("GET", "/"),
    ("GET", "/favicon.ico"),
    ("GET", "/nowhere"),
    ("POST", "/_sandbox/reset"),
    ("GET", "/_sandbox/calls"),
    ("GET", "/_sandbox/events/stream"),
    ("OPTIONS", "/CreateChannel"),
]
FOREIGN_ORIGINS = [
    "https://evil.example",
    "http://evil.example:4599",
    "null",
    "file://",
    "http://localhost.evil.example",
    "http://127.0.0.1.evil.example",
    "http://notlocalhost",
    "http://127.0.0.1@evil.example",
    "http://evil.example@127.0.0.1",
    "chrome-extension://localhost",
    "http://192.168.1.5",
    "http://localhost:x",
]
LOCAL_ORIGINS = [
    "http://localhost",
    "http://localhost:3000",
    "https://LOCALHOST:8443",
    "http://app.localhost:5173",
    "http://127.0.0.1:9",
    "http://127.8.8.8",
    "http://[::1]:3000",
]
FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:4599",
    "localhost.evil.example",
    "x.amazonaws.com.evil.example",
    "a@b",
    "[",
]
OWN_HOSTS = [
    "localhost",
    "LocalHost:4599",
    "localhost.:4599",
    "127.0.0.1",
    "[::1]:4599",
    "192.168.1.5:4599",
    "sandbox:4599",
    "ivs.eu-west-1.amazonaws.com",
    "ivs.eu-west-1.api.aws",
]


@pytest.fixture(scope="module")
def serving() -> Iterator[Sandbox]:
    with Sandbox(allow_origins=["https://App.example.com"], allow_hosts=["ivs.build.example"]) as running:
        yield running


def ask(sandbox: Sandbox, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Send one request; only the first bytes of an endless answer are read."""
    connection = http.client.HTTPConnection(urlsplit(sandbox.endpoint_url).netloc, timeout=60)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, b"{}" if method == "POST" else None, {"Content-Type": "application/json", **names})
    answer = connection.getresponse()
    found = {name.lower(): value for name, value in answer.getheaders()}
    text = answer.read(10) if "event-stream" in found.get("content-type", "") else answer.read()
    connection.close()
    return answer.status, found, text


def channels(sandbox: Sandbox) -> int:
    return len(sandbox.control.inventory())


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_a_page_of_another_site_is_refused_on_every_path_and_reads_nothing(serving: Sandbox, origin: str) -> None:
    before = channels(serving)
    for method, path in PATHS:
        more: dict[str, str]
        for more in ({}, {"Content-Type": "text/plain"}, {"Access_Control_Request_Method": "POST"}):
            status, headers, body = ask(serving, method, path, Origin=origin, **more)
            assert status == 403, (method, path)
            assert not [name for name in headers if name.startswith("access-control-")], (method, path)
            assert "--allow-origin" in json.loads(body)["message"]
    assert channels(serving) == before


@pytest.mark.parametrize("origin", [*LOCAL_ORIGINS, "https://app.example.com", "https://APP.example.com"])
def test_an_accepted_page_may_ask_send_and_read(serving: Sandbox, origin: str) -> None:
    asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization,x-amz-date"}
    for method, path in PATHS:
        status, headers, _ = ask(serving, "OPTIONS", path, Origin=origin, **asked)
        assert (status, headers["access-control-allow-origin"]) == (204, "*"), path
        assert headers["access-control-allow-headers"] == "authorization,x-amz-date"
        assert "DELETE" in headers["access-control-allow-methods"]
        status, headers, _ = ask(serving, method, path, Origin=origin)
        assert status != 403, path
        assert headers["access-control-allow-origin"] == "*"
        assert "x-amzn-requestid" in headers["access-control-expose-headers"]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_an_unknown_host_is_refused_on_every_path(serving: Sandbox, host: str) -> None:
    before = channels(serving)
    for method, path in PATHS:
        more: dict[str, str]
        for more in ({}, {"Origin": f"http://{host}"}):
            status, headers, body = ask(serving, method, path, Host=host, **more)
            assert status in (400, 403), (method, path)
            assert "access-control-allow-origin" not in headers
            assert status == 400 or "--allow-host" in json.loads(body)["message"]
    assert channels(serving) == before


@pytest.mark.parametrize("host", [*OWN_HOSTS, "ivs.build.example:4599"])
def test_other_clients_are_answered_as_ever(serving: Sandbox, host: str) -> None:
    assert ask(serving, "POST", "/ListChannels", Host=host)[0] == 200
    status, headers, _ = ask(serving, "GET", "/_sandbox/version", Host=host)
    assert status == 200
    assert "access-control-allow-origin" not in headers


def test_a_page_of_the_server_itself_is_accepted_at_any_address_of_it(serving: Sandbox) -> None:
    for host in ("192.168.1.5:4599", "sandbox:4599", "ivs.build.example"):
        assert ask(serving, "POST", "/_sandbox/reset", Host=host, Origin=f"http://{host}")[0] == 200
    assert ask(serving, "POST", "/_sandbox/reset", Host="192.168.1.5:4599", Origin="http://192.168.1.5")[0] == 403


def test_a_refused_preflight_of_a_private_network_and_an_accepted_one(serving: Sandbox) -> None:
    asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Private_Network": "true"}
    status, headers, _ = ask(serving, "OPTIONS", "/CreateChannel", Origin="https://app.example.com", **asked)
    assert (status, headers["access-control-allow-private-network"]) == (204, "true")
    assert ask(serving, "OPTIONS", "/CreateChannel", Origin="https://evil.example", **asked)[0] == 403


@pytest.mark.parametrize(
    "origin", ["app.example.com", "https://", "https://a.example/path", "https://u@a.example", "*"]
)
def test_an_origin_that_is_none_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(ValueError, match="is not an origin such as"):
        Sandbox(allow_origins=[origin])


@pytest.mark.parametrize("host", ["::1", "[::1]", "::", "0.0.0.0"])
def test_it_serves_on_any_address_of_the_machine(host: str) -> None:
    with Sandbox(host=host) as sandbox:
        parts = urlsplit(sandbox.endpoint_url)
        assert parts.hostname == host.strip("[]")
        ivs = boto3.client(
            "ivs",
            endpoint_url=sandbox.endpoint_url,
            region_name="us-west-2",
            aws_access_key_id="123456789012",
            aws_secret_access_key="any",
        )
        assert ivs.create_channel(name="a")["channel"]["name"] == "a"
        assert ask(sandbox, "GET", "/_sandbox/version")[0] == 200
