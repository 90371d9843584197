"""JSON read in parts gives what ``json.loads`` gives, and the same positions of what is malformed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.json_format import DuplicateKey, JsonError, JsonStream

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(['"', "\\", "\\u00e9", "{[", "\x7f"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12
)
SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def parts(text: str, sizes: list[int]) -> Iterator[str]:
    at = number = 0
    while at < len(text):
        size = sizes[number % len(sizes)]
        yield text[at : at + size]
        at, number = at + size, number + 1


def in_pieces(stream: JsonStream) -> Any:
    """Read a value without ever decoding an object or a list whole."""
    match stream.peek():
        case "{":
            return {name: in_pieces(stream) for name in stream.members()}
        case "[":
            return [in_pieces(stream) for _ in stream.items()]
        case _:
            return stream.value()


def whole(stream: JsonStream) -> Any:
    return stream.value()


@pytest.mark.parametrize("read", [in_pieces, whole])
@given(document=DOCUMENTS, indent=st.sampled_from([None, 2]), escaped=st.booleans(), sizes=SIZES)
def test_any_document_is_read_as_json_reads_it(
    read: Callable[[JsonStream], Any], document: Any, indent: int | None, escaped: bool, sizes: list[int]
) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=escaped)
    stream = JsonStream(parts(text, sizes))
    assert read(stream) == document
    stream.end()


@pytest.mark.parametrize("read", [in_pieces, whole])
@given(
    document=DOCUMENTS,
    indent=st.sampled_from([None, 2]),
    at=st.integers(0),
    put=st.sampled_from(["", *'x,]}"\n0:']),
    sizes=SIZES,
)
def test_what_is_malformed_is_at_the_position_that_json_names(
    read: Callable[[JsonStream], Any], document: Any, indent: int | None, at: int, put: str, sizes: list[int]
) -> None:
    text = json.dumps(document, indent=indent)
    at %= len(text)
    damaged = text[:at] + put + text[at:] if put else text[:at]
    stream = JsonStream(parts(damaged, sizes))
    # A name that was damaged may be that of another member.
    assert outcome(lambda: ended(stream, read)) in ("duplicate", outcome(lambda: json.loads(damaged)))


@pytest.mark.parametrize("read", [in_pieces, whole])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "b": 2,\n "a": 1}', '"a"'),
        ('{"b": [{"a": {}},\n {"x\\u0061": 1, "xa": 2}]}', '"xa"'),
        ('{"": 1, "": 1}', '""'),
        ('{"\\ud800": 1, "\\ud800": 1}', '"\\ud800"'),
    ],
)
def test_a_key_that_is_there_twice_is_refused(read: Callable[[JsonStream], Any], text: str, said: str) -> None:
    for size in (1, 1000):
        with pytest.raises(DuplicateKey) as refused:
            read(JsonStream(parts(text, [size])))
        assert str(refused.value).startswith(f"duplicate key {said} (line ")


def ended(stream: JsonStream, read: Callable[[JsonStream], Any]) -> Any:
    value = read(stream)
    stream.end()
    return value


def outcome(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except DuplicateKey:
        return "duplicate"
    except JsonError as error:
        return str(error).partition(" (")[2]
    except json.JSONDecodeError as error:
        return f"line {error.lineno}, column {error.colno})"
