"""Loads YAML files as dicts, lists and scalars, with line and column of every value.

Built on libyaml's parse events: several times faster than PyYAML's loaders, and tags never construct objects.
Scalars follow the YAML 1.2 core schema, so ``NO``, ``yes`` and ``on`` are strings.
Refused are duplicate keys, keys that are not strings, unknown tags, recursive or unbounded aliases and deep nesting.
Problems are collected in ``Source``; bad input raises nothing.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from yaml.reader import ReaderError

from reconciler.spec.problems import KeyPath, Problems, quote

Mark = tuple[int, int]
"""Line and column, both from 1."""

_PLACEHOLDER = re.compile(rb"\{[\w.-]+\}|\{\{")
_CONFLICT = re.compile(rb"(?m)^(<{7}|>{7}|\|{7}) |^={7}\r?$")
"""A line that git writes into a file with a merge conflict."""

_CHECK = "check indentation, colons and quotes on this line and the one before"


class YamlProblem(NamedTuple):
    """A problem of the YAML itself; ``mark`` is ``None`` for the whole file."""

    mark: Mark | None
    what: str
    hint: str = ""


def mark_of(mark: Any) -> Mark:
    """Return line and column of a PyYAML mark."""
    return mark.line + 1, mark.column + 1


def encoding_problem(data: bytes, error: UnicodeDecodeError) -> YamlProblem:
    """Return the problem of a file that is not UTF-8."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return YamlProblem(None, "is UTF-16", "save it as UTF-8")
    line = data.count(b"\n", 0, error.start) + 1
    return YamlProblem(
        None,
        f"is not UTF-8: invalid byte 0x{data[error.start]:02x} at offset {error.start}, line {line}",
        "save it as UTF-8",
    )


def syntax_problem(data: bytes, error: yaml.YAMLError) -> YamlProblem:
    """Return the problem of a syntax error. libyaml's texts quote no values, so they cannot reveal a secret."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        line, column = mark_of(error.problem_mark)
        if _is_tab(data, line, column):
            return YamlProblem((line, column), "tabs are not allowed here", "indent with spaces")
        what = f"{error.problem}, {error.context}" if error.context else str(error.problem)
        if conflict := _CONFLICT.search(data):
            at = data.count(b"\n", 0, conflict.start()) + 1
            return YamlProblem((at, 1), "this line is a marker of an unresolved merge conflict", "resolve the conflict")
        return YamlProblem((line, column), f"not valid YAML: {what}", _CHECK)
    if isinstance(error, ReaderError):
        code = error.character if isinstance(error.character, int) else ord(error.character)
        before, found, _ = data.decode().partition(chr(code))
        mark = (before.count("\n") + 1, len(before) - before.rfind("\n")) if found else None
        return YamlProblem(mark, f"the character U+{code:04X} is not allowed in YAML", "remove it")
    return YamlProblem(None, "is not valid YAML", _CHECK)


def _is_tab(data: bytes, line: int, column: int) -> bool:
    """Return whether the cause is a tab: the character at the mark, or one in the indentation of its line."""
    lines = data.decode().split("\n")
    text = lines[line - 1] if line <= len(lines) else ""
    return text[column - 1 : column] == "\t" or "\t" in text[: len(text) - len(text.lstrip())]


_KEYWORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,4000}|0o[0-7]{1,4000}|0x[0-9a-fA-F]{1,4000}")
_FLOAT = re.compile(
    r"[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


def parse_scalar(text: str) -> Any:
    """Return the value of a plain scalar by the core schema of YAML 1.2."""
    if text in _KEYWORDS:
        return _KEYWORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(
            text.replace(".inf", "inf").replace(".nan", "nan")
            if text[-1].isdigit() or text[-1] == "."
            else text.lower().replace(".", "")
        )
    return text


@dataclass(slots=True)
class Cache:
    """Scalars read so far, shared by the files of one load, so that equal strings are one object."""

    plain: dict[str, Any] = field(default_factory=dict)
    quoted: dict[str, str] = field(default_factory=dict)


MAX_DEPTH = 64
"""Levels of nesting; a spec needs about eight."""

MAX_ALIASED = 500_000
"""Maximum number of values that the aliases of one file expand to."""

Parser: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""libyaml's parser, or PyYAML's own without the library. Only its events are used; nothing is constructed."""

_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "null": (type(None),),
}
_MERGE = "<<"
_IDS = 2
"""The depth of ids: below the document and the section."""

