"""YAML as the loader reads it, and what it refuses."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
import yaml

from reconciler.spec.yaml import MAX_DEPTH, Cache, Source, load, read_events, read_marks


def read(text: str | bytes) -> Any:
    """Return the one document of a sound file."""
    source = load("x", text.encode() if isinstance(text, str) else text)
    assert source.problems == []
    (document,) = source.documents
    return document


def flaws(text: str | bytes) -> list[str]:
    source = load("x", text.encode() if isinstance(text, str) else text)
    return [
        f"{problem.mark[0]}:{problem.mark[1]} {problem.what}" if problem.mark else problem.what
        for problem in source.problems
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *[(word, None) for word in ("null", "Null", "NULL", "~", "")],
        *[(word, True) for word in ("true", "True", "TRUE")],
        *[(word, False) for word in ("false", "False", "FALSE")],
        *[
            (word, word)
            for word in (
                "NO",
                "no",
                "yes",
                "on",
                "Off",
                "y",
                "nULL",
                "truE",
                "1_000",
                "0b1",
                "12:30:45",
                "2024-01-01",
                "1.2.3",
                "+",
                "e3",
                "=",
                "0o8",
                "-0x1F",
            )
        ],
        ("0", 0),
        ("-12", -12),
        ("+12", 12),
        ("017", 17),
        ("0o17", 15),
        ("0x1f", 31),
        ("1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("-1.5E-2", -0.015),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("+.INF", math.inf),
        ("'12'", "12"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("!!str", ""),
        ("!!int '12'", 12),
        ("!!float 12", 12.0),
        ("!!bool 'true'", True),
        ("!!null ''", None),
        ("9" * 5000, "9" * 5000),
        ("Köln", "Köln"),
    ],
)
def test_scalars_follow_the_core_schema(written: str, meant: object) -> None:
    found = read(f"key: {written}\n")["key"]
    assert (found, type(found)) == (meant, type(meant))


def test_not_a_number_is_a_number() -> None:
    assert all(math.isnan(value) for value in read("[.nan, .NaN, .NAN]"))


def test_blocks_and_flows_and_multi_line_texts_are_read() -> None:
    assert read("a:\n  - b: |\n      one\n      two\n    c: >\n      x\n      y\n  - [1, {d: e}]\n") == {
        "a": [{"b": "one\ntwo\n", "c": "x y\n"}, [1, {"d": "e"}]]
    }


def test_merge_keys_give_way_to_what_is_written_and_earlier_ones_win() -> None:
    assert read("a: &a {k: 1, l: 2}\nb: {k: 3, <<: *a}\nc: {<<: [*a, {l: 4, m: 5}]}\nd: {<<: {n: 6}}\n") == {
        "a": {"k": 1, "l": 2},
        "b": {"k": 3, "l": 2},
        "c": {"k": 1, "l": 2, "m": 5},
        "d": {"n": 6},
    }


def test_a_quoted_merge_key_is_a_key_like_any_other() -> None:
    assert read('"<<": 1\n') == {"<<": 1}


def test_a_merge_of_a_merge_reaches_all_the_way_down() -> None:
    assert read("a: &a {k: 1}\nb: &b {<<: *a, l: 2}\nc: {<<: *b}\n")["c"] == {"k": 1, "l": 2}


def test_aliases_are_values_and_keys_and_may_be_redefined() -> None:
    assert read("a: &x one\nb: *x\n*x : c\nd: &x two\ne: *x\n") == {
        "a": "one",
        "b": "one",
        "one": "c",
        "d": "two",
        "e": "two",
    }


@pytest.mark.parametrize("text", ["", "# only a comment\n", "\n\n", "\ufeff"])
def test_a_file_of_nothing_has_no_document(text: str) -> None:
    source = load("x", text.encode())
    assert (source.documents, source.problems) == ([], [])


def test_documents_are_kept_apart_and_so_are_their_anchors() -> None:
    source = load("x", b"--- {a: &x 1}\n---\n--- [b]\n...\n")
    assert source.documents == [{"a": 1}, None, ["b"]]
    assert flaws("a: &x 1\n---\nb: *x\n") == ["3:4 undefined alias *x"]


def test_a_byte_order_mark_and_carriage_returns_do_not_matter() -> None:
    assert read(b"\xef\xbb\xbfa: 1\r\nb:\r\n  - c\r\n") == {"a": 1, "b": ["c"]}


SPEC = """\
# a comment
channels:
  main-stage:
    name: Main_Stage   # beside a value
    authorized: true

    recordingConfigurationArn: arn:aws:ivs:us-west-2:123456789012:recording-configuration/abc
    tags: {event: "key: note, 1", team: 'a b', order: 7, none: ~, empty: "", rate: .5}
    streamKey: {tags: {encoder: studio-a}}
   # a comment anywhere
    ignoreChanges: [latencyMode, "tags/a", no]
    title: two words and 1 number
  other:
  third: {}
