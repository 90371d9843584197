"""Asks what is on air where a plan touches channels, and has the plan take that into account."""

from __future__ import annotations

from dataclasses import replace

from reconciler.errors import AwsError
from reconciler.live.answer import ReadCalls
from reconciler.live.reader import read_stream_keys, read_streams
from reconciler.live.unreadable import denied
from reconciler.model.resource import LiveResource
from reconciler.plan.actions import TargetPlan
from reconciler.plan.live_streams import (
    Broadcasts,
    LiveRules,
    needs_streams,
    to_stop,
    with_streams,
    with_unknown_named,
    without_streams,
)


def heeding_streams(plan: TargetPlan, rules: LiveRules, calls: ReadCalls) -> TargetPlan:
    """Return the plan with channels on air taken into account. Nothing is asked when no channel is touched that may be on air.

    A caller who may not see what is on air gets the rest of the plan. Raises ``AwsError`` for any other failure.
    """
    plan = with_unknown_named(plan, rules)
    if not needs_streams(plan):
        return replace(plan, wait_live=rules.wait_seconds)
    try:
        streams = read_streams(calls)
    except AwsError as error:
        return replace(without_streams(plan, denied(error)), wait_live=rules.wait_seconds)
    keys: dict[str, tuple[LiveResource, ...]] = {}
    hidden: dict[str, str] = {}
    for arn in to_stop(plan, streams, rules):
        try:
            keys[arn] = read_stream_keys(calls, arn)
        except AwsError as error:
            hidden[arn] = denied(error)
    return with_streams(plan, Broadcasts(streams, keys, hidden), rules)
