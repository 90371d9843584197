"""The targets of a stack, their guardrails, locks, receivers of notifications, sinks of stream keys and shards, as values.

``spec`` reads them from the project file. What is secret (a webhook's URL, a signing key) is the name of an environment
variable here, and a sink is a name without the value it receives. Times of locks are seconds since the epoch.

With ``--shard I/N``, N machines run one command and work on every target once, without a coordinator.
A target's shard is a hash of its account and region, so targets of one account and region share a shard, and with it its call rates.
The values do not change between versions of Python, machines and releases: a controller keeps its targets.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from reconciler.model.values import format_time
from reconciler.terminal import sanitize


class Topic(StrEnum):
    """What a receiver can be notified of."""

    DRIFT = "drift"
    MISSING = "missing"
    UNTAGGED = "untagged"
    DUPLICATE = "duplicate"
    PENDING = "pending"
    ORPHAN = "orphan"
    KEPT = "kept"
    UNMANAGED = "unmanaged"
    UNREADABLE = "unreadable"


DEFAULT_TOPICS = frozenset({Topic.DRIFT, Topic.MISSING, Topic.UNTAGGED, Topic.DUPLICATE, Topic.UNREADABLE})
"""What was modified outside, or cannot be read. Pending changes are left out: the person who merged them knows."""


class ReceiverType(StrEnum):
    """How a receiver is reached."""

    SLACK = "slack"
    WEBHOOK = "webhook"
    SNS = "sns"
    EVENT_BRIDGE = "eventBridge"


class Receiver(NamedTuple):
    """One receiver of notifications.

    ``url_env`` and ``secret_env`` name the environment variables that hold a webhook's URL and its key for signatures.
    ``arn`` is an SNS topic's or an event bus's; ``profile`` and ``role_arn`` say with whose credentials it is reached.
    ``targets`` empty means all of them.
    """

    name: str
    type: ReceiverType
    url_env: str = ""
    secret_env: str = ""
    arn: str = ""
    profile: str | None = None
    role_arn: str | None = None
    topics: frozenset[Topic] = DEFAULT_TOPICS
    targets: frozenset[str] = frozenset()


HOME_REGIONS = ("ap-northeast-1", "ap-northeast-2", "ap-south-1", "eu-central-1", "eu-west-1", "us-east-1", "us-west-2")
"""The regions that have the IVS control plane (AWS General Reference)."""

DEFAULT_ACCOUNT = "123456789012"
"""The account of an embedded server when the target names none."""

_ACCOUNT_PART = 4
"""The part of an ARN that has the account, counted from 0."""


_DURATION = re.compile(r"([0-9]{1,7})(s|m|h|d)?")
DAY = 86_400
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": DAY}


def seconds_of(text: str, *, days: int = 1) -> int:
    """Return the seconds of a duration such as ``90s``, ``30m``, ``2h``, ``1d`` or ``90``, at most ``days`` days.

    Raises ``ValueError`` with a text to put after the duration in a message.
    """
    found = _DURATION.fullmatch(text)
    seconds = int(found[1]) * _UNITS[found[2] or "s"] if found else 0
    if not 0 < seconds <= days * DAY:
        raise ValueError(
            f"is not a duration of at most {'1 day' if days == 1 else f'{days} days'}; write it like 90s, 30m or 2h"
        )
    return seconds


class OnLive(StrEnum):
    """What to do with a live channel when a change requires that it is not live."""

    BLOCK = "block"
    """Block the change of the channel."""
    WAIT = "wait"
    """Run the rest, and change the channel once its stream has ended, up to a deadline."""
    STOP = "stop"
    """Stop the streams of the given channels; block the changes of others."""


class FileLock(NamedTuple):
    """A lock in a file; ``path`` is absolute. It locks between processes of one machine."""

    path: str


class S3Lock(NamedTuple):
    """A lock in an S3 object. ``region`` is that of the bucket; ``None`` means the target's."""

    bucket: str
    key: str
    region: str | None = None


Lock: TypeAlias = FileLock | S3Lock


class S3State(NamedTuple):
    """Where machines share the records of applies: objects below a prefix of a bucket in ``region``.

    ``prefix`` is empty or ends with a slash.
    ``profile`` and ``role_arn`` say with whose credentials it is reached; by default, those of the process.
    """

    bucket: str
    prefix: str
    region: str
    profile: str | None = None
    role_arn: str | None = None

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


