"""The pieces that every page is put together from: facts, tiles, chips, before and after.

Comes in: values. Goes out: HTML. Every text that is not ours goes through ``safe``, which also makes it harmless to look at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from reconciler.model.address import Address, KindName
from reconciler.model.kinds import KINDS
from reconciler.model.values import Value
from reconciler.plan.actions import FieldChange, Step
from reconciler.report.words import is_own_record, members, path_words, plural, show_text, show_value, until_words
from reconciler.text import harmless

_KEPT_SHOWN = 12
_PATHS_SHOWN = 4
_SHORTEST, _LONGEST = 10, 4000


def safe(text: str) -> str:
    """Return text that can stand anywhere in a page, attributes included."""
    return escape(harmless(text), quote=True)


def css_name(words: str) -> str:
    """Return the class of one of our own words."""
    return "v-" + words.replace(" ", "-")


def facts(known: Mapping[str, str]) -> str:
    """Return names and values as a line of facts; empty ones are left out."""
    rows = "".join(
        f"<div><dt>{safe(name)}</dt><dd><code>{safe(value)}</code></dd></div>" for name, value in known.items() if value
    )
    return f'<dl class="facts">{rows}</dl>' if rows else ""


def tiles(counts: Iterable[tuple[str, str, int]]) -> str:
    """Return big numbers, each with its words and the class that colours it."""
    items = "".join(
        f'<li class="v-{name}{" hit" if count else ""}"><b>{count:,}</b>{words}</li>' for name, words, count in counts
    )
    return f'<ul class="tiles">{items}</ul>'


def share(counts: Iterable[tuple[str, int]]) -> str:
    """Return counts as one bar; class and count of each part."""
    parts = "".join(
        f'<i class="v-{name}" style="flex-grow:{count}" title="{count:,} {name}"></i>'
        for name, count in counts
        if count
    )
    return f'<div class="share" aria-hidden="true">{parts}</div>' if parts else ""


def tools(verbs: Mapping[str, int], kinds: Mapping[KindName, int]) -> str:
    """Return search box and filter, hidden until the script is there to serve them."""
    verb_chips = "".join(_chip("verb", name, name, count, css_name(name)) for name, count in verbs.items() if count)
    kind_chips = "".join(
        _chip("kind", kind.value, KINDS[kind].title, count, "") for kind, count in kinds.items() if count
    )
    return (
        '<div class="tools" id="tools" hidden><div class="row"><input id="find" type="search" placeholder="Search" aria-label="Search">'
        '<button class="chip" id="all" type="button">Open all</button><span id="shown" aria-live="polite"></span></div>'
        f'<div class="row scroll">{verb_chips}{kind_chips}</div></div>'
    )


def _chip(of: str, name: str, words: str, count: int, css: str) -> str:
    return f'<button class="chip {css}" type="button" aria-pressed="false" data-of="{of}" data-is="{name}">{words} <b>{count:,}</b></button>'


def address(at: Address) -> str:
    """Return an address with its kind held back, because the id is what the eye looks for."""
    return f'<span class="addr"><i>{at.kind.value}/</i>{safe(at.id)}</span>'


def changes(all_changes: Sequence[FieldChange], heads: tuple[str, str] = ("Before", "After")) -> str:
    """Return before and after, side by side under these headings; sets as members gained and lost; our own record as a count."""
    shown = [change for change in all_changes if not is_own_record(change)]
    own = len(all_changes) - len(shown)
    note = f'<p class="say">and {plural(own, "tag")} of our own record</p>' if own else ""
    if not shown:
        return note
    columns = sum((any(not change.absent_before for change in shown), any(not change.absent_after for change in shown)))
    rows = "".join(_row(change, both=columns == 2) for change in shown)
    head = (
        f"<th>{heads[0]}</th><th>{heads[1]}</th>"
        if columns == 2
        else f"<th>{heads[0] if shown[0].absent_after else heads[1]}</th>"
    )
    return f'<table class="diff"><thead><tr><th>Field</th>{head}</tr></thead><tbody>{rows}</tbody></table>{note}'


def _row(change: FieldChange, *, both: bool) -> str:
    name = f'<tr><th scope="row">{safe(path_words(change.path))}</th>'
    if not both:
        kind, value = ("was", change.before) if change.absent_after else ("be", change.after)
        return f'{name}<td class="{kind} one" colspan="2">{_value(value)}</td></tr>'
    if change.absent_before:
        return f'{name}<td class="nil">not there</td><td class="be one">{_value(change.after)}</td></tr>'
    if change.absent_after:
        return f'{name}<td class="was one">{_value(change.before)}</td><td class="nil">not there</td></tr>'
    if (sets := members(change)) is not None:
        return f'{name}<td class="set" colspan="2">{_set(change, *sets)}</td></tr>'
    before, after = _pair(show_value(change.before), show_value(change.after))
    return f'{name}<td class="was">{before}</td><td class="be">{after}</td></tr>'


def _set(change: FieldChange, gained: Sequence[str], lost: Sequence[str]) -> str:
    after = change.after if isinstance(change.after, tuple) else ()
    kept = [str(member) for member in after if member not in gained]
    parts = [f'<span class="gain">+ {safe(show_text(member))}</span>' for member in gained]
    parts += [f'<span class="loss">&minus; {safe(show_text(member))}</span>' for member in lost]
    parts += [f'<span class="kept">{safe(show_text(member))}</span>' for member in kept[:_KEPT_SHOWN]]
    if len(kept) > _KEPT_SHOWN:
        parts.append(f'<span class="kept">and {len(kept) - _KEPT_SHOWN:,} more unchanged</span>')
    return "".join(parts)


def _value(value: Value) -> str:
    return safe(show_value(value))


def _pair(before: str, after: str) -> tuple[str, str]:
    """Return both texts with what differs between them marked, when they have enough in common for that to help."""
    if not _SHORTEST <= min(len(before), len(after)) <= max(len(before), len(after)) <= _LONGEST:
        return safe(before), safe(after)
    head = _shared(before, after)
    tail = _shared(before[head:][::-1], after[head:][::-1])
    if (head + tail) * 2 < min(len(before), len(after)):
        return safe(before), safe(after)
    return _marked(before, head, tail), _marked(after, head, tail)


def _shared(one: str, other: str) -> int:
    """Return how many letters two texts begin with alike."""
    return next(
        (at for at, (left, right) in enumerate(zip(one, other, strict=False)) if left != right),
        min(len(one), len(other)),
    )


def _marked(text: str, head: int, tail: int) -> str:
    end = len(text) - tail
    middle = f"<mark>{safe(text[head:end])}</mark>" if end > head else ""
    return f"{safe(text[:head])}{middle}{safe(text[end:])}"


def paths(all_changes: Sequence[FieldChange]) -> str:
    """Return the names of the first few fields that differ."""
    names = [path_words(change.path) for change in all_changes if not is_own_record(change)]
    more = f" and {len(names) - _PATHS_SHOWN:,} more" if len(names) > _PATHS_SHOWN else ""
    return f'<span class="paths">{safe(", ".join(names[:_PATHS_SHOWN]))}{more}</span>'


def calls(steps: Sequence[Step]) -> str:
    """Return the AWS calls of an action, folded."""
    if not steps:
        return ""
    items = "".join(f"<li><code>{safe(step.operation)}</code> {safe(_parameters(step))}</li>" for step in steps)
    return f'<details class="calls"><summary>{plural(len(steps), "AWS call")}</summary><ol>{items}</ol></details>'


def _parameters(step: Step) -> str:
    shown = ", ".join(f"{key}: {show_value(value)}" for key, value in step.parameters.items())
    return shown + until_words(step)
