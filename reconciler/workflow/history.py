"""The record of the last apply of a target: the addresses that existed afterwards, and what each was applied as.

It holds no more than the repository does, and no secret; only explanations and the check for an empty account depend on it.
It distinguishes a resource that was deleted outside from one that was never applied, and drift from pending changes.
The addresses are used only while they cover everything that the stack has in the account: otherwise the record is older than another apply.
What a resource was applied as is used only while the resource carries the digest of it.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from reconciler.aws.client import ReadCalls
from reconciler.errors import AwsError
from reconciler.model.address import COMMIT, MAX_TAGS_WITH_ATTEMPT, SPEC, UNKNOWN_COMMIT, Address, KindName, is_commit
from reconciler.model.kinds import KINDS, LISTED, TAG, child_of
from reconciler.model.resource import DesiredState, LiveResource, LiveState
from reconciler.model.values import freeze, thaw
from reconciler.plan.plan import ApplyResult, Result, TargetPlan, Verb
from reconciler.plan.stale import AppliedSpec
from reconciler.workflow.records import Records, why_unusable

_FORMAT = "1.0"
_TRIES = 5
"""How often a record is updated again because another run wrote it."""

_UNUSABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading a record raises that is not there, or is damaged."""

_LEAVING = frozenset({Verb.DELETE, Verb.FORGET, Verb.REPLACE})
"""Actions after which a resource, as it is before, is not managed any more."""
_ENDS = frozenset({Verb.DELETE, Verb.FORGET})
"""Actions after which an address is not managed any more."""


def record_apply(
    records: Records,
    stack: str,
    plan: TargetPlan,
    live: LiveState,
    result: ApplyResult | None,
    desired: DesiredState,
    commit: str = "",
) -> str:
    """Write the record after an apply; return an error message if it cannot be written, which fails no apply.

    If another run wrote it meanwhile, it is read and updated again. ``commit`` is the commit that the apply recorded as a tag.
    """
    try:
        for _ in range(_TRIES):
            try:
                before, token = records.read(plan.name)
            except (FileNotFoundError, ValueError):
                before, token = "", ""
            content = _content(records, stack, plan, live, result, desired, commit)
            text = json.dumps(content, default=thaw) + "\n"
            if text == before or records.write(plan.name, text, token):
                return ""
    except OSError as error:
        return why_unusable(records.where(plan.name), error)
    return f"{records.where(plan.name)}: other runs keep changing it"


def _content(
    records: Records,
    stack: str,
    plan: TargetPlan,
    live: LiveState,
    result: ApplyResult | None,
    desired: DesiredState,
    commit: str,
) -> dict[str, object]:
    addresses = live_addresses(live, stack)
    before = applied_specs(records, stack, plan.name, live)
    known = recorded_addresses(records, stack, plan.name, live) or frozenset()
    # What is missing, or lost its owner tags, and was not restored stays in the record.
    addresses |= known & desired.resources.keys()
    for outcome in result.outcomes if result else ():
        if outcome.verb in _ENDS:
            if outcome.result is Result.DONE:
                addresses.discard(outcome.address)
        elif outcome.result is Result.DONE or outcome.arn is not None:
            addresses.add(outcome.address)
    addresses -= _former_addresses(result, desired)
    # For kinds that were not or could not be read, the previous record is the best available.
    unknown = live.unreadable.keys() | live.not_read
    addresses |= {address for address in known if address.kind in unknown}
    return {
        "formatVersion": _FORMAT,
        "stack": stack,
        "accountId": plan.account_id,
        "region": plan.region,
        "commit": commit or next(iter(sorted(recorded_commits(live, stack))), ""),
        "addresses": sorted(map(str, addresses)),
        "applied": _applied(before, stack, live, result, desired),
    }


def recorded_commits(live: LiveState, stack: str) -> set[str]:
    """Return the commits that the stack's live resources carry: that of the last apply, or none."""
    return {resource.commit for _, resource in live.claims(stack) if resource.commit}


def find_unknown_commit(plan: TargetPlan, live: LiveState, stack: str) -> LiveResource | None:
    """Return a resource that shows that the commit of the last apply is unknown: one with such a tag, or any if none has a commit.

    ``None`` if it is known, if no resource can carry it, or if something could not be read.
    """
    if live.unreadable:
        return None
    # Nearly no resource has a commit, and a plan of 5,000 looks here.
    tagged = {kind: tuple(one for one in resources if one.commit) for kind, resources in live.resources.items()}
    commits = [one for _, one in _carriers(plan, live._replace(resources=tagged), stack)]
    if commits:
        return next((one for one in commits if not is_commit(one.commit)), None)
    return next((one for _, one in _carriers(plan, live, stack)), None)


