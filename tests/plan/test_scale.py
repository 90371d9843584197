"""What planning may cost, counted and not timed; a generous ceiling on time keeps out what grows with the square."""

from __future__ import annotations

import time

from reconciler.plan.decide import build_plan
from reconciler.plan.live_channels import needs_streams
from reconciler.plan.plan import PlanOptions, Verb
from tests.builders import desired, live, of, refs, wanted
from tests.plan.service import in_order

ARCHIVE = wanted("recording-configuration/archive", {"recordingReconnectWindowSeconds": 60})
CHANNELS = [
    wanted(f"channel/c{number}", refs(recordingConfigurationArn="recording-configuration/archive"))
    for number in range(3000)
]


def test_thousands_of_channels_in_order_are_planned_in_no_time() -> None:
    spec, now = desired(ARCHIVE, *CHANNELS), live(of(ARCHIVE), *(of(channel) for channel in CHANNELS))
    started = time.process_time()
    plan = build_plan(spec, now, PlanOptions(), target_name="prod")
    assert not plan.actions
    assert not needs_streams(plan.actions)
    assert time.process_time() - started < 2


def test_a_replacement_under_thousands_of_channels_stays_linear() -> None:
    spec = desired(ARCHIVE, *CHANNELS)
    now = live(of(ARCHIVE, changed={"recordingReconnectWindowSeconds": 0}), *(of(channel) for channel in CHANNELS))
    started = time.process_time()
    plan = build_plan(spec, now, PlanOptions(), target_name="prod")
    steps = in_order(plan.actions)
    assert time.process_time() - started < 5
    assert len(steps) == 3 + len(CHANNELS)
    assert steps[-1].operation == "DeleteRecordingConfiguration"
    assert len(steps[-1].after) == 1 + len(CHANNELS)
    assert sum(action.verb is Verb.UPDATE for action in plan.actions) == len(CHANNELS)
    assert needs_streams(plan.actions)
