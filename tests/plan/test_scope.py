"""Globs that name nothing: which are refused, and what is suggested in their place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.address import Address, KindName
from reconciler.model.kinds import LISTED
from reconciler.plan.plan import PlanOptions
from reconciler.plan.selection import kinds_to_read, unmatched_globs
from tests.builders import arn, desired, wanted

KNOWN = frozenset(
    map(
        Address.parse, ("channel/main-stage", "channel/side", "stream-key/main-stage", "playback-restriction-policy/eu")
    )
)


@pytest.mark.parametrize(
    ("glob", "meant"),
    [
        ("channel/mian-stage", "did you mean channel/main-stage?"),
        ("main-stage", "did you mean channel/main-stage or stream-key/main-stage?"),
        ("policy/eu", "did you mean playback-restriction-policy/eu?"),
        ("chanel/*", "there is no kind chanel; did you mean channel?"),
        ("zoo/*", "there is no kind zoo; the kinds are recording-configuration, "),
        ("channel/x*", "managed by this stack matches; write addresses as plan shows them"),
        ("", "managed by this stack matches; write addresses as plan shows them"),
    ],
)
def test_only_has_to_match_something(glob: str, meant: str) -> None:
    (said,) = unmatched_globs([glob], [], KNOWN)
    assert said.startswith(f"--only {glob}: ")
    assert meant in said


@pytest.mark.parametrize("glob", ["channel/mian-stage", "main-stage", "chanel/*", "chanel/x"])
def test_what_is_to_be_left_out_has_to_be_there(glob: str) -> None:
    (said,) = unmatched_globs([], [glob], KNOWN)
    assert said.startswith(f"--exclude {glob}: ")


def test_a_pattern_of_what_is_to_be_left_out_may_match_nothing() -> None:
    assert unmatched_globs([], ["channel/event-*", "*/nobody", "failover-slate-configuration/*"], KNOWN) == ()


def test_every_wrong_one_is_named() -> None:
    assert len(unmatched_globs(["channel/a", "channel/side"], ["channel/b", "x/y"], KNOWN)) == 3


@given(st.sampled_from(sorted(KNOWN)), st.integers(0, 30))
def test_what_matches_is_never_refused(address: Address, place: int) -> None:
    text = str(address)
    for glob in (
        text,
        text[:place] + "*",
        "*" + text[place:],
        text[:place] + "?" + text[place + 1 :] if place < len(text) else text,
    ):
        assert unmatched_globs([glob], [glob], KNOWN) == ()


ALL = frozenset(LISTED)


def kinds(*names: str) -> frozenset[KindName]:
    return frozenset(map(KindName, names))


def read_for(*addresses: str, recorded: frozenset[KindName] = frozenset(), **options: Any) -> frozenset[KindName]:
    return kinds_to_read(desired(*map(wanted, addresses)).kinds, PlanOptions(**options), recorded)


def test_a_plan_reads_the_kinds_of_the_spec() -> None:
    assert read_for("channel/main", "stream-key/main", "playback-key-pair/web") == kinds("channel", "playback-key-pair")


def test_what_the_last_apply_recorded_is_read_too() -> None:
    recorded = kinds("playback-key-pair", "stream-key")
    assert read_for("channel/main", recorded=recorded) == kinds("channel", "playback-key-pair")


@pytest.mark.parametrize(
    "kind",
    ["recording-configuration", "playback-restriction-policy", "ad-configuration", "failover-slate-configuration"],
)
def test_what_may_be_in_use_is_read_with_what_may_use_it(kind: str) -> None:
    assert read_for(f"{kind}/one") == kinds(kind, "channel")


def test_what_the_spec_names_by_its_arn_is_read() -> None:
    named = {"recordingConfigurationArn": arn("recording-configuration/theirs")}
    spec = desired(wanted("channel/main", named))
    assert kinds_to_read(spec.kinds, PlanOptions()) == kinds("channel", "recording-configuration")


def test_with_prune_and_for_an_empty_spec_every_kind_is_read() -> None:
    assert read_for("channel/main", prune=True) == ALL
    assert read_for() == ALL


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"only": ("channel/main",)}, kinds("channel")),
        ({"only": ("playback-key-pair/*",)}, kinds("channel", "playback-key-pair")),
        ({"exclude": ("playback-key-pair/web",)}, kinds("channel", "playback-key-pair")),
        ({"only": ("*/main",)}, ALL),
        ({"only": ("main",)}, ALL),
        ({"exclude": ("stream-key/main",)}, kinds("channel")),
    ],
)
def test_what_globs_may_name_is_read(options: dict[str, Any], expected: frozenset[KindName]) -> None:
    assert read_for("channel/main", **options) == expected
