"""The page for people at `/`: what exists, what is on air, what was called and what happened.

Plain HTML made by the server: no scripts, no outside requests, light or dark as the reader's system
is. Everything shown comes from the control queries, in which secrets are masked, and is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from reconciler.sandbox.control import Control
from reconciler.sandbox.events import event_name
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.validation import iso8601
from reconciler.sandbox.wire import Request, Response

ROWS = 25
REFRESH_SECONDS = 5

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6577; --paper: #f6f7f9; --card: #fff;
  --line: #e1e5eb; --accent: #2557d6; --good: #12784a; --bad: #b3261e; --warn: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #98a2b3; --paper: #11141a;
  --card: #1a1f28; --line: #2c3340; --accent: #8ab0ff; --good: #6fd6a3; --bad: #ff8a80; --warn: #f0c36d; } }
* { box-sizing: border-box; }
body { margin: 0 0 2rem; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main, header { max-width: 80rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2rem; display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; align-items: baseline; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.05rem; margin: 0 0 .6rem; }
h2 small { font-weight: 400; color: var(--soft); margin-left: .6rem; }
header p { margin: 0; color: var(--soft); } a { color: var(--accent); }
section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem 1.1rem;
  margin: 1.1rem 0; overflow-x: auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .7rem; margin: 0; padding: 0; list-style: none; }
.tiles li { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .8rem; line-height: 1.35; }
.tiles b { display: block; font-size: 1.5rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tiles span, .empty { color: var(--soft); font-size: .88rem; } .empty { margin: 0; }
.none b { color: var(--soft); font-weight: 400; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th { text-align: left; color: var(--soft); font-weight: 600; white-space: nowrap; }
th, td { padding: .35rem 1rem .35rem 0; vertical-align: top; font-variant-numeric: tabular-nums; }
td { border-top: 1px solid var(--line); }
time, .name { white-space: nowrap; }
code { font: .87em ui-monospace, monospace; overflow-wrap: anywhere; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); }
h3 { font-size: .92rem; margin: .9rem 0 .5rem; color: var(--soft); font-weight: 600; }
@media (max-width: 44rem) {
  main, header { padding: 0 .8rem; } header { padding-top: 1.2rem; } section { padding: .8rem .9rem; }
  .tiles { grid-template-columns: repeat(auto-fit, minmax(7.2rem, 1fr)); gap: .45rem; }
  .tiles li { padding: .35rem .6rem; } .tiles b { font-size: 1.2rem; } .none { display: none; }
  table, tbody, tr, td { display: block; } thead { display: none; }
  tr { border-top: 1px solid var(--line); padding: .45rem 0; } tr:first-child { border-top: 0; padding-top: 0; }
  td { border: 0; padding: .05rem 0 .05rem 6.2rem; overflow-wrap: anywhere; } td:empty { display: none; }
  td::before { content: attr(data-head); float: left; margin-left: -6.2rem; width: 5.8rem; color: var(--soft); }
  .name { white-space: normal; }
}
"""

_NAMES = {
    "channel": "channels",
    "stream-key": "stream keys",
    "recording-configuration": "recording configurations",
    "playback-key": "playback key pairs",
    "playback-restriction-policy": "restriction policies",
    "ad-configuration": "ad configurations",
    "failover-slate-configuration": "failover slates",
}


def answer(control: Control, request: Request, state: str) -> Response:
    """Return the page; with `?refresh` it reloads itself."""
    again = "refresh" in request.query
    body = render(control, state, again=again)
    headers = (
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
        ("Cache-Control", "no-store"),
    )
    return Response(200, headers, body.encode())


def render(control: Control, state: str, *, again: bool) -> str:
    """Return the page as text."""
    refresh = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">' if again else ""
    link = '<a href="/">stop refreshing</a>' if again else f'<a href="/?refresh">refresh every {REFRESH_SECONDS} s</a>'
    sections = (
        _worlds(control),
        _live(control),
        _faults(control),
        _set(control),
        _resources(control),
        _calls(control),
        _events(control),
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{refresh}<title>IVS sandbox</title><style>{_STYLE}</style></head><body>"
        f"<header><h1>IVS sandbox</h1><p>state in {escape(state)}</p><p>{link}</p></header>"
        f"<main>{''.join(sections)}</main></body></html>"
    )


def _worlds(control: Control) -> str:
    parts = []
    for world in control.worlds():
        counts = control.resources(world["account"], world["region"])
        tiles = "".join(_tile(counts.get(kind, 0), name) for kind, name in _NAMES.items())
        title = f"account <code>{escape(world['account'])}</code>, {escape(world['region'])}"
        parts.append(f'<h3>{title}</h3><ul class="tiles">{tiles}</ul>')
    return _section(
        "What exists", "".join(parts) or _empty("Nothing yet. Point an AWS client here with AWS_ENDPOINT_URL_IVS.")
    )


def _tile(count: int, name: str) -> str:
    kind = "some" if count else "none"
    return f'<li class="{kind}"><b>{count:,}</b><span>{name}</span></li>'


def _live(control: Control) -> str:
    live = control.live()
    rows = [
        (
            _name(stream["name"] or "(unnamed)"),
            _code(stream["channelArn"]),
            _code(stream["streamId"]),
            _mark(stream["health"], {"HEALTHY": "good", "STARVING": "bad"}),
            _text(f"{stream['viewers']:,}"),
            _time(iso8601(stream["startTime"])),
        )
        for stream in live[:ROWS]
    ]
    heads = ("channel", "ARN", "stream", "health", "viewers", "since")
    return _section("On air", _table(heads, rows, "No channel is live."), _some(len(rows), len(live)))


