"""Placeholders and loops: an entry as written becomes the entries that it describes, with every value filled in.

``{target}``, ``{stack}``, ``{region}``, ``{accountId}`` and ``{id}`` are placeholders in names, bucket names, tag values, ARNs and sinks;
``{{`` and ``}}`` are braces there. In an entry with ``forEach`` or ``count``, every value may contain ``{each}``, ``{each.FIELD}`` and ``{index}``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from reconciler.model.target import DEFAULT_ACCOUNT, Target
from reconciler.spec.problems import Fault, KeyPath, quote, suggestion, type_name

FOR_EACH, COUNT = "forEach", "count"
LOOPS = frozenset({FOR_EACH, COUNT})
MAX_MEMBERS = 10_000
_MAX_TEXT = 1_024
"""Characters of a text with placeholders of a loop, and of what replaces one; no field accepts more, and both multiply."""

SAMPLE: Mapping[str, str] = {
    "target": "target",
    "stack": "stack",
    "region": "us-west-2",
    "accountId": "123456789012",
    "id": "id",
}
"""Values to check the project's defaults with, which are the same for all targets and ids."""

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
_EACH = re.compile(r"each(\..+)?|index")


def placeholder_values(stack: str, target: Target) -> dict[str, str]:
    """Return the values of the placeholders in a target, without ``id``; ``accountId`` only if the target states it."""
    account = target.account_id or (DEFAULT_ACCOUNT if target.sandbox is not None else None)
    values = {"target": target.name, "stack": stack, "region": target.region}
    return {**values, "accountId": account} if account else values


def fill(text: str, names: Mapping[str, str]) -> tuple[str, Fault | None]:
    """Return the text with its placeholders replaced, and a fault for one that is unknown; that is replaced as well, to cause no other fault."""
    if "{" not in text and "}" not in text:
        return text, None
    unknown: list[str] = []

    def replaced(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return found[0][0]
        if name not in names:
            unknown.append(name)
        return names.get(name, "x")

    filled = _TOKEN.sub(replaced, text)
    if not unknown:
        return filled, None
    # The sign of a Terraform or shell variable is part of what is unknown.
    return _TOKEN.sub(replaced, text.replace("${", "{")), _unknown(text, unknown[0], names)


def _unknown(text: str, name: str, names: Mapping[str, str]) -> Fault:
    what = f"{quote(text)} contains the unknown placeholder {{{name}}}"
    if _EACH.fullmatch(name):
        return Fault((), what, f"it is known in an entry with {FOR_EACH} or {COUNT}")
    if name == "accountId":
        return Fault(
            (), f"{quote(text)} contains {{accountId}}, which the target does not state", "add accountId to the target"
        )
    known = [f"{{{one}}}" for one in names]
    if f"${{{name}}}" in text:
        return Fault((), what, f"write the value: there are no variables; the placeholders are {', '.join(known)}")
    return Fault((), what, suggestion(f"{{{name}}}", known, otherwise=f"the placeholders are {', '.join(known)}"))


def fill_fields(body: Mapping[str, Any], names: Mapping[str, str], faults: list[Fault]) -> dict[str, Any]:
    """Return a body with the placeholders of names, bucket names, tag values and ARNs replaced; unknown ones are added to ``faults``."""
    return {
        key: _filled(value, (key,), names, faults) if isinstance(value, str | dict | list) else value
        for key, value in body.items()
    }


def _is_text(path: KeyPath) -> bool:
    """Return whether the value at a path may contain placeholders, sinks aside: it is always a string."""
    name = next((part for part in reversed(path) if isinstance(part, str)), "")
    return path == ("name",) or path[-2:-1] == ("tags",) or name == "bucketName" or name.endswith("Arn")


def _filled(value: Any, path: KeyPath, names: Mapping[str, str], faults: list[Fault]) -> Any:
    if isinstance(value, str):
        if "{" not in value and "}" not in value:
            return value
        if not _is_text(path):
            return value
        text, fault = fill(value, names)
        if fault:
            faults.append(fault.below(path))
        return text
    if isinstance(value, dict) and path[-1:] != ("sink",):
        return {name: _filled(one, (*path, name), names, faults) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, (*path, index), names, faults) for index, one in enumerate(value)]
    return value


class Expanded(NamedTuple):
    """One entry that an entry as written describes."""

    id: str
    body: Any
    faults: tuple[Fault, ...] = ()


def expand(identifier: str, body: Mapping[str, Any]) -> Iterable[Expanded] | Fault:
    """Return the entries that an entry with ``forEach`` or ``count`` describes, one for each member; a fault for a wrong loop."""
    members = _members(body)
    return members if isinstance(members, Fault) else _expanded(identifier, body, members)


