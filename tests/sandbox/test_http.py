"""HTTP over a socket: whole requests, requests in pieces, several at once, and malformed ones."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.sandbox import Sandbox
from reconciler.sandbox.http.server import MAX_HEADERS, MAX_RECEIVED, SandboxHTTPServer, serve
from reconciler.sandbox.wire import Request, Response, json_bytes
from tests.sandbox.helpers import refusal

BODIES = st.binary(max_size=300)
SERVER_LOG = logging.getLogger("reconciler.sandbox")


class Echo:
    """A server whose answers describe the requests it received."""

    def __init__(self) -> None:
        self.server = SandboxHTTPServer(("127.0.0.1", 0), self._answer)
        self.thread = serve(self.server)

    def _answer(self, request: Request, source_ip: str) -> Response:
        described = [request.method, request.path, request.query, dict(request.headers), request.body.decode("latin-1")]
        return Response(200, body=json_bytes(described))

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.server.server_address[1]), timeout=60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def exchange(self, *pieces: bytes) -> bytes:
        """Send pieces, then end of the input; return all that the server sends until it closes the connection."""
        with self.connect() as connection:
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def received(self, *pieces: bytes) -> list[Any]:
        """Send pieces and return the requests that the server received."""
        return [json.loads(body) for _, _, body in answers(self.exchange(*pieces))]


def answers(stream: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Split what a server sent into status, headers and body of each answer."""
    found = []
    while stream:
        head, _, stream = stream.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        found.append((int(first.split()[1]), headers, stream[:length]))
        stream = stream[length:]
    return found


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    running = Echo()
    yield running
    running.server.shutdown()
    running.server.server_close()
    running.server.drain(5)
    running.thread.join()


def announced(body: bytes, path: str = "/CreateChannel") -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: here\r\nX-Long:  a: b \r\nContent-Length: %d\r\n\r\n%s" % (
        path.encode(),
        len(body),
        body,
    )


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[place : place + size] for place in range(0, len(body), size)]
    return (
        b"POST /chunks HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"%x;note\r\n%s\r\n" % (len(part), part) for part in parts)
        + b"0\r\n\r\n"
    )


@given(
    st.lists(st.tuples(BODIES, st.integers(0, 200)), min_size=1, max_size=4),
    st.lists(st.integers(0, 3000), max_size=12),
)
def test_requests_are_the_same_however_they_are_cut(
    echo: Echo, requests: Sequence[tuple[bytes, int]], cuts: list[int]
) -> None:
    stream = b"".join(chunked(body, size) if size else announced(body) for body, size in requests)
    places = [0, *sorted(cuts), len(stream)]
    received = echo.received(*(stream[begin:end] for begin, end in itertools.pairwise(places)))
    assert [body.encode("latin-1") for *_, body in received] == [body for body, _ in requests]


def test_a_request_is_what_was_sent(echo: Echo) -> None:
    (request,) = echo.received(announced(b"{}", "/tags/a%2Fb?tagKeys=x%20y&tagKeys="))
    assert request == [
        "POST",
        "/tags/a%2Fb",
        "tagKeys=x%20y&tagKeys=",
        {"host": "here", "x-long": "a: b", "content-length": "2"},
        "{}",
    ]


