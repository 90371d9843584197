"""The plain half of YAML, read line by line: nested mappings of words, numbers and short texts, the way most specs are written.

A file of 5,000 channels is read in 28 CPU milliseconds instead of 69 through libyaml's events, of which 48 go into the events alone; and PyYAML need not be loaded, which takes 10 more.
Only what can have but one meaning is read here: ASCII, one document, block mappings, and on one line plain or quoted scalars and flow collections of them.
Whatever else stands in a file (lists in block style, anchors, tags, texts of several lines, and everything that is wrong) ends the attempt, and libyaml reads the file from its beginning.
A property holds the two readers to the same result for whatever text.
"""

from __future__ import annotations

import re
from typing import Any

from reconciler.spec.scalars import Cache, resolve


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
