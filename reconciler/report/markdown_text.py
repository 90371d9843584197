r"""User text inside Markdown: nothing of it may be read as Markdown or HTML, link anywhere, or call anybody.

A forge reads comments in two passes: Markdown, then its own search for ``@names``, ``#numbers``, commit hashes and the like in whatever text is left.
Backslashes and entities stop the first pass only; a code span stops both.
So a word stands as it is only when it is made of letters (or is a short number), and everything else goes into a code span.
No user text stands in a table or a heading's markup outside a code span, and every line inside a fence begins with a mark of ours.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from reconciler.model.values import Value
from reconciler.plan.actions import FieldChange
from reconciler.report.words import is_own_record, members, path_words, show_text, show_value
from reconciler.text import harmless

_PLAIN_WORD = re.compile(r"""[("']?[^\W\d_]+(?:['\u2019-][^\W\d_]+)*[)"']?[,;:.!?]?|\(?\d{1,6}%?[,;:]?""")
_LOOKS_LIKE_A_HASH = re.compile(r"[0-9a-f]{7,}")
_BACKTICKS = re.compile(r"`+")
_NAME_WIDTH = 40
_URL_SAFE = ":/?#[]@!$&'+,;=%-._~"


def code(text: str) -> str:
    """Return text as a code span that ends where the text ends, for any text."""
    shown = harmless(text) or "(empty)"
    fence = "`" * (_longest_run(shown) + 1)
    # The parser takes one space off each side, but only where both sides have one.
    pad = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def prose(text: str) -> str:
    """Return a sentence with every word that a forge could read something into as a code span."""
    parts: list[str] = []
    held: list[str] = []
    for word in harmless(text).split():
        if _PLAIN_WORD.fullmatch(word) and not _LOOKS_LIKE_A_HASH.search(word):
            parts += _spans(held)
            held.clear()
            parts.append(word)
        else:
            held.append(word)
    return " ".join((*parts, *_spans(held)))


def _spans(words: Iterable[str]) -> list[str]:
    text = " ".join(words)
    if not text:
        return []
    # A comma or full stop belongs to the sentence.
    return [code(text[:-1]) + text[-1]] if text[-1] in ",;:." and text[:-1] else [code(text)]


def tag_code(text: str) -> str:
    """Return text as an HTML code element, for places where HTML stands and Markdown is not read."""
    return f"<code>{html.escape(harmless(text) or '(empty)', quote=True)}</code>"


def fenced(lines: Iterable[str], info: str = "diff") -> str:
    """Return lines in a fence that none of them can close."""
    shown = [harmless(line) for line in lines]
    marks = fence_for(shown)
    return "\n".join((marks + info, *shown, marks))


def fence_for(lines: Iterable[str]) -> str:
    """Return backticks longer than any run in these lines, at least three."""
    return "`" * max(3, *(_longest_run(line) + 1 for line in lines), 3)


def link(words: str, url: str) -> str:
    """Return a link with our own words; what is not an address on the web is shown as text, and what is not plain in it is percent-encoded."""
    if not url.startswith(("https://", "http://")):
        return f"{words}: {code(url)}"
    return f"[{words}](<{quote(harmless(url), safe=_URL_SAFE)}>)"


def _longest_run(text: str) -> int:
    return max(map(len, _BACKTICKS.findall(text)), default=0) if "`" in text else 0


def diff_lines(changes: Sequence[FieldChange]) -> list[str]:
    """Return before and after as lines of a diff fence; sets as members gained and lost; our own record left out."""
    shown = [change for change in changes if not is_own_record(change)]
    width = min(max((len(path_words(change.path)) for change in shown), default=0) + 1, _NAME_WIDTH)
    return [line for change in shown for line in _change(change, width)]


def _change(change: FieldChange, width: int) -> Iterable[str]:
    name = f"{path_words(change.path)}:".ljust(width)
    if change.absent_before:
        yield f"+ {name} {show_value(change.after)}"
    elif change.absent_after:
        yield f"- {name} {show_value(change.before)}"
    elif (sets := members(change)) is not None:
        gained, lost = sets
        kept = _count(change.after) - len(gained)
        yield f"  {name}{f' ({kept:,} unchanged)' if kept > 0 else ''}"
        yield from (f"-   {show_text(member)}" for member in lost)
        yield from (f"+   {show_text(member)}" for member in gained)
    else:
        yield f"- {name} {show_value(change.before)}"
        yield f"+ {name} {show_value(change.after)}"


def _count(value: Value) -> int:
    return len(value) if isinstance(value, tuple) else 0


def facts_line(facts: Mapping[str, str]) -> list[str]:
    """Return names and values as one paragraph, or nothing; empty values are left out."""
    shown = [f"{prose(name)}: {code(value)}" for name, value in facts.items() if value]
    return [" · ".join(shown)] if shown else []


def cut_line(what: str, artefact_url: str | None) -> str:
    """Return the sentence that ends a text that was cut: where the whole is."""
    if artefact_url:
        return f"_Cut to fit: {link(f'the whole {what}', artefact_url)}_\n"
    return f"_Cut to fit: the whole {what} is in the run that made this._\n"
