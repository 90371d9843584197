"""Keeps one copy of what thousands of resources have in common: tag keys, tag values, equal property values."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from sys import intern

from reconciler.model.address import KindName
from reconciler.model.kinds import FIELDS, Shape
from reconciler.model.normalise import canonical
from reconciler.model.tags import ATTEMPT, comparable
from reconciler.model.values import Value

_FIELDS = {
    kind: (
        tuple(field.name for field in fields.values() if field.shape is not Shape.OBJECT and field.name != "name"),
        tuple(field.name for field in fields.values() if field.shape is Shape.OBJECT),
    )
    for kind, fields in FIELDS.items()
}
"""The fields of every kind but its name: those that are scalars or lists, and those that are objects."""


class Shared:
    """Makes canonical properties and comparable tags whose equal strings are the same string."""

    def __init__(self, ignore_tags: tuple[str, ...]) -> None:
        self._ignore_tags = ignore_tags
        self._known: dict[Hashable, dict[str, Value]] = {}

    def properties(self, kind: KindName, item: Mapping[str, object]) -> dict[str, Value]:
        """Return the canonical properties of an answer's item.

        Most channels of a large account differ in name alone. What equal answers come to is copied, and made once: a third of the time.
        """
        scalars, objects = _FIELDS[kind]
        name = item.get("name")
        try:
            likeness = (kind, *map(item.get, scalars), *[_hashable(item.get(field)) for field in objects])
            known = self._known.get(likeness)
        except TypeError:  # lists, and objects within objects
            return _interned(canonical(kind, item))
        if known is None or not name or not isinstance(name, str):
            properties = _interned(canonical(kind, item))
            if "name" in properties:
                self._known[likeness] = properties
            return properties
        properties = known.copy()
        properties["name"] = intern(name)
        return properties

    def tags(self, raw: Mapping[str, str]) -> dict[str, str]:
        """Return the tags that are compared."""
        if self._ignore_tags:
            raw = comparable(raw, self._ignore_tags)
        return {intern(key): intern(value) for key, value in raw.items() if key[:4] != "aws:" and key != ATTEMPT}


def _hashable(value: object) -> object:
    return tuple(value.items()) if isinstance(value, dict) else value


def _interned(properties: dict[str, Value]) -> dict[str, Value]:
    for name, value in properties.items():
        if isinstance(value, str):
            properties[name] = intern(value)
    return properties
