"""Key pairs that were replaced and stay for a while, so that tokens signed with the old key count until they have run out.

A tag on the old pair says until when. The plan knows what time it is because it is told; nothing here looks at a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from reconciler.diff import FieldChange, escape
from reconciler.model.address import Address, KindName
from reconciler.model.resource import LiveResource
from reconciler.model.tags import RETIRES
from reconciler.plan.actions import Reason, Step, TargetPlan, Verb
from reconciler.plan.draft import Draft, Scene
from reconciler.plan.reasons import is_protected

_PATH = "/tags/" + escape(RETIRES)


def until_of(pair: LiveResource) -> datetime | None:
    """Return until when a pair is kept beside the one that replaced it, or ``None`` where its tags say nothing that can be read."""
    try:
        until = datetime.fromisoformat(pair.tags[RETIRES])
    except (KeyError, ValueError):
        return None
    return until if until.tzinfo is not None else until.replace(tzinfo=UTC)


def stamp(scene: Scene, overlap: int) -> str:
    """Return until when a pair that is replaced now is kept."""
    return _text(scene.now + timedelta(seconds=overlap))


def length(seconds: int) -> str:
    """Return a length of time as the spec writes it."""
    return f"{seconds // 86_400}d" if seconds % 86_400 == 0 else f"{seconds // 3_600}h"


def leftover(scene: Scene, address: Address, pair: LiveResource) -> tuple[Draft | None, str] | None:
    """Return what is due for a pair that another one took the place of, and what is to be noted; ``None`` where it is no matter of time."""
    if pair.kind is not KindName.PLAYBACK_KEY_PAIR:
        return None
    until, kept = until_of(pair), scene.kept[address]
    if until is not None and until > scene.now:
        return (
            None,
            f"{address}: {pair.arn} gave way to {kept.arn} and is kept beside it until {_text(until)}, for tokens that are signed with its key",
        )
    if until is not None and not is_protected(pair):
        why = f"it gave way to {kept.arn}, and the time that it was kept beside it ended at {_text(until)}"
        return Draft(address, Verb.DELETE, Reason.RETIRED, why, live=pair, wanted=pair.properties), ""
    overlap = scene.desired.resources[address].overlap
    if until is None and overlap:
        change = FieldChange(_PATH, None, stamp(scene, overlap), absent_before=True)
        why = f"it gave way to {kept.arn}, and is kept beside it for {length(overlap)}"
        return Draft(
            address, Verb.UPDATE, Reason.RETIRING, why, live=pair, wanted=pair.properties, changes=(change,)
        ), ""
    return None


def is_leftover(pair: LiveResource) -> bool:
    """Whether the pair's own tags say that it gave way to another."""
    return pair.kind is KindName.PLAYBACK_KEY_PAIR and until_of(pair) is not None


def counted_anew(plan: TargetPlan, later: timedelta) -> TargetPlan:
    """Return a plan that is applied so much later than it was made: pairs are kept from then on."""
    return replace(
        plan,
        actions=tuple(
            replace(action, steps=tuple(_moved(step, later) for step in action.steps)) for action in plan.actions
        ),
    )


def _moved(step: Step, later: timedelta) -> Step:
    tags = step.parameters.get("tags")
    if not isinstance(tags, Mapping) or RETIRES not in tags:
        return step
    until = datetime.fromisoformat(str(tags[RETIRES])) + later
    return replace(step, parameters={**step.parameters, "tags": {**tags, RETIRES: _text(until)}})


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
