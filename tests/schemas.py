"""The published JSON schemas, each read and checked once: checking that of a plan takes 150 ms."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import jsonschema

FOLDER = Path(__file__).resolve().parent.parent / "schemas"


@functools.cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    """Return the validator of a schema, such as ``plan``. Raises ``SchemaError`` if the file is not a schema."""
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)
