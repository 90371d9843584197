"""A drift report as JUnit XML, which every CI shows: a suite for each target, a case for each resource.

What changed outside, is missing or stands twice is a failure; what waits or left the spec is skipped, with its text; a target that cannot be read is an error.
Characters that XML 1.0 does not allow are shown as escapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from reconciler.model.address import Address
from reconciler.plan.findings import DriftReport, Finding
from reconciler.report.drift_words import (
    HEADS,
    as_it_happened,
    blame_words,
    counted,
    defaults_head,
    defaults_words,
    headline,
    ignored_head,
    ignored_words,
    shows_changes,
)
from reconciler.report.markdown_text import diff_lines
from reconciler.text import harmless


def render_drift(
    reports: Sequence[DriftReport], *, stack: str, at: str, failed: Mapping[str, str] | None = None
) -> str:
    """Return the reports of all targets. ``at`` is an instant like 2026-11-20T10:00:00, in UTC; ``failed`` are the targets that could not be read, and why."""
    suites = [_report(report, stack, at) for report in reports]
    suites += [
        _Suite(name, {"stack": stack}, [_case(name, stack, "read", _error(message))]).render(at)
        for name, message in (failed or {}).items()
    ]
    body = "".join(suite.replace(' id="?"', f' id="{index}"', 1) for index, suite in enumerate(suites))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n{body}</testsuites>\n'


def _report(report: DriftReport, stack: str, at: str) -> str:
    found: dict[Address, list[Finding]] = {address: [] for address in report.addresses}
    for finding in report.findings:
        found.setdefault(finding.address, []).append(finding)
    cases = [_case(report.name, stack, str(address), _outcome(findings)) for address, findings in sorted(found.items())]
    cases += [_case(report.name, stack, f"read {number}", _error(line)) for number, line in enumerate(report.unread, 1)]
    facts = {"stack": stack, "account": report.account_id, "region": report.region}
    return _Suite(report.name, facts, cases, _text(_said(report))).render(at)


def _said(report: DriftReport) -> Iterable[str]:
    yield f"{headline(report)}: {counted(report)}."
    if report.ignored:
        yield f"{ignored_head(report)}:"
        yield from (f"  {ignored_words(one)}" for one in report.ignored)
    if report.defaults:
        yield f"{defaults_head(report)}."
    yield from (f"  {defaults_words(one)}" for one in report.default_fields)
    yield from (f"note: {note}" for note in report.notes)


def _outcome(findings: Sequence[Finding]) -> str:
    """Return what became of one resource: a failure where one of its findings is one, else skipped, else nothing."""
    if not findings:
        return ""
    failures = [finding for finding in findings if finding.is_drift]
    text = "\n\n".join(_text(_lines(finding)) for finding in findings)
    first = (failures or findings)[0]
    message = f"{first.address} {HEADS[first.standing]}: {first.explanation}"
    if not failures:
        return f"<skipped message={_quoted(f'{message}{_fields(first)}')}/>"
    return f"<failure type={_quoted(first.standing.value)} message={_quoted(message)}>{text}</failure>"


def _fields(finding: Finding) -> str:
    lines = diff_lines(as_it_happened(finding)) if shows_changes(finding) else []
    return f" ({'; '.join(line.strip() for line in lines)})" if lines else ""


def _lines(finding: Finding) -> Iterable[str]:
    yield f"{finding.address} {HEADS[finding.standing]}: {finding.explanation}"
    if finding.arn:
        yield finding.arn
    if shows_changes(finding) and (lines := diff_lines(as_it_happened(finding))):
        yield "- the spec says, + the account has:" if finding.is_drift else "- the account has, + the spec says:"
        yield from lines
    yield from blame_words(finding)


class _Suite:
    """One target: what is known of it, its cases, and what else is said."""

    def __init__(self, name: str, facts: Mapping[str, str], cases: Sequence[str], said: str = "") -> None:
        self._name = name
        self._facts = facts
        self._cases = cases
        self._said = said

    def render(self, at: str) -> str:
        """Return the suite; its number is put in by whoever knows the others."""
        counts = {
            word: sum(f"<{tag} " in case for case in self._cases)
            for word, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))
        }
        attributes = {
            "name": self._name,
            "package": "ivs-reconciler",
            "timestamp": at,
            "hostname": self._facts.get("region") or "unknown",
            "tests": str(len(self._cases)),
            **{word: str(count) for word, count in counts.items()},
            "time": "0",
        }
        head = "".join(f" {name}={_quoted(value)}" for name, value in attributes.items())
        facts = "".join(
            f"<property name={_quoted(name)} value={_quoted(value)}/>" for name, value in self._facts.items() if value
        )
        cases = "".join(f"  {case}\n" for case in self._cases)
        return (
            f'<testsuite id="?"{head}>\n  <properties>{facts}</properties>\n{cases}'
            f"  <system-out>{self._said}</system-out>\n  <system-err></system-err>\n</testsuite>\n"
        )


def _case(target: str, stack: str, name: str, outcome: str) -> str:
    head = f'<testcase classname={_quoted(f"{stack}.{target}")} name={_quoted(name)} time="0"'
    return f"{head}>{outcome}</testcase>" if outcome else f"{head}/>"


def _error(message: str) -> str:
    return f'<error type="unreadable" message={_quoted(message.partition(chr(10))[0])}>{_text(message.split(chr(10)))}</error>'


def _quoted(text: str) -> str:
    return f'"{escape(harmless(text), quote=True)}"'


def _text(lines: Iterable[str]) -> str:
    return "\n".join(escape(harmless(line), quote=False) for line in lines)
