"""Merges values into the text of a spec file and keeps its comments, order and quotes."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import YAMLError

from reconciler.spec.yaml import Source, load

_COMMENT = re.compile(r"( +)(#.*\n?)$")

_SHARED = re.compile(r"(?:^|[\s\[{,])(?:[&*]\S|<<)")
"""What may be an anchor, an alias or a merge key."""

REMOVED = object()
"""In an ``Edit``, the value of what is to be removed."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One value of an entry: ``path`` is below the entry with ``id``, in a section of a document of the file."""

    document: int
    section: str
    id: str
    path: tuple[str, ...]
    value: Any


class CannotMerge(Exception):
    """The text cannot be changed so that everything else stays as it is; the message says why."""


def merge_edits(text: str, edits: Iterable[Edit]) -> str:
    """Return the text with these values. Raises ``CannotMerge``.

    Where possible, only the lines of the edited entries are given to ruamel: it takes ten seconds for 5,000 channels.
    """
    source, lines = load("", text.encode()), text.splitlines(keepends=True)
    entries: dict[tuple[int, int], list[Edit]] = {}
    whole: list[Edit] = []
    for edit in edits:
        span = _lines_of(source, lines, edit)
        (whole if span is None else entries.setdefault(span, [])).append(edit)
    for (start, end), own in sorted(entries.items(), reverse=True):
        head = f"{own[0].section}:\n"
        part = _merged("".join([head, *lines[start:end]]), [replace(edit, document=0) for edit in own])
        lines[start:end] = [part.removeprefix(head)]
    result = "".join(lines)
    return _merged(result, whole) if whole else result


def _lines_of(source: Source, lines: list[str], edit: Edit) -> tuple[int, int] | None:
    """Return the range of the lines of an entry, or ``None`` if it shares lines or anchors with others."""
    line, column = source.mark((edit.section, edit.id), document=edit.document, at_key=True)
    start, indent = line - 1, column - 1
    if lines[start][:indent].strip():
        return None
    end = start + 1
    while end < len(lines) and (_is_remark(lines[end]) or _spaces(lines[end]) > indent):
        end += 1
    while _is_remark(lines[end - 1]):
        end -= 1
    return None if any(map(_SHARED.search, lines[start:end])) else (start, end)


