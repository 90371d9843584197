"""Files that runs wrote: saved plans, drift reports, events of applies. Those of several shards are one report.

Files that do not fit together are refused with all reasons: a report of two commits or two stacks would describe neither.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from reconciler.apply.events import read_events
from reconciler.drift.report import DRIFT_OUTPUT, EVENTS_OUTPUT, DriftReport, DriftReports, describe_output, read_drift
from reconciler.errors import PlanRefused, UsageError, os_reason
from reconciler.files import read_report as read_text
from reconciler.files import report_parts
from reconciler.json_format import FormatError
from reconciler.model.resource import digest_of
from reconciler.model.target import Shards
from reconciler.plan.codec import read_plan
from reconciler.plan.plan import ApplyResult, Plan

_EXPECTED = "expected the output of plan --out, drift --format json or apply --format json"
_MAX_MISFITS = 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Report:
    """The content of one file, or of several: a plan, drift reports or results of an apply.

    ``failed`` are the targets that drift or an apply could not read, and why; ``shards`` those that the targets are of, if they are not all.
    """

    stack: str
    plan: Plan | None = None
    drift: tuple[DriftReport, ...] = ()
    results: tuple[ApplyResult, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    shards: Shards | None = None


def read_reports(paths: Sequence[Path]) -> Report:
    """Return the report of one file, or of all of them: saved plans, drift reports, or events of applies.

    Raises ``UsageError``, and ``PlanRefused`` for plans that were edited or do not fit together.
    """
    read = [(str(path), _read(path)) for path in paths]
    kinds = [(name, kind) for name, (kind, _) in read]
    for name, kind in kinds[1:]:
        if kind != kinds[0][1]:
            raise UsageError(f"{kinds[0][0]} is {kinds[0][1]} and {name} is {kind}; pass files of one kind")
    plans = [(name, content) for name, (_, content) in read if isinstance(content, Plan)]
    drifts = [(name, content) for name, (_, content) in read if isinstance(content, DriftReports)]
    if plans:
        plan = merge_plans(plans)
        return Report(plan.stack, plan, shards=plan.shards)
    if drifts:
        drift = merge_drift(drifts)
        return Report(drift.stack, drift=drift.reports, failed=drift.failed, shards=drift.shards)
    results = [(name, content) for name, (_, content) in read if isinstance(content, _Results)]
    _check([(name, _Part(one.stack, [*_names(one.results), *one.failed])) for name, one in results], UsageError)
    return Report(
        results[0][1].stack,
        results=_by_name([one for _, each in results for one in each.results]),
        failed={name: message for _, each in results for name, message in sorted(each.failed.items())},
    )


def read_drift_reports(paths: Sequence[Path]) -> DriftReports:
    """Return the drift reports of all files as one. Raises ``UsageError``, also for files that hold something else."""
    read = [(path, _read(path)) for path in paths]
    for path, (kind, content) in read:
        if not isinstance(content, DriftReports):
            raise UsageError(f"{path}: {kind}, not a drift report; save one with drift --format json")
    return merge_drift([(str(path), one) for path, (_, one) in read if isinstance(one, DriftReports)])


class _Results(NamedTuple):
    stack: str
    results: tuple[ApplyResult, ...]
    failed: Mapping[str, str]


def _read(path: Path) -> tuple[str, Plan | DriftReports | _Results]:
    """Return what a file holds, in words, and its content. Raises ``UsageError`` and ``PlanRefused``."""
    try:
        if path.is_file():
            # A large plan is not to be in memory as text as well. What else it may be is found out below.
            with contextlib.suppress(UsageError, PlanRefused, ValueError, RecursionError):
                return "a saved plan", read_plan(report_parts(path))
        text = read_text(path)
    except OSError as error:
        raise UsageError(f"{path}: {os_reason(error)}; {_EXPECTED}") from None
    except ValueError:
        raise UsageError(f"{path}: not a report (not text); {_EXPECTED}") from None
    if not text.strip():
        raise UsageError(
            f"{path}: empty: the run that should have written it failed; run it again, or leave the file out"
        )
    try:
        return _parsed(text)
    except (UsageError, PlanRefused) as error:
        sort = describe_output(text)
        raise type(error)(f"{path}: {f'{sort}, which cannot be posted; {_EXPECTED}' if sort else error}") from None
    except FormatError as error:
        raise UsageError(f"{path}: not a valid report: {error}") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{path}: not a report (not JSON); {_EXPECTED}") from None


def _parsed(text: str) -> tuple[str, Plan | DriftReports | _Results]:
    lines = text.splitlines()
    if lines and lines[0].startswith('{"type"'):
        return EVENTS_OUTPUT, _Results(*read_events([json.loads(line) for line in lines if line.strip()]))
    content = json.loads(text)
    if isinstance(content, dict) and "drifted" in content:
        return DRIFT_OUTPUT, read_drift(content)
    return "a saved plan", read_plan([text])


def merge_plans(files: Sequence[tuple[str, Plan]]) -> Plan:
    """Return the plans of several files, each with its name, as one: the targets by name, created when the first was.

    Raises ``PlanRefused`` with all reasons why they do not fit together.
    """
    (first_name, first), *others = files
    if not others:
        return first
    parts = [
        (name, _Part(plan.stack, [*_names(plan.targets), *_names(plan.failed)], plan.shards)) for name, plan in files
    ]
    _check(parts, PlanRefused, _other_origins(first_name, first, others), "Run plan again for all of them.")
    targets = _by_name([target for _, plan in files for target in plan.targets])
    return first._replace(
        created_at=min(plan.created_at for _, plan in files),
        spec_digest="sha256:" + digest_of({target.name: target.spec_digest for target in targets}),
        targets=targets,
        failed=_by_name([failed for _, plan in files for failed in plan.failed]),
        shards=_together([plan.shards for _, plan in files]),
    )


def _other_origins(first_name: str, first: Plan, others: Sequence[tuple[str, Plan]]) -> Iterator[str]:
    for name, plan in others:
        if plan.git_commit != first.git_commit:
            commit, expected = (one.git_commit or "none" for one in (plan, first))
            yield f"{name} was created from commit {commit}, {first_name} from {expected}"
        elif plan.git_tree != first.git_tree or plan.of_revisions != first.of_revisions:
            yield f"{name} was created from other files than {first_name}"
        if plan.base != first.base:
            yield f"{name} was created with another base than {first_name}"
        if plan.options != first.options:
            yield f"{name} was created with other options than {first_name}"


def merge_drift(files: Sequence[tuple[str, DriftReports]]) -> DriftReports:
    """Return the drift reports of several files, each with its name, as one, by name of target.

    Raises ``UsageError`` with all reasons why they do not fit together.
    """
    (first_name, first), *others = files
    if not others:
        return first
    parts = [(name, _Part(one.stack, [*_names(one.reports), *one.failed], one.shards)) for name, one in files]
    scopes = (
        f"{name} was created with other options than {first_name}"
        for name, one in others
        if (one.only, one.exclude) != (first.only, first.exclude)
    )
    _check(parts, UsageError, scopes, "Run drift again for all of them.")
    failed = {name: message for _, one in files for name, message in one.failed.items()}
    return first._replace(
        reports=_by_name([report for _, one in files for report in one.reports]),
        failed=dict(sorted(failed.items())),
        shards=_together([one.shards for _, one in files]),
    )


class _Part(NamedTuple):
    """What one of several files is about: its stack, the names of its targets, its shards."""

    stack: str
    targets: Sequence[str]
    shards: Shards | None = None


def _check(
    parts: Sequence[tuple[str, _Part]],
    refuse: Callable[[str], Exception],
    others: Iterable[str] = (),
    next_step: str = "Pass files of one run.",
) -> None:
    """Raise ``refuse`` with a line for each reason why files are not parts of one report."""
    twice = [name for name, count in Counter(name for name, _ in parts).items() if count > 1]
    if twice:
        raise refuse(f"{', '.join(twice)}: given twice; pass each file once")
    misfits = [*_misfits(parts), *others]
    if not misfits:
        return
    more = len(misfits) - _MAX_MISFITS
    lines = [*misfits[:_MAX_MISFITS], *([f"and {more:,} more reasons"] if more > 0 else [])]
    raise refuse("\n".join(("the files do not fit together:", *(f"  {line}" for line in lines), next_step)))


def _misfits(parts: Sequence[tuple[str, _Part]]) -> Iterator[str]:
    first_name, first = parts[0]
    totals: dict[int, str] = {}
    seen: dict[str, str] = {}
    indexes: dict[int, str] = {}
    for name, part in parts:
        if part.stack != first.stack:
            yield f"{name} is for stack {part.stack!r}, {first_name} for stack {first.stack!r}"
        for target in part.targets:
            if target in seen:
                yield f"target {target} is in {seen[target]} and in {name}"
            seen.setdefault(target, name)
        if part.shards is None:
            continue
        total, of = next(iter(totals.items()), (part.shards.total, name))
        if total != part.shards.total:
            yield f"{name} is of {part.shards.total:,} shards, {of} of {total:,}"
        totals.setdefault(part.shards.total, name)
        for index in part.shards.included if not part.targets else ():
            if index in indexes:
                yield f"shard {index} is in {indexes[index]} and in {name}"
            indexes.setdefault(index, name)


def _together(shards: Sequence[Shards | None]) -> Shards | None:
    """Return the shards of all files; ``None`` if none is missing."""
    found: Shards | None = None
    for one in shards:
        found = one if found is None or one is None else found.with_(one)
    return found if found and found.missing else None


def _names(parts: Sequence[object]) -> list[str]:
    return [str(getattr(part, "name", "")) for part in parts]


def _by_name(parts: Sequence[T]) -> tuple[T, ...]:
    return tuple(sorted(parts, key=lambda part: str(getattr(part, "name", ""))))
