"""Requests read from a connection: whole, in pieces, several at once, and what is none."""

from __future__ import annotations

import itertools
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.sandbox import Sandbox
from reconciler.sandbox.server import DRAINED, MAX_FIELDS, Reader, RefusedError
from tests.sandbox.helpers import refusal

BODIES = st.binary(max_size=300)


class Arriving:
    """A connection on which pieces arrive, and then the other side goes."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = [piece for piece in pieces if piece]
        self.sent = b""

    def recv(self, size: int, /) -> bytes:
        piece = self.pieces.pop(0) if self.pieces else b""
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
        return piece[:size]

    def sendall(self, data: bytes, /) -> None:
        self.sent += data


def announced(body: bytes, path: str = "/CreateChannel") -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: here\r\nX-Long:  a: b \r\nContent-Length: %d\r\n\r\n%s" % (
        path.encode(),
        len(body),
        body,
    )


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[place : place + size] for place in range(0, len(body), size)]
    return (
        b"POST /chunks HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"%x;note\r\n%s\r\n" % (len(part), part) for part in parts)
        + b"0\r\n\r\n"
    )


@given(
    st.lists(st.tuples(BODIES, st.integers(0, 200)), min_size=1, max_size=4),
    st.lists(st.integers(0, 3000), max_size=12),
)
def test_requests_are_the_same_however_they_are_cut(requests: list[tuple[bytes, int]], cuts: list[int]) -> None:
    stream = b"".join(chunked(body, size) if size else announced(body) for body, size in requests)
    places = [0, *sorted(cuts), len(stream)]
    reader = Reader(Arriving(*(stream[begin:end] for begin, end in itertools.pairwise(places))))
    assert [reader.next().request.body for _ in requests] == [body for body, _ in requests]
    with pytest.raises(EOFError):
        reader.next()


def test_a_request_is_what_was_sent() -> None:
    reader = Reader(Arriving(announced(b"{}", "/tags/a%2Fb?tagKeys=x%20y&tagKeys=")))
    request = reader.next().request
    assert (request.method, request.path, request.query, request.body) == (
        "POST",
        "/tags/a%2Fb",
        "tagKeys=x%20y&tagKeys=",
        b"{}",
    )
    assert request.headers == {"host": "here", "x-long": "a: b", "content-length": "2"}


@pytest.mark.parametrize(
    ("head", "stays"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", True),
        (b"\r\nGET / HTTP/1.1\r\n\r\n", True),
        (b"\r\n\r\n\nGET / HTTP/1.1\r\n\r\n", True),
        (b"GET / HTTP/1.1\nContent-Length: 4\n\n\r\n\r\n", True),
        (b"GET / HTTP/1.1\nHost: here\n\n", True),
        (b"GET / HTTP/1.1\r\nConnection: Close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_a_connection_stays_as_the_client_wishes(head: bytes, stays: bool) -> None:
    received = Reader(Arriving(head)).next()
    assert (received.request.method, received.keep_alive) == ("GET", stays)


@pytest.mark.parametrize(
    ("stream", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: ten\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (DRAINED + 1), 413),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (MAX_FIELDS + 1) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\na: " + b"b" * 200_000, 431),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 100, 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}more\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * MAX_FIELDS, 431),
        (b"GET / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nContent-Length : 2\r\n\r\n{}", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % (DRAINED + 1), 413),
    ],
)
def test_what_is_no_request_is_refused(stream: bytes, status: int) -> None:
    with pytest.raises(RefusedError) as refused:
        Reader(Arriving(stream)).next()
    assert refused.value.status == status


TOKENS = st.sampled_from(
    [
        b"POST / HTTP/1.1",
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b"Transfer-Encoding: chunked",
        b"Content-Length: 3",
        b"Expect: 100-continue",
        b"2\r\n{}",
        b"0",
        b"f",
        b":",
        b" ",
    ]
)


@given(st.lists(TOKENS | st.binary(max_size=8), max_size=25))
def test_no_bytes_whatever_are_more_than_refused(parts: list[bytes]) -> None:
    reader = Reader(Arriving(*parts))
    with pytest.raises((EOFError, RefusedError)):
        list(iter(reader.next, None))


def test_trailers_belong_to_their_request_and_not_to_the_next() -> None:
    first = b"POST /one HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Checksum: some digest\r\nX-More: b\r\n\r\n"
    reader = Reader(Arriving(first + announced(b"{}", "/two")))
    assert [(found.request.path, found.request.body) for found in (reader.next(), reader.next())] == [
        ("/one", b"{}"),
        ("/two", b"{}"),
    ]


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"http://ivs.eu-west-1.amazonaws.com/ListChannels?a=b", "/ListChannels", "ivs.eu-west-1.amazonaws.com"),
        (b"HTTPS://ivs.eu-west-1.api.aws", "/", "ivs.eu-west-1.api.aws"),
        (b"*", "*", "here"),
    ],
)
def test_a_whole_address_is_taken_as_from_the_client_of_a_proxy(target: bytes, path: str, host: str) -> None:
    request = Reader(Arriving(b"POST %s HTTP/1.1\r\nHost: here\r\n\r\n" % target)).next().request
    assert (request.path, request.headers["host"]) == (path, host)


def test_a_body_too_large_to_be_read_is_refused_as_the_service_does(ivs: Any) -> None:
    arn = ivs.create_channel()["channel"]["arn"]
    assert refusal(ivs.put_metadata, channelArn=arn, metadata="x" * (DRAINED + 1)) == (
        413,
        "RequestEntityTooLargeException",
    )


def test_a_body_is_waited_for_only_after_the_client_was_told_to_send_it() -> None:
    connection = Arriving(b"POST / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n", b"{}")
    assert Reader(connection).next().request.body == b"{}"
    assert connection.sent == b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("rest", [b"", b'{"na', b"POST /CreateChannel HTT"])
def test_half_a_request_is_nobodys_request(rest: bytes) -> None:
    """A client that broke off in the middle has not asked for a channel."""
    whole = announced(b'{"name": "half"}')
    with Sandbox() as sandbox:
        host, port = sandbox.endpoint_url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(rest if rest.startswith(b"POST") else whole[: whole.index(b"{")] + rest)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b""
        assert sandbox.control.calls() == []


def test_requests_sent_without_waiting_are_answered_in_turn(sandbox: Sandbox) -> None:
    host, port = sandbox.endpoint_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            b"".join(announced(b'{"name": "n%d"}' % number) for number in range(3))
            + b"GET /favicon.ico HTTP/1.0\r\n\r\n"
        )
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
    assert [answers.index(b'"name":"n%d"' % number) for number in range(3)] == sorted(
        answers.index(b'"name":"n%d"' % number) for number in range(3)
    )
    assert answers.count(b"HTTP/1.1 200 OK") == 3
    assert b"HTTP/1.1 204 No Content" in answers
