"""One canonical form for both sides of every comparison.

The canonical form of a resource's properties is a dict that leaves out whatever equals the service's default, sorts what has no order, and drops what has no effect.
So "written out", "left out" and "filled in by the service" are the same thing before anything is compared, and equal resources are equal dicts.
``expanded`` goes the other way: every field with its value, for calls that must say a default out loud.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.model.address import KindName
from reconciler.model.kinds import ADVANCED_TYPES, FIELDS, KINDS, Shape
from reconciler.model.values import Ref, Value, freeze

_MULTITRACK_OFF: Mapping[str, Value] = {"enabled": False}
_POST_ROLL_OFF: Mapping[str, Value] = {"enabled": False, "durationSeconds": 15}
_THUMBNAILS: Mapping[str, Value] = {
    "recordingMode": "INTERVAL",
    "targetIntervalSeconds": 60,
    "storage": ("SEQUENTIAL",),
}
_RENDITIONS: Mapping[str, Value] = {"renditionSelection": "ALL"}


def canonical(kind: KindName, properties: Mapping[str, object]) -> dict[str, Value]:
    """Return the canonical form of API properties; fields the kind does not have (``arn``, ``state``, secrets, …) are left out."""
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
            settled = _settle(kind, name, value) if isinstance(value, Mapping) else value
            if settled not in ((), {}, None):
                result[name] = settled
    if kind is KindName.CHANNEL and "preset" in result and result["preset"] == default_preset(result.get("type")):
        del result["preset"]
    return result


def expanded(kind: KindName, properties: Mapping[str, Value]) -> dict[str, Value]:
    """Return every field of the kind with its value, service defaults included, in the table's order."""
    return {
        field.name: properties.get(field.name, default_of(kind, field.name, properties)) for field in KINDS[kind].fields
    }


def default_of(kind: KindName, name: str, properties: Mapping[str, Value]) -> Value:
    """Return what the service takes for a field left out, in the company of these other properties."""
    match kind, name:
        case KindName.CHANNEL, "preset":
            return default_preset(properties.get("type"))
        case KindName.CHANNEL, "multitrackInputConfiguration":
            return _MULTITRACK_OFF
        case KindName.AD_CONFIGURATION, "postRollConfiguration":
            return _POST_ROLL_OFF
        case KindName.RECORDING_CONFIGURATION, "thumbnailConfiguration":
            return _THUMBNAILS
        case KindName.RECORDING_CONFIGURATION, "renditionConfiguration":
            return _RENDITIONS
        case _:
            return FIELDS[kind][name].default


def default_preset(channel_type: Value) -> str:
    """Return the preset of a channel type that names none: the higher delivery for ADVANCED types, none for the others (service model)."""
    return "HIGHER_BANDWIDTH_DELIVERY" if channel_type in ADVANCED_TYPES else ""


def as_set(raw: object) -> tuple[str, ...]:
    """Return the members of a list without order, sorted, each once."""
    if not isinstance(raw, list | tuple | set | frozenset):
        raise TypeError(f"{type(raw).__name__} is not a list")
    return tuple(sorted({str(member) for member in raw}))


def _settle(kind: KindName, name: str, value: Mapping[str, Value]) -> Mapping[str, Value]:
    """Drop from a nested object what equals the default or has no effect beside the other members."""
    present = {key: item for key, item in value.items() if item is not None}
    match kind, name:
        case KindName.CHANNEL, "multitrackInputConfiguration":
            # Off is off: the service keeps answering a policy and a resolution that do nothing.
            if not present.get("enabled"):
                return {}
        case KindName.AD_CONFIGURATION, "postRollConfiguration":
            if not present.get("enabled"):
                return {}
        case KindName.RECORDING_CONFIGURATION, "thumbnailConfiguration":
            if present.get("recordingMode") == "DISABLED":
                return {"recordingMode": "DISABLED"}
            if "storage" in present:
                present["storage"] = as_set(present["storage"]) or ("SEQUENTIAL",)
            present = {key: item for key, item in present.items() if item != _THUMBNAILS.get(key)}
        case KindName.RECORDING_CONFIGURATION, "renditionConfiguration":
            # A list of renditions counts only where they are chosen one by one.
            if present.get("renditionSelection", "ALL") != "CUSTOM":
                present.pop("renditions", None)
            elif "renditions" in present:
                present["renditions"] = as_set(present["renditions"])
            present = {key: item for key, item in present.items() if item != _RENDITIONS.get(key)}
        case _:
            pass
    return present
