"""The table of kinds, held against the service model that botocore brings: a row cannot name what does not exist."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest

from reconciler.model.address import KindName
from reconciler.model.kinds import KINDS, Kind, Shape

MODEL: Any = botocore.session.Session().get_service_model("ivs")
FROM_ANSWER = {"fingerprint": "publicKeyMaterial"}


def shape_of(operation: str, side: str) -> Any:
    return getattr(MODEL.operation_model(operation), f"{side}_shape")


@pytest.fixture(params=KINDS.values(), ids=lambda kind: kind.name.value)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def test_every_operation_of_a_row_exists(kind: Kind) -> None:
    known = set(MODEL.operation_names)
    assert {kind.create, kind.get, kind.list, kind.delete} <= known
    assert kind.update is None or kind.update in known


def test_a_kind_has_no_update_exactly_where_the_service_has_none(kind: Kind) -> None:
    noun = kind.create.removeprefix("Create").removeprefix("Import")
    assert (kind.update is None) == (f"Update{noun}" not in MODEL.operation_names)


def test_every_field_can_be_given_at_creation(kind: Kind) -> None:
    members = shape_of(kind.create, "input").members
    assert {FROM_ANSWER.get(field.name, field.name) for field in kind.fields} | {"tags"} == set(members)


def test_every_field_can_be_updated_where_anything_can(kind: Kind) -> None:
    if kind.update is not None:
        assert set(shape_of(kind.update, "input").members) == {"arn", *(field.name for field in kind.fields)}


def test_answers_have_the_members_that_the_row_says(kind: Kind) -> None:
    assert kind.member in shape_of(kind.create, "output").members
    assert kind.member in shape_of(kind.get, "output").members
    assert kind.members in shape_of(kind.list, "output").members
    answered = shape_of(kind.get, "output").members[kind.member].members
    assert {"arn", "tags", *(field.name for field in kind.fields)} <= set(answered)


def test_summaries_are_complete_exactly_where_the_row_says(kind: Kind) -> None:
    summary = set(shape_of(kind.list, "output").members[kind.members].member.members)
    assert {"arn", "tags"} <= summary
    if kind.name is not KindName.STREAM_KEY:
        assert kind.summary_complete == ({field.name for field in kind.fields} <= summary)


def test_pages_are_as_large_as_the_service_allows(kind: Kind) -> None:
    limit = shape_of(kind.list, "input").members["maxResults"].metadata["max"]
    assert kind.page_size == limit


def test_states_are_the_services(kind: Kind) -> None:
    answered = shape_of(kind.get, "output").members[kind.member].members
    states = set(answered["state"].enum) if "state" in answered else set()
    assert (kind.ready is not None) == bool(states)
    assert {state for state in (kind.ready, kind.failed) if state} <= states


def test_objects_are_objects_and_lists_are_lists(kind: Kind) -> None:
    members = shape_of(kind.create, "input").members
    expected = {Shape.OBJECT: "structure", Shape.LIST: "list", Shape.SET: "list"}
    for field in kind.fields:
        found = members[FROM_ANSWER.get(field.name, field.name)].type_name
        assert found == expected.get(field.shape, found)
        assert (found in ("structure", "list")) == (field.shape in expected)


def test_what_is_born_with_a_channel_is_where_plans_say_it_is() -> None:
    assert {"channel", "streamKey"} <= set(shape_of("CreateChannel", "output").members)


def test_the_tag_operations_take_what_plans_send() -> None:
    assert set(shape_of("TagResource", "input").members) == {"resourceArn", "tags"}
    assert set(shape_of("UntagResource", "input").members) == {"resourceArn", "tagKeys"}
