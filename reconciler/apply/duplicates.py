"""The check for duplicate channels at the end of an apply: did a concurrent apply create the same ones?

Only a stream key refers to a channel, so all channels are checked together at the end, with one list.
Duplicates are resolved by the rules of ``claims``, several at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import assert_never

from reconciler.apply.call import LAG_SECONDS, Attempt, Bound, Context, InterruptedStepError, backoff
from reconciler.apply.claims import (
    Absent,
    DeleteOwn,
    Keep,
    ListedResource,
    NewResources,
    Undecidable,
    Verdict,
    Wait,
    decide,
)
from reconciler.apply.create import Creation, DeferredCheck, bind_existing, delete_own, undecided_message
from reconciler.errors import AwsError
from reconciler.model.address import Address
from reconciler.model.kinds import KINDS

_PARALLEL_CALLS = 3
_LONGEST_DELAY = 8.0


@dataclass(slots=True)
class Resolution:
    """The result for one channel that a concurrent apply created too: what its step binds now, or why it could not be resolved."""

    check: DeferredCheck
    bound: dict[Address, Bound] = field(default_factory=dict)
    message: str = ""
    failure: AwsError | None = None


def resolve_duplicates(
    checks: Iterable[DeferredCheck], context: Context, new_resources: NewResources
) -> list[Resolution]:
    """List until no created channel has a duplicate; return the results for those that had one. Ends early when interrupted."""
    return _Resolver(list(checks), context, new_resources).run()


class _Resolver:
    """The checks that are open, and the results so far."""

    def __init__(self, checks: list[DeferredCheck], context: Context, new_resources: NewResources) -> None:
        self._open = checks
        self._context = context
        self._new_resources = new_resources
        self._resolutions: list[Resolution] = []
        self._changed_at = context.clock()
        self._began = context.clock()

    def run(self) -> list[Resolution]:
        for delay in backoff(_LONGEST_DELAY):
            if not self._open or self._context.stop.is_set():
                break
            why = self._check_once()
            if self._open and why:
                try:
                    self._open[0].attempt.wait(delay * (0.5 + self._context.draw()), why)
                except InterruptedStepError:
                    break
        return self._resolutions

    def _check_once(self) -> str:
        """List once and act on it; return why to wait before the next list, or nothing to list again at once."""
        now = self._context.clock
        try:
            found = {
                Address(kind, identifier): resources
                for kind in dict.fromkeys(check.claim.address.kind for check in self._open)
                for identifier, resources in self._new_resources.list_kind(KINDS[kind]).items()
            }
        except AwsError as error:
            # AWS answered each of these creates; only the check failed, and without credentials it would fail for ever.
            if not error.retryable or now() - self._began >= LAG_SECONDS:
                self._open = []
            return "listing failed"
        for check in self._open:
            before = check.claim.changed_at
            check.claim.record_list(found.get(check.claim.address, ()), now())
            if check.claim.changed_at != before:
                self._changed_at = now()
        # While other claims change, the other apply is alive: nothing is deleted that it still works on.
        patient = now() - self._changed_at < LAG_SECONDS
        verdicts = [
            (check, decide(check.claim, found.get(check.claim.address, ()), patient=patient)) for check in self._open
        ]
        self._open = [check for check, verdict in verdicts if isinstance(verdict, Wait | DeleteOwn)]
        calls = [call for check, verdict in verdicts if (call := self._call_for(check, verdict)) is not None]
        if calls:
            with ThreadPoolExecutor(_PARALLEL_CALLS, thread_name_prefix="duplicates") as pool:
                for future in [pool.submit(call) for call in calls]:
                    future.result()
            self._changed_at = now()
        return next((verdict.why for _, verdict in verdicts if isinstance(verdict, Wait)), "")

    def _call_for(self, check: DeferredCheck, verdict: Verdict) -> Callable[[], None] | None:
        """Return the calls that follow from a verdict, to be made in a thread."""
        match verdict:
            case Keep(arn):
                return (lambda: self._bind(check, arn)) if arn != check.arn else None
            case DeleteOwn(arn):
                return lambda: self._delete(check, arn)
            case Absent():
                return lambda: self._create_again(check)
            case Undecidable(candidates):
                self._fail(check, candidates)
                return None
            case Wait():
                return None
            case _ as never:
                assert_never(never)

    def _delete(self, check: DeferredCheck, arn: str) -> None:
        try:
            delete_own(check.attempt, KINDS[check.claim.address.kind], check.claim, arn)
        except AwsError:
            check.claim.delete_refused = True  # it is kept for now, and named in the outcome if it has to stay

    def _bind(self, check: DeferredCheck, arn: str) -> None:
        why = "it was created twice" if arn == check.claim.own else "another apply created it too"
        resolution = Resolution(check, message=f"{why}: kept {arn}, deleted the other")
        self._resolutions.append(resolution)
        try:
            resolution.bound = bind_existing(check.attempt, self._new_resources, arn)
        except AwsError as error:
            resolution.failure = error

    def _create_again(self, check: DeferredCheck) -> None:
        attempt = Attempt(check.attempt.step, check.attempt.address, self._context, self._context.clock())
        creation = Creation.of(attempt, KINDS[check.claim.address.kind], attempt.parameters(), self._new_resources)
        creation.claim.deleted |= check.claim.deleted
        try:
            bound = dict(creation.run_again())
        except (AwsError, InterruptedStepError) as error:
            failure = error if isinstance(error, AwsError) else attempt.error(str(error), "Stopped")
            self._resolutions.append(Resolution(check, failure=failure))
            return
        if creation.deferred is None:
            self._resolutions.append(Resolution(check, bound, creation.message))
        else:
            self._open.append(creation.deferred)
            message = "another apply created and deleted it; it was created again"
            self._resolutions.append(Resolution(creation.deferred, bound, message))

    def _fail(self, check: DeferredCheck, candidates: tuple[ListedResource, ...]) -> None:
        why = "several resources claim this address, and this apply may delete none of them"
        message = undecided_message(None, why, candidates, check.claim)
        self._resolutions.append(Resolution(check, failure=check.attempt.error(message, "Ambiguous")))
