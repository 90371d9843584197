"""Desired and live state in, the plan of one target out. Pure: the same states give the same plan, byte for byte.

Each resource of the spec gets a decision or none, then the resources removed from the spec. What concerns all decisions together is computed
as separate values: what stays in use, how replacements are carried out, the calls, the order, what is selected.
Each action is built once from all of it. What is read only if a plan needs it is joined afterwards: ``guardrails.with_holds``,
``live_channels.with_live_channels`` and ``guardrails.with_quotas``.

Kinds are decided in the order of creation, so that every reference is to something already decided: it exists and its ARN is known,
it will be created and its ARN is bound later, or it will not exist and the resource that needs it is blocked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType

from reconciler.diff import FieldChange, additions, compare, compare_tags, keys_of, names_of
from reconciler.model.address import ID, SPEC, STACK, Address, KindName
from reconciler.model.kinds import CHILD_KINDS, DEFAULT_QUOTAS, FIELDS, KINDS, REFERENCES, parent_of, references_in
from reconciler.model.resource import DesiredResource, DesiredState, LiveResource, LiveState, effective_properties
from reconciler.model.values import Ref, Value, as_json, resolve
from reconciler.plan import stream_keys
from reconciler.plan.decision import (
    BEGINNING,
    NOTHING,
    Bindings,
    Decision,
    PlanInputs,
    Rotate,
    adoption_losses,
    is_protected,
    may_adopt,
    moved_from,
    owner_phrase,
    unseen_users,
    why_different,
)
from reconciler.plan.guardrails import PREFIX
from reconciler.plan.order import actions_of, blocked_verdicts, with_verdicts
from reconciler.plan.pairing import (
    Ownership,
    beside_namesakes,
    beside_renamed,
    choose_resources,
    classify,
    has_failed,
    has_same_key,
    without_public_key,
)
from reconciler.plan.plan import Adoption, Blocked, PlanOptions, Reason, Summary, TargetPlan, Verb
from reconciler.plan.removal import pairs_by_public_key, removals, treatments
from reconciler.plan.selection import Selection, is_beside, is_selected, select
from reconciler.plan.steps import plan_steps

_NO_ARNS: Mapping[Address, str] = MappingProxyType({})


def build_plan(
    desired: DesiredState,
    live: LiveState,
    options: PlanOptions,
    *,
    target_name: str,
    adopt: Mapping[Address, str] = _NO_ARNS,
    recorded: Mapping[Address, str] = _NO_ARNS,
    limits: Mapping[KindName, int] = DEFAULT_QUOTAS,
    rotate: Rotate = NOTHING,
    now: datetime = BEGINNING,
) -> TargetPlan:
    """Return the plan that makes live state equal to desired state.

    ``limits`` are the applied quotas, ``rotate`` the stream keys that this run was asked to rotate, ``now`` the current time.
    ``adopt`` has explicit consents: the ARN of the unowned resource to adopt for an address.
    ``recorded`` has the ARNs that addresses had after the last apply.
    Raises ``AdoptionError`` for consents that cannot apply to anything.
    """
    owned = classify(desired, live, options, adopt, recorded)
    kept, choices = choose_resources(desired, owned, live.last_streams)
    inputs = PlanInputs(desired, live, options, owned, kept, choices, limits, rotate, now)
    decisions, defaults = decide(inputs), _defaults(inputs)
    removed = removals(inputs, decisions)
    drafts = (*decisions, *removed.retagged, *removed.deletes)
    free = {kind: limit - len(live.of(kind)) for kind, limit in limits.items()}
    planned = plan_steps(inputs, drafts, treatments(inputs, drafts, removed.in_use, free))
    known = {kind: places for kind, places in free.items() if kind not in live.unreadable}
    candidates = actions_of(planned, owned.users, known, pairs_by_public_key(live), limits)
    dropped, left_out = Selection({}, ())
    if options.has_globs:
        others = (*desired.resources, *(orphan.address for orphan in removed.orphans))
        dropped, left_out = select(candidates, options, others)
    actions = (
        with_verdicts(candidates, blocked_verdicts(candidates, {}, dropped), dropped) if dropped else tuple(candidates)
    )
    orphans = [orphan for orphan in removed.orphans if is_selected(options, orphan.address)]
    duplicates = [duplicate for duplicate in removed.duplicates if is_selected(options, duplicate.address)]
    # With a selection, the update of a replaced key pair counts for its address as well.
    due = candidates if options.has_globs else decisions
    changed = {one.address for one in due if one.verb not in (Verb.DELETE, Verb.FORGET)}
    return TargetPlan(
        name=target_name,
        account_id=live.account_id,
        region=live.region,
        spec_digest=desired.digest,
        actions=actions,
        summary=Summary(
            unchanged=sum(address not in changed and is_selected(options, address) for address in desired.resources),
            unmanaged=len(owned.unmanaged),
            orphaned=len(orphans),
            defaults=defaults,
        ).counting(actions),
        managed=owned.managed,
        desired_count=len(desired.resources),
        orphans=tuple(sorted(orphans, key=lambda orphan: (str(orphan.address), orphan.arn))),
        duplicates=tuple(sorted(duplicates, key=lambda duplicate: str(duplicate.address))),
        kept=tuple(one for one in removed.kept if is_selected(options, one.address)),
        notes=(
            *sorted(owned.notes),
            *sorted(removed.notes),
            *sorted(stream_keys.waiting_notes(inputs)),
            *_owning_nothing(options, owned),
            *left_out,
        ),
        unmanaged=tuple(resource.as_unmanaged() for resource in owned.unmanaged),
        not_read=tuple(kind for kind in KINDS if kind in live.not_read),
        adopt=tuple(Adoption(address, arn) for address, arn in sorted(adopt.items())),
    )


def _owning_nothing(options: PlanOptions, owned: Ownership) -> Iterator[str]:
    """Yield a note for each stack to take over that owns nothing: it may be misspelt."""
    owners = {resource.tags.get(STACK) for resource in owned.unmanaged} if options.take_over else ()
    for stack in dict.fromkeys(options.take_over):
        if stack not in owners and not stack.startswith(PREFIX):
            yield f"--take-over {stack}: stack {stack} owns no resource of the kinds that were read"


def managed_resources(desired: DesiredState, live: LiveState) -> dict[Address, LiveResource]:
    """Return the live resource of each address that this stack manages; of duplicates, the one that a plan keeps.

    A resource whose creation failed is not included, because it can only be deleted.
    """
    options = PlanOptions()
    owned = classify(desired, live, options, _NO_ARNS)
    kept, choices = choose_resources(desired, owned, live.last_streams)
    inputs = PlanInputs(desired, live, options, owned, kept, choices)
    found = {address: resource for address, resource in kept.items() if not has_failed(resource)}
    for address, resource in desired.resources.items():
        if address.kind in CHILD_KINDS and (channel := found.get(parent_of(address))):
            key, owner = stream_keys.key_of_channel(inputs, resource, channel.arn)
            if key is not None and owner == desired.stack:
                found[address] = key
    return found


def decide(inputs: PlanInputs) -> tuple[Decision, ...]:
    """Return a decision for each resource of the spec that is out of sync, in the order of kinds and ids."""
    by_kind: dict[KindName, list[DesiredResource]] = {kind: [] for kind in KINDS}
    for address, resource in inputs.desired.resources.items():
        by_kind[address.kind].append(resource)
    bindings: dict[Address, str | Ref | None] = {}
    decisions: list[Decision] = []
    for name, resources in by_kind.items():
        resources.sort(key=lambda resource: resource.address.id)
        for resource in resources:
            decision = (
                stream_keys.decide(inputs, resource, bindings)
                if name in CHILD_KINDS
                else _decide(inputs, resource, bindings)
            )
            if decision is not None:
                decisions.append(decision)
                bindings[resource.address] = _binding(decision)
            elif name not in CHILD_KINDS:
                bindings[resource.address] = inputs.kept[resource.address].arn
    return tuple(decisions)


def _decide(inputs: PlanInputs, resource: DesiredResource, bindings: Bindings) -> Decision | None:
    live = inputs.kept.get(resource.address)
    wanted = _resolved(resource.properties, bindings)
    if resource.address in inputs.owned.contested:
        return _contested(inputs, resource, live, wanted)
    if live is None:
        consent = inputs.owned.consents.get(resource.address) or inputs.owned.untagged.get(resource.address)
        return (
            _create(inputs, resource, wanted, bindings)
            if consent is None
            else _adopt(inputs, resource, consent, wanted, bindings)
        )
    if resource.ignore:
        wanted = effective_properties(resource.address.kind, live.properties, wanted, resource.ignore)
    unknown = _not_comparable(inputs, live, wanted, bindings) if inputs.live.unreadable else {}
    if unknown:
        wanted = {**wanted, **unknown}
    if wanted == live.properties and live.tags == resource.tags and not has_failed(live):
        return None
    kind = KINDS[resource.address.kind]
    fields = compare(kind.name, live.properties, wanted)
    tags = compare_tags(live.tags, resource.tags, resource.ignore, inputs.desired.ignore_tags)
    if unknown:
        # The tag of the applied spec would claim more than is known.
        tags = tuple(change for change in tags if change.tag != SPEC)
    names, keys = names_of(fields), keys_of(tags)
    if has_failed(live):
        return _replace(
            inputs,
            resource,
            live,
            wanted,
            (*fields, *tags),
            Reason.CREATE_FAILED,
            f"creation failed in {kind.service.title} (state {live.state}); will be recreated",
        )
    if fields and kind.update is None:
        explanation = (
            f"{names} cannot be changed in place: {kind.service.title} has no operation that updates a {kind.title}"
        )
        return _replace(inputs, resource, live, wanted, (*fields, *tags), Reason.IMMUTABLE_CHANGED, explanation)
    if not fields and not tags:
        return None
    reason, explanation = why_different(names, keys)
    if former := moved_from(inputs.desired.moved, resource.address, live):
        others = [key for key in keys if key not in (ID, SPEC)]
        differ = f"; {why_different(names, others)[1]}" if names or others else ""
        reason, explanation = Reason.MOVED, f"moved from {former}{differ}"
    return Decision(
        resource.address,
        Verb.UPDATE,
        reason,
        explanation,
        live=live,
        desired=resource,
        wanted=wanted,
        changes=(*fields, *tags),
        blocked=_missing(resource.address.kind, wanted, bindings),
        warnings=(
            f"{', '.join(unknown)} cannot be compared: the resource it refers to could not be read; it is not changed",
        )
        if unknown
        else (),
    )


def _contested(
    inputs: PlanInputs, resource: DesiredResource, live: LiveResource | None, wanted: Mapping[str, Value]
) -> Decision:
    """Return the blocked rename of an address to one that has a resource of its own, or of several addresses to one."""
    others = inputs.owned.contested[resource.address]
    named = " and ".join(f"{Address(one.kind, one.tags[ID])} ({one.arn})" for one in others)
    if live is not None:
        why = f"{resource.address} exists ({live.arn}), and so does what is moved to it: {named}"
    else:
        why = f"several resources are moved to it: {named}"
    return Decision(
        resource.address,
        Verb.UPDATE,
        Reason.MOVED,
        "the move is ambiguous",
        live=live or others[0],
        desired=resource,
        wanted=wanted,
        blocked=Blocked("moved", f"{why}; remove the wrong line from moved"),
    )


def _create(inputs: PlanInputs, resource: DesiredResource, wanted: Mapping[str, Value], bindings: Bindings) -> Decision:
    kind = KINDS[resource.address.kind]
    blocked = _missing(resource.address.kind, wanted, bindings)
    namesakes = inputs.owned.namesakes.get(resource.address, ())
    warnings: tuple[str, ...] = ()
    same_key = bool(namesakes) and has_same_key(resource, namesakes[0])
    if kind.unique and resource.public_key is None and not same_key:
        blocked = without_public_key(resource, namesakes)
    elif namesakes and (same_key or not is_beside(inputs.options, resource.address)):
        rivals = inputs.owned.rivals.get(resource.address, ())
        blocked = beside_namesakes(resource, namesakes, rivals, inputs.desired.stack)
    elif (renamed := inputs.owned.renamed.get(resource.address)) and not is_beside(inputs.options, resource.address):
        blocked = beside_renamed(resource, renamed)
    elif former := inputs.owned.lookalikes.get(resource.address):
        keeps = "its ARN, its playback URL and its stream key" if kind.live else "its ARN"
        hint = f"if this is {former} with a new id, write moved: {{{former}: {resource.address}}} into the spec; it then keeps {keeps}"
        warnings = (hint,)
    explanation = ""  # the verb, or why it is blocked, says it
    if kind.name in inputs.live.unreadable:
        explanation = "unknown whether it exists; references to its kind are not changed"
        blocked = Blocked(
            "unreadable",
            f"{kind.titles} could not be read ({inputs.live.unreadable[kind.name]}); correct that, then run plan again",
        )
    return Decision(
        resource.address,
        Verb.CREATE,
        Reason.NOT_IN_ACCOUNT,
        explanation,
        desired=resource,
        wanted=wanted,
        changes=additions(kind.name, wanted, resource.tags),
        blocked=blocked,
        warnings=warnings,
    )


def _adopt(
    inputs: PlanInputs, resource: DesiredResource, live: LiveResource, wanted: Mapping[str, Value], bindings: Bindings
) -> Decision:
    kind = KINDS[resource.address.kind]
    wanted = effective_properties(kind.name, live.properties, wanted, resource.ignore)
    fields = compare(kind.name, live.properties, wanted)
    blocked = _missing(resource.address.kind, wanted, bindings)
    tags = compare_tags(live.tags, resource.tags, resource.ignore, inputs.desired.ignore_tags)
    reason, explanation = Reason.CONSENTED, f"adopts {live.arn}{owner_phrase(live, inputs)}"
    if inputs.owned.untagged.get(resource.address) is live:
        reason, explanation = Reason.OWNER_TAGS_LOST, f"{live.arn} lost its owner tags since the last apply"
    if resource.address not in inputs.owned.consents:
        blocked, fields = (
            Blocked("unmanaged", f"to restore its owner tags, run adopt {resource.address} {live.arn}, or use --adopt"),
            (),
        )
    elif not may_adopt(live.tags.get(STACK, ""), inputs):
        owner = live.tags[STACK]
        blocked = Blocked(
            "unmanaged",
            f"{live.arn} is owned by another stack (tag {STACK}={owner}); forget it in that stack, or use --take-over {owner}",
        )
    elif not live.complete:
        blocked = Blocked("unreadable", f"{live.arn} was not read in full, so it cannot be adopted")
    elif has_failed(live):
        blocked = Blocked(
            "unmanaged",
            f"{live.arn} is in state {live.state}, which is unusable; delete it, and it will be created from the spec",
        )
    elif fields and kind.update is None:
        blocked = Blocked(
            "unmanaged",
            f"{live.arn} differs in {names_of(fields)}, which cannot be changed in place; write the live values into the spec, adopt it, then change the spec",
        )
    elif (
        (lost := adoption_losses(fields, tags)) and reason is Reason.CONSENTED and not inputs.options.adopt_with_changes
    ):
        blocked = Blocked(
            "unmanaged",
            f"{live.arn} differs in {lost}; write the live values into the spec, adopt it, then change the spec, or use --adopt-with-changes",
        )
    return Decision(
        resource.address,
        Verb.ADOPT,
        reason,
        explanation,
        live=live,
        desired=resource,
        wanted=wanted,
        changes=(*fields, *tags),
        blocked=blocked,
    )


def _replace(
    inputs: PlanInputs,
    resource: DesiredResource,
    live: LiveResource,
    wanted: Mapping[str, Value],
    changes: tuple[FieldChange, ...],
    reason: Reason,
    explanation: str,
) -> Decision:
    blocked = None
    if is_protected(live) or resource.protect:
        blocked = Blocked(
            "protected",
            f"{resource.address} is protected and would be replaced; set protect: false, apply, then change it",
        )
    elif former := moved_from(inputs.desired.moved, resource.address, live):
        lines = "; ".join(f"{change.field}: {as_json(change.before)}" for change in changes if not change.tag)
        blocked = Blocked(
            "moved",
            f"moved from {former}, and would be replaced; write the live values into the spec ({lines}), apply, then change it",
        )
    elif KINDS[live.kind].unique and resource.public_key is None:
        blocked = Blocked(
            "no-public-key",
            f"its public key is not in the spec, so it cannot be imported; write publicKeyMaterial, or restore the live {names_of(changes)}",
        )
    elif why := unseen_users(inputs, live.kind):
        blocked = Blocked("unreadable", why)
    return Decision(
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


def _binding(decision: Decision) -> str | Ref | None:
    """Return the ARN that references to a resource resolve to: known, bound by this plan, or ``None`` if the resource will not exist."""
    match decision.verb:
        case Verb.CREATE:
            return None if decision.blocked else Ref(decision.address)
        case Verb.REPLACE if decision.blocked is None:
            return Ref(decision.address)
        case Verb.REPLACE if decision.reason is Reason.CREATE_FAILED:
            return None
        case Verb.UPDATE if (
            decision.blocked is not None
            and decision.blocked.code == "moved"
            and (decision.live is None or decision.live.tags.get(ID) != decision.address.id)
        ):
            return None  # several are moved to it
        case Verb.ADOPT if decision.blocked is not None and decision.reason is not Reason.OWNER_TAGS_LOST:
            return None
        case _:
            return decision.live.arn if decision.live else None


def _resolved(properties: Mapping[str, Value], bindings: Bindings) -> Mapping[str, Value]:
    """Replace each reference to something that stays by its ARN."""
    known = {
        name: resolved
        for name, value in properties.items()
        if not isinstance(value, str | bool | int) and (resolved := resolve(value, bindings)) is not value
    }
    return {**properties, **known} if known else properties


def _not_comparable(
    inputs: PlanInputs, live: LiveResource, wanted: Mapping[str, Value], bindings: Bindings
) -> dict[str, Value]:
    """Return the live values of references that cannot be compared, because the resource they refer to could not be read."""
    return {
        field.name: live.properties[field.name]
        for field in REFERENCES[live.kind]
        if field.name in live.properties
        and any(
            isinstance(ref, Ref) and ref.address.kind in inputs.live.unreadable and bindings.get(ref.address) is None
            for ref in field.referred(wanted.get(field.name))
        )
    }


def _missing(kind: KindName, wanted: Mapping[str, Value], bindings: Bindings) -> Blocked | None:
    """Return a block if the resource depends on something that will not exist."""
    lacking = [
        str(ref.address)
        for ref in references_in(kind, wanted)
        if isinstance(ref, Ref) and bindings.get(ref.address) is None
    ]
    if not lacking:
        return None
    return Blocked("depends", f"depends on {', '.join(lacking)}, which is blocked")


def _defaults(inputs: PlanInputs) -> int:
    """Count the fields that neither the spec nor the live resource sets, so that the AWS default applies."""
    widths = {kind: len(fields) for kind, fields in FIELDS.items()}
    desired = inputs.desired.resources
    return sum(
        widths[address.kind] - len(resource.properties.keys() | desired[address].properties.keys())
        for address, resource in inputs.kept.items()
        if address in desired
    )
