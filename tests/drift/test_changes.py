"""What receivers are notified of, and that nothing is sent twice."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.diff import FieldChange
from reconciler.drift import DriftStatus
from reconciler.drift.changes import NOTHING, KnownFindings, changes_to_notify, failure_to_notify
from reconciler.drift.report import DriftReport, Finding
from reconciler.errors import AwsError
from reconciler.model.address import Address, KindName
from reconciler.model.resource import UnmanagedResource
from reconciler.model.target import DEFAULT_TOPICS, Topic

STACK = "acme"
DENIED = AwsError("no (request 1)", code="AccessDenied")


def finding(
    status: DriftStatus = DriftStatus.DRIFT, identifier: str = "main", *changes: FieldChange, explanation: str = ""
) -> Finding:
    return Finding(Address(KindName.CHANNEL, identifier), status, explanation, f"arn:{identifier}", changes)


def report(*found: Finding, unmanaged: tuple[UnmanagedResource, ...] = ()) -> DriftReport:
    return DriftReport("prod", "123456789012", "us-west-2", found, unmanaged, 1, 1, drifted=bool(found), pending=False)


LATENCY = FieldChange("/latencyMode", "NORMAL", "LOW")


def test_a_first_reading_without_findings_sends_nothing() -> None:
    assert changes_to_notify(STACK, report(), NOTHING) is None


def test_a_finding_is_sent_once_and_again_when_it_is_resolved() -> None:
    first = changes_to_notify(STACK, report(finding(DriftStatus.DRIFT, "main", LATENCY)), NOTHING)
    assert first is not None
    assert [(item.address, item.topic, item.paths) for item in first.new] == [
        ("channel/main", Topic.DRIFT, ("/latencyMode",))
    ]
    assert (first.resolved, first.open, first.number) == ((), {Topic.DRIFT: 1}, 1)
    assert changes_to_notify(STACK, report(finding(DriftStatus.DRIFT, "main", LATENCY)), first.known) is None
    last = changes_to_notify(STACK, report(), first.known)
    assert last is not None
    assert (last.new, last.resolved, last.open, last.number) == ((), ("drift channel/main",), {}, 2)
    assert changes_to_notify(STACK, report(), last.known) is None


def test_open_findings_are_counted_and_not_sent_again() -> None:
    first = changes_to_notify(STACK, report(finding()), NOTHING)
    assert first is not None
    second = changes_to_notify(STACK, report(finding(), finding(DriftStatus.MISSING, "side")), first.known)
    assert second is not None
    assert [item.address for item in second.new] == ["channel/side"]
    assert second.open == {Topic.DRIFT: 1, Topic.MISSING: 1}


def test_a_finding_that_says_something_else_is_new_and_resolves_nothing() -> None:
    first = changes_to_notify(STACK, report(finding(DriftStatus.DRIFT, "main", LATENCY)), NOTHING)
    assert first is not None
    second = changes_to_notify(
        STACK,
        report(finding(DriftStatus.DRIFT, "main", LATENCY, FieldChange("/authorized", before=True, after=False))),
        first.known,
    )
    assert second is not None
    assert ([item.address for item in second.new], second.resolved) == (["channel/main"], ())


def test_a_missing_resource_is_sent_once_however_its_explanation_changes() -> None:
    first = changes_to_notify(
        STACK, report(finding(DriftStatus.MISSING, explanation="it was applied and no longer exists")), NOTHING
    )
    assert first is not None
    assert (
        changes_to_notify(
            STACK,
            report(finding(DriftStatus.MISSING, explanation="deleted outside ivs-reconciler, or never applied")),
            first.known,
        )
        is None
    )


def test_pending_changes_are_sent_only_if_configured() -> None:
    pending, unmanaged = (
        finding(DriftStatus.PENDING),
        (UnmanagedResource(KindName.CHANNEL, "arn:theirs", "x", "other"),),
    )
    assert changes_to_notify(STACK, report(pending, unmanaged=unmanaged), NOTHING) is None
    told = changes_to_notify(
        STACK, report(pending, unmanaged=unmanaged), NOTHING, frozenset({Topic.PENDING, Topic.UNMANAGED})
    )
    assert told is not None
    assert [item.topic for item in told.new] == [Topic.PENDING, Topic.UNMANAGED]
    assert (told.new[1].address, told.new[1].explanation) == ("arn:theirs", "channel x, owned by stack other")


def test_a_topic_that_is_no_longer_configured_is_not_resolved() -> None:
    told = changes_to_notify(STACK, report(finding(DriftStatus.PENDING)), NOTHING, frozenset({Topic.PENDING}))
    assert told is not None
    assert changes_to_notify(STACK, report(finding(DriftStatus.PENDING)), told.known) is None


def test_an_unreadable_target_is_sent_once_and_its_findings_stay_open() -> None:
    first = changes_to_notify(STACK, report(finding()), NOTHING)
    assert first is not None
    dark = failure_to_notify(STACK, "prod", "us-west-2", DENIED, first.known)
    assert dark is not None
    assert (dark.new, dark.resolved, dark.open, dark.failure) == ((), (), {Topic.DRIFT: 1}, "no (request 1)")
    assert (
        failure_to_notify(STACK, "prod", "us-west-2", AwsError("no (request 2)", code="AccessDenied"), dark.known)
        is None
    )
    assert failure_to_notify(STACK, "prod", "us-west-2", AwsError("slow", code="ReadTimeout"), dark.known) is not None
    light = changes_to_notify(STACK, report(finding()), dark.known)
    assert light is not None
    assert (light.new, light.resolved, light.readable_again) == ((), (), True)
    assert changes_to_notify(STACK, report(finding()), light.known) is None


def test_ids_differ_between_channels_and_messages_and_stay_for_the_same() -> None:
    first = changes_to_notify(STACK, report(finding()), NOTHING)
    again = changes_to_notify(STACK, report(finding()), NOTHING)
    assert first is not None
    assert again is not None
    assert first.id_for("ops") == again.id_for("ops") != first.id_for("audit")
    last = changes_to_notify(STACK, report(), first.known)
    assert last is not None
    back = changes_to_notify(STACK, report(finding()), last.known)
    assert back is not None
    assert back.id_for("ops") != first.id_for("ops")


FINDINGS = st.builds(
    finding,
    st.sampled_from([DriftStatus.DRIFT, DriftStatus.MISSING, DriftStatus.DUPLICATE, DriftStatus.PENDING]),
    st.sampled_from("abc"),
    st.sampled_from([LATENCY]),
)
LOOKS = st.one_of(
    st.just(DENIED),
    st.builds(lambda found: report(*{item.address: item for item in found}.values()), st.lists(FINDINGS, max_size=3)),
)


@given(st.lists(LOOKS, max_size=12))
@settings(deadline=None)
def test_the_messages_add_up_to_the_state_and_repeat_nothing(looks: list[DriftReport | AwsError]) -> None:
    known, heard, dark = NOTHING, dict[str, str](), ""
    for look in looks:
        found = (
            changes_to_notify(STACK, look, known)
            if isinstance(look, DriftReport)
            else failure_to_notify(STACK, "prod", "us-west-2", look, known)
        )
        if found is not None:
            before = (dict(heard), dark)
            heard.update({item.name: "stands" for item in found.new})
            for name in found.resolved:
                del heard[name]
            dark = found.failure
            assert (heard, dark) != before or found.new, "a message says something"
            known = KnownFindings.from_json(found.known.to_json())
        if isinstance(look, DriftReport):
            assert set(heard) == {
                f"{one.status} {one.address}" + (f" {one.arn}" if one.status is DriftStatus.DUPLICATE else "")
                for one in look.findings
                if Topic(one.status.value) in DEFAULT_TOPICS
            }
            assert changes_to_notify(STACK, look, known) is None
        else:
            assert dark
            assert failure_to_notify(STACK, "prod", "us-west-2", look, known) is None
