"""A create, carried out exactly once: sent, looked for when its answer is lost, taken over when it is there, sent again only when it surely is not.

What should be is the plan's; here is only found out whether a create has happened.
A create that is refused has made nothing. One without an answer may have: the list says, after the time that it may lag behind.

What a create does beside creating: reading its answer, taking over what is there, withdrawing what is one too many, and saying what cannot be told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reconciler.apply.call import (
    CONFLICT,
    LAG_SECONDS,
    NOT_FOUND,
    Attempt,
    Bound,
    InterruptedStepError,
    backoff,
    retry_reason,
)
from reconciler.apply.claims import (
    Absent,
    Claim,
    Keep,
    ListedResource,
    NewResources,
    Undecidable,
    Wait,
    Withdraw,
    decide,
)
from reconciler.errors import AwsError
from reconciler.model.address import ATTEMPT, MAX_TAGS_WITH_ATTEMPT, SPEC, STACK, Address, comparable
from reconciler.model.kinds import KINDS, LISTED, TAG, USERS, Kind
from reconciler.model.values import Value

UNREADABLE = "UnreadableAnswer"
_GIVE_UP_SECONDS = 90.0
"""How long something is waited for that is still being made and so cannot be deleted."""


def arn_at(attempt: Attempt, data: Mapping[str, object], path: str) -> str:
    """Return the ARN at a path of an answer. Raises ``AwsError`` where the answer does not hold it."""
    found: object = data
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    if not isinstance(found, str):
        raise attempt.error(
            f"AWS carried it out, but the answer holds no {path}; plan again to find what was made", UNREADABLE
        )
    return found


def delete_own(attempt: Attempt, kind: Kind, claim: Claim, arn: str) -> bool:
    """Delete what this run made and another run made too, and say whether it is gone. Raises ``AwsError``.

    AWS refuses while it is still being made, which passes, and while it is in use or live, which is a reason to leave it.
    """
    now = attempt.context.clock
    try:
        attempt.call(kind.delete, {kind.identifier: arn})
    except AwsError as error:
        attempt.note(error)
        if error.code == CONFLICT:
            settled = all(state in ("", kind.ready, kind.failed) for seen, state in claim.seen if seen == arn)
            claim.held = settled or now() - claim.since >= _GIVE_UP_SECONDS
            return False
        if error.code != NOT_FOUND:
            raise without_calls(error) from None
    claim.took_back(arn, now())
    return True


def add_missing_tags(attempt: Attempt, seen: ListedResource, tags: Mapping[str, str]) -> None:
    """Write the tags that a resource taken over lacks. Raises ``AwsError``."""
    there = comparable(seen.tags)
    lacking: dict[str, Value] = {key: value for key, value in tags.items() if there.get(key) != value}
    if lacking:
        attempt.call(TAG, {"resourceArn": seen.arn, "tags": lacking})


def bind_existing(attempt: Attempt, lookout: NewResources, arn: str) -> dict[Address, Bound]:
    """Return what a step binds when its resource is this one; the stream key that was born with a channel is looked up. Raises ``AwsError``."""
    now = attempt.context.clock()
    bound: dict[Address, Bound] = {}
    for text in attempt.step.binds:
        address = Address.parse(text)
        if address == attempt.address:
            bound[address] = Bound(arn, now)
        elif keys := lookout.keys_of(KINDS[address.kind], arn):
            bound[address] = Bound(keys[0].arn, now)
    return bound


def undecided_message(lost: AwsError | None, why: str, candidates: Sequence[ListedResource], claim: Claim) -> str:
    """Say what is not known, and what there is to choose from."""
    head = f"{lost}; whether it was carried out is not known, {why}" if lost else why
    if not candidates:
        return f"{head}. It carries our tags: wait half a minute, so that the list shows what was made, if anything was, and plan again"
    said = "; ".join(f"{seen}{_tag_difference(seen, claim)}" for seen in candidates)
    return f"{head}: {said}. Delete the one that is not wanted, or plan again with --prune"


def without_calls(error: AwsError) -> AwsError:
    """Return an error whose requests were counted already."""
    error.calls = 0
    return error


def _tag_difference(seen: ListedResource, claim: Claim) -> str:
    tags = comparable(seen.tags)
    differing = sorted(key for key in tags.keys() | claim.tags.keys() if tags.get(key) != claim.tags.get(key))
    return f", differing in tags {', '.join(differing)}" if differing else ""


FRESH_SECONDS = 30.0
"""How old the plan's reading may be when a create is sent without another look."""

