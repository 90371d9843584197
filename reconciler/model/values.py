"""The values of properties and call parameters: read-only JSON, and references that are not resolved yet.

Sequences are tuples, so that values can be compared with ``==``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from reconciler.model.address import Address

REF = "$ref"
"""The key of the JSON form of a reference: ``{"$ref": "recording-configuration/archive"}``."""


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """A reference to the ARN of the resource with this address."""

    address: Address

    def __str__(self) -> str:
        return f"(the ARN of {self.address})"


Value: TypeAlias = "bool | int | str | Ref | tuple[Value, ...] | Mapping[str, Value] | None"


def freeze(value: object) -> Value:
    """Return plain JSON (lists, dicts, ``{"$ref": address}``) as a ``Value``. Raises ``TypeError`` for other types."""
    if value is None or isinstance(value, bool | int | str | Ref):
        return value
    if isinstance(value, Mapping):
        if len(value) == 1 and REF in value:
            return Ref(Address.parse(str(value[REF])))
        return {sys.intern(str(key)): freeze(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise TypeError(f"{type(value).__name__} is not allowed in a property")


def thaw(value: Value) -> object:
    """Return a ``Value`` as plain JSON; the inverse of ``freeze``."""
    if isinstance(value, Ref):
        return {REF: str(value.address)}
    if isinstance(value, tuple):
        return [thaw(item) for item in value]
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    return value


def as_json(value: Value) -> str:
    """Return a value as JSON text, as messages quote it."""
    return json.dumps(thaw(value), ensure_ascii=False)


def refs_in(value: object) -> Iterator[Ref]:
    """Yield the references inside a value."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from refs_in(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from refs_in(item)


def resolve(value: Value, arns: Mapping[Address, object]) -> Value:
    """Return the value with each reference replaced by its ARN, if known; the same object if there is none."""
    if isinstance(value, Ref):
        arn = arns.get(value.address)
        return arn if isinstance(arn, str) else value
    if isinstance(value, tuple):
        items = tuple(resolve(item, arns) for item in value)
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if isinstance(value, Mapping):
        members = {key: resolve(item, arns) for key, item in value.items()}
        return members if any(members[key] is not item for key, item in value.items()) else value
    return value


def as_set(raw: object) -> tuple[str, ...]:
    """Return the distinct members of a list as text, sorted. Raises ``TypeError`` for any other value."""
    if not isinstance(raw, list | tuple | set | frozenset):
        raise TypeError(f"{type(raw).__name__} is not a list")
    return tuple(sorted({str(member) for member in raw}))


def format_time(at: datetime | float) -> str:
    """Return a moment, or seconds since the epoch, in ISO 8601: ``2026-05-04T10:20:30Z``."""
    moment = at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
