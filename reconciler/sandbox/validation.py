"""Shapes of the service model, compiled at start to validators, serialisers and maskers.

A validator returns the cleaned value of an input shape, without unknown members and nulls as in REST-JSON services, and
collects all violations in the wording of AWS. A serialiser projects a stored document onto an output shape: private
members are dropped, and members of a newer model appear without code for them. A masker replaces what the model marks
as sensitive, for the call log; it copies only the path to that.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from reconciler.sandbox.model import JsonDict

Validator = Callable[[Any, str, list[str]], Any]

MASK = "****"
_ASCII_TAG = re.compile(r"[A-Za-z0-9 _.:/=+\-@]*")
_UNICODE_CLASS = re.compile(r"\(\[((?:\\p\{\w\})+)(.*)\]([+*])\)")
_INTEGER_BITS = {"integer": 31, "long": 63}


def validators(shapes: Mapping[str, JsonDict]) -> dict[str, Validator]:
    """Return a validator for each shape."""
    table: dict[str, Validator] = {}
    for name in shapes:
        table[name] = _validator(name, shapes, table)
    return table


def unknown_members(
    shapes: Mapping[str, JsonDict], shape: JsonDict, value: object, path: str = ""
) -> Iterator[tuple[str, list[str]]]:
    """Yield the members of a value that a shape does not have, which services ignore, each with the known members."""
    if shape["type"] == "structure" and isinstance(value, dict):
        members = shape["members"]
        for name, inner in value.items():
            if name in members:
                yield from unknown_members(shapes, shapes[members[name]["shape"]], inner, f"{path}{name}.")
            else:
                yield f"{path}{name}", sorted(members)
    elif shape["type"] == "list" and isinstance(value, list):
        for inner in value:
            yield from unknown_members(shapes, shapes[shape["member"]["shape"]], inner, path)


def violation_text(problems: list[str]) -> str:
    """Return all violations of a request in one message, in AWS's wording."""
    count = len(problems)
    noun = "error" if count == 1 else "errors"
    return f"{count} validation {noun} detected: {'; '.join(problems)}"


def _quoted(value: object) -> str:
    """Return a value for an error message: shortened, and masked if it may be a credential."""
    text = str(value)
    if "sk_" in text or "PRIVATE KEY" in text:
        return f"'{MASK}'"
    return f"'{text[:80]}…'" if len(text) > 80 else f"'{text}'"


def text_matcher(pattern: str) -> Callable[[str], bool]:
    """Return a predicate for a pattern of the model, which has no anchors but is meant for the whole text."""
    unicode_class = _UNICODE_CLASS.fullmatch(pattern)
    if unicode_class is None:
        compiled = re.compile(pattern)
        return lambda text: compiled.fullmatch(text) is not None
    # `re` has no \p{..}; the tag patterns are one class of Unicode categories and signs.
    categories = frozenset(re.findall(r"\\p\{(\w)\}", unicode_class.group(1)))
    signs = frozenset(unicode_class.group(2).replace("\\", ""))
    may_be_empty = unicode_class.group(3) == "*"

    def matches(text: str) -> bool:
        if not text:
            return may_be_empty
        if _ASCII_TAG.fullmatch(text):
            return True
        return all(char in signs or unicodedata.category(char)[0] in categories for char in text)

    return matches


def _validator(name: str, shapes: Mapping[str, JsonDict], table: dict[str, Validator]) -> Validator:
    if name in table:
        return table[name]
    # For shapes that contain themselves: looks up the finished validator when called.
    table[name] = lambda value, path, problems: table[name](value, path, problems)  # noqa: PLW0108
    table[name] = _build_validator(name, shapes, table)
    return table[name]


def _build_validator(name: str, shapes: Mapping[str, JsonDict], table: dict[str, Validator]) -> Validator:
    shape = shapes[name]
    match shape["type"]:
        case "structure":
            return _structure_validator(shape, shapes, table)
        case "list":
            return _list_validator(shape, _validator(shape["member"]["shape"], shapes, table))
        case "map":
            return _map_validator(
                shape,
                _validator(shape["key"]["shape"], shapes, table),
                _validator(shape["value"]["shape"], shapes, table),
            )
        case "string":
            return _string_validator(shape)
        case "integer" | "long":
            return _integer_validator(shape)
        case "boolean":
            return _boolean_validator
        case "timestamp":
            return _timestamp_validator
        case other:
            raise NotImplementedError(f"shape {name}: type {other} is not supported")


