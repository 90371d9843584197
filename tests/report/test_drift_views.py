from __future__ import annotations

import json
import re
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.diff import FieldChange
from reconciler.drift import DriftStatus
from reconciler.drift.report import (
    AtDefault,
    AttributedCall,
    Blame,
    DriftReport,
    Finding,
    Ignored,
    drift_json,
    read_drift,
)
from reconciler.model.address import Address, KindName
from reconciler.model.resource import UnmanagedResource
from reconciler.report import html, markdown
from reconciler.report import text as drift_text

from .forge import is_harmless
from .golden import matches_golden
from .makers import addresses, an_arn, changes, removed, texts
from .test_html import body, is_whole

QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

blames = st.builds(
    Blame, st.lists(st.builds(AttributedCall, texts, texts, texts, texts, texts), max_size=2).map(tuple), texts
)
findings = st.builds(
    Finding,
    addresses,
    st.sampled_from(DriftStatus),
    texts,
    arn=st.one_of(st.none(), texts),
    changes=st.lists(changes, max_size=3).map(tuple),
    wanted=st.booleans(),
    blame=st.one_of(st.none(), blames),
)
ignored = st.builds(
    Ignored,
    addresses,
    st.sampled_from([DriftStatus.DRIFT, DriftStatus.PENDING]),
    texts,
    st.lists(changes, min_size=1, max_size=2).map(tuple),
)
reports = st.builds(
    partial(DriftReport),
    texts,
    texts,
    texts,
    st.lists(findings, max_size=6).map(tuple),
    st.lists(st.builds(UnmanagedResource, st.sampled_from(KindName), texts, texts, texts), max_size=3).map(tuple),
    st.just(9),
    st.just(3),
    st.booleans(),
    st.booleans(),
    notes=st.lists(texts, max_size=2).map(tuple),
    defaults=st.integers(0, 3),
    ignored=st.lists(ignored, max_size=2).map(tuple),
    unread=st.lists(texts, max_size=1).map(tuple),
    default_fields=st.lists(
        st.builds(AtDefault, addresses, st.dictionaries(st.sampled_from(("latencyMode", "type")), texts, max_size=2)),
        max_size=2,
    ).map(tuple),
)


def a_report(*found: Finding, name: str = "prod") -> DriftReport:
    unmanaged = (
        UnmanagedResource(KindName.CHANNEL, an_arn(KindName.CHANNEL, "Theirs000001"), "lobby", "other-team"),
        UnmanagedResource(KindName.CHANNEL, an_arn(KindName.CHANNEL, "Nobodys00001"), "", ""),
    )
    drifted = any(one.status in (DriftStatus.DRIFT, DriftStatus.MISSING) for one in found)
    return DriftReport(
        name,
        "123456789012",
        "us-west-2",
        found,
        unmanaged,
        12,
        8,
        drifted,
        any(one.status is DriftStatus.PENDING for one in found),
    )


def the_small_report() -> DriftReport:
    return a_report(
        Finding(
            Address(KindName.CHANNEL, "main-stage"),
            DriftStatus.DRIFT,
            "modified outside ivs-reconciler since the last apply",
            an_arn(KindName.CHANNEL, "MainStage001"),
            (
                FieldChange("/latencyMode", "NORMAL", "LOW"),
                FieldChange("/authorized", before=False, after=True),
                removed("/tags/who", "me"),
            ),
        ),
        Finding(
            Address(KindName.PLAYBACK_RESTRICTION_POLICY, "eu-only"),
            DriftStatus.PENDING,
            "the spec changed since the last apply",
            an_arn(KindName.PLAYBACK_RESTRICTION_POLICY, "EuOnly000001"),
            (FieldChange("/allowedCountries", ("DE", "FR"), ("DE", "IT")),),
        ),
        Finding(Address(KindName.CHANNEL, "side-stage"), DriftStatus.MISSING, "it was applied and no longer exists"),
        Finding(
            Address(KindName.CHANNEL, "gone"),
            DriftStatus.ORPHAN,
            "removed from the spec (prune disabled)",
            an_arn(KindName.CHANNEL, "Gone00000001"),
        ),
        Finding(
            Address(KindName.CHANNEL, "twin"),
            DriftStatus.DUPLICATE,
            "has the same address as another",
            an_arn(KindName.CHANNEL, "Twin00000002"),
        ),
    )


def test_a_drift_report_in_markdown_looks_as_it_did() -> None:
    assert matches_golden("drift.md", markdown.render_drift(the_small_report(), facts={"Commit": "3f2c1d0b9a"}))


def test_a_thousand_targets_that_could_not_be_read_leave_space_for_the_report_of_the_others() -> None:
    failed = {f"t{number:03}": "missing permission ivs:ListChannels " * 6 for number in range(1000)}
    text = markdown.render_drift(the_small_report(), limit=65_536, failed=failed)
    assert text.startswith("**1,001 targets: 1 with drift, 1,000 failed**\n\nFailed:\n\n- `t000`: ")
    assert "\n- `t019`: " in text
    assert "\n- and 980 more\n" in text
    assert text.endswith(markdown.render_drift(the_small_report()))
    assert "\n- `t999`: " in markdown.render_drift(the_small_report(), failed=failed)


def test_a_drift_report_as_a_page_looks_as_it_did() -> None:
    text = html.render_drift((the_small_report(), a_report(name="dev")), stack="acme-live")
    assert is_whole(text)
    assert matches_golden("drift.html", body(text))


