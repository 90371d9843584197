"""YAML bytes -> plain dicts, lists and scalars. Plain files are read line by line (``plain``), all others through libyaml (``events``), with the same result.

Scalars follow the YAML 1.2 core schema, so the country ``NO`` and the words ``yes`` and ``on`` stay text.
Refused: repeated keys, keys that are not text, unknown tags, aliases that explode or hold themselves, nesting without end.
Whatever is wrong with the file is noted in the result; nothing here raises for bad input.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from reconciler.spec.plain import read_plain
from reconciler.spec.problems import KeyPath, Problems
from reconciler.spec.scalars import Cache as Cache  # what callers share between files

if TYPE_CHECKING:
    from reconciler.spec.flaws import Flaw
    from reconciler.spec.marks import Mark, MarkTree


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
        from reconciler.spec.marks import MarkTree  # noqa: PLC0415 - PyYAML is loaded for files that are not plain, and to find places

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
        from reconciler.spec.flaws import not_utf8  # noqa: PLC0415 - words are needed only where something is wrong

        source.break_off(not_utf8(data, error))
        return source
    from reconciler.spec.events import read_events  # noqa: PLC0415 - PyYAML again

    read_events(source, cache)
    return source
