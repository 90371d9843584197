"""The plain half of YAML, read line by line: nested mappings of words, numbers and short texts, the way most specs are written.

A file of 5,000 channels is read in 28 CPU milliseconds instead of 69 through libyaml's events, of which 48 go into the events alone; and PyYAML need not be loaded, which takes 10 more.
Only what can have but one meaning is read here: ASCII, one document, block mappings, and on one line plain or quoted scalars and flow collections of them.
Whatever else stands in a file (lists in block style, anchors, tags, texts of several lines, and everything that is wrong) ends the attempt, and libyaml reads the file from its beginning.
A property holds the two readers to the same result for whatever text.

Plain scalars by the core schema of YAML 1.2 (null, booleans, numbers; everything else is text), and those met before.

YAML bytes -> plain dicts, lists and scalars. Plain files are read line by line (``plain``), all others through libyaml (``events``), with the same result.

Scalars follow the YAML 1.2 core schema, so the country ``NO`` and the words ``yes`` and ``on`` stay text.
Refused: repeated keys, keys that are not text, unknown tags, aliases that explode or hold themselves, nesting without end.
Whatever is wrong with the file is noted in the result; nothing here raises for bad input.

Where things stand in a YAML file: line and column of every key and value.

Only asked when something is wrong, so a good file never pays for it: the bytes are read a second time and a tree of marks is made.
Paths are walked through aliases and merge keys to the place where the thing is really written.

What is wrong with a file as YAML, in words: bytes that are not UTF-8, and what libyaml refuses.

libyaml's own texts name no value of the user's, so they may be passed on.

libyaml's parse events -> plain dicts, lists and scalars: the whole of YAML that a spec may use, and words for the rest.

Several times quicker and smaller than any of PyYAML's loaders, and safe by construction: no tag ever makes an object.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import yaml
from yaml import events
from yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from yaml.reader import ReaderError

from reconciler.spec.problems import KeyPath, Problems, shown

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,4000}|0o[0-7]{1,4000}|0x[0-9a-fA-F]{1,4000}")
_FLOAT = re.compile(
    r"[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


def resolve(text: str) -> Any:
    """Read a plain scalar by the core schema of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
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
    """Scalars met so far. Shared by the files of one load, so that equal texts are one object."""

    plain: dict[str, Any] = field(default_factory=dict)
    quoted: dict[str, str] = field(default_factory=dict)
    lines: dict[str, tuple[int, str, Any]] = field(default_factory=dict)
    """Whole lines of a key and a plain scalar: how deep the key stands, and both."""


class _NotPlainError(Exception):
    """Only libyaml can say what this is."""


Ids = dict[tuple[str, str], tuple[int, int]]
"""Line and column of every key of the second level that has a line of its own."""

_KEY = r"[A-Za-z0-9_][A-Za-z0-9_./@+-]{0,127}"
_WORD = r"[A-Za-z0-9_./+~][A-Za-z0-9_./@+-]{0,255}"
_QUOTED = r"""(?:"[ !#-\[\]-~]{0,255}"|'[ -&(-~]{0,255}')"""


_ATOM = rf"(?:({_WORD})|({_QUOTED}))"
_LINE = re.compile(
    rf"( *)(?:({_KEY}):(?: +(?:({_WORD}(?:[: ]{_WORD})*)|({_QUOTED})|([{{\[][ -~]*)))?(?: +#[ -~]*)?|#[ -~]*)?"
).fullmatch
_PAIR = re.compile(rf"({_KEY}): {_ATOM}?(, |\}})?").match
_ITEM = re.compile(rf"{_ATOM}?(, |\])?").match
_END = re.compile(r"(?: +#[ -~]*)?").fullmatch
_FOREIGN = re.compile(rb"[^\n -~]").search

_DEEPEST = 16
_LONGEST_AT_ROOT = 200
"""Characters of a flow collection right below the root: its keys are ids, whose marks are looked up one by one when the lines do not give them."""

_OPEN: Any = object()
"""The value of a key that has none on its line."""