def _resources(control: Control) -> str:
    """Show the newest resources; a stream key comes with each channel and would be every second row."""
    found = [row for row in control.inventory(limit=2 * ROWS) if row["kind"] != "stream-key"][:ROWS]
    rows = [
        (
            _text(row["kind"].replace("-", " ")),
            _name(row["name"]),
            _code(row["arn"]),
            _mark(row["state"], {"CREATE_FAILED": "bad", "CREATING": "warn", "UPDATING": "warn"}),
            _text(", ".join(f"{key}={value}" for key, value in sorted(row["tags"].items()))),
        )
        for row in found
    ]
    total = sum(
        count
        for world in control.worlds()
        for kind, count in control.resources(world["account"], world["region"]).items()
        if kind != "stream-key"
    )
    return _section(
        "Newest resources",
        _table(("kind", "name", "ARN", "state", "tags"), rows, "No resources."),
        _some(len(rows), total),
    )


def _set(control: Control) -> str:
    """Show what else was set while it runs, if anything was."""
    now = control.conditions()
    rows = [
        (_text(f"answer to {row['name']}"), _text(row["chosen"]))
        for row in control.assumptions()
        if row["chosen"] != row["options"][0]
    ]
    rows += [(_text(f"{what}s show after"), _text(f"{seconds:g} s")) for what, seconds in now["lag"].items() if seconds]
    if now["rates"] is not None:
        rows.append((_text("call-rate quotas"), _text("on")))
    if now["clock"] == "virtual":
        rows.append((_text("the clock stands at"), _time(iso8601(now["now"]))))
    return _section("Otherwise than usual", _table(("what", "now"), rows, "")) if rows else ""


def _faults(control: Control) -> str:
    rows = [
        (
            _mark(fault["effect"], {fault["effect"]: "warn"}),
            _code(fault["operation"]),
            _text(_narrowed(fault)),
            _text(f"{fault['when']} the work"),
            _text(f"{fault['hit']:,} of {fault['times']:,}" if fault["times"] else f"{fault['hit']:,}, until cleared"),
        )
        for fault in control.faults()
    ]
    return _section("Armed faults", _table(("effect", "operation", "only", "when", "calls hit"), rows, "None."))


def _narrowed(fault: JsonDict) -> str:
    """Return what narrows a rule besides its operation."""
    narrow = [
        f"{member.replace('_', ' ')} {fault[member]}"
        for member in ("account", "region", "access_key", "arn", "code")
        if _given(fault, member)
    ]
    return ", ".join([*narrow, f"after {fault['skip']:,} calls"] if fault["skip"] else narrow)


def _given(fault: JsonDict, member: str) -> bool:
    return bool(fault[member]) and (member != "code" or fault["effect"] == "error")


def _calls(control: Control) -> str:
    rows = [
        (
            _time(iso8601(call["time"])),
            _code(call["operation"] or "(unknown)"),
            _status(call),
            _text(call["error_code"] or call["fault"]),
            _text(call["user"].rpartition(":")[2]),
            _text(f"{call['account']} {call['region']}"),
        )
        for call in control.calls(limit=ROWS)
    ]
    heads = ("time", "operation", "status", "error or fault", "caller", "account and region")
    return _section("Recent calls", _table(heads, rows, "No calls yet."))


def _events(control: Control) -> str:
    rows = [
        (_time(event["time"]), _text(event["detail-type"]), _text(event_name(event)), _code(event["resources"][0]))
        for event in control.events(limit=ROWS)
    ]
    return _section("Recent events", _table(("time", "type", "event", "channel"), rows, "No events yet."))


def _status(call: JsonDict) -> str:
    status = call["status"]
    if status is None:
        return '<span class="bad">no answer</span>'
    return f'<span class="{"good" if status < 400 else "bad"}">{status}</span>'


def _section(title: str, body: str, note: str = "") -> str:
    beside = f"<small>{escape(note)}</small>" if note else ""
    return f"<section><h2>{title}{beside}</h2>{body}</section>"


def _some(shown: int, total: int) -> str:
    return f"{shown:,} of {total:,}" if shown < total else ""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> str:
    """Lay out cells that are HTML already; on a narrow screen each row is a card, and each cell says what it is."""
    lines = [
        "<tr>" + "".join(f'<td data-head="{head}">{cell}</td>' for head, cell in zip(heads, row, strict=True)) + "</tr>"
        for row in rows
    ]
    if not lines:
        return _empty(empty)
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _empty(text: str) -> str:
    return f'<p class="empty">{escape(text)}</p>'


def _text(value: object) -> str:
    return escape(str(value))


def _name(value: object) -> str:
    return f'<span class="name">{escape(str(value))}</span>' if value else ""


def _time(value: str) -> str:
    return f"<time>{escape(value.replace('T', ' ').replace('Z', ' UTC'))}</time>"


def _code(value: object) -> str:
    return f"<code>{escape(str(value))}</code>"


def _mark(value: str, classes: dict[str, str]) -> str:
    return f'<span class="{classes.get(value, "")}">{escape(value)}</span>' if value else ""
