"""What is wrong with a file as YAML, in words: bytes that are not UTF-8, and what libyaml refuses.

libyaml's own texts name no value of the user's, so they may be passed on.
"""

from __future__ import annotations

from dataclasses import dataclass

import yaml
from yaml.reader import ReaderError

from reconciler.spec.marks import Mark, mark_of

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
