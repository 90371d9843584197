"""What must not pass the gateway, taken from the service model.

That is: members marked sensitive (stream-key values, SRT passphrases), and headers that the model turns into members.

A path names the members to walk; ``*`` stands for every item of a list.
"""

from __future__ import annotations

from typing import Any

Path = tuple[str, ...]


def dropped_paths(
    shape: Any, trail: Path = (), inside: frozenset[str] = frozenset()
) -> tuple[Path, ...]:  # a botocore shape
    """Return the paths to drop from answers of this output shape. ``inside`` holds the shapes being walked, for a model that nests."""
    if shape is None or shape.name in inside:
        return ()
    inside |= {shape.name}
    match shape.type_name:
        case "structure":
            return tuple(
                path
                for name, member in shape.members.items()
                for path in (
                    [(*trail, name)]
                    if member.metadata.get("sensitive") or member.serialization.get("location") is not None
                    else dropped_paths(member, (*trail, name), inside)
                )
            )
        case "list":
            return dropped_paths(shape.member, (*trail, "*"), inside)
        case _:
            return ()


def drop(value: object, path: Path) -> None:
    """Take the member at the path out of an answer, wherever it is there."""
    head, rest = path[0], path[1:]
    if head == "*":
        if isinstance(value, list):
            for item in value:
                drop(item, rest)
    elif isinstance(value, dict):
        if not rest:
            value.pop(head, None)
        elif head in value:
            drop(value[head], rest)