def _structure_validator(shape: JsonDict, shapes: Mapping[str, JsonDict], table: dict[str, Validator]) -> Validator:
    required = tuple(shape.get("required", ()))
    members = {member: _validator(reference["shape"], shapes, table) for member, reference in shape["members"].items()}

    def validate(value: Any, path: str, problems: list[str]) -> Any:
        if not isinstance(value, dict):
            problems.append(_wrong_type(path, "a structure"))
            return {}
        prefix = f"{path}." if path else ""
        missing = [member for member in required if value.get(member) is None]
        problems.extend([_constraint("null", prefix + member, "Member must not be null") for member in missing])
        cleaned = {}
        for member, given in value.items():
            check = members.get(member)
            if check is not None and given is not None:
                cleaned[member] = check(given, prefix + member, problems)
        return cleaned

    return validate


def _list_validator(shape: JsonDict, member: Validator) -> Validator:
    least, most = shape.get("min"), shape.get("max")

    def validate(value: Any, path: str, problems: list[str]) -> Any:
        if not isinstance(value, list):
            problems.append(_wrong_type(path, "a list"))
            return []
        _check_length(value, path, problems, least, most)
        return [member(item, f"{path}.{place}.member", problems) for place, item in enumerate(value[:1000], start=1)]

    return validate


def _map_validator(shape: JsonDict, key: Validator, item: Validator) -> Validator:
    least, most = shape.get("min"), shape.get("max")

    def validate(value: Any, path: str, problems: list[str]) -> Any:
        if not isinstance(value, dict):
            problems.append(_wrong_type(path, "a map"))
            return {}
        _check_length(value, path, problems, least, most)
        return {
            key(name, f"{path}.key", problems): item(given, f"{path}.value", problems) for name, given in value.items()
        }

    return validate


def _string_validator(shape: JsonDict) -> Validator:
    least, most = shape.get("min"), shape.get("max")
    pattern, enum = shape.get("pattern"), shape.get("enum", ())
    shortest, longest = least or 0, most or sys.maxsize
    matches = text_matcher(pattern) if pattern else None
    secret = bool(shape.get("sensitive"))

    def validate(value: Any, path: str, problems: list[str]) -> Any:
        if not isinstance(value, str):
            problems.append(_wrong_type(path, "a string"))
            return ""
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            problems.append(_wrong_type(path, "a string of Unicode characters"))
            return ""
        matching = matches is None or matches(value)
        known = not enum or value in enum
        if matching and known and shortest <= len(value) <= longest:
            return value
        shown = f"'{MASK}'" if secret else _quoted(value)
        _check_length(value, path, problems, least, most, shown)
        if not matching:
            rule = f"Member must satisfy regular expression pattern: {pattern}"
            problems.append(_constraint(shown, path, rule))
        if not known:
            rule = f"Member must satisfy enum value set: [{', '.join(enum)}]"
            problems.append(_constraint(shown, path, rule))
        return value

    return validate


def _integer_validator(shape: JsonDict) -> Validator:
    least, most = shape.get("min"), shape.get("max")
    bound = 1 << _INTEGER_BITS[shape["type"]]

    def validate(value: Any, path: str, problems: list[str]) -> Any:
        # JSON's true is an int in Python, not in the service.
        if not isinstance(value, int) or isinstance(value, bool) or not -bound <= value < bound:
            problems.append(_wrong_type(path, "an integer"))
            return 0
        if least is not None and value < least:
            rule = f"Member must have value greater than or equal to {least}"
            problems.append(_constraint(f"'{value}'", path, rule))
        if most is not None and value > most:
            rule = f"Member must have value less than or equal to {most}"
            problems.append(_constraint(f"'{value}'", path, rule))
        return value

    return validate


