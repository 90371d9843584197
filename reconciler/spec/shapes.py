"""A quick yes to what has the right shape, from pydantic's own engine, without loading pydantic's models.

Importing pydantic and building the models took 90 of the 170 CPU milliseconds of validating a small project.
What the models mean to pydantic-core, the engine that validates for them, is therefore kept in ``shapes.json``; ``write_shapes`` makes it from the models, and a test holds the two together.
Only the yes is taken from here.
Whatever is refused is judged by the models themselves, which also say what is wrong.
An installed pydantic-core that is not the one of ``shapes.json`` refuses everything: then the models judge all, which takes longer and gives the same answers.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic_core import SchemaValidator, __version__

PATH = Path(__file__).with_name("shapes.json")

PROJECT = "project"
"""The name of the project file's shape; the others are named like their kind."""


def accepts(name: str) -> Callable[[object], bool]:
    """Return the function that says whether a value has the shape of this name; ``False`` means that the models have to be asked."""
    shape = _shapes().get(name)
    return SchemaValidator(shape).isinstance_python if shape is not None else _never


def _never(_: object) -> bool:
    return False


@functools.cache
def _shapes() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(PATH.read_bytes())
    shapes: dict[str, Any] = content["shapes"]
    return shapes if content["pydanticCore"] == __version__ else {}
