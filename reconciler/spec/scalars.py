"""Plain scalars by the core schema of YAML 1.2 (null, booleans, numbers; everything else is text), and those met before."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

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
