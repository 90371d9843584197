"""The plan as data, and the outcome of carrying it out. Frozen values; JSON both ways is in ``codec``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from reconciler.diff import FieldChange  # re-exported: a plan is read through this module
from reconciler.model.address import Address, KindName
from reconciler.model.quotas import QuotaUse
from reconciler.model.target import Sink
from reconciler.model.values import Value


class Verb(StrEnum):
    """What an action does to one resource."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    ADOPT = "adopt"
    FORGET = "forget"


class Reason(StrEnum):
    """Why an action is there. The sentence for people is in ``Action.explanation``."""

    NOT_IN_ACCOUNT = "not-in-account"
    PROPERTIES_DIFFER = "properties-differ"
    TAGS_DIFFER = "tags-differ"
    SPEC_RECORD = "spec-record"
    """Nothing differs but the recorded digest of the spec."""
    IMMUTABLE_CHANGED = "immutable-changed"
    CREATE_FAILED = "create-failed"
    LEFT_SPEC = "left-spec"
    SUPERSEDED = "superseded"
    """What a replacement, interrupted before its end, left behind."""
    DUPLICATE = "duplicate"
    CONSENTED = "consented"
    BORN_WITH_CHANNEL = "born-with-channel"
    ROTATION_DUE = "rotation-due"
    DELIVERY_DUE = "delivery-due"
    """A stream key is there whose value has not been handed over yet."""
    RETIRING = "retiring"
    """A key pair was replaced, and is kept for a while beside the new one."""
    RETIRED = "retired"


class ReplaceOrder(StrEnum):
    """Which half of a replacement comes first."""

    CREATE_FIRST = "create-then-delete"
    DELETE_FIRST = "delete-then-create"


