"""What is read line by line is what libyaml reads; everything else is left to libyaml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.target import HOME_REGIONS
from reconciler.spec.yaml import Cache, Source, read_events, read_plain

ROOT = Path(__file__).resolve().parents[2]


def through_libyaml(data: bytes) -> Source:
    source = Source("x", data)
    read_events(source, Cache())
    return source


def check(data: bytes) -> bool:
    """Whether the text is plain; if it is, both readers must agree on it, types and order included."""
    plain = read_plain(data, Cache())
    if plain is None:
        return False
    source = through_libyaml(data)
    assert (source.flaws, source.whole, len(source.documents)) == ([], True, 1)
    assert repr(plain[0]) == repr(source.documents[0])
    assert plain[1].items() <= source.ids[0].items()
    return True


PLAIN = """\
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


def test_a_plain_file_is_read_line_by_line() -> None:
    assert check(PLAIN.encode())


def test_ids_have_their_marks() -> None:
    plain = read_plain(PLAIN.encode(), Cache())
    assert plain is not None
    assert plain[1] == {
        ("channels", "main-stage"): (3, 3),
        ("channels", "other"): (13, 3),
        ("channels", "third"): (14, 3),
        ("playbackKeyPairs", "web"): (16, 9),
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment\n",
        "text\n",
        "- a\n",
        "a: b\na: c\n",
        "a: {b: c, b: d}\n",
        "a: {1: b}\n",
        "1: a\n",
        "null: a\n",
        "true: a\n",
        "1e3: a\n",
        "a: b\n  c: d\n",
        "a:\n    b: c\n  d: e\n",
        " a: b\nc: d\n",
        "a: &x b\n",
        "a: *x\n",
        "a: !!str b\n",
        "a: |\n  b\n",
        "a: b\n c\n",
        "a: b: c\n",
        "a: b:\n",
        "a:b\n",
        "a : b\n",
        "a: -1\n",
        "a: {b: c\n",
        "a: " + "{a: " * 20 + "b" + "}" * 20,
        "a: " + "[" * 20 + "]" * 20,
        "a: {b:c}\n",
        "a: 'it''s'\n",
        'a: "\\u0041"\n',
        "a: é\n",
        "a: b\r\n",
        "a:\tb\n",
        "---\na: b\n",
        "a: b\n...\n",
        "a: b\n---\nc: d\n",
        "<<: {a: b}\n",
        "? a\n: b\n",
        "a: b #c\n  d\n",
        "a: @b\n",
        "a: %b\n",
        "%YAML 1.2\n---\na: b\n",
        "a: b\n\x00",
        f"{'a' * 129}: b\n",
        "\ufeffa: b\n",
        "a:\n- b\n",
        "a: [b\n",
        "a: b,\n",
        "a: b# c: d\n",
        "".join(f"{' ' * depth}a:\n" for depth in range(20)),
        f"a: {{{', '.join(f'k{number}: {{}}' for number in range(50))}}}\n",
    ],
)
def test_what_is_not_plain_is_left_to_libyaml(text: str) -> None:
    assert read_plain(text.encode(), Cache()) is None


@pytest.mark.parametrize("first", ["a: b\n", "x: {a: 1}\n", "a: 1\nb:\n  a: 1\n"])
def test_what_one_file_said_means_the_same_in_the_next(first: str) -> None:
    cache = Cache()
    read_plain(first.encode(), cache)
    for text in ("a: b\nb: a\n", "b:\n  a: b\n  c: {a: b}\n", "a: 1\na: b\n", "c: d\n  a: b\n"):
        assert read_plain(text.encode(), cache) == read_plain(text.encode(), Cache())


