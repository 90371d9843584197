"""Creates a resource exactly once.

A create that AWS refused has created nothing. One whose answer was lost may have: the list shows it, once it can no longer lag behind.
The create is sent again only when the list shows that nothing was created; a resource that is there is used instead.

A concurrent apply may create the same channels. Only a stream key refers to a channel, so all channels are checked for duplicates together
at the end, with one list. Duplicates are resolved by the rules of ``claims``, several at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import assert_never

from reconciler.apply.call import (
    CONFLICT,
    LAG_SECONDS,
    Attempt,
    Bound,
    Context,
    InterruptedStepError,
    backoff,
    retry_reason,
)
from reconciler.apply.claims import (
    Absent,
    Claim,
    DeleteOwn,
    Keep,
    ListedResource,
    NewResources,
    Undecidable,
    Verdict,
    Wait,
    decide,
)
from reconciler.errors import NOT_FOUND, UNREADABLE, AwsError
from reconciler.model.address import ATTEMPT, MAX_TAGS_WITH_ATTEMPT, SPEC, STACK, Address, comparable_tags
from reconciler.model.kinds import KINDS, LISTED, TAG, USERS, Kind
from reconciler.model.values import Value

FRESH_SECONDS = 30.0
"""Age of the plan's list up to which a create is sent without listing again."""

PLAN_LATER = "If a resource was created, it carries our tags: wait 30 seconds until lists show it, then run plan again"
"""What to do after a create whose result is unknown."""

_QUOTA = "ServiceQuotaExceededException"

_DELETE_SECONDS = 90.0
"""How long to wait for a resource that cannot be deleted because it is still being created."""

_MAX_LOST_ANSWERS = 3
"""Times that a create is sent while its answers are lost."""

_MAX_SENDS = 8
"""Times that a create is sent at all, while another apply creates and deletes the same resource."""

_MAX_DELAY = 8.0

_KINDS_WITH_ATTEMPT = frozenset(kind.name for kind in LISTED.values() if not kind.unique)
"""Kinds of which two resources may be created for one address. A channel has one stream key, and a public key is imported once."""

_CHECKED_LAST = frozenset(kind for kind in _KINDS_WITH_ATTEMPT if not USERS[kind])
"""Kinds that are checked for duplicates once, at the end of a run: nothing refers to them, and their lists may be long."""

_SCARCE = 3
"""A quota up to this is easily used up by what two applies create at the same time and delete again."""


@dataclass(frozen=True, slots=True)
class DeferredCheck:
    """A created channel that is checked for duplicates at the end of the apply: its claim and its ARN."""

    claim: Claim
    arn: str
    attempt: Attempt