def _expanded(
    identifier: str, body: Mapping[str, Any], members: Iterable[tuple[str, dict[str, Any]]]
) -> Iterator[Expanded]:
    template = {key: value for key, value in body.items() if key not in (FOR_EACH, COUNT)}
    for index, (member, names) in enumerate(members):
        faults: list[Fault] = []
        filled = _with_each(template, (), {**names, "index": index}, member, faults)
        yield Expanded(f"{identifier}-{member}", filled, tuple(faults))


def _members(body: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]] | Fault:
    """Return the members of a loop as the end of their id, and the values of ``each`` and ``each.FIELD``."""
    if FOR_EACH in body and COUNT in body:
        return Fault((COUNT,), f"{FOR_EACH} and {COUNT} cannot be combined", "remove one of the two", at_key=True)
    given = body.get(FOR_EACH)
    path: KeyPath = (FOR_EACH,)
    if COUNT in body or (isinstance(given, dict) and set(given) == {COUNT} and not isinstance(given[COUNT], dict)):
        count = body[COUNT] if COUNT in body else given[COUNT] if given else None
        path = (COUNT,) if COUNT in body else (FOR_EACH, COUNT)
        if type(count) is not int or not 0 <= count <= MAX_MEMBERS:
            return Fault(
                path, f"{COUNT} must be an integer from 0 to {MAX_MEMBERS:,}", "write how many there are to be"
            )
        return [(str(index), {"each": index}) for index in range(count)]
    if isinstance(given, list | dict) and len(given) > MAX_MEMBERS:
        return Fault(
            path, f"{FOR_EACH} has {len(given):,} members, more than the limit of {MAX_MEMBERS:,}", "split the entry"
        )
    if isinstance(given, list):
        seen: set[str] = set()
        for index, one in enumerate(given):
            if type(one) not in (str, int):
                return Fault(
                    (*path, index),
                    f"a member of {FOR_EACH} must be a string or an integer, not {type_name(one)}",
                    "write a name",
                )
            if str(one) in seen:
                return Fault(
                    (*path, index), f"{FOR_EACH} has the member {quote(str(one))} twice", "remove one of the two"
                )
            seen.add(str(one))
        return [(str(one), {"each": one}) for one in given]
    if isinstance(given, dict):
        members = []
        for name, fields in given.items():
            if fields is not None and not isinstance(fields, dict):
                what = f"a member of {FOR_EACH} must be a mapping of its fields, not {type_name(fields)}"
                return Fault((*path, name), what, f"write {name}: {{field: value}}")
            members.append(
                (str(name), {"each": name, **{f"each.{field}": value for field, value in (fields or {}).items()}})
            )
        return members
    return Fault(
        path, f"{FOR_EACH} must be a list or a mapping, not {type_name(given)}", "write [a, b], or a: {field: value}"
    )


def _with_each(value: Any, path: KeyPath, names: Mapping[str, Any], member: str, faults: list[Fault]) -> Any:
    """Return a value with ``{each…}`` and ``{index}`` replaced. A string that is nothing else becomes the value itself, with its type."""
    if isinstance(value, dict):
        return {key: _with_each(one, (*path, key), names, member, faults) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_each(one, (*path, index), names, member, faults) for index, one in enumerate(value)]
    if not isinstance(value, str) or "{" not in value:
        return value
    whole = _TOKEN.fullmatch(value)
    if whole and whole[1] in names:
        given = names[whole[1]]
        # In text, a number becomes its digits.
        if given is None or isinstance(given, list | dict) or not (_is_text(path) or "sink" in path):
            return given

    if len(value) > _MAX_TEXT and ("{each" in value or "{index" in value):
        what = f"a text with placeholders has {len(value):,} characters, more than the limit of {_MAX_TEXT:,}"
        faults.append(Fault(path, what, "shorten it"))
        return None
    before = len(faults)

    def replaced(found: re.Match[str]) -> str:
        name = found[1]
        if name is None or not _EACH.fullmatch(name):
            return found[0]
        if name not in names:
            fields = [f"{{{one}}}" for one in names]
            what = f"{quote(value)} contains {{{name}}}, which member {quote(member)} of {FOR_EACH} does not have"
            faults.append(Fault(path, what, suggestion(f"{{{name}}}", fields, otherwise=f"it has {', '.join(fields)}")))
            return "x"
        given = names[name]
        if given is None or isinstance(given, list | dict):
            what = f"{quote(value)} contains {{{name}}}, which is {type_name(given)} in member {quote(member)} of {FOR_EACH}"
            faults.append(Fault(path, what, "write a string or a number there"))
            return "x"
        text = str(given).lower() if isinstance(given, bool) else str(given)
        if len(text) > _MAX_TEXT:
            what = f"{{{name}}} has {len(text):,} characters in member {quote(member)} of {FOR_EACH}, more than the limit of {_MAX_TEXT:,}"
            faults.append(Fault(path, what, "shorten it"))
            return "x"
        return text

    filled = _TOKEN.sub(replaced, value)
    # What is unknown causes no other fault.
    return filled if len(faults) == before or _is_text(path) else None
