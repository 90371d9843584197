"""The table of kinds, held against the service models that botocore brings: a row cannot name what does not exist."""

from __future__ import annotations

import re
from typing import Any

import botocore.session
import pytest

from reconciler.model.address import Address
from reconciler.model.kinds import (
    BATCH_SIZE,
    CHILD_KINDS,
    FIELDS,
    KINDS,
    LISTED,
    OPERATIONS,
    SERVICES,
    TAG,
    UNTAG,
    USERS,
    Kind,
    Repeat,
    Service,
    Shape,
    child_of,
    kind_of,
    parent_of,
)

MODELS: dict[str, Any] = {name: botocore.session.Session().get_service_model(name) for name in SERVICES}


def shape_of(service: Service, operation: str, side: str) -> Any:
    return getattr(MODELS[service.client].operation_model(operation), f"{side}_shape")


def input_of(kind: Kind, operation: str | None) -> Any:
    return shape_of(kind.service, str(operation), "input")


def answered(kind: Kind, operation: str) -> Any:
    """Return the members of the one resource in an answer."""
    shape = shape_of(kind.service, operation, "output")
    return shape.members if kind.member is None else shape.members[kind.member].members


def sent_as(kind: Kind, name: str) -> str:
    """Return the parameter of a create that a field is sent as: what is unique is computed from it."""
    return FIELDS[kind.name][name].spec_name if name == kind.unique else name


@pytest.fixture(params=SERVICES.values(), ids=lambda service: service.client)
def service(request: pytest.FixtureRequest) -> Service:
    found: Service = request.param
    return found


@pytest.fixture(params=KINDS.values(), ids=lambda kind: kind.name.value)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def test_every_operation_of_a_row_exists(kind: Kind) -> None:
    assert set(kind.operations) <= set(MODELS[kind.service.client].operation_names)
    assert {kind.create, kind.get, kind.list, kind.delete} <= set(kind.operations)


def test_every_operation_of_a_service_has_a_rate_and_the_class_of_what_it_does(service: Service) -> None:
    known = {name: operation for (client, name), operation in OPERATIONS.items() if client == service.client}
    assert set(known) == set(MODELS[service.client].operation_names)
    for name, operation in known.items():
        reads = name.startswith(("Get", "List", "BatchGet"))
        assert (operation.repeat is Repeat.READ) == reads, name
        assert (operation.repeat is Repeat.DELETE) == name.startswith("Delete"), name


def test_a_service_is_known_to_aws_by_the_names_that_it_says(service: Service) -> None:
    model = MODELS[service.client]
    assert service.prefix == model.signing_name
    assert set(shape_of(service, TAG, "input").members) == {"resourceArn", "tags"}
    assert set(shape_of(service, UNTAG, "input").members) == {"resourceArn", "tagKeys"}


def test_a_kind_has_no_update_exactly_where_the_service_has_none(kind: Kind) -> None:
    noun = kind.create.removeprefix("Create").removeprefix("Import")
    assert (kind.update is None) == (f"Update{noun}" not in MODELS[kind.service.client].operation_names)


def test_a_resource_is_named_by_the_parameter_that_the_row_says(kind: Kind) -> None:
    for operation in (kind.get, kind.delete):
        assert set(input_of(kind, operation).members) == {kind.identifier}
    if kind.update is not None:
        assert kind.identifier in input_of(kind, kind.update).members


def test_an_arn_has_its_kind(kind: Kind) -> None:
    arn = f"arn:aws:{kind.service.prefix}:us-west-2:123456789012:{kind.arn_type}/AbCdEfGh1234"
    assert kind_of(arn) is kind
    pattern = input_of(kind, kind.get).members[kind.identifier].metadata["pattern"]
    assert re.match(pattern, arn)


@pytest.mark.parametrize("text", ["", "stage", "arn:aws:s3:::bucket", "arn:aws:ivs:us-west-2:123456789012:stage/x"])
def test_other_text_is_the_arn_of_no_kind(text: str) -> None:
    assert kind_of(text) is None


def test_every_field_can_be_given_at_creation(kind: Kind) -> None:
    members = input_of(kind, kind.create).members
    assert {sent_as(kind, field.name) for field in kind.fields} | {"tags"} == set(members)


