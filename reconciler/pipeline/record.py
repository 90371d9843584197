"""What this machine remembers of its last apply of a target: the addresses that stood afterwards.

It holds no property and no secret, and nothing depends on it: it only tells a resource that was deleted outside from one that was never applied.
It is believed only while it covers all that the stack has in the account, so that a memory older than somebody else's apply is not.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from reconciler.model.address import Address
from reconciler.model.resource import LiveState
from reconciler.model.tags import ID, STACK
from reconciler.plan.actions import ApplyResult, Result, TargetPlan, Verb

FOLDER = ".ivs-reconciler"
_FORMAT = "1.0"


def remember(root: Path, stack: str, plan: TargetPlan, live: LiveState, result: ApplyResult | None) -> None:
    """Write down what stands after an apply. A folder that cannot be written is passed over: nothing depends on the record."""
    standing = standing_in(live, stack)
    for outcome in result.outcomes if result else ():
        if outcome.verb is Verb.DELETE:
            if outcome.result is Result.DONE:
                standing.discard(outcome.address)
        elif outcome.result is Result.DONE or outcome.arn is not None:
            standing.add(outcome.address)
    # Of a kind that could not be read, what was known before is still the best there is.
    standing |= {address for address in recorded(root, stack, plan.name, live) or () if address.kind in live.unreadable}
    content = {
        "formatVersion": _FORMAT,
        "stack": stack,
        "accountId": plan.account_id,
        "region": plan.region,
        "addresses": sorted(map(str, standing)),
    }
    with contextlib.suppress(OSError):
        made_folder(root)
        path = _path(root, plan.name)
        scratch = path.with_suffix(".new")
        scratch.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        scratch.replace(path)


def remembered(root: Path, stack: str, target: str, live: LiveState) -> frozenset[Address] | None:
    """Return the addresses that stood after the last apply from here, or ``None`` where that is not known."""
    found = recorded(root, stack, target, live)
    return found if found is not None and standing_in(live, stack) <= found else None


def recorded(root: Path, stack: str, target: str, live: LiveState) -> frozenset[Address] | None:
    """Return what the record holds, whether or not it is to be believed; ``None`` where there is none for this stack, account and region."""
    try:
        content = json.loads(_path(root, target).read_text(encoding="utf-8"))
        if (content["formatVersion"], content["stack"], content["accountId"], content["region"]) != (_FORMAT, stack, live.account_id, live.region):
            return None
        return frozenset(Address.parse(address) for address in content["addresses"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def standing_in(live: LiveState, stack: str) -> set[Address]:
    """Return the addresses that the stack's live resources carry."""
    return {
        Address(kind, resource.tags[ID])
        for kind, resources in live.resources.items()
        for resource in resources
        if resource.tags.get(STACK) == stack and ID in resource.tags
    }


def made_folder(root: Path) -> None:
    """Make the folder of what this machine remembers, which git is told to ignore. Raises ``OSError``."""
    folder = root / FOLDER
    folder.mkdir(exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")


def safe_name(target: str) -> str:
    """Return a target's name as a part of a file name."""
    return "".join(char if char.isalnum() or char in "-_" else f"%{ord(char):x}" for char in target)


def _path(root: Path, target: str) -> Path:
    return root / FOLDER / f"applied-{safe_name(target)}.json"
