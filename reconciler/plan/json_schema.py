"""The few shapes that published JSON Schemas are made of."""

from __future__ import annotations

from collections.abc import Mapping


def object_of(properties: Mapping[str, object], optional: tuple[str, ...] = ()) -> dict[str, object]:
    """Return the schema of an object whose properties are required, but for those that are optional."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }


def list_of(items: Mapping[str, object]) -> dict[str, object]:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def or_null(schema: Mapping[str, object]) -> dict[str, object]:
    """Return a schema that takes null too."""
    return {"anyOf": [schema, {"type": "null"}]}
