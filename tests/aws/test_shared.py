"""What is shared between equal resources changes none of them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.aws.reader import CanonicalCache
from reconciler.model.address import KindName
from reconciler.model.kinds import FIELDS, Shape
from reconciler.model.resource import canonical

OBJECTS = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"enabled": st.booleans()},
        optional={"policy": st.sampled_from(["ALLOW", "REQUIRE"]), "renditions": st.just(["HD"])},
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "recordingMode": st.sampled_from(["INTERVAL", "DISABLED"]),
            "storage": st.lists(st.sampled_from(["LATEST", "SEQUENTIAL"])),
        },
    ),
    st.just({"s3": {"bucketName": "acme"}}),
)
SCALARS = st.sampled_from(
    [None, "", "none", "LOW", "NORMAL", "STANDARD", "ADVANCED_SD", "TS", "arn:aws:ivs:x", True, False, 0, 60]
)
LISTS = st.one_of(st.none(), st.lists(st.sampled_from(["DE", "FR"]), max_size=3))


def values(shape: Shape) -> st.SearchStrategy[Any]:
    return OBJECTS if shape is Shape.OBJECT else LISTS if shape in (Shape.SET, Shape.LIST) else SCALARS


@st.composite
def items(draw: st.DrawFn) -> tuple[KindName, dict[str, Any]]:
    kind = draw(st.sampled_from(list(KindName)))
    fields = {field.name: values(field.shape) for field in FIELDS[kind].values() if field.name != "name"}
    name = st.sampled_from([None, "", "a", "b"])
    return kind, draw(st.fixed_dictionaries({"arn": st.just("arn")}, optional={**fields, "name": name}))


@given(st.lists(items(), max_size=12))
def test_properties_are_the_canonical_ones_also_from_the_cache(met: list[tuple[KindName, dict[str, Any]]]) -> None:
    shared = CanonicalCache(())
    found = [(shared.properties(kind, item), canonical(kind, item)) for kind, item in met for _ in range(2)]
    for properties, expected in found:
        assert properties == expected


def test_resources_that_are_alike_but_for_the_name_keep_their_names() -> None:
    shared = CanonicalCache(())
    found = [
        shared.properties(KindName.CHANNEL, {"arn": name, "name": name, "type": "BASIC"})
        for name in ("a", "b", "", "c")
    ]
    assert found == [
        {"name": "a", "type": "BASIC"},
        {"name": "b", "type": "BASIC"},
        {"type": "BASIC"},
        {"name": "c", "type": "BASIC"},
    ]
    assert found[0]["type"] is found[3]["type"]
