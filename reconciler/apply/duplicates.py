"""The end of an apply that made channels: one look at their list tells whether another apply made the same ones.

Nothing refers to a channel but its stream key, so channels are held against rivals once for all, and not one by one.
What another apply made too is settled by the rules of ``claim``, many addresses at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import assert_never

from reconciler.apply.call import LAG_SECONDS, Attempt, Bound, Context, InterruptedStepError, backoff
from reconciler.apply.claims import (
    Absent,
    Keep,
    ListedResource,
    NewResources,
    Undecidable,
    Verdict,
    Wait,
    Withdraw,
    decide,
)
from reconciler.apply.create import Creation, DeferredCheck, bind_existing, delete_own, undecided_message
from reconciler.errors import AwsError
from reconciler.model.address import Address
from reconciler.model.kinds import KINDS

_PARALLEL_CALLS = 3
_LONGEST_PAUSE = 8.0


@dataclass(slots=True)
class Resolution:
    """What became of one channel that another apply made too: what its step binds now, or why it could not be settled."""

    made: DeferredCheck
    bound: dict[Address, Bound] = field(default_factory=dict)
    said: str = ""
    failure: AwsError | None = None


def resolve_duplicates(made: Iterable[DeferredCheck], context: Context, lookout: NewResources) -> list[Resolution]:
    """Look until no channel made in this run has a rival; return those that another apply made too. Stops early when the apply is to stop."""
    return _Resolver(list(made), context, lookout).run()


class _Resolver:
    """The claims that are still open, and what was settled."""

    def __init__(self, made: list[DeferredCheck], context: Context, lookout: NewResources) -> None:
        self._open = made
        self._context = context
        self._lookout = lookout
        self._settled: list[Resolution] = []
        self._moved = context.clock()
        self._began = context.clock()

    def run(self) -> list[Resolution]:
        for pause in backoff(_LONGEST_PAUSE):
            if not self._open or self._context.stop.is_set():
                break
            why = self._round()
            if self._open and why:
                try:
                    self._open[0].attempt.pause(pause * (0.5 + self._context.draw()), why)
                except InterruptedStepError:
                    break
        return self._settled

    def _round(self) -> str:
        """Look once and do what follows; return why to look again later, or nothing when the list is worth another look at once."""
        now = self._context.clock
        try:
            found = {
                Address(kind, identifier): sightings
                for kind in dict.fromkeys(made.claim.address.kind for made in self._open)
                for identifier, sightings in self._lookout.new(KINDS[kind]).items()
            }
        except AwsError as error:
            # Every one of these was answered by AWS; only the look for rivals failed, and without credentials it would fail for ever.
            if not error.retryable or now() - self._began >= LAG_SECONDS:
                self._open = []
            return "what is there could not be listed"
        for made in self._open:
            before = made.claim.since
            made.claim.notice(found.get(made.claim.address, ()), now())
            if made.claim.since != before:
                self._moved = now()
        # While other claims still move, the other apply is alive: nobody withdraws what it is still busy with.
        patient = now() - self._moved < LAG_SECONDS
        judged = [(made, decide(made.claim, found.get(made.claim.address, ()), patient=patient)) for made in self._open]
        self._open = [made for made, verdict in judged if isinstance(verdict, Wait | Withdraw)]
        due = [work for made, verdict in judged if (work := self._work(made, verdict)) is not None]
        if due:
            with ThreadPoolExecutor(_PARALLEL_CALLS, thread_name_prefix="closing") as pool:
                for future in [pool.submit(work) for work in due]:
                    future.result()
            self._moved = now()
        return next((verdict.why for _, verdict in judged if isinstance(verdict, Wait)), "")

    def _work(self, made: DeferredCheck, verdict: Verdict) -> Callable[[], None] | None:
        """Return the calls that follow from a verdict."""
        match verdict:
            case Keep(arn):
                return self._taken_over(made, arn) if arn != made.arn else None
            case Withdraw(arn):
                return self._withdrawn(made, arn)
            case Absent():
                return self._made_again(made)
            case Undecidable(candidates):
                self._stuck(made, candidates)
                return None
            case Wait():
                return None
            case _ as never:
                assert_never(never)

    def _withdrawn(self, made: DeferredCheck, arn: str) -> Callable[[], None]:
        def work() -> None:
            try:
                delete_own(made.attempt, KINDS[made.claim.address.kind], made.claim, arn)
            except AwsError:
                made.claim.held = True  # it stays for now, and is named if it has to stay for good

        return work

    def _taken_over(self, made: DeferredCheck, arn: str) -> Callable[[], None]:
        why = "it was made twice" if arn == made.claim.mine else "another apply made it too"
        settlement = Resolution(made, said=f"{why}: {arn} stays, and the other was withdrawn")
        self._settled.append(settlement)

        def work() -> None:
            try:
                settlement.bound = bind_existing(made.attempt, self._lookout, arn)
            except AwsError as error:
                settlement.failure = error

        return work

    def _made_again(self, made: DeferredCheck) -> Callable[[], None]:
        def work() -> None:
            fresh = Attempt(made.attempt.step, made.attempt.address, self._context, self._context.clock())
            creation = Creation.of(fresh, KINDS[made.claim.address.kind], made.parameters, self._lookout)
            creation.claim.withdrawn |= made.claim.withdrawn
            try:
                bound = creation.again()
            except (AwsError, InterruptedStepError) as error:
                failure = error if isinstance(error, AwsError) else fresh.error(str(error), "Stopped")
                self._settled.append(Resolution(made, failure=failure))
                return
            if creation.deferred is None:
                self._settled.append(Resolution(made, dict(bound), creation.said))
            else:
                self._open.append(creation.deferred)
                self._settled.append(
                    Resolution(creation.deferred, dict(bound), "another apply made and withdrew it; it was made again")
                )

        return work

    def _stuck(self, made: DeferredCheck, candidates: tuple[ListedResource, ...]) -> None:
        said = undecided_message(
            None,
            "several resources claim this address, and none of them is this apply's to delete",
            candidates,
            made.claim,
        )
        self._settled.append(Resolution(made, failure=made.attempt.error(said, "Ambiguous")))