@dataclass(frozen=True, slots=True)
class Until:
    """A step that repeats a read until ``member`` of the answer's object has the value ``equals``; ``fails_on`` ends the wait in failure.

    With ``absent`` it is the other way round: until nothing in the answer's list has that value there, which is how a broadcast ends.
    ``seconds`` is how long to wait; ``None`` leaves that to the executor.
    """

    member: str
    equals: str
    fails_on: str | None = None
    absent: bool = False
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One AWS call.

    ``id`` is unique in the target's plan: the action's address, ``#``, and a number. ``after`` names steps that must be done before.
    ``parameters`` may hold ``Ref``s, which are resolved from what earlier steps bound.
    ``binds`` maps an address to the path in the answer that holds its ARN, such as ``streamKey.arn``.
    ``deliver`` says where the secret in the answer goes; it goes there and nowhere else.
    """

    id: str
    operation: str
    parameters: Mapping[str, Value]
    after: tuple[str, ...] = ()
    binds: Mapping[str, str] = field(default_factory=dict)
    until: Until | None = None
    deliver: Sink | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """What planning saw of the live resource an action touches; an apply compares it with what is there by then."""

    properties: Mapping[str, Value]
    tags: Mapping[str, str]
    state: str | None = None


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why an action will not be carried out although it is due. ``code`` is ``protected``, ``live``, ``unmanaged``, ``unreadable`` or ``depends``."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Action:
    """What is to happen to one resource, as a person reviews it."""

    address: Address
    verb: Verb
    reason: Reason
    explanation: str
    arn: str | None = None
    changes: tuple[FieldChange, ...] = ()
    steps: tuple[Step, ...] = ()
    observed: Observed | None = None
    order: ReplaceOrder | None = None
    blocked: Blocked | None = None
    warnings: tuple[str, ...] = ()

    @property
    def kind(self) -> KindName:
        """The kind of the resource."""
        return self.address.kind


@dataclass(frozen=True, slots=True)
class Orphan:
    """A managed resource that left the spec and that nothing will be done about, because prune was not granted."""

    address: Address
    arn: str
    protected: bool = False


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Live resources that claim one address. ``kept`` is the one that is worked with; ``others`` the rest, with why."""

    address: Address
    kept: str
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LiveChannel:
    """A channel that was live when it was looked for: by a plan that touches it, or by the controller. ``viewers`` is ``-1`` where the service could not count in time."""

    address: Address
    arn: str
    since: str
    viewers: int
    health: str = "UNKNOWN"

    @property
    def name(self) -> str:
        """The channel's id."""
        return self.address.id


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts for the last line. A blocked action is counted in ``blocked`` and nowhere else."""

    create: int = 0
    update: int = 0
    replace: int = 0
    delete: int = 0
    adopt: int = 0
    forget: int = 0
    unchanged: int = 0
    unmanaged: int = 0
    orphaned: int = 0
    blocked: int = 0
    defaults: int = 0
    """Fields whose live value is the service's default and that the spec does not name."""

    def counting(self, actions: Iterable[Action]) -> Summary:
        """Return a summary with the counts of these actions; the other counts stay."""
        verbs = Counter(None if action.blocked else action.verb for action in actions)
        return replace(self, **{verb.value: verbs[verb] for verb in Verb}, blocked=verbs[None])


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """The permissions and the scope a plan was made with; they travel with it.

    ``stop_live`` names the channels whose broadcast may be ended; ``wait_live`` is how many seconds to wait for broadcasts to end,
    ``None`` where the project's rule holds.
    """

    prune: bool = False
    adopt: bool = False
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    stop_live: tuple[str, ...] = ()
    wait_live: int | None = None


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """What to do in one account and region. ``actions`` are in a total order that depends on nothing but their content.

    ``managed`` counts, for each kind, the live resources of this stack; guardrail percentages are of that.
    ``not_read`` are the kinds that the plan did not need to read; it says nothing about them.
    ``wait_live`` is how many seconds an apply waits for a channel that goes on air meanwhile.
    """

    name: str
    account_id: str
    region: str
    spec_digest: str
    actions: tuple[Action, ...]
    summary: Summary
    managed: Mapping[KindName, int]
    desired_count: int
    orphans: tuple[Orphan, ...] = ()
    duplicates: tuple[Duplicate, ...] = ()
    notes: tuple[str, ...] = ()
    live_channels: tuple[LiveChannel, ...] = ()
    wait_live: int = 0
    quotas: tuple[QuotaUse, ...] = ()
    not_read: tuple[KindName, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.actions


@dataclass(frozen=True, slots=True)
class Base:
    """What a plan's commit is to be merged into, or compared with: a name as it was given, such as ``origin/main``, and the commit it stood for."""

    name: str
    commit: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``plan`` shows and ``apply`` runs.

    ``git_tree`` identifies the content of ``git_commit``, which a merge may carry on under another commit.
    ``of_revisions`` says that the spec of ``base`` stood in the place of live state: such a plan is looked at and never applied.
    """

    stack: str
    created_at: str
    git_commit: str | None
    spec_digest: str
    options: PlanOptions
    targets: tuple[TargetPlan, ...]
    git_tree: str | None = None
    base: Base | None = None
    of_revisions: bool = False


class Result(StrEnum):
    """What became of an action."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What became of one step. ``calls`` counts the requests sent, repetitions included; ``seconds`` is wall time."""

    step: str
    operation: str
    result: Result
    calls: int = 0
    seconds: float = 0.0
    request_id: str = ""
    error_code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one action; ``message`` is AWS's own where AWS refused, or says which failure it waited for."""

    address: Address
    verb: Verb
    result: Result
    message: str = ""
    request_id: str = ""
    arn: str | None = None
    steps: tuple[StepOutcome, ...] = ()


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """The end of an apply of one target. ``interrupted`` says that somebody stopped it."""

    name: str
    outcomes: tuple[Outcome, ...]
    interrupted: bool = False
    calls: int = 0
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether every action is done."""
        return all(outcome.result is Result.DONE for outcome in self.outcomes)
