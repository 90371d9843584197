"""Where things stand in a YAML file: line and column of every key and value.

Only asked when something is wrong, so a good file never pays for it: the bytes are read a second time and a tree of marks is made.
Paths are walked through aliases and merge keys to the place where the thing is really written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import yaml
from yaml import events

from reconciler.spec.problems import KeyPath

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