class Target(NamedTuple):
    """One account and region that a stack is applied to.

    ``sandbox`` is the absolute path of the embedded server's state file; ``None`` means AWS or ``endpoint_url``.
    ``paced`` says whether calls are kept within the published rates.
    ``specs`` are patterns of spec files in addition to the project's.
    """

    name: str
    region: str
    account_id: str | None = None
    role_arn: str | None = None
    external_id: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None
    sandbox: str | None = None
    prune: bool = False
    paced: bool = True
    specs: tuple[str, ...] = ()
    lock: Lock | None = None
    guardrails: Guardrails | None = None
    """Its own limits, with those of the project where it sets none."""

    @property
    def stated_account(self) -> str | None:
        """The account that the target states: its own or its role's, or the embedded server's; ``None`` if only its credentials know."""
        if self.account_id:
            return self.account_id
        if self.sandbox:
            return DEFAULT_ACCOUNT
        parts = (self.role_arn or "").split(":")
        return parts[_ACCOUNT_PART] if len(parts) > _ACCOUNT_PART else None


class Guardrails(NamedTuple):
    """Limits of one plan, counted per kind. ``None`` disables a limit.

    ``live_deadline`` is how many seconds ``OnLive.WAIT`` waits for streams to end.
    """

    max_deletes: int | None = 20
    max_delete_percent: int | None = 30
    max_updates: int | None = None
    max_update_percent: int | None = None
    on_live: OnLive = OnLive.BLOCK
    live_deadline: int = 1800

    def stricter(self, other: Guardrails | None) -> Guardrails:
        """Return guardrails with the stricter of each limit."""
        if other is None:
            return self
        both = {
            name: min(
                (limit for limit in (getattr(self, name), getattr(other, name)) if limit is not None), default=None
            )
            for name in LIMITS.values()
        }
        on_live = OnLive.BLOCK if OnLive.BLOCK in (self.on_live, other.on_live) else self.on_live
        return Guardrails(**both, on_live=on_live, live_deadline=min(self.live_deadline, other.live_deadline))


LIMITS: Mapping[str, str] = {
    "maxDeletes": "max_deletes",
    "maxDeletePercent": "max_delete_percent",
    "maxUpdates": "max_updates",
    "maxUpdatePercent": "max_update_percent",
}
"""The attribute of each limit, by its name in the project file."""

NO_LIMITS = Guardrails(max_deletes=None, max_delete_percent=None)


class OutputPlace(StrEnum):
    """Where outputs are published to."""

    PARAMETER_STORE = "parameterStore"
    FILE = "file"
    JOB = "job"
    """The outputs of the CI job that runs: GitHub's step outputs, or a dotenv file for GitLab."""


class Publication(NamedTuple):
    """A place that outputs are published to after an apply.

    ``name`` is the name of a parameter, the path of a file, or the path of a job's dotenv file, with placeholders.
    ``only`` are address globs, empty for all resources; ``values`` are names of outputs, empty for all.
    """

    place: OutputPlace
    name: str
    format: str = "json"
    only: tuple[str, ...] = ()
    values: tuple[str, ...] = ()


class Project(NamedTuple):
    """A validated project file.

    ``root`` is the directory that paths are relative to, ``prefix`` that directory as messages show it before a path.
    ``default_channel`` is the ``defaults.channel`` block as written (API field names).
    """

    path: str
    root: str
    stack: str
    specs: tuple[str, ...]
    default_tags: Mapping[str, str]
    default_channel: Mapping[str, object]
    ignore_tags: tuple[str, ...]
    targets: Mapping[str, Target]
    guardrails: Guardrails
    receivers: tuple[Receiver, ...] = ()
    default_stream_key: Mapping[str, object] = {}
    prefix: str = ""
    outputs: tuple[Publication, ...] = ()
    state: S3State | None = None
    """Where the records of applies are; ``None`` means the directory ``.ivs-reconciler`` below ``root``."""

    def guardrails_of(self, name: str) -> Guardrails:
        """Return the guardrails of a target: the stricter of the project's and its own."""
        target = self.targets.get(name)
        return self.guardrails.stricter(target.guardrails if target else None)


class Store(StrEnum):
    """Where a stream key value is published to."""

    SECRETS_MANAGER = "secretsManager"
    PARAMETER_STORE = "parameterStore"
    FILE = "file"
    """Only by option of ``rotate``, never in a spec."""


class SinkValue(StrEnum):
    """What a sink holds."""

    KEY = "key"
    """The value of the stream key."""
    JSON = "json"
    """An object with the ingest URL and the value: ``{"url": "rtmps://…", "key": "sk_…"}``."""


