"""What accounts hold: for ``status`` counts, live channels and quotas, as text and JSON; for ``outputs`` the outputs, as variables too."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from pydantic_core import core_schema as core

from reconciler import json_format as form
from reconciler.errors import UsageError
from reconciler.json_format import TEXT, Format, described, list_of, object_of
from reconciler.model.kinds import KINDS
from reconciler.model.resource import Broadcast, Overview, QuotaCount, TargetOutputs
from reconciler.report.text import Paint, more_lines, plain, unmanaged_lines
from reconciler.report.words import live_channels_words, viewers_words
from reconciler.terminal import cells, sanitize

STATUS_VERSION = "1.0"
_LIST_LIMIT = 50
_NEARLY_FULL = 90.0


def render_status(overview: Overview, stack: str, *, paint: Paint = plain, width: int | None = None) -> str:
    """Return one account and region as text; tables wider than ``width`` become lists."""
    lines = [
        paint(
            f"{overview.name}: account {overview.account_id}, region {overview.region}, stack {sanitize(stack)}", "bold"
        ),
        "",
    ]
    rows = [("", "managed", "unmanaged")]
    for count in overview.kinds:
        title = KINDS[count.kind].titles
        rows.append((title, "?", "?") if count.unreadable else (title, f"{count.managed:,}", f"{count.others:,}"))
    lines += filter(None, _table(rows, width))
    lines += [
        f"  not counted: {KINDS[count.kind].titles}: {sanitize(count.unreadable)}"
        for count in overview.kinds
        if count.unreadable
    ]
    lines += unmanaged_lines(overview.unmanaged, paint)
    lines += ["", *_live_channels(overview.live_channels, paint, width), ""]
    quotas = [("quota", "used", "of", "", "")]
    quotas += [
        (quota.name, f"{quota.used:,}", f"{quota.limit:,}", _percent(quota), _source(quota))
        for quota in overview.quotas
    ]
    lines += [
        paint(line, "bad") if quota is not None and quota.percent >= _NEARLY_FULL else line
        for line, quota in zip(_table(quotas, width), (None, *overview.quotas), strict=True)
    ]
    lines += ["", *(f"  note: {sanitize(note)}" for note in overview.notes)] if overview.notes else []
    return "\n".join(lines) + "\n"


def status_json(stack: str, overviews: Sequence[Overview]) -> dict[str, object]:
    """Return all accounts and regions as JSON."""
    return {
        "formatVersion": STATUS_VERSION,
        "stack": stack,
        "targets": [_target_status(overview) for overview in overviews],
    }


def _live_channels(broadcasts: Sequence[Broadcast] | None, paint: Paint, width: int | None) -> list[str]:
    if broadcasts is None:
        return ["  live channels: unknown"]
    if not broadcasts:
        return ["  no live channels"]
    others = sum(one.address is None for one in broadcasts)
    unmanaged = f"; {others:,} unmanaged" if others else ""
    lines = [f"  {paint(live_channels_words([one.stream for one in broadcasts]) + unmanaged, 'bad')}"]
    rows = [("", "", "", "")]
    rows += [
        (_name(one), f"since {one.stream.started_at}", viewers_words(one.stream.viewers), one.stream.health.lower())
        for one in broadcasts[:_LIST_LIMIT]
    ]
    return [*lines, *_table(rows, width, indent=4)[1:], *more_lines(len(broadcasts), _LIST_LIMIT)]


def _name(one: Broadcast) -> str:
    if one.address is not None:
        return str(one.address)
    return f"{one.name or '(no name)'} {one.stream.channel_arn.rpartition(':')[2]}, unmanaged"


def _percent(quota: QuotaCount) -> str:
    return f"{quota.percent:.0f} %"


def _source(quota: QuotaCount) -> str:
    if not quota.adjustable:
        return "fixed"
    return f"applied, {quota.code}" if quota.applied else f"documented default, {quota.code}"


def _table(rows: Sequence[tuple[str, ...]], width: int | None, *, indent: int = 2) -> list[str]:
    """Return rows, the first of them headings, as aligned lines with numbers aligned to the right.

    If they are wider than ``width``, each row is an entry of a list instead: its first cell, and below it the others with
    their headings.
    """
    head, *clean = [tuple(sanitize(cell) for cell in row) for row in rows]
    widths = [max(map(cells, column)) for column in zip(head, *clean, strict=True)]
    margin = " " * indent
    if width is not None and indent + sum(widths) + 2 * (len(widths) - 1) > width:
        named = [[f"{name} {cell}".strip() for name, cell in zip(head, row, strict=True)] for row in clean]
        entries = [
            f"{margin}{row[0]}\n{margin}  {', '.join(others)}" for row, (_, *others) in zip(clean, named, strict=True)
        ]
        return [head[0] and margin + head[0], *entries]
    right = [bool(at) and any(row[at][:1].isdigit() for row in clean) for at in range(len(widths))]
    return [
        margin + "  ".join(_padded(*cell) for cell in zip(row, widths, right, strict=True)).rstrip()
        for row in (head, *clean)
    ]


def _padded(cell: str, width: int, right: bool) -> str:
    free = " " * (width - cells(cell))
    return free + cell if right else cell + free


def _target_status(overview: Overview) -> dict[str, object]:
    return {
        "name": overview.name,
        "accountId": overview.account_id,
        "region": overview.region,
        "resources": [
            {
                "kind": count.kind.value,
                "managed": None if count.unreadable else count.managed,
                "unmanaged": None if count.unreadable else count.others,
                "unreadable": count.unreadable or None,
            }
            for count in overview.kinds
        ],
        "unmanaged": [
            {"kind": one.kind.value, "arn": one.arn, "name": one.name, "owner": one.owner or None}
            for one in overview.unmanaged
        ],
        "live": None if overview.live_channels is None else [_broadcast(one) for one in overview.live_channels],
        "quotas": [
            {
                "name": quota.name,
                "used": quota.used,
                "quota": quota.limit,
                "percent": round(quota.percent, 1),
                "adjustable": quota.adjustable,
                "code": quota.code or None,
                "applied": quota.applied,
            }
            for quota in overview.quotas
        ],
        "notes": list(overview.notes),
    }


def _broadcast(one: Broadcast) -> dict[str, object]:
    return {
        "address": None if one.address is None else str(one.address),
        "arn": one.stream.channel_arn,
        "name": one.name,
        "managed": one.address is not None,
        "since": one.stream.started_at,
        "viewers": None if one.stream.viewers < 0 else one.stream.viewers,
        "health": one.stream.health,
    }


OUTPUTS_VERSION = "1.0"

_RESOURCE = object_of(
    arn=described(TEXT, "The ARN."),
    name=form.omitted(described(TEXT, "The name in AWS.")),
    **{
        name: form.omitted(described(TEXT, f"Of a {kind.title}: {output.about}"))
        for kind in KINDS.values()
        for name, output in kind.outputs.items()
    },
    storedIn=form.omitted(
        described(TEXT, "Of a stream key: The ARN of the secret or parameter that its value was published to.")
    ),
)
OUTPUTS = Format(
    object_of(
        formatVersion=form.version(OUTPUTS_VERSION, minor=True),
        stack=TEXT,
        targets=list_of(
            form.defined(
                "target",
                object_of(
                    name=TEXT,
                    accountId=described(TEXT, pattern="^[0-9]{12}$"),
                    region=TEXT,
                    resources=described(
                        core.dict_schema(TEXT, form.defined("resource", _RESOURCE)), "The outputs by address."
                    ),
                    missing=described(form.TEXTS, "With --partial: addresses of the spec that do not exist."),
                ),
            )
        ),
    )
)


def outputs_json(stack: str, targets: Sequence[TargetOutputs]) -> dict[str, Any]:
    """Return the outputs of all targets as JSON."""
    return OUTPUTS.write(
        {
            "formatVersion": OUTPUTS_VERSION,
            "stack": stack,
            "targets": tuple(
                {
                    "name": target.name,
                    "accountId": target.account_id,
                    "region": target.region,
                    "resources": {str(address): dict(values) for address, values in target.resources.items()},
                    "missing": tuple(map(str, target.missing)),
                }
                for target in targets
            ),
        }
    )


def outputs_env(
    targets: Sequence[TargetOutputs], *, with_target: bool | None = None, quote: Callable[[str], str] = shlex.quote
) -> str:
    """Return a line ``NAME=value`` for each output, such as ``IVS_CHANNEL_MAIN_PLAYBACK_URL``.

    ``with_target`` puts the target's name after ``IVS_``; by default with several targets. ``quote`` is for a shell by default.
    Raises ``UsageError`` if two outputs have the same name.
    """
    lines: list[str] = []
    owners: dict[str, str] = {}
    for target in targets:
        place = (target.name,) if (len(targets) > 1 if with_target is None else with_target) else ()
        for address, values in target.resources.items():
            owner = ": ".join((*place, str(address)))
            for output, value in values.items():
                name = _variable_name(*place, address.kind.value, address.id, re.sub(r"(?=[A-Z])", "_", output))
                other = owners.setdefault(name, owner)
                if other != owner:
                    raise UsageError(
                        f"{other} and {owner}: both have the variable {name}; rename one of them, or use --format json"
                    )
                lines.append(f"{name}={quote(sanitize(value))}\n")
    return "".join(lines)


def _variable_name(*parts: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", "_".join(("IVS", *parts)).upper())


def outputs_text(targets: Sequence[TargetOutputs], stack: str, *, paint: Paint = plain) -> str:
    """Return the outputs of all targets as text."""
    blocks = []
    for target in targets:
        head = f"{target.name}: account {target.account_id}, region {target.region}, stack {sanitize(stack)}"
        lines = [paint(head, "bold")]
        for address, values in target.resources.items():
            width = max(map(len, values))
            lines += [
                "",
                f"  {address}",
                *(f"      {name:<{width}}  {sanitize(value)}" for name, value in values.items()),
            ]
        blocks.append("".join(f"{line}\n" for line in lines))
    return "\n".join(blocks)
