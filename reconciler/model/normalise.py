"""One canonical form for both sides of every comparison.

The canonical form of a resource's properties is a dict that leaves out what equals the service's default, sorts what has no order, and drops what has no effect.
So "written out", "left out" and "filled in by the service" are the same before anything is compared, and equal resources are equal dicts.
``expanded`` goes the other way: every field with its value, for calls that must spell out a default.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.model.address import KindName
from reconciler.model.kinds import FIELDS, KINDS, Field, Shape
from reconciler.model.values import Ref, Value, as_set, freeze

_DERIVED: Mapping[KindName, tuple[Field, ...]] = {
    kind.name: tuple(field for field in kind.fields if field.default_from) for kind in KINDS.values()
}
"""By kind, the fields whose default depends on other properties."""


def canonical(kind: KindName, properties: Mapping[str, object]) -> dict[str, Value]:
    """Return the canonical form of API properties; members that are no field of the kind (``arn``, ``state``, secrets, …) are left out."""
    fields = FIELDS[kind]
    result: dict[str, Value] = {}
    for name, raw in properties.items():
        field = fields.get(name)
        if field is None or raw is None or raw == field.default:
            continue
        shape = field.shape
        if shape is Shape.PLAIN:
            result[name] = raw if isinstance(raw, str | bool | int) else freeze(raw)
        elif shape is Shape.REFERENCE:
            if raw not in ("", "none"):
                result[name] = raw if isinstance(raw, Ref) else str(raw)
        elif shape is Shape.SET:
            members = as_set(raw)
            if members:
                result[name] = members
        elif isinstance(raw, Mapping) and raw.get("enabled") is False:
            continue  # every object that can be switched off does nothing then: the common case, and cheap
        else:
            value = freeze(raw)
            if isinstance(value, Mapping):
                value = field.settle({key: item for key, item in value.items() if item is not None})
            if value not in ((), {}, None):
                result[name] = value
    return _without_derived(kind, result) if _DERIVED[kind] else result


def expanded(kind: KindName, properties: Mapping[str, Value]) -> dict[str, Value]:
    """Return every field of the kind with its value, service defaults included, in the table's order."""
    return {field.name: properties.get(field.name, default_of(field, properties)) for field in KINDS[kind].fields}


def default_of(field: Field, properties: Mapping[str, Value]) -> Value:
    """Return what the service assumes for a field left out beside these other properties."""
    return field.default if field.default_from is None else field.default_from(properties)


def effective(
    kind: KindName, live: Mapping[str, Value], desired: Mapping[str, Value], ignore: frozenset[str]
) -> Mapping[str, Value]:
    """Return what the resource shall be: the desired properties, with those that are ignored as they are live."""
    if not ignore:
        return desired
    result = {name: value for name, value in desired.items() if name not in ignore}
    result.update((name, value) for name, value in live.items() if name in ignore)
    for field in _DERIVED[kind]:
        # The properties that stay may not accept this field, or have the desired value as its default.
        if (
            field.name in result
            and field.name not in ignore
            and not (field.applies(result) and result[field.name] != default_of(field, result))
        ):
            del result[field.name]
    return result


def _without_derived(kind: KindName, properties: dict[str, Value]) -> dict[str, Value]:
    """Leave out what equals a default that depends on the other properties."""
    for field in _DERIVED[kind]:
        if field.name in properties and properties[field.name] == default_of(field, properties):
            del properties[field.name]
    return properties
