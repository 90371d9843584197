"""The plan as data, and the outcome of an apply. Frozen values; JSON in both directions is in ``codec``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from reconciler.diff import FieldChange  # re-exported: a plan is read through this module
from reconciler.model.address import Address, KindName
from reconciler.model.resource import UnmanagedResource
from reconciler.model.target import Guardrails, Shards, Sink, Target
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
    """Why an action is there. ``Action.explanation`` has the sentence for people."""

    NOT_IN_ACCOUNT = "not-in-account"
    PROPERTIES_DIFFER = "properties-differ"
    TAGS_DIFFER = "tags-differ"
    SPEC_RECORD = "spec-record"
    """Nothing differs but the recorded digest of the spec."""
    IMMUTABLE_CHANGED = "immutable-changed"
    CREATE_FAILED = "create-failed"
    LEFT_SPEC = "left-spec"
    SUPERSEDED = "superseded"
    """Left behind by an interrupted replacement."""
    DUPLICATE = "duplicate"
    CONSENTED = "consented"
    OWNER_TAGS_LOST = "owner-tags-lost"
    """The resource of the last apply exists, and its owner tags are gone."""
    BORN_WITH_CHANNEL = "born-with-channel"
    ROTATION_DUE = "rotation-due"
    DELIVERY_DUE = "delivery-due"
    """A stream key exists whose value is not published yet."""
    RETIRING = "retiring"
    """A key pair was replaced, and is kept for a while together with the new one."""
    RETIRED = "retired"
    MOVED = "moved"
    """The spec renamed its address; its tags are rewritten."""
    FORGOTTEN = "forgotten"
    """Its owner tags are removed, and it is kept."""


class ReplaceOrder(StrEnum):
    """Which half of a replacement comes first."""

    CREATE_FIRST = "create-then-delete"
    DELETE_FIRST = "delete-then-create"


class Until(NamedTuple):
    """When a step that repeats a read ends: ``member`` of the answer's object has the value ``equals``; ``fails_on`` ends the wait as failed.

    With ``absent``, when no item of the answer's list has that value, which is how the end of a stream is seen.
    ``seconds`` is how long to wait; ``None`` leaves that to the executor.
    """

    member: str
    equals: str
    fails_on: str | None = None
    absent: bool = False
    seconds: int | None = None


class Step(NamedTuple):
    """One AWS call.

    ``id`` is unique in the target's plan: the action's address, ``#``, and a number. ``after`` names steps that must be done before.
    ``parameters`` may hold ``Ref``s, which are resolved from what earlier steps bound.
    ``binds`` maps an address to the path in the answer that holds its ARN, such as ``streamKey.arn``.
    ``deliver`` is the sink for the secret in the answer; it goes nowhere else.
    """

    id: str
    operation: str
    parameters: Mapping[str, Value]
    after: tuple[str, ...] = ()
    binds: Mapping[str, str] = {}
    until: Until | None = None
    deliver: Sink | None = None


class Observed(NamedTuple):
    """The live resource of an action as it was when the plan was made; an apply compares it with live state."""

    properties: Mapping[str, Value]
    tags: Mapping[str, str]
    state: str | None = None


class Blocked(NamedTuple):
    """Why an action that is due will not be run. ``code`` is ``protected``, ``live``, ``unmanaged``, ``unreadable``, ``incomplete-spec``, ``no-public-key``, ``moved``, ``renamed`` or ``depends``."""

    code: str
    message: str


class Action(NamedTuple):
    """What will be done to one resource; people review this."""

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
        """The kind of the resource, as JSON and templates name it."""
        return self.address.kind


class Orphan(NamedTuple):
    """A managed resource that was removed from the spec and is kept, because prune is disabled."""

    address: Address
    arn: str
    protected: bool = False


class Duplicate(NamedTuple):
    """Live resources that claim one address. ``kept`` is the ARN of the managed one, ``others`` are those of the rest."""

    address: Address
    kept: str
    others: tuple[str, ...]


MAX_USERS = 10
"""How many users of a kept resource are listed; all are counted."""


class Adoption(NamedTuple):
    """The live resource that was given by ARN to be adopted for an address."""

    address: Address
    arn: str


class Kept(NamedTuple):
    """A managed resource that was replaced and is kept, because only resources of other owners still use it.

    ``usage`` says in a phrase how many use it and whose they are; ``users`` are the first ``MAX_USERS`` of them, in ARN order.
    """

    address: Address
    arn: str
    replaced_by: str
    usage: str
    used_by: int
    users: tuple[UnmanagedResource, ...]

    @property
    def explanation(self) -> str:
        """What replaced it, and who uses it."""
        named = ", ".join(f"{user.name or '(without a name)'} ({user.arn})" for user in self.users)
        more = f" and {self.used_by - len(self.users):,} more" if self.used_by > len(self.users) else ""
        return f"replaced by {self.replaced_by}; {self.usage}: {named}{more}"


class LiveChannel(NamedTuple):
    """A channel that was live when streams were listed. ``viewers`` is ``-1`` if the service could not count them in time."""

    address: Address
    arn: str
    since: str
    viewers: int
    health: str = "UNKNOWN"

    @property
    def name(self) -> str:
        """The channel's id."""
        return self.address.id


