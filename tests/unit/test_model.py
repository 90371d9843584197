"""The nouns: addresses, values, tags, and the canonical form."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.address import MAX_SPEC_TAGS, STACK, Address, KindName, comparable_tags
from reconciler.model.kinds import FIELDS, KINDS
from reconciler.model.resource import LiveResource, LiveState, canonical, digest_of
from reconciler.model.values import Ref, Value, as_set, freeze, thaw
from tests.builders import with_defaults

CHANNEL, RECORDING = KindName.CHANNEL, KindName.RECORDING_CONFIGURATION


@given(st.sampled_from(KindName), st.text(min_size=1))
def test_an_address_comes_back_from_its_text(kind: KindName, identifier: str) -> None:
    address = Address(kind, identifier)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("main", "write kind/id"),
        ("channel/", "write kind/id"),
        ("chanel/main", "the kinds are recording-configuration"),
    ],
)
def test_what_is_no_address_says_how_one_is_written(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Address.parse(text)


def test_freezing_and_thawing_undo_each_other() -> None:
    plain = {"list": [1, "a", None, {"$ref": "channel/main"}], "object": {"on": True}}
    frozen = freeze(plain)
    assert frozen == {"list": (1, "a", None, Ref(Address(CHANNEL, "main"))), "object": {"on": True}}
    assert thaw(frozen) == plain


def test_a_whole_float_is_an_integer_and_anything_else_has_no_place() -> None:
    assert freeze(60.0) == 60
    for odd in (1.5, object(), b"bytes"):
        with pytest.raises(TypeError, match="is not allowed"):
            freeze(odd)


def test_tags_of_the_system_and_ignored_tags_take_no_part() -> None:
    tags = {"aws:cloudformation:stack-name": "x", "cost-centre": "17", "team": "video", STACK: "acme"}
    assert comparable_tags(tags) == {"cost-centre": "17", "team": "video", STACK: "acme"}
    assert comparable_tags(tags, ["cost-*", "ivs-*"]) == {"team": "video", STACK: "acme"}
    assert MAX_SPEC_TAGS == 46


def test_the_canonical_form_leaves_out_what_is_not_the_kinds() -> None:
    raw: dict[str, object] = {
        "arn": "arn",
        "name": "main",
        "srt": {"passphrase": "x"},
        "ingestEndpoint": "y",
        "tags": {"a": "b"},
        "playbackUrl": "z",
    }
    assert canonical(CHANNEL, raw) == {"name": "main"}


@pytest.mark.parametrize("kind", KindName)
def test_every_default_written_out_is_left_out(kind: KindName) -> None:
    written = {name: thaw(FIELDS[kind][name].default_beside({})) for name in FIELDS[kind]}
    assert canonical(kind, written) == {}


@pytest.mark.parametrize("kind", KindName)
def test_expanding_names_every_field_and_changes_nothing(kind: KindName) -> None:
    whole = with_defaults(kind, {})
    assert list(whole) == [field.name for field in KINDS[kind].fields]
    assert canonical(kind, whole) == {}


def test_the_preset_that_a_type_takes_by_itself_is_left_out() -> None:
    assert canonical(CHANNEL, {"type": "ADVANCED_SD", "preset": "HIGHER_BANDWIDTH_DELIVERY"}) == {"type": "ADVANCED_SD"}
    assert FIELDS[CHANNEL]["preset"].default_beside({"type": "ADVANCED_SD"}) == "HIGHER_BANDWIDTH_DELIVERY"
    assert FIELDS[CHANNEL]["preset"].default_beside({}) == ""


def test_what_has_no_effect_is_dropped() -> None:
    assert canonical(
        RECORDING, {"thumbnailConfiguration": {"recordingMode": "DISABLED", "targetIntervalSeconds": 9}}
    ) == {"thumbnailConfiguration": {"recordingMode": "DISABLED"}}
    assert canonical(
        RECORDING, {"thumbnailConfiguration": {"storage": ["LATEST", "SEQUENTIAL", "LATEST"], "resolution": None}}
    ) == {"thumbnailConfiguration": {"storage": ("LATEST", "SEQUENTIAL")}}
    assert canonical(RECORDING, {"renditionConfiguration": {"renditionSelection": "NONE", "renditions": ["HD"]}}) == {
        "renditionConfiguration": {"renditionSelection": "NONE"}
    }


@given(st.dictionaries(st.sampled_from(sorted(FIELDS[CHANNEL])), st.sampled_from(["", "x", "none"])))
def test_the_canonical_form_of_the_canonical_form_is_itself(raw: dict[str, object]) -> None:
    scalars = {name: value for name, value in raw.items() if name != "multitrackInputConfiguration"}
    once = canonical(CHANNEL, scalars)
    assert canonical(CHANNEL, once) == once


def test_a_set_is_made_of_a_list_and_of_nothing_else() -> None:
    assert as_set(["b", "a", "b"]) == ("a", "b")
    with pytest.raises(TypeError, match="str is not a list"):
        as_set("ab")


def test_the_digest_depends_on_content_and_not_on_order() -> None:
    one: dict[str, Value] = {"a": 1, "b": ("x", Ref(Address(CHANNEL, "main")))}
    other: dict[str, Value] = {"b": ("x", Ref(Address(CHANNEL, "main"))), "a": 1}
    assert digest_of(one) == digest_of(other)
    assert digest_of(one) != digest_of({**one, "a": 2})
    assert len(digest_of(one)) == 32


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.builds(lambda identifier: Ref(Address(CHANNEL, identifier)), st.text(min_size=1, max_size=5)),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4))
def test_a_digest_is_that_of_the_sorted_compact_json(value: dict[str, Value]) -> None:
    text = json.dumps(thaw(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        expected = hashlib.sha256(text.encode()).hexdigest()[:32]
    except UnicodeEncodeError:  # half a surrogate pair has no UTF-8
        return
    assert digest_of(value) == expected


def test_a_live_resource_without_a_name_has_the_empty_one() -> None:
    assert LiveResource(CHANNEL, "arn", {}, {}).name == ""
    assert LiveState("1", "r", {}).of(CHANNEL) == ()


def test_kinds_refer_only_to_what_is_made_before_them() -> None:
    for kind in KINDS.values():
        for field in kind.fields:
            assert field.references is None or KINDS[field.references].rank < kind.rank
            assert {*field.together, *field.together_if_set} <= set(FIELDS[kind.name])
        assert ("name" if kind.name is not KindName.STREAM_KEY else "channelArn") in FIELDS[kind.name]
    assert list(KINDS) == sorted(KINDS, key=lambda name: KINDS[name].rank)
    assert set(KINDS) == set(KindName)