@dataclass(slots=True)
class Creation:
    """The create of one step. ``message`` says what was unusual about it."""

    attempt: Attempt
    kind: Kind
    parameters: Mapping[str, object]
    new_resources: NewResources
    claim: Claim
    bound: dict[Address, Bound]
    sends: int = 0
    message: str = ""

    @classmethod
    def of(
        cls, attempt: Attempt, kind: Kind, parameters: Mapping[str, object], new_resources: NewResources
    ) -> Creation:
        """Return a create that was not sent yet."""
        tags = parameters.get("tags")
        claim = Claim(attempt.address, tags if isinstance(tags, Mapping) else {}, attempt.context.clock())
        if kind.name in _KINDS_WITH_ATTEMPT and len(claim.tags) < MAX_TAGS_WITH_ATTEMPT:
            claim.attempt = f"{int(attempt.context.draw() * 16**12):012x}"
        return cls(attempt, kind, parameters, new_resources, claim, {})

    @property
    def deferred(self) -> DeferredCheck | None:
        """The check for duplicates that is left to the end of the apply. Only a stream key refers to a channel, so channels can wait for it."""
        if self.kind.name not in _CHECKED_LAST or not self.claim.own:
            return None
        return DeferredCheck(self.claim, self.claim.own, self.attempt)

    def run(self) -> Mapping[Address, Bound]:
        """Create the resource and return the ARNs that the step returns. Raises ``AwsError`` and ``InterruptedStepError``."""
        if self.kind.created_with:
            return self._create_stream_key()
        return self._create(list_first=self._is_plan_old())

    def run_again(self) -> Mapping[Address, Bound]:
        """Create again what two applies deleted at the same time: the first one to do so creates it, and the other finds it."""
        self.attempt.wait(self._jittered(2.0), "another apply deleted the same resource")
        return self._create(list_first=True)

    def _create(self, *, list_first: bool) -> Mapping[Address, Bound]:
        if list_first and self._is_claimed():
            self._settle(None)
        while not self.bound:
            self._send()
        return self.bound

    # Sending

    def _send(self) -> None:
        """Send the create once; nothing is bound afterwards if it has to be sent again."""
        self.sends += 1
        parameters = self.parameters
        if self.claim.attempt:
            parameters = {**parameters, "tags": {**self.claim.tags, ATTEMPT: self.claim.attempt}}
        try:
            self.bound.update(self.attempt.bound_by(self.attempt.call(self.kind.create, parameters).data))
        except AwsError as error:
            self.attempt.count(error)
            self._handle(error)
            return
        self.claim.record_create(self.bound[self.claim.address].arn, self._now())
        if self.kind.name not in _CHECKED_LAST:
            self._settle(None)

    def _handle(self, error: AwsError) -> None:
        """Settle or wait after a failed create. Raises the error where neither helps."""
        now = self._now()
        self.claim.changed_at = now
        is_scarce = self.kind.quota is not None and self.kind.quota.default <= _SCARCE
        if error.ambiguous or error.code == UNREADABLE:
            self.claim.uncertain = True
            self._settle(error)
        elif error.code == CONFLICT and self.kind.unique:
            # A public key cannot be imported twice: an import of ours whose answer was lost holds it, or another apply's.
            self._settle(error)
        elif error.code == _QUOTA and self._is_claimed():
            self._settle(error)  # another apply created it and used the last of the quota
        elif error.code == _QUOTA and now - self.attempt.began < LAG_SECONDS and (is_scarce or self._others_create()):
            self.attempt.wait(self._jittered(2.0), "another apply may free some of the quota")
        elif why := retry_reason(self.attempt, error):
            self.sends -= 1
            self.attempt.wait(2.0, why)
        else:
            raise without_calls(error)

    # Deciding which resource the address has

    def _settle(self, lost: AwsError | None) -> None:
        """List until it is known which resource the address has; binds it, or nothing if the create has to be sent (again)."""
        try:
            self._list_until_decided(lost)
        except InterruptedStepError as interrupted:
            if self.claim.own is None and lost is not None:
                raise self.attempt.error(undecided_message(lost, str(interrupted), (), self.claim), lost.code) from None
            if self.claim.own is None:
                raise

    def _list_until_decided(self, lost: AwsError | None) -> None:
        for delay in backoff(_MAX_DELAY):
            try:
                resources = self.new_resources.claiming(self.kind, self.claim.address)
            except AwsError:
                if self._now() - self.claim.changed_at >= LAG_SECONDS:
                    self._give_up(lost, "and listing failed too", ())
                    return
                self.attempt.wait(delay, "listing failed")
                continue
            self.claim.record_list(resources, self._now())
            match decide(self.claim, resources, patient=self._now() - self.claim.changed_at < LAG_SECONDS):
                case Keep(arn):
                    self._keep(next((resource for resource in resources if resource.arn == arn), None), arn)
                    return
                case Absent():
                    self._prepare_to_send_again(lost)
                    return
                case Wait(why):
                    self.attempt.wait(self._jittered(delay), why)
                case DeleteOwn(arn) if delete_own(self.attempt, self.kind, self.claim, arn):
                    self.bound.clear()
                case DeleteOwn():
                    self.attempt.wait(self._jittered(delay), "the duplicate cannot be deleted yet")
                case Undecidable(candidates):
                    why = "several resources claim this address, and it is unknown which one to keep"
                    self._give_up(lost, why, candidates)
                    return

    def _keep(self, resource: ListedResource | None, arn: str) -> None:
        own = arn == self.claim.own
        if own and self.bound:
            return
        if resource is not None and resource.tags.get(SPEC) != self.claim.tags.get(SPEC):
            raise self.attempt.error(
                f"another apply created {arn} at the same time, from a different spec; run plan again",
                "CreatedElsewhere",
            )
        if resource is not None:
            add_missing_tags(self.attempt, resource, self.claim.tags)
        if not own:
            self.claim.own = None
        self.bound.update(bind_existing(self.attempt, self.new_resources, arn))
        lost = own or (self.claim.uncertain and not self.claim.attempt and not self.claim.deleted)
        self.message = (
            f"the answer was lost; found as {arn}" if lost else f"another apply created it at the same time: {arn}"
        )

    def _prepare_to_send_again(self, lost: AwsError | None) -> None:
        if lost is not None and not (lost.ambiguous or lost.code == UNREADABLE):
            raise without_calls(lost)
        if lost is not None and self.sends >= _MAX_LOST_ANSWERS:
            raise self.attempt.error(
                f"{lost}; sent {self.sends} times, and nothing was created; run apply again later", lost.code
            )
        if self.sends >= _MAX_SENDS:
            raise self.attempt.error(
                "another apply keeps creating and deleting the same resource; wait until it has ended, then run apply again",
                "Contended",
            )
        if self.claim.deleted:
            self.attempt.wait(self._jittered(2.0), "another apply deleted the same resource")
        self.claim.seen = ()

    def _give_up(self, lost: AwsError | None, why: str, candidates: Sequence[ListedResource]) -> None:
        if self.claim.own is not None and not candidates:
            return  # AWS answered the create; only the check for duplicates failed
        message = undecided_message(lost, why, candidates, self.claim)
        raise self.attempt.error(message, lost.code if lost else "Ambiguous")

    # Stream keys: a channel has at most one, so there are no duplicates.

    def _create_stream_key(self) -> Mapping[Address, Bound]:
        channel = str(self.parameters.get("channelArn"))
        for delay in backoff(_MAX_DELAY):
            self.sends += 1
            try:
                self.bound.update(self.attempt.bound_by(self.attempt.call(self.kind.create, self.parameters).data))
            except AwsError as error:
                self.attempt.count(error)
                if why := retry_reason(self.attempt, error):
                    self.attempt.wait(delay, why)
                    continue
                if not (error.ambiguous or error.code in (UNREADABLE, _QUOTA, CONFLICT)):
                    raise without_calls(error) from None
                found = self._find_stream_key(channel, error, delay)
                if found is not None:
                    add_missing_tags(self.attempt, found, self.claim.tags)
                    # The step may be one of the channel's own, so its address may be another one.
                    now = self._now()
                    self.bound.update((Address.parse(text), Bound(found.arn, now)) for text in self.attempt.step.binds)
                    self.message = f"the channel already has it: {found.arn}"
            if self.bound:
                return self.bound
        raise AssertionError("backoff() never ends")

    def _find_stream_key(self, channel: str, error: AwsError, first: float) -> ListedResource | None:
        """Return the channel's key; ``None`` when there surely is none and the create may be sent again."""
        began = self._now()
        for delay in backoff(max(first, _MAX_DELAY)):
            keys: tuple[ListedResource, ...] = ()
            try:
                keys = self.new_resources.stream_keys(self.kind, channel)
            except AwsError as failure:
                if self._now() - began >= LAG_SECONDS:
                    why = f"and listing the channel's keys failed: {failure}"
                    raise self.attempt.error(undecided_message(error, why, (), self.claim), error.code) from None
            if keys:
                if keys[0].tags.get(STACK, self.claim.tags.get(STACK)) != self.claim.tags.get(STACK):
                    raise without_calls(error)
                return keys[0]
            if self._now() - began >= LAG_SECONDS:
                if self.sends >= _MAX_LOST_ANSWERS or not (error.ambiguous or error.code == UNREADABLE):
                    raise without_calls(error)
                return None
            self.attempt.wait(delay, "the list may lag behind")
        raise AssertionError("backoff() never ends")

    # Small questions

    def _is_claimed(self) -> bool:
        """Whether a new resource claims the address; false where that cannot be listed."""
        try:
            return bool(self.new_resources.claiming(self.kind, self.claim.address))
        except AwsError:
            return False

    def _is_plan_old(self) -> bool:
        """Whether the plan's list is too old to rely on. Channels are listed only once, because their list is long."""
        if self.kind.name in _CHECKED_LAST and self.new_resources.was_listed(self.kind.name):
            return False
        return self.new_resources.age(self.kind.name) > FRESH_SECONDS

    def _others_create(self) -> bool:
        """Whether another apply of this stack creates resources of this kind."""
        try:
            found = self.new_resources.list_kind(self.kind)
        except AwsError:
            return False
        own = {bound.arn for bound in self.attempt.context.bound.values()}
        return any(resource.arn not in own for group in found.values() for resource in group)

    def _now(self) -> float:
        return self.attempt.context.clock()

    def _jittered(self, seconds: float) -> float:
        return seconds * (0.5 + self.attempt.context.draw())


