"""Fitting a report into a forge's limit without losing what matters.

Comes in: sections made of a head, groups of lines, and folded details. Goes out: one text that is no longer than the limit.
Nothing is cut in the middle: a line or a block of details is in whole or out whole, and what is out is counted, so the reader knows what to look for elsewhere.
Heads and counts stay; then lines go in by weight, the heaviest of every section first; details take what room is left.
Length is counted in UTF-8 bytes, which no forge's way of counting characters exceeds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from reconciler.report.markdown_text import fence_for


@dataclass(frozen=True, slots=True)
class Line:
    """One line inside a fence; ``sort`` is what it is counted under when it is left out."""

    text: str
    sort: str


@dataclass(frozen=True, slots=True)
class Group:
    """Lines under a heading in our own words. ``weight`` orders the groups of all sections: 0 goes in first."""

    title: str
    lines: tuple[Line, ...]
    weight: int
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """One resource's details, and the line that stands for them when they are left out; ``None`` where a group has that line already."""

    text: str
    line: Line | None
    weight: int


@dataclass(frozen=True, slots=True)
class Section:
    """One target. ``brief`` is the head where there is no room for ``head``."""

    head: str
    brief: str
    groups: tuple[Group, ...] = ()
    blocks: tuple[Block, ...] = ()


@dataclass(slots=True)
class _Choice:
    """What is shown of one section: how many lines of each group, which blocks, and the lines of the blocks left out."""

    shown: list[int]
    blocks: set[int] = field(default_factory=set)
    lines: set[int] = field(default_factory=set)


_FOLD = "<details><summary></summary>\n\n</details>\n\n"
_LINES_FOLD = _FOLD + "999,999,999 of them, a line each"


def size(text: str) -> int:
    """Return the length that counts."""
    return len(text.encode())


def fit(sections: Sequence[Section], *, limit: int | None, cut: str, last: str) -> str:
    """Return all sections as one text of at most ``limit`` bytes.

    ``cut`` ends a text that had to be cut; ``last`` gives the counts of everything, for when there is no room for the groups.
    Raises ``ValueError`` when the limit is shorter than that.
    """
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
    for brief in (False, True):
        room = (
            limit
            - size(_render(sections, [_Choice([0] * len(section.groups)) for section in sections], brief=brief))
            - size(cut)
            - 1
        )
        if room >= 0:
            return _render(sections, _choose(sections, room), brief=brief) + "\n" + cut
    with_heads = "\n\n".join((*(section.brief for section in sections), last))
    if size(with_heads) <= limit:
        return with_heads
    if size(last) > limit:
        raise ValueError(f"a limit of {limit} has no room for the counts, which need {size(last)}")
    return last


def _choose(sections: Sequence[Section], room: int) -> list[_Choice]:
    choices = [_Choice([0] * len(section.groups)) for section in sections]
    by_weight = sorted(
        (group.weight, at, index) for at, section in enumerate(sections) for index, group in enumerate(section.groups)
    )
    for _, at, index in by_weight:
        group = sections[at].groups[index]
        costs = _costs([line.text for line in group.lines], len(_FOLD) if group.folded else 0)
        taken = 0
        for cost in costs:
            if cost > room:
                break
            room -= cost
            taken += 1
        choices[at].shown[index] = taken
    for at, section in enumerate(sections):
        room = _take_lines(section, choices[at], room)
    for _, at, index in sorted(
        (block.weight, at, index) for at, section in enumerate(sections) for index, block in enumerate(section.blocks)
    ):
        block = sections[at].blocks[index]
        cost = size(block.text) + 2
        if block.line and index in choices[at].lines:
            cost -= size(block.line.text) + 1
        if cost <= room:
            room -= cost
            choices[at].blocks.add(index)
            choices[at].lines.discard(index)
    return choices


def _take_lines(section: Section, choice: _Choice, room: int) -> int:
    pairs = [(index, block.line) for index, block in enumerate(section.blocks) if block.line]
    for (index, _), cost in zip(pairs, _costs([line.text for _, line in pairs], len(_LINES_FOLD)), strict=True):
        if cost > room:
            break
        room -= cost
        choice.lines.add(index)
    return room


def _costs(lines: Sequence[str], frame: int) -> Iterator[int]:
    """Return what each line costs, the first one with the fence around them all."""
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
    yield f"Details left out for want of room: {len(missing):,} of {len(section.blocks):,}."
    lines = [section.blocks[index].line for index in sorted(choice.lines)]
    texts = [line.text for line in lines if line]
    if texts:
        everything = [block.line.text for block in section.blocks if block.line]
        yield f"<details><summary>{len(texts):,} of them, a line each</summary>"
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
    """Return how many lines of each sort are left out."""
    counts = Counter(line.sort for line in lines)
    return f"Not listed here for want of room: {len(lines):,} ({', '.join(f'{sort}: {count:,}' for sort, count in counts.items())})."
