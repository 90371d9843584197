"""What the status pages add to the look of the reports."""

from __future__ import annotations

MORE_STYLE = """
.v-applied,.v-suspended-off{--c:var(--create)}.v-drifted,.v-incomplete,.v-bad-spec{--c:var(--delete)}
.v-refused,.v-held-back{--c:var(--blocked)}.v-suspended,.v-unknown{--c:var(--forget)}.v-on-air{--c:var(--replace)}
.top{display:flex;gap:.8rem;align-items:baseline;flex-wrap:wrap;justify-content:space-between}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(19rem,100%),1fr));gap:.8rem;margin:1rem 0}
.card{display:block;background:var(--card);border:1px solid var(--line);border-left:5px solid var(--c);border-radius:12px;padding:.8rem 1rem;
text-decoration:none;color:inherit;min-width:0}
.card:hover{background:var(--soft)}.card h3{font-size:1.05rem;margin:0;overflow-wrap:anywhere;min-width:0}
.card .top{margin-bottom:.35rem;flex-wrap:nowrap}.card p{margin:.2rem 0;font-size:.88rem;color:var(--dim);overflow-wrap:anywhere}.card p b{color:var(--ink)}
.card .bad{color:var(--c);display:-webkit-box;-webkit-line-clamp:2;-webkit-box-orient:vertical;overflow:hidden}
.tag{white-space:nowrap}.tiles li{min-width:0;overflow-wrap:anywhere}
.plot{display:block;width:100%;height:9rem}.card .plot{height:2rem;margin-top:.5rem}
.plot path{fill:color-mix(in srgb,var(--c) 28%,transparent);stroke:var(--c);stroke-width:1.5;vector-effect:non-scaling-stroke}
.plot .base{fill:none;stroke:var(--line)}
.scale{display:flex;justify-content:space-between;color:var(--dim);font-size:.78rem;font-variant-numeric:tabular-nums;margin:.2rem 0}
.key{display:flex;gap:1rem;font-size:.82rem;color:var(--dim)}.key i{display:inline-block;width:.8rem;height:.8rem;border-radius:3px;background:var(--c);
margin-right:.35rem;vertical-align:-1px}
.said{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.9rem;margin:.3rem 0 0;font-family:var(--mono)}
.runs{width:100%;border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
.runs th{font-weight:500;color:var(--dim);text-align:left;padding:.3rem .5rem .3rem 0;white-space:nowrap}
.runs td{border-top:1px solid var(--line);padding:.35rem .5rem .35rem 0;vertical-align:top;white-space:nowrap}
.runs td.wrap{white-space:normal;overflow-wrap:anywhere;min-width:12rem}
.runs .num{text-align:right;padding-right:1.2rem}
.calm.v-unknown b{color:var(--ink)}
nav{font-size:.88rem;margin-bottom:.8rem}
"""