def _merged(text: str, edits: list[Edit]) -> str:
    try:
        spaces = _indents(text)
        after = _rewritten(text, edits, spaces)
        kept = _with_own_lines(text, _rewritten(text, (), spaces), after)
    except (YAMLError, AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise CannotMerge(f"this place cannot be edited ({type(error).__name__})") from None
    # Where one file has several indentations, the lines of both may not fit.
    result = kept if load("", kept.encode()).documents == load("", after.encode()).documents else after
    remarks = Counter(line.strip() for line in text.splitlines() if _is_remark(line) and line.strip())
    if remarks - Counter(line.strip() for line in result.splitlines()):
        raise CannotMerge("a comment would be lost")
    if load("", result.encode()).problems:
        raise CannotMerge("the result would not be valid YAML")
    return result


def _rewritten(text: str, edits: Iterable[Edit], spaces: tuple[int, int]) -> str:
    """Return the text as ruamel writes it after the edits: comments and order are kept, spaces and line breaks are not."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 16
    yaml.explicit_start = any(line.rstrip() == "---" for line in text.splitlines()[: _first_content(text)])
    mapping, offset = spaces
    yaml.indent(mapping=mapping, sequence=offset + 2, offset=offset)
    documents = list(yaml.load_all(text))
    for edit in edits:
        _apply(documents[edit.document], edit)
    stream = io.StringIO()
    yaml.dump_all(documents, stream)
    return stream.getvalue()


def _with_own_lines(text: str, before: str, after: str) -> str:
    """Return the text with the lines changed that differ between ``before`` and ``after``, which ruamel wrote; the other lines stay as written.

    Where ruamel breaks lines otherwise than the text does beside such a line, its own text is returned.
    """
    lines, old, new = text.splitlines(keepends=True), before.splitlines(keepends=True), after.splitlines(keepends=True)
    place: dict[int, int] = {}
    for i1, i2, j1, j2 in _blocks([*map(_without_spaces, lines)], [*map(_without_spaces, old)], equal=True):
        place |= {j1: i1, j2: i2}
        if i2 - i1 == j2 - j1:
            place |= {j1 + step: i1 + step for step in range(j2 - j1)}
    result: list[str] = []
    position = 0
    for i1, i2, j1, j2 in _blocks(old, new, equal=False):
        if i1 not in place or i2 not in place:
            return after
        start, end = place[i1], place[i2]
        # ruamel keeps a comment with what is above it, so that it goes with a removed line, and comes before an added one.
        while i1 == i2 and start > position and _is_remark(lines[start - 1]):
            start = end = start - 1
        added = [_indented(line, i1, old, lines, place) for line in new[j1:j2]]
        former = {line.partition(":")[0]: line for line in lines[start:end]}
        added = [_as_spaced(line, former.get(line.partition(":")[0], "")) for line in added]
        there = {line.strip() for line in added}
        left = [line for line in lines[start:end] if _is_remark(line) and line.strip() not in there]
        result += [*lines[position:start], *added, *left]
        position = end
    return "".join([*result, *lines[position:]])


def _is_remark(line: str) -> bool:
    """Return whether a line is empty or holds only a comment."""
    return line.strip()[:1] in ("", "#")


def _without_spaces(line: str) -> str:
    return "".join(line.split())


def _indented(line: str, at: int, old: list[str], lines: list[str], place: Mapping[int, int]) -> str:
    """Return a line of ruamel's with the indentation that the text has at that depth, above line ``at``."""
    spaces = _spaces(line)
    for number in range(at, -1, -1):
        if number < len(old) and number in place and place[number] < len(lines) and old[number].strip():
            depth = _spaces(old[number])
            if depth <= spaces and (number < at or depth == spaces):
                own = _spaces(lines[place[number]])
                deeper = (spaces - depth) * own // depth if depth else spaces
                return " " * (own + deeper) + line.lstrip(" ")
    return line


def _as_spaced(line: str, before: str) -> str:
    """Return a line with the spaces before its comment as they were: ruamel keeps the column instead."""
    comment = _COMMENT.search(before)
    if comment is None or not line.endswith(comment[2]):
        return line
    return line.removesuffix(comment[2]).rstrip(" ") + comment[1] + comment[2]


def _spaces(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _blocks(old: list[str], new: list[str], *, equal: bool) -> Iterator[tuple[int, int, int, int]]:
    """Yield the ranges of lines that differ, with ``equal`` also those that do not."""
    first = next(
        (at for at, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), min(len(old), len(new))
    )
    most = min(len(old), len(new)) - first
    last = next((at for at in range(most) if old[-1 - at] != new[-1 - at]), most)
    if equal:
        yield 0, first, 0, first
        yield len(old) - last, len(old), len(new) - last, len(new)
    # The comparison takes time by the number of lines that occur often, so it sees only those in between.
    middle = SequenceMatcher(None, old[first : len(old) - last], new[first : len(new) - last])
    for kind, i1, i2, j1, j2 in middle.get_opcodes():
        if equal or kind != "equal":
            yield first + i1, first + i2, first + j1, first + j2


def _indents(text: str) -> tuple[int, int]:
    """Return the spaces that the file indents mappings with, and the dashes of lists below their key."""
    mapping = above = 0
    for line in text.splitlines():
        spaces, content = len(line) - len(line.lstrip(" ")), line.strip()
        if not content or content.startswith("#"):
            continue
        if content.startswith("- "):
            return mapping or 2, max(0, spaces - above)
        if spaces and not mapping:
            mapping = spaces
        above = spaces
    return mapping or 2, 0


def _first_content(text: str) -> int:
    """Return the number of lines up to the first that is neither empty, a comment nor a directive, that one included."""
    lines = text.splitlines()
    return next((index + 1 for index, line in enumerate(lines) if line.strip() and line[0] not in "#%"), len(lines))


def _apply(document: MutableMapping[str, Any], edit: Edit) -> None:
    section = document[edit.section]
    if section[edit.id] is None:
        section[edit.id] = {}
    here = section[edit.id]
    for name in edit.path[:-1]:
        if here.get(name) is None:
            if edit.value is REMOVED:
                return
            here[name] = {}
        here = here[name]
    _put(here, edit.path[-1], edit.value)
    # A mapping that an edit empties says nothing any more.
    if len(edit.path) > 1 and not here and edit.path[-2] == "tags":
        outer = section[edit.id]
        for name in edit.path[:-2]:
            outer = outer[name]
        del outer[edit.path[-2]]
    body = section[edit.id]
    if not body and not getattr(body, "fa", section.fa).flow_style() and not section.fa.flow_style():
        section[edit.id] = None  # the line of the id stays as it is


def _put(here: MutableMapping[str, Any], name: str, value: Any) -> None:
    """Set or remove a member. Members of a mapping that stay are left in their place, with their comments."""
    if value is REMOVED:
        here.pop(name, None)
    elif isinstance(value, Mapping) and isinstance(here.get(name), MutableMapping):
        inner = here[name]
        for gone in [key for key in inner if key not in value]:
            del inner[gone]
        for key, item in value.items():
            _put(inner, key, item)
    elif _is_plain_list(value) and _is_plain_list(here.get(name)):
        # Lists of plain values are sets.
        kept = here[name]
        for item in [item for item in kept if item not in value]:
            kept.remove(item)
        kept.extend(item for item in value if item not in kept)
    elif name not in here or here[name] != value:
        here[name] = _plain(value)


def _is_plain_list(value: object) -> bool:
    return isinstance(value, list) and not any(isinstance(item, Mapping) for item in value)


def _plain(value: Any) -> Any:
    """Return a value as ruamel writes it best: lists on one line."""
    if isinstance(value, list):
        items = CommentedSeq(_plain(item) for item in value)
        if _is_plain_list(value):
            items.fa.set_flow_style()
        return items
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value
