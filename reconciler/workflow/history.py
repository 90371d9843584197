"""What this machine remembers of its last apply of a target: the addresses that stood afterwards, and what the spec said of them.

It holds what the repository holds and no secret, and nothing but words depends on it.
It tells a resource that was deleted outside from one that was never applied, and what was changed outside from what the spec changed.
The addresses are believed only while they cover all that the stack has in the account, so that a memory older than somebody else's apply is not.
What the spec said of a resource is believed only while the resource carries the digest of it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.model.address import SPEC, Address, KindName
from reconciler.model.resource import DesiredState, LiveState
from reconciler.model.values import freeze, thaw
from reconciler.plan.plan import ApplyResult, Result, TargetPlan, Verb
from reconciler.plan.stale import Applied

FOLDER = ".ivs-reconciler"
_FORMAT = "1.0"


def record_apply(
    root: Path,
    stack: str,
    plan: TargetPlan,
    live: LiveState,
    result: ApplyResult | None,
    desired: DesiredState | None = None,
) -> str:
    """Write down what stands after an apply, and what it was applied as; return why not, where that cannot be written. No apply fails of it."""
    standing = live_addresses(live, stack)
    for outcome in result.outcomes if result else ():
        if outcome.verb is Verb.DELETE:
            if outcome.result is Result.DONE:
                standing.discard(outcome.address)
        elif outcome.result is Result.DONE or outcome.arn is not None:
            standing.add(outcome.address)
    # Of a kind that was not or could not be read, what was known before is still the best there is.
    unknown = live.unreadable.keys() | live.not_read
    standing |= {
        address for address in recorded_addresses(root, stack, plan.name, live) or () if address.kind in unknown
    }
    content = {
        "formatVersion": _FORMAT,
        "stack": stack,
        "accountId": plan.account_id,
        "region": plan.region,
        "addresses": sorted(map(str, standing)),
        "applied": _applied(root, stack, plan, live, result, desired) if desired is not None else {},
    }
    path = _path(root, plan.name)
    scratch = path.with_suffix(".new")
    try:
        ensure_folder(root)
        scratch.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            scratch.unlink()
        return write_error(path, error)
    return ""


def complete_addresses(root: Path, stack: str, target: str, live: LiveState) -> frozenset[Address] | None:
    """Return the addresses that stood after the last apply from here, or ``None`` where that is not known."""
    found = recorded_addresses(root, stack, target, live)
    return found if found is not None and live_addresses(live, stack) <= found else None


def applied_specs(root: Path, stack: str, target: str, live: LiveState) -> dict[Address, Applied]:
    """Return what the resources of a target were last applied as from here, where that is known; each counts only while its digest does."""
    found: dict[Address, Applied] = {}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        for address, one in _read(root, target, stack, live)["applied"].items():
            properties = freeze(one["properties"])
            if isinstance(properties, Mapping):
                found[Address.parse(address)] = Applied(
                    one["spec"], properties, dict(one["tags"]), one["arn"], frozenset(one["ignore"])
                )
    return found


def recorded_addresses(root: Path, stack: str, target: str, live: LiveState) -> frozenset[Address] | None:
    """Return what the record holds, whether or not it is to be believed; ``None`` where there is none for this stack, account and region."""
    try:
        return frozenset(Address.parse(address) for address in _read(root, target, stack, live)["addresses"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def recorded_kinds(root: Path, target: str) -> frozenset[KindName]:
    """Return the kinds of which the record of a target names an address.

    They are found in its text: parsing the record of 5,000 channels takes 30 ms, and a kind too many costs one more list call.
    """
    try:
        text = _path(root, target).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    return frozenset(kind for kind in KindName if f'"{kind.value}/' in text)


def _read(root: Path, target: str, stack: str, live: LiveState) -> dict[str, Any]:
    """Return the record's content. Raises ``ValueError`` and its like where there is none for this stack, account and region."""
    content = json.loads(_path(root, target).read_text(encoding="utf-8"))
    if (content["formatVersion"], content["stack"], content["accountId"], content["region"]) != (
        _FORMAT,
        stack,
        live.account_id,
        live.region,
    ):
        raise ValueError("a record of something else")
    return dict(content)


def _applied(
    root: Path, stack: str, plan: TargetPlan, live: LiveState, result: ApplyResult | None, desired: DesiredState
) -> dict[str, object]:
    """Return what each resource that carries a known digest was applied as: the spec's now, or the one remembered from before."""
    before = applied_specs(root, stack, plan.name, live)
    now = dict(live.claims(stack))
    done = {
        outcome.address: outcome.arn or ""
        for outcome in (result.outcomes if result else ())
        if outcome.result is Result.DONE and outcome.verb is not Verb.DELETE
    }
    found: dict[str, object] = {}
    for address, spec in desired.resources.items():
        there = now.get(address)
        if address in done or (there is not None and there.tags.get(SPEC) == spec.digest):
            arn = done.get(address) or (there.arn if there else "")
            found[str(address)] = _entry(Applied(spec.digest, spec.properties, spec.tags, arn, spec.ignore))
        elif there is not None and address in before and before[address].digest == there.tags.get(SPEC):
            found[str(address)] = _entry(before[address])
    return found


def _entry(applied: Applied) -> dict[str, object]:
    return {
        "spec": applied.digest,
        "arn": applied.arn,
        "properties": {name: thaw(value) for name, value in applied.properties.items()},
        "tags": dict(applied.tags),
        "ignore": sorted(applied.ignore),
    }


def live_addresses(live: LiveState, stack: str) -> set[Address]:
    """Return the addresses that the stack's live resources carry."""
    return {address for address, _ in live.claims(stack)}


def ensure_folder(root: Path) -> None:
    """Make the folder of what this machine remembers, which git is told to ignore. Raises ``OSError``."""
    folder = root / FOLDER
    folder.mkdir(exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists() or not ignore.stat().st_size:
        ignore.write_text("*\n", encoding="utf-8")


def write_error(path: Path, error: OSError) -> str:
    """Return why a file is not written, as a part of a sentence."""
    return f"{FOLDER}/{path.name}: {(error.strerror or 'unknown').lower()}"


def safe_name(target: str) -> str:
    """Return a target's name as a part of a file name."""
    return "".join(char if char.isalnum() or char in "-_" else f"%{ord(char):x}" for char in target)


def _path(root: Path, target: str) -> Path:
    return root / FOLDER / f"applied-{safe_name(target)}.json"