def _carriers(plan: TargetPlan, live: LiveState, stack: str) -> Iterator[tuple[Address, LiveResource]]:
    """Yield the resources that can carry the commit of an apply: they stay, and can have another tag."""
    leaving = {action.arn for action in plan.actions if action.verb in _LEAVING}
    leaving |= {arn for duplicate in plan.duplicates for arn in duplicate.others}
    for address, one in live.claims(stack):
        if one.arn not in leaving and address.kind in LISTED and len(one.tags) < MAX_TAGS_WITH_ATTEMPT:
            yield address, one


def record_commit(
    calls: ReadCalls,
    plan: TargetPlan,
    live: LiveState,
    desired: DesiredState,
    commit: str,
    result: ApplyResult | None = None,
) -> tuple[str, str]:
    """Record the commit of an apply as a tag of a live resource; return what is recorded, if anything is, and an error message.

    To be called before the first step, and again with the result. The commit of an apply that creates resources is unknown
    until all are created: one that was interrupted or killed does not show what existed.
    An unknown commit has a mark, so that the record of one such apply is not taken for that of another.
    """
    # Several resources may claim one address.
    there = sorted(_carriers(plan, live, desired.stack), key=lambda claim: (claim[0], claim[1].arn))
    with_commit = [(address, one) for address, one in there if one.commit]
    if result is None:
        if any(action.verb is Verb.CREATE for action in plan.actions):
            commit = UNKNOWN_COMMIT
        holders = [(address, one.arn) for address, one in with_commit if one.commit != commit]
        if not with_commit and commit != UNKNOWN_COMMIT:
            holders = [(address, one.arn) for address, one in there[:1]]
    else:
        created = [outcome for outcome in result.outcomes if outcome.verb is Verb.CREATE]
        if any(outcome.result is not Result.DONE for outcome in created):
            commit = UNKNOWN_COMMIT
            holders = [(address, one.arn) for address, one in with_commit or there[:1]]
        elif commit == UNKNOWN_COMMIT or (there and not created):
            holders = []
        elif there:
            holders = [(address, one.arn) for address, one in with_commit or there[:1]]
        else:
            # The first apply of a stack: what it has just created or adopted.
            tags = {one.arn: len(one.tags) for resources in live.resources.values() for one in resources}
            holders = [
                (outcome.address, outcome.arn)
                for outcome in result.outcomes
                if outcome.verb in (Verb.CREATE, Verb.ADOPT)
                and outcome.result is Result.DONE
                and outcome.arn
                and outcome.address.kind in LISTED
                and max(len(desired.resources[outcome.address].tags), tags.get(outcome.arn, 0)) < MAX_TAGS_WITH_ATTEMPT
            ][:1]
    if commit == UNKNOWN_COMMIT:
        commit = f"{UNKNOWN_COMMIT}-{uuid.uuid4().hex[:12]}"
    for address, arn in holders:
        try:
            calls.call(TAG, {"resourceArn": arn, "tags": {COMMIT: commit}}, KINDS[address.kind].service)
        except AwsError as error:
            return "", f"{TAG} for {address}: {error}"
    is_there = result is None and any(one.commit == commit for _, one in with_commit)
    return (commit if holders or is_there else ""), ""


def _former_addresses(result: ApplyResult | None, desired: DesiredState) -> set[Address]:
    """Return the addresses that this apply renamed."""
    if result is None or not desired.moved:
        return set()
    done = {outcome.address for outcome in result.outcomes if outcome.result is Result.DONE}
    renamed = [*desired.moved.items()]
    renamed += [(old_key, new_key) for old, new in renamed if (old_key := child_of(old)) and (new_key := child_of(new))]
    return {old for old, new in renamed if new in done}


def complete_addresses(records: Records, stack: str, target: str, live: LiveState) -> frozenset[Address] | None:
    """Return the addresses that existed after the last apply, or ``None`` if there is no record or another apply ran since."""
    try:
        content = _read(records, target, stack, live)
        found = _addresses(content["addresses"])
    except _UNUSABLE:
        return None
    commits = recorded_commits(live, stack)
    if commits and content.get("commit", "") not in (*commits, ""):
        return None
    return found if live_addresses(live, stack) <= found else None


