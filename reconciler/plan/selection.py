"""``--only`` and ``--exclude``: a part of a plan that can be carried out by itself.

A glob is matched against whole addresses, ``kind/id``, with case.
What a selected create or update needs is taken along and named; a delete is never taken along.
What waits for something left out is blocked and says for what.

Whether ``--only`` and ``--exclude`` name anything: a misspelt one must neither look like nothing to do nor let through what was to be left out.

``--only`` has to match something. ``--exclude`` may match nothing where it is a pattern, because "whatever there is of these" is a sensible wish; one address has to be there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from reconciler.model.address import Address, KindName
from reconciler.plan.plan import PlanOptions, TargetPlan, Verb
from reconciler.plan.removal import counted, hold, names_replaced


def included(options: PlanOptions, address: Address) -> bool:
    """Whether ``--only`` lets an address in."""
    return not options.only or any(fnmatchcase(str(address), glob) for glob in options.only)


def excluded(options: PlanOptions, address: Address) -> bool:
    """Whether ``--exclude`` leaves an address out."""
    return any(fnmatchcase(str(address), glob) for glob in options.exclude)


def wanted(options: PlanOptions, address: Address) -> bool:
    """Whether both let an address in."""
    return included(options, address) and not excluded(options, address)


def select(plan: TargetPlan, options: PlanOptions, desired: Iterable[Address]) -> TargetPlan:
    """Return the part of the plan that the options select; ``desired`` are the addresses of the spec."""
    if not options.only and not options.exclude:
        return plan
    desired = tuple(desired)

    chosen = {index for index, action in enumerate(plan.actions) if wanted(options, action.address)}
    notes: list[str] = []
    if options.only:
        for index, needed_by in _needs(plan, chosen).items():
            address = plan.actions[index].address
            if not excluded(options, address):
                chosen.add(index)
                notes.append(f"{address} is taken along, because {needed_by} needs it")
    dropped = {
        index: "is excluded" if excluded(options, action.address) else "is not selected"
        for index, action in enumerate(plan.actions)
        if index not in chosen
    }
    actions = hold(plan.actions, {}, dropped)
    touched = {action.address for action in plan.actions if action.verb is not Verb.DELETE}
    known = {*desired, *(action.address for action in plan.actions), *(orphan.address for orphan in plan.orphans)}
    notes += [
        f"no address matches --{word} {glob}"
        for word, globs in (("only", options.only), ("exclude", options.exclude))
        for glob in globs
        if not any(fnmatchcase(str(address), glob) for address in known)
    ]
    if dropped:
        notes.append(
            f"{len(dropped):,} {'action is' if len(dropped) == 1 else 'actions are'} left out by --only or --exclude"
        )
    orphans = tuple(orphan for orphan in plan.orphans if wanted(options, orphan.address))
    unchanged = sum(wanted(options, address) and address not in touched for address in desired)
    return replace(
        plan,
        actions=actions,
        summary=counted(replace(plan.summary, unchanged=unchanged, orphaned=len(orphans)), actions),
        orphans=orphans,
        duplicates=tuple(duplicate for duplicate in plan.duplicates if wanted(options, duplicate.address)),
        notes=(*plan.notes, *notes),
    )


def _needs(plan: TargetPlan, chosen: set[int]) -> dict[int, Address]:
    """Return the actions that the chosen ones need and that are not chosen, each with the first that needs it."""
    owner = {step.id: index for index, action in enumerate(plan.actions) for step in action.steps}
    needed: dict[int, Address] = {}
    open_ends = sorted(chosen, reverse=True)
    while open_ends:
        action = plan.actions[open_ends.pop()]
        for step in action.steps:
            # What a delete waits for is not fetched for its sake: the delete waits for a plan that has it.
            if action.verb is Verb.DELETE or (action.verb is Verb.REPLACE and names_replaced(action, step)):
                continue
            for index in sorted({owner[other] for other in step.after}):
                if index not in chosen and index not in needed and plan.actions[index].verb is not Verb.DELETE:
                    needed[index] = action.address
                    open_ends.append(index)
    return needed


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
