"""What the differ calls a difference, and how it says it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.diff import FieldChange, compare, compare_tags, tag_path, tokens_of
from reconciler.model.address import ID, PROTECT, SPEC, STACK, Address, KindName
from reconciler.model.resource import canonical, effective_properties
from reconciler.model.values import Ref, Value

CHANNEL, RECORDING, POLICY, ADS = (
    KindName.CHANNEL,
    KindName.RECORDING_CONFIGURATION,
    KindName.PLAYBACK_RESTRICTION_POLICY,
    KindName.AD_CONFIGURATION,
)
ARCHIVE = Ref(Address(RECORDING, "archive"))


def between(
    kind: KindName, live: dict[str, object], desired: dict[str, object], *ignore: str
) -> dict[str, tuple[object, object]]:
    found = canonical(kind, live)
    changes = compare(kind, found, effective_properties(kind, found, canonical(kind, desired), frozenset(ignore)))
    return {
        change.path: (
            "absent" if change.absent_before else change.before,
            "absent" if change.absent_after else change.after,
        )
        for change in changes
    }


def test_equal_properties_have_no_difference() -> None:
    assert between(CHANNEL, {"name": "a", "authorized": True}, {"authorized": True, "name": "a"}) == {}


@pytest.mark.parametrize(
    ("kind", "live", "desired"),
    [
        (CHANNEL, {"latencyMode": "LOW", "type": "STANDARD", "preset": "", "authorized": False}, {}),
        (CHANNEL, {"recordingConfigurationArn": "none"}, {"recordingConfigurationArn": ""}),
        (
            CHANNEL,
            {"multitrackInputConfiguration": {"enabled": False, "policy": "ALLOW", "maximumResolution": "FULL_HD"}},
            {},
        ),
        (CHANNEL, {"type": "ADVANCED_HD", "preset": "HIGHER_BANDWIDTH_DELIVERY"}, {"type": "ADVANCED_HD"}),
        (POLICY, {"allowedCountries": ["FR", "DE", "FR"], "allowedOrigins": []}, {"allowedCountries": ["DE", "FR"]}),
        (ADS, {"postRollConfiguration": {"enabled": False, "durationSeconds": 20}}, {}),
        (
            RECORDING,
            {
                "recordingReconnectWindowSeconds": 0,
                "renditionConfiguration": {"renditionSelection": "ALL", "renditions": ["HD"]},
            },
            {},
        ),
        (
            RECORDING,
            {
                "thumbnailConfiguration": {
                    "recordingMode": "INTERVAL",
                    "targetIntervalSeconds": 60,
                    "storage": ["SEQUENTIAL"],
                }
            },
            {},
        ),
    ],
)
def test_written_out_left_out_and_filled_in_by_the_service_are_the_same(
    kind: KindName, live: dict[str, object], desired: dict[str, object]
) -> None:
    assert between(kind, live, desired) == {}
    assert between(kind, desired, live) == {}


def test_an_omitted_field_is_shown_with_its_default() -> None:
    assert between(CHANNEL, {"authorized": True, "latencyMode": "NORMAL"}, {}) == {
        "/latencyMode": ("NORMAL", "LOW"),
        "/authorized": (True, False),
    }
    assert between(POLICY, {"allowedCountries": ["DE"]}, {}) == {"/allowedCountries": (("DE",), ())}
    assert between(CHANNEL, {}, {"recordingConfigurationArn": ARCHIVE}) == {"/recordingConfigurationArn": ("", ARCHIVE)}


def test_changes_come_in_the_order_of_the_table() -> None:
    changes = between(
        CHANNEL, {"name": "b", "insecureIngest": True, "containerFormat": "FRAGMENTED_MP4"}, {"name": "a"}
    )
    assert list(changes) == ["/name", "/insecureIngest", "/containerFormat"]


def test_objects_are_compared_member_by_member() -> None:
    assert between(RECORDING, {"thumbnailConfiguration": {"targetIntervalSeconds": 30}}, {}) == {
        "/thumbnailConfiguration/targetIntervalSeconds": (30, 60)
    }
    assert between(
        RECORDING,
        {"thumbnailConfiguration": {"targetIntervalSeconds": 30}},
        {"thumbnailConfiguration": {"recordingMode": "DISABLED"}},
    ) == {
        "/thumbnailConfiguration/recordingMode": ("INTERVAL", "DISABLED"),
        "/thumbnailConfiguration/targetIntervalSeconds": (30, "absent"),
    }
    assert between(
        RECORDING,
        {"destinationConfiguration": {"s3": {"bucketName": "a"}}},
        {"destinationConfiguration": {"s3": {"bucketName": "b"}}},
    ) == {"/destinationConfiguration/s3/bucketName": ("a", "b")}
    assert between(
        CHANNEL, {"multitrackInputConfiguration": {"enabled": True, "policy": "REQUIRE", "maximumResolution": "HD"}}, {}
    ) == {
        "/multitrackInputConfiguration/enabled": (True, False),
        "/multitrackInputConfiguration/maximumResolution": ("HD", "absent"),
        "/multitrackInputConfiguration/policy": ("REQUIRE", "absent"),
    }


def test_a_list_is_one_value_even_inside_an_object() -> None:
    changes = between(
        RECORDING,
        {"renditionConfiguration": {"renditionSelection": "CUSTOM", "renditions": ["SD", "HD"]}},
        {"renditionConfiguration": {"renditionSelection": "CUSTOM", "renditions": ["FULL_HD", "HD", "SD"]}},
    )
    assert changes == {"/renditionConfiguration/renditions": (("HD", "SD"), ("FULL_HD", "HD", "SD"))}


def test_the_order_of_an_ordered_list_is_a_difference() -> None:
    one, two = {"playbackConfigurationArn": "one"}, {"playbackConfigurationArn": "two"}
    changes = between(
        ADS, {"mediaTailorPlaybackConfigurations": [one, two]}, {"mediaTailorPlaybackConfigurations": [two, one]}
    )
    assert changes == {"/mediaTailorPlaybackConfigurations": ((one, two), (two, one))}


def test_a_reference_compares_by_what_it_refers_to() -> None:
    assert (
        between(
            CHANNEL,
            {"recordingConfigurationArn": ARCHIVE},
            {"recordingConfigurationArn": Ref(Address(RECORDING, "archive"))},
        )
        == {}
    )
    assert between(CHANNEL, {"recordingConfigurationArn": "arn:x"}, {"recordingConfigurationArn": ARCHIVE}) == {
        "/recordingConfigurationArn": ("arn:x", ARCHIVE)
    }


def test_an_ignored_field_is_not_compared_and_the_others_are_compared_beside_its_live_value() -> None:
    assert between(CHANNEL, {"latencyMode": "NORMAL"}, {}, "latencyMode") == {}
    assert (
        between(CHANNEL, {"type": "BASIC"}, {"type": "ADVANCED_HD", "preset": "CONSTRAINED_BANDWIDTH_DELIVERY"}, "type")
        == {}
    )
    assert between(
        CHANNEL,
        {"type": "ADVANCED_SD"},
        {"type": "ADVANCED_HD", "preset": "CONSTRAINED_BANDWIDTH_DELIVERY", "name": "n"},
        "type",
        "name",
    ) == {"/preset": ("HIGHER_BANDWIDTH_DELIVERY", "CONSTRAINED_BANDWIDTH_DELIVERY")}


def test_a_reference_inside_an_object_is_one_value() -> None:
    live: dict[str, Value] = {"multitrackInputConfiguration": {"enabled": True, "policy": ARCHIVE}}
    desired: dict[str, Value] = {"multitrackInputConfiguration": {"enabled": True, "policy": "ALLOW"}}
    assert [(change.path, change.before) for change in compare(CHANNEL, live, desired)] == [
        ("/multitrackInputConfiguration/policy", ARCHIVE)
    ]


def test_an_object_in_the_place_of_a_value_is_reported_where_it_begins() -> None:
    live: dict[str, Value] = {"destinationConfiguration": {"s3": "bucket"}}
    desired: dict[str, Value] = {"destinationConfiguration": {"s3": {"bucketName": "bucket"}}}
    assert [change.path for change in compare(RECORDING, live, desired)] == ["/destinationConfiguration/s3"]


def test_effective_properties_keep_live_values_only_where_ignored() -> None:
    live: dict[str, Value] = {"name": "live", "latencyMode": "NORMAL"}
    desired: dict[str, Value] = {"name": "desired", "authorized": True}
    assert effective_properties(CHANNEL, live, desired, frozenset()) is desired
    assert effective_properties(CHANNEL, live, desired, frozenset({"latencyMode", "authorized"})) == {
        "name": "desired",
        "latencyMode": "NORMAL",
    }


def test_tags_differ_by_key_and_their_paths_are_pointers() -> None:
    changes = compare_tags({"a/b": "1", "gone~": "1", "same": "1"}, {"a/b": "2", "new": "1", "same": "1"})
    assert changes == (
        FieldChange("/tags/a~1b", "1", "2"),
        FieldChange("/tags/gone~0", "1", None, absent_after=True),
        FieldChange("/tags/new", None, "1", absent_before=True),
    )
    assert {change.field for change in changes} == {"tags"}


def test_the_case_of_a_tag_counts() -> None:
    assert [change.path for change in compare_tags({"Team": "video"}, {"team": "video"})] == [
        "/tags/Team",
        "/tags/team",
    ]


@pytest.mark.parametrize("key", [STACK, ID, SPEC, PROTECT])
@pytest.mark.parametrize("ignore", ["tags", "tags/{key}"])
def test_our_own_tags_are_compared_even_if_all_are_ignored(key: str, ignore: str) -> None:
    assert len(compare_tags({}, {key: "x", "other": "y"}, frozenset({ignore.format(key=key), "tags/other"}))) == 1


@given(st.text())
def test_every_token_of_a_pointer_comes_back(token: str) -> None:
    assert tokens_of(tag_path(token)) == ["tags", token]
    assert FieldChange(tag_path(token), None, "x").tag == token


def test_nothing_heavy_is_imported_while_nothing_nested_differs(repository_root: Path) -> None:
    script = (
        "import sys; from reconciler.diff import compare; from reconciler.model.address import KindName as K;"
        "assert compare(K.CHANNEL, {'name': 'a'}, {'name': 'b', 'authorized': True}); assert 'deepdiff' not in sys.modules;"
        "assert compare(K.RECORDING_CONFIGURATION, {'renditionConfiguration': {'renditionSelection': 'NONE'}}, {}); assert 'deepdiff' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=repository_root)
