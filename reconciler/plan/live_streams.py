"""Channels on air: a change that IVS would refuse, or that would end a broadcast, is blocked and says who is watching.

Service facts: a live channel can be neither updated nor deleted, and nobody can reconnect with a stream key that was deleted (service model).
Tags may be edited at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import assert_never

from reconciler.model.address import KindName
from reconciler.model.kinds import CHANNEL, STREAM_KEY
from reconciler.model.resource import Stream
from reconciler.model.target import OnLive
from reconciler.plan.actions import Action, Blocked, TargetPlan
from reconciler.plan.hold import counted, hold

_TOUCHING = frozenset({CHANNEL.update, CHANNEL.delete, STREAM_KEY.delete})


def needs_streams(plan: TargetPlan) -> bool:
    """Whether the plan touches a channel in a way that matters to a running broadcast, so that somebody has to ask what is on air."""
    return any(_channel(action) for action in plan.actions)


def with_streams(plan: TargetPlan, streams: Mapping[str, Stream], on_live: OnLive) -> TargetPlan:
    """Return the plan with what running broadcasts forbid held back. ``streams`` are the running broadcasts by the ARN of their channel."""
    match on_live:
        case OnLive.BLOCK:
            blocks = {
                index: Blocked("live", _on_air(streams[arn])) for index, action in enumerate(plan.actions) if (arn := _channel(action)) and arn in streams
            }
        case _:
            assert_never(on_live)
    if not blocks:
        return plan
    actions = hold(plan.actions, blocks)
    return replace(plan, actions=actions, summary=counted(plan.summary, actions))


def _channel(action: Action) -> str:
    """Return the ARN of the channel whose broadcast an action would disturb, or nothing."""
    if action.kind not in (KindName.CHANNEL, KindName.STREAM_KEY) or not any(step.operation in _TOUCHING for step in action.steps):
        return ""
    if action.kind is KindName.CHANNEL:
        return action.arn or ""
    return str(action.observed.properties.get("channelArn", "")) if action.observed else ""


def _on_air(stream: Stream) -> str:
    viewers = "an unknown number of viewers" if stream.viewers < 0 else "1 viewer" if stream.viewers == 1 else f"{stream.viewers:,} viewers"
    return f"on air since {stream.started_at} with {viewers}; apply again when the stream has ended"
