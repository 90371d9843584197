"""Text that others wrote, made fit to be shown and stored.

Names, tags and error messages may hold anything: what moves a terminal's cursor, turns the direction of writing, begins a line of its own, or is no character at all.
"""

from __future__ import annotations

import json
import re
from typing import Any

_HIDDEN = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
"""What JSON lets stand as it is, and a terminal or an editor obeys, or cannot show."""


def harmless(text: str) -> str:
    """Return text on one line, with everything that is not printable escaped."""
    return text if text.isascii() and text.isprintable() else "".join(_harmless(char) for char in text)


def harmless_lines(text: str) -> str:
    """Return text of several lines, each of them harmless."""
    return "\n".join(harmless(line) for line in text.split("\n"))


def harmless_json(text: str) -> str:
    """Return JSON that says the same, with what is obeyed or not shown written as JSON's own escapes."""
    return text if text.isascii() and "\x7f" not in text else _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shown_json(value: object, **options: Any) -> str:
    """Return a value as JSON that is harmless to show; ``options`` are those of ``json.dumps``."""
    return harmless_json(json.dumps(value, ensure_ascii=False, **options))


def _harmless(char: str) -> str:
    import unicodedata  # noqa: PLC0415 - a library of its own, which text that is printable does not need

    # Category C holds control, format (among them the direction overrides), surrogate and unassigned characters.
    # The two separators end a line in some readers.
    return f"\\u{ord(char):04x}" if unicodedata.category(char).startswith(("C", "Zl", "Zp")) else char


def whole(value: object) -> object:
    """Return a JSON value without halves of characters (surrogates): JSON can write one alone, and no file or terminal takes it."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {whole(key): whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return value
