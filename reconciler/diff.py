"""Compares two resources: one ``FieldChange`` for each path that differs, with both values.

Both sides are in canonical form, without fields that equal the service's default, so nothing is filtered afterwards.
A field that is absent on one side is reported with the service's default for it.
Scalar fields are compared directly; deepdiff finds the paths inside objects. A list is one value and is reported whole.
This module knows nothing of actions, ARNs, or the purpose of a comparison.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from reconciler.model.address import OWN, KindName, comparable_tags
from reconciler.model.kinds import KINDS, Shape
from reconciler.model.values import REF, Ref, Value

_TAGS = "/tags/"


class FieldChange(NamedTuple):
    """One path with its value before and after. Paths are JSON pointers into properties, or ``/tags/<key>``.

    ``absent_before`` and ``absent_after`` distinguish an absent field from the value ``None``.
    """

    path: str
    before: Value
    after: Value
    absent_before: bool = False
    absent_after: bool = False

    @property
    def field(self) -> str:
        """The name of the property that the path begins with, or ``tags``."""
        return tokens_of(self.path)[0]

    @property
    def tag(self) -> str:
        """The key of the tag that differs; empty for a property."""
        return _unescape(self.path.removeprefix(_TAGS)) if self.path.startswith(_TAGS) else ""


def compare(kind: KindName, live: Mapping[str, Value], desired: Mapping[str, Value]) -> tuple[FieldChange, ...]:
    """Return the differences of canonical properties, in the order of the kind's fields; see ``effective_properties`` for ignored ones.

    A ``Ref`` differs from every ARN, because its ARN is not known yet.
    """
    if live == desired:
        return ()
    changes: list[FieldChange] = []
    for field in KINDS[kind].fields:
        name = field.name
        before, after = live.get(name), desired.get(name)
        if before == after:
            continue
        path = _path(name)
        if field.shape is Shape.OBJECT:
            changes.extend(_inside(path, before, after, field.default_beside(desired), field.off))
            continue
        if before is None:
            before = field.default_beside(live)
        if after is None:
            after = field.default_beside(desired)
        if before != after:
            changes.append(FieldChange(path, before, after, absent_before=before is None, absent_after=after is None))
    return tuple(changes)


def compare_tags(
    live_tags: Mapping[str, str],
    desired_tags: Mapping[str, str],
    ignore: frozenset[str] = frozenset(),
    patterns: tuple[str, ...] = (),
) -> tuple[FieldChange, ...]:
    """Return the tags that differ, in the order of their keys.

    ``ignore`` holds ``tags`` for every tag or ``tags/<key>`` for one, and ``patterns`` the project's ignored tags;
    ownership tags are compared in any case.
    """
    if patterns:
        live_tags, desired_tags = comparable_tags(live_tags, patterns), comparable_tags(desired_tags, patterns)
    if live_tags == desired_tags:
        return ()
    changes = []
    for key in sorted(live_tags.keys() | desired_tags.keys()):
        before, after = live_tags.get(key), desired_tags.get(key)
        if before == after or (key not in OWN and ("tags" in ignore or f"tags/{key}" in ignore)):
            continue
        changes.append(
            FieldChange(tag_path(key), before, after, absent_before=before is None, absent_after=after is None)
        )
    return tuple(changes)


def additions(kind: KindName, properties: Mapping[str, Value], tags: Mapping[str, str]) -> tuple[FieldChange, ...]:
    """Return the properties and tags of a resource to create, as changes from absent."""
    changes = [
        FieldChange(_path(field.name), None, properties[field.name], absent_before=True)
        for field in KINDS[kind].fields
        if field.name in properties
    ]
    changes += [FieldChange(tag_path(key), None, tags[key], absent_before=True) for key in sorted(tags)]
    return tuple(changes)


def tag_path(key: str) -> str:
    """Return the path of a tag."""
    return _path("tags", key)


def _path(*tokens: str) -> str:
    """Return a JSON pointer; equal ones are one string, of which a plan of many creates has ten for each."""
    return sys.intern("".join(f"/{_escape(token)}" for token in tokens))


def tokens_of(path: str) -> list[str]:
    """Return the tokens of a JSON pointer (RFC 6901)."""
    return [_unescape(token) for token in path.split("/")[1:]]


def names_of(changes: tuple[FieldChange, ...]) -> str:
    """Return the names of the changed fields, each once, without tags."""
    return ", ".join(dict.fromkeys(change.field for change in changes if not change.tag))


def keys_of(changes: tuple[FieldChange, ...]) -> tuple[str, ...]:
    """Return the keys of the tags that differ."""
    return tuple(change.tag for change in changes if change.tag)


def _escape(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1")


def _unescape(token: str) -> str:
    return token.replace("~1", "/").replace("~0", "~")


_Plain: TypeAlias = "bool | int | str | tuple[_Plain, ...] | dict[str, _Plain] | None"


def _inside(path: str, before: Value, after: Value, default: Value, off: Value) -> list[FieldChange]:
    """Return the differences inside an object. Absent members have the default value, if the object has a default."""
    left = before if isinstance(before, Mapping) else {}
    right = after if isinstance(after, Mapping) else {}
    assumed = default if isinstance(default, Mapping) else {}
    left, right = _filled(left, right, assumed, off), _filled(right, left, assumed, off)
    return [
        FieldChange(
            path + "".join("/" + _escape(token) for token in tokens),
            _at(left, tokens),
            _at(right, tokens),
            absent_before=_at(left, tokens) is None,
            absent_after=_at(right, tokens) is None,
        )
        for tokens in _differing_paths(left, right)
    ]


def _filled(
    side: Mapping[str, Value], other: Mapping[str, Value], assumed: Mapping[str, Value], off: Value
) -> Mapping[str, Value]:
    """Add the default of each member that only the other side has, unless this side is disabled and has no such member."""
    if side == off:
        return side
    return {**{key: assumed[key] for key in other if key in assumed}, **side}


def _differing_paths(left: Mapping[str, Value], right: Mapping[str, Value]) -> list[tuple[str, ...]]:
    """Return the paths at which two objects differ, sorted; a path ends at a list."""
    from deepdiff import DeepDiff  # noqa: PLC0415 - importing deepdiff costs more than a whole plan without differences

    tree = DeepDiff(_plain(left), _plain(right), view="tree")
    paths: set[tuple[str, ...]] = set()
    for nodes in tree.values():
        for node in nodes:
            tokens: list[str] = []
            for token in node.path(output_format="list"):
                if not isinstance(token, str):
                    break
                tokens.append(token)
            paths.add(tuple(tokens))
    return sorted(paths)


def _plain(value: Value) -> _Plain:
    """Return a value as JSON types only: deepdiff would compare the members of a ``Ref`` instead of the whole."""
    if isinstance(value, Ref):
        return f"{REF} {value.address}"
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _at(value: Value, tokens: tuple[str, ...]) -> Value:
    for token in tokens:
        if not isinstance(value, Mapping):
            return None
        value = value.get(token)
    return value