playbackKeyPairs:
        web: {publicKeyMaterial: {file: keys/web.pem}}
failoverSlateConfigurations:
"""


def test_a_spec_as_it_is_usually_written() -> None:
    assert read(SPEC) == {
        "channels": {
            "main-stage": {
                "name": "Main_Stage",
                "authorized": True,
                "recordingConfigurationArn": "arn:aws:ivs:us-west-2:123456789012:recording-configuration/abc",
                "tags": {"event": "key: note, 1", "team": "a b", "order": 7, "none": None, "empty": "", "rate": 0.5},
                "streamKey": {"tags": {"encoder": "studio-a"}},
                "ignoreChanges": ["latencyMode", "tags/a", "no"],
                "title": "two words and 1 number",
            },
            "other": None,
            "third": {},
        },
        "playbackKeyPairs": {"web": {"publicKeyMaterial": {"file": "keys/web.pem"}}},
        "failoverSlateConfigurations": None,
    }


def test_ids_have_their_marks_without_a_second_reading() -> None:
    source = load("x", SPEC.encode())
    marks = [
        source.mark_of(source.numbers[id(source.documents[0][section])][identifier])
        for section, identifier in (("channels", "main-stage"), ("channels", "other"), ("playbackKeyPairs", "web"))
    ]
    assert marks == [(3, 3), (13, 3), (16, 9)]
    assert set(source.marks.values()) == {*marks, (14, 3)}


@pytest.mark.parametrize("first", ["a: b\n", "x: {a: 1}\n", "a: 1\nb:\n  a: 1\n", "'1': '1'\n"])
def test_what_one_file_said_means_the_same_in_the_next(first: str) -> None:
    cache = Cache()
    load("first", first.encode(), cache)
    for text in ("a: b\nb: a\n", "b:\n  a: b\n  c: {a: b}\n", "a: 1\na: b\n", "c: 1\nd: '1'\n"):
        second, alone = load("x", text.encode(), cache), load("x", text.encode())
        assert repr(second.documents) == repr(alone.documents)
        assert second.problems == alone.problems


def test_equal_texts_of_several_files_are_one_object() -> None:
    cache = Cache()
    first, second = (load(name, b"key: some-text\nquoted: 'some text'\n", cache).documents[0] for name in "ab")
    assert first["key"] is second["key"]
    assert first["quoted"] is second["quoted"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", '3:1 duplicate key "a" (first defined on line 1, column 1)'),
        ("a: {b: 1, c: {d: 1, d: 2}}\n", '1:21 duplicate key "d" (first defined on line 1, column 15)'),
        ("a: 1\n'a': 2\n", '2:1 duplicate key "a" (first defined on line 1, column 1)'),
        ("x: &k a\na: 1\n*k : 2\n", '3:1 duplicate key "a" (first defined on line 2, column 1)'),
        ("a: &a {}\nb: {<<: *a, <<: *a}\n", '2:13 duplicate key "<<" (first defined on line 2, column 5)'),
        ("1: a\n", "1:1 key 1 is not a string"),
        ("a: {true: b}\n", "1:5 key true is not a string"),
        ("~: a\n", "1:1 key ~ is not a string"),
        ("?\n: a\n", "1:2 empty key"),
        ("? [a]\n: b\n", "1:3 a mapping or a list cannot be a key"),
        ("{a: b}: c\n", "1:1 a mapping or a list cannot be a key"),
        ("a: &x {b: c}\n*x : d\n", "2:1 an alias used as a key must refer to a string"),
        ("a: !!python/object/apply:os.system [x]\n", '1:4 tag "!!python/object/apply:os.system" is not allowed'),
        ("a: !Ref b\n", '1:4 tag "!Ref" is not allowed'),
        ("!Foo {a: b}\n", '1:1 tag "!Foo" is not allowed'),
        ("a: !!set {b}\n", '1:4 tag "!!set" is not allowed'),
        ("a: !!binary aGk=\n", '1:4 tag "!!binary" is not allowed'),
        ("a: !!timestamp 2024-01-01\n", '1:4 tag "!!timestamp" is not allowed'),
        ("a: !!map [b]\n", '1:4 tag "!!map" is not allowed'),
        ("a: !!int x\n", '1:4 "x" is not a valid !!int'),
        ("a: !!int true\n", '1:4 "true" is not a valid !!int'),
        ("a: *b\n", "1:4 undefined alias *b"),
        ("a: &a [*a]\n", "1:8 alias *a refers to a value that contains it"),
        ("a: {<<: b}\n", "1:9 the merge key << requires a mapping or a list of mappings"),
        ("a: {<<: [{b: c}, d]}\n", "1:19 the merge key << requires a mapping or a list of mappings"),
        ("a: b: c\n", "1:5 not valid YAML: mapping values are not allowed in this context"),
        ("a:\n\tb: c\n", "2:1 tabs are not allowed here"),
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 215\n",
            "1:1 this is a Git LFS pointer, not the file itself",
        ),
        (
            "a:\n<<<<<<< HEAD\n  b: {}\n=======\n  c: {}\n>>>>>>> side\n",
            "2:1 this line is a marker of an unresolved merge conflict",
        ),
        ("a: 1\r\n=======\r\nb: 2\r\n", "2:1 this line is a marker of an unresolved merge conflict"),
        ("a: \x01\n", "1:4 the character U+0001 is not allowed in YAML"),
        ("a: [b\n", "2:1 not valid YAML: did not find expected ',' or ']', while parsing a flow sequence"),
        ('a: "b\n', "2:1 not valid YAML: found unexpected end of stream, while scanning a quoted scalar"),
        (
            "a: @b\n",
            "1:4 not valid YAML: found character that cannot start any token, while scanning for the next token",
        ),
        (b"a: b\nc: \xff\n", "is not UTF-8: invalid byte 0xff at offset 8, line 2"),
        ("name: K\u00f6ln\n".encode("latin-1"), "is not UTF-8: invalid byte 0xf6 at offset 7, line 1"),
        ("a: b\n".encode("utf-16"), "is UTF-16"),
    ],
)
def test_what_is_refused_is_named_with_its_place(text: str | bytes, expected: str) -> None:
    assert flaws(text) == [expected]


def test_every_repetition_of_a_key_names_the_first_one() -> None:
    assert flaws("a: 1\na: 2\na: 3\n") == [
        f'{line}:1 duplicate key "a" (first defined on line 1, column 1)' for line in (2, 3)
    ]


def test_several_troubles_of_one_file_are_all_reported() -> None:
    assert len(flaws("1: a\nb: !Ref c\nd: e\nd: f\n")) == 3


def test_aliases_that_explode_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    begun = time.process_time()
    assert flaws("\n".join(lines)) == ["6:20 the aliases of this file expand to more than 500,000 values"]
    assert time.process_time() - begun < 1


def test_merges_that_explode_are_refused_too() -> None:
    lines = ["a0: &a0 {" + ", ".join(f"k{n}: v" for n in range(1000)) + "}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 30)]
    assert [problem.split(" ", 1)[1] for problem in flaws("\n".join(lines))] == [
        "the aliases of this file expand to more than 500,000 values"
    ]


def test_many_bounded_aliases_are_accepted() -> None:
    text = "common: &c {a: 1, b: 2, c: 3}\nlist:\n" + "- *c\n" * 10_000
    assert len(read(text)["list"]) == 10_000


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "a:\n"])
def test_nesting_without_end_is_refused(opening: str) -> None:
    text = "".join(" " * depth + "a:\n" for depth in range(500)) if opening == "a:\n" else opening * 100_000
    begun = time.process_time()
    (problem,) = flaws(text)
    assert f"nested more than {MAX_DEPTH} levels deep" in problem
    assert time.process_time() - begun < 1


def test_the_parser_of_pyyaml_itself_gives_the_same_values_and_marks() -> None:
    text = b"channels:\n  a: &x {b: [1, 2], <<: {c: d}}\n  e: *x\n"
    quick, slow = Source("x", text), Source("x", text)
    read_events(quick, Cache())
    read_events(slow, Cache(), yaml.BaseLoader)
    assert slow.documents == quick.documents == [{"channels": {"a": (a := {"b": [1, 2], "c": "d"}), "e": a}}]
    assert read_marks(text, yaml.BaseLoader) == read_marks(text)


@pytest.mark.parametrize(
    ("path", "at_key", "expected"),
    [
        (("channels",), True, (2, 1)),
        (("channels", "a"), True, (3, 3)),
        (("channels", "a"), False, (3, 3)),
        (("channels", "a", "type"), False, (4, 11)),
        (("channels", "a", "type"), True, (4, 5)),
        (("channels", "a", "list", 1), False, (5, 15)),
        (("channels", "a", "missing"), False, (3, 3)),
        (("channels", "b", "type"), False, (4, 11)),
        (("channels", "b", "name"), False, (8, 11)),
        (("channels", "c", "list", 0), False, (5, 12)),
        (("channels", "d", "type"), False, (4, 11)),
        (("channels", "d", "type"), True, (10, 7)),
        (("channels", "d", "list", 1), False, (8, 11)),
        (("nowhere", "at", "all"), False, (2, 1)),
        ((), False, (2, 1)),
    ],
)
def test_a_path_leads_to_the_place_where_the_thing_is_written(
    path: tuple[str | int, ...], at_key: bool, expected: tuple[int, int]
) -> None:
    source = load(
        "x",
        b"# a comment\nchannels:\n  a: &a\n    type: &t BASIC\n    list: [1, 2]\n  b:\n    <<: *a\n    name: &n x\n  c: {<<: [*a]}\n"
        b"  d: {type: *t, list: [1, *n]}\n",
    )
    assert source.mark(path, at_key=at_key) == expected
