"""Desired and live state in, the plan of one target out.

The order of questions: whose is it, which one is meant, what is due and why, what has to stay, which calls, what waits for what.
Nothing is read and nothing is run here; the same two states give the same plan, to the byte, whatever order they came in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from reconciler.model.address import Address, KindName
from reconciler.model.kinds import FIELDS, KINDS
from reconciler.model.quotas import DEFAULTS
from reconciler.model.resource import DesiredState, LiveState
from reconciler.plan.actions import Action, PlanOptions, Step, Summary, TargetPlan
from reconciler.plan.decide import decide
from reconciler.plan.delivery import NOTHING, Rotate
from reconciler.plan.draft import BEGINNING, Draft, Scene, channel_of
from reconciler.plan.duplicates import is_unsettled, settle
from reconciler.plan.hold import counted
from reconciler.plan.order import Planned, action_key, link
from reconciler.plan.ownership import classify
from reconciler.plan.remove import Removals, held, removals
from reconciler.plan.replace import arrange, holders, slots
from reconciler.plan.select import select
from reconciler.plan.steps import steps_for
from reconciler.plan.stream_keys import waiting_notes

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