def test_drift_goes_from_the_spec_to_the_account_and_pending_the_other_way() -> None:
    text = markdown.render_drift(the_small_report())
    assert '- latencyMode: "LOW"\n+ latencyMode: "NORMAL"\n' in text
    assert '+ tags.who:    "me"\n' in text
    assert '-   "FR"\n+   "IT"\n' in text


def test_the_page_of_a_drifted_list_names_members_that_are_unexpected_and_missing() -> None:
    change = FieldChange("/allowedCountries", ("DE", "IT"), ("DE", "FR"))
    policy = Address(KindName.PLAYBACK_RESTRICTION_POLICY, "eu-only")
    text = html.render_drift((a_report(Finding(policy, DriftStatus.DRIFT, "", "arn", (change,))),), stack="acme-live")
    assert '<table class="diff drift">' in text
    expected, actual = re.findall(r'<td class="(?:left|right) set">(.*?)</td>', text, re.DOTALL)
    spans = re.compile(r'<span class="(\w+)">(.*?)</span>')
    assert spans.findall(expected) == [("loss", "missing &#34;FR&#34;"), ("kept", "&#34;DE&#34;")]
    assert spans.findall(actual) == [("gain", "unexpected &#34;IT&#34;"), ("kept", "&#34;DE&#34;")]
    terminal = drift_text.render_drift(
        a_report(Finding(policy, DriftStatus.DRIFT, "", "arn", (change,))), paint=drift_text.ansi
    )
    assert '\x1b[35mmissing\x1b[0m "FR", \x1b[33munexpected\x1b[0m "IT"' in terminal, "a value of the spec is not red"
    pending = html.render_drift((a_report(Finding(policy, DriftStatus.PENDING, "", "arn", (change,))),), stack="acme")
    assert [words for _, words in spans.findall(pending) if "to " in words] == [
        "to add &#34;FR&#34;",
        "to remove &#34;IT&#34;",
    ]


def test_expected_is_always_the_first_column_and_actual_the_second() -> None:
    channel = Address(KindName.CHANNEL, "x")
    unset, extra = removed("/tags/a", "live"), FieldChange("/tags/b", None, "spec", absent_before=True)
    for status in (DriftStatus.DRIFT, DriftStatus.PENDING):
        for change in (unset, extra):
            text = html.render_drift((a_report(Finding(channel, status, "", "arn", (change,))),), stack="acme-live")
            assert re.findall(r'<th scope="col">(\w+)</th>', text) == ["Field", "Expected", "Actual"]
            sides = (
                [("left nil", "(absent)"), ("right", "live")]
                if change is unset
                else [("left", "spec"), ("right nil", "(absent)")]
            )
            assert [
                (name, value.replace("&#34;", ""))
                for name, value in re.findall(r'<td class="(\w+(?: nil)?)">(.*?)</td>', text)
            ] == sides


def test_a_clean_report_says_no_drift() -> None:
    assert "**No drift: 8 in sync, 2 unmanaged**" in markdown.render_drift(a_report())
    assert "<b>No drift</b>8 in sync, 2 unmanaged<" in html.render_drift((a_report(),), stack="acme-live")


def test_reports_of_several_targets_have_a_table_and_the_details_of_those_that_have_some() -> None:
    clean = a_report(name="dev")._replace(unmanaged=())
    text = markdown.render_drift(the_small_report(), clean, facts={"Commit": "abc"})
    assert text.startswith("Commit: `abc`\n\n| Target | Account | Region | Result | Drifted | Missing | ")
    assert re.search(r"^\| `dev` \| `\d+` \| `us-west-2` \| No drift \| · .* \| 8 \|$", text, re.MULTILINE)
    assert [line for line in text.splitlines() if line.startswith("###")] == ["### `prod`"]
    assert markdown.render_drift(the_small_report(), clean, limit=200).startswith("Drift: ")


@given(reports)
@QUICK
def test_no_control_character_reaches_a_terminal(report: DriftReport) -> None:
    assert not any(ord(char) < 32 and char != "\n" for char in drift_text.render_drift(report))


@given(reports, texts)
@QUICK
def test_what_json_says_is_read_back_as_it_was(report: DriftReport, stack: str) -> None:
    text = json.dumps(drift_json(stack, (report,)))
    read = read_drift(json.loads(text))
    found, (again,) = read.stack, read.reports
    assert found == stack
    assert json.loads(json.dumps(drift_json(stack, (again,)))) == {
        **json.loads(text),
        "targets": [_without_fields(one) for one in json.loads(text)["targets"]],
    }


def _without_fields(target: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in target.items() if name != "defaultFields"}


@given(reports, st.one_of(st.none(), st.integers(900, 3_000)))
@QUICK
def test_no_text_in_a_drift_report_breaks_out_of_its_place(report: DriftReport, limit: int | None) -> None:
    for text in (markdown.render_drift(report, limit=limit), markdown.render_drift(report, report, limit=limit)):
        assert limit is None or len(text.encode()) <= limit
        assert is_harmless(text)
    assert is_whole(html.render_drift((report, report), stack=report.name))


def test_a_long_drift_report_keeps_the_names_of_what_drifted() -> None:
    found = [
        Finding(
            Address(KindName.CHANNEL, f"stage-{number:04}"),
            DriftStatus.DRIFT,
            "changed",
            "arn",
            (FieldChange("/name", "x", "y"),),
        )
        for number in range(500)
    ]
    text = markdown.render_drift(a_report(*found), limit=65_536)
    assert len(text.encode()) <= 65_536
    assert all(f"! {finding.address}: name\n" in text for finding in found)


def test_a_limit_that_is_too_small_for_the_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="limit of 50 bytes is too small"):
        markdown.render_drift(the_small_report(), limit=50)
