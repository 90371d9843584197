from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.controller.app import MAX_CONNECTIONS, Answer, Request, Server
from tests.controller.process import PATIENCE


@contextmanager
def serving(patience: float) -> Iterator[int]:
    def answer(request: Request) -> Answer:
        return Answer(200, f"{request.method} {request.path} {len(request.body)}".encode())

    with Server(("127.0.0.1", 0), answer, patience=patience) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_one_who_sends_a_byte_now_and_then_is_dropped() -> None:
    with serving(0.5) as port, socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        end = time.monotonic() + PATIENCE
        ended = False
        while not ended and time.monotonic() < end:
            try:
                connection.sendall(b"X")
                connection.settimeout(0.05)
                ended = connection.recv(100) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
        assert ended


def test_several_requests_of_one_connection_are_answered() -> None:
    with serving(PATIENCE) as port, socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        for number in range(3):
            connection.sendall(b"POST /%d HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc" % number)
            answer = b""
            while b"POST" not in answer:
                answer += connection.recv(4096)
            assert answer.endswith(b"POST /%d 3" % number)


def test_there_are_only_so_many_connections_and_they_come_free_again() -> None:
    with serving(0.5) as port:
        many = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) for _ in range(MAX_CONNECTIONS + 8)]
        assert many[-1].recv(10) == b""
        for each in many:
            each.close()
        end = time.monotonic() + PATIENCE
        answer = b""
        while not answer and time.monotonic() < end:
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
                try:
                    connection.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
                    answer = connection.recv(4096)
                except OSError:
                    continue
        assert answer.startswith(b"HTTP/1.1 200")
