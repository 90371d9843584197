"""The JSON Schemas of the project file and of spec files, made from the models, for editors and other tools."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from reconciler.spec.documents import Spec
from reconciler.spec.settings import ProjectFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """Return file name -> schema. What one field alone does not show (combinations, references, keys) only ``validate`` judges."""
    return {
        "project.schema.json": _schema("project.schema.json", "ivs-reconciler project file", ProjectFile),
        "spec.schema.json": _schema("spec.schema.json", "ivs-reconciler spec file", Spec),
    }


def _schema(name: str, title: str, model: type[BaseModel]) -> dict[str, Any]:
    made = _without_titles(model.model_json_schema())
    made.pop("title", None)
    return {"$schema": DIALECT, "$id": name, "title": title, **made}


def _without_titles(node: Any, *, names: bool = False) -> Any:
    """Drop the titles that pydantic makes up, and the nulls it gives as defaults; ``names`` says that the keys are field names, not keywords."""
    if isinstance(node, list):
        return [_without_titles(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: value
        for key, value in node.items()
        if names or not (key == "title" or (key == "default" and value is None))
    }
    return {
        key: _without_titles(value, names=not names and key in ("properties", "$defs")) for key, value in kept.items()
    }