class Summary(NamedTuple):
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
    """Fields that the spec does not set and whose live value is the AWS default."""

    def counting(self, actions: Iterable[Action]) -> Summary:
        """Return a summary with the counts of these actions; the other counts stay."""
        verbs = Counter(None if action.blocked else action.verb for action in actions)
        return self._replace(**{verb.value: verbs[verb] for verb in Verb}, blocked=verbs[None])


class PlanOptions(NamedTuple):
    """The permissions and the scope that a plan was made with; saved with it.

    ``stop_live`` names the channels whose stream may be ended; ``wait_live`` is how many seconds to wait for streams to end,
    ``None`` for the project's setting. ``adopt_with_changes`` lets an adoption change fields as well.
    ``take_over`` names the stacks whose resources may be adopted: those of an address or name of the spec, or given by ARN.

    The others lift guardrails for one run: that many deletes and updates of any one kind, a spec without resources, lists
    that lack resources recorded at the last apply, creates beside unmanaged resources with the same kind and name.
    """

    prune: bool = False
    adopt: bool = False
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    stop_live: tuple[str, ...] = ()
    wait_live: int | None = None
    allow_deletes: int | None = None
    allow_updates: int | None = None
    allow_empty: bool = False
    allow_missing: bool = False
    create_beside: tuple[str, ...] = ()
    adopt_with_changes: bool = False
    take_over: tuple[str, ...] = ()

    @property
    def allowances(self) -> tuple[str, ...]:
        """The options that lift guardrails, as they are written on the command line."""
        found = {
            f"--allow-deletes {self.allow_deletes}": self.allow_deletes,
            f"--allow-updates {self.allow_updates}": self.allow_updates,
            "--allow-empty": self.allow_empty,
            "--allow-missing": self.allow_missing,
            **{f"--create-beside {glob}": True for glob in self.create_beside},
            **{f"--take-over {stack}": True for stack in self.take_over},
        }
        return tuple(option for option, given in found.items() if given)

    @property
    def has_globs(self) -> bool:
        """Whether ``only`` or ``exclude`` limits the plan to some addresses."""
        return bool(self.only or self.exclude)

    def of(self, target: Target) -> PlanOptions:
        """Return the options for one target, whose own ``prune`` counts as well."""
        return self._replace(prune=self.prune or target.prune)

    def allowing(self, other: PlanOptions) -> PlanOptions:
        """Return these options with what ``other`` allows as well: prune, higher limits, creates beside existing resources."""
        return self._replace(
            prune=self.prune or other.prune,
            allow_deletes=_larger(self.allow_deletes, other.allow_deletes),
            allow_updates=_larger(self.allow_updates, other.allow_updates),
            allow_empty=self.allow_empty or other.allow_empty,
            allow_missing=self.allow_missing or other.allow_missing,
            create_beside=tuple(dict.fromkeys((*self.create_beside, *other.create_beside))),
        )


