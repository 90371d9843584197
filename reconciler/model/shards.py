"""Shards of a fleet: N machines run one command with ``--shard I/N``, and work on every target once, without a coordinator.

A target's shard is a hash of its account and region, so targets of one account and region share a shard, and with it its call rates.
The values do not change between versions of Python, machines and releases: a controller keeps its targets.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from reconciler.model.target import Target

MOST_SHARDS = 10_000
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
        if not (
            self.included and in_order and self.included[0] >= 1 and self.included[-1] <= self.total <= MOST_SHARDS
        ):
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
    digest = hashlib.sha256("/".join(_location(target)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % total + 1


def _location(target: Target) -> tuple[str, str]:
    """Return the account and region of a target; for an unknown account, whose credentials find it."""
    return target.stated_account or (f"profile {target.profile}" if target.profile else "default"), target.region


def of_unknown_account(targets: Sequence[Target], total: int) -> tuple[str, ...]:
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


_OURS = _Index("IVS_RECONCILER_SHARD_INDEX", 0, "IVS_RECONCILER_SHARD_TOTAL")
_INDEXES = (
    _Index("JOB_COMPLETION_INDEX", 0),  # Kubernetes: Indexed Jobs; it does not tell how many completions there are
    _Index(
        "AWS_BATCH_JOB_ARRAY_INDEX", 0, "AWS_BATCH_JOB_ARRAY_SIZE"
    ),  # AWS Batch user guide, job environment variables
    _Index("CI_NODE_INDEX", 1, "CI_NODE_TOTAL"),  # GitLab: parallel
)
VARIABLES = tuple(one.name for one in (_OURS, *_INDEXES))


def parse_shard(text: str, environment: Mapping[str, str]) -> Shards:
    """Return the shard of ``I/N``, or of ``auto/N`` or ``auto`` with what the environment tells, which is used only then.

    Raises ``ValueError`` with a text to put after the shard in a message.
    """
    found = _SHARD.fullmatch(text)
    if found is None:
        raise ValueError("is not a shard; use I/N, such as 1/4, or auto/4")
    if found["index"] is None:
        return _from_environment(found["total"], environment)
    return _shard(int(found["index"]), int(found["total"]))


def _shard(index: int, total: int) -> Shards:
    if not 1 <= total <= MOST_SHARDS:
        raise ValueError(f"has {total:,} shards; use 1 to {MOST_SHARDS:,}")
    if index < 1:
        raise ValueError(
            f"is out of range: shards are numbered from 1 to {total}; "
            f"for a number from 0 in the environment, such as JOB_COMPLETION_INDEX, use auto/{total}"
        )
    if index > total:
        raise ValueError(f"is out of range: shards are numbered from 1 to {total}")
    return Shards((index,), total)


def _from_environment(given: str | None, environment: Mapping[str, str]) -> Shards:
    known = [one for one in _INDEXES if environment.get(one.name)]
    if environment.get(_OURS.name):
        known = [_OURS]
    if not known:
        raise ValueError(f"needs one of {', '.join(VARIABLES)} in the environment; use I/N, such as 1/4")
    if len(known) > 1:
        names = " and ".join(one.name for one in known)
        raise ValueError(f"is ambiguous: {names} are set; use I/N, such as 1/4, or set {_OURS.name}")
    (variable,) = known
    stated = environment.get(variable.total)
    if given is None and not stated:
        raise ValueError(f"is no number of shards, and {variable.name} comes without one; use auto/N, such as auto/4")
    total = _number(variable.total, environment) if stated else int(given or 0)
    if given is not None and int(given) != total:
        raise ValueError(f"differs from {variable.total}, which is {total}; use auto, or the same number")
    index = _number(variable.name, environment) - variable.first + 1
    if total and not 1 <= index <= total:
        last = total + variable.first - 1
        raise ValueError(
            f"does not fit {variable.name}, which is {environment[variable.name]}; of {total} it is from {variable.first} to {last}"
        )
    return _shard(index, total)


def _number(name: str, environment: Mapping[str, str]) -> int:
    value = environment[name]
    if not re.fullmatch("[0-9]{1,6}", value):
        raise ValueError(f"needs a number, and {name} is {value!r}")
    return int(value)
