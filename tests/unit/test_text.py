from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.aws.parser import PlainParserFactory
from reconciler.terminal import sanitize, sanitize_json, sanitize_lines, without_surrogates

ANY = st.text(st.characters(exclude_categories=()), max_size=20)
VALUES = st.recursive(
    st.none() | st.integers() | ANY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY, inner, max_size=3),
    max_leaves=8,
)


@given(ANY)
def test_harmless_text_is_one_line_of_what_can_be_seen(text: str) -> None:
    shown = sanitize(text)
    shown.encode()
    assert shown.splitlines() in ([shown], [])
    assert sanitize(shown) == shown
    assert len(sanitize_lines(text).split("\n")) == text.count("\n") + 1


@given(VALUES)
def test_harmless_json_says_the_same_with_nothing_in_it_that_a_terminal_obeys(value: object) -> None:
    text = sanitize_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    text.encode()
    assert not {char for char in text if "\x7f" <= char < "\xa0" or char in "\u202e\u2066\u2028\ufeff"}


@given(VALUES)
def test_a_whole_value_can_be_written_and_is_otherwise_the_same(value: object) -> None:
    made = without_surrogates(value)
    json.dumps(made, ensure_ascii=False).encode()
    assert without_surrogates(made) == made
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    assert made == value


def parsed(protocol: str, status: int, body: bytes) -> Any:
    parser: Any = PlainParserFactory().create_parser(protocol)
    return parser.parse(
        {"status_code": status, "headers": {}, "body": body, "context": {"operation_name": "ListChannels"}}, None
    )


def test_halves_of_characters_do_not_get_in() -> None:
    answer = parsed("rest-json", 200, rb'{"name": "\ud83d\ude00 \uD800 x", "\udfff": [{"a": "\udc00"}]}')
    assert (answer["name"], answer["\ufffd"]) == ("\U0001f600 \ufffd x", [{"a": "\ufffd"}])
    assert parsed("rest-json", 200, b'{"name": "a\xed\xa0\x80b"}')["name"] == "a\ufffdb"
    assert parsed("rest-json", 200, '{"name": "한국"}'.encode())["name"] == "한국"


@pytest.mark.parametrize("protocol", ["rest-json", "json"])
@pytest.mark.parametrize("body", [rb'{"message": "no \ud800"}', b'{"message": "no \xed\xa0\x80"}'])
def test_nor_with_errors(protocol: str, body: bytes) -> None:
    assert parsed(protocol, 403, body)["Error"]["Message"] == "no \ufffd"


@pytest.mark.parametrize("body", [b'{"message": "\xff"}', b"[1]", b"\xff\xfe", b"<html>"])
def test_an_unreadable_error_is_not_a_python_error(body: bytes) -> None:
    for protocol in ("rest-json", "json"):
        parsed(protocol, 500, body)["Error"]["Message"].encode()