class Sink(NamedTuple):
    """A secret, parameter or file. ``name`` may be the ARN of a secret; an empty ``kms_key`` means the AWS managed key."""

    store: Store
    name: str
    kms_key: str = ""
    value: SinkValue = SinkValue.KEY

    def __str__(self) -> str:
        form = " as JSON" if self.value is SinkValue.JSON else ""
        return f"{_TITLES[self.store]} {self.name}{form}"

    @property
    def place(self) -> str:
        """The store and the name, which are the same for each form of the value."""
        return f"{self.store.value}:{self.name}"

    @property
    def mark(self) -> str:
        """The tag value that records the publication; another form of the value is another publication."""
        form = ".json" if self.value is SinkValue.JSON else ""
        return f"{self.store.value}{form}:{self.name}"


_TITLES: Mapping[Store, str] = {
    Store.SECRETS_MANAGER: "the Secrets Manager secret",
    Store.PARAMETER_STORE: "the parameter",
    Store.FILE: "the file",
}


_HOLDER_FORMAT = "1.0"


class LockHolder(NamedTuple):
    """The run that holds a lock, or has ``released`` it.

    ``who`` is a user or role, ``url`` the page of the CI run; ``mark`` distinguishes its process from a later one with the same ``pid``.
    The lock is invalid after ``expires``, which the holder extends.
    """

    run: str
    who: str
    host: str
    pid: int
    command: str
    since: float
    expires: float
    url: str = ""
    released: bool = False
    mark: str = ""

    def held_at(self, now: float) -> bool:
        """Return whether the lock is held at a time."""
        return not self.released and now < self.expires

    def __str__(self) -> str:
        place = self.url or f"process {self.pid}"
        return sanitize(f"{self.who} on {self.host} ({self.command}, since {format_time(self.since)}, {place})")


def holder_to_json(holder: LockHolder) -> bytes:
    """Return the holder as the JSON that is kept in a lock."""
    content = {
        "formatVersion": _HOLDER_FORMAT,
        **holder._asdict(),
        "sinceTime": format_time(holder.since),
        "expiresTime": format_time(holder.expires),
    }
    return json.dumps(content, indent=1).encode() + b"\n"


