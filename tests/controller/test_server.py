from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import pytest
from waitress.trigger import trigger

from reconciler import logs
from reconciler.controller.server import MAX_BODY, MAX_CONNECTIONS, MAX_PER_CLIENT, _Server, accepts_host, serving
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


@pytest.fixture(scope="module")
def web() -> Iterator[int]:
    with listening(30) as port:
        yield port


def read_until(connection: socket.socket, end: bytes) -> bytes:
    read = b""
    while not read.endswith(end) and (part := connection.recv(4096)):
        read += part
    return read


@pytest.mark.parametrize(
    "start", [b"", b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 1000000\r\n\r\n"], ids=["head", "body"]
)
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
    dropped = threading.Event()

    def slow(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        assert dropped.wait(PATIENCE)
        return answer(environ, start_response)

    with serving("127.0.0.1:0", slow, seconds=2) as url:
        port = int(url.rpartition(":")[2])
        with connected(port) as busy, connected(port) as idle:
            busy.sendall(b"GET /x HTTP/1.1\r\nHost: here\r\n\r\n" * 2)
            assert idle.recv(10) == b""
            dropped.set()
            assert read_until(busy, b"GET /x 0")


def test_several_requests_of_one_connection_are_answered() -> None:
    with listening(30) as port, connected(port) as connection:
        for number in range(3):
            connection.sendall(b"POST /%d HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\nabc" % number)
            assert read_until(connection, b"POST /%d 3" % number)
        connection.sendall(b"".join(b"GET /%d HTTP/1.1\r\nHost: here\r\n\r\n" % number for number in range(3)))
        assert read_until(connection, b"GET /2 0").count(b"HTTP/1.1 200") == 3


def test_stopping_while_a_request_ends() -> None:
    """The request wakes the loop between this thread's request to stop and its own waking of the loop."""

    def slow(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code is trigger.handle_read.__code__:
            time.sleep(0.1)
        if event == "c_call" and argument is os.write:
            time.sleep(0.2)

    sys.setprofile(slow)
    threading.setprofile(slow)
    try:
        with listening(30) as port, connected(port) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            assert read_until(connection, b"GET / 0")
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    with pytest.raises(ConnectionRefusedError), connected(port):
        pass


def test_a_request_that_ends_after_the_server_writes_to_no_other_file() -> None:
    """The server waits for requests for five seconds. One that ends later wakes the loop, which has ended."""
    ending, stopped = threading.Event(), threading.Event()
    others = set(threading.enumerate())

    def slow(frame: FrameType, event: str, argument: object) -> None:
        at_work = threading.current_thread().name.startswith("waitress-")
        if at_work and event == "call" and frame.f_code is _Server.pull_trigger.__code__:
            ending.set()
            stopped.wait(PATIENCE)

    threading.setprofile(slow)
    try:
        with listening(30) as port, connected(port) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            assert ending.wait(PATIENCE)
            at_work = [one for one in threading.enumerate() if one not in others and one.name.startswith("waitress-")]
    finally:
        threading.setprofile(None)
    read, write = os.pipe()
    numbers = [os.dup(write) for _ in range(20)]  # all that the server has closed
    stopped.set()
    for thread in at_work:
        thread.join(PATIENCE)
    for number in (write, *numbers):
        os.close(number)
    with os.fdopen(read, "rb") as written:
        assert written.read() == b""


def test_connections_that_send_nothing_block_no_other_client() -> None:
    with listening(30) as port:
        half = [b"", b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n"]
        opened = []
        for number in range(3 * MAX_CONNECTIONS):
            # Two clients that fill all connections, and the oldest of the busiest is dropped.
            source = (f"127.0.0.{2 + number % 2}", 0)
            opened.append(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE, source_address=source))
            opened[-1].sendall(half[number % 3])
            if number % 16 == 0:
                with connected(port) as one_more:
                    one_more.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
                    assert read_until(one_more, b"GET /healthz 0").startswith(b"HTTP/1.1 200")
        assert opened[0].recv(10) == b"", "the oldest was dropped"
        opened[-1].settimeout(0)
        with pytest.raises(BlockingIOError):
            opened[-1].recv(10)
        for each in opened:
            each.close()


def test_one_client_holds_only_some_of_the_connections() -> None:
    with listening(30) as port:
        busy = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) for _ in range(MAX_PER_CLIENT + 3)]
        with connected(port) as last:
            last.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            assert read_until(last, b"GET / 0")
        assert [one.recv(10) for one in busy[:3]] == [b""] * 3
        for each in busy[4:]:
            each.settimeout(0)
            with pytest.raises(BlockingIOError):
                each.recv(10)
        for each in busy:
            each.close()


POST = b"POST / HTTP/1.1\r\nHost: here\r\n"
ZEROS = b"0" * 30


@pytest.mark.parametrize(
    ("stream", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: " + ZEROS + b"3\r\n\r\nabc", 200),
        (POST + b"Content-Length: " + ZEROS + b"400000000\r\n\r\n", 413),
        (POST + b"Content-Length: " + b"0" * 5000 + b"3\r\n\r\nabc", 400),
        (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (POST + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1), 413),
        (POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1), 413),
        (POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        (POST + b"Content-Length: 3\r\nA: b\r\ncontent-length:3\r\n\r\nabc", 400),
        (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        (POST + b"Content-Length: 3, 3\r\n\r\nabc", 400),
        (POST + b"Content-Length: +3\r\n\r\nabc", 400),
        (POST + b"Content-Length: -3\r\n\r\nabc", 400),
        (POST + b"Content-Length : 3\r\n\r\nabc", 400),
        (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200),
        (b"GET / HTTP/2.0\r\nHost: here\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: here\r\nHost: here\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: here\r\nhost: there\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: here\r\nAuthorization: a\r\nAuthorization: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: here\r\nOrigin: http://a\r\nOrigin: http://b\r\n\r\n", 400),
        (b"GET http://[::1 HTTP/1.1\r\nHost: here\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: here\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: here\r\nA: " + b"b" * 70_000, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x80" * 300, 400),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
    ],
)
def test_each_request_is_read_in_one_way_or_refused(web: int, stream: bytes, status: int) -> None:
    with connected(web) as connection:
        connection.sendall(stream)
        with contextlib.suppress(OSError):  # the server may have closed it already
            connection.shutdown(socket.SHUT_WR)
        read = b""
        with suppress(ConnectionResetError):
            while part := connection.recv(65_536):
                read += part
        assert int(read.split()[1]) == status, read


def test_a_refused_body_is_not_asked_for_and_not_read(web: int) -> None:
    with connected(web) as connection:
        connection.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 400000000\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 413"
    with connected(web) as connection, suppress(ConnectionResetError, BrokenPipeError):
        connection.sendall(POST + b"Content-Length: 000000000000400000000\r\n\r\n")
        sent = 0
        while sent < 400_000_000:
            sent += connection.send(b"x" * 1_000_000)
    assert sent < 50_000_000


@pytest.mark.parametrize(
    ("host", "accepted"),
    [
        ("127.0.0.1:8080", True),
        ("10.1.2.3", True),
        ("[::1]:8080", True),
        ("[2001:db8::1]", True),
        ("localhost", True),
        ("LOCALHOST.:80", True),
        ("a.localhost", True),
        ("ivs-controller:8080", True),
        ("status.example.com", True),
        ("Status.Example.com.:443", True),
        ("example.com", False),
        ("evil.example", False),
        ("status.example.com.evil.example", False),
        ("evil.status.example.com", False),
        ("127.0.0.1.evil.example", False),
        ("127.1", False),
        ("user@localhost", False),
        ("localhost:99999999", False),
        ("localhost/x", False),
        ("localhost#.evil.example", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_a_host_that_a_site_could_choose_is_refused(host: str, accepted: bool) -> None:
    assert accepts_host(host, {"status.example.com"}) is accepted


def test_a_chunked_body_is_bounded_as_well() -> None:
    with listening(30) as port:
        with connected(port) as connection:
            connection.sendall(
                b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            )
            assert read_until(connection, b"POST / 3")
        with connected(port) as connection, suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(MAX_BODY // 65_536 + 1):
                connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            assert read_until(connection, b"refused").startswith(b"HTTP/1.1 413")


def test_a_client_that_does_not_read_its_answer_holds_no_stop_up() -> None:
    with listening(30) as port, connected(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n" * 50)
        began = time.monotonic()
    assert time.monotonic() - began < 20


def test_a_fault_is_logged_by_its_place_and_answered_without_its_words() -> None:
    def broken(environ: dict[str, Any], _start_response: Callable[..., Any]) -> Iterable[bytes]:
        raise ValueError(f"words of a stranger: {environ['PATH_INFO']}")

    written = io.StringIO()
    logs.configure("json", 1, stream=written)
    try:
        with serving("127.0.0.1:0", broken) as url, connected(int(url.rpartition(":")[2])) as connection:
            connection.sendall(b"GET /stranger HTTP/1.1\r\nHost: here\r\n\r\n")
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
            connection.sendall(b"GET /six HTTP/1.1\r\nHost: here\r\n\r\n")
            assert read_until(connection, b"GET /six 0")
