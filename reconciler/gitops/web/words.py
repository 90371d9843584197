"""How times, endings and lengths are said on the status pages. Values in, text out."""

from __future__ import annotations

from datetime import UTC, datetime

from reconciler.gitops.state import Ending, TargetState
from reconciler.report.html_parts import safe
from reconciler.report.words import plural

STANDS = {
    Ending.IN_SYNC: "in sync",
    Ending.APPLIED: "in sync",
    Ending.DRIFTED: "drift",
    Ending.PENDING: "pending",
    Ending.BLOCKED: "held back",
    Ending.REFUSED: "refused",
    Ending.INCOMPLETE: "incomplete",
    Ending.BAD_SPEC: "bad spec",
    Ending.FAILED: "failed",
}
"""How a target stands after a look that ended so."""

HEAVIEST = (
    "failed",
    "bad spec",
    "incomplete",
    "refused",
    "drift",
    "held back",
    "pending",
    "unknown",
    "suspended",
    "in sync",
)
"""What needs somebody comes first."""


def stands(state: TargetState) -> str:
    """Return how a target stands, in two words."""
    if state.suspended:
        return "suspended"
    return STANDS[state.last.ending] if state.last else "unknown"


def moment(at: float) -> str:
    """Return a time as people and programs read it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def ago(at: float, now: float) -> str:
    """Return how long ago something was, with the time itself for whoever points at it (HTML)."""
    if not at:
        return "never"
    return (
        f'<span title="{moment(at)}">{span(now - at)} ago</span>'
        if now - at >= 1
        else f'<span title="{moment(at)}">just now</span>'
    )


def ahead(at: float, now: float) -> str:
    """Return in how long something is due (HTML)."""
    return f'<span title="{moment(at)}">in {span(at - now)}</span>' if at - now >= 1 else "now"


def span(seconds: float) -> str:
    """Return a length of time, in its largest unit."""
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "min")):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} min" if unit == "min" else plural(number, unit)
    return f"{int(max(0, seconds))} s"


def labelled(pairs: list[tuple[str, str]]) -> str:
    """Return names and values as a line of facts; values are HTML already, and empty ones are left out."""
    rows = "".join(f"<div><dt>{safe(name)}</dt><dd>{value}</dd></div>" for name, value in pairs if value)
    return f'<dl class="facts">{rows}</dl>'


def code(text: str) -> str:
    """Return text as code (HTML)."""
    return f"<code>{safe(text)}</code>" if text else ""


def tag(word: str) -> str:
    """Return one of our own words as a coloured mark (HTML)."""
    return f'<span class="tag v-{word.replace(" ", "-")}">{word}</span>'
