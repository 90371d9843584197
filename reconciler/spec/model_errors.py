"""pydantic's errors -> our own words.

In come a model, the value that was judged and pydantic's error; out go ``Fault``s that name the field as the user wrote it and say what to write instead.
pydantic's ``input`` is never used: a value is quoted only through ``shown``, which keeps secrets back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from reconciler.model.address import KindName
from reconciler.spec import models, project_models
from reconciler.spec.problems import ID_PATTERN, Fault, KeyPath, dotted, nearest, shown, sort_of, suggestion

_ARN = re.compile(r":([a-z-]+)/\[")

_PATTERNS: Mapping[str, tuple[str, str]] = {
    models.NAME_PATTERN: ("holds characters that AWS does not allow", 'use letters, digits, "-" and "_"'),
    ID_PATTERN: ("is not an id", 'ids are up to 128 letters, digits, "-" and "_", beginning with a letter or digit'),
    models.MEDIATAILOR_PATTERN: (
        "is not the ARN of a MediaTailor playback configuration",
        "write arn:aws:mediatailor:<region>:<account>:playbackConfiguration/<name>",
    ),
    models.BUCKET_PATTERN: (
        "is not the name of an S3 bucket",
        'use lower-case letters, digits, "-" and "."; begin and end with a letter or digit',
    ),
    models.LABEL_PATTERN: ("is not a label", "use up to 128 letters, digits, spaces and _ . : / = + @ -"),
    models.OVERLAP_PATTERN: ("is not a length of time", "write days or hours, such as 7d or 36h"),
    project_models.STACK_PATTERN: ("is not a stack name", 'use up to 128 letters, digits, ".", "_" and "-"'),
    project_models.TARGET_PATTERN: (
        "is not a target name",
        'use up to 64 letters, digits, ".", "_" and "-", beginning with a letter or digit',
    ),
    project_models.ACCOUNT_PATTERN: ("is not an account id", 'write the 12 digits in quotes, such as "123456789012"'),
    project_models.ROLE_PATTERN: ("is not the ARN of a role", "write arn:aws:iam::<account>:role/<name>"),
    project_models.CHANNEL_PATTERN: (
        "is not a channel name",
        'use up to 64 letters, digits, ".", "_" and "-", beginning with a letter or digit',
    ),
    project_models.VARIABLE_PATTERN: (
        "is not the name of an environment variable",
        "write a name, such as SLACK_URL, and keep what is secret out of the repository",
    ),
    project_models.TOPIC_ARN_PATTERN: ("is not the ARN of an SNS topic", "write arn:aws:sns:<region>:<account>:<name>"),
    project_models.BUS_ARN_PATTERN: (
        "is not the ARN of an event bus",
        "write arn:aws:events:<region>:<account>:event-bus/<name>",
    ),
    project_models.ENDPOINT_PATTERN: (
        "is not the address of a server",
        "write http://host:port or https://host, without path, user or password",
    ),
}

_NO_SECRETS = "AWS makes the key and its value; a spec never holds it: write streamKey: {} and keep the value out of the repository"


def faults_of_resource(kind: KindName, body: object) -> Iterator[Fault]:
    """Yield what is wrong with the shape of one resource of this kind."""
    return faults_of(models.MODELS[kind], body)


def faults_of_project(raw: object) -> Iterator[Fault]:
    """Yield what is wrong with the shape of a project file."""
    return faults_of(project_models.ProjectFile, raw)


def faults_of(model: type[BaseModel], raw: object) -> Iterator[Fault]:
    """Yield what the model finds wrong with ``raw``, if there is anything."""
    try:
        model.model_validate(raw)
    except ValidationError as error:
        yield from _translated(model, raw, error)


def _translated(model: type[BaseModel], raw: object, error: ValidationError) -> Iterator[Fault]:
    for found in error.errors(include_url=False, include_input=False):
        path, value, at_key = _walk(raw, found["loc"])
        yield _fault(model, path, value, found["type"], found.get("ctx", {}), found["msg"], at_key=at_key)


def _walk(raw: object, loc: tuple[int | str, ...]) -> tuple[KeyPath, object, bool]:
    """Return the path within ``raw``, what stands there, and whether a key is meant; the tags of unions are left out."""
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


def _fault(  # noqa: C901, PLR0911, PLR0912 - one arm for each of pydantic's errors
    model: type[BaseModel],
    path: KeyPath,
    value: object,
    kind: str,
    context: Mapping[str, Any],
    message: str,
    *,
    at_key: bool,
) -> Fault:
    name = dotted(path)
    match kind:
        case "missing":
            return Fault(path[:-1], f"{name} is missing", "add it")
        case "extra_forbidden":
            return _unknown_field(model, path)
        case "literal_error":
            return _not_one_of(path, value, _choices(model, path))
        case "string_type":
            hint = (
                "write it in quotes"
                if isinstance(value, bool | int | float)
                else 'write text, or "" for none'
                if value is None
                else "write text"
            )
            return Fault(path, f"{name} is {sort_of(value)} where text is needed", hint)
        case "bool_type":
            return Fault(
                path, f"{name} is {_quoted(value)} where true or false is needed", "write true or false, without quotes"
            )
        case "int_type":
            return Fault(path, f"{name} is {_quoted(value)} where a whole number is needed", _range_hint(model, path))
        case "greater_than_equal" | "less_than_equal":
            return Fault(path, f"{name} is {shown(value)}", _range_hint(model, path))
        case "string_pattern_mismatch":
            what, hint = _pattern_words(context["pattern"], path, value)
            # What stands where a variable's name belongs is likely to be what the variable should hold.
            quoted = "(not shown here)" if context["pattern"] == project_models.VARIABLE_PATTERN else shown(value)
            return Fault(path, f"{quoted} {what}" if at_key else f"{name} {quoted} {what}", hint, at_key)
        case "string_too_long":
            limit = context["max_length"]
            named = f"a key of {dotted(path[:-1])}" if at_key else name
            return Fault(
                path,
                f"{named} has {len(str(value))} characters; AWS allows {limit}",
                f"shorten it to {limit} characters",
                at_key,
            )
        case "string_too_short":
            named = f"a key of {dotted(path[:-1])}" if at_key else name
            return Fault(
                path,
                f"{named} is {'too short' if value else 'empty'}",
                f"write at least {context['min_length']} characters" if value else "write something",
                at_key,
            )
        case "too_long":
            return Fault(
                path,
                f"{name} has {context['actual_length']} entries; AWS allows {context['max_length']}",
                f"remove {context['actual_length'] - context['max_length']}",
            )
        case "too_short":
            return Fault(path, f"{name} is empty", "write at least one")
        case "list_type":
            return Fault(
                path,
                f"{name} is {sort_of(value)} where a list is needed",
                "write [...], or one entry a line, each after a dash",
            )
        case "union_tag_not_found":
            return Fault(path, f"{name} is {sort_of(value)}", "write the PEM text, or {file: path}")
        case "dict_type" | "model_type" | "model_attributes_type":
            hint = _NO_SECRETS if path[-1:] == ("streamKey",) and isinstance(value, str) else "write fields below it"
            what = f"{name} is {sort_of(value)}" if name else f"{sort_of(value)} stands"
            return Fault(path, f"{what} where a mapping is needed", hint)
        case _:
            return Fault(path, f"{name}: {message[:1].lower()}{message[1:]}", "", at_key)


def id_fault(identifier: str) -> Fault:
    """Return the fault of an id that is none."""
    what, hint = _PATTERNS[ID_PATTERN]
    return Fault((), f"{shown(identifier)} {what}", hint, at_key=True)


def _not_one_of(path: KeyPath, value: object, choices: tuple[str, ...]) -> Fault:
    near = nearest(value, choices) if isinstance(value, str) else ""
    return Fault(
        path,
        f"{dotted(path)} {_quoted(value)} is not one of {', '.join(choices)}",
        f"write {near}" if near else "write one of them",
    )


def _quoted(value: object) -> str:
    return sort_of(value) if isinstance(value, dict | list) or value is None else shown(value)


def _unknown_field(model: type[BaseModel], path: KeyPath) -> Fault:
    last = str(path[-1])
    known = _fields(model, path[:-1])
    named = f'"{dotted(path)}"' if shown(last).startswith('"') else shown(last)
    if path[-2:-1] == ("streamKey",) and not nearest(last, known):
        return Fault(path, f"unknown field {named}", _NO_SECRETS, at_key=True)
    if path[:-1] == ("defaults", "channel") and last in models.Channel.model_fields:
        return Fault(path, f"unknown field {named}", "write it in each channel", at_key=True)
    return Fault(
        path,
        f"unknown field {named}",
        suggestion(last, known, otherwise=f"the fields are {', '.join(known)}"),
        at_key=True,
    )


def _pattern_words(pattern: str, path: KeyPath, value: object) -> tuple[str, str]:
    if pattern in _PATTERNS:
        what, hint = _PATTERNS[pattern]
        if pattern == ID_PATTERN and isinstance(value, str):
            if value.startswith("arn:"):
                return what, f"write an ARN under {path[-1]}Arn"
            if not value:
                return what, "to have none, write null"
        return what, hint
    if pattern == models.ORIGIN_PATTERN:
        return "is not an origin", _origin_hint(str(value))
    if arn := _ARN.search(pattern):
        kind = arn.group(1)
        near = f"arn:aws:ivs:<region>:<account>:{kind}/<id>"
        by_id = str(path[-1]).removesuffix("Arn")
        return f"is not the ARN of a {kind.replace('-', ' ')}", f"write {near}, or an id under {by_id}"
    return "does not fit", f"it has to match {pattern}"


def _origin_hint(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if value in ("*", "https://*", "http://*"):
        return "to allow every origin, leave the list out"
    if not separator:
        return (
            f'write the scheme too, such as "https://{value}"'
            if re.fullmatch(r"[A-Za-z0-9.*-]+", value)
            else 'write scheme and host, such as "https://example.com"'
        )
    if "/" in rest or "?" in rest:
        return (
            f'leave the path out: "{scheme}://{re.split("[/?]", rest)[0]}"'
            if shown(value).startswith('"')
            else "leave the path out"
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
        return f"write a whole number from {lowest} to {highest}"
    return f"write a whole number, {lowest} or more" if lowest is not None else "write a whole number"


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
    """Return the types that may stand at a path, each with its constraints."""
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
