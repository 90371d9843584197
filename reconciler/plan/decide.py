"""Desired and live state in, the plan of one target out.

The order of questions: whose is it, which one is meant, what is due and why, what has to stay, which calls, what waits for what.
Nothing is read and nothing is run here; the same two states give the same plan, to the byte, whatever order they came in.

What is due for each resource of the spec, and why: nothing, or a draft of one action.

Kinds are taken in the order of creation, so that every reference is to something already decided: it stays and its ARN is known,
it will be made and its ARN is bound later, or it cannot be had and whoever needs it is blocked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType

from reconciler.diff import FieldChange, additions, compare, effective
from reconciler.model.address import STACK, Address, KindName
from reconciler.model.kinds import FIELDS, KINDS, Kind
from reconciler.model.quotas import DEFAULTS
from reconciler.model.resource import DesiredResource, DesiredState, LiveResource, LiveState
from reconciler.model.values import Ref, Value
from reconciler.plan import stream_keys
from reconciler.plan.decision import (
    BEGINNING,
    NOTHING,
    RECORDS,
    Bindings,
    Draft,
    Rotate,
    Scene,
    channel_of,
    is_protected,
    names_of,
    tag_changes,
    why_update,
)
from reconciler.plan.order import Planned, action_key, link
from reconciler.plan.pairing import classify, has_failed, is_unsettled, settle
from reconciler.plan.plan import Action, Blocked, PlanOptions, Reason, Step, Summary, TargetPlan, Verb
from reconciler.plan.removal import Removals, counted, held, removals
from reconciler.plan.replacement import arrange, holders, slots
from reconciler.plan.selection import select
from reconciler.plan.steps import steps_for
from reconciler.plan.stream_keys import waiting_notes


def decide(scene: Scene) -> tuple[Draft, ...]:
    """Return a draft for each resource of the spec that is not as it should be, in the order of kinds and ids."""
    by_kind: dict[KindName, list[DesiredResource]] = {kind: [] for kind in KINDS}
    for address, resource in scene.desired.resources.items():
        by_kind[address.kind].append(resource)
    bindings: dict[Address, str | Ref | None] = {}
    drafts: list[Draft] = []
    for name, resources in by_kind.items():
        resources.sort(key=lambda resource: resource.address.id)
        for resource in resources:
            draft = (
                stream_keys.decide(scene, resource, bindings)
                if name is KindName.STREAM_KEY
                else _decide(scene, resource, bindings)
            )
            if draft is not None:
                drafts.append(draft)
                bindings[resource.address] = draft.binding
            elif name is not KindName.STREAM_KEY:
                bindings[resource.address] = scene.kept[resource.address].arn
    return tuple(drafts)


def _decide(scene: Scene, resource: DesiredResource, bindings: Bindings) -> Draft | None:
    live = scene.kept.get(resource.address)
    wanted = _resolved(resource.properties, bindings)
    if live is None:
        consent = scene.owned.consents.get(resource.address)
        return (
            _create(scene, resource, wanted, bindings)
            if consent is None
            else _adopt(scene, resource, consent, wanted, bindings)
        )
    if resource.ignore:
        wanted = effective(resource.address.kind, live.properties, wanted, resource.ignore)
    untold = _untold(scene, live, wanted, bindings) if scene.live.unreadable else {}
    if untold:
        wanted = {**wanted, **untold}
    if wanted == live.properties and live.tags == resource.tags and not has_failed(live):
        return None
    kind = KINDS[resource.address.kind]
    fields = compare(kind.name, live.properties, wanted)
    tags = tag_changes(scene, live, resource)
    if untold:
        # Our record of the applied spec would say more than is known.
        tags = tuple(change for change in tags if change.path not in RECORDS)
    if has_failed(live):
        return _replace(
            scene,
            resource,
            live,
            wanted,
            (*fields, *tags),
            Reason.CREATE_FAILED,
            f"IVS gave up making it (state {live.state}); it has to be made anew",
        )
    if fields and kind.update is None:
        explanation = f"{names_of(fields)} cannot be changed in place: IVS has no operation that updates a {kind.title}"
        return _replace(scene, resource, live, wanted, (*fields, *tags), Reason.IMMUTABLE_CHANGED, explanation)
    if not fields and not tags:
        return None
    reason, explanation = why_update(fields, tags)
    return Draft(
        resource.address,
        Verb.UPDATE,
        reason,
        explanation,
        live=live,
        desired=resource,
        wanted=wanted,
        changes=(*fields, *tags),
        blocked=_missing(wanted, bindings),
        warnings=(
            f"{', '.join(untold)} cannot be compared with the spec, because what it should refer to could not be read; it stays as it is",
        )
        if untold
        else (),
    )


def _create(scene: Scene, resource: DesiredResource, wanted: Mapping[str, Value], bindings: Bindings) -> Draft:
    kind = KINDS[resource.address.kind]
    blocked = _missing(wanted, bindings)
    explanation = "it is in the spec and not in the account"
    if kind.name in scene.live.unreadable:
        explanation = "it is in the spec; whether it is in the account is not known; what refers to something of its kind stays as it is"
        blocked = Blocked(
            "unreadable",
            f"{kind.titles} could not be read ({scene.live.unreadable[kind.name]}); see to that, then plan again",
        )
    return Draft(
        resource.address,
        Verb.CREATE,
        Reason.NOT_IN_ACCOUNT,
        explanation,
        desired=resource,
        wanted=wanted,
        changes=additions(kind.name, wanted, resource.tags),
        blocked=blocked,
    )


def _adopt(
    scene: Scene, resource: DesiredResource, live: LiveResource, wanted: Mapping[str, Value], bindings: Bindings
) -> Draft:
    kind = KINDS[resource.address.kind]
    wanted = effective(kind.name, live.properties, wanted, resource.ignore)
    fields = compare(kind.name, live.properties, wanted)
    blocked = _missing(wanted, bindings)
    if live.tags.get(STACK, scene.desired.stack) != scene.desired.stack:
        blocked = Blocked(
            "foreign",
            f"{live.arn} belongs to another stack: it carries the tag {STACK}={live.tags[STACK]}; have that stack forget it (or remove the tag), then adopt it",
        )
    elif not live.complete:
        blocked = Blocked(
            "unreadable",
            f"{live.arn} is known from its list summary alone; it has to be read in full before it can be adopted",
        )
    elif has_failed(live):
        blocked = Blocked(
            "foreign", f"{live.arn} is in state {live.state} and of no use; delete it, and the spec's will be created"
        )
    elif fields and kind.update is None:
        blocked = Blocked(
            "foreign",
            f"{live.arn} differs in {names_of(fields)}, which cannot be changed in place; let the spec say what is there, adopt it, then change the spec",
        )
    return Draft(
        resource.address,
        Verb.ADOPT,
        Reason.CONSENTED,
        f"the adoption of {live.arn} was asked for",
        live=live,
        desired=resource,
        wanted=wanted,
        changes=(*fields, *tag_changes(scene, live, resource)),
        blocked=blocked,
    )


def _replace(
    scene: Scene,
    resource: DesiredResource,
    live: LiveResource,
    wanted: Mapping[str, Value],
    changes: tuple[FieldChange, ...],
    reason: Reason,
    explanation: str,
) -> Draft:
    blocked = None
    if is_protected(live) or resource.protect:
        blocked = Blocked(
            "protected",
            f"{resource.address} is protected and would be replaced; set protect: false and apply that by itself, then change it",
        )
    elif KindName.CHANNEL in scene.live.unreadable and _is_referenced(KINDS[live.kind]):
        blocked = Blocked(
            "unreadable",
            f"channels could not be read ({scene.live.unreadable[KindName.CHANNEL]}), so nobody knows which of them use it",
        )
    return Draft(
        resource.address,
        Verb.REPLACE,
        reason,
        explanation,
        live=live,
        desired=resource,
        wanted=wanted,
        changes=changes,
        blocked=blocked,
    )


def _is_referenced(kind: Kind) -> bool:
    return any(field.references is kind.name for field in KINDS[KindName.CHANNEL].fields)


def _resolved(properties: Mapping[str, Value], bindings: Bindings) -> Mapping[str, Value]:
    """Put the ARN in the place of each reference to something that stays."""
    known = {
        name: arn
        for name, value in properties.items()
        if isinstance(value, Ref) and isinstance(arn := bindings.get(value.address), str)
    }
    return {**properties, **known} if known else properties


def _untold(scene: Scene, live: LiveResource, wanted: Mapping[str, Value], bindings: Bindings) -> dict[str, Value]:
    """Return the references, as they are, of which nobody can tell whether they are as the spec says, because what they should name could not be read."""
    return {
        name: live.properties[name]
        for name, value in wanted.items()
        if isinstance(value, Ref)
        and value.address.kind in scene.live.unreadable
        and bindings.get(value.address) is None
        and name in live.properties
    }


def _missing(wanted: Mapping[str, Value], bindings: Bindings) -> Blocked | None:
    """Return a block when the resource needs something that is not going to be there."""
    lacking = [str(address) for address in _references(wanted) if bindings.get(address) is None]
    if not lacking:
        return None
    return Blocked(
        "depends", f"it refers to {', '.join(lacking)}, which will not be there to be used; see why that is blocked"
    )


def _references(wanted: Mapping[str, Value]) -> Iterator[Address]:
    return (value.address for value in wanted.values() if isinstance(value, Ref))


_NOBODY: Mapping[Address, str] = MappingProxyType({})


def build_plan(
    desired: DesiredState,
    live: LiveState,
    options: PlanOptions,
    *,
    target_name: str,
    adopt: Mapping[Address, str] = _NOBODY,
    limits: Mapping[KindName, int] = DEFAULTS,
    rotate: Rotate = NOTHING,
    now: datetime = BEGINNING,
) -> TargetPlan:
    """Return what to do so that live state becomes desired state.

    ``limits`` are the quotas that apply, ``rotate`` the stream keys that this run was asked to make anew, ``now`` when this is. ``adopt`` gives explicit consents: the ARN of the unowned resource to take over for an address.
    Raises ``UsageError`` for a consent that names nothing it could apply to.
    """
    owned = classify(desired, live, options, adopt)
    kept, choices = settle(desired, owned, live.last_streams)
    scene = Scene(desired, live, options, owned, kept, choices, limits, rotate, now)
    drafts = decide(scene)
    leaving = removals(scene, drafts)
    drafts, deletes = held(scene, drafts, leaving.deletes)
    drafts = arrange(scene, drafts, deletes)
    actions = tuple(
        sorted((_action(draft, steps) for draft, steps in _with_steps(scene, (*drafts, *deletes))), key=action_key)
    )
    plan = TargetPlan(
        name=target_name,
        account_id=live.account_id,
        region=live.region,
        spec_digest=desired.digest,
        actions=actions,
        summary=_summary(scene, drafts, leaving, actions),
        managed=owned.managed,
        desired_count=len(desired.resources),
        orphans=tuple(sorted(leaving.orphans, key=lambda orphan: (str(orphan.address), orphan.arn))),
        duplicates=tuple(sorted(leaving.duplicates, key=lambda duplicate: str(duplicate.address))),
        notes=(*sorted(owned.notes), *sorted(leaving.notes), *sorted(waiting_notes(scene))),
    )
    return select(plan, options, desired.resources)


def _with_steps(scene: Scene, drafts: tuple[Draft, ...]) -> list[Planned]:
    unsettled = {
        resource.arn: resource
        for kind in KINDS.values()
        if kind.ready
        for resource in scene.live.of(kind.name)
        if is_unsettled(resource)
    }
    born = {
        channel_of(resource): address
        for address, resource in scene.desired.resources.items()
        if address.kind is KindName.STREAM_KEY
    }
    numbers: Counter[Address] = Counter()
    planned: list[Planned] = []
    for draft in drafts:
        steps = steps_for(draft, first=numbers[draft.address] + 1, born=born.get(draft.address), unsettled=unsettled)
        numbers[draft.address] += len(steps)
        planned.append((draft, steps))
    places = {kind: slots(scene, kind) for kind in scene.limits if kind not in scene.live.unreadable}
    return link(planned, scene.owned.users, places, holders(scene), scene.limits)


def _action(draft: Draft, steps: tuple[Step, ...]) -> Action:
    return Action(
        address=draft.address,
        verb=draft.verb,
        reason=draft.reason,
        explanation=draft.explanation,
        arn=None if draft.live is None else draft.live.arn,
        changes=draft.changes,
        steps=steps,
        observed=draft.observed,
        order=draft.order,
        blocked=draft.blocked,
        warnings=draft.warnings,
    )


def _summary(scene: Scene, drafts: tuple[Draft, ...], leaving: Removals, actions: tuple[Action, ...]) -> Summary:
    widths = {kind: len(fields) for kind, fields in FIELDS.items()}
    desired = scene.desired.resources
    defaults = sum(
        widths[address.kind] - len(resource.properties.keys() | desired[address].properties.keys())
        for address, resource in scene.kept.items()
        if address in desired
    )
    rest = Summary(
        unchanged=len(desired) - len(drafts),
        foreign=len(scene.owned.foreign),
        orphaned=len(leaving.orphans),
        defaults=defaults,
    )
    return counted(rest, actions)
