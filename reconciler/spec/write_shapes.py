"""The models -> ``shapes.json``. Run with ``make schemas``.

A shape is pydantic's core schema of a model, with the classes taken out: what accepts the same mappings and builds nothing.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic_core import __version__

from reconciler.spec.models import MODELS
from reconciler.spec.project_models import ProjectFile
from reconciler.spec.shapes import PATH, PROJECT

_UNUSED = frozenset({"metadata", "ref"})


def shapes_text() -> str:
    """Return the content of ``shapes.json``."""
    models: dict[str, type[BaseModel]] = {PROJECT: ProjectFile, **{kind.value: model for kind, model in MODELS.items()}}
    shapes = {name: _shape(_core_schema(model), {}) for name, model in models.items()}
    return json.dumps({"pydanticCore": __version__, "shapes": shapes}, indent=1) + "\n"


def _core_schema(model: type[BaseModel]) -> Any:
    model.model_rebuild()
    return model.__pydantic_core_schema__


def _shape(node: Any, named: dict[str, Any]) -> Any:
    """Return a core schema without classes; ``named`` holds what others refer to."""
    if isinstance(node, list | tuple):
        return [_shape(item, named) for item in node]
    if not isinstance(node, dict):
        return node
    match node.get("type"):
        case "definitions":
            named.update({definition["ref"]: definition for definition in node["definitions"]})
            return _shape(node["schema"], named)
        case "definition-ref":
            return _shape(named[node["schema_ref"]], named)
        case "model":
            fields = {
                name: {
                    "type": "typed-dict-field",
                    "required": field["schema"]["type"] != "default",
                    "schema": _shape(field["schema"], named),
                }
                for name, field in node["schema"]["fields"].items()
            }
            return {"type": "typed-dict", "config": node["config"], "fields": fields}
        case "default":
            return _shape(node["schema"], named)
        case "tagged-union":
            # The function that chooses is ours and not JSON; a value that some choice accepts is one that the chosen one accepts.
            return {"type": "union", "choices": [_shape(choice, named) for choice in node["choices"].values()]}
        case _:
            return {key: _shape(value, named) for key, value in node.items() if key not in _UNUSED}


if __name__ == "__main__":
    PATH.write_text(shapes_text(), encoding="utf-8")
