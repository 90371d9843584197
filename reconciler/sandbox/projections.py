"""Output shapes of the model compiled to projections: serialisers and maskers.

A serialiser projects a stored document onto an output shape: members the shape does not have are
dropped, so private notes in a document never leave, and members a newer model adds appear unasked.
A masker does the same for logs and records, and replaces what the model calls sensitive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.shapes import MASK

Projection = Callable[[Any], Any]


def serialisers(shapes: Mapping[str, JsonDict]) -> dict[str, Projection]:
    """One serialiser for each shape."""
    table: dict[str, Projection] = {}
    for name in shapes:
        table[name] = _projection(name, shapes, table, _serialise_scalar)
    return table


def maskers(shapes: Mapping[str, JsonDict]) -> dict[str, Projection]:
    """One masker for each shape; its result is fit for logs and records."""
    table: dict[str, Projection] = {}
    for name in shapes:
        table[name] = _projection(name, shapes, table, _mask_scalar)
    return table


def iso8601(seconds: float) -> str:
    """Return an instant as the service writes it (service model: every timestamp is iso8601)."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def without_unset(answer: JsonDict) -> JsonDict:
    """Return an answer whose resources lack the members that are not set; lists, and what is in tags, stay."""
    return {member: value if member == "tags" else _pruned(value) for member, value in answer.items()}


def _pruned(value: Any) -> Any:
    if isinstance(value, list):
        return [_pruned(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {member: given if member == "tags" else _pruned(given) for member, given in value.items() if given not in ("", {})}


def _projection(
    name: str,
    shapes: Mapping[str, JsonDict],
    table: dict[str, Projection],
    scalar: Callable[[JsonDict], Projection],
) -> Projection:
    if name in table:
        return table[name]
    table[name] = lambda value: table[name](value)  # noqa: PLW0108 - looked up when called
    shape = shapes[name]
    match shape["type"]:
        case "structure":
            members = tuple(
                (member, _projection(reference["shape"], shapes, table, scalar))
                for member, reference in shape["members"].items()
                if reference.get("location") not in ("header", "statusCode")
            )
            table[name] = lambda value: {member: project(value[member]) for member, project in members if value.get(member) is not None}
        case "list":
            item = _projection(shape["member"]["shape"], shapes, table, scalar)
            table[name] = lambda value: [item(each) for each in value]
        case "map":
            entry = _projection(shape["value"]["shape"], shapes, table, scalar)
            table[name] = lambda value: {key: entry(each) for key, each in value.items()}
        case _:
            table[name] = scalar(shape)
    return table[name]


def _serialise_scalar(shape: JsonDict) -> Projection:
    return iso8601 if shape["type"] == "timestamp" else _same


def _mask_scalar(shape: JsonDict) -> Projection:
    if shape.get("sensitive"):
        return lambda _value: MASK
    return _serialise_scalar(shape)


def _same(value: Any) -> Any:
    return value
