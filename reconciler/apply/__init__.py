"""Carrying out a plan: its steps are run, each as soon as what it needs is done, and every outcome is recorded as it happens.

Nothing is decided here. The plan says which calls are made and what waits for what; this room makes them.
One failure stops what waits for it, and nothing else.
"""

from reconciler.apply.events import ActionFinished, Event, StepFinished, StepStarted, StepWaiting, events_json
from reconciler.apply.run import execute
from reconciler.apply.step import WriteCalls

__all__ = ["ActionFinished", "Event", "StepFinished", "StepStarted", "StepWaiting", "WriteCalls", "events_json", "execute"]
