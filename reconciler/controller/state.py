"""The state of targets, of the repository, and of runs, and the place of a target. A run is one reconciliation of one target.

A mode and a suspension hold for a target's name and for its place: account, region, role and what else decides where requests go.
The repository decides both, so a commit could otherwise give the mode of one account to another.
Frozen values. Times are seconds since the epoch.

Controllers of one ``state:`` report the last reconciliation of each target to each other, for their pages. Nothing is decided by it;
who may change a target is what its lock decides. The bucket may hold anything, so what is read is checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple, Self

from pydantic import TypeAdapter

from reconciler.drift import DriftStatus
from reconciler.drift.report import FINDING, DriftReport, Finding
from reconciler.git.git import Trouble
from reconciler.git.source import Commit
from reconciler.json_format import Format, list_of
from reconciler.model.address import Address, is_commit
from reconciler.model.resource import UnmanagedResource
from reconciler.model.target import Project, Target
from reconciler.plan.plan import ApplyResult, LiveChannel, Plan
from reconciler.workflow.records import BucketUnusable, shared_records


@dataclass(frozen=True, slots=True)
class Place:
    """The account, region and credentials of a target. ``account`` is empty until it is known; ``sandbox`` is relative."""

    region: str
    account: str = ""
    role: str = ""
    profile: str = ""
    endpoint: str = ""
    sandbox: str = ""

    @classmethod
    def of(cls, target: Target, project: Project) -> Self:
        """Return the place that a project file gives to a target."""
        role = target.role_arn or ""
        return cls(
            target.region,
            target.account_id or (role.split(":")[4] if role else ""),
            role,
            target.profile or "",
            (target.endpoint_url or "").rstrip("/"),
            os.path.relpath(target.sandbox, project.root) if target.sandbox else "",
        )

    @classmethod
    def from_json(cls, text: str) -> Self | None:
        """Return a place from its JSON, or ``None`` from an empty text. Raises ``ValueError`` or ``TypeError``."""
        return cls(**json.loads(text)) if text else None

    def to_json(self) -> str:
        """Return the place as JSON."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        parts = {
            "account": self.account,
            "role": self.role,
            "profile": self.profile,
            "endpoint": self.endpoint,
            "sandbox": self.sandbox,
        }
        return ", ".join([self.region, *(f"{name} {value}" for name, value in parts.items() if value)])

    @property
    def check(self) -> str:
        """Eight hexadecimal digits of this place, for ``run --accept NAME@CHECK``: what is accepted is then what was seen."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:8]

    def is_seen_as(self, check: str) -> bool:
        """Return whether a check is of this place, as it is or before its account was known."""
        return check in (self.check, replace(self, account="").check)

    def admits(self, other: Place) -> bool:
        """Return whether another place is this one, as far as is known: accounts are compared if both are."""
        is_same_account = not (self.account and other.account) or self.account == other.account
        return is_same_account and replace(self, account="") == replace(other, account="")

    def is_location_of(self, other: Place) -> bool:
        """Return whether both are the same account and region of the same server, with any credentials."""
        is_same_account = (
            self.account == other.account
            if self.account and other.account
            else (self.profile, self.role) == (other.profile, other.role)
        )
        return is_same_account and (self.region, self.endpoint, self.sandbox) == (
            other.region,
            other.endpoint,
            other.sandbox,
        )


def unaccepted(name: str, accepted: Place | None, place: Place | None) -> str:
    """Return why a target is only observed: it is new, or it was moved."""
    what = f"was moved from {accepted} to {place}" if accepted else f"is new ({place})"
    return f"the target {what} and is only observed; {accept_hint(name, place)}"


def accept_hint(name: str, place: Place | None) -> str:
    """Return the command that gives a target its mode where it is now."""
    return f"to apply its mode, run ivs-reconciler run --accept {name}{f'@{place.check}' if place else ''}"


_RESULT = TypeAdapter(ApplyResult)
_FINDINGS = Format(list_of(FINDING))
# Not the plan's form: a live channel may lack a name, and then its address cannot be read from text.
_LIVE_CHANNELS = TypeAdapter(tuple[LiveChannel, ...])


class ManagedResource(NamedTuple):
    """A live resource of the stack, as the status pages show it. ``url`` is the URL for viewers, ``state`` the life-cycle state."""

    address: Address
    arn: str
    name: str = ""
    url: str = ""
    state: str = ""


class Inventory(NamedTuple):
    """The live resources that a run found: the stack's by address, and the unmanaged ones."""

    managed: tuple[ManagedResource, ...] = ()
    unmanaged: tuple[UnmanagedResource, ...] = ()


