"""Reads ``outputs`` of the project file: where outputs are published to after an apply.

Parameters need a level of their own in front of what differs by resource, so that those of removed resources can be found.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from reconciler.model.address import KindName
from reconciler.model.kinds import OUTPUT_NAMES
from reconciler.model.target import OutputPlace, Publication
from reconciler.spec.problems import Fault, KeyPath, format_path, nearest, quote
from reconciler.spec.templates import SAMPLE, fill

DEFAULT_DOTENV = "ivs-outputs.env"

_RESOURCE = ("kind", "id", "output")
_SAMPLE = {**SAMPLE, "kind": "channel", "output": "arn"}
_PARAMETER = re.compile(r"(/[A-Za-z0-9_.-]+){1,15}")
_OURS = frozenset({".git", ".ivs-reconciler"})
_SOURCES = (".yaml", ".yml", ".pem", ".db")
_GLOB = re.compile(r"[*?\[]")


def publication_faults(raw: Any, targets: Mapping[str, Any], stack: object) -> Iterator[Fault]:
    """Yield the faults of the block ``outputs`` between its fields."""
    seen: dict[tuple[OutputPlace, str], int] = {}
    for index, entry in enumerate(raw if isinstance(raw, list) else ()):
        if not isinstance(entry, Mapping):
            continue
        path: KeyPath = ("outputs", index)
        given = [place for place in OutputPlace if entry.get(place.value) is not None]
        if len(given) != 1:
            yield Fault(
                path,
                f"{format_path(path)} must have exactly one of {', '.join(OutputPlace)}",
                "set one of them, and write another entry for another",
            )
            continue
        (place,) = given
        yield from _selection_faults(entry, path)
        body = entry[place.value]
        if not isinstance(body, Mapping):
            continue
        field, text = _name_of(place, body)
        if not isinstance(text, str):
            continue
        where = (*path, place.value, field)
        if place is OutputPlace.PARAMETER_STORE:
            yield from _parameter_faults(where, text, entry.get("only"))
        else:
            yield from _file_faults(where, text, targets, stack)
        first = seen.setdefault((place, text if place is not OutputPlace.JOB else ""), index)
        if first != index:
            yield Fault(
                path, f"{format_path(path)} has the same place as outputs[{first}]", "merge the two", at_key=True
            )


def publications_of(raw: Any) -> tuple[Publication, ...]:
    """Return the publications of a valid block, in the order they are written."""
    found = []
    for entry in raw or ():
        (place,) = (one for one in OutputPlace if entry.get(one.value) is not None)
        body = entry[place.value]
        found.append(
            Publication(
                place,
                _name_of(place, body)[1],
                body.get("format") or "json",
                tuple(entry.get("only") or ()),
                tuple(entry.get("values") or ()),
            )
        )
    return tuple(found)


def paths_in(raw: Any) -> Iterator[tuple[KeyPath, str]]:
    """Yield each path of a file that outputs are written to, as it is written, with its place in the project file."""
    for index, entry in enumerate(raw if isinstance(raw, list) else ()):
        for place in (OutputPlace.FILE, OutputPlace.JOB):
            body = entry.get(place.value) if isinstance(entry, Mapping) else None
            if isinstance(body, Mapping) and isinstance((named := _name_of(place, body))[1], str):
                yield ("outputs", index, place.value, named[0]), named[1]


def _name_of(place: OutputPlace, body: Mapping[str, Any]) -> tuple[str, Any]:
    match place:
        case OutputPlace.PARAMETER_STORE:
            return "name", body.get("name")
        case OutputPlace.FILE:
            return "path", body.get("path")
        case OutputPlace.JOB:
            return "dotenv", body.get("dotenv") or DEFAULT_DOTENV


def _selection_faults(entry: Mapping[str, Any], path: KeyPath) -> Iterator[Fault]:
    for index, value in enumerate(entry.get("values") or ()):
        if isinstance(value, str) and value not in OUTPUT_NAMES:
            near = nearest(value, OUTPUT_NAMES)
            hint = f'did you mean "{near}"?' if near else f"the outputs are {', '.join(OUTPUT_NAMES)}"
            yield Fault((*path, "values", index), f"{format_path(path)}: unknown output {quote(value)}", hint)
    for index, glob in enumerate(entry.get("only") or ()):
        kind = glob.partition("/")[0] if isinstance(glob, str) else "*"
        if not _GLOB.search(kind) and kind not in set(KindName):
            near = nearest(kind, KindName)
            hint = f'did you mean "{near}"?' if near else f"the kinds are {', '.join(KindName)}"
            yield Fault((*path, "only", index), f"{format_path(path)}: {quote(glob)} matches no kind", hint)


def _parameter_faults(path: KeyPath, name: str, only: Any) -> Iterator[Fault]:
    filled, unknown = fill(name, _SAMPLE)
    if unknown:
        yield unknown.below(path)
        return
    kinds = {str(glob).partition("/")[0] for glob in only or ("*",)}
    one_kind = len(kinds) == 1 and not _GLOB.search(min(kinds))
    lacking = [f"{{{word}}}" for word in _RESOURCE if f"{{{word}}}" not in name and not (word == "kind" and one_kind)]
    if not _PARAMETER.fullmatch(filled) or filled.lower().startswith(("/aws", "/ssm")):
        yield Fault(
            path,
            f"{quote(name)} is not a valid parameter name",
            "begin with /, use letters, digits, _ . and - in at most 15 levels; do not start with aws or ssm",
        )
    elif lacking:
        yield Fault(
            path,
            f"{quote(name)} does not contain {' and '.join(lacking)}, so several outputs would have one name",
            "write a name such as /ivs/{stack}/{target}/{kind}/{id}/{output}",
        )
    elif len(parameter_folder(name)) < 2:
        yield Fault(
            path,
            f"{quote(name)} has no level of its own before what differs by resource",
            "begin with a level such as /ivs/{stack}/",
        )


def parameter_folder(name: str) -> str:
    """Return the levels of a parameter's name that are the same for all resources, such as ``/ivs/{stack}``; ``/`` if there are none."""
    same = re.split(r"\{(?:kind|id|output)\}", name, maxsplit=1)[0]
    return same.rpartition("/")[0] or "/"