_MAX_SENDS = 3
"""Times that a create is sent whose answers keep getting lost."""

_MAX_ROUNDS = 8
"""Times that a create is sent at all, with another apply making and withdrawing the same."""

_LONGEST_PAUSE = 8.0
_SCARCE = 3
"""A quota up to this is easily used up by what two applies create at the same time."""

_QUOTA = "ServiceQuotaExceededException"
_KINDS_WITH_ATTEMPT = frozenset(kind.name for kind in LISTED.values() if not kind.unique)
"""The kinds of which two may be made where one is meant. A channel has one stream key, and a public key is imported once."""

_SETTLED_LAST = frozenset(kind for kind in _KINDS_WITH_ATTEMPT if not USERS[kind])
"""The kinds that are held against rivals once, at the end of a run: nothing refers to them, and their lists may be long."""

_CREATES: Mapping[str, Kind] = {kind.create: kind for kind in KINDS.values()}


@dataclass(frozen=True, slots=True)
class DeferredCheck:
    """What a run made of a kind that is checked for rivals only at its end: the claim, the ARN it went on with, and how to make it again."""

    claim: Claim
    arn: str
    attempt: Attempt
    parameters: Mapping[str, object]


def kind_created_by(operation: str) -> Kind | None:
    """Return the kind that an operation creates."""
    return _CREATES.get(operation)