WORDS = st.sampled_from(
    [
        "a",
        "STANDARD",
        "null",
        "~",
        "true",
        "No",
        "yes",
        "1",
        "0x1f",
        "1.5",
        ".5",
        "1e3",
        ".inf",
        ".nan",
        "...",
        "a:b",
        "arn:aws:ivs:x",
        "{}",
        "[]",
        "+",
        "@",
        "/",
        "a@b",
        "2024-01-01",
        "1:2",
        "12:30:45",
        "0o17",
        "1_000",
        ".",
        "/x",
        "~a",
        "+1",
        "1e",
        "0x",
        "a-",
        "a+",
        "1.",
        "NULL",
        "-",
        "-a",
        "-1",
        "*a",
        "&a",
        "|",
        ">",
        "?",
        "%",
        ":",
        "#",
        ",",
        "]",
        "}",
        "{",
        "[",
        "'",
        '"',
        "<<",
        "-",
        "!",
        "a:",
        ":a",
        "\\",
        "é",
        "\t",
        "a b",
        '"q"',
        '"a: b, c"',
        "'s'",
        "''",
        '""',
        '"#"',
        "{a: b}",
        "{a: {b: c}}",
        '[a, "b"]',
        "[[a], {b: 1}]",
        '{a: "x, y: z"}',
        "{a: [b]}",
        "a. b",
        "a:1 b:2",
        "{a: b, a: c}",
        "{1: b}",
        "{a:b}",
        "{a: b",
        '"x',
        "'x",
        '"\\n"',
        "{a: }",
        "[a,b]",
        "[a, ]",
        '{"a": b}',
        "{a: b c}",
        "{ a: b }",
        "[ ]",
        "a #c",
        "a#c",
        "&a b",
        "!t a",
    ]
)
KEYS = st.sampled_from(
    [
        *["a", "b", "c", "y", "No", "1a", "-1", "1", "null", "~", "x-1", "a.b", "a/b", "a@b", "_", "<<"],
        "a b",
        '"q"',
        "K" * 129,
    ]
)
COMMENTS = st.sampled_from(["", "", "", "", " # c", "  # a: b", "#c", " "])
NOISE = st.one_of(
    st.sampled_from(["", "   ", "# c", "  # x: y", "---", "...", "- a", "text", "\t", "}", "a:"]),
    st.text("ab:{}[],\"' #-1", max_size=12),
)


def lines_of(draw: st.DrawFn, tree: dict[str, Any], indent: int) -> list[str]:
    lines = []
    for key, value in tree.items():
        behind = draw(COMMENTS)
        if isinstance(value, dict):
            lines += [
                f"{' ' * indent}{key}:{behind}",
                *lines_of(draw, value, indent + draw(st.sampled_from([1, 2, 2, 4]))),
            ]
        else:
            lines.append(f"{' ' * indent}{key}:{draw(st.sampled_from([' ', ' ', '  ', '']))}{value}{behind}")
    return lines


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Draw something very like a plain file, then perhaps damage it."""
    tree = draw(
        st.dictionaries(
            KEYS,
            st.recursive(WORDS, lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=5),
            min_size=1,
            max_size=3,
        )
    )
    lines = lines_of(draw, tree, 0)
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["in", "out", "again", "noise"])):
            case "in":
                lines[at] = " " + lines[at]
            case "out":
                lines[at] = lines[at][1:]
            case "again":
                lines.insert(at, draw(st.sampled_from(lines)))
            case _:
                lines.insert(at, draw(NOISE))
    return draw(st.sampled_from(["\n", "\n", "\n", "\r\n"])).join(lines) + draw(st.sampled_from(["\n", "", "\n\n"]))


@given(texts())
def test_both_readers_agree_on_whatever_is_plain(text: str) -> None:
    check(text.encode())


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples").rglob("*.yaml")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_both_readers_agree_on_the_examples(path: Path) -> None:
    check(path.read_bytes())


def test_a_long_line_that_is_nearly_plain_takes_no_time() -> None:
    for line in (
        "a: " + "b " * 20_000 + "!",
        "a: {" + "b: c, " * 20_000,
        "a: [" + '"b", ' * 20_000,
        "a: " + "b:c" * 20_000 + " :",
        "a: " + "'" * 20_001,
    ):
        assert not check(line.encode())


def test_a_plain_project_is_loaded_without_pyyaml(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "ivs-reconciler.yaml").write_text(
        f"stack: a\ntargets: {{dev: {{region: {HOME_REGIONS[0]}}}}}\n", encoding="utf-8"
    )
    (tmp_path / "specs" / "a.yaml").write_text("channels:\n  a: {type: BASIC}\n", encoding="utf-8")
    script = "import sys; from reconciler.cli.main import main; main(['validate']); print('yaml' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert ran.stdout.endswith("no problems\nFalse\n")