def test_every_field_can_be_updated_where_anything_can(kind: Kind) -> None:
    if kind.update is not None:
        members = set(input_of(kind, kind.update).members)
        assert members == {kind.identifier, *(field.name for field in kind.fields)}


def test_answers_have_the_members_that_the_row_says(kind: Kind) -> None:
    assert "arn" in answered(kind, kind.create)
    assert kind.members in shape_of(kind.service, kind.list, "output").members
    assert {"arn", "tags", *(field.name for field in kind.fields)} <= set(answered(kind, kind.get))


def test_a_batch_reads_whole_resources_by_their_arns(kind: Kind) -> None:
    if kind.batch is not None:
        assert input_of(kind, kind.batch).members["arns"].metadata["max"] == BATCH_SIZE
        items = shape_of(kind.service, kind.batch, "output").members[kind.members].member.members
        assert set(items) == set(answered(kind, kind.get))


def test_summaries_are_complete_exactly_where_the_row_says(kind: Kind) -> None:
    summary = set(shape_of(kind.service, kind.list, "output").members[kind.members].member.members)
    assert {"arn", "tags"} <= summary
    if kind.name in LISTED:
        assert kind.summary_complete == ({field.name for field in kind.fields} <= summary)


def test_pages_are_as_large_as_the_service_allows(kind: Kind) -> None:
    assert kind.page_size == input_of(kind, kind.list).members["maxResults"].metadata["max"]


def test_states_are_the_services(kind: Kind) -> None:
    members = answered(kind, kind.get)
    states = set(members["state"].enum) if "state" in members else set()
    assert (kind.ready is not None) == bool(states)
    assert {state for state in (kind.ready, kind.failed) if state} <= states


def test_objects_are_objects_and_lists_are_lists(kind: Kind) -> None:
    members = input_of(kind, kind.create).members
    expected = {Shape.OBJECT: "structure", Shape.LIST: "list", Shape.SET: "list"}
    for field in kind.fields:
        found = members[sent_as(kind, field.name)].type_name
        assert found == expected.get(field.shape, found)
        assert (found in ("structure", "list")) == (field.shape in expected)


def test_defaults_have_the_type_of_their_field(kind: Kind) -> None:
    members = input_of(kind, kind.create).members
    types = {"string": str, "boolean": bool, "integer": int, "list": tuple, "structure": dict}
    for field in kind.fields:
        shape = members[sent_as(kind, field.name)]
        for value in (field.default, field.off):
            assert value is None or isinstance(value, types[shape.type_name])
            if isinstance(value, dict):
                assert set(value) <= set(shape.members)


def test_secret_values_are_marked_by_the_service(kind: Kind) -> None:
    secrets = {name for name, shape in answered(kind, kind.get).items() if shape.metadata.get("sensitive")}
    assert kind.value_member in (secrets or {""})


def test_outputs_are_texts_in_the_answer_and_not_secret(kind: Kind) -> None:
    for output in kind.outputs.values():
        first, *rest = output.path
        shape = answered(kind, kind.get)[first]
        for member in rest:
            shape = shape.members[member]
        assert shape.type_name == "string"
        assert not shape.metadata.get("sensitive")


def test_what_is_created_with_another_is_in_its_answer(kind: Kind) -> None:
    if kind.created_with is not None:
        outer = KINDS[kind.created_with]
        assert {outer.member, kind.member} <= set(shape_of(outer.service, outer.create, "output").members)


def test_only_what_has_a_live_stream_can_be_refused_for_one(kind: Kind) -> None:
    errors = {shape.name for shape in MODELS[kind.service.client].operation_model(kind.delete).error_shapes}
    assert not kind.live or "ConflictException" in errors


def test_a_resource_inside_another_has_its_id() -> None:
    for kind in CHILD_KINDS.values():
        inner = Address(kind.name, "main")
        assert child_of(parent_of(inner)) == inner
        assert child_of(inner) is None
    assert parent_of(Address(next(iter(LISTED)), "main")) == Address(next(iter(LISTED)), "main")


def test_users_are_the_kinds_that_refer() -> None:
    for name, users in USERS.items():
        assert all(any(field.references is name for field in user.fields) for user in users)
        assert all(KINDS[name].rank < user.rank for user in users)
