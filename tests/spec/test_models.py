"""The models against the service model and against the published schemas: a field that either knows, both know."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import botocore.session
import jsonschema
import pytest
import yaml

from reconciler.model.address import KindName
from reconciler.model.kinds import FIELDS, KINDS, SERVICES
from reconciler.spec import project_models
from reconciler.spec.model_errors import _annotations
from reconciler.spec.models import MODELS, Strict
from reconciler.spec.resources import FORGET, MOVED, SECTIONS
from reconciler.spec.rules import NOT_PROPERTIES, REFERENCES
from tests.spec.support import KEYS

ROOT = Path(__file__).resolve().parents[2]
SERVICE_MODELS = {name: botocore.session.Session().get_service_model(name) for name in SERVICES}
EXAMPLES = [
    path
    for path in sorted((ROOT / "examples").rglob("*.yaml"))
    if path.name == "ivs-reconciler.yaml" or "specs" in path.parts
]
"""Project files and spec files; the examples hold other people's YAML too."""


def inputs(kind: KindName) -> dict[str, Any]:
    """Return every member that creating or updating a kind accepts."""
    row = KINDS[kind]
    members: dict[str, Any] = {}
    for operation in (row.create, row.update):
        if operation:
            members.update(SERVICE_MODELS[row.service.client].operation_model(operation).input_shape.members)
    members.pop(row.identifier, None)
    return members


_ALONE = {KindName.CHANNEL: {"streamKey"}, KindName.PLAYBACK_KEY_PAIR: {"rotation", "fingerprint"}}


@pytest.mark.parametrize("kind", MODELS, ids=str)
def test_a_model_has_every_field_of_the_service_and_no_other(kind: KindName) -> None:
    by_id = set(REFERENCES) if kind is KindName.CHANNEL else set()
    assert set(MODELS[kind].model_fields) == set(inputs(kind)) | by_id | (
        NOT_PROPERTIES - {"streamKey", "rotation"} | {"forEach", "count"}
    ) | _ALONE.get(kind, set())


def test_the_stream_key_has_the_service_s_fields() -> None:
    assert set(inputs(KindName.STREAM_KEY)) == {"channelArn", "tags"}


def shapes(model: type[Strict], shape: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any, Any]]:
    """Return each leaf of a shape with the types that the model has for it."""
    found = []
    for name, member in shape.members.items():
        here = (*path, name)
        if name == "arn":
            continue
        types = _annotations(model, here)
        assert types, f"{here} is not in the model"
        if member.type_name == "structure":
            found += shapes(model, member, here)
        elif member.type_name == "list" and member.member.type_name == "structure":
            found += shapes(model, member.member, (*here, 0))  # type: ignore[arg-type]
        else:
            found.append((here, member, types))
    return found


@pytest.mark.parametrize("kind", MODELS, ids=str)
def test_enums_patterns_and_ranges_are_the_service_s(kind: KindName) -> None:
    for path, shape, types in shapes(
        MODELS[kind], SERVICE_MODELS[KINDS[kind].service.client].operation_model(KINDS[kind].create).input_shape
    ):
        leaf = shape.member if shape.type_name == "list" else shape
        leaf_types = _annotations(MODELS[kind], (*path, 0)) if shape.type_name == "list" else types
        literals = [set(get_args(annotation)) for annotation, _ in leaf_types if get_origin(annotation) is Literal]
        limits = {key: value for _, metadata in leaf_types for item in metadata for key, value in vars_of(item).items()}
        if "enum" in leaf.metadata:
            assert literals == [set(leaf.metadata["enum"])], path
        if leaf.type_name in ("integer", "long"):
            assert (limits.get("ge"), limits.get("le")) == (leaf.metadata["min"], leaf.metadata["max"]), path
        if leaf.type_name == "string" and "max" in leaf.metadata and path[-1] != "allowedCountries":
            assert limits.get("max_length") == leaf.metadata["max"], path


def vars_of(item: Any) -> dict[str, Any]:
    return {
        name: getattr(item, name)
        for name in ("ge", "le", "max_length", "min_length", "pattern")
        if getattr(item, name, None) is not None
    }


schemas = functools.cache(project_models.schemas)


def test_every_kind_with_a_section_has_a_model() -> None:
    assert set(MODELS) == set(KindName) - {KindName.STREAM_KEY}
    assert {*SECTIONS, MOVED, FORGET} == set(schemas()["spec.schema.json"]["properties"])


@pytest.mark.parametrize("kind", MODELS, ids=str)
def test_every_property_can_be_written_in_a_spec(kind: KindName) -> None:
    written = set(MODELS[kind].model_fields)
    assert {field.spec_name or field.name for field in FIELDS[kind].values()} <= written


@pytest.mark.parametrize("name", ["project.schema.json", "spec.schema.json"])
def test_the_schemas_are_schemas(name: str) -> None:
    schema = schemas()[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == name
    text = str(schema)
    assert "'title'" not in text.replace(f"'title': '{schema['title']}'", "")


def described(node: Any, name: str = "") -> list[str]:
    """Return the fields that have no description."""
    missing = []
    if isinstance(node, dict):
        for key, value in (node.get("properties") or {}).items():
            if "description" not in value:
                missing.append(f"{name}.{key}")
        for key, value in node.items():
            missing += described(value, f"{name}.{key}")
    return missing


@pytest.mark.parametrize("name", ["project.schema.json", "spec.schema.json"])
def test_every_field_is_described_and_nothing_unknown_is_let_in(name: str) -> None:
    schema = schemas()[name]
    assert described(schema) == []
    objects = [schema, *schema["$defs"].values()]
    assert all(item["additionalProperties"] is False for item in objects if "properties" in item)


def test_editors_offer_null_only_where_it_means_something() -> None:
    offered = {
        (owner, field)
        for schema in schemas().values()
        for owner, definition in {**schema["$defs"], "": schema}.items()
        for field, content in definition.get("properties", {}).items()
        if {"type": "null"} in content.get("anyOf", ())
    }
    owners = {owner for owner, _ in offered}
    assert owners == {"", "Channel", "StreamKey", "GuardrailSettings"}
    assert {field for owner, field in offered if not owner} == {*SECTIONS, MOVED, FORGET}, "an empty section"
    limits = {"maxDeletes", "maxDeletePercent", "maxUpdates", "maxUpdatePercent"}
    assert {field for owner, field in offered if owner == "GuardrailSettings"} == limits
    assert {"latencyMode", "recordingConfiguration"} <= {field for owner, field in offered if owner == "Channel"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_of_the_examples_fits_the_schema_it_names(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    published = (path.parent / named).resolve()
    assert published.parent == ROOT / "schemas"
    document = yaml.safe_load(text.replace("[DE, FR, NO]", '[DE, FR, "NO"]'))
    jsonschema.Draft202012Validator(schemas()[published.name]).validate(document)


GOOD = [
    path
    for path in sorted((Path(__file__).parent / "cases").glob("*.yaml"))
    if "\ndesired:" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_what_is_loaded_fits_the_schema(path: Path) -> None:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    from reconciler.spec.yaml import load

    validator = jsonschema.Draft202012Validator(schemas()["spec.schema.json"])
    for name, text in case["files"].items():
        for document in load(name, text.encode()).documents:
            if document is not None:
                validator.validate(document)


def test_key_vectors_are_public() -> None:
    assert all("PRIVATE" not in path.read_text() for path in KEYS.iterdir())
