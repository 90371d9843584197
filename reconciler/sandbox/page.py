"""The status page at `/`: resources, live channels, faults, recent calls and events.

HTML without scripts or requests to other hosts; light or dark as the reader's system is. The
templates escape every value, and the control queries that supply them mask secrets.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.sandbox.control import Control
from reconciler.sandbox.events import event_name
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.registry import SERVICES
from reconciler.sandbox.validation import iso8601
from reconciler.sandbox.wire import Request, Response

if TYPE_CHECKING:
    import jinja2

ROWS = 25
REFRESH_SECONDS = 5
_TEMPLATES = Path(__file__).parent / "templates"
_HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
    ("Cache-Control", "no-store"),
)
_RESTRICTIONS = (
    ("account", "account"),
    ("region", "region"),
    ("access_key", "access key"),
    ("arn", "ARN"),
    ("code", "code"),
)
_CAPITAL = re.compile(r"([A-Z])")


def answer(control: Control, request: Request, state: str) -> Response:
    """Return the page; with `?refresh` it reloads itself."""
    return Response(200, _HEADERS, render(control, state, refreshing="refresh" in request.query).encode())


def render(control: Control, state: str, *, refreshing: bool) -> str:
    """Return the page as HTML; `state` is where the sandbox keeps its state."""
    live = control.live()
    worlds = [
        {**world, "resources": control.resources(world["account"], world["region"])} for world in control.worlds()
    ]
    return (
        _environment()
        .get_template("page.html")
        .render(
            state=state,
            refreshing=refreshing,
            refresh_seconds=REFRESH_SECONDS,
            worlds=[{**world, "counts": _counts(world["resources"])} for world in worlds],
            live=live[:ROWS],
            live_total=len(live),
            faults=[{**fault, "only": _restrictions(fault)} for fault in control.faults()],
            settings=_settings(control),
            # Without stream keys: each channel has one.
            resources=[row for row in control.inventory(limit=2 * ROWS) if row["kind"] != "stream-key"][:ROWS],
            resources_total=sum(
                count for world in worlds for kind, count in world["resources"].items() if kind != "stream-key"
            ),
            calls=control.calls(limit=ROWS),
            events=[
                {
                    "time": _spaced(event["time"]),
                    "type": event["detail-type"],
                    "name": event_name(event),
                    "channel": event["resources"][0],
                }
                for event in control.events(limit=ROWS)
            ],
        )
    )


@functools.cache
def _environment() -> jinja2.Environment:
    # Imported here: a server would take a third longer to start.
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda count: f"{count:,}"
    environment.filters["instant"] = lambda seconds: _spaced(iso8601(seconds))
    return environment


def _counts(present: JsonDict) -> list[tuple[str, int]]:
    """Return the number of resources of each kind, by the kind's name in words."""
    return [
        (_CAPITAL.sub(r" \1", kind.plural).lower(), present.get(kind.type, 0))
        for service in SERVICES.values()
        for kind in service.kinds.values()
    ]


def _restrictions(fault: JsonDict) -> str:
    """Return what restricts a fault besides its operation."""
    found = [
        f"{label} {fault[member]}"
        for member, label in _RESTRICTIONS
        if fault[member] and (member != "code" or fault["effect"] == "error")
    ]
    return ", ".join([*found, f"after {fault['skip']:,} calls"] if fault["skip"] else found)


def _settings(control: Control) -> list[tuple[str, str]]:
    """Return the settings that differ from the defaults."""
    conditions = control.conditions()
    rows = [
        (f"assumption {row['name']}", str(row["chosen"]))
        for row in control.assumptions()
        if row["chosen"] != row["options"][0]
    ]
    rows += [(f"{change} lag", f"{seconds:g} s") for change, seconds in conditions["lag"].items() if seconds]
    if conditions["rates"] is not None:
        rows.append(("call-rate quotas", "on"))
    if conditions["clock"] == "virtual":
        rows.append(("virtual clock", _spaced(iso8601(conditions["now"]))))
    return rows


def _spaced(timestamp: str) -> str:
    return timestamp.replace("T", " ").replace("Z", " UTC")
