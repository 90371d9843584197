"""Collects the problems of a spec, so that all are reported at once, and quotes its values in messages.

A rule yields a ``Fault`` with a path; the code that knows the file adds line and column. A value that looks like a secret is never quoted.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple, TypeAlias

from reconciler.errors import Problem, SpecError
from reconciler.terminal import same_start, sanitize

KeyPath: TypeAlias = tuple[str | int, ...]

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$"
"""Pattern of an id, which is written as a tag value and, by default, as the name."""

_SECRET = re.compile(r"PRIVATE KEY|\bsk_[a-z]+-[a-z]+-[0-9]_|://[^/\s]*@|^[A-Za-z0-9+/=]{40,}$")
"""Matches a private key, a stream key, a URL with a password and a secret access key."""

_WORD = re.compile(r"[\w:./+@=-]{1,128}")
_MAX_QUOTE = 80

_MAX_TARGETS = 20
"""Names of targets in a message: a fleet has a thousand."""


class Fault(NamedTuple):
    """A problem at a path within the checked value. ``at_key`` marks the key instead of its value."""

    path: KeyPath
    what: str
    hint: str = ""
    at_key: bool = False

    def below(self, prefix: KeyPath) -> Fault:
        """Return the same fault with a prefix before its path."""
        return Fault((*prefix, *self.path), self.what, self.hint, self.at_key)


MAX_PROBLEMS = 300
"""Problems of one file that are reported; the rest are counted."""


class Problems:
    """The problems of one load, without duplicates, at most ``MAX_PROBLEMS`` a file."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int, int, str, str], Problem] = {}
        self._reported: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()

    def left(self, name: str) -> int:
        """Return how many more problems of the file ``name`` will be reported."""
        return MAX_PROBLEMS - self._reported[name]

    def drop(self, name: str) -> bool:
        """Return whether no more problems of the file ``name`` are reported, and count one that is not."""
        if self.left(name) > 0:
            return False
        self.skip(name)
        return True

    def skip(self, name: str, count: int = 1) -> None:
        """Count problems of the file ``name`` that are not reported."""
        self._skipped[name] += count

    def add(self, name: str, mark: tuple[int, int] | None, what: str, hint: str = "", *, address: str = "") -> None:
        """Add a problem in the file ``name``. ``mark`` is line and column, from 1; ``None`` means the whole file."""
        line, column = mark or (0, 0)
        key = (name, line, column, address, what)
        if key not in self._found:
            if self.drop(name):
                return
            self._reported[name] += 1
        # File names come from the repository and may hold control characters.
        where = f"{sanitize(name)}:{line}:{column}" if mark else sanitize(name)
        self._found[key] = Problem(where, address, what, hint)

    def __len__(self) -> int:
        return len(self._found) + self._skipped.total()

    def __bool__(self) -> bool:
        return bool(self._found)

    def raise_any(self) -> None:
        """Raise ``SpecError`` with the problems in the order of files and lines, if there are any."""
        if self._found:
            shown: list[Problem] = []
            for name, keys in groupby(sorted(self._found), key=lambda key: key[0]):
                shown += [self._found[key] for key in keys]
                if count := self._skipped[name]:
                    more = f"and {count:,} more problem{'' if count == 1 else 's'} in this file"
                    shown.append(Problem(sanitize(name), "", more))
            raise SpecError(tuple(shown))


def quote(value: object) -> str:
    """Return a value as messages quote it: short, and without secrets."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value) if not isinstance(value, int) or abs(value) < 10**20 else "(a very large number)"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    text = str(value)
    if _SECRET.search(text):
        return "(hidden: it looks like a secret)"
    if len(text) > _MAX_QUOTE or not text.isprintable():
        return f"({len(text)} characters)"
    return f'"{text}"'


def format_path(path: KeyPath) -> str:
    """Return a path as messages show it, such as ``thumbnailConfiguration.storage[0]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (
                part if _WORD.fullmatch(part) and not _SECRET.search(part) else quote(part)
            )
    return text


def type_name(value: object) -> str:
    """Return the type of a YAML value, such as ``a list``."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list() | tuple():
            return "a list"
        case _:
            return "a mapping"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the most similar known word, or ``""``. Ignores case, dashes and underscores."""
    candidates = list(known)
    folded = {_fold(candidate): candidate for candidate in candidates}
    short = _fold(word)[:_MAX_QUOTE]
    found = difflib.get_close_matches(short, folded, n=3, cutoff=0.6)
    # Of equally similar words, take the one with the longest common prefix.
    best = max(
        found,
        key=lambda near: (round(difflib.SequenceMatcher(None, short, near).ratio(), 3), same_start(short, near)),
        default="",
    )
    return folded[best] if best else ""


def suggestion(word: str, known: Iterable[str], *, otherwise: str) -> str:
    """Return ``did you mean "x"?``, or ``otherwise`` if no word is similar."""
    candidates = list(known)
    near = nearest(word, candidates)
    return f'did you mean "{near}"?' if near else otherwise


def target_hint(word: str, known: Iterable[str], whose: str = "the") -> str:
    """Return the suggestion for a target that is not known; if no name is similar, the first of ``whose`` targets."""
    names = list(known)
    more = f" and {len(names) - _MAX_TARGETS:,} more" if len(names) > _MAX_TARGETS else ""
    listed = ", ".join(names[:_MAX_TARGETS]) or "none"
    return suggestion(word, names, otherwise=f"{whose} targets are {listed}{more}")


def _fold(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")
