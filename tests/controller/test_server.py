from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from reconciler import logs
from reconciler.controller.app import MAX_BODY, MAX_CONNECTIONS, serving
from reconciler.errors import UsageError
from tests.controller.process import PATIENCE


def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {len(environ['wsgi.input'].read())}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@contextmanager
def listening(seconds: int) -> Iterator[int]:
    with serving("127.0.0.1:0", answer, seconds=seconds) as url:
        yield int(url.rpartition(":")[2])


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        yield connection


def read_until(connection: socket.socket, end: bytes) -> bytes:
    read = b""
    while not read.endswith(end) and (part := connection.recv(4096)):
        read += part
    return read


@pytest.mark.parametrize("start", [b"", b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n"], ids=["head", "body"])
def test_a_client_that_sends_a_byte_now_and_then_is_dropped(start: bytes) -> None:
    with listening(1) as port, connected(port) as connection:
        connection.sendall(start)
        end = time.monotonic() + PATIENCE
        is_open = True
        while is_open and time.monotonic() < end:
            try:
                connection.sendall(b"X")
                connection.settimeout(0.05)
                is_open = connection.recv(100) != b""
            except TimeoutError:
                continue
            except OSError:
                is_open = False
        assert not is_open


def test_an_idle_connection_is_dropped_and_one_at_work_is_not() -> None:
    with listening(1) as port, connected(port) as idle, connected(port) as busy:
        for _ in range(8):
            busy.sendall(b"GET /x HTTP/1.1\r\n\r\n")
            assert read_until(busy, b"GET /x 0")
            time.sleep(0.4)
        idle.settimeout(0)
        assert idle.recv(10) == b""


def test_several_requests_of_one_connection_are_answered() -> None:
    with listening(30) as port, connected(port) as connection:
        for number in range(3):
            connection.sendall(b"POST /%d HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc" % number)
            assert read_until(connection, b"POST /%d 3" % number)
        connection.sendall(b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(3)))
        assert read_until(connection, b"GET /2 0").count(b"HTTP/1.1 200") == 3


def test_there_are_only_so_many_connections_and_they_come_free_again() -> None:
    with listening(3) as port:
        began = time.monotonic()
        silent = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) for _ in range(MAX_CONNECTIONS)]
        with connected(port) as one_more:
            one_more.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert read_until(one_more, b"GET / 0").startswith(b"HTTP/1.1 200")
        # It had to wait until the silent ones were dropped.
        assert time.monotonic() - began > 2.5
        assert silent[0].recv(10) == b""
        for each in silent:
            each.close()


def test_a_chunked_body_is_bounded_as_well() -> None:
    with listening(30) as port:
        with connected(port) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
            assert read_until(connection, b"POST / 3")
        with connected(port) as connection, suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(MAX_BODY // 65_536 + 1):
                connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            assert read_until(connection, b"refused").startswith(b"HTTP/1.1 413")


def test_a_client_that_does_not_read_its_answer_holds_no_stop_up() -> None:
    with listening(30) as port, connected(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n" * 50)
        began = time.monotonic()
    assert time.monotonic() - began < 20


def test_a_fault_is_logged_by_its_place_and_answered_without_its_words() -> None:
    def broken(environ: dict[str, Any], _start_response: Callable[..., Any]) -> Iterable[bytes]:
        raise ValueError(f"words of a stranger: {environ['PATH_INFO']}")

    written = io.StringIO()
    logs.configure("json", 1, stream=written)
    try:
        with serving("127.0.0.1:0", broken) as url, connected(int(url.rpartition(":")[2])) as connection:
            connection.sendall(b"GET /stranger HTTP/1.1\r\n\r\n")
            answered = b""
            while part := connection.recv(4096):
                answered += part
    finally:
        logs.configure()
    assert answered.startswith(b"HTTP/1.1 500")
    (line,) = map(json.loads, written.getvalue().splitlines())
    assert (line["level"], line["component"]) == ("error", "web")
    assert "ValueError at test_server.py:" in line["message"]
    assert "stranger" not in written.getvalue() + answered.decode()


def test_an_address_in_use_or_none_at_all_is_said() -> None:
    with listening(30) as port:
        for where in (f"127.0.0.1:{port}", "no.such.host.invalid:80"):
            with pytest.raises(UsageError, match="cannot listen on"), serving(where, answer):
                raise AssertionError
        for where in ("8080", ":8080", "x:y", "127.0.0.1:65536"):
            with pytest.raises(UsageError, match="is not HOST:PORT"), serving(where, answer):
                raise AssertionError


def test_an_ipv6_address_is_served() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with serving("[::1]:0", answer) as url:
        assert url.startswith("http://[::1]:")
        with socket.create_connection(("::1", int(url.rpartition(":")[2])), timeout=PATIENCE) as connection:
            connection.sendall(b"GET /six HTTP/1.1\r\n\r\n")
            assert read_until(connection, b"GET /six 0")
