"""Webhooks that refuse, are slow, lead elsewhere, or are not there."""

from __future__ import annotations

import hashlib
import hmac
import socket

import pytest

from reconciler.errors import PublishError
from reconciler.forge.webhook import ATTEMPTS, IDENTITY, SIGNATURE, post
from tests.workflow.hook import hook

BODY = b'{"text": "x"}'


def send(url: str, *, secret: str = "", timeout: float = 30.0) -> list[float]:
    waits: list[float] = []
    post(url, BODY, identity="id-1", secret=secret, sleep=waits.append, draw=lambda: 0.5, timeout=timeout)
    return waits


def test_a_message_arrives_with_its_id_and_its_signature() -> None:
    with hook() as there:
        assert send(there.url, secret="key") == []
    (got,) = there.got
    assert got.body == BODY
    assert got.headers["content-type"] == "application/json"
    assert got.headers[IDENTITY.lower()] == "id-1"
    assert got.headers[SIGNATURE.lower()] == "sha256=" + hmac.new(b"key", BODY, hashlib.sha256).hexdigest()


def test_without_a_key_nothing_is_signed() -> None:
    with hook() as there:
        send(there.url)
    assert SIGNATURE.lower() not in there.got[0].headers


def test_what_was_refused_is_sent_again_and_a_wait_that_was_asked_for_is_kept_up_to_a_bound() -> None:
    with hook() as there:
        there.answers = [500, (429, {"Retry-After": "7"}, ""), (503, {"Retry-After": "86400"}, "")]
        assert send(there.url) == [1.0, 7.0, 30.0]
    assert [got.headers[IDENTITY.lower()] for got in there.got] == ["id-1"] * 4


def test_the_tries_are_bounded() -> None:
    with hook() as there:
        there.answers = [500] * 20
        with pytest.raises(PublishError, match="it answered 500, Internal Server Error"):
            send(there.url)
    assert len(there.got) == ATTEMPTS


def test_a_final_refusal_is_not_repeated_and_says_the_one_word_of_slack() -> None:
    with hook() as there:
        there.answers = [(410, {}, "channel_is_archived"), (400, {}, "your URL https://zz is wrong")]
        with pytest.raises(PublishError, match="it answered 410, Gone, channel_is_archived"):
            send(there.url)
        with pytest.raises(PublishError, match=r"it answered 400, Bad Request$"):
            send(there.url)
    assert len(there.got) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_not_followed(status: int) -> None:
    with hook() as there, hook() as elsewhere:
        there.answers = [(status, {"Location": elsewhere.url}, "")]
        with pytest.raises(PublishError, match="a redirect, which is not followed"):
            send(there.url)
    assert (len(there.got), elsewhere.got) == (1, [])


def test_what_may_have_arrived_is_not_sent_again() -> None:
    with hook() as there:
        there.answers = [60.0]
        with pytest.raises(PublishError, match="may or may not have arrived") as caught:
            send(there.url, timeout=0.5)
    assert caught.value.ambiguous
    assert len(there.got) == 1


def test_a_port_that_nobody_listens_on_is_tried_and_named_by_the_system_alone() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(PublishError, match="it cannot be reached \\(connection refused\\)") as caught:
        send(f"http://127.0.0.1:{port}/zzCANARYzz")
    assert "CANARY" not in repr(caught.value)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/zzCANARYzz", "https"),
        ("ftp://example.com/zzCANARYzz", "https"),
        ("file:///etc/zzCANARYzz", "not one"),
        ("https://user:zzCANARYzz@example.com/", "user name"),
        ("https://example.com/zz CANARY", "not one"),
        ("https://example.com/zz\nCANARY", "not one"),
        ("https://example.com:zzCANARYzz/", "not one"),
        ("zzCANARYzz", "not one"),
        ("https://[zzCANARYzz/", "not one"),
    ],
)
def test_a_url_that_would_show_itself_is_refused_and_not_shown(url: str, why: str) -> None:
    with pytest.raises(PublishError, match=why) as caught:
        send(url)
    assert "CANARY" not in str(caught.value)
