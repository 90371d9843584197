"""Selects the actions of a plan by ``--only`` and ``--exclude``.

A glob matches whole addresses (``kind/id``), case-sensitively. What a selected create or update needs is included, deletes excepted.
An action that depends on a skipped one is blocked. ``--only``, and an ``--exclude`` without wildcards, must match something, so that a typo is noticed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import NamedTuple

from reconciler.model.address import Address, KindName
from reconciler.model.kinds import KINDS, LISTED, USERS
from reconciler.plan.order import names_replaced
from reconciler.plan.plan import Action, PlanOptions, TargetPlan, Verb

_NEAR = 3
_LIKE = 0.75
"""Minimum similarity for a suggestion; the kind in front makes all addresses somewhat alike."""

_NONE = "no address in the spec or managed by this stack"


def kinds_to_read(
    spec: frozenset[KindName], options: PlanOptions, recorded: frozenset[KindName] = frozenset()
) -> frozenset[KindName]:
    """Return the kinds that a plan has to read. Others need no permission.

    These are the kinds that the ``spec`` names, those ``recorded`` at the last apply, those named by ``--only`` and ``--exclude``,
    and the kinds that refer to one of these: what is in use must not be deleted, and of duplicates the one in use is kept.
    It is every kind with prune, because orphans are found only by their tags, and for an empty spec, which is probably a wrong path.
    """
    globs = [glob.partition("/") for glob in (*options.only, *options.exclude)]
    if options.prune or not spec or any(kind not in KINDS for kind, _, _ in globs):
        return frozenset(LISTED)
    named = spec | recorded | {KindName(kind) for kind, _, _ in globs}
    found = {KINDS[kind].created_with or kind for kind in named}
    return frozenset(found | {user.name for kind in found for user in USERS[kind]})


class Selection(NamedTuple):
    """The skipped actions, by index, each with the reason for its dependents, and the notes."""

    dropped: dict[int, str]
    notes: tuple[str, ...]


def matches_any(address: Address, globs: Iterable[str]) -> bool:
    """Return whether one of the globs matches an address."""
    return any(fnmatchcase(str(address), glob) for glob in globs)


def included(options: PlanOptions, address: Address) -> bool:
    """Return whether ``--only`` includes an address."""
    return not options.only or matches_any(address, options.only)


def excluded(options: PlanOptions, address: Address) -> bool:
    """Return whether ``--exclude`` excludes an address."""
    return matches_any(address, options.exclude)


def is_selected(options: PlanOptions, address: Address) -> bool:
    """Return whether both options let an address through."""
    return included(options, address) and not excluded(options, address)


def is_beside(options: PlanOptions, address: Address) -> bool:
    """Return whether ``--create-beside`` names an address."""
    return matches_any(address, options.create_beside)


def select(actions: Sequence[Action], options: PlanOptions, others: Iterable[Address]) -> Selection:
    """Return which actions the options skip; ``others`` are known addresses without an action."""
    chosen = {index for index, action in enumerate(actions) if is_selected(options, action.address)}
    notes: list[str] = []
    if options.only:
        for index, needed_by in _needs(actions, chosen).items():
            address = actions[index].address
            if not excluded(options, address):
                chosen.add(index)
                notes.append(f"{address} is included, because {needed_by} depends on it")
    dropped = {
        index: "is excluded" if excluded(options, action.address) else "is not selected"
        for index, action in enumerate(actions)
        if index not in chosen
    }
    known = {*others, *(action.address for action in actions)}
    notes += _matching_nothing("only", options.only, known)
    notes += _matching_nothing("exclude", options.exclude, known)
    if dropped:
        notes.append(
            f"{len(dropped):,} {'action is' if len(dropped) == 1 else 'actions are'} skipped by --only or --exclude"
        )
    return Selection(dropped, tuple(notes))


def part_of(plan: TargetPlan, actions: tuple[Action, ...], left: int, verb: str) -> TargetPlan:
    """Return the part of a plan that a verb with one purpose runs, with a note about the actions that are ``left`` for another verb."""
    others = f"{left:,} other {'action is' if left == 1 else 'actions are'} due; run {verb} for {'it' if left == 1 else 'them'}"
    return plan._replace(
        actions=actions,
        summary=plan.summary.counting(actions),
        orphans=(),
        duplicates=(),
        kept=(),
        notes=(others,) if left else (),
    )


def unmatched_globs(
    only: Iterable[str], exclude: Iterable[str], known: Collection[Address], none: str = _NONE
) -> tuple[str, ...]:
    """Return an error line for each glob that matches no known address, with suggestions; ``none`` is the subject of ``matches``."""
    addresses = sorted(map(str, known))
    return (*_unmatched("only", only, addresses, none), *_unmatched("exclude", exclude, addresses, none))


def _matching_nothing(word: str, globs: Iterable[str], known: Iterable[Address]) -> Iterator[str]:
    for glob in globs:
        if not any(fnmatchcase(str(address), glob) for address in known):
            yield f"no address matches --{word} {glob}"


def _needs(actions: Sequence[Action], chosen: Collection[int]) -> dict[int, Address]:
    """Return the actions that the chosen ones need, each with the first that needs it."""
    owner = {step.id: index for index, action in enumerate(actions) for step in action.steps}
    needed: dict[int, Address] = {}
    open_ends = sorted(chosen, reverse=True)
    while open_ends:
        action = actions[open_ends.pop()]
        for step in action.steps:
            # A delete does not pull in what it waits for: it waits for a plan that has it.
            if action.verb is Verb.DELETE or (action.verb is Verb.REPLACE and names_replaced(action, step)):
                continue
            for index in sorted({owner[other] for other in step.after}):
                if index not in chosen and index not in needed and actions[index].verb is not Verb.DELETE:
                    needed[index] = action.address
                    open_ends.append(index)
    return needed


def _unmatched(word: str, globs: Iterable[str], addresses: list[str], none: str) -> Iterator[str]:
    """Yield a line for each glob of the option ``word`` that matches nothing; ``none`` is the subject of ``matches``."""
    kinds = [kind.value for kind in KindName]
    for glob in globs:
        kind, _, rest = glob.partition("/")
        if rest and not _is_pattern(kind) and kind not in kinds:
            meant = _meant(rest, addresses) or _meant(kind, kinds) or f"the kinds are {', '.join(kinds)}"
            yield f"--{word} {glob}: there is no kind {kind}; {meant}"
        elif (word == "only" or not _is_pattern(glob)) and not any(fnmatchcase(address, glob) for address in addresses):
            yield f"--{word} {glob}: {none} matches; {_meant(glob, addresses) or 'write addresses as plan shows them, such as channel/main-stage'}"


def _is_pattern(text: str) -> bool:
    return any(sign in text for sign in "*?[")


def _meant(word: str, known: list[str]) -> str:
    """Return suggestions, the nearest first; an empty string if there are none."""
    same_id = [one for one in known if one.partition("/")[2] == word]
    near = list(dict.fromkeys([*same_id, *get_close_matches(word, known, n=_NEAR, cutoff=_LIKE)]))[:_NEAR]
    return f"did you mean {' or '.join(near)}?" if near else ""
