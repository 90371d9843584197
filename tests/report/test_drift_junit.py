"""JUnit XML is held against the schema that CI systems share, as rules: which elements, in which order, with which attributes and counts."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.diff import FieldChange
from reconciler.drift import DriftStatus
from reconciler.drift.report import DriftReport, Finding
from reconciler.model.address import Address, KindName
from reconciler.report.ci import render_drift

from .makers import texts
from .test_drift_views import QUICK, a_report, reports, the_small_report

AT = "2026-11-20T10:00:00"
SUITE = {"id", "name", "package", "timestamp", "hostname", "tests", "failures", "errors", "skipped", "time"}


def held_against_the_schema(text: str) -> ET.Element:
    root = ET.fromstring(text)
    assert (root.tag, root.attrib) == ("testsuites", {})
    for index, suite in enumerate(root):
        assert suite.tag == "testsuite"
        assert set(suite.attrib) == SUITE
        assert suite.get("id") == str(index)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp", ""))
        assert suite.get("hostname")
        cases = suite.findall("testcase")
        assert [child.tag for child in suite] == ["properties", *["testcase"] * len(cases), "system-out", "system-err"]
        assert all(set(fact.attrib) == {"name", "value"} and fact.tag == "property" for fact in suite[0])
        assert suite.get("tests") == str(len(cases))
        for word, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert suite.get(word) == str(len(list(suite.iter(tag)))), word
        for case in cases:
            assert set(case.attrib) == {"classname", "name", "time"}
            assert len(case) <= 1, "one outcome a case"
            for outcome in case:
                assert outcome.tag in ("failure", "error", "skipped")
                assert set(outcome.attrib) == ({"message"} if outcome.tag == "skipped" else {"message", "type"})
        assert len({case.get("name") for case in cases}) == len(cases)
    return root


def test_the_small_report() -> None:
    root = held_against_the_schema(
        render_drift(
            (the_small_report(), a_report(name="dev")), stack="acme-live", at=AT, failed={"away": "no\nconnection"}
        )
    )
    small, clean, away = root
    outcomes = {case.get("name"): [outcome.tag for outcome in case] for case in small.iter("testcase")}
    assert outcomes == {
        "channel/gone": ["skipped"],
        "channel/main-stage": ["failure"],
        "channel/side-stage": ["failure"],
        "channel/twin": ["failure"],
        "playback-restriction-policy/eu-only": ["skipped"],
    }
    assert (clean.get("failures"), away.get("errors")) == ("0", "1")
    failure = next(small.iter("failure"))
    assert "+ latencyMode:" in (failure.text or "")


def test_drift_and_pending_of_one_resource_are_one_failure_with_both_texts() -> None:
    at = Address(KindName.CHANNEL, "main")
    both = (
        Finding(at, DriftStatus.DRIFT, "outside", "arn:x", (FieldChange("/type", "BASIC", "STANDARD"),)),
        Finding(at, DriftStatus.PENDING, "the spec changed", "arn:x", (FieldChange("/latencyMode", "LOW", "NORMAL"),)),
    )
    (suite,) = held_against_the_schema(render_drift((a_report(*both),), stack="acme", at=AT))
    (failure,) = suite.iter("failure")
    assert "type:" in (failure.text or "")
    assert "latencyMode:" in (failure.text or "")


@pytest.mark.parametrize("char", ["\x00", "\x1b", "\ufffe", "\u202e", "]]>", "<&\"'"])
def test_characters_that_xml_has_no_place_for_are_escaped(char: str) -> None:
    found = Finding(
        Address(KindName.CHANNEL, "main"),
        DriftStatus.DRIFT,
        f"a{char}b",
        f"arn{char}",
        (FieldChange("/name", f"x{char}", "y"),),
    )
    (suite,) = held_against_the_schema(render_drift((a_report(found),), stack=f"s{char}", at=AT, failed={}))
    (failure,) = suite.iter("failure")
    assert not any(ord(each) < 32 and each != "\n" for each in (failure.text or "") + (failure.get("message") or ""))


@given(reports, texts, st.dictionaries(texts, texts, max_size=2))
@QUICK
def test_no_text_breaks_out_of_its_place(report: DriftReport, stack: str, failed: dict[str, str]) -> None:
    text = render_drift((report, report), stack=stack, at=AT, failed=failed)
    text.encode()
    held_against_the_schema(text)
