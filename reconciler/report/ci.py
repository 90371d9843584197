"""Reports that CI systems read: drift as JUnit XML, problems of a spec as GitHub workflow commands or a GitLab code quality report.

JUnit has a suite for each target and a case for each resource. Drifted, missing and duplicate resources are failures,
pending and orphaned ones are skipped, a target that cannot be read is an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from reconciler.drift.report import DriftReport, Finding
from reconciler.errors import Problem
from reconciler.model.address import Address
from reconciler.report.actions import shown_changes
from reconciler.report.markdown_layout import diff_lines
from reconciler.report.words import (
    HEADS,
    blame_words,
    defaults_heading,
    defaults_words,
    drift_counts,
    headline,
    ignored_heading,
    ignored_words,
    in_time_order,
)
from reconciler.terminal import display_json, sanitize, sanitize_lines


def render_drift(
    reports: Sequence[DriftReport], *, stack: str, at: str, failed: Mapping[str, str] | None = None
) -> str:
    """Return the drift reports of all targets as JUnit XML.

    ``at`` is a UTC instant like 2026-11-20T10:00:00; ``failed`` has the error of each target that could not be read.
    """
    suites = [_report(report, stack) for report in reports]
    suites += [
        _Suite(name, {"stack": stack}, [_case(name, stack, "read", _error(message))])
        for name, message in (failed or {}).items()
    ]
    body = "".join(suite.render(at, number) for number, suite in enumerate(suites))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n{body}</testsuites>\n'


def _report(report: DriftReport, stack: str) -> _Suite:
    found: dict[Address, list[Finding]] = {address: [] for address in report.addresses}
    for finding in report.findings:
        found.setdefault(finding.address, []).append(finding)
    cases = [_case(report.name, stack, str(address), _outcome(findings)) for address, findings in sorted(found.items())]
    cases += [_case(report.name, stack, f"read {number}", _error(line)) for number, line in enumerate(report.unread, 1)]
    facts = {"stack": stack, "account": report.account_id, "region": report.region}
    return _Suite(report.name, facts, cases, _text(_summary_lines(report)))


def _summary_lines(report: DriftReport) -> Iterable[str]:
    yield f"{headline(report)}: {drift_counts(report)}."
    if report.ignored:
        yield f"{ignored_heading(report)}:"
        yield from (f"  {ignored_words(one)}" for one in report.ignored)
    if report.defaults:
        yield f"{defaults_heading(report)}."
    yield from (f"  {defaults_words(one)}" for one in report.default_fields)
    yield from (f"note: {note}" for note in report.notes)


def _outcome(findings: Sequence[Finding]) -> str:
    """Return the result of one resource: a failure if one of its findings is drift, skipped for other findings, else passed."""
    if not findings:
        return ""
    failures = [finding for finding in findings if finding.is_drift]
    text = "\n\n".join(_text(_lines(finding)) for finding in findings)
    first = (failures or findings)[0]
    message = f"{first.address} {HEADS[first.status]}: {first.explanation}"
    if not failures:
        return f"<skipped message={_quoted(f'{message}{_fields(first)}')}/>"
    return f"<failure type={_quoted(first.status.value)} message={_quoted(message)}>{text}</failure>"


def _fields(finding: Finding) -> str:
    lines = diff_lines(shown_changes(in_time_order(finding))) if finding.has_two_sides else []
    return f" ({'; '.join(line.strip() for line in lines)})" if lines else ""


def _lines(finding: Finding) -> Iterable[str]:
    yield f"{finding.address} {HEADS[finding.status]}: {finding.explanation}"
    if finding.arn:
        yield finding.arn
    if finding.has_two_sides and (lines := diff_lines(shown_changes(in_time_order(finding)))):
        yield "- expected, + actual:" if finding.is_drift else "- before, + after:"
        yield from lines
    yield from blame_words(finding)


class _Suite:
    """One target: its properties, its cases and its output."""

    def __init__(self, name: str, facts: Mapping[str, str], cases: Sequence[str], output: str = "") -> None:
        self._name = name
        self._facts = facts
        self._cases = cases
        self._output = output

    def render(self, at: str, number: int) -> str:
        """Return the suite as XML."""
        counts = {
            word: sum(f"<{tag} " in case for case in self._cases)
            for word, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))
        }
        attributes = {
            "id": str(number),
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
            f"<testsuite{head}>\n  <properties>{facts}</properties>\n{cases}"
            f"  <system-out>{self._output}</system-out>\n  <system-err></system-err>\n</testsuite>\n"
        )


def _case(target: str, stack: str, name: str, outcome: str) -> str:
    head = f'<testcase classname={_quoted(f"{stack}.{target}")} name={_quoted(name)} time="0"'
    return f"{head}>{outcome}</testcase>" if outcome else f"{head}/>"


def _error(message: str) -> str:
    lines = message.split("\n")
    return f'<error type="unreadable" message={_quoted(lines[0])}>{_text(lines)}</error>'


def _quoted(text: str) -> str:
    return f'"{escape(sanitize(text), quote=True)}"'


def _text(lines: Iterable[str]) -> str:
    return "\n".join(escape(sanitize(line), quote=False) for line in lines)


def place_of(problem: Problem) -> tuple[str, int, int]:
    """Return file, line and column; line and column are 0 when unknown."""
    parts = problem.where.rsplit(":", 2)
    if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
        return parts[0], int(parts[1]), int(parts[2])
    return problem.where, 0, 0


def workflow_commands(problems: Iterable[Problem], warnings: Iterable[str]) -> str:
    """Return workflow commands, a line each."""
    return "".join(
        (
            *(_error_command(problem) for problem in problems),
            *(f"::warning::{_data(warning)}\n" for warning in warnings),
        )
    )


def code_quality(problems: Iterable[Problem]) -> str:
    """Return a code quality report, as GitLab reads it from a job's artefacts."""
    return display_json([_finding(problem) for problem in problems], indent=2) + "\n"


def _error_command(problem: Problem) -> str:
    file, line, column = place_of(problem)
    place = [f"file={_property(file)}"] + ([f"line={line}", f"col={column}"] if line else [])
    return f"::error {','.join(place)}::{_data(_words(problem))}\n"


def _finding(problem: Problem) -> dict[str, object]:
    path, line, _ = place_of(problem)
    words = _words(problem)
    # GitLab recognizes known findings by this; with line numbers, an inserted line would make all of them new.
    digest = hashlib.sha256(f"{path}\0{problem.address}\0{problem.what}".encode()).hexdigest()
    return {
        "description": words,
        "check_name": "ivs-reconciler validate",
        "fingerprint": digest,
        "severity": "blocker",
        "location": {"path": path, "lines": {"begin": line or 1}},
    }


def _words(problem: Problem) -> str:
    return str(problem._replace(where=""))


def _data(text: str) -> str:
    """Escape text so that it can neither end a workflow command, start another one, nor reach the terminal behind a log."""
    return sanitize_lines(text.replace("\r\n", "\n")).replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(sanitize(text)).replace(":", "%3A").replace(",", "%2C")