def _file_faults(path: KeyPath, text: str, targets: Mapping[str, Any], stack: object) -> Iterator[Fault]:
    _, unknown = fill(text, SAMPLE)
    if unknown or "{id}" in text:
        yield (unknown or Fault((), f"{quote(text)} contains {{id}}", "a file holds all resources of a target")).below(
            path
        )
        return
    paths = [
        PurePosixPath(name.lower()) for name in (text, *(filled for _, filled in _filled_paths(text, targets, stack)))
    ]
    if any(one.suffix in _SOURCES or _OURS & set(one.parts) for one in paths):  # macOS takes .GIT for .git
        yield Fault(
            path,
            f"{quote(text)} could be a file of the project itself, and it would be overwritten",
            "write a path such as out/{target}.json",
        )
    if os.path.normpath(text) == "." or text.endswith("/"):
        yield Fault(path, f"{quote(text)} is a directory", "write the path of a file, such as out/{target}.json")
        return
    first: dict[str, str] = {}
    for name, filled in _filled_paths(text, targets, stack):
        other = first.setdefault(os.path.normpath(filled), name)
        if other != name and path[-1] != "dotenv":
            yield Fault(
                path, f"{quote(text)} is the same file for the targets {other} and {name}", "add {target} to the path"
            )
            return


def _filled_paths(text: str, targets: Mapping[str, Any], stack: object) -> Iterator[tuple[str, str]]:
    """Yield the path of each target, by name; an account that is not stated is filled in by the target's name."""
    for name, target in targets.items():
        given = target if isinstance(target, Mapping) else {}
        names = {"target": str(name), "stack": str(stack), "region": str(given.get("region"))}
        yield str(name), fill(text, {**names, "accountId": str(given.get("accountId") or name)})[0]


def leads_outside(root: Path, text: str, targets: Mapping[str, Any], stack: object, places: list[str]) -> bool:
    """Return whether a path, filled in for any of the targets, is in none of these directories; links are followed."""
    reals = [
        os.path.realpath(root / filled) if "\0" not in filled else "/"
        for _, filled in _filled_paths(text, targets, stack)
    ]
    return not all(any(os.path.commonpath([real, place]) == place for place in places) for real in reals)
