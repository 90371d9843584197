"""Service models: the operations of a service, their routes and errors, and values as its shapes describe them.

They are read as JSON from the installed botocore, so that the sandbox and a boto3 client on the same machine agree.
botocore is located but not imported: that would take ten times the sandbox's start.
By the shapes, requests are checked, answers projected and secrets masked. All violations of a request are collected, in the wording of AWS.
Members that a newer model adds to an answer appear without code for them.
"""

from __future__ import annotations

import functools
import gzip
import importlib.util
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

JsonDict = dict[str, Any]

# An error in the models of the IVS services: `ResourceArn` allows one letter as the kind. Taken literally, every tag
# operation would fail.
_ONE_LETTER, _LETTERS = ":[a-z-]/", ":[a-z-]+/"

# Not marked sensitive in the model, but users paste private keys into it by mistake.
_ALSO_SENSITIVE = frozenset({("ivs", "PlaybackPublicKeyMaterial")})


class ModelNotFoundError(RuntimeError):
    """botocore, or its model of a service, is not installed."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a service.

    locations: the input members that are not in the body, with their location and name there.
    front_headers: its answer has header members (the batch operations).
    """

    service: str
    name: str
    method: str
    path: str
    status: int
    input: str | None
    output: str | None
    errors: tuple[str, ...]
    locations: Mapping[str, tuple[str, str]]
    front_headers: bool


@dataclass(frozen=True, slots=True)
class ServiceModel:
    """The parts of a service model that the sandbox needs."""

    service: str
    version: str
    operations: Mapping[str, Operation]
    shapes: Mapping[str, JsonDict]
    errors: Mapping[str, int]


def _data_file(service: str) -> Path:
    """Return the path of the newest version of a service model in the installed botocore."""
    spec = importlib.util.find_spec("botocore")
    if spec is None or spec.origin is None:
        raise ModelNotFoundError("botocore is not installed; the sandbox reads its service models")
    versions = sorted((Path(spec.origin).parent / "data" / service).glob("*/service-2.json*"))
    if not versions:
        raise ModelNotFoundError(f"the installed botocore has no {service} model")
    return versions[-1]


@functools.cache
def load(service: str = "ivs") -> ServiceModel:
    """Return the model of a service from the installed botocore; nothing changes it. Raises ModelNotFoundError if it is not there."""
    path = _data_file(service)
    raw = path.read_bytes()
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    return index_model(json.loads(raw), service)


def index_model(document: JsonDict, service: str = "ivs") -> ServiceModel:
    """Return the service model of a JSON document."""
    shapes = {name: _plain(service, name, shape) for name, shape in document["shapes"].items()}
    operations = {name: _operation(service, name, raw, shapes) for name, raw in document["operations"].items()}
    errors = {name: shape["error"]["httpStatusCode"] for name, shape in shapes.items() if shape.get("exception")}
    version = document.get("metadata", {}).get("apiVersion", "")
    return ServiceModel(service, version, operations, shapes, errors)


def _operation(service: str, name: str, raw: JsonDict, shapes: Mapping[str, JsonDict]) -> Operation:
    takes, gives = raw.get("input", {}).get("shape"), raw.get("output", {}).get("shape")
    return Operation(
        service=service,
        name=name,
        method=raw["http"]["method"],
        path=raw["http"]["requestUri"],
        status=raw["http"].get("responseCode", 200),
        input=takes,
        output=gives,
        errors=tuple(error["shape"] for error in raw.get("errors", ())),
        locations=_located(shapes, takes),
        front_headers=bool(_located(shapes, gives)),
    )


def _located(shapes: Mapping[str, JsonDict], name: str | None) -> dict[str, tuple[str, str]]:
    members = shapes[name]["members"] if name else {}
    return {
        member: (reference["location"], reference.get("locationName", member))
        for member, reference in members.items()
        if "location" in reference
    }


def _plain(service: str, name: str, shape: JsonDict) -> JsonDict:
    """Return a shape corrected, and without its documentation (two thirds of the memory)."""
    plain = {key: value for key, value in shape.items() if key != "documentation"}
    if name == "ResourceArn":
        plain["pattern"] = plain["pattern"].replace(_ONE_LETTER, _LETTERS)
    if (service, name) in _ALSO_SENSITIVE:
        plain["sensitive"] = True
    if "members" in plain:
        plain["members"] = {
            member: {key: value for key, value in reference.items() if key != "documentation"}
            for member, reference in plain["members"].items()
        }
    return plain


MASK = "****"
_ASCII_TAG = re.compile(r"[A-Za-z0-9 _.:/=+\-@]*")
_UNICODE_CLASS = re.compile(r"\(\[((?:\\p\{\w\})+)(.*)\]([+*])\)")
_INTEGER_BITS = {"integer": 31, "long": 63}
# The type of a value in JSON, and its name in messages.
_TYPES: Mapping[str, tuple[type[Any], str]] = {
    "structure": (dict, "a structure"),
    "list": (list, "a list"),
    "map": (dict, "a map"),
    "string": (str, "a string"),
    "integer": (int, "an integer"),
    "long": (int, "an integer"),
    "boolean": (bool, "a boolean"),
    "timestamp": (str, "an ISO 8601 timestamp"),
}


_UNCHANGED = frozenset({str, bool})


