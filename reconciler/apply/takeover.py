"""What a create does beside creating: reading its answer, taking over what is there, withdrawing what is one too many, and saying what cannot be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.apply.attempt import CONFLICT, NOT_FOUND, Attempt, Bound
from reconciler.apply.claim import Claim
from reconciler.apply.lookout import Lookout, Sighting
from reconciler.errors import AwsError
from reconciler.model.address import Address
from reconciler.model.kinds import STREAM_KEY, Kind
from reconciler.model.tags import comparable
from reconciler.model.values import Value

UNREADABLE = "UnreadableAnswer"
_GIVE_UP_SECONDS = 90.0
"""How long something is waited for that is still being made and so cannot be deleted."""


def found_in(attempt: Attempt, data: Mapping[str, object], path: str) -> str:
    """Return the ARN at a path of an answer. Raises ``AwsError`` where the answer does not hold it."""
    found: object = data
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    if not isinstance(found, str):
        raise attempt.error(
            f"AWS carried it out, but the answer holds no {path}; plan again to find what was made", UNREADABLE
        )
    return found


def withdraw(attempt: Attempt, kind: Kind, claim: Claim, arn: str) -> bool:
    """Delete what this run made and another run made too, and say whether it is gone. Raises ``AwsError``.

    AWS refuses while it is still being made, which passes, and while it is in use or live, which is a reason to leave it.
    """
    now = attempt.context.clock
    try:
        attempt.call(kind.delete, {"arn": arn})
    except AwsError as error:
        attempt.note(error)
        if error.code == CONFLICT:
            settled = all(state in ("", kind.ready, kind.failed) for seen, state in claim.seen if seen == arn)
            claim.held = settled or now() - claim.since >= _GIVE_UP_SECONDS
            return False
        if error.code != NOT_FOUND:
            raise uncounted(error) from None
    claim.took_back(arn, now())
    return True


def complete_tags(attempt: Attempt, seen: Sighting, tags: Mapping[str, str]) -> None:
    """Write the tags that a resource taken over lacks. Raises ``AwsError``."""
    there = comparable(seen.tags)
    lacking: dict[str, Value] = {key: value for key, value in tags.items() if there.get(key) != value}
    if lacking:
        attempt.call("TagResource", {"resourceArn": seen.arn, "tags": lacking})


def bound_to(attempt: Attempt, lookout: Lookout, arn: str) -> dict[Address, Bound]:
    """Return what a step binds when its resource is this one; the stream key that was born with a channel is looked up. Raises ``AwsError``."""
    now = attempt.context.clock()
    bound: dict[Address, Bound] = {}
    for text in attempt.step.binds:
        address = Address.parse(text)
        if address == attempt.address:
            bound[address] = Bound(arn, now)
        elif keys := lookout.keys_of(STREAM_KEY, arn):
            bound[address] = Bound(keys[0].arn, now)
    return bound


def undecided(lost: AwsError | None, why: str, candidates: Sequence[Sighting], claim: Claim) -> str:
    """Say what is not known, and what there is to choose from."""
    head = f"{lost}; whether it was carried out is not known, {why}" if lost else why
    if not candidates:
        return f"{head}. It carries our tags: wait half a minute, so that the list shows what was made, if anything was, and plan again"
    said = "; ".join(f"{seen}{_unlike(seen, claim)}" for seen in candidates)
    return f"{head}: {said}. Delete the one that is not wanted, or plan again with --prune"


def uncounted(error: AwsError) -> AwsError:
    """Return an error whose requests were counted already."""
    error.calls = 0
    return error


def _unlike(seen: Sighting, claim: Claim) -> str:
    tags = comparable(seen.tags)
    differing = sorted(key for key in tags.keys() | claim.tags.keys() if tags.get(key) != claim.tags.get(key))
    return f", differing in tags {', '.join(differing)}" if differing else ""