_IN_LIST: Any = object()
_NO_KEY: Any = object()
_MERGE_KEY: Any = object()
_UNKNOWN: Any = object()


class _PositionsRequiredError(Exception):
    """A problem needs the position of a key that was not kept."""


class _RefusedError(Exception):
    """The rest of the file cannot be read."""

    def __init__(self, event: Any, what: str, hint: str) -> None:
        self.problem = YamlProblem(mark_of(event.start_mark), what, hint)
        super().__init__(what)


def read_events(source: Source, cache: Cache, parser: Any = Parser, *, positions: bool = False) -> None:
    """Read every document of a file into ``source``, its problems included.

    Positions are kept of ids and what is above them, or of everything with ``positions``.
    """
    try:
        _Reader(source, cache, positions=positions).read(parser(source.data))
    except _PositionsRequiredError:
        source.forget()
        read_events(source, cache, parser, positions=True)
    except _RefusedError as refused:
        source.stop(refused.problem)
    except yaml.YAMLError as error:
        source.stop(syntax_problem(source.data, error))


def read_marks(data: bytes, parser: Any = Parser) -> list[Mark]:
    """Return the mark of every event of a file, up to the first syntax error."""
    marks = []
    events = parser(data)
    with contextlib.suppress(yaml.YAMLError):  # reported when the values were read
        while (event := events.get_event()) is not None:
            marks.append(mark_of(event.start_mark))
    return marks


