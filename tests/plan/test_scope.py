"""Globs that name nothing: which are refused, and what is suggested in their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.address import Address
from reconciler.plan.selection import misspelt

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
        ("channel/x*", "is like this; write addresses as plan shows them"),
        ("", "is this one; write addresses as plan shows them"),
    ],
)
def test_only_has_to_match_something(glob: str, meant: str) -> None:
    (said,) = misspelt([glob], [], KNOWN)
    assert said.startswith(f"--only {glob}: ")
    assert meant in said


@pytest.mark.parametrize("glob", ["channel/mian-stage", "main-stage", "chanel/*", "chanel/x"])
def test_what_is_to_be_left_out_has_to_be_there(glob: str) -> None:
    (said,) = misspelt([], [glob], KNOWN)
    assert said.startswith(f"--exclude {glob}: ")


def test_a_pattern_of_what_is_to_be_left_out_may_match_nothing() -> None:
    assert misspelt([], ["channel/event-*", "*/nobody", "failover-slate-configuration/*"], KNOWN) == ()


def test_every_wrong_one_is_named() -> None:
    assert len(misspelt(["channel/a", "channel/side"], ["channel/b", "x/y"], KNOWN)) == 3


@given(st.sampled_from(sorted(KNOWN)), st.integers(0, 30))
def test_what_matches_is_never_refused(address: Address, place: int) -> None:
    text = str(address)
    for glob in (
        text,
        text[:place] + "*",
        "*" + text[place:],
        text[:place] + "?" + text[place + 1 :] if place < len(text) else text,
    ):
        assert misspelt([glob], [glob], KNOWN) == ()
