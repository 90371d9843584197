"""Compares two revisions of a project, without an account or credentials: what applying one over the other would change.

The base's spec takes the place of live state, so that replacements, order and reasons are those of a real plan.
A resource's ARN there is its address, so that references are readable and nothing looks like a real ARN.
The plan cannot be applied: it has no steps and no ARNs, and nothing was read from AWS.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

from reconciler.diff import FieldChange
from reconciler.errors import Problem, SpecError, UsageError
from reconciler.git.clone import missing_files, tree_of
from reconciler.git.revision import Revision, changed_settings, checked_out, inside_repository, parse_range, settings_of
from reconciler.model.address import KindName
from reconciler.model.kinds import CHILD_KINDS, KINDS, LISTED, child_of, parent_of
from reconciler.model.resource import DesiredResource, DesiredState, LiveResource, LiveState, digest_of
from reconciler.model.target import Project, Target
from reconciler.model.values import Ref, Value, format_time
from reconciler.plan.decide import build_plan
from reconciler.plan.plan import Action, Base, Orphan, Plan, PlanOptions, Reason, SettingChange, TargetPlan, Verb
from reconciler.plan.selection import unmatched_globs
from reconciler.spec.desired import load_desired_states
from reconciler.spec.files import Missing
from reconciler.spec.problems import target_hint
from reconciler.spec.project import DEFAULT_NAME, load_project, prefix_of

EMPTY = DesiredState("", {}, "")
"""The spec of a target that the base lacks: everything is new."""


def plan_between(
    base: DesiredState, head: DesiredState, options: PlanOptions, target: Target, *, notes: tuple[str, ...] = ()
) -> TargetPlan:
    """Return the plan of one target if ``base`` were live and ``head`` were applied; ``notes`` come first among the plan's."""
    allowed = options.of(target)
    plan = build_plan(head, _as_live(base, head, target), allowed, target_name=target.name)
    actions = tuple(_without_account(action) for action in plan.actions)
    return plan._replace(
        actions=actions,
        summary=plan.summary.counting(actions),
        unmanaged=(),  # of another stack by the base's name for it, and in no account
        orphans=tuple(Orphan(orphan.address, "", orphan.protected) for orphan in plan.orphans),
        notes=(*notes, *_kept_stream_keys(base, head), *plan.notes),
    )


def _as_live(base: DesiredState, head: DesiredState, target: Target) -> LiveState:
    resources: dict[KindName, list[LiveResource]] = {kind: [] for kind in KINDS}
    for address, resource in base.resources.items():
        if address.kind in LISTED:
            resources[address.kind].append(_live(resource))
    # As in a plan: only stream keys in the spec are compared, and every channel was created with one.
    for address in base.resources:
        former, key = child_of(address), child_of(head.moved.get(address, address))
        if key is None or former is None:
            continue
        known = base.resources.get(former)
        if key in head.resources or (known and not head.forget.isdisjoint((address, former))):
            resources[key.kind].append(
                _live(known) if known else LiveResource(key.kind, str(key), {"channelArn": str(address)}, {})
            )
    return LiveState(
        target.account_id or "",
        target.region,
        {kind: tuple(sorted(found, key=attrgetter("arn"))) for kind, found in resources.items()},
    )


def _live(resource: DesiredResource) -> LiveResource:
    kind = KINDS[resource.address.kind]
    properties = {name: _by_address(value) for name, value in resource.properties.items()}
    return LiveResource(kind.name, str(resource.address), properties, resource.tags, kind.ready)


def _kept_stream_keys(base: DesiredState, head: DesiredState) -> Iterator[str]:
    for address in sorted(base.resources):
        if address in head.resources or address in head.forget:
            continue
        if address.kind in CHILD_KINDS and parent_of(address) in head.resources:
            yield f"{address}: streamKey was removed from the spec; the key is kept until its channel is deleted"


def _without_account(action: Action) -> Action:
    """Return the action without anything that belongs to an account."""
    if action.verb is Verb.CREATE and action.blocked is not None and action.blocked.code == "no-public-key":
        # It is in the account, or the plan of the account will say that it is not.
        action = action._replace(
            verb=Verb.ADOPT,
            reason=Reason.CONSENTED,
            explanation="adopted by its fingerprint, with --adopt",
            blocked=None,
        )
    return action._replace(
        arn=None, steps=(), observed=None, changes=tuple(_readable(change) for change in action.changes)
    )


def _readable(change: FieldChange) -> FieldChange:
    before, after = _by_address(change.before), _by_address(change.after)
    if before == after and isinstance(change.after, Ref):
        after = f"{change.after.address} (recreated)"
    return change._replace(before=before, after=after)


def _by_address(value: Value) -> Value:
    match value:
        case Ref():
            return str(value.address)
        case Mapping():
            return {key: _by_address(item) for key, item in value.items()}
        case tuple():
            return tuple(_by_address(item) for item in value)
        case _:
            return value


@dataclass(frozen=True, slots=True)
class _Side:
    """One revision, read: its project, and the desired states of the selected targets."""

    project: Project
    states: Mapping[str, DesiredState]
    settings: Mapping[str, Any]
    """Those of the project file, as written."""

    @property
    def warnings(self) -> Iterator[str]:
        """The warnings of its specs."""
        return (warning for state in self.states.values() for warning in state.warnings)