def holder_from_json(data: bytes) -> LockHolder:
    """Return the holder from its JSON. Raises ``ValueError``."""
    try:
        content = json.loads(data)
    except RecursionError:
        raise ValueError("not a lock of ivs-reconciler") from None
    if not isinstance(content, Mapping) or not str(content.get("formatVersion", "")).startswith("1."):
        raise ValueError("not a lock of ivs-reconciler")
    facts: Mapping[str, Any] = content
    try:
        return LockHolder(
            run=str(facts["run"]),
            who=str(facts["who"]),
            host=str(facts["host"]),
            pid=int(facts["pid"]),
            command=str(facts["command"]),
            since=float(facts["since"]),
            expires=float(facts["expires"]),
            url=str(facts.get("url", "")),
            released=bool(facts.get("released", False)),
            mark=str(facts.get("mark", "")),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError("not a lock of ivs-reconciler") from error


MAX_SHARDS = 10_000
"""As many as an AWS Batch array has at most."""

_SHARD = re.compile(r"(?:(?P<index>[0-9]{1,6})|auto)/(?P<total>[0-9]{1,6})|auto")


@dataclass(frozen=True, slots=True)
class Shards:
    """Which shards of a fleet, counted from 1: a run has one of ``total``, a report made of several runs has theirs.

    Raises ``ValueError`` for numbers that are no shards.
    """

    included: tuple[int, ...]
    total: int

    def __post_init__(self) -> None:
        in_order = self.included == tuple(sorted(set(self.included)))
        if not (self.included and in_order and self.included[0] >= 1 and self.included[-1] <= self.total <= MAX_SHARDS):
            raise ValueError("is not shards of a fleet")

    def __str__(self) -> str:
        return f"{','.join(map(str, self.included))}/{self.total}"

    @property
    def missing(self) -> tuple[int, ...]:
        """The shards that are not included."""
        return tuple(sorted(set(range(1, self.total + 1)) - set(self.included)))

    def with_(self, other: Shards) -> Shards:
        """Return the shards of both; ``total`` has to be the same."""
        return Shards(tuple(sorted({*self.included, *other.included})), self.total)

    def of(self, targets: Iterable[Target]) -> tuple[Target, ...]:
        """Return the targets that are in these shards, in their order."""
        return tuple(target for target in targets if shard_of(target, self.total) in self.included)


def shard_of(target: Target, total: int) -> int:
    """Return the shard of a target, from 1 to ``total``."""
    digest = hashlib.sha256("/".join(_shard_location(target)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % total + 1


def _shard_location(target: Target) -> tuple[str, str]:
    """Return the account and region of a target; for an unknown account, whose credentials find it."""
    return target.stated_account or (f"profile {target.profile}" if target.profile else "default"), target.region


def targets_of_unknown_account(targets: Collection[Target], total: int) -> tuple[str, ...]:
    """Return the names of targets whose account is not stated, and which may share it with a target of another shard."""
    shards: dict[str, set[int]] = {}
    for target in targets:
        shards.setdefault(target.region, set()).add(shard_of(target, total))
    return tuple(target.name for target in targets if not target.stated_account and len(shards[target.region]) > 1)


class _Index(NamedTuple):
    """An environment variable with the number of a job among its like, the first such number, and a variable with how many there are."""

    name: str
    first: int
    total: str = ""


_OUR_INDEX = _Index("IVS_RECONCILER_SHARD_INDEX", 0, "IVS_RECONCILER_SHARD_TOTAL")
_INDEXES = (
    _Index("JOB_COMPLETION_INDEX", 0),  # Kubernetes: Indexed Jobs; it does not give the number of completions
    _Index(
        "AWS_BATCH_JOB_ARRAY_INDEX", 0, "AWS_BATCH_JOB_ARRAY_SIZE"
    ),  # AWS Batch user guide, job environment variables
    _Index("CI_NODE_INDEX", 1, "CI_NODE_TOTAL"),  # GitLab: parallel
)
_SHARD_VARIABLES = tuple(one.name for one in (_OUR_INDEX, *_INDEXES))


def parse_shard(text: str, environment: Mapping[str, str]) -> Shards:
    """Return the shard of ``I/N``, or of ``auto/N`` or ``auto`` with the values of the environment, which is read only then.

    Raises ``ValueError`` with a text to put after the shard in a message.
    """
    found = _SHARD.fullmatch(text)
    if found is None:
        raise ValueError("is not a shard; use I/N, such as 1/4, or auto/4")
    if found["index"] is None:
        return _shard_from_environment(found["total"], environment)
    return _shard(int(found["index"]), int(found["total"]))


def _shard(index: int, total: int) -> Shards:
    if not 1 <= total <= MAX_SHARDS:
        raise ValueError(f"has {total:,} shards; use 1 to {MAX_SHARDS:,}")
    if index < 1:
        raise ValueError(
            f"is out of range: shards are numbered from 1 to {total}; "
            f"for a number from 0 in the environment, such as JOB_COMPLETION_INDEX, use auto/{total}"
        )
    if index > total:
        raise ValueError(f"is out of range: shards are numbered from 1 to {total}")
    return Shards((index,), total)


def _shard_from_environment(given: str | None, environment: Mapping[str, str]) -> Shards:
    known = [one for one in _INDEXES if environment.get(one.name)]
    if environment.get(_OUR_INDEX.name):
        known = [_OUR_INDEX]
    if not known:
        raise ValueError(f"needs one of {', '.join(_SHARD_VARIABLES)} in the environment; use I/N, such as 1/4")
    if len(known) > 1:
        names = " and ".join(one.name for one in known)
        raise ValueError(f"is ambiguous: {names} are set; use I/N, such as 1/4, or set {_OUR_INDEX.name}")
    (variable,) = known
    stated = environment.get(variable.total)
    if given is None and not stated:
        raise ValueError(f"is no number of shards, and {variable.name} comes without one; use auto/N, such as auto/4")
    total = _shard_number(variable.total, environment) if stated else int(given or 0)
    if given is not None and int(given) != total:
        raise ValueError(f"differs from {variable.total}, which is {total}; use auto, or the same number")
    index = _shard_number(variable.name, environment) - variable.first + 1
    if total and not 1 <= index <= total:
        last = total + variable.first - 1
        raise ValueError(
            f"does not fit {variable.name}, which is {environment[variable.name]}; of {total} it is from {variable.first} to {last}"
        )
    return _shard(index, total)


def _shard_number(name: str, environment: Mapping[str, str]) -> int:
    value = environment[name]
    if not re.fullmatch("[0-9]{1,6}", value):
        raise ValueError(f"needs a number, and {name} is {value!r}")
    return int(value)
