"""The look of a page: one style sheet, light and dark, from a phone's width up. Text only; nothing in it is fetched from anywhere."""

from __future__ import annotations

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
