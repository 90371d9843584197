"""Output shapes of the model compiled to projections: serialisers and maskers.

A serialiser projects a stored document onto an output shape: members the shape does not have are
dropped, so private notes in a document never leave, and members a newer model adds appear unasked.
A masker makes of what a validator or a serialiser returned what may be recorded: what the model calls
sensitive is replaced. It copies only what leads to that, and never changes what it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.shapes import MASK

Projection = Callable[[Any], Any]
# Scalars that need no work are many: a None in their place spares a call for each.
_AsIs = Projection | None
_Members = tuple[tuple[str, _AsIs], ...]


def serialisers(shapes: Mapping[str, JsonDict]) -> dict[str, Projection]:
    """One serialiser for each shape."""
    return _compiled(shapes, _serialise_scalar, _cut)


def maskers(shapes: Mapping[str, JsonDict]) -> dict[str, Projection]:
    """One masker for each shape; its result is fit for logs and records."""
    return _compiled(shapes, _mask_scalar, _hide)


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
    return {
        member: given if member == "tags" else _pruned(given)
        for member, given in value.items()
        if given not in ("", {})
    }


def _compiled(
    shapes: Mapping[str, JsonDict],
    scalar: Callable[[JsonDict], _AsIs],
    structure: Callable[[_Members], _AsIs],
) -> dict[str, Projection]:
    table: dict[str, _AsIs] = {}
    for name in shapes:
        _projection(name, shapes, table, scalar, structure)
    return {name: project or _same for name, project in table.items()}


def _projection(
    name: str,
    shapes: Mapping[str, JsonDict],
    table: dict[str, _AsIs],
    scalar: Callable[[JsonDict], _AsIs],
    structure: Callable[[_Members], _AsIs],
) -> _AsIs:
    if name in table:
        return table[name]
    table[name] = _later(name, table)
    shape = shapes[name]
    match shape["type"]:
        case "structure":
            members = tuple(
                (member, _projection(reference["shape"], shapes, table, scalar, structure))
                for member, reference in shape["members"].items()
                if reference.get("location") not in ("header", "statusCode")
            )
            table[name] = structure(members)
        case "list":
            table[name] = _list(_projection(shape["member"]["shape"], shapes, table, scalar, structure))
        case "map":
            table[name] = _map(_projection(shape["value"]["shape"], shapes, table, scalar, structure))
        case _:
            table[name] = scalar(shape)
    return table[name]


def _later(name: str, table: Mapping[str, _AsIs]) -> Projection:
    """Stand in for a shape that contains itself: looked up when called."""

    def project(value: Any) -> Any:
        finished = table[name] or _same
        return finished(value)

    return project


def _cut(members: _Members) -> _AsIs:
    """Take over the members of the shape, and those only."""

    def project(value: Any) -> Any:
        get = value.get
        return {
            member: given if inner is None else inner(given)
            for member, inner in members
            if (given := get(member)) is not None
        }

    return project


def _hide(members: _Members) -> _AsIs:
    """Replace the members that are, or hold, something to be replaced."""
    concerned = tuple((member, inner) for member, inner in members if inner is not None)

    def project(value: Any) -> Any:
        return {**value, **{member: inner(value[member]) for member, inner in concerned if member in value}}

    return project if concerned else None


def _list(item: _AsIs) -> _AsIs:
    return None if item is None else lambda value: [item(each) for each in value]


def _map(entry: _AsIs) -> _AsIs:
    return None if entry is None else lambda value: {key: entry(each) for key, each in value.items()}


def _serialise_scalar(shape: JsonDict) -> _AsIs:
    return iso8601 if shape["type"] == "timestamp" else None


def _mask_scalar(shape: JsonDict) -> _AsIs:
    if shape.get("sensitive"):
        return lambda _value: MASK
    # A validator makes seconds of a timestamp, a serialiser text.
    return (lambda value: value if isinstance(value, str) else iso8601(value)) if shape["type"] == "timestamp" else None


def _same(value: Any) -> Any:
    return value
