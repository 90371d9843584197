"""Whether ``--only`` and ``--exclude`` name anything: a misspelt one must neither look like nothing to do nor let through what was to be left out.

``--only`` has to match something. ``--exclude`` may match nothing where it is a pattern, because "whatever there is of these" is a sensible wish; one address has to be there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase

from reconciler.model.address import Address, KindName

_NEAR = 3
_LIKE = 0.75
"""How like an address has to be; the kind in front makes all of them somewhat alike."""

_NONE = "no address of the spec, and none of this stack in the account,"


def misspelt(
    only: Iterable[str], exclude: Iterable[str], known: Collection[Address], none: str = _NONE
) -> tuple[str, ...]:
    """Return what is wrong with globs that match none of the known addresses, a line each, with what may be meant; ``none`` says of what there is none."""
    addresses = sorted(map(str, known))
    return (*_lines("only", only, addresses, none), *_lines("exclude", exclude, addresses, none))


def _lines(word: str, globs: Iterable[str], addresses: list[str], none: str) -> Iterator[str]:
    kinds = [kind.value for kind in KindName]
    for glob in globs:
        kind, _, rest = glob.partition("/")
        if rest and not _is_pattern(kind) and kind not in kinds:
            meant = _meant(rest, addresses) or _meant(kind, kinds) or f"the kinds are {', '.join(kinds)}"
            yield f"--{word} {glob}: there is no kind {kind}; {meant}"
        elif (word == "only" or not _is_pattern(glob)) and not any(fnmatchcase(address, glob) for address in addresses):
            yield f"--{word} {glob}: {none} is {'like this' if _is_pattern(glob) else 'this one'}; {_meant(glob, addresses) or 'write addresses as plan shows them, such as channel/main-stage'}"


def _is_pattern(text: str) -> bool:
    return any(sign in text for sign in "*?[")


def _meant(word: str, known: list[str]) -> str:
    """Return what may be meant, the nearest first; empty where nothing is near."""
    same_id = [one for one in known if one.partition("/")[2] == word]
    near = list(dict.fromkeys([*same_id, *get_close_matches(word, known, n=_NEAR, cutoff=_LIKE)]))[:_NEAR]
    return f"did you mean {' or '.join(near)}?" if near else ""