def applied_specs(records: Records, stack: str, target: str, live: LiveState) -> dict[Address, AppliedSpec]:
    """Return what the resources of a target were last applied as, as far as it is recorded; valid only for resources with the same digest."""
    found: dict[Address, AppliedSpec] = {}
    with contextlib.suppress(*_UNUSABLE):
        for address, one in _read(records, target, stack, live)["applied"].items():
            properties = freeze(one["properties"])
            if isinstance(properties, Mapping):
                found[Address.parse(address)] = AppliedSpec(
                    one["spec"], properties, dict(one["tags"]), one["arn"], frozenset(one["ignore"])
                )
    return found


def recorded_arns(records: Records, stack: str, target: str, live: LiveState) -> dict[Address, str]:
    """Return the ARNs that the addresses of a target had after the last apply, as far as they are recorded."""
    return {address: one.arn for address, one in applied_specs(records, stack, target, live).items() if one.arn}


def recorded_addresses(records: Records, stack: str, target: str, live: LiveState) -> frozenset[Address] | None:
    """Return the recorded addresses even if another apply ran since; ``None`` if there is no record for this stack, account and region."""
    try:
        return _addresses(_read(records, target, stack, live)["addresses"])
    except _UNUSABLE:
        return None


def record_problem(records: Records, target: str) -> str:
    """Return why the record of a target is there, or may be, and cannot be used; empty if it can, or if there is none."""
    try:
        content = json.loads(records.read(target)[0])
        if not isinstance(content, dict) or content.get("formatVersion") != _FORMAT:
            raise ValueError("not a record")
        _addresses(content["addresses"])
        dict(content["applied"])
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return (
            f"the record of the last apply cannot be read and is ignored: {why_unusable(records.where(target), error)}"
        )
    except _UNUSABLE:
        return f"the record of the last apply, {records.where(target)}, is damaged and ignored; the next apply writes it again"
    return ""


def recorded_kinds(records: Records, target: str) -> frozenset[KindName]:
    """Return the kinds of which the record of a target names an address.

    They are found in its text, where the addresses come first: parsing the record of 5,000 channels takes 30 ms,
    looking for each kind in all of it 5 ms, and a kind too many costs one more list call.
    """
    try:
        text, _ = records.read(target)
    except OSError:
        return frozenset()
    addresses = text[: text.find('"applied"', text.find('"addresses"'))]
    return frozenset(kind for kind in KindName if f'"{kind.value}/' in addresses)


def _addresses(texts: Iterable[str]) -> frozenset[Address]:
    return frozenset(map(Address.parse, texts))


def _read(records: Records, target: str, stack: str, live: LiveState) -> dict[str, Any]:
    """Return the record's content. Raises one of ``_UNUSABLE`` if there is none for this stack, account and region."""
    content = json.loads(records.read(target)[0])
    if (content["formatVersion"], content["stack"], content["accountId"], content["region"]) != (
        _FORMAT,
        stack,
        live.account_id,
        live.region,
    ):
        raise ValueError("the record is for another stack, account or region")
    return dict(content)


def _applied(
    before: Mapping[Address, AppliedSpec],
    stack: str,
    live: LiveState,
    result: ApplyResult | None,
    desired: DesiredState,
) -> dict[str, object]:
    """Return what each resource with a known digest was applied as: the spec now, or the entry of the previous record."""
    now = dict(live.claims(stack))
    done = {
        outcome.address: outcome.arn or ""
        for outcome in (result.outcomes if result else ())
        if outcome.result is Result.DONE and outcome.verb not in _ENDS
    }
    found: dict[str, object] = {}
    for address, spec in desired.resources.items():
        there = now.get(address)
        if address in done or (there is not None and there.tags.get(SPEC) == spec.digest):
            arn = done.get(address) or (there.arn if there else "")
            found[str(address)] = _entry(AppliedSpec(spec.digest, spec.properties, spec.tags, arn, spec.ignore))
        elif address in before and (there is None or before[address].digest == there.tags.get(SPEC)):
            found[str(address)] = _entry(before[address])
    return found


def _entry(applied: AppliedSpec) -> dict[str, object]:
    return {
        "spec": applied.digest,
        "arn": applied.arn,
        "properties": dict(applied.properties),
        "tags": dict(applied.tags),
        "ignore": sorted(applied.ignore),
    }


def live_addresses(live: LiveState, stack: str) -> set[Address]:
    """Return the addresses that the stack's live resources carry."""
    return {address for address, _ in live.claims(stack)}