_INVENTORY = TypeAdapter(Inventory)


class Mode(StrEnum):
    """What the controller does with a target: report drift, plan as well, revert outside changes, or apply the plan."""

    OBSERVE = "observe"
    PLAN = "plan"
    HEAL = "heal"
    """New commits wait for a person."""
    APPLY = "apply"


APPLYING = frozenset({Mode.HEAL, Mode.APPLY})


class RunStatus(StrEnum):
    """How a run ended."""

    IN_SYNC = "in-sync"
    DRIFTED = "drifted"
    PENDING = "pending"
    APPLIED = "applied"
    BLOCKED = "blocked"
    """All actions are blocked, such as by a live channel."""
    REFUSED = "refused"
    """By a guardrail, and someone has to decide; or because another run has the lock."""
    INCOMPLETE = "incomplete"
    """The apply partially failed, or was interrupted."""
    BAD_SPEC = "bad-spec"
    FAILED = "failed"


FAILURES = frozenset({RunStatus.INCOMPLETE, RunStatus.BAD_SPEC, RunStatus.FAILED})
"""After these, the next reconciliation is delayed more each time."""


@dataclass(frozen=True, slots=True)
class Run:
    """One reconciliation of one target. ``counts`` are from its end: after an apply, what is left."""

    target: str
    mode: Mode
    commit: str
    started: float
    status: RunStatus
    seconds: float = 0.0
    message: str = ""
    plan_id: str = ""
    account_id: str = ""
    region: str = ""
    counts: Mapping[DriftStatus, int] = field(default_factory=dict)
    managed: int = 0
    unchanged: int = 0
    unmanaged: int = 0
    calls: int = 0
    done: int = 0
    """Actions that the apply completed."""
    blocked_by_live: int = 0
    """Actions blocked by a live channel."""
    stack: str = ""
    account_read: bool = True
    """Whether the account was read; without it, the counts mean nothing."""
    live_channels: tuple[LiveChannel, ...] = ()
    findings: tuple[Finding, ...] = ()
    plan: Plan | None = None
    result: ApplyResult | None = None
    report: DriftReport | None = None
    inventory: Inventory | None = None
    postponed: bool = False
    """Another run was changing the target: it is reconciled again soon."""

    @property
    def drifted(self) -> int:
        """The number of resources that are modified outside, missing, without owner tags, or duplicate."""
        drift = (DriftStatus.DRIFT, DriftStatus.MISSING, DriftStatus.UNTAGGED, DriftStatus.DUPLICATE)
        return sum(self.counts.get(status, 0) for status in drift)

    @property
    def pending(self) -> int:
        """The number of resources with changes that were not applied yet."""
        return self.counts.get(DriftStatus.PENDING, 0)


@dataclass(frozen=True, slots=True)
class TargetState:
    """The state of a target between runs.

    ``due`` is the next run. ``last_run`` is the newest run; ``last_read`` the newest that read the account, with its findings.
    ``place`` is where the followed commit puts the target, ``accepted`` where the operator's mode holds.
    """

    name: str
    due: float = 0.0
    failures: int = 0
    suspended: bool = False
    requested: bool = False
    last_success: float = 0.0
    commit: str = ""
    last_run: Run | None = None
    last_read: Run | None = None
    place: Place | None = None
    accepted: Place | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the operator's mode holds where the target is."""
        return bool(self.place and self.accepted and self.accepted.admits(self.place))


@dataclass(frozen=True, slots=True)
class RepositoryState:
    """The state of the branch. ``trouble`` and ``message`` say why its newest commit is not followed."""

    url: str
    branch: str
    commit: Commit | None = None
    fetched_at: float = 0.0
    tried_at: float = 0.0
    failures: int = 0
    trouble: Trouble | None = None
    message: str = ""


def detail_json(run: Run) -> str:
    """Return findings and live channels of a run as JSON. They are shown for the newest run of a target only."""
    return _dumps({"findings": _FINDINGS.write(run.findings), "live_channels": _by_name(run.live_channels)})


def read_detail(text: str) -> tuple[tuple[Finding, ...], tuple[LiveChannel, ...]]:
    """Return findings and live channels from their JSON."""
    content = json.loads(text)
    return _FINDINGS.read(content["findings"]), _LIVE_CHANNELS.validate_python(content["live_channels"])


def members_json(value: Inventory | ApplyResult) -> str:
    """Return an inventory, or the result of an apply, as JSON."""
    return _dumps(_by_name(value))


def read_inventory(text: str) -> Inventory:
    """Return an inventory from its JSON."""
    return _INVENTORY.validate_python(json.loads(text))


