"""What a tag may be called and hold.

The service's rules (service model, Tag Editor guide): letters, spaces and digits of any script and ``_.:/=+-@``; ``aws:`` is the system's.
``ivs-reconciler:`` is ours, because ownership is written there.
Lengths were judged before, with the shape.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache

from reconciler.model.tags import MAX_SPEC_TAGS, MAX_TAGS, PREFIX
from reconciler.spec.problems import Fault, shown

_COMMON = re.compile(r"[A-Za-z0-9 _.:/=+\-@]*")
_SIGNS = frozenset("_.:/=+-@")


def tag_faults(tags: Mapping[str, str]) -> Iterator[Fault]:
    """Yield what is wrong with the keys and values of one ``tags`` mapping."""
    for key, value in tags.items():
        yield from _key_faults(key)
        if wrong := _foreign_character(value):
            yield Fault(
                (key,),
                f"the value of tag {shown(key)} holds {wrong}",
                "use letters, digits, spaces and _ . : / = + - @",
            )


def count_fault(count: int, *, kept: int = MAX_TAGS - MAX_SPEC_TAGS) -> Fault | None:
    """Return the fault of a resource with this many tags, defaults included, if there is one; ``kept`` are those that we write."""
    if count <= MAX_TAGS - kept:
        return None
    return Fault(
        ("tags",),
        f"{count} tags, default tags included; AWS allows {MAX_TAGS}, and {kept} are kept for ownership",
        f"remove {count - MAX_TAGS + kept}",
        at_key=True,
    )


@lru_cache(maxsize=4096)
def _key_faults(key: str) -> tuple[Fault, ...]:
    faults = []
    folded = key[: len(PREFIX)].lower()
    if folded.startswith("aws:"):
        faults.append(
            Fault(
                (key,),
                f"the tag key {shown(key)} begins with aws:, which is reserved for AWS",
                "choose another key",
                at_key=True,
            )
        )
    elif folded == PREFIX:
        faults.append(
            Fault(
                (key,),
                f"the tag key {shown(key)} begins with {PREFIX}, where ownership is written",
                "choose another key",
                at_key=True,
            )
        )
    if wrong := _foreign_character(key):
        faults.append(
            Fault(
                (key,),
                f"the tag key {shown(key)} holds {wrong}",
                "use letters, digits, spaces and _ . : / = + - @",
                at_key=True,
            )
        )
    return tuple(faults)


@lru_cache(maxsize=4096)
def _foreign_character(text: str) -> str:
    if _COMMON.fullmatch(text):
        return ""
    for character in text:
        if character not in _SIGNS and unicodedata.category(character)[0] not in "LZN":
            return f'"{character}"' if character.isprintable() else f"the character U+{ord(character):04X}"
    return ""
