"""Runs a plan: each step as soon as the steps it needs are done; every outcome is recorded as it happens.

Decides nothing: the plan says which calls are made and what waits for what. A failure stops only what depends on it.
Imports ``plan`` and ``model``; AWS calls come in as an argument.
Read first: ``executor`` (the graph and its threads), then ``step``, ``call`` (one call, retried safely) and ``create``.
"""

from reconciler.apply.call import WriteCalls
from reconciler.apply.claims import NewResources
from reconciler.apply.events import ActionFinished, Event, Forecast, StepFinished, StepStarted, StepWaiting, events_json
from reconciler.apply.executor import execute

__all__ = [
    "ActionFinished",
    "Event",
    "Forecast",
    "NewResources",
    "StepFinished",
    "StepStarted",
    "StepWaiting",
    "WriteCalls",
    "events_json",
    "execute",
]
