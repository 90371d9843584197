"""What is known of an operation before a call of it comes, put together once at start."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.sandbox import projections, shapes
from reconciler.sandbox.model import JsonDict, ServiceModel
from reconciler.sandbox.operations.context import Handler
from reconciler.sandbox.operations.registry import HANDLERS, is_write
from reconciler.sandbox.projections import Projection
from reconciler.sandbox.shapes import Validator
from reconciler.sandbox.wire import FRONT_HEADERS, JSON_TYPE

_Headers = tuple[tuple[str, str], ...]
_NOTHING: JsonDict = {"type": "structure", "members": {}}
_NO_SHAPE = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """One operation: how its input is judged and its output rendered, and who does its work.

    The maskers make what may be recorded; `handler` is missing for what only the model knows; `headers`
    are those of every answer.
    """

    name: str
    status: int
    write: bool
    handler: Handler | None
    validate: Validator
    mask_input: Projection
    serialise: Projection
    mask_output: Projection
    headers: _Headers


def prepare(model: ServiceModel) -> dict[str, Prepared]:
    """Return every operation of a model by its name."""
    known = {**model.shapes, _NO_SHAPE: _NOTHING}
    validators, serialisers, maskers = (
        shapes.validators(known),
        projections.serialisers(known),
        projections.maskers(known),
    )
    table = {}
    for operation in model.operations.values():
        takes, gives = operation.input or _NO_SHAPE, operation.output or _NO_SHAPE
        # The answers that carry the front's headers as modelled members: the batch operations.
        fronted = any("location" in member for member in known[gives]["members"].values())
        headers: _Headers = () if operation.status == 204 else (("Content-Type", JSON_TYPE),)
        table[operation.name] = Prepared(
            name=operation.name,
            status=operation.status,
            write=is_write(operation.name),
            handler=HANDLERS.get(operation.name),
            validate=validators[takes],
            mask_input=maskers[takes],
            serialise=serialisers[gives],
            mask_output=maskers[gives],
            headers=(*headers, *FRONT_HEADERS) if fronted else headers,
        )
    return table
