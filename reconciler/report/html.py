"""Plan and result as one self-contained page: for a phone or a desk, light or dark, with nothing fetched from anywhere.

Comes in: a plan, or the result of an apply. Goes out: HTML.
Counts first, then what a reviewer must see, the dependency graph, and one folded part for each resource, with filter and search where scripts run.
All text that is not ours goes through ``html_parts.safe``.

The dependency graph as a picture: inline SVG, coloured by the page's own style.

Comes in: a target's plan. Goes out: SVG, or nothing when there is nothing to draw.
A small plan shows every resource, in columns by when it is created.
A large one shows the kinds with their counts, because a picture of thousands of boxes tells nobody anything.
Placing is plain: columns by rank, and inside a column each box beside the middle of what it is tied to, so that few lines cross.

The look of a page: one style sheet, light and dark, from a phone's width up. Text only; nothing in it is fetched from anywhere.

The shell of a page: head, style, the one small script, and the policy that forbids everything else.

Comes in: a title and a body already escaped. Goes out: one file that asks for nothing from anywhere.
The policy names the script by its digest, so that no other script could run even if text got through unescaped.
Without scripts the page is whole and readable; the script adds the filter and the search.

The pieces that every page is put together from: facts, tiles, chips, before and after.

Comes in: values. Goes out: HTML. Every text that is not ours goes through ``safe``, which also makes it harmless to look at.

A drift report as one self-contained page, in the manner of a plan's.

Comes in: the reports of all targets. Goes out: HTML.
Drift is shown as it happened, from what the spec says to what the account has; a pending change the other way round.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from reconciler.diff import FieldChange
from reconciler.drift.report import DriftReport, Finding, Foreign, Standing
from reconciler.model.address import Address, KindName
from reconciler.model.kinds import KINDS
from reconciler.model.values import Value
from reconciler.plan.plan import Action, ApplyResult, Outcome, Plan, Result, Step, TargetPlan, Verb
from reconciler.report.graph import edges
from reconciler.report.words import (
    HEADS,
    TITLES,
    Notice,
    as_it_happened,
    blame_words,
    broadcast_words,
    defaults_head,
    defaults_words,
    headline,
    ignored_head,
    ignored_words,
    is_own_record,
    left_out,
    members,
    notables,
    on_air_words,
    origin_of,
    path_words,
    plural,
    show_text,
    show_value,
    shows_changes,
    symbol,
    tally,
    title_of,
    until_words,
    will,
)
from reconciler.terminal import harmless

MAX_NODES = 60
MAX_EDGES = 150
_WIDTH, _HEIGHT, _ROW, _GAP, _EDGE = 204, 34, 46, 64, 12
_KIND_HEIGHT, _KIND_ROW = 62, 84
_LETTERS = 21


def picture(target: TargetPlan, anchors: Mapping[Address, str]) -> str:
    """Return the picture of one target; ``anchors`` gives the id of the part of the page that a box leads to."""
    pairs = edges(target)
    if len(target.actions) <= MAX_NODES and len(pairs) <= MAX_EDGES:
        return _resources(target, pairs, anchors)
    return _html_graph_kinds(target, pairs)


def _resources(target: TargetPlan, pairs: Sequence[tuple[Address, Address]], anchors: Mapping[Address, str]) -> str:
    if not target.actions:
        return ""
    columns = _columns([action.address for action in target.actions], pairs)
    places, width, height = _places(columns, _ROW, _HEIGHT)
    parts = [_edge(places[needed], places[by], _HEIGHT) for needed, by in pairs]
    for action in target.actions:
        x, y = places[action.address]
        name = harmless(action.address.id)
        shown = name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "…"
        blocked = " blocked" if action.blocked else ""
        parts.append(
            f'<a href="#{anchors[action.address]}"><g class="node v-{action.verb.value}{blocked}" transform="translate({x} {y})">'
            f"<title>{escape(harmless(f'{action.verb.value} {action.address}'))}</title>"
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="8"/><rect class="edge" width="5" height="{_HEIGHT}" rx="2.5"/>'
            f'<text class="kind" x="16" y="13">{KINDS[action.kind].title}</text><text x="16" y="27">{escape(shown)}</text>'
            f'<text class="mark" x="{_WIDTH - 10}" y="22" text-anchor="end">{escape(symbol(action))}</text></g></a>'
        )
    what = f"{plural(len(target.actions), 'resource')} and {plural(len(pairs), 'dependency', 'dependencies')}"
    return _svg(parts, width, height, f"Dependency graph: {what}")


def _html_graph_kinds(target: TargetPlan, pairs: Sequence[tuple[Address, Address]]) -> str:
    counts = tally(target)
    between = Counter((needed.kind, by.kind) for needed, by in pairs)
    columns = _columns(
        [Address(kind, "") for kind in counts],
        [(Address(one, ""), Address(other, "")) for one, other in sorted(between)],
    )
    places, width, height = _places(columns, _KIND_ROW, _KIND_HEIGHT)
    parts = [
        _edge(places[Address(one, "")], places[Address(other, "")], _KIND_HEIGHT, f"{count:,}")
        for (one, other), count in sorted(between.items())
    ]
    parts += [_kind(kind, row, places[Address(kind, "")]) for kind, row in counts.items()]
    return _svg(
        parts,
        width,
        height,
        f"Dependency graph of the kinds: {plural(len(target.actions), 'resource')}, {plural(len(pairs), 'dependency', 'dependencies')}",
    )


def _kind(kind: KindName, row: Counter[Verb | None], place: tuple[int, int]) -> str:
    total = sum(row.values())
    inner = _WIDTH - 24
    bars: list[str] = []
    at = 12.0
    for verb in (*Verb, None):
        if row[verb]:
            share = inner * row[verb] / total
            name = verb.value if verb else "blocked"
            bars.append(
                f'<rect class="bar v-{name}" x="{at:.1f}" y="44" width="{max(share - 1, 1):.1f}" height="8" rx="2"><title>{row[verb]:,} {name}</title></rect>'
            )
            at += share
    return (
        f'<g class="node" transform="translate({place[0]} {place[1]})"><rect width="{_WIDTH}" height="{_KIND_HEIGHT}" rx="8"/>'
        f'<text class="kind" x="12" y="18">{KINDS[kind].title}</text><text class="count" x="12" y="36">{total:,}</text>{"".join(bars)}</g>'
    )


def _columns(addresses: Sequence[Address], pairs: Sequence[tuple[Address, Address]]) -> list[list[Address]]:
    """Return the addresses in columns by rank, ordered so that what is tied together stands at about the same height."""
    ranks = sorted({KINDS[address.kind].rank for address in addresses})
    columns = [[address for address in addresses if KINDS[address.kind].rank == rank] for rank in ranks]
    ties: dict[Address, list[Address]] = {address: [] for address in addresses}
    for needed, by in pairs:
        ties[needed].append(by)
        ties[by].append(needed)
    for _ in range(3):
        heights = {address: (index + 0.5) / len(column) for column in columns for index, address in enumerate(column)}
        for column in (*columns, *reversed(columns)):
            middles = {
                address: sum(heights[tie] for tie in ties[address]) / len(ties[address]) if ties[address] else 1.0
                for address in column
            }
            column.sort(key=middles.__getitem__)
            heights.update({address: (index + 0.5) / len(column) for index, address in enumerate(column)})
    return columns


def _places(
    columns: Sequence[Sequence[Address]], row: int, box: int
) -> tuple[dict[Address, tuple[int, int]], int, int]:
    tallest = max(len(column) for column in columns)
    height = tallest * row - (row - box) + 2 * _EDGE
    places = {
        address: (_EDGE + at * (_WIDTH + _GAP), _EDGE + (tallest - len(column)) * row // 2 + index * row)
        for at, column in enumerate(columns)
        for index, address in enumerate(column)
    }
    return places, len(columns) * (_WIDTH + _GAP) - _GAP + 2 * _EDGE, height


def _edge(start: tuple[int, int], end: tuple[int, int], box: int, words: str = "") -> str:
    from_x, from_y = start[0] + _WIDTH, start[1] + box // 2
    to_x, to_y = end[0], end[1] + box // 2
    bend = (to_x - from_x) // 2
    line = f'<path class="tie" d="M{from_x} {from_y}C{from_x + bend} {from_y} {to_x - bend} {to_y} {to_x - 6} {to_y}"/>'
    line += f'<path class="tip" d="M{to_x - 8} {to_y - 4}l8 4l-8 4z"/>'
    if words:
        line += f'<text class="many" x="{to_x - 14}" y="{to_y - 8}" text-anchor="end">{words}</text>'
    return line


def _svg(parts: Sequence[str], width: int, height: int, words: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{escape(words)}">{"".join(parts)}</svg>'


STYLE = """
:root{color-scheme:light dark;--bg:#f5f6f8;--card:#fff;--ink:#1c2128;--dim:#59636e;--line:#dde1e6;--soft:#eef0f3;
--create:#1a7f37;--update:#9a6700;--replace:#8250df;--delete:#cf222e;--adopt:#0969da;--forget:#6e7781;--blocked:#bc4c00;
--mono:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace}
@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--card:#161b22;--ink:#e6edf3;--dim:#9198a1;--line:#30363d;--soft:#21262d;
--create:#3fb950;--update:#d29922;--replace:#b887ff;--delete:#ff7b72;--adopt:#58a6ff;--forget:#9198a1;--blocked:#ffa657}}
*{box-sizing:border-box}
html{scroll-padding-top:5rem}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;
-webkit-text-size-adjust:100%}
main{max-width:70rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .6rem;letter-spacing:-.02em;overflow-wrap:anywhere}
h1 small{display:block;font-size:.8rem;font-weight:600;letter-spacing:.08em;text-transform:uppercase;color:var(--dim)}
h2{font-size:1.25rem;margin:2rem 0 .5rem;overflow-wrap:anywhere}
h3{font-size:.95rem;margin:0 0 .4rem}
code,.mono,pre{font-family:var(--mono);font-size:.86em;overflow-wrap:anywhere}
a{color:inherit}
.v-create,.v-done,.v-in-sync{--c:var(--create)}.v-update,.v-not-attempted,.v-pending{--c:var(--update)}.v-replace{--c:var(--replace)}
.v-delete,.v-failed,.v-drift{--c:var(--delete)}
.v-adopt,.v-foreign{--c:var(--adopt)}.v-forget{--c:var(--forget)}.v-blocked,.v-missing,.v-duplicate,.v-orphan{--c:var(--blocked)}
.facts{display:flex;flex-wrap:wrap;gap:.3rem 1.4rem;margin:0;color:var(--dim);font-size:.88rem}
.facts div{display:flex;gap:.45rem;min-width:0}
.facts dt::after{content:":"}.facts dd{margin:0;color:var(--ink);min-width:0}
.panel{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1rem;margin:1rem 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(6.2rem,1fr));gap:.5rem;margin:0 0 .9rem;padding:0;list-style:none}
.tiles li{padding:.5rem .7rem;border-radius:8px;background:var(--soft);color:var(--dim);font-size:.82rem;line-height:1.25}
.tiles b{display:block;font-size:1.55rem;font-variant-numeric:tabular-nums;letter-spacing:-.02em;color:var(--ink)}
.tiles .hit{background:color-mix(in srgb,var(--c) 13%,transparent)}.tiles .hit b{color:var(--c)}
.share{display:flex;gap:2px;height:10px;border-radius:5px;overflow:hidden}
.share i{background:var(--c);min-width:3px}
.rest{margin:.6rem 0 0;color:var(--dim);font-size:.88rem}
.kinds{width:100%;border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums;margin-top:.9rem}
.kinds th{font-weight:500;text-align:right;padding:.25rem .4rem;color:var(--dim)}.kinds th:first-child{text-align:left}
.kinds tbody th{color:var(--ink)}.kinds td{text-align:right;padding:.25rem .4rem;border-top:1px solid var(--line)}
.kinds tbody th{border-top:1px solid var(--line)}
.kinds .hit{color:var(--c);font-weight:650}.kinds .nil{color:var(--line)}
.wide{overflow-x:auto}
.alert{border-left:5px solid var(--c);padding:.7rem 1rem;margin:.6rem 0}
.alert h3{color:var(--c)}.alert ul{margin:0;padding:0;list-style:none;max-height:21rem;overflow-y:auto}
.alert li{padding:.22rem 0;overflow-wrap:anywhere;font-size:.92rem;content-visibility:auto;contain-intrinsic-size:auto 1.8rem}
.alert li span{color:var(--dim)}.alert li .addr{color:var(--ink)}
.paths{font-family:var(--mono);font-size:.78rem;color:var(--dim);overflow-wrap:anywhere;min-width:0}
.tools{position:sticky;top:0;z-index:2;background:var(--bg);padding:.6rem 0;border-bottom:1px solid var(--line);margin:1.2rem 0 .8rem}
.tools[hidden]{display:none}
.tools .row{display:flex;flex-wrap:wrap;gap:.4rem;align-items:center}
.tools .row+.row{margin-top:.4rem}
.tools input{flex:1 1 12rem;min-width:0;font:inherit;font-size:1rem;padding:.4rem .7rem;border:1px solid var(--line);border-radius:8px;
background:var(--card);color:var(--ink)}
.chip{font:inherit;font-size:.84rem;line-height:1.3;padding:.28rem .65rem;border-radius:99px;border:1px solid var(--line);background:var(--card);
color:var(--ink);cursor:pointer;white-space:nowrap}
.chip b{color:var(--c,var(--dim));font-variant-numeric:tabular-nums}
.chip[aria-pressed=true]{background:var(--c,var(--ink));border-color:transparent;color:var(--card)}.chip[aria-pressed=true] b{color:inherit}
#shown{color:var(--dim);font-size:.84rem;margin-left:auto;font-variant-numeric:tabular-nums}
.act{background:var(--card);border:1px solid var(--line);border-left:5px solid var(--c);border-radius:8px;margin:.4rem 0;content-visibility:auto;
contain-intrinsic-size:auto 2.9rem}
.act[hidden]{display:none}
.act:target{outline:2px solid var(--c)}
summary{cursor:pointer}
.act>summary{display:flex;gap:.3rem .7rem;align-items:baseline;padding:.55rem .8rem;list-style:none;flex-wrap:wrap}
.act>summary::-webkit-details-marker{display:none}
.act>summary:hover{background:var(--soft)}
.sign{font-family:var(--mono);font-weight:700;color:var(--c);min-width:1.9rem;text-align:center;background:color-mix(in srgb,var(--c) 13%,transparent);
border-radius:6px;padding:0 .3rem}
.addr{font-family:var(--mono);font-size:.9rem;font-weight:600;overflow-wrap:anywhere;min-width:0}.addr i{font-style:normal;font-weight:400;color:var(--dim)}
.say{color:var(--dim);font-size:.88rem}
.tag{font-size:.75rem;font-weight:650;color:var(--c);border:1px solid currentColor;border-radius:99px;padding:0 .5rem}
.in{padding:.1rem .8rem .8rem;border-top:1px solid var(--line)}
.in p{margin:.6rem 0;font-size:.94rem;overflow-wrap:anywhere}
.in .arn{color:var(--dim)}
.warn{color:var(--c);font-weight:550}
.diff{width:100%;border-collapse:separate;border-spacing:0 3px;table-layout:fixed;font-size:.9rem}
.diff thead th{font-weight:500;color:var(--dim);text-align:left;font-size:.78rem}.diff th:first-child{width:30%}
.diff tbody th{text-align:left;font-weight:500;font-family:var(--mono);font-size:.82rem;padding:.3rem .6rem .3rem 0;vertical-align:top;overflow-wrap:anywhere}
.diff td{font-family:var(--mono);font-size:.82rem;padding:.3rem .6rem;vertical-align:top;overflow-wrap:anywhere}
.was{background:color-mix(in srgb,var(--delete) 11%,transparent);border-radius:6px 0 0 6px}
.be{background:color-mix(in srgb,var(--create) 13%,transparent);border-radius:0 6px 6px 0}
.nil{color:var(--dim)}.one{border-radius:6px}
mark{color:inherit;border-radius:3px;padding:0 1px}.was mark{background:color-mix(in srgb,var(--delete) 34%,transparent)}
.be mark{background:color-mix(in srgb,var(--create) 36%,transparent)}
.set{background:var(--soft);border-radius:6px}
.set span{display:inline-block;border-radius:99px;padding:0 .5rem;margin:.1rem .25rem .1rem 0}
.set .gain{color:var(--create);background:color-mix(in srgb,var(--create) 15%,transparent);font-weight:650}
.set .loss{color:var(--delete);background:color-mix(in srgb,var(--delete) 13%,transparent);text-decoration:line-through}.set .kept{color:var(--dim)}
.calls{margin-top:.6rem;font-size:.86rem;color:var(--dim)}.calls ol{margin:.3rem 0 0;padding-left:1.4rem}.calls li{margin:.15rem 0;overflow-wrap:anywhere}
.calls code{color:var(--ink)}
.plain{padding-left:1.2rem;margin:.4rem 0;font-size:.9rem;overflow-wrap:anywhere}.plain li{margin:.15rem 0}
.calm{text-align:center;padding:2.2rem 1rem}.calm b{display:block;font-size:1.4rem;color:var(--create)}
.graph svg{display:block;height:auto;font-family:var(--mono);font-size:13px;margin:.6rem auto 0}
.graph summary{font-weight:600}
.node rect{fill:var(--card);stroke:var(--c,var(--line));stroke-width:1.2}.node .edge,.node .bar{fill:var(--c);stroke:none}
.node text{fill:var(--ink)}.node .kind{fill:var(--dim);font:11px system-ui,sans-serif}.node .mark{fill:var(--c);font-weight:700}.node .count{font-size:17px;
font-weight:700}
.node.blocked rect{stroke-dasharray:4 3}.graph a:hover rect{stroke-width:2.4}
.tie{fill:none;stroke:var(--dim);stroke-width:1.2;opacity:.55}.tip{fill:var(--dim)}.many{fill:var(--dim);font-size:11px}
.foot{margin-top:2rem;color:var(--dim);font-size:.82rem}
@media(max-width:640px){main{padding:1rem .75rem 3rem}.panel{padding:.8rem}.tiles{grid-template-columns:repeat(3,1fr)}
.say{flex-basis:100%;padding-left:2.6rem}.paths{flex-basis:100%;padding-left:2.6rem}.paths{flex-basis:100%;padding-left:2.6rem}.paths{flex-basis:100%;
padding-left:2.6rem}.tools .row.scroll{flex-wrap:nowrap;overflow-x:auto;scrollbar-width:none}
.diff thead{display:none}.diff,.diff tbody{display:block}.diff tr{display:grid;grid-template-columns:1fr 1fr;margin-bottom:.4rem}
.diff tr th:first-child{width:auto}.act .addr{flex:1 1 0}.diff tbody th{grid-column:1/-1;padding-bottom:.1rem}.diff td[colspan]{grid-column:1/-1}}
@media print{.tools{display:none}.act{content-visibility:visible;break-inside:avoid}}
"""


SCRIPT = """
(() => {
  const tools = document.getElementById('tools');
  if (!tools) return;
  const cards = [...document.querySelectorAll('.act')];
  const chips = [...tools.querySelectorAll('[data-of]')];
  const find = document.getElementById('find');
  const shown = document.getElementById('shown');
  const all = document.getElementById('all');
  const texts = new Map();
  const textOf = (card) => {
    if (!texts.has(card)) texts.set(card, card.textContent.toLowerCase());
    return texts.get(card);
  };
  const isOn = (chip) => chip.getAttribute('aria-pressed') === 'true';
  const pressed = (of) => new Set(chips.filter((chip) => chip.dataset.of === of && isOn(chip)).map((chip) => chip.dataset.is));
  const number = (count) => count.toLocaleString('en');
  const apply = () => {
    const verbs = pressed('verb');
    const kinds = pressed('kind');
    const words = find.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let count = 0;
    for (const card of cards) {
      const picked = (!verbs.size || verbs.has(card.dataset.verb)) && (!kinds.size || kinds.has(card.dataset.kind));
      const on = picked && words.every((word) => textOf(card).includes(word));
      card.hidden = !on;
      count += on;
    }
    shown.textContent = number(count) + (count === cards.length ? '' : ' of ' + number(cards.length)) + ' shown';
  };
  for (const chip of chips) {
    chip.addEventListener('click', () => {
      chip.setAttribute('aria-pressed', String(!isOn(chip)));
      apply();
    });
  }
  let waiting = 0;
  find.addEventListener('input', () => {
    clearTimeout(waiting);
    waiting = setTimeout(apply, 120);
  });
  all.addEventListener('click', () => {
    const open = all.textContent === 'Open all';
    for (const card of cards) if (!card.hidden) card.open = open;
    all.textContent = open ? 'Close all' : 'Open all';
  });
  const jump = () => {
    const card = location.hash && document.getElementById(location.hash.slice(1));
    if (!card || !card.matches('.act')) return;
    card.hidden = false;
    card.open = true;
    card.scrollIntoView();
  };
  addEventListener('hashchange', jump);
  tools.hidden = false;
  apply();
  jump();
})();
"""


def policy(script: str) -> str:
    """Return the content security policy of a page that holds this script and nothing else that acts."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def page(title: str, body: str) -> str:
    """Return the whole file. ``title`` is plain text; ``body`` is HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(SCRIPT)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        '<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex">'
        f"<title>{escape(harmless(title))}</title><style>{STYLE}</style></head>\n"
        f"<body><main>\n{body}\n</main><script>{SCRIPT}</script></body></html>\n"
    )


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


BLOCKED = "blocked"
_NOTICE_CLASSES: Mapping[Notice, str] = {
    Notice.DELETED: "delete",
    Notice.REPLACED: "replace",
    Notice.BLOCKED: BLOCKED,
    Notice.KEYS: "update",
}
_LIST_LIMIT = 200
_UNFOLDED = 12
"""A plan of up to so many actions is shown with everything open."""


def render_plan(plan: Plan, *, extra: Mapping[str, str] | None = None) -> str:
    """Return the page of a plan. ``extra`` gives further facts for the top, name and value, such as fingerprint or base commit."""
    known = {**origin_of(plan), "Spec": plan.spec_digest, "Made": plan.created_at, **(extra or {})}
    options = {
        "Prune": "granted" if plan.options.prune else "",
        "Adopt": "granted" if plan.options.adopt else "",
        "Only": ", ".join(plan.options.only),
        "Without": ", ".join(plan.options.exclude),
        "May be stopped on air": ", ".join(plan.options.stop_live),
    }
    parts = [
        f"<header><h1><small>{title_of(plan)}</small>{safe(plan.stack)}</h1>{facts({**known, **options})}</header>"
    ]
    parts += [_overview(target, at) for at, target in enumerate(plan.targets)]
    verbs = Counter(_sort(action) for target in plan.targets for action in target.actions)
    if verbs:
        kinds = Counter(action.kind for target in plan.targets for action in target.actions)
        parts.append(tools({name: verbs[name] for name in (*Verb, BLOCKED)}, {kind: kinds[kind] for kind in KINDS}))
    for at, target in enumerate(plan.targets):
        if target.actions and len(plan.targets) > 1:
            parts.append(f"<h2>{safe(target.name)}</h2>")
        parts += [
            _action(action, f"t{at}-{index}", unfolded=verbs.total() <= _UNFOLDED)
            for index, action in enumerate(target.actions)
        ]
    return page(f"{title_of(plan)} for {plan.stack}", "\n".join(parts))


def render_result(result: ApplyResult, *, extra: Mapping[str, str] | None = None) -> str:
    """Return the page of what became of an apply; ``extra`` as of ``render_plan``."""
    state = "Apply complete" if result.complete else "Apply incomplete"
    if result.interrupted:
        state = "Apply stopped on request"
    counts = Counter(outcome.result for outcome in result.outcomes)
    known = {"Calls": f"{result.calls:,}", "Time": f"{result.seconds:.1f} s", **(extra or {})}
    numbers = tiles((css_name(one.value)[2:], one.value, counts[one]) for one in Result)
    bar = share((css_name(one.value)[2:], counts[one]) for one in Result)
    advice = "" if result.complete else '<p class="rest">Plan again to see what is left; what is done stays done.</p>'
    parts = [
        f"<header><h1><small>{state}</small>{safe(result.name)}</h1>{facts(known)}</header>",
        f'<section class="panel">{numbers}{bar}{advice}</section>',
    ]
    if result.outcomes:
        kinds = Counter(outcome.address.kind for outcome in result.outcomes)
        parts.append(tools({one.value: counts[one] for one in Result}, {kind: kinds[kind] for kind in KINDS}))
    order = (Result.FAILED, Result.BLOCKED, Result.NOT_ATTEMPTED, Result.DONE)
    parts += [_outcome(outcome) for wanted in order for outcome in result.outcomes if outcome.result is wanted]
    return page(f"{state}: {result.name}", "\n".join(parts))


def _overview(target: TargetPlan, at: int) -> str:
    anchors = {action.address: f"t{at}-{index}" for index, action in enumerate(target.actions)}
    parts = [f"<section><h2>{safe(target.name)}</h2>{facts({'Account': target.account_id, 'Region': target.region})}"]
    rest = f"{target.summary.unchanged:,} unchanged, {target.summary.foreign:,} foreign"
    if target.is_empty:
        still = f"{plural(target.summary.unchanged, 'resource')} as the spec wants, {target.summary.foreign:,} foreign"
        parts.append(f'<div class="panel calm"><b>No changes</b>{still}</div>')
    else:
        parts.append(f'<div class="panel">{_counts(target)}<p class="rest">{rest}</p>{_kinds(target)}</div>')
    parts += _alerts(target, anchors)
    parts += _leftovers(target)
    if drawn := picture(target, anchors) if target.actions else "":
        parts.append(
            f'<details class="panel graph" open><summary>What depends on what</summary><div class="wide">{drawn}</div></details>'
        )
    parts.append("</section>")
    return "\n".join(parts)


def _counts(target: TargetPlan) -> str:
    summary = target.summary
    every = [
        ("create", "to create", summary.create),
        ("update", "to update", summary.update),
        ("replace", "to replace", summary.replace),
        ("delete", "to delete", summary.delete),
        ("adopt", "to adopt", summary.adopt),
        ("forget", "to forget", summary.forget),
        (BLOCKED, "blocked", summary.blocked),
    ]
    shown = [
        (name, words, count)
        for name, words, count in every
        if count or name in ("create", "update", "replace", "delete")
    ]
    return tiles(shown) + share((name, count) for name, _, count in every)


def _kinds(target: TargetPlan) -> str:
    counts = tally(target)
    columns: list[Verb | None] = [verb for verb in (*Verb, None) if any(row[verb] for row in counts.values())]
    head = "".join(f"<th>{verb.value if verb else BLOCKED}</th>" for verb in columns)
    rows = "".join(
        f'<tr><th scope="row">{KINDS[kind].title}</th>{"".join(_cell(verb, row[verb]) for verb in columns)}<td>{target.managed.get(kind, 0):,}</td></tr>'
        for kind, row in counts.items()
    )
    return f'<div class="wide"><table class="kinds"><thead><tr><th>Kind</th>{head}<th>managed now</th></tr></thead><tbody>{rows}</tbody></table></div>'


def _cell(verb: Verb | None, count: int) -> str:
    return f'<td class="hit v-{verb.value if verb else BLOCKED}">{count:,}</td>' if count else '<td class="nil">·</td>'


def _alerts(target: TargetPlan, anchors: Mapping[Address, str]) -> Iterable[str]:
    for group in notables(target):
        items = (
            f'<li><a href="#{anchors[action.address]}">{address(action.address)}</a> <span>{_why(action)}</span></li>'
            for action in group.actions
        )
        yield _alert(_NOTICE_CLASSES[group.notice], group.title, items)
    if target.on_air:
        items = (
            f"<li>{address(channel.address)} <span>{safe(broadcast_words(channel))}</span></li>"
            for channel in target.on_air
        )
        yield _alert("delete", f"On air: {on_air_words(target.on_air)}", items)
    warned = [(action, text) for action in target.actions for text in action.warnings]
    if warned:
        yield _alert(
            "update",
            f"Warnings: {len(warned):,}",
            (f"<li>{address(action.address)} {safe(text)}</li>" for action, text in warned),
        )


def _alert(name: str, title: str, items: Iterable[str]) -> str:
    return f'<div class="panel alert v-{name}"><h3>{title}</h3><ul>{"".join(items)}</ul></div>'


def _why(action: Action) -> str:
    if action.blocked:
        return f"would be {_PARTICIPLES[action.verb]}; {safe(action.blocked.code)}: {safe(action.blocked.message)}"
    return safe(action.explanation)


_PARTICIPLES: Mapping[Verb, str] = {
    Verb.CREATE: "created",
    Verb.UPDATE: "updated",
    Verb.REPLACE: "replaced",
    Verb.DELETE: "deleted",
    Verb.ADOPT: "adopted",
    Verb.FORGET: "forgotten",
}


def _leftovers(target: TargetPlan) -> Iterable[str]:
    if target.duplicates:
        items = (
            f"<li>{address(one.address)} <span>kept {safe(one.kept)}; other {safe(', '.join(one.others))}</span></li>"
            for one in target.duplicates
        )
        yield _alert(BLOCKED, f"Claimed by more than one live resource: {len(target.duplicates):,}", items)
    if target.orphans:
        items = (
            f"<li>{address(one.address)} {f'<code>{safe(one.arn)}</code>' if one.arn else ''}{' (protected)' if one.protected else ''}</li>"
            for one in target.orphans[:_LIST_LIMIT]
        )
        more = f"<li>and {len(target.orphans) - _LIST_LIMIT:,} more</li>" if len(target.orphans) > _LIST_LIMIT else ""
        head = f"{plural(len(target.orphans), 'managed resource')} left the spec; prune was not granted, so nothing is deleted"
        yield f'<details class="panel"><summary>{head}</summary><ul class="plain">{"".join(items)}{more}</ul></details>'
    if target.notes:
        yield f'<div class="panel"><h3>Notes</h3><ul class="plain">{"".join(f"<li>{safe(note)}</li>" for note in target.notes)}</ul></div>'


def _sort(action: Action) -> str:
    return BLOCKED if action.blocked else action.verb.value


def _action(action: Action, anchor: str, *, unfolded: bool) -> str:
    sort = _sort(action)
    head = f'<details class="act v-{action.verb.value}" id="{anchor}" data-verb="{sort}" data-kind="{action.kind.value}"{" open" if unfolded else ""}>'
    parts = [
        head,
        f'<summary><span class="sign">{symbol(action)}</span>{address(action.address)}<span class="say">{will(action)}</span>',
    ]
    if not unfolded and action.verb in (Verb.UPDATE, Verb.REPLACE):
        parts.append(paths(action.changes))
    if action.blocked:
        parts.append(f'<span class="tag v-blocked">{BLOCKED}</span>')
    parts.append('</summary><div class="in">')
    if action.explanation:
        parts.append(f"<p>{safe(action.explanation)}</p>")
    if action.blocked:
        parts.append(
            f'<p class="warn v-blocked">Blocked ({safe(action.blocked.code)}): {safe(action.blocked.message)}</p>'
        )
    parts += [f'<p class="warn v-update">{safe(warning)}</p>' for warning in action.warnings]
    parts += [changes(action.changes), calls(action.steps)]
    if action.arn:
        parts.append(f'<p class="arn"><code>{safe(action.arn)}</code></p>')
    return "".join((*parts, "</div></details>"))


def _outcome(outcome: Outcome) -> str:
    unfolded = "" if outcome.result is Result.DONE else " open"
    head = (
        f'<details class="act {css_name(outcome.result.value)}" data-verb="{outcome.result.value}" data-kind="{outcome.address.kind.value}"{unfolded}>'
        f'<summary><span class="tag">{outcome.result.value}</span>{address(outcome.address)}<span class="say">{outcome.verb.value}</span></summary>'
        '<div class="in">'
    )
    parts = [f"<p>{safe(outcome.message)}</p>"] if outcome.message else []
    parts.append(facts({"ARN": outcome.arn or "", "Request": outcome.request_id}))
    if outcome.steps:
        parts.append(_steps(outcome))
    return f"{head}{''.join(parts)}</div></details>"


def _steps(outcome: Outcome) -> str:
    rows = "".join(
        f'<tr><th scope="row">{safe(step.operation)}</th><td class="hit {css_name(step.result.value)}">{step.result.value}</td><td>{step.calls:,}</td>'
        f"<td>{step.seconds:.2f}</td><td><code>{safe(step.request_id)}</code></td><td>{safe(f'{step.error_code} {step.message}'.strip())}</td></tr>"
        for step in outcome.steps
    )
    head = "".join(f"<th>{words}</th>" for words in ("AWS call", "", "requests", "seconds", "request id", "answer"))
    return f'<div class="wide"><table class="kinds"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


_TILES: Mapping[Standing, str] = {
    Standing.DRIFT: "changed outside",
    Standing.MISSING: "missing",
    Standing.DUPLICATE: "duplicate",
    Standing.PENDING: "pending",
    Standing.ORPHAN: "orphaned",
}


def render_drift(reports: Sequence[DriftReport], *, stack: str, extra: Mapping[str, str] | None = None) -> str:
    """Return the page of one run over all targets; ``extra`` gives further facts for the top, name and value."""
    findings = [finding for report in reports for finding in report.findings]
    parts = [f"<header><h1><small>Drift report</small>{safe(stack)}</h1>{facts(extra or {})}</header>"]
    parts += [_html_drift_overview(report) for report in reports]
    if findings:
        standings = Counter(finding.standing for finding in findings)
        kinds = Counter(finding.address.kind for finding in findings)
        parts.append(
            tools({standing.value: standings[standing] for standing in TITLES}, {kind: kinds[kind] for kind in KINDS})
        )
    for report in reports:
        if report.findings and len(reports) > 1:
            parts.append(f"<h2>{safe(report.name)}</h2>")
        parts += [
            finding_card(finding, unfolded=len(findings) <= _UNFOLDED)
            for standing in TITLES
            for finding in report.of(standing)
        ]
    return page(f"Drift of {stack}", "\n".join(parts))


def _html_drift_overview(report: DriftReport) -> str:
    counts = [(standing.value, words, len(report.of(standing))) for standing, words in _TILES.items()]
    rest = (
        f"{plural(report.unchanged, 'resource')} as the spec wants, {len(report.foreign):,} foreign{left_out(report)}"
    )
    parts = [f"<section><h2>{safe(report.name)}</h2>{facts({'Account': report.account_id, 'Region': report.region})}"]
    if report.findings:
        bar = share((name, count) for name, _, count in counts)
        parts.append(
            f'<div class="panel"><h3>{headline(report)}</h3>{tiles(counts)}{bar}<p class="rest">{rest}</p></div>'
        )
    else:
        parts.append(f'<div class="panel calm"><b>{headline(report)}</b>{rest}</div>')
    if report.notes:
        parts.append(
            f'<div class="panel"><h3>Notes</h3><ul class="plain">{"".join(f"<li>{safe(note)}</li>" for note in report.notes)}</ul></div>'
        )
    if report.foreign:
        parts.append(
            f'<details class="panel"><summary>{plural(len(report.foreign), "foreign resource")}, left alone</summary>{_foreigners(report)}</details>'
        )
    if report.ignored:
        parts.append(_folded(ignored_head(report), [ignored_words(one) for one in report.ignored]))
    if report.default_fields:
        parts.append(_folded(defaults_head(report), [defaults_words(one) for one in report.default_fields]))
    elif report.defaults:
        parts.append(f'<p class="rest">{safe(defaults_head(report))}</p>')
    return "".join((*parts, "</section>"))


def _folded(head: str, lines: Sequence[str]) -> str:
    more = f"<li>and {len(lines) - _LIST_LIMIT:,} more</li>" if len(lines) > _LIST_LIMIT else ""
    items = "".join(f"<li>{safe(line)}</li>" for line in lines[:_LIST_LIMIT])
    return f'<details class="panel"><summary>{safe(head)}</summary><ul class="plain">{items}{more}</ul></details>'


def _foreigners(report: DriftReport) -> str:
    more = f"<li>and {len(report.foreign) - _LIST_LIMIT:,} more</li>" if len(report.foreign) > _LIST_LIMIT else ""
    return f'<ul class="plain">{"".join(_foreign(report.foreign[:_LIST_LIMIT]))}{more}</ul>'


def _foreign(some: Iterable[Foreign]) -> Iterable[str]:
    for foreign in some:
        owner = f"of stack {safe(show_text(foreign.owner))}" if foreign.owner else "of no stack"
        yield f"<li>{foreign.kind.value} {safe(show_text(foreign.name)) if foreign.name else ''} {owner} <code>{safe(foreign.arn)}</code></li>"


def finding_card(finding: Finding, *, unfolded: bool) -> str:
    """Return one resource that is not as the spec says, folded or open."""
    standing = finding.standing
    head = f'<details class="act v-{standing.value}" data-verb="{standing.value}" data-kind="{finding.address.kind.value}"{" open" if unfolded else ""}>'
    parts = [
        head,
        f'<summary><span class="tag">{standing.value}</span>{address(finding.address)}<span class="say">{HEADS[standing]}</span>',
    ]
    if not unfolded and shows_changes(finding):
        parts.append(paths(finding.changes))
    parts.append(f'</summary><div class="in"><p>{safe(finding.explanation)}</p>')
    if shows_changes(finding):
        heads = (
            ("The spec says", "The account has") if standing is Standing.DRIFT else ("The account has", "The spec says")
        )
        parts.append(changes(as_it_happened(finding), heads))
    parts += [f'<p class="say">{safe(line)}</p>' for line in blame_words(finding)]
    if finding.arn:
        parts.append(f'<p class="arn"><code>{safe(finding.arn)}</code></p>')
    return "".join((*parts, "</div></details>"))