@dataclass(slots=True)
class Creation:
    """One create on its way."""

    attempt: Attempt
    kind: Kind
    parameters: Mapping[str, object]
    lookout: NewResources
    claim: Claim
    bound: dict[Address, Bound]
    sends: int = 0
    said: str = ""
    """What a person should know of how it went, when it did not go straight."""

    @classmethod
    def of(cls, attempt: Attempt, kind: Kind, parameters: Mapping[str, object], lookout: NewResources) -> Creation:
        """Begin."""
        tags = parameters.get("tags")
        claim = Claim(attempt.address, dict(tags) if isinstance(tags, Mapping) else {}, attempt.context.clock())
        if kind.name in _KINDS_WITH_ATTEMPT and len(claim.tags) < MAX_TAGS_WITH_ATTEMPT:
            claim.number = f"{int(attempt.context.draw() * 16**12):012x}"
        return cls(attempt, kind, parameters, lookout, claim, {})

    @property
    def deferred(self) -> DeferredCheck | None:
        """What is still to be held against rivals at the end of the run."""
        mine = self.claim.mine
        return (
            DeferredCheck(self.claim, mine, self.attempt, self.parameters)
            if mine and self.kind.name in _SETTLED_LAST
            else None
        )

    def run(self) -> Mapping[Address, Bound]:
        """Make it and return the ARNs that the step brings. Raises ``AwsError`` and ``StoppedError``."""
        if self.kind.born_with:
            return self._stream_key()
        if self._is_old() and self._claims(quiet=True):
            self._settle(None)
        while not self.bound:
            self._send()
        return self.bound

    def again(self) -> Mapping[Address, Bound]:
        """Make anew what two applies withdrew at once: the one that is first after a while makes it, and the other finds it."""
        self.attempt.pause(self._jittered(2.0), "another apply withdrew the same resource")
        if self._claims(quiet=True):
            self._settle(None)
        while not self.bound:
            self._send()
        return self.bound

    # Sending

    def _send(self) -> None:
        """Send the create once, and see what came of it: nothing is bound when it has to be sent again."""
        self.sends += 1
        try:
            answer = self.attempt.call(self.kind.create, self._numbered())
            self._bind(answer.data)
        except AwsError as error:
            self.attempt.note(error)
            self._failed(error)
            return
        self.claim.made(self.bound[self.claim.address].arn, self._now())
        if self.kind.name not in _SETTLED_LAST:
            self._settle(None)

    def _numbered(self) -> Mapping[str, object]:
        """Return the parameters of the plan, with the number of this try among the tags."""
        return (
            {**self.parameters, "tags": {**self.claim.tags, ATTEMPT: self.claim.number}}
            if self.claim.number
            else self.parameters
        )

    def _failed(self, error: AwsError) -> None:
        now = self._now()
        self.claim.since = now
        if error.ambiguous or error.code == UNREADABLE:
            self.claim.uncertain = True
            self._settle(error)
        elif error.code == CONFLICT and self.kind.unique:
            # A public key cannot be imported twice: an import of ours whose answer was lost holds it, or another apply's.
            self._settle(error)
        elif error.code == _QUOTA and self._claims(quiet=True):
            self._settle(error)  # what another apply made took the last place
        elif (
            error.code == _QUOTA
            and now - self.attempt.began < LAG_SECONDS
            and (self._is_scarce() or self._others_at_work())
        ):
            self.attempt.pause(self._jittered(2.0), "another apply may hold places of the quota that it will give back")
        elif why := retry_reason(self.attempt, error):
            self.sends -= 1
            self.attempt.pause(2.0, why)
        else:
            raise without_calls(error)

    def _settle(self, lost: AwsError | None) -> None:
        """Look until it is known what stands for this address; binds it, or nothing when it has to be sent (again)."""
        try:
            self._look(lost)
        except InterruptedStepError as stopped:
            if self.claim.mine is None and lost is not None:
                raise self.attempt.error(undecided_message(lost, f"and {stopped}", (), self.claim), lost.code) from None
            if self.claim.mine is None:
                raise

    def _look(self, lost: AwsError | None) -> None:
        for pause in backoff(_LONGEST_PAUSE):
            sightings = self._claims()
            if sightings is None:
                if self._now() - self.claim.since >= LAG_SECONDS:
                    self._give_up(lost, "and looking for it failed too", ())
                    return
                self.attempt.pause(pause, "what is there could not be listed")
                continue
            self.claim.notice(sightings, self._now())
            match decide(self.claim, sightings, patient=self._now() - self.claim.since < LAG_SECONDS):
                case Keep(arn):
                    self._keep(next((seen for seen in sightings if seen.arn == arn), None), arn)
                    return
                case Absent():
                    self._again(lost)
                    return
                case Wait(why):
                    self.attempt.pause(self._jittered(pause), why)
                case Withdraw(arn) if delete_own(self.attempt, self.kind, self.claim, arn):
                    self.bound.clear()
                case Withdraw():
                    self.attempt.pause(self._jittered(pause), "what has to go cannot be deleted yet")
                case Undecidable(candidates):
                    self._give_up(
                        lost,
                        "several resources claim this address, and it cannot be told which one is meant",
                        candidates,
                    )
                    return

    def _keep(self, seen: ListedResource | None, arn: str) -> None:
        mine = arn == self.claim.mine
        if mine and self.bound:
            return
        if seen is not None and seen.tags.get(SPEC) != self.claim.tags.get(SPEC):
            raise self.attempt.error(
                f"another apply made {arn} meanwhile, from another spec; plan again", "MadeElsewhere"
            )
        if seen is not None:
            add_missing_tags(self.attempt, seen, self.claim.tags)
        if not mine:
            self.claim.mine = None
        self.bound.update(bind_existing(self.attempt, self.lookout, arn))
        lost = mine or (self.claim.uncertain and not self.claim.number and not self.claim.withdrawn)
        self.said = f"its answer was lost; it is there as {arn}" if lost else f"another apply made it meanwhile: {arn}"

    def _again(self, lost: AwsError | None) -> None:
        if lost is not None and not (lost.ambiguous or lost.code == UNREADABLE):
            raise without_calls(lost)
        if lost is not None and self.sends >= _MAX_SENDS:
            raise self.attempt.error(
                f"{lost}; it was sent {self.sends} times and is not there; apply again later", lost.code
            )
        if self.sends >= _MAX_ROUNDS:
            raise self.attempt.error(
                "another apply keeps making and withdrawing the same resource; let one of them end, then apply again",
                "Contended",
            )
        if self.claim.withdrawn:
            self.attempt.pause(self._jittered(2.0), "another apply withdrew the same resource")
        self.claim.seen = frozenset()

    def _give_up(self, lost: AwsError | None, why: str, candidates: Sequence[ListedResource]) -> None:
        if self.claim.mine is not None and not candidates:
            return  # AWS answered the create; only the look for rivals failed
        raise self.attempt.error(
            undecided_message(lost, why, candidates, self.claim), lost.code if lost else "Ambiguous"
        )

    # Stream keys: a channel has one at most, so there is nothing to double.

    def _stream_key(self) -> Mapping[Address, Bound]:
        channel = str(self.parameters.get("channelArn"))
        for pause in backoff(_LONGEST_PAUSE):
            self.sends += 1
            try:
                self._bind(self.attempt.call(self.kind.create, self.parameters).data)
            except AwsError as error:
                self.attempt.note(error)
                if why := retry_reason(self.attempt, error):
                    self.attempt.pause(pause, why)
                    continue
                if not (error.ambiguous or error.code in (UNREADABLE, _QUOTA, CONFLICT)):
                    raise without_calls(error) from None
                found = self._key_there(channel, error, pause)
                if found is not None:
                    add_missing_tags(self.attempt, found, self.claim.tags)
                    # The step may be one of the channel's own: what it brings is a key all the same.
                    self.bound.update(
                        (Address.parse(text), Bound(found.arn, self._now())) for text in self.attempt.step.binds
                    )
                    self.said = f"the channel has it already: {found.arn}"
            if self.bound:
                return self.bound
        raise AssertionError("pauses never end")

    def _key_there(self, channel: str, error: AwsError, first: float) -> ListedResource | None:
        """Look for the channel's key; ``None`` when it is surely absent and the create may be sent again."""
        began = self._now()
        for pause in backoff(max(first, _LONGEST_PAUSE)):
            keys: tuple[ListedResource, ...] = ()
            try:
                keys = self.lookout.keys_of(self.kind, channel)
            except AwsError as failure:
                if self._now() - began >= LAG_SECONDS:
                    raise self.attempt.error(
                        undecided_message(
                            error, f"and its channel's keys could not be listed: {failure}", (), self.claim
                        ),
                        error.code,
                    ) from None
            if keys:
                if keys[0].tags.get(STACK, self.claim.tags.get(STACK)) != self.claim.tags.get(STACK):
                    raise without_calls(error)
                return keys[0]
            if self._now() - began >= LAG_SECONDS:
                if self.sends >= _MAX_SENDS or not (error.ambiguous or error.code == UNREADABLE):
                    raise without_calls(error)
                return None
            self.attempt.pause(pause, "the list may show what was just made a little late")
        raise AssertionError("pauses never end")

    # Looking

    def _claims(self, *, quiet: bool = False) -> tuple[ListedResource, ...] | None:
        """Look; ``None`` when the look failed, or nothing where that is as good."""
        try:
            return self.lookout.claims(self.kind, self.claim.address)
        except AwsError:
            return () if quiet else None

    def _is_old(self) -> bool:
        """Whether the reading is too old to rely on. Channels are looked at once, because their list is long."""
        if self.kind.name in _SETTLED_LAST and self.lookout.looked(self.kind.name):
            return False
        return self.lookout.age(self.kind.name) > FRESH_SECONDS

    def _is_scarce(self) -> bool:
        """Whether so few may exist that a try which another apply withdraws may hold the last place."""
        return self.kind.quota is not None and self.kind.quota.default <= _SCARCE

    def _others_at_work(self) -> bool:
        try:
            found = self.lookout.new(self.kind)
        except AwsError:
            return False
        ours = {bound.arn for bound in self.attempt.context.bound.values()}
        return any(seen.arn not in ours for group in found.values() for seen in group)

    def _bind(self, data: Mapping[str, object]) -> None:
        found = {
            Address.parse(text): arn_at(self.attempt, data, path) for text, path in self.attempt.step.binds.items()
        }
        self.bound.update((address, Bound(arn, self._now())) for address, arn in found.items())

    def _now(self) -> float:
        return self.attempt.context.clock()

    def _jittered(self, seconds: float) -> float:
        return seconds * (0.5 + self.attempt.context.draw())