def _larger(one: int | None, other: int | None) -> int | None:
    return max((number for number in (one, other) if number is not None), default=None)


class QuotaUse(NamedTuple):
    """How a plan uses the quota of one kind.

    ``now`` counts all resources, ``others`` those that this stack does not own.
    ``peak`` is the highest count at any moment of the apply, ``after`` the count at its end.
    ``applied`` says that ``limit`` is from Service Quotas instead of the documented default.
    """

    kind: KindName
    now: int
    others: int
    peak: int
    after: int
    limit: int
    adjustable: bool = False
    code: str = ""
    applied: bool = False


class TargetPlan(NamedTuple):
    """What to do in one account and region. ``actions`` are in a total order that depends only on their content.

    ``managed`` counts, for each kind, the live resources of this stack; guardrail percentages refer to it.
    ``unmanaged`` are the resources without an owner, or of another stack.
    ``not_read`` are the kinds that the plan did not need to read; it says nothing about them.
    ``adopt`` are the resources that were given by ARN to be adopted.
    ``wait_live`` is how many seconds an apply waits for a channel that goes live after the plan was made.
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
    unmanaged: tuple[UnmanagedResource, ...] = ()
    kept: tuple[Kept, ...] = ()
    adopt: tuple[Adoption, ...] = ()


class SettingChange(NamedTuple):
    """A setting of the project file with its values as JSON, ``None`` if not set. ``widens`` what an apply may do."""

    path: str
    before: str | None
    after: str | None
    widens: bool = False


class Base(NamedTuple):
    """What a plan's commit will be merged into, or is compared with: a name as it was given, such as ``origin/main``, and its commit."""

    name: str
    commit: str
    settings: tuple[SettingChange, ...] = ()
    """What changed in the project file since the base."""

    guardrails: Guardrails | None = None
    """Those of the base, if they differ: the plan was checked, and is applied, with the stricter of both."""


class FailedTarget(NamedTuple):
    """A target that could not be read, and why."""

    name: str
    message: str


class Plan(NamedTuple):
    """What ``plan`` shows and ``apply`` runs.

    ``git_tree`` identifies the content of ``git_commit``, which is the same for a merge commit without other changes.
    ``of_revisions`` means that the spec of ``base`` was used as live state: such a plan is shown and never applied.
    ``failed`` are the targets that could not be read: the others are applied.
    ``shards`` are those whose targets it has; ``None`` if it is not limited to some.
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
    failed: tuple[FailedTarget, ...] = ()
    shards: Shards | None = None


class Result(StrEnum):
    """The result of an action."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    BLOCKED = "blocked"


class StepOutcome(NamedTuple):
    """The outcome of one step. ``calls`` counts the requests sent, retries included; ``seconds`` is wall time."""

    step: str
    operation: str
    result: Result
    calls: int = 0
    seconds: float = 0.0
    request_id: str = ""
    error_code: str = ""
    message: str = ""


class Outcome(NamedTuple):
    """The outcome of one action; ``message`` is AWS's own if AWS refused, or names the failed dependency."""

    address: Address
    verb: Verb
    result: Result
    message: str = ""
    request_id: str = ""
    arn: str | None = None
    steps: tuple[StepOutcome, ...] = ()


class ApplyResult(NamedTuple):
    """The result of an apply of one target. ``interrupted`` means that it was stopped by a signal."""

    name: str
    outcomes: tuple[Outcome, ...]
    interrupted: bool = False
    calls: int = 0
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Return whether every action is done."""
        return all(outcome.result is Result.DONE for outcome in self.outcomes)