def read_plain(data: bytes, cache: Cache) -> tuple[dict[str, Any], Ids] | None:  # noqa: C901, PLR0912, PLR0915 - one loop, as in the other reader
    """Return the one document of a plain file, or ``None`` where it is not plain."""
    if _FOREIGN(data):
        return None
    root: dict[str, Any] = {}
    ids: Ids = {}
    here = root
    indent = 0
    above: list[tuple[int, dict[str, Any]]] = []
    opened: str | None = None
    words, texts, known = cache.plain, cache.quoted, cache.lines
    for number, line in enumerate(data.decode("ascii").split("\n"), 1):
        seen = known.get(line)
        if seen is None:
            match = _LINE(line)
            if match is None:
                return None
            spaces, key, word, quoted, flow = match.groups()
            if key is None:
                continue
            depth = len(spaces)
            key = words.get(key) or _word(key, words)
            if key.__class__ is not str:
                return None
            if word is not None:
                value = words[word] if word in words else _word(word, words)
                known[line] = depth, key, value
            elif quoted is not None:
                value = texts.setdefault(quoted[1:-1], quoted[1:-1])
            elif flow is not None:
                if not above and len(flow) > _LONGEST_AT_ROOT:
                    return None
                try:
                    value, end = _flow(flow, 0, words, texts)
                except _NotPlainError:
                    return None
                if end != len(flow) and not _END(flow, end):
                    return None
            else:
                value = _OPEN
        else:
            depth, key, value = seen
        if opened is not None:
            if depth > indent:
                if len(above) == _DEEPEST:
                    return None
                above.append((indent, here))
                below: dict[str, Any] = {}
                here[opened] = below
                here, indent = below, depth
            opened = None
        if depth != indent:
            while depth < indent and above:
                indent, here = above.pop()
            if depth != indent:
                return None
        if key in here:
            return None
        if value is _OPEN:
            opened = key
            here[key] = None
        else:
            here[key] = value
        if len(above) == 1:
            ids[_section(root), key] = number, depth + 1
    return (root, ids) if root else None


def _section(root: dict[str, Any]) -> str:
    return next(reversed(root))


def _word(text: str, words: dict[str, Any]) -> Any:
    value = words[text] = resolve(text)
    return value


def _flow(text: str, at: int, words: dict[str, Any], texts: dict[str, str], depth: int = 0) -> tuple[Any, int]:
    """Return what the flow collection at this place of a line holds, and where it ends. Raises ``_NotPlainError``."""
    is_list = text[at] == "["
    if text.startswith("]" if is_list else "}", at + 1):
        return ([] if is_list else {}), at + 2
    if depth == _DEEPEST:
        raise _NotPlainError
    read = _ITEM if is_list else _PAIR
    items: list[Any] = []
    pairs: dict[str, Any] = {}
    at += 1
    while True:
        match = read(text, at)
        if match is None:
            raise _NotPlainError
        *key, word, quoted, after = match.groups()
        at = match.end()
        if word is not None:
            value = words[word] if word in words else _word(word, words)
        elif quoted is not None:
            value = texts.setdefault(quoted[1:-1], quoted[1:-1])
        elif after is None and text[at : at + 1] in ("{", "["):
            value, at = _flow(text, at, words, texts, depth + 1)
            after = text[at : at + 2] if text.startswith(", ", at) else text[at : at + 1]
            at += len(after)
        else:
            raise _NotPlainError
        if is_list:
            items.append(value)
        else:
            name = words.get(key[0]) or _word(key[0], words)
            if name in pairs or name.__class__ is not str:
                raise _NotPlainError
            pairs[name] = value
        if after == ("]" if is_list else "}"):
            return (items if is_list else pairs), at
        if after != ", ":
            raise _NotPlainError


@dataclass
class Source:
    """One file, read. ``name`` is its path as messages show it; ``ids`` gives for each document the mark of every key of the second level."""

    name: str
    data: bytes
    documents: list[Any] = field(default_factory=list)
    ids: list[dict[tuple[str, str], Mark]] = field(default_factory=list)
    flaws: list[Flaw] = field(default_factory=list)
    whole: bool = True
    """Whether the file could be read to its end."""

    @cached_property
    def _marks(self) -> MarkTree:

        return MarkTree.of(self.data)

    def mark(self, path: KeyPath, *, document: int = 0, at_key: bool = False) -> Mark:
        """Return line and column of a key or value; the first call reads the file again."""
        return self._marks.find(document, path, at_key=at_key)

    def break_off(self, flaw: Flaw) -> None:
        """Note what kept the file from being read to its end."""
        self.flaws.append(flaw)
        self.whole = False

    def report(self, problems: Problems) -> None:
        """Hand the flaws on."""
        for flaw in self.flaws:
            problems.add(self.name, flaw.mark, flaw.what, flaw.hint)


