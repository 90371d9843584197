"""What controllers of one ``state:`` report to each other: the last reconciliation of each target, for the pages of the others.

Nothing is decided by it; who may change a target is what its lock decides. The bucket may hold anything, so what is read is checked.
"""

from __future__ import annotations

import json
import re
import socket
from dataclasses import asdict, dataclass
from typing import Any

from reconciler.controller.state import Run, RunStatus
from reconciler.model.target import Project
from reconciler.workflow.records import BucketUnusable, shared_records

INTERVAL_SECONDS = 60.0
"""How often a controller reads what the others wrote."""

_FORMAT = "1.0"
_LONGEST = 300
_COMMIT = re.compile(r"[0-9a-f]{40,64}")


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
            run.message[:_LONGEST],
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
                _text(content["stack"]),
                _text(content["target"]),
                _text(content["account"]),
                _text(content["region"]),
                _text(content["controller"]),
                mode=_text(content["mode"]),
                message=_text(content["message"]),
                managed=_count(content["managed"]),
                drifted=_count(content["drifted"]),
                pending=_count(content["pending"]),
                commit=_commit(content["commit"]),
                status=RunStatus(content["status"]),
                at=_moment(content["at"]),
                applied=applied
                and LastApply(
                    _moment(applied["at"]),
                    _commit(applied["commit"]),
                    RunStatus(applied["status"]),
                    _count(applied["done"]),
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


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value[:_LONGEST].encode(errors="replace").decode()  # half a surrogate pair is in no page


def _commit(value: Any) -> str:
    if not isinstance(value, str) or not _COMMIT.fullmatch(value):
        raise ValueError("not a commit")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a count")
    return value


def _moment(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < 1e11:
        raise ValueError("not a time")
    return float(value)