class _Reader:
    """Builds values from events: the current collection, a stack of the outer ones, and the anchors of the document.

    ``_key`` is what comes next: ``_NO_KEY`` a key, ``_IN_LIST`` a list item, ``_MERGE_KEY`` the mappings to merge, otherwise the value of that key.
    """

    def __init__(self, source: Source, cache: Cache, *, positions: bool) -> None:
        self._source, self._cache, self._positions = source, cache, positions
        self._value: Any = source.documents
        self._numbers: dict[Any, int] = {}
        source.numbers[id(source.documents)] = self._numbers
        self._key: Any = _IN_LIST
        self._merges: Any = None
        self._unread: dict[Any, int] = {}
        self._around: list[tuple[Any, dict[Any, int], Any, Any, Any, int, int]] = []
        self._anchors: dict[str, tuple[Any, int, int]] = {}
        self._aliased = 0

    def read(self, parser: Any) -> None:
        """Read all events of a parser."""
        others = {
            MappingStartEvent: self._open,
            MappingEndEvent: self._close,
            SequenceStartEvent: self._open,
            SequenceEndEvent: self._close,
            AliasEvent: self._alias,
            DocumentStartEvent: self._begin_document,
        }
        plain, quoted = self._cache.plain, self._cache.quoted
        next_event, add, number = parser.get_event, self._add, -1
        while (event := next_event()) is not None:
            number += 1
            if event.__class__ is not ScalarEvent:
                if handle := others.get(event.__class__):
                    handle(event, number)
                continue
            text = event.value
            if event.implicit[0]:
                value = plain.get(text, _UNKNOWN)
                if value is _UNKNOWN:
                    value = plain[text] = parse_scalar(text)
            elif event.tag is None:
                value = quoted.setdefault(text, text)
            else:
                value = self._tagged(event)
            if event.anchor is not None:
                self._anchors[event.anchor] = value, number, 1
            key = self._key
            if key.__class__ is str:
                # What is most frequent, the value of a key, without a call.
                self._key = _NO_KEY
                self._value[key] = value
            else:
                add(value, event, number)

    def _add(self, value: Any, event: Any, number: int) -> None:
        """Add a value to the current collection. ``number`` is the number of its event."""
        key = self._key
        if key is _NO_KEY:
            if value.__class__ is not str or value in self._value or value == _MERGE:
                value = self._unusual_key(value, event)
            self._key = value
            self._numbers[value] = number
            if len(self._around) == _IDS:
                self._source.marks[number] = mark_of(event.start_mark)
        elif key is _IN_LIST:
            self._numbers[len(self._value)] = number
            self._value.append(value)
        elif key is _MERGE_KEY:
            self._key = _NO_KEY
            self._merges += self._mergeable(value, event)
        else:
            self._key = _NO_KEY
            self._value[key] = value

    def _open(self, event: Any, number: int) -> None:
        if self._key is _NO_KEY:
            raise _RefusedError(event, "a mapping or a list cannot be a key", "write a string before the colon")
        if len(self._around) >= MAX_DEPTH:
            raise _RefusedError(event, f"nested more than {MAX_DEPTH} levels deep", "check brackets and indentation")
        is_mapping = event.__class__ is MappingStartEvent
        if event.tag is not None:
            self._check_tag(event, "map" if is_mapping else "seq")
        if event.anchor is not None:
            self._anchors[event.anchor] = _UNKNOWN, number, 0
        self._around.append((self._value, self._numbers, self._key, self._merges, event, number, self._aliased))
        self._value, self._key = ({}, _NO_KEY) if is_mapping else ([], _IN_LIST)
        if self._positions or len(self._around) <= _IDS:
            self._numbers = self._source.numbers[id(self._value)] = {}
        else:
            # One dict for all: written, never read. Positions of fields would take as much memory as the fields.
            self._numbers = self._unread
        self._merges = None

    def _close(self, event: Any, number: int) -> None:
        if self._merges:
            self._merge(self._merges)
        closed = self._value
        self._value, self._numbers, self._key, self._merges, begun, start, aliased = self._around.pop()
        if begun.anchor is not None:
            self._anchors[begun.anchor] = closed, start, number - start + self._aliased - aliased
        self._add(closed, event, start)

    def _merge(self, merges: list[dict[str, Any]]) -> None:
        """Add the merged keys. Explicit keys take precedence, then earlier mappings; positions stay those of the origin."""
        for merged in merges:
            origin = self._source.numbers.get(id(merged))
            if origin is None and self._numbers is not self._unread:
                raise _PositionsRequiredError
            for key, value in merged.items():
                if key not in self._value:
                    self._value[key] = value
                    if origin is not None:
                        self._numbers[key] = origin[key]

    def _mergeable(self, value: Any, event: Any) -> list[dict[str, Any]]:
        candidates = value if isinstance(value, list) else [value]
        if all(isinstance(candidate, dict) for candidate in candidates):
            return candidates
        what = "the merge key << requires a mapping or a list of mappings"
        self._note(event, what, "give it an alias such as *common")
        return []

    def _unusual_key(self, key: Any, event: Any) -> Any:
        """Return the key to use for a merge key, a duplicate key or a key that is not a string."""
        if event.__class__ is ScalarEvent and key == _MERGE and event.implicit[0]:
            if self._merges is None:
                self._merges = []
            else:
                self._note_duplicate(_MERGE_KEY, key, event)
            return _MERGE_KEY
        if key.__class__ is not str:
            if event.__class__ is AliasEvent:
                raise _RefusedError(event, "an alias used as a key must refer to a string", "write the key out")
            key = event.value
            if key:
                self._note(event, f"key {key} is not a string", f'write "{key}" in quotes')
            else:
                self._note(event, "empty key", "write a string before the colon")
        if key in self._value:
            self._note_duplicate(key, key, event)
        return key

    def _note_duplicate(self, key: Any, written: str, event: Any) -> None:
        # The first position is kept under a tuple, which no file can have as a key: the key itself gets the last position.
        if not self._positions:
            raise _PositionsRequiredError
        first = self._numbers.setdefault((key,), self._numbers[key])
        line, column = self._source.mark_of(first)
        what = f"duplicate key {quote(written)} (first defined on line {line}, column {column})"
        self._note(event, what, "remove one of the two")

    def _begin_document(self, event: Any, number: int) -> None:
        del event, number
        self._anchors = {}

    def _alias(self, event: Any, number: int) -> None:
        found = self._anchors.get(event.anchor)
        if found is None:
            raise _RefusedError(
                event, f"undefined alias *{event.anchor}", f"define &{event.anchor} above it, in the same document"
            )
        value, origin, size = found
        if value is _UNKNOWN:
            raise _RefusedError(
                event, f"alias *{event.anchor} refers to a value that contains it", "write the value out"
            )
        self._aliased += size
        if self._aliased > MAX_ALIASED:
            raise _RefusedError(
                event,
                f"the aliases of this file expand to more than {MAX_ALIASED:,} values",
                "write the values out, or split the file",
            )
        self._source.aliases[number] = origin
        self._add(value, event, number)

    def _tagged(self, event: Any) -> Any:
        tag, text = event.tag, event.value
        short = tag.removeprefix(_TAG) if tag.startswith(_TAG) else ""
        allowed = _SCALAR_TAGS.get(short)
        if allowed is None:
            self._check_tag(event, "str")
            return text
        if allowed == (str,):
            return text
        value = parse_scalar(text)
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            what = f"{quote(text)} is not a valid !!{short}"
            self._note(event, what, "remove the tag")
        return float(value) if short == "float" and isinstance(value, int) else value

    def _check_tag(self, event: Any, allowed: str) -> None:
        tag = event.tag
        if tag == _TAG + allowed:
            return
        written = "!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag
        self._note(event, f"tag {quote(written)} is not allowed", "remove the tag")

    def _note(self, event: Any, what: str, hint: str) -> None:
        self._source.problems.append(YamlProblem(mark_of(event.start_mark), what, hint))


