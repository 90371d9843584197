"""Webhooks that refuse, are slow, lead elsewhere, or are not there."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import io
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.errors import PublishError
from reconciler.workflow.notifications import IDENTITY_HEADER, POST_ATTEMPTS, SIGNATURE_HEADER, post_webhook
from tests.certificates import make_certificates
from tests.workflow.hook import hook, until

BODY = b'{"text": "x"}'


def send(url: str, *, secret: str = "", timeout: float = 30.0) -> list[float]:
    waits: list[float] = []
    post_webhook(url, BODY, identity="id-1", secret=secret, sleep=waits.append, draw=lambda: 0.5, timeout=timeout)
    return waits


def test_a_message_arrives_with_its_id_and_its_signature() -> None:
    with hook() as there:
        assert send(there.url, secret="key") == []
    (got,) = there.got
    assert got.body == BODY
    assert got.headers["content-type"] == "application/json"
    assert got.headers[IDENTITY_HEADER.lower()] == "id-1"
    assert got.headers[SIGNATURE_HEADER.lower()] == "sha256=" + hmac.new(b"key", BODY, hashlib.sha256).hexdigest()


def test_without_a_key_nothing_is_signed() -> None:
    with hook() as there:
        send(there.url)
    assert SIGNATURE_HEADER.lower() not in there.got[0].headers


def test_what_was_refused_is_sent_again_and_a_wait_that_was_asked_for_is_kept_up_to_a_bound() -> None:
    with hook() as there:
        there.answers = [500, (429, {"Retry-After": "7"}, ""), (503, {"Retry-After": "86400"}, "")]
        assert send(there.url) == [1.0, 7.0, 30.0]
    assert [got.headers[IDENTITY_HEADER.lower()] for got in there.got] == ["id-1"] * 4


def test_the_tries_are_bounded() -> None:
    with hook() as there:
        there.answers = [500] * 20
        with pytest.raises(PublishError, match="HTTP 500, Internal Server Error"):
            send(there.url)
    assert len(there.got) == POST_ATTEMPTS


def test_a_final_refusal_is_not_repeated_and_says_the_one_word_of_slack() -> None:
    with hook() as there:
        there.answers = [(410, {}, "channel_is_archived"), (400, {}, "your URL https://zz is wrong")]
        with pytest.raises(PublishError, match="HTTP 410, Gone, channel_is_archived"):
            send(there.url)
        with pytest.raises(PublishError, match=r"^HTTP 400, Bad Request$"):
            send(there.url)
    assert len(there.got) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_not_followed(status: int) -> None:
    with hook() as there, hook() as elsewhere:
        there.answers = [(status, {"Location": elsewhere.url}, "")]
        with pytest.raises(PublishError, match="redirects are not followed"):
            send(there.url)
    assert (len(there.got), elsewhere.got) == (1, [])


def test_what_may_have_arrived_is_not_sent_again() -> None:
    with hook() as there:
        there.answers = [60.0]
        with pytest.raises(PublishError, match="it may have arrived") as caught:
            send(there.url, timeout=0.5)
        until(lambda: there.got)
    assert caught.value.ambiguous
    assert len(there.got) == 1


def test_a_closed_port_is_retried_and_reported_with_the_system_error_only() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        with pytest.raises(PublishError, match="cannot connect \\(connection refused\\)") as caught:
            send(f"http://127.0.0.1:{port}/zzCANARYzz")
    assert "CANARY" not in repr(caught.value)


@contextlib.contextmanager
def listening(answer: Callable[[socket.socket], object]) -> Iterator[tuple[int, list[int]]]:
    """Give each connection to a loopback port to ``answer``, then close it; yields the port, and a list that grows with each."""
    seen: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    seen.append(1)
                    with contextlib.suppress(OSError):
                        answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], seen
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def test_a_connection_that_ends_without_an_answer_may_have_brought_it() -> None:
    with (
        listening(lambda connection: connection.recv(65_536)) as (port, seen),
        pytest.raises(PublishError, match="it may have arrived") as caught,
    ):
        send(f"http://127.0.0.1:{port}/zzCANARYzz")
    assert caught.value.ambiguous
    assert len(seen) == 1


def test_a_server_without_tls_received_nothing_and_is_retried() -> None:
    got: list[bytes] = []

    def refuse(connection: socket.socket) -> None:
        got.append(connection.recv(65_536))
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with listening(refuse) as (port, seen), pytest.raises(PublishError, match="cannot connect") as caught:
        send(f"https://127.0.0.1:{port}/zzCANARYzz")
    assert not caught.value.ambiguous
    assert len(seen) == POST_ATTEMPTS
    assert b"CANARY" not in b"".join(got)
    assert "CANARY" not in str(caught.value)


def test_an_untrusted_certificate_is_refused(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    got: list[bytes] = []

    def take(connection: socket.socket) -> None:
        with tls.wrap_socket(connection, server_side=True) as inside:
            got.append(inside.recv(65_536))

    with (
        listening(take) as (port, seen),
        pytest.raises(PublishError, match=r"cannot connect .*certificate verify failed"),
    ):
        send(f"https://127.0.0.1:{port}/zzCANARYzz")
    assert len(seen) == POST_ATTEMPTS
    assert got == []


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_of_the_environment_is_used_and_never_sees_the_path(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[bytes] = []

    def refuse(connection: socket.socket) -> None:
        got.append(connection.recv(65_536))
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with listening(refuse) as (port, _):
        monkeypatch.setenv("https_proxy", f"{scheme}me:p%40ss@127.0.0.1:{port}")
        with pytest.raises(PublishError, match="cannot connect") as caught:
            send("https://hooks.example/zzCANARYzz")
        with hook() as there:
            send(there.url)
    assert not caught.value.ambiguous
    assert len(there.got) == 1, "this machine is not asked for through a proxy"
    assert len(got) == POST_ATTEMPTS
    assert got[0].startswith(b"CONNECT hooks.example:443 ")
    assert base64.b64encode(b"me:p@ss") in got[0]
    assert b"CANARY" not in b"".join(got)
    assert "p@ss" not in str(caught.value)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nno header\r\n\r\n"]
)
def test_no_library_logs_the_url(answer: bytes) -> None:
    def take(connection: socket.socket) -> None:
        while b"\r\n\r\n" + BODY not in (got := connection.recv(65_536, socket.MSG_PEEK)) and got:
            pass
        connection.sendall(answer)

    logged = io.StringIO()
    handler = logging.StreamHandler(logged)
    loggers = [logging.getLogger(name) for name in ("", "urllib3.connection", "urllib3.connectionpool")]
    levels = [logger.level for logger in loggers]
    loggers[0].addHandler(handler)
    try:
        for logger in loggers:
            logger.setLevel(logging.DEBUG)
        with listening(take) as (port, seen):
            send(f"http://127.0.0.1:{port}/zzCANARYzz")
            logging.getLogger("urllib3.connectionpool").debug("others are logged")
    finally:
        loggers[0].removeHandler(handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    assert len(seen) == 1
    assert "others are logged" in logged.getvalue()
    assert "CANARY" not in logged.getvalue()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/zzCANARYzz", "https"),
        ("ftp://example.com/zzCANARYzz", "https"),
        ("file:///etc/zzCANARYzz", "invalid URL"),
        ("https://user:zzCANARYzz@example.com/", "user name"),
        ("https://example.com/zz CANARY", "invalid URL"),
        ("https://example.com/zz\nCANARY", "invalid URL"),
        ("https://example.com:zzCANARYzz/", "invalid URL"),
        ("zzCANARYzz", "invalid URL"),
        ("https://[zzCANARYzz/", "invalid URL"),
    ],
)
def test_a_url_that_would_show_itself_is_refused_and_not_shown(url: str, why: str) -> None:
    with pytest.raises(PublishError, match=why) as caught:
        send(url)
    assert "CANARY" not in str(caught.value)