def load(name: str, data: bytes, cache: Cache | None = None) -> Source:
    """Read every document of one file."""
    source = Source(name, data)
    cache = cache or Cache()
    plain = read_plain(data, cache)
    if plain is not None:
        source.documents.append(plain[0])
        source.ids.append(plain[1])
        return source
    try:
        data.decode()
    except UnicodeDecodeError as error:
        source.break_off(not_utf8(data, error))
        return source

    read_events(source, cache)
    return source


Mark = tuple[int, int]
MERGE = "<<"

Parser: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""libyaml's parser, or PyYAML's own where the library is missing. Only its events are used: nothing is ever constructed."""


@dataclass(slots=True)
class Node:
    """One value: where it begins and what is below. ``collection`` says that there may be something below."""

    mark: Mark
    collection: bool = False
    pairs: list[tuple[str, Mark, Node]] = field(default_factory=list)
    items: list[Node] = field(default_factory=list)

    def get(self, key: str | int) -> tuple[Mark, Node] | None:
        """Return the mark of the key and the node of the value, merged mappings included."""
        if isinstance(key, int):
            return (self.items[key].mark, self.items[key]) if key < len(self.items) else None
        for name, mark, node in self.pairs:
            if name == key:
                return mark, node
        for name, _, node in self.pairs:
            if name == MERGE:
                for merged in (node, *node.items):
                    if found := merged.get(key):
                        return found
        return None


@dataclass(slots=True)
class MarkTree:
    """The marks of every document of one file."""

    documents: list[Node]

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Read a file that the loader has already accepted as YAML; where it breaks off, the tree does too."""
        roots: list[Node] = []
        with contextlib.suppress(yaml.YAMLError):  # the loader has reported it, and what was read so far still helps
            _grow(Parser(data), roots)
        return cls(roots)

    def find(self, document: int, path: KeyPath, *, at_key: bool = False) -> Mark:
        """Return line and column of what stands at ``path``, or of the nearest thing above it that is written."""
        if document >= len(self.documents):
            return (1, 1)
        node = self.documents[document]
        mark = node.mark
        for index, part in enumerate(path):
            found = node.get(part)
            if found is None:
                return mark
            key_mark, node = found
            last = index == len(path) - 1
            # A collection often begins on the line below its key, which is not where people look.
            mark = node.mark if last and not at_key and not node.collection else key_mark
        return mark

    def repeated_keys(self) -> Iterator[tuple[str, Mark, Mark]]:
        """Yield every key that stands twice in one mapping, with the marks of the first and of the repetition."""
        seen: set[int] = set()
        waiting = list(self.documents)
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            first: dict[str, Mark] = {}
            for key, mark, child in node.pairs:
                if key in first:
                    yield key, first[key], mark
                first.setdefault(key, mark)
                waiting.append(child)
            waiting.extend(node.items)


def mark_of(event_or_error_mark: Any) -> Mark:
    """Return line and column, both from 1, of a mark of PyYAML's."""
    return event_or_error_mark.line + 1, event_or_error_mark.column + 1


def _grow(parser: Any, roots: list[Node]) -> None:
    """Make a tree for each document; the walk keeps its own stack, so depth costs no recursion."""
    anchors: dict[str, tuple[Node, str]] = {}
    open_nodes: list[tuple[Node, bool]] = []
    keys: list[tuple[str, Mark] | None] = []
    while (event := parser.get_event()) is not None:
        mark = mark_of(event.start_mark)
        match event:
            case events.DocumentStartEvent():
                anchors.clear()
                continue
            case events.ScalarEvent():
                node, text = Node(mark), event.value
            case events.AliasEvent():
                node, text = anchors.get(str(event.anchor), (Node(mark), ""))
            case events.CollectionStartEvent():
                node, text = Node(mark, collection=True), ""
            case events.CollectionEndEvent():
                open_nodes.pop()
                keys.pop()
                continue
            case _:
                continue
        if getattr(event, "anchor", None) is not None and not isinstance(event, events.AliasEvent):
            anchors[event.anchor] = node, text
        if not open_nodes:
            roots.append(node)
        elif open_nodes[-1][1]:
            parent = open_nodes[-1][0]
            pending = keys[-1]
            if pending is None:
                keys[-1] = (text, mark)
            else:
                parent.pairs.append((pending[0], pending[1], node))
                keys[-1] = None
        else:
            open_nodes[-1][0].items.append(node)
        if isinstance(event, events.CollectionStartEvent):
            open_nodes.append((node, isinstance(event, events.MappingStartEvent)))
            keys.append(None)