LFS_POINTER = "version https://git-lfs.github.com/spec/"
"""How a Git LFS pointer begins (Git LFS specification)."""

LFS_PROBLEM = "this is a Git LFS pointer, not the file itself"
LFS_HINT = "run git lfs pull"


@dataclass
class Source:
    """A file that was read. ``name`` is its path as messages show it.

    A position is the number of a parse event, from 0. The positions of fields, and the marks of all events, are read again
    only if there is a problem to report.
    """

    name: str
    data: bytes
    documents: list[Any] = field(default_factory=list)
    numbers: dict[int, dict[Any, int]] = field(default_factory=dict)
    """By ``id`` of a collection, the position of each key or list item."""
    aliases: dict[int, int] = field(default_factory=dict)
    """By position of an alias, the position of its anchor."""
    marks: dict[int, Mark] = field(default_factory=dict)
    """By position, the marks of ids, which every resource needs."""
    problems: list[YamlProblem] = field(default_factory=list)
    complete: bool = True
    """Whether the file was read to its end."""
    of_target: bool = False
    """Whether only the patterns of the target match the file."""
    of_both: bool = False
    """Whether patterns of the project and of the target match the file."""
    _detailed: Source | None = None
    """The same file with the positions of everything, once they are needed."""

    def mark(self, path: KeyPath, *, document: int = 0, at_key: bool = False) -> Mark:
        """Return line and column of the value at ``path``, or of its nearest existing parent.

        For an alias or a merged key, that is where the value is written.
        """
        source = self._with_positions()
        here: Any = source.documents
        key = value = -1
        for part in (document, *path):
            numbers = source.numbers.get(id(here), {}) if isinstance(here, dict | list) else {}
            if part not in numbers:
                break
            key = value = numbers[part]
            if isinstance(here, dict):
                value = source.aliases.get(key + 1, key + 1)
            else:
                key = value = source.aliases.get(key, key)
            here = here[part]
        else:
            # A collection often starts on the line below its key; the key is the better place.
            return self.mark_of(key if at_key or isinstance(here, dict | list) else value)
        return self.mark_of(key) if key >= 0 else (1, 1)

    def _with_positions(self) -> Source:
        if self._detailed is None:
            self._detailed = Source(self.name, self.data)
            if self.documents:
                read_events(self._detailed, Cache(), positions=True)
        return self._detailed

    @cached_property
    def has_placeholders(self) -> bool:
        """Whether the file may contain a placeholder: most files do not, and filling each value of a large one takes time."""
        return _PLACEHOLDER.search(self.data) is not None

    def mark_of(self, number: int) -> Mark:
        """Return line and column of a position."""
        if number not in self.marks:
            self.marks = dict(enumerate(read_marks(self.data)))
        return self.marks[number]

    def forget(self) -> None:
        """Undo what was read, to read it again."""
        self.documents.clear()
        for kept in (self.numbers, self.aliases, self.marks, self.problems):
            kept.clear()

    def stop(self, problem: YamlProblem) -> None:
        """Add the problem that ended the read."""
        self.problems.append(problem)
        self.complete = False

    def report(self, problems: Problems) -> None:
        """Add the problems of the file to ``problems``."""
        for problem in self.problems:
            problems.add(self.name, problem.mark, problem.what, problem.hint)


def load(name: str, data: bytes, cache: Cache | None = None) -> Source:
    """Return a file with all its documents."""
    source = Source(name, data)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        source.stop(encoding_problem(data, error))
        return source
    if data.startswith(LFS_POINTER.encode()):
        source.stop(YamlProblem((1, 1), LFS_PROBLEM, LFS_HINT))
    else:
        read_events(source, cache or Cache())
    return source
