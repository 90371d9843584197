"""The canonical form of properties, for both sides of every comparison.

It leaves out fields with the service's default and fields without effect, and sorts lists without order.
So a default that is written, left out or filled in by the service makes no difference, and equal resources are equal dicts.
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
    """Return the canonical form of API properties, without members that are not fields of the kind (``arn``, ``state``, secrets)."""
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
            continue  # a disabled object has no effect
        else:
            value = freeze(raw)
            if isinstance(value, Mapping):
                value = field.normalise({key: item for key, item in value.items() if item is not None})
            if value not in ((), {}, None):
                result[name] = value
    return _without_derived(kind, result) if _DERIVED[kind] else result


def effective_properties(
    kind: KindName, live: Mapping[str, Value], desired: Mapping[str, Value], ignore: frozenset[str]
) -> Mapping[str, Value]:
    """Return the desired properties, with the ignored fields as they are live."""
    if not ignore:
        return desired
    result = {name: value for name, value in desired.items() if name not in ignore}
    result.update((name, value) for name, value in live.items() if name in ignore)
    for field in _DERIVED[kind]:
        # Beside the ignored live values the field may not be allowed, or have the desired value as default.
        if (
            field.name in result
            and field.name not in ignore
            and not (field.applies(result) and result[field.name] != field.default_beside(result))
        ):
            del result[field.name]
    return result


def _without_derived(kind: KindName, properties: dict[str, Value]) -> dict[str, Value]:
    """Remove fields that equal a default that depends on other properties."""
    for field in _DERIVED[kind]:
        if field.name in properties and properties[field.name] == field.default_beside(properties):
            del properties[field.name]
    return properties