def _boolean_validator(value: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(value, bool):
        problems.append(_wrong_type(path, "a boolean"))
        return False
    return value


def _timestamp_validator(value: Any, path: str, problems: list[str]) -> Any:
    try:
        if not isinstance(value, str):
            raise TypeError
        instant = datetime.fromisoformat(value)
        return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        problems.append(_wrong_type(path, "an ISO 8601 timestamp"))
        return 0.0


def _check_length(
    value: str | list[Any] | dict[str, Any],
    path: str,
    problems: list[str],
    least: int | None,
    most: int | None,
    shown: str = "",
) -> None:
    size = len(value)
    if least is not None and size < least:
        rule = f"Member must have length greater than or equal to {least}"
        problems.append(_constraint(shown or f"of size {size}", path, rule))
    if most is not None and size > most:
        rule = f"Member must have length less than or equal to {most}"
        problems.append(_constraint(shown or f"of size {size}", path, rule))


def _constraint(shown: str, path: str, rule: str) -> str:
    return f"Value {shown} at '{path}' failed to satisfy constraint: {rule}"


def _wrong_type(path: str, wanted: str) -> str:
    return f"Value at '{path or 'body'}' failed to satisfy constraint: Member must be {wanted}"


Projection = Callable[[Any], Any]
# None for shapes that stay as they are, which saves a call for each of many scalars.
_Optional = Projection | None
_Members = tuple[tuple[str, _Optional], ...]


def serialisers(shapes: Mapping[str, JsonDict]) -> dict[str, Projection]:
    """Return a serialiser for each shape."""
    return _compiled(shapes, _serialise_scalar, _cut)


def maskers(shapes: Mapping[str, JsonDict]) -> dict[str, Projection]:
    """Return a masker for each shape; its result has no secrets."""
    return _compiled(shapes, _mask_scalar, _hide)


def iso8601(seconds: float) -> str:
    """Return an instant in the format of the service (service model: timestamps are iso8601)."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def without_unset(answer: JsonDict) -> JsonDict:
    """Return an answer without unset members of resources; empty lists and tags stay."""
    return {member: value if member == "tags" else _pruned(value) for member, value in answer.items()}


def _pruned(value: Any) -> Any:
    if isinstance(value, list):
        return [_pruned(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        member: given if member == "tags" else _pruned(given)
        for member, given in value.items()
        if given not in ("", {})
    }


def _compiled(
    shapes: Mapping[str, JsonDict],
    scalar: Callable[[JsonDict], _Optional],
    structure: Callable[[_Members], _Optional],
) -> dict[str, Projection]:
    table: dict[str, _Optional] = {}
    for name in shapes:
        _projection(name, shapes, table, scalar, structure)
    return {name: project or _same for name, project in table.items()}


def _projection(
    name: str,
    shapes: Mapping[str, JsonDict],
    table: dict[str, _Optional],
    scalar: Callable[[JsonDict], _Optional],
    structure: Callable[[_Members], _Optional],
) -> _Optional:
    if name in table:
        return table[name]
    table[name] = _later(name, table)
    shape = shapes[name]
    match shape["type"]:
        case "structure":
            members = tuple(
                (member, _projection(reference["shape"], shapes, table, scalar, structure))
                for member, reference in shape["members"].items()
                if reference.get("location") not in ("header", "statusCode")
            )
            table[name] = structure(members)
        case "list":
            table[name] = _list(_projection(shape["member"]["shape"], shapes, table, scalar, structure))
        case "map":
            table[name] = _map(_projection(shape["value"]["shape"], shapes, table, scalar, structure))
        case _:
            table[name] = scalar(shape)
    return table[name]


def _later(name: str, table: Mapping[str, _Optional]) -> Projection:
    """Return a projection for a shape that contains itself: it looks up the finished one when called."""

    def project(value: Any) -> Any:
        finished = table[name] or _same
        return finished(value)

    return project


def _cut(members: _Members) -> _Optional:
    """Keep the members of the shape only."""

    def project(value: Any) -> Any:
        get = value.get
        return {
            member: given if inner is None else inner(given)
            for member, inner in members
            if (given := get(member)) is not None
        }

    return project


def _hide(members: _Members) -> _Optional:
    """Replace members that are or contain secrets."""
    masked = tuple((member, inner) for member, inner in members if inner is not None)

    def project(value: Any) -> Any:
        return {**value, **{member: inner(value[member]) for member, inner in masked if member in value}}

    return project if masked else None


def _list(item: _Optional) -> _Optional:
    return None if item is None else lambda value: [item(each) for each in value]


def _map(entry: _Optional) -> _Optional:
    return None if entry is None else lambda value: {key: entry(each) for key, each in value.items()}


def _serialise_scalar(shape: JsonDict) -> _Optional:
    return iso8601 if shape["type"] == "timestamp" else None


def _mask_scalar(shape: JsonDict) -> _Optional:
    if shape.get("sensitive"):
        return lambda _value: MASK
    # A validator returns seconds for a timestamp, a serialiser text.
    return (lambda value: value if isinstance(value, str) else iso8601(value)) if shape["type"] == "timestamp" else None


def _same(value: Any) -> Any:
    return value
