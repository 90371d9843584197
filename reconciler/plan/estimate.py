"""How long calls take at a given pace: what is said before the question, and shown while work runs.

Operations have rates of their own and run beside one another, so the slowest of them, the narrow one, decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reconciler.model.address import KindName
from reconciler.model.resource import DesiredState
from reconciler.plan.actions import TargetPlan

_LIST_PAGE = 100
_BATCH = 50


@dataclass(frozen=True, slots=True)
class Expected:
    """The narrow operation, how many of its calls are left, how many are made a second, and how long that takes."""

    operation: str
    calls: int
    pace: float
    seconds: float


def expected(calls: Mapping[str, int], pace: Callable[[str], float]) -> Expected | None:
    """Return how long these calls take, or ``None`` when there are none."""
    found = [
        Expected(operation, count, pace(operation), count / pace(operation))
        for operation, count in sorted(calls.items())
        if count > 0
    ]
    return max(found, key=lambda one: one.seconds, default=None)


def calls_of(plan: TargetPlan) -> Counter[str]:
    """Return how often each operation is called when the plan is carried out; waits count as one call."""
    return Counter(step.operation for action in plan.actions if action.blocked is None for step in action.steps)


def reads_of(desired: DesiredState) -> Counter[str]:
    """Return about how often each operation is called to read what the spec speaks of; what else is in the account comes on top."""
    count = Counter(address.kind for address in desired.resources)
    channels = count[KindName.CHANNEL]
    return Counter(
        {
            "ListChannels": -(-channels // _LIST_PAGE),
            "BatchGetChannel": -(-channels // _BATCH),
            "ListStreamKeys": count[KindName.STREAM_KEY],
            "GetRecordingConfiguration": count[KindName.RECORDING_CONFIGURATION],
            "GetPlaybackKeyPair": count[KindName.PLAYBACK_KEY_PAIR],
        }
    )
