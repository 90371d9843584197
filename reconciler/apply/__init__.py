"""Carrying out a plan: its steps are run, each as soon as what it needs is done, and every outcome is recorded as it happens.

Nothing is decided here. The plan says which calls are made and what waits for what; this room makes them.
One failure stops what waits for it, and nothing else.
"""

from reconciler.apply.attempt import WriteCalls
from reconciler.apply.events import ActionFinished, Event, Forecast, StepFinished, StepStarted, StepWaiting, events_json
from reconciler.apply.lookout import Lookout
from reconciler.apply.run import execute

__all__ = [
    "ActionFinished",
    "Event",
    "Forecast",
    "Lookout",
    "StepFinished",
    "StepStarted",
    "StepWaiting",
    "WriteCalls",
    "events_json",
    "execute",
]