def bind_existing(attempt: Attempt, new_resources: NewResources, arn: str) -> dict[Address, Bound]:
    """Return what a step binds if its resource is this one; the default stream key of a channel is listed. Raises ``AwsError``."""
    now = attempt.context.clock()
    bound: dict[Address, Bound] = {}
    for text in attempt.step.binds:
        address = Address.parse(text)
        if address == attempt.address:
            bound[address] = Bound(arn, now)
        elif keys := new_resources.stream_keys(KINDS[address.kind], arn):
            bound[address] = Bound(keys[0].arn, now)
    return bound


def add_missing_tags(attempt: Attempt, resource: ListedResource, tags: Mapping[str, str]) -> None:
    """Write the tags that an existing resource lacks. Raises ``AwsError``."""
    there = comparable_tags(resource.tags)
    missing: dict[str, Value] = {key: value for key, value in tags.items() if there.get(key) != value}
    if missing:
        attempt.call(TAG, {"resourceArn": resource.arn, "tags": missing})


def delete_own(attempt: Attempt, kind: Kind, claim: Claim, arn: str) -> bool:
    """Delete a duplicate that this apply created, and return whether it is gone. Raises ``AwsError``.

    AWS refuses while it is being created, which is temporary, and while it is in use or live, which is a reason to keep it.
    """
    now = attempt.context.clock
    try:
        attempt.call(kind.delete, {kind.identifier: arn})
    except AwsError as error:
        attempt.count(error)
        if error.code == CONFLICT:
            created = all(state in ("", kind.ready, kind.failed) for seen, state in claim.seen if seen == arn)
            claim.delete_refused = created or now() - claim.changed_at >= _DELETE_SECONDS
            return False
        if error.code != NOT_FOUND:
            raise without_calls(error) from None
    claim.record_delete(arn, now())
    return True


def undecided_message(lost: AwsError | None, why: str, candidates: Sequence[ListedResource], claim: Claim) -> str:
    """Return what is unknown about a create, and the resources to choose from."""
    head = f"{lost}; it is unknown whether the call succeeded, {why}" if lost else why
    if not candidates:
        return f"{head}. {PLAN_LATER}"
    found = "; ".join(f"{resource}{_tag_difference(resource, claim)}" for resource in candidates)
    return f"{head}: {found}. Delete the one that is not needed, or run plan again with --prune"


def without_calls(error: AwsError) -> AwsError:
    """Return an error whose requests are counted already."""
    error.calls = 0
    return error


def _tag_difference(resource: ListedResource, claim: Claim) -> str:
    tags = comparable_tags(resource.tags)
    differing = sorted(key for key in tags.keys() | claim.tags.keys() if tags.get(key) != claim.tags.get(key))
    return f", tags differ: {', '.join(differing)}" if differing else ""


_PARALLEL_CALLS = 3


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
        for delay in backoff(_MAX_DELAY):
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
            # AWS answered each of these creates; only the check failed, and without credentials it would always fail.
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
