"""Reports that CI systems read: drift as JUnit XML, problems of a spec as GitHub workflow commands or a GitLab code quality report.

JUnit has a suite for each target and a case for each resource. Drifted, missing and duplicate resources are failures,
pending and orphaned ones are skipped, a target that cannot be read is an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

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
    root = ET.Element("testsuites")
    root.extend(_report(report, stack) for report in reports)
    for name, message in (failed or {}).items():
        root.append(_suite(name, {"stack": stack}, [_case(name, stack, "read", _error(message))]))
    for number, suite in enumerate(root):
        suite.attrib |= {"id": str(number), "timestamp": at}
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return f"{text.decode()}\n"


def _report(report: DriftReport, stack: str) -> Element:
    found: dict[Address, list[Finding]] = {address: [] for address in report.addresses}
    for finding in report.findings:
        found.setdefault(finding.address, []).append(finding)
    cases = [_case(report.name, stack, str(address), _outcome(findings)) for address, findings in sorted(found.items())]
    cases += [_case(report.name, stack, f"read {number}", _error(line)) for number, line in enumerate(report.unread, 1)]
    facts = {"stack": stack, "account": report.account_id, "region": report.region}
    return _suite(report.name, facts, cases, _summary_lines(report))


def _summary_lines(report: DriftReport) -> Iterable[str]:
    yield f"{headline(report)}: {drift_counts(report)}."
    if report.ignored:
        yield f"{ignored_heading(report)}:"
        yield from (f"  {ignored_words(one)}" for one in report.ignored)
    if report.defaults:
        yield f"{defaults_heading(report)}."
    yield from (f"  {defaults_words(one)}" for one in report.default_fields)
    yield from (f"note: {note}" for note in report.notes)


def _outcome(findings: Sequence[Finding]) -> Element | None:
    """Return the result of one resource: a failure if one of its findings is drift, skipped for other findings, ``None`` if it passed."""
    if not findings:
        return None
    failures = [finding for finding in findings if finding.is_drift]
    first = (failures or findings)[0]
    message = f"{first.address} {HEADS[first.status]}: {first.explanation}"
    if not failures:
        return _element("skipped", message=f"{message}{_fields(first)}")
    text = "\n\n".join(_text(_lines(finding)) for finding in findings)
    return _element("failure", text, type=first.status.value, message=message)


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


def _suite(name: str, facts: Mapping[str, str], cases: Sequence[Element], output: Iterable[str] = ()) -> Element:
    """Return one target: its properties, its cases and its output."""
    suite = _element("testsuite", name=name, package="ivs-reconciler", hostname=facts.get("region") or "unknown")
    properties = ET.SubElement(suite, "properties")
    properties.extend(_element("property", name=name, value=value) for name, value in facts.items() if value)
    suite.extend(cases)
    suite.extend((_element("system-out", _text(output)), _element("system-err")))
    for word, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(word, str(sum(1 for _ in suite.iter(tag))))
    suite.set("time", "0")
    return suite


def _case(target: str, stack: str, name: str, outcome: Element | None) -> Element:
    case = _element("testcase", classname=f"{stack}.{target}", name=name, time="0")
    if outcome is not None:
        case.append(outcome)
    return case


def _error(message: str) -> Element:
    lines = message.split("\n")
    return _element("error", _text(lines), type="unreadable", message=lines[0])


def _element(tag: str, text: str = "", /, **attributes: str) -> Element:
    """Return an element; ``text`` is sanitized already, because it may have several lines."""
    made = Element(tag, {name: sanitize(value) for name, value in attributes.items()})
    made.text = text or None
    return made


def _text(lines: Iterable[str]) -> str:
    return "\n".join(map(sanitize, lines))


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