_CHECK = "check the indentation, the colons and the quotes of this line and the one before"


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with the YAML itself; ``mark`` is ``None`` where it is the file as a whole."""

    mark: Mark | None
    what: str
    hint: str = ""


def not_utf8(data: bytes, error: UnicodeDecodeError) -> Flaw:
    """Return the flaw of bytes that are not UTF-8."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return Flaw(None, "is UTF-16", "save it as UTF-8")
    line = data.count(b"\n", 0, error.start) + 1
    return Flaw(
        None,
        f"is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}, in line {line}, does not fit",
        "save it as UTF-8",
    )


def bad_syntax(data: bytes, error: yaml.YAMLError) -> Flaw:
    """Return the flaw that made the parser stop."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        line, column = mark_of(error.problem_mark)
        if _is_tab(data, line, column):
            return Flaw((line, column), "a tab stands where YAML wants spaces", "indent with spaces")
        what = f"{error.problem}, {error.context}" if error.context else str(error.problem)
        return Flaw((line, column), f"not valid YAML: {what}", _CHECK)
    if isinstance(error, ReaderError):
        code = error.character if isinstance(error.character, int) else ord(error.character)
        before, found, _ = data.decode().partition(chr(code))
        mark = (before.count("\n") + 1, len(before) - before.rfind("\n")) if found else None
        return Flaw(mark, f"the character U+{code:04X} is not allowed in YAML", "remove it")
    return Flaw(None, "is not valid YAML", _CHECK)


def _is_tab(data: bytes, line: int, column: int) -> bool:
    """Whether the trouble is a tab: the character at fault itself, or one that indents it."""
    lines = data.decode().split("\n")
    text = lines[line - 1] if line <= len(lines) else ""
    return text[column - 1 : column] == "\t" or "\t" in text[: len(text) - len(text.lstrip())]


MAX_DEPTH = 64
"""Levels of nesting; a spec needs about eight."""

MAX_ALIASED = 500_000
"""Values that the aliases of one file may stand for together."""

_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "null": (type(None),),
}

_IN_LIST: Any = object()
_NO_KEY: Any = object()
_MERGE: Any = object()
_UNKNOWN: Any = object()


class _Refused(Exception):
    """Reading cannot go on."""

    def __init__(self, event: Any, what: str, hint: str) -> None:
        self.flaw = Flaw(mark_of(event.start_mark), what, hint)
        super().__init__(what)


def read_events(source: Source, cache: Cache) -> None:
    """Read every document of a file into ``source``; what is wrong with it is noted there."""
    data = source.data
    try:
        repeated = _build(Parser(data), source, cache)
    except _Refused as refused:
        source.break_off(refused.flaw)
        return
    except yaml.YAMLError as error:
        source.break_off(bad_syntax(data, error))
        return
    if repeated:
        for key, first, second in MarkTree.of(data).repeated_keys():
            source.flaws.append(
                Flaw(
                    second,
                    f"the key {shown(key)} stands here again; it stood first in line {first[0]}, column {first[1]}",
                    "keep one of the two",
                )
            )


def _build(parser: Any, source: Source, cache: Cache) -> bool:  # noqa: C901, PLR0912, PLR0915 - one loop: a function call for each event would double its cost
    """Turn events into values. Return whether some key was repeated; the caller finds out which."""
    next_event = parser.get_event
    plain, quoted = cache.plain, cache.quoted
    documents = source.documents
    repeated = False
    container: Any = documents
    key: Any = _IN_LIST
    merges: Any = None
    stack: list[tuple[Any, Any, Any, Any, int]] = []
    anchors: dict[str, tuple[Any, int]] = {}
    ids: dict[tuple[str, str], Mark] = {}
    count = aliased = 0
    while (event := next_event()) is not None:
        kind = event.__class__
        count += 1
        if kind is ScalarEvent:
            text = event.value
            is_plain = event.implicit[0]
            if is_plain:
                value = plain.get(text, _UNKNOWN)
                if value is _UNKNOWN:
                    value = plain[text] = resolve(text)
            elif event.tag is None:
                value = quoted.setdefault(text, text)
            else:
                value = _tagged(event, source)
            if event.anchor is not None:
                anchors[event.anchor] = (value, 1)
            if key is _NO_KEY:
                if is_plain and text == MERGE:
                    if merges is not None:
                        repeated = True
                    merges, key = merges or [], _MERGE
                    continue
                if value.__class__ is not str:
                    _not_text(event, source)
                    value = text
                if value in container:
                    repeated = True
                if len(stack) == 2:
                    ids[stack[1][1], value] = mark_of(event.start_mark)
                key = value
                continue
        elif kind is MappingStartEvent or kind is SequenceStartEvent:
            if key is _NO_KEY:
                raise _Refused(event, "a mapping or a list cannot be a key", "write a word before the colon")
            if len(stack) >= MAX_DEPTH:
                raise _Refused(
                    event,
                    f"this is nested more than {MAX_DEPTH} levels deep",
                    "a spec needs about eight; check the brackets and the indentation",
                )
            if event.tag is not None:
                _check_tag(event, "map" if kind is MappingStartEvent else "seq", source)
            if event.anchor is not None:
                anchors[event.anchor] = (_UNKNOWN, 0)
            stack.append((container, key, merges, event.anchor, count + aliased))
            merges = None
            if kind is MappingStartEvent:
                container, key = {}, _NO_KEY
            else:
                container, key = [], _IN_LIST
            continue
        elif kind is MappingEndEvent or kind is SequenceEndEvent:
            value = container
            if merges:
                _merge(value, merges)
            container, key, merges, anchor, begun = stack.pop()
            if anchor is not None:
                anchors[anchor] = (value, count + aliased - begun)
        elif kind is AliasEvent:
            value, size = _aliased(event, anchors)
            aliased += size
            if aliased > MAX_ALIASED:
                raise _Refused(
                    event,
                    f"the aliases of this file stand for more than {MAX_ALIASED:,} values",
                    "write the values out, or split the file",
                )
            if key is _NO_KEY:
                if not isinstance(value, str):
                    raise _Refused(
                        event,
                        "an alias in the place of a key stands for something that is not text",
                        "write the key out",
                    )
                if value in container:
                    repeated = True
                key = value
                continue
        else:
            if container is documents and len(documents) > len(source.ids):
                source.ids.append(ids)
                ids = {}
                anchors = {}
            continue
        if key is _IN_LIST:
            container.append(value)
        elif key is _MERGE:
            merges.extend(_mergeable(value, event, source))
            key = _NO_KEY
        else:
            container[key] = value
            key = _NO_KEY
    return repeated


def _tagged(event: Any, source: Source) -> Any:
    tag, text = event.tag, event.value
    short = tag.removeprefix(_TAG) if tag.startswith(_TAG) else ""
    wanted = _SCALAR_TAGS.get(short)
    if wanted is None:
        _check_tag(event, "str", source)
        return text
    if wanted == (str,):
        return text
    value = resolve(text)
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        source.flaws.append(
            Flaw(mark_of(event.start_mark), f"{shown(text)} is not what its tag !!{short} says", "leave the tag out")
        )
    return float(value) if short == "float" and isinstance(value, int) else value


def _check_tag(event: Any, allowed: str, source: Source) -> None:
    tag = event.tag
    if tag == _TAG + allowed:
        return
    written = "!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag
    source.flaws.append(
        Flaw(
            mark_of(event.start_mark),
            f"the tag {shown(written)} is not allowed",
            "write plain text, numbers, lists and mappings; nothing is built from tags",
        )
    )


def _not_text(event: Any, source: Source) -> None:
    text = event.value
    what, hint = (
        (f"the key {text} is not text", f'write "{text}" in quotes')
        if text
        else ("a key is empty", "write a word before the colon")
    )
    source.flaws.append(Flaw(mark_of(event.start_mark), what, hint))


def _aliased(event: Any, anchors: dict[str, tuple[Any, int]]) -> tuple[Any, int]:
    found = anchors.get(event.anchor)
    if found is None:
        raise _Refused(
            event, f"no anchor &{event.anchor} stands before this alias", "define it above, in the same document"
        )
    if found[0] is _UNKNOWN:
        raise _Refused(
            event, f"the alias *{event.anchor} stands inside the very value it repeats", "write the value out"
        )
    return found


def _mergeable(value: Any, event: Any, source: Source) -> list[dict[str, Any]]:
    candidates = value if isinstance(value, list) else [value]
    if all(isinstance(candidate, dict) for candidate in candidates):
        return candidates
    source.flaws.append(
        Flaw(
            mark_of(event.start_mark),
            "the merge key << needs a mapping, or a list of mappings",
            "give it an alias such as *common",
        )
    )
    return []


def _merge(target: dict[str, Any], merges: list[dict[str, Any]]) -> None:
    """Add what is merged; what is written out wins, then the earlier of several."""
    for merged in merges:
        for key, value in merged.items():
            target.setdefault(key, value)
