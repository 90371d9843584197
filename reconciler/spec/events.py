"""libyaml's parse events -> plain dicts, lists and scalars: the whole of YAML that a spec may use, and words for the rest.

Several times quicker and smaller than any of PyYAML's loaders, and safe by construction: no tag ever makes an object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from reconciler.spec.flaws import Flaw, bad_syntax
from reconciler.spec.marks import MERGE, Mark, MarkTree, Parser, mark_of
from reconciler.spec.problems import shown
from reconciler.spec.scalars import resolve

if TYPE_CHECKING:
    from reconciler.spec.loader import Cache, Source

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
