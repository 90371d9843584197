"""Turns pydantic's validation errors into ``Fault``s that name the field as written and say what to write instead.

pydantic's ``input`` is never used: values are quoted by ``quote``, which hides secrets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from reconciler.spec import models, project_models
from reconciler.spec.problems import ID_PATTERN, Fault, KeyPath, format_path, nearest, quote, suggestion, type_name

_ARN = re.compile(r"arn:aws:([a-z-]+):.*:([a-z-]+)/\[")

_PATTERNS: Mapping[str, tuple[str, str]] = {
    models.NAME_PATTERN: ("contains characters that AWS does not allow", 'use letters, digits, "-" and "_"'),
    ID_PATTERN: ("is not a valid id", 'use up to 128 letters, digits, "-" and "_", starting with a letter or digit'),
    models.MEDIATAILOR_PATTERN: (
        "is not a MediaTailor playback configuration ARN",
        "write arn:aws:mediatailor:<region>:<account>:playbackConfiguration/<name>",
    ),
    models.BUCKET_PATTERN: (
        "is not a valid S3 bucket name",
        'use lower-case letters, digits, "-" and "."; start and end with a letter or digit',
    ),
    models.LABEL_PATTERN: ("is not a valid label", "use up to 128 letters, digits, spaces and _ . : / = + @ -"),
    models.FINGERPRINT_PATTERN: (
        "is not the fingerprint of a key pair",
        'write its 16 octets in quotes, as aws ivs get-playback-key-pair shows them, such as "53:fd:…"',
    ),
    models.OVERLAP_PATTERN: ("is not a duration", "write days or hours, such as 7d or 36h"),
    project_models.STACK_PATTERN: ("is not a valid stack name", 'use up to 128 letters, digits, ".", "_" and "-"'),
    project_models.TARGET_PATTERN: (
        "is not a valid target name",
        'use up to 64 letters, digits, ".", "_" and "-", starting with a letter or digit',
    ),
    project_models.ACCOUNT_PATTERN: (
        "is not a valid account ID",
        'write the 12 digits in quotes, such as "123456789012"',
    ),
    project_models.ROLE_PATTERN: ("is not a role ARN", "write arn:aws:iam::<account>:role/<name>"),
    project_models.RECEIVER_PATTERN: (
        "is not a valid receiver name",
        'use up to 64 letters, digits, ".", "_" and "-", starting with a letter or digit',
    ),
    project_models.VARIABLE_PATTERN: (
        "is not a valid environment variable name",
        "write a name, such as SLACK_URL, and keep the secret itself out of the repository",
    ),
    project_models.TOPIC_ARN_PATTERN: ("is not an SNS topic ARN", "write arn:aws:sns:<region>:<account>:<name>"),
    project_models.BUS_ARN_PATTERN: (
        "is not an event bus ARN",
        "write arn:aws:events:<region>:<account>:event-bus/<name>",
    ),
    project_models.BUCKET_PATTERN: (
        "is not a valid S3 bucket name",
        'use 3 to 63 lower-case letters, digits, "-" and "."; start and end with a letter or digit',
    ),
    project_models.STATE_PREFIX_PATTERN: (
        "contains characters that are not safe in S3 keys",
        "use letters, digits and / ! - _ . * ' ( )",
    ),
    project_models.REGION_PATTERN: ("is not a region", "write one such as us-west-2"),
    project_models.ENDPOINT_PATTERN: (
        "is not a server URL",
        "write http://host:port or https://host, without path or credentials",
    ),
}

_NO_SECRETS = "AWS generates the value: write streamKey: {} and keep the value out of the repository"


def faults_of(
    model: type[BaseModel],
    raw: object,
    max_faults: int | None = None,
    skipped: Callable[[int], None] = lambda _count: None,
) -> list[Fault]:
    """Return the faults of ``raw`` by the model, at most ``max_faults``; ``skipped`` is called with the number of the others, if there are any."""
    try:
        model.model_validate(raw)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        if max_faults is not None and len(errors) > max_faults:
            skipped(len(errors) - max_faults)
        return [
            _fault_of(
                _PydanticError(found["type"], model, *_locate(raw, found["loc"]), found.get("ctx", {}), found["msg"])
            )
            for found in errors[:max_faults]
        ]
    return []


class _PydanticError(NamedTuple):
    """One pydantic error, with the path and value in the file."""

    error: str
    model: type[BaseModel]
    path: KeyPath
    value: object
    at_key: bool
    context: Mapping[str, Any]
    message: str

    @property
    def name(self) -> str:
        return format_path(self.path)

    @property
    def subject(self) -> str:
        return f"a key of {format_path(self.path[:-1])}" if self.at_key else self.name

    def fault(self, what: str, hint: str) -> Fault:
        return Fault(self.path, what, hint, self.at_key)


def _locate(raw: object, loc: tuple[int | str, ...]) -> tuple[KeyPath, object, bool]:
    """Return path and value of an error location within ``raw``, and whether it is a key. Union tags in ``loc`` are skipped."""
    path: list[int | str] = []
    here: object = raw
    for index, part in enumerate(loc):
        if part == "[key]":
            return tuple(path), path[-1], True
        if isinstance(here, dict):
            if part in here:
                here = here[part]
                path.append(part)
            elif index == len(loc) - 1:
                path.append(part)
                here = None
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
            path.append(part)
    return tuple(path), here, False


_MAPPING = ("a mapping", "write its fields below it")
_TYPES: Mapping[str, tuple[str, str]] = {
    "string_type": ("a string", "write a string"),
    "bool_type": ("a boolean", "write true or false, without quotes"),
    "int_type": ("an integer", ""),
    "list_type": ("a list", 'write [a, b], or one "- entry" per line'),
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "union_tag_not_found": ("a string or a mapping", "write the PEM text, or {file: path}"),
}
"""By pydantic error type, the type that is needed, and a hint."""


def _fault_of(found: _PydanticError) -> Fault:
    """Return the fault of a pydantic error, by its type."""
    match found.error:
        case "missing":
            return Fault(found.path[:-1], f"{found.name} is missing", "add it")
        case "extra_forbidden":
            return _unknown_field(found)
        case "literal_error":
            return _not_one_of(found)
        case "greater_than_equal" | "less_than_equal":
            what = f"{found.name} {quote(found.value)} is out of range"
            return found.fault(what, _range_hint(found.model, found.path))
        case "string_pattern_mismatch":
            return _pattern_mismatch(found)
        case "string_too_long" | "string_too_short" | "too_long" | "too_short":
            return found.fault(*_wrong_size(found))
        case error if error in _TYPES:
            return _wrong_type(found)
        case _:
            return found.fault(f"{found.name}: {found.message[:1].lower()}{found.message[1:]}", "")


def _wrong_type(found: _PydanticError) -> Fault:
    needed, hint = _TYPES[found.error]
    given = _quoted(found.value) if found.error in ("bool_type", "int_type") else type_name(found.value)
    if found.error == "int_type":
        hint = _range_hint(found.model, found.path)
    elif found.error == "string_type" and isinstance(found.value, int | float):
        hint = "write it in quotes"
    elif found.error == "string_type" and found.value is None:
        hint = 'write a string, or "" for none'
    elif found.path[-1:] == ("streamKey",) and isinstance(found.value, str):
        hint = _NO_SECRETS
    elif found.path[-1:] == ("streamKey",) and found.value is True:
        hint = "write streamKey: {}"
    elif found.path[-1:] == ("streamKey",) and found.value is False:
        hint = "remove it: without streamKey the key is not managed"
    return found.fault(f"{found.name} must be {needed}, not {given}".lstrip(), hint)


def _wrong_size(found: _PydanticError) -> tuple[str, str]:
    subject, limit = found.subject, found.context.get("max_length")
    match found.error:
        case "string_too_long":
            length = len(str(found.value))
            return (
                f"{subject} has {length} characters, more than the limit of {limit}",
                f"shorten it to {limit} characters",
            )
        case "too_long":
            count = found.context["actual_length"]
            return f"{subject} has {count} entries, more than the limit of {limit}", f"remove {count - limit}"
        case "string_too_short" if found.value:
            return f"{subject} is too short", f"write at least {found.context['min_length']} characters"
        case "string_too_short":
            return f"{subject} is empty", "write at least one character"
        case _:
            return f"{subject} is empty", "add at least one entry"


def _unknown_field(found: _PydanticError) -> Fault:
    path, last = found.path, str(found.path[-1])
    known = _fields(found.model, path[:-1])
    named = f'"{found.name}"' if quote(last).startswith('"') else quote(last)
    if path[-2:-1] == ("streamKey",) and not nearest(last, known):
        hint = _NO_SECRETS
    elif path[:-1] == ("defaults", "channel") and last in models.Channel.model_fields:
        hint = "set it in each channel"
    else:
        hint = suggestion(last, known, otherwise=f"the fields are {', '.join(known)}")
    return Fault(path, f"unknown field {named}", hint, at_key=True)


def _not_one_of(found: _PydanticError) -> Fault:
    choices = _choices(found.model, found.path)
    near = nearest(found.value, choices) if isinstance(found.value, str) else ""
    if isinstance(found.value, dict | list) or found.value is None:
        return found.fault(
            f"{found.name} must be one of {', '.join(choices)}, not {type_name(found.value)}", "write one of them"
        )
    return found.fault(
        f"{found.name} {_quoted(found.value)} is not one of {', '.join(choices)}",
        f"write {near}" if near else "write one of them",
    )


def _pattern_mismatch(found: _PydanticError) -> Fault:
    pattern = found.context["pattern"]
    what, hint = _pattern_message(pattern, found.path, found.value)
    # A wrong variable name is likely to be the secret itself.
    quoted = "(not shown here)" if pattern == project_models.VARIABLE_PATTERN else quote(found.value)
    return found.fault(f"{quoted} {what}" if found.at_key else f"{found.name} {quoted} {what}", hint)


def id_fault(identifier: str) -> Fault:
    """Return the fault of an invalid id."""
    what, hint = _PATTERNS[ID_PATTERN]
    return Fault((), f"{quote(identifier)} {what}", hint, at_key=True)


def _quoted(value: object) -> str:
    return type_name(value) if isinstance(value, dict | list) or value is None else quote(value)


def _pattern_message(pattern: str, path: KeyPath, value: object) -> tuple[str, str]:
    if pattern in _PATTERNS:
        what, hint = _PATTERNS[pattern]
        if pattern == ID_PATTERN and isinstance(value, str):
            if value.startswith("arn:"):
                return what, f"write an ARN under {path[-1]}Arn"
            if not value:
                return what, "write null for none"
        return what, hint
    if pattern == models.ORIGIN_PATTERN:
        return "is not an origin", _origin_hint(str(value))
    if arn := _ARN.search(pattern):
        service, kind = arn.groups()
        near = f"arn:aws:{service}:<region>:<account>:{kind}/<id>"
        by_id = str(path[-1]).removesuffix("Arn")
        return f"is not a {kind.replace('-', ' ')} ARN", f"write {near}, or an id under {by_id}"
    return "is invalid", f"it must match {pattern}"


def _origin_hint(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if value in ("*", "https://*", "http://*"):
        return "to allow every origin, omit the list"
    if not separator:
        return (
            f'add the scheme, such as "https://{value}"'
            if re.fullmatch(r"[A-Za-z0-9.*-]+", value)
            else 'write scheme and host, such as "https://example.com"'
        )
    if "/" in rest or "?" in rest:
        return (
            f'remove the path: "{scheme}://{re.split("[/?]", rest)[0]}"'
            if quote(value).startswith('"')
            else "remove the path"
        )
    return 'write scheme and host, such as "https://example.com" or "https://*.example.com"'


def _range_hint(model: type[BaseModel], path: KeyPath) -> str:
    lowest = highest = None
    for metadata in _metadata(model, path):
        if isinstance(metadata, Ge):
            lowest = metadata.ge
        if isinstance(metadata, Le):
            highest = metadata.le
    if lowest is not None and highest is not None:
        return f"write an integer from {lowest} to {highest}"
    return f"write an integer, {lowest} or more" if lowest is not None else "write an integer"


def _fields(model: type[BaseModel], path: KeyPath) -> tuple[str, ...]:
    for annotation, _ in _annotations(model, path):
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return tuple(annotation.model_fields)
    return ()


def _choices(model: type[BaseModel], path: KeyPath) -> tuple[str, ...]:
    for annotation, _ in _annotations(model, path):
        if get_origin(annotation) is Literal:
            return get_args(annotation)
    return ()


def _metadata(model: type[BaseModel], path: KeyPath) -> list[Any]:
    return [item for _, metadata in _annotations(model, path) for item in metadata]


def _annotations(model: type[BaseModel], path: KeyPath) -> list[tuple[Any, list[Any]]]:
    """Return the possible types at a path of the model, each with its constraints."""
    here: list[tuple[Any, list[Any]]] = [(model, [])]
    for part in path:
        below: list[tuple[Any, list[Any]]] = []
        for annotation, _ in here:
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                if part in annotation.model_fields:
                    field = annotation.model_fields[str(part)]
                    below += _unwrap(field.annotation, list(field.metadata))
            elif get_origin(annotation) is list:
                below += _unwrap(get_args(annotation)[0], [])
            elif get_origin(annotation) is dict:
                below += _unwrap(get_args(annotation)[1], [])
        here = below
    return here


def _unwrap(annotation: Any, metadata: list[Any]) -> list[tuple[Any, list[Any]]]:
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        flat = [item for extra in more for item in (extra.metadata if isinstance(extra, FieldInfo) else [extra])]
        return _unwrap(inner, metadata + flat)
    if get_origin(annotation) in (Union, UnionType):
        return [
            pair for member in get_args(annotation) if member is not type(None) for pair in _unwrap(member, metadata)
        ]
    return [(annotation, metadata)]
