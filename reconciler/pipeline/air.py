"""Asks what is on air where a plan touches channels, and has the plan take that into account."""

from __future__ import annotations

from dataclasses import replace

from reconciler.live.answer import ReadCalls
from reconciler.live.reader import read_stream_keys, read_streams
from reconciler.plan.actions import TargetPlan
from reconciler.plan.live_streams import Broadcasts, LiveRules, needs_streams, to_stop, with_streams, with_unknown_named


def heeding_streams(plan: TargetPlan, rules: LiveRules, calls: ReadCalls) -> TargetPlan:
    """Return the plan with channels on air taken into account. Nothing is asked when no channel is touched that may be on air. Raises ``AwsError``."""
    plan = with_unknown_named(plan, rules)
    if not needs_streams(plan):
        return replace(plan, wait_live=rules.wait_seconds)
    streams = read_streams(calls)
    keys = {arn: read_stream_keys(calls, arn) for arn in to_stop(plan, streams, rules)}
    return with_streams(plan, Broadcasts(streams, keys), rules)
