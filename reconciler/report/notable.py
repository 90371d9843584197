"""What a reviewer must see before anything else, for every view alike.

Comes in: a target's plan. Goes out: its actions in groups, each action in the first group that fits: deleted, replaced, blocked, touching keys.
A blocked action will not be carried out, so it stands under "blocked" whatever it would have done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from reconciler.model.address import KindName
from reconciler.model.kinds import KINDS
from reconciler.plan.actions import Action, TargetPlan, Verb

KEY_KINDS = frozenset({KindName.STREAM_KEY, KindName.PLAYBACK_KEY_PAIR})
"""The kinds that are credentials: whoever holds one can broadcast, or can let viewers in."""


class Notice(StrEnum):
    """Why an action is listed first, in order of weight. The value is the heading."""

    DELETED = "Deleted"
    REPLACED = "Replaced"
    BLOCKED = "Blocked, not carried out"
    KEYS = "Keys"


@dataclass(frozen=True, slots=True)
class Notable:
    """One group. ``also`` counts actions that belong here too but already stand in a group before."""

    notice: Notice
    actions: tuple[Action, ...]
    also: int = 0

    @property
    def title(self) -> str:
        """The heading with its count; it says where the rest of the keys is."""
        more = f" (and {self.also:,} listed above)" if self.also else ""
        return f"{self.notice.value}: {len(self.actions):,}{more}"


def notice_of(action: Action) -> Notice | None:
    """Return why an action is listed first, or ``None``."""
    if action.blocked:
        return Notice.BLOCKED
    if action.verb is Verb.DELETE:
        return Notice.DELETED
    if action.verb is Verb.REPLACE:
        return Notice.REPLACED
    return Notice.KEYS if action.kind in KEY_KINDS else None


def notables(target: TargetPlan) -> tuple[Notable, ...]:
    """Return the groups that have anything in them, heaviest first."""
    sorted_out: dict[Notice, list[Action]] = {notice: [] for notice in Notice}
    also = 0
    for action in target.actions:
        notice = notice_of(action)
        if notice is not None:
            sorted_out[notice].append(action)
            also += notice is not Notice.KEYS and action.kind in KEY_KINDS
    groups = (
        Notable(notice, tuple(actions), also if notice is Notice.KEYS else 0) for notice, actions in sorted_out.items()
    )
    return tuple(group for group in groups if group.actions or group.also)


def tally(target: TargetPlan) -> Mapping[KindName, Counter[Verb | None]]:
    """Return, for each kind that has actions, how many of each verb, and under ``None`` how many are blocked; kinds in the order of creation."""
    counts: dict[KindName, Counter[Verb | None]] = {kind: Counter() for kind in KINDS}
    for action in target.actions:
        counts[action.kind][None if action.blocked else action.verb] += 1
    return {kind: verbs for kind, verbs in counts.items() if verbs}