@pytest.mark.parametrize(
    ("head", "stays"),
    [
        (b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", True),
        (b"GET / HTTP/1.1\nHost: here\nContent-Length: 4\n\n\r\n\r\n", True),
        (b"GET / HTTP/1.1\nHost: here\n\n", True),
        (b"GET / HTTP/1.1\r\nHost: here\r\nConnection: Close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", False),
        # What Java's client offers with every first request.
        (b"GET / HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", True),
    ],
)
def test_a_connection_stays_open_as_the_client_asks(echo: Echo, head: bytes, stays: bool) -> None:
    found = answers(echo.exchange(head + announced(b"{}")))
    assert [status for status, _, _ in found] == ([200, 200] if stays else [200])
    assert (found[0][1].get("connection") == "close") is not stays


CHUNKED = b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: here\r\n"


@pytest.mark.parametrize(
    ("stream", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"\r\nGET / HTTP/1.1\r\nHost: here\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (GET + b"no colon\r\n\r\n", 400),
        (GET + b"Content-Length: -1\r\n\r\n", 400),
        (GET + b"Content-Length: ten\r\n\r\n", 400),
        (GET + b"Content-Length: %d\r\n\r\n" % (MAX_RECEIVED + 1), 413),
        (GET + b"a: b\r\n" * MAX_HEADERS + b"\r\n", 431),
        (GET + b"a: " + b"b" * 200_000, 431),
        (CHUNKED + b"zz\r\n", 400),
        (CHUNKED + b"1" * 100, 400),
        (CHUNKED + b"-5\r\n", 400),
        (CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n", 400),
        (CHUNKED + b"2\r\n{}more\r\n0\r\n\r\n", 400),
        (CHUNKED + b"0\r\n" + b"a: %s\r\n" % (b"b" * 1000) * 200, 431),
        (CHUNKED + b"%x\r\n" % (MAX_RECEIVED + 1) + b" " * (MAX_RECEIVED + 1), 413),
        (GET + b"Content-Length: " + b"9" * 19 + b"\r\n\r\n", 413),
        (GET + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (GET + b"Content-Length : 2\r\n\r\n{}", 400),
        (GET + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
        (GET + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
        (GET + b"Content-Length: 2\r\nA: b\r\ncontent-length:2\r\n\r\n{}", 400),
        (GET + b"Content-Length: 2, 2\r\n\r\n{}", 400),
        (GET + b"host: here\r\n\r\n", 400),
        (GET + b"Host: there\r\n\r\n", 400),
        (GET + b"Authorization: a\r\nAuthorization: a\r\n\r\n", 400),
        (GET + b"Authorization: a\r\nX: y\r\nauthorization: b\r\n\r\n", 400),
        (GET + b"Origin: http://localhost\r\nOrigin: https://evil.example\r\n\r\n", 400),
        (GET + b"X-Amz-Date: a\r\nX-Amz-Date: b\r\n\r\n", 400),
        (GET + b"X-Amz-Security-Token: a\r\nX-Amz-Security-Token: b\r\n\r\n", 400),
        (GET + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (MAX_RECEIVED + 1), 413),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (GET + b"Transfer-Encoding: gzip\r\n\r\n{}", 501),
    ],
)
def test_a_malformed_request_is_refused_and_the_connection_closed(echo: Echo, stream: bytes, status: int) -> None:
    ((found, headers, _),) = answers(echo.exchange(stream + announced(b"{}")))
    assert (found, headers["connection"]) == (status, "close")


def test_a_refusal_reaches_a_client_that_is_still_sending(echo: Echo) -> None:
    with echo.connect() as connection:
        connection.sendall(GET + b"a: " + b"b" * 200_000)
        assert connection.recv(12) == b"HTTP/1.1 431"
        connection.sendall(b"b" * 1_000_000)
        while connection.recv(65536):
            pass


TOKENS = st.sampled_from(
    [
        b"POST / HTTP/1.1",
        b"Host: here",
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b"Transfer-Encoding: chunked",
        b"Content-Length: 3",
        b"Expect: 100-continue",
        b"Connection: Upgrade",
        b"2\r\n{}",
        b"0",
        b"f",
        b":",
        b" ",
    ]
)


@contextlib.contextmanager
def warnings() -> Iterator[list[str]]:
    """Yield the warnings that the server logs."""
    found: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    SERVER_LOG.addHandler(handler)
    try:
        yield found
    finally:
        SERVER_LOG.removeHandler(handler)


@given(st.lists(TOKENS | st.binary(max_size=8), max_size=25))
def test_arbitrary_bytes_are_answered_refused_or_ignored(echo: Echo, parts: list[bytes]) -> None:
    with warnings() as logged:
        stream = echo.exchange(*parts)
    assert {status for status, _, _ in answers(stream)} <= {100, 200, 400, 501}
    assert logged == []


def test_trailers_belong_to_their_request_and_not_to_the_next(echo: Echo) -> None:
    first = CHUNKED + b"2\r\n{}\r\n0\r\nX-Checksum: some digest\r\nX-More: b\r\n\r\n"
    received = echo.received(first + announced(b"{}", "/two"))
    assert [(path, body) for _, path, _, _, body in received] == [("/", "{}"), ("/two", "{}")]


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"http://ivs.eu-west-1.amazonaws.com/ListChannels?a=b", "/ListChannels", "ivs.eu-west-1.amazonaws.com"),
        (b"HTTPS://ivs.eu-west-1.api.aws", "/", "ivs.eu-west-1.api.aws"),
        (b"*", "*", "here"),
    ],
)
def test_an_absolute_url_is_accepted_as_from_the_client_of_a_proxy(
    echo: Echo, target: bytes, path: str, host: str
) -> None:
    ((_, found, _, headers, _),) = echo.received(b"POST %s HTTP/1.1\r\nHost: here\r\n\r\n" % target)
    assert (found, headers["host"]) == (path, host)


def test_a_body_too_large_to_be_read_is_refused_as_the_service_does(ivs: Any) -> None:
    arn = ivs.create_channel()["channel"]["arn"]
    assert refusal(ivs.put_metadata, channelArn=arn, metadata="x" * (MAX_RECEIVED + 1)) == (
        413,
        "RequestEntityTooLargeException",
    )


def test_a_client_that_expects_100_continue_sends_its_body_after_it(echo: Echo) -> None:
    with echo.connect() as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: here\r\nConnection: close\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n"
        )
        interim = connection.recv(100)
        assert interim.startswith(b"HTTP/1.1 100 ")
        assert interim.endswith(b"\r\n\r\n")
        connection.sendall(b"{}")
        ((status, _, body),) = answers(b"".join(iter(lambda: connection.recv(65536), b"")))
        assert (status, json.loads(body)[-1]) == (200, "{}")


@pytest.mark.parametrize("rest", [b"", b'{"na', b"POST /CreateChannel HTT"])
def test_half_a_request_is_not_answered(rest: bytes) -> None:
    """A client that broke off in the middle created no channel."""
    whole = announced(b'{"name": "half"}')
    with Sandbox() as sandbox:
        host, port = sandbox.endpoint_url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(rest if rest.startswith(b"POST") else whole[: whole.index(b"{")] + rest)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b""
        assert sandbox.control.calls() == []


def test_pipelined_requests_are_answered_in_order(sandbox: Sandbox) -> None:
    host, port = sandbox.endpoint_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(
            b"".join(announced(b'{"name": "n%d"}' % number) for number in range(3))
            + b"GET /favicon.ico HTTP/1.0\r\n\r\n"
        )
        stream = b"".join(iter(lambda: connection.recv(65536), b""))
    assert [stream.index(b'"name":"n%d"' % number) for number in range(3)] == sorted(
        stream.index(b'"name":"n%d"' % number) for number in range(3)
    )
    assert stream.count(b"HTTP/1.1 200 OK") == 3
    assert b"HTTP/1.1 204 No Content" in stream
