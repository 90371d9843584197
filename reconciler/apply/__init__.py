"""Runs a plan: each step as soon as the steps it depends on are done; every outcome is reported as it happens.

Decides nothing: the plan says which calls are sent and in which order. A failure stops only what depends on it, an outage of AWS all that has not begun.
Imports ``plan`` and ``model``; AWS calls are an argument.
Read first: ``executor`` (the dependency graph and its threads), then ``step``, ``call`` (one step's calls and retries) and ``create``.
"""

from reconciler.apply.call import WriteCalls
from reconciler.apply.claims import NewResources
from reconciler.apply.events import (
    ActionFinished,
    Event,
    Forecast,
    StepFinished,
    StepStarted,
    StepWaiting,
    events_json,
    result_json,
)
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
    "result_json",
]
