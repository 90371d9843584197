"""A drift report as one self-contained page, in the manner of a plan's.

Comes in: the reports of all targets. Goes out: HTML.
Drift is shown as it happened, from what the spec says to what the account has; a pending change the other way round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from reconciler.model.kinds import KINDS
from reconciler.plan.drift import DriftReport, Finding, Foreign, Standing
from reconciler.report.drift_words import (
    HEADS,
    TITLES,
    as_it_happened,
    blame_words,
    defaults_head,
    defaults_words,
    headline,
    ignored_head,
    ignored_words,
    left_out,
    shows_changes,
)
from reconciler.report.html_page import page
from reconciler.report.html_parts import address, changes, facts, paths, safe, share, tiles, tools
from reconciler.report.words import plural, show_text

_LIST_LIMIT = 200
_UNFOLDED = 12
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
    parts += [_overview(report) for report in reports]
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


def _overview(report: DriftReport) -> str:
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
