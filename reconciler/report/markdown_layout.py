"""Layout of Markdown for a forge: escaping of users' text, and fitting a report into a size limit.

A forge reads a comment in two passes: Markdown, then its own search for ``@names``, ``#numbers``, commit hashes and the like in the text that is left.
Backslashes and entities stop the first pass only; a code span stops both. So a word is left as it is only when it consists of letters
(or is a short number); everything else is put into a code span. Every line inside a fence begins with a mark of ours.

A report that is too long is never cut in the middle: a line or a block is shown as a whole or left out, and what is left out is counted.
Heads and counts stay; then lines by weight, the heaviest of every section first; details take the remaining space.
Sizes are UTF-8 bytes, so the limit holds however a forge counts characters.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from reconciler.report.actions import ShownChange
from reconciler.report.words import OVERVIEW_FROM, OverviewRow, overview_words
from reconciler.terminal import sanitize

_PLAIN_WORD = re.compile(r"""[("']?[^\W\d_]+(?:['\u2019-][^\W\d_]+)*[)"']?[,;:.!?]?|\(?\d{1,6}%?[,;:]?|%\)?[,;:.]?""")
_LOOKS_LIKE_A_HASH = re.compile(r"[0-9a-f]{7,}")
_BACKTICKS = re.compile(r"`+")
_NAME_WIDTH = 40
_MAX_SECTIONS = 20
_MAX_FAILED = 20
_URL_SAFE = ":/?#[]@!$&'+,;=%-._~"


def code(text: str) -> str:
    """Return text as a code span that ends where the text ends, for any text."""
    shown = sanitize(text) or "(empty)"
    fence = "`" * (_longest_run(shown) + 1)
    # The parser takes one space off each side, but only where both sides have one.
    pad = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def prose(text: str) -> str:
    """Return a sentence with a code span around every word that a forge could interpret."""
    parts: list[str] = []
    unsafe: list[str] = []
    for word in sanitize(text).split():
        if _PLAIN_WORD.fullmatch(word) and not _LOOKS_LIKE_A_HASH.search(word):
            parts += _spans(unsafe)
            unsafe.clear()
            parts.append(word)
        else:
            unsafe.append(word)
    return " ".join((*parts, *_spans(unsafe)))


def _spans(words: Iterable[str]) -> list[str]:
    text = " ".join(words)
    if not text:
        return []
    # A comma or full stop belongs to the sentence.
    return [code(text[:-1]) + text[-1]] if text[-1] in ",;:." and text[:-1] else [code(text)]


def tag_code(text: str) -> str:
    """Return text as an HTML code element, for HTML blocks, in which Markdown is not parsed."""
    return f"<code>{html.escape(sanitize(text) or '(empty)', quote=True)}</code>"


def fenced(lines: Iterable[str]) -> str:
    """Return the lines of a diff in a fence that none of them can close."""
    shown = [sanitize(line) for line in lines]
    marks = fence_for(shown)
    return "\n".join((marks + "diff", *shown, marks))


def fence_for(lines: Iterable[str]) -> str:
    """Return backticks longer than any run in these lines, at least three."""
    return "`" * max([3, *(_longest_run(line) + 1 for line in lines)])


def link(words: str, url: str) -> str:
    """Return a link with our own words; a URL that is not http or https is shown as text, and special characters are percent-encoded."""
    if not url.startswith(("https://", "http://")):
        return f"{words}: {code(url)}"
    return f"[{words}](<{quote(sanitize(url), safe=_URL_SAFE)}>)"


def _longest_run(text: str) -> int:
    return max(map(len, _BACKTICKS.findall(text)), default=0) if "`" in text else 0


def diff_lines(changes: Sequence[ShownChange]) -> list[str]:
    """Return before and after as lines of a diff fence; lists as members gained and lost."""
    width = min(max((len(change.name) for change in changes), default=0) + 1, _NAME_WIDTH)
    return [line for change in changes for line in _change(change, width)]


def _change(change: ShownChange, width: int) -> Iterable[str]:
    name = f"{change.name}:".ljust(width)
    if change.gained or change.lost:
        yield f"  {name}{f' ({len(change.kept):,} unchanged)' if change.kept else ''}"
        yield from (f"-   {member}" for member in change.lost)
        yield from (f"+   {member}" for member in change.gained)
        return
    if change.before is not None:
        yield f"- {name} {change.before}"
    if change.after is not None:
        yield f"+ {name} {change.after}"


def facts_line(facts: Mapping[str, str]) -> list[str]:
    """Return names and values as one paragraph, or nothing; empty values are left out."""
    shown = [f"{prose(name)}: {code(value)}" for name, value in facts.items() if value]
    return [" · ".join(shown)] if shown else []


def count_cell(count: int) -> str:
    """Return a count in a table."""
    return f"{count:,}" if count else "·"


def overview_lines(states: Sequence[OverviewRow], *, limited: bool = False) -> list[str]:
    """Return how many targets have each state, and why those failed that did; nothing for a few targets that were all read.

    ``limited`` lists some of those that failed and counts the others, for a text with a limit.
    """
    failed = [f"- {code(one.name)}: {prose(one.details)}" for one in states if one.state == "failed"]
    if limited and len(failed) > _MAX_FAILED:
        failed[_MAX_FAILED:] = [f"- and {len(failed) - _MAX_FAILED:,} more"]
    if len(states) < OVERVIEW_FROM and not failed:
        return []
    return [f"**{overview_words(states)}**", *(["Failed:\n\n" + "\n".join(failed)] if failed else [])]


def targets_table(titles: Sequence[str], rows: Mapping[str, Sequence[str]], *, left: int = 0) -> str:
    """Return a table with a row for each target; the first ``left`` columns after the name are words, the others numbers."""
    # A bar ends a cell, in a code span too.
    lines = (" | ".join(cell.replace("|", "\\|") for cell in (code(name), *row)) for name, row in rows.items())
    marks = [":--"] * (left + 1) + ["--:"] * (len(titles) - left)
    heads = (" | ".join(("Target", *titles)), " | ".join(marks))
    return "\n".join(f"| {line} |" for line in (*heads, *lines))


def cut_line(what: str, artefact_url: str | None) -> str:
    """Return the last line of a text that was cut: where to find all of it."""
    if artefact_url:
        return f"_Cut to fit: {link(f'the whole {what}', artefact_url)}_\n"
    return f"_Cut to fit: the whole {what} is in the log of the run that posted this._\n"


@dataclass(frozen=True, slots=True)
class Line:
    """One line inside a fence. When it is left out, it is counted as ``count`` resources of ``sort``."""

    text: str
    sort: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Group:
    """Lines under a heading. ``weight`` orders the groups of all sections: 0 is added first."""

    title: str
    lines: tuple[Line, ...]
    weight: int
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """The details of a resource or a folded group, and the line shown when they are left out; ``None`` where a group has that line already."""

    text: str
    line: Line | None
    weight: int


@dataclass(frozen=True, slots=True)
class Section:
    """One target, which ``of`` names among several, or the text about several. ``brief`` takes the place of ``head`` when that is too long."""

    head: str
    brief: str
    groups: tuple[Group, ...] = ()
    blocks: tuple[Block, ...] = ()
    of: str = ""


@dataclass(slots=True)
class _Choice:
    """What is shown of one section: the number of lines of each group, the blocks, and the lines of blocks left out."""

    shown: list[int]
    blocks: set[int] = field(default_factory=set)
    lines: set[int] = field(default_factory=set)


_FOLD = "<details><summary></summary>\n\n</details>\n\n"
_LINES_FOLD = _FOLD + "999,999,999 of them, one line each"


def size(text: str) -> int:
    """Return the size of a text in UTF-8 bytes."""
    return len(text.encode())


def fit(sections: Sequence[Section], *, limit: int | None, cut: str, last: str, reserve: int = 0) -> str:
    """Return all sections as one text of at most ``limit`` bytes, ``reserve`` of which the caller needs.

    ``cut`` is the last line of a text that was cut; ``last`` has the counts of everything, for when the groups do not fit.
    Raises ``ValueError`` when the limit is smaller than ``last``.
    """
    if limit is not None:
        limit -= reserve
    whole = _render(
        sections,
        [
            _Choice([len(group.lines) for group in section.groups], set(range(len(section.blocks))))
            for section in sections
        ],
        brief=False,
    )
    if limit is None or size(whole) <= limit:
        return whole
    single = [section for section in sections if section.of]
    if len(single) > _MAX_SECTIONS:
        sections = [*(section for section in sections if not section.of), _merged(single)]
    for brief in (False, True):
        space = (
            limit
            - size(_render(sections, [_Choice([0] * len(section.groups)) for section in sections], brief=brief))
            - size(cut)
            - 1
        )
        if space >= 0:
            return _render(sections, _choose(sections, space), brief=brief) + "\n" + cut
    with_heads = "\n\n".join((*(section.brief for section in sections), last))
    if size(with_heads) <= limit:
        return with_heads
    if size(last) > limit:
        raise ValueError(f"limit of {limit} bytes is too small: the counts need {size(last)}")
    return last


def _merged(sections: Sequence[Section]) -> Section:
    """Return the sections of many targets as one, with the target named in each line: the headings would take the space."""
    lines: dict[tuple[int, str, bool], list[Line]] = {}
    for section in sections:
        for group in section.groups:
            key = (group.weight, group.title.partition(":")[0], group.folded)
            lines.setdefault(key, []).extend(_named(line, section.of) for line in group.lines)
    groups = (
        Group(f"{title}: {sum(line.count for line in found):,}", tuple(found), weight, folded=folded)
        for (weight, title, folded), found in sorted(lines.items(), key=lambda item: item[0])
    )
    blocks = (
        replace(
            block,
            text=block.text.replace("<summary>", f"<summary>{tag_code(section.of)} ", 1),
            line=_named(block.line, section.of) if block.line else None,
        )
        for section in sections
        for block in section.blocks
    )
    title = f"{len(sections):,} single targets"
    return Section(f"### {title}", f"**{title}**", tuple(groups), tuple(blocks))


def _named(line: Line, target: str) -> Line:
    """Return a line of a diff fence with a target after its first character, which colours it."""
    return replace(line, text=f"{line.text[:1]} {sanitize(target)}: {line.text[1:].lstrip()}")


def _choose(sections: Sequence[Section], space: int) -> list[_Choice]:
    choices = [_Choice([0] * len(section.groups)) for section in sections]
    by_weight = sorted(
        (group.weight, at, index) for at, section in enumerate(sections) for index, group in enumerate(section.groups)
    )
    for _, at, index in by_weight:
        group = sections[at].groups[index]
        costs = _costs([line.text for line in group.lines], len(_FOLD) if group.folded else 0)
        taken = 0
        for cost in costs:
            if cost > space:
                break
            space -= cost
            taken += 1
        choices[at].shown[index] = taken
    for at, section in enumerate(sections):
        space = _take_lines(section, choices[at], space)
    for _, at, index in sorted(
        (block.weight, at, index) for at, section in enumerate(sections) for index, block in enumerate(section.blocks)
    ):
        block = sections[at].blocks[index]
        cost = size(block.text) + 2
        if block.line and index in choices[at].lines:
            cost -= size(block.line.text) + 1
        if cost <= space:
            space -= cost
            choices[at].blocks.add(index)
            choices[at].lines.discard(index)
    return choices


def _take_lines(section: Section, choice: _Choice, space: int) -> int:
    pairs = [(index, block.line) for index, block in enumerate(section.blocks) if block.line]
    for (index, _), cost in zip(pairs, _costs([line.text for _, line in pairs], len(_LINES_FOLD)), strict=True):
        if cost > space:
            break
        space -= cost
        choice.lines.add(index)
    return space


def _costs(lines: Sequence[str], frame: int) -> Iterator[int]:
    """Yield the size of each line, the first one with that of the fence."""
    marks = len(fence_for(lines))
    for index, line in enumerate(lines):
        yield size(line) + 1 + (0 if index else frame + 2 * marks + len("diff\n\n\n"))


def _render(sections: Sequence[Section], choices: Sequence[_Choice], *, brief: bool) -> str:
    return "\n".join(
        "\n\n".join(_section(section, choice, brief=brief)) + "\n"
        for section, choice in zip(sections, choices, strict=True)
    )


def _section(section: Section, choice: _Choice, *, brief: bool) -> Iterator[str]:
    head = section.brief if brief else section.head
    if head:
        yield head
    for group, shown in zip(section.groups, choice.shown, strict=True):
        yield from _group(group, shown)
    if section.blocks:
        yield from (section.blocks[index].text for index in sorted(choice.blocks))
        yield from _left_out(section, choice)


def _group(group: Group, shown: int) -> Iterator[str]:
    fence = _fence([line.text for line in group.lines], shown)
    # Title and fence are one folded block in HTML; a title alone needs no folding.
    if group.folded and fence:
        yield f"<details><summary>{group.title}</summary>"
        yield fence
        yield "</details>"
    else:
        yield f"**{group.title}**"
        if fence:
            yield fence
    if shown < len(group.lines):
        yield not_listed(group.lines[shown:])


def _left_out(section: Section, choice: _Choice) -> Iterator[str]:
    missing = [block for index, block in enumerate(section.blocks) if index not in choice.blocks]
    if not missing:
        return
    yield f"Details left out (size limit): {len(missing):,} of {len(section.blocks):,}."
    lines = [section.blocks[index].line for index in sorted(choice.lines)]
    texts = [line.text for line in lines if line]
    if texts:
        everything = [block.line.text for block in section.blocks if block.line]
        yield f"<details><summary>{len(texts):,} of them, one line each</summary>"
        yield _fence(everything, len(texts), texts)
        yield "</details>"
    unnamed = [
        block.line
        for index, block in enumerate(section.blocks)
        if block.line and index not in choice.blocks and index not in choice.lines
    ]
    if unnamed:
        yield not_listed(unnamed)


def _fence(lines: Sequence[str], shown: int, texts: Sequence[str] | None = None) -> str:
    if not shown:
        return ""
    marks = fence_for(lines)
    return "\n".join((marks + "diff", *(texts if texts is not None else lines[:shown]), marks))


def not_listed(lines: Sequence[Line]) -> str:
    """Return how many resources of each sort are not listed."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts[line.sort] += line.count
    words = ", ".join(f"{sort}: {count:,}" for sort, count in counts.items())
    return f"Not listed (size limit): {counts.total():,} ({words})."