def compare_revisions(
    directory: Path, config: str | None, text: str, names: tuple[str, ...], options: PlanOptions
) -> tuple[Plan, tuple[str, ...]]:
    """Return the plan from the first revision to the second, and the warnings of the second's spec.

    ``text`` is as for ``parse_range``; ``names`` selects targets of the second revision, all if empty.
    Raises ``SpecError`` with the problems of both revisions, each with its revision, and ``UsageError``.
    """
    base, head = parse_range(directory, text)
    problems: dict[Problem, None] = {}
    before = after = None
    with _collecting(problems):
        after = _read(directory, config, head, names)
        if after is None and head is not None:
            problems[
                Problem(
                    f"{head.name}:{inside_repository(directory, config or DEFAULT_NAME)}",
                    "",
                    "no such project file in this revision",
                    "check the revision, or --config",
                )
            ] = None
    with _collecting(problems):
        before = _read(directory, config, base, names, lenient=True)
    if problems or after is None:
        raise SpecError(tuple(problems))
    addresses = {
        address for side in (before, after) if side for state in side.states.values() for address in state.resources
    }
    wrong = unmatched_globs(options.only, options.exclude, addresses, "no address of either revision")
    if wrong:
        raise UsageError("\n".join(wrong))
    targets: list[TargetPlan] = []
    for name, desired in after.states.items():
        target = after.project.targets[name]
        known, notes = _base_state(before, target)
        targets.append(
            plan_between(
                known, desired, options, target, notes=(*notes, *_removed_targets(before, after, first=not targets))
            )
        )
    plan = Plan(
        stack=after.project.stack,
        created_at=format_time(datetime.now(UTC)),
        git_commit=head.commit if head else None,
        spec_digest="sha256:" + digest_of({name: state.digest for name, state in after.states.items()}),
        options=options,
        targets=tuple(targets),
        git_tree=tree_of(directory, head.commit) if head else None,
        base=Base(base.name, base.commit, _settings(before, after)),
        of_revisions=True,
    )
    return plan, tuple(dict.fromkeys(after.warnings))


def _read(
    directory: Path, config: str | None, revision: Revision | None, names: tuple[str, ...], *, lenient: bool = False
) -> _Side | None:
    """Read one side; ``lenient`` allows selected targets that it lacks. Problems name their revision."""
    if revision is None:
        project = load_project(directory, config, prefix=prefix_of(directory, config), allowed_paths=None)
        return _side(project, names, missing_files(Path(project.root)), lenient=lenient)
    file = config or DEFAULT_NAME
    try:
        with checked_out(directory, file, revision) as found:
            if found is None:
                return None
            name = Path(file).name
            prefix = prefix_of(str(inside_repository(directory, file).parent), name)
            return _side(
                load_project(found.root, name, prefix=prefix, allowed_paths=None), names, found.missing, lenient=lenient
            )
    except SpecError as error:
        raise SpecError(tuple(_in_revision(problem, revision) for problem in error.problems)) from None


def _in_revision(problem: Problem, revision: Revision) -> Problem:
    """Return the problem with its place written as git does: ``REVISION:file:line:col``."""
    return problem._replace(where=f"{revision.name}:{problem.where}")


def _side(project: Project, names: tuple[str, ...], missing: tuple[Missing, ...], *, lenient: bool) -> _Side:
    unknown = [name for name in names if name not in project.targets]
    if unknown and not lenient:
        hint = target_hint(unknown[0], project.targets)
        raise UsageError(f"no target {', '.join(map(repr, unknown))}; {hint}")
    targets = tuple(target for name, target in project.targets.items() if not names or name in names)
    settings = settings_of(Path(project.path).read_bytes())
    return _Side(project, load_desired_states(project, targets, missing), settings)


def _settings(before: _Side | None, after: _Side) -> tuple[SettingChange, ...]:
    if before is None:
        return ()
    return changed_settings(before.settings, after.settings, before.project, after.project)


def _base_state(side: _Side | None, target: Target) -> tuple[DesiredState, tuple[str, ...]]:
    """Return the base's desired state of a target, and notes about it."""
    if side is None:
        return EMPTY, ("the base revision has no project file: everything is new",)
    known = side.project.targets.get(target.name)
    if known is None:
        return EMPTY, ("the base revision has no such target: everything is new",)
    if (known.region, known.account_id) != (target.region, target.account_id):
        was, now = (f"account {one.account_id or '(not set)'}, region {one.region}" for one in (known, target))
        return EMPTY, (
            f"the target's account or region changed (was {was}; now {now}): everything is new there, and existing resources are kept",
        )
    return side.states[target.name], ()


def _removed_targets(before: _Side | None, after: _Side, *, first: bool) -> Iterator[str]:
    """Yield a note for each target that the second revision lacks; only for the first target of a plan."""
    if before and first:
        for name in before.states:
            if name not in after.project.targets:
                yield f"target {name} was removed from the project file; its resources are kept and no longer managed"


@contextlib.contextmanager
def _collecting(problems: dict[Problem, None]) -> Iterator[None]:
    try:
        yield
    except SpecError as error:
        problems.update(dict.fromkeys(error.problems))