def read_result(text: str) -> ApplyResult:
    """Return the result of an apply from its JSON."""
    return _RESULT.validate_python(json.loads(text))


def _by_name(value: object) -> object:
    """Return a value as JSON types, the members of named tuples by name: by place, another version would misread them."""
    if not isinstance(value, tuple) or isinstance(value, Address):
        return value
    members = getattr(value, "_asdict", None)
    if members is None:
        return [_by_name(item) for item in value]
    return {name: _by_name(item) for name, item in members().items()}


def _dumps(content: object) -> str:
    # The text may contain half a surrogate pair, which pydantic would refuse to write.
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


OTHERS_INTERVAL_SECONDS = 60.0
"""How often a controller reads what the others wrote."""

_FORMAT = "1.0"
_MAX_TEXT = 300


@dataclass(frozen=True, slots=True)
class LastApply:
    """The last run that applied something: when it began, its commit, how it ended, and how many actions it completed."""

    at: float
    commit: str
    status: RunStatus
    done: int


@dataclass(frozen=True, slots=True)
class OtherTarget:
    """A target as another controller reconciled it last. ``controller`` is the name of its machine or pod; times are seconds since the epoch."""

    stack: str
    target: str
    account: str
    region: str
    controller: str
    commit: str
    mode: str
    status: RunStatus
    at: float
    managed: int = 0
    drifted: int = 0
    pending: int = 0
    message: str = ""
    applied: LastApply | None = None

    @classmethod
    def of(cls, run: Run, before: OtherTarget | None, controller: str) -> OtherTarget:
        """Return the report of a run; ``before`` is the previous one, which has the last apply."""
        applied = before.applied if before else None
        if run.result is not None:
            applied = LastApply(run.started, run.commit, run.status, run.done)
        return cls(
            run.stack,
            run.target,
            run.account_id,
            run.region,
            controller,
            run.commit,
            run.mode.value,
            run.status,
            run.started + run.seconds,
            run.managed,
            run.drifted,
            run.pending,
            run.message[:_MAX_TEXT],
            applied,
        )

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps({"formatVersion": _FORMAT, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> OtherTarget | None:
        """Return a report from its JSON, or ``None`` if it is none."""
        try:
            content = json.loads(text)
            if content["formatVersion"] != _FORMAT:
                return None
            applied = content["applied"]
            return cls(
                _checked_text(content["stack"]),
                _checked_text(content["target"]),
                _checked_text(content["account"]),
                _checked_text(content["region"]),
                _checked_text(content["controller"]),
                mode=_checked_text(content["mode"]),
                message=_checked_text(content["message"]),
                managed=_checked_count(content["managed"]),
                drifted=_checked_count(content["drifted"]),
                pending=_checked_count(content["pending"]),
                commit=_checked_commit(content["commit"]),
                status=RunStatus(content["status"]),
                at=_checked_time(content["at"]),
                applied=applied
                and LastApply(
                    _checked_time(applied["at"]),
                    _checked_commit(applied["commit"]),
                    RunStatus(applied["status"]),
                    _checked_count(applied["done"]),
                ),
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            return None


@dataclass(frozen=True, slots=True)
class Others:
    """What controllers reported of targets, by name, the own ones included. ``trouble`` says why it could not be read again."""

    targets: tuple[OtherTarget, ...] = ()
    trouble: str = ""


def report_run(project: Project, run: Run) -> str:
    """Write what a run found where other controllers read it; return why it could not be written, empty if it was or need not be."""
    if project.state is None:
        return ""
    records = shared_records(project.state, project.stack)

    def content(before: str) -> str:
        return OtherTarget.of(run, OtherTarget.from_json(before), socket.gethostname()).to_json()

    try:
        records.report(run.target, content)
    except BucketUnusable as error:
        return str(error)
    return ""


def read_others(project: Project, before: Others) -> Others:
    """Return what controllers reported of the targets of a project; what was read before, with the reason, if that is not possible."""
    if project.state is None:
        return Others()
    try:
        texts = shared_records(project.state, project.stack).reports()
    except BucketUnusable as error:
        return Others(before.targets, str(error))
    found = (OtherTarget.from_json(text) for text in texts)
    known = {one.target: one for one in found if one and one.stack == project.stack and one.target in project.targets}
    return Others(tuple(known[name] for name in sorted(known)))


def _checked_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value[:_MAX_TEXT].encode(errors="replace").decode()  # half a surrogate pair is in no page


def _checked_commit(value: Any) -> str:
    if not isinstance(value, str) or not is_commit(value):
        raise ValueError("not a commit")
    return value


def _checked_count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a count")
    return value


def _checked_time(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < 1e11:
        raise ValueError("not a time")
    return float(value)