def check_by_shape(shapes: Mapping[str, JsonDict], name: str, value: Any, problems: list[str], path: str = "") -> Any:
    """Return a value without the nulls and members that its shape does not have, and add its violations to `problems`.

    A timestamp becomes epoch seconds.
    """
    shape = shapes[name]
    kind, wanted = _TYPES[shape["type"]]
    # JSON's true is an int in Python, not in the service.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        problems.append(_wrong_type(path, wanted))
        return kind()
    match shape["type"]:
        case "structure":
            prefix, members = f"{path}." if path else "", shape["members"]
            missing = [member for member in shape.get("required", ()) if value.get(member) is None]
            problems += [
                f"Value null at '{prefix}{member}' failed to satisfy constraint: Member must not be null"
                for member in missing
            ]
            return {
                member: check_by_shape(shapes, members[member]["shape"], given, problems, prefix + member)
                for member, given in value.items()
                if member in members and given is not None
            }
        case "list":
            _check_size(shape, value, len(value), path, problems)
            item = shape["member"]["shape"]
            return [
                check_by_shape(shapes, item, each, problems, f"{path}.{place}.member")
                for place, each in enumerate(value[:1000], start=1)
            ]
        case "map":
            _check_size(shape, value, len(value), path, problems)
            key, item = shape["key"]["shape"], shape["value"]["shape"]
            return {
                check_by_shape(shapes, key, each, problems, f"{path}.key"): check_by_shape(
                    shapes, item, given, problems, f"{path}.value"
                )
                for each, given in value.items()
            }
        case "string":
            return _check_string(shape, value, path, problems)
        case "integer" | "long":
            return _check_integer(shape, value, path, problems)
        case "timestamp":
            return _check_timestamp(value, path, problems)
        case _:
            return value


def _check_string(shape: JsonDict, value: str, path: str, problems: list[str]) -> str:
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        problems.append(_wrong_type(path, "a string of Unicode characters"))
        return ""
    _check_size(shape, value, len(value), path, problems)
    pattern, enum = shape.get("pattern"), shape.get("enum")
    if pattern and not _matcher(pattern)(value):
        problems.append(_violation(shape, value, path, f"Member must satisfy regular expression pattern: {pattern}"))
    if enum and value not in enum:
        problems.append(_violation(shape, value, path, f"Member must satisfy enum value set: [{', '.join(enum)}]"))
    return value


def _check_integer(shape: JsonDict, value: int, path: str, problems: list[str]) -> int:
    bound = 1 << _INTEGER_BITS[shape["type"]]
    if not -bound <= value < bound:
        problems.append(_wrong_type(path, "an integer"))
        return 0
    _check_size(shape, value, value, path, problems, measure="value")
    return value


def _check_timestamp(value: str, path: str, problems: list[str]) -> float:
    try:
        instant = datetime.fromisoformat(value)
        return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        problems.append(_wrong_type(path, "an ISO 8601 timestamp"))
        return 0.0


def _check_size(
    shape: JsonDict, value: object, size: int, path: str, problems: list[str], *, measure: str = "length"
) -> None:
    """Check a length or number against the minimum and maximum of a shape."""
    minimum, maximum = shape.get("min"), shape.get("max")
    if minimum is not None and size < minimum:
        rule = f"Member must have {measure} greater than or equal to {minimum}"
        problems.append(_violation(shape, value, path, rule))
    if maximum is not None and size > maximum:
        rule = f"Member must have {measure} less than or equal to {maximum}"
        problems.append(_violation(shape, value, path, rule))


def _violation(shape: JsonDict, value: object, path: str, rule: str) -> str:
    """Return a violation; the value is shortened, and masked if it is or may be a secret."""
    text = str(value)
    if isinstance(value, list | dict):
        shown = f"of size {len(value)}"
    elif shape.get("sensitive") or "sk_" in text or "PRIVATE KEY" in text:
        shown = f"'{MASK}'"
    else:
        shown = f"'{text[:80]}…'" if len(text) > 80 else f"'{text}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {rule}"


def _wrong_type(path: str, wanted: str) -> str:
    return f"Value at '{path or 'body'}' failed to satisfy constraint: Member must be {wanted}"


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


@functools.cache
def _matcher(pattern: str) -> Callable[[str], bool]:
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


def project_by_shape(shapes: Mapping[str, JsonDict], name: str, value: Any, *, masked: bool = False) -> Any:
    """Return a value as its shape shows it: without private and unset members, with timestamps as text.

    `masked` replaces what the model marks as sensitive, for the call log.
    """
    shape = shapes[name]
    if masked and shape.get("sensitive"):
        return MASK
    match shape["type"]:
        case "structure":
            return {
                # Most members stay as they are: without the calls a Get is a tenth faster.
                member: given
                if not masked and type(given) in _UNCHANGED
                else project_by_shape(shapes, reference["shape"], given, masked=masked)
                for member, reference in shape["members"].items()
                if (given := value.get(member)) is not None
            }
        case "list":
            item = shape["member"]["shape"]
            return [project_by_shape(shapes, item, each, masked=masked) for each in value]
        case "map":
            item = shape["value"]["shape"]
            return {key: project_by_shape(shapes, item, each, masked=masked) for key, each in value.items()}
        case "timestamp":
            return value if isinstance(value, str) else iso8601(value)
        case _:
            return value


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
