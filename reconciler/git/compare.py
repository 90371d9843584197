"""Two revisions of a project compared: their desired states, target by target, with no account and no credentials.

Two desired states in, a plan's value out: what the spec of one revision would change where the spec of another is applied.

The older spec stands in the place of live state, so that replacements, orders, reasons and words are those of a real plan.
In that account a resource's ARN is its address: references read well, and nothing looks like an ARN that is none.
Nothing here can be applied: there are no calls, no ARNs, and nothing was observed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from reconciler.diff import FieldChange
from reconciler.errors import Problem, SpecError, UsageError
from reconciler.git.git import tree_of
from reconciler.git.revision import Revision, compared, inside_repository, laid_out
from reconciler.model.address import Address, KindName
from reconciler.model.kinds import KINDS
from reconciler.model.resource import DesiredResource, DesiredState, LiveResource, LiveState, digest_of
from reconciler.model.target import Project, Target
from reconciler.model.values import Ref, Value
from reconciler.plan.decide import build_plan
from reconciler.plan.plan import Action, Base, Orphan, Plan, PlanOptions, TargetPlan
from reconciler.plan.selection import misspelt
from reconciler.spec.project import DEFAULT_NAME, load_project, prefix_of
from reconciler.workflow.load import load_desired_states

EMPTY = DesiredState("", {}, "")
"""The spec where there was none: everything is new."""


def plan_between(
    base: DesiredState, head: DesiredState, options: PlanOptions, target: Target, *, notes: tuple[str, ...] = ()
) -> TargetPlan:
    """Return what would be done about one target if ``base`` were all there is and ``head`` were applied; ``notes`` come first among the plan's."""
    allowed = replace(options, prune=options.prune or target.prune)
    plan = build_plan(head, _as_live(base, head, target), allowed, target_name=target.name)
    return replace(
        plan,
        actions=tuple(_bare(action) for action in plan.actions),
        orphans=tuple(Orphan(orphan.address, "", orphan.protected) for orphan in plan.orphans),
        notes=(*notes, *_keys_left_alone(base, head), *plan.notes),
    )


def _as_live(base: DesiredState, head: DesiredState, target: Target) -> LiveState:
    resources: dict[KindName, list[LiveResource]] = {kind: [] for kind in KINDS}
    for address, resource in base.resources.items():
        if address.kind is not KindName.STREAM_KEY:
            resources[address.kind].append(_live(resource))
    # As a plan does: keys are looked at for the channels whose spec speaks of them, and every channel was born with one.
    for address in base.resources:
        key = Address(KindName.STREAM_KEY, address.id)
        if address.kind is KindName.CHANNEL and key in head.resources:
            known = base.resources.get(key)
            resources[KindName.STREAM_KEY].append(
                _live(known) if known else LiveResource(key.kind, str(key), {"channelArn": str(address)}, {})
            )
    return LiveState(
        target.account_id or "",
        target.region,
        {kind: tuple(sorted(found, key=_arn)) for kind, found in resources.items()},
    )


def _live(resource: DesiredResource) -> LiveResource:
    kind = KINDS[resource.address.kind]
    properties = {name: _by_address(value) for name, value in resource.properties.items()}
    return LiveResource(kind.name, str(resource.address), properties, resource.tags, kind.ready)


def _keys_left_alone(base: DesiredState, head: DesiredState) -> Iterator[str]:
    for address in sorted(base.resources):
        if (
            address.kind is KindName.STREAM_KEY
            and address not in head.resources
            and Address(KindName.CHANNEL, address.id) in head.resources
        ):
            yield f"{address}: its streamKey line left the spec; the key itself stays as it is until its channel is deleted"


def _bare(action: Action) -> Action:
    """Return the action without anything that speaks of an account."""
    return replace(
        action, arn=None, steps=(), observed=None, changes=tuple(_readable(change) for change in action.changes)
    )


def _readable(change: FieldChange) -> FieldChange:
    before, after = _by_address(change.before), _by_address(change.after)
    if before == after and isinstance(change.after, Ref):
        after = f"{change.after.address} (made anew)"
    return replace(change, before=before, after=after)


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


def _arn(resource: LiveResource) -> str:
    return resource.arn


@dataclass(frozen=True, slots=True)
class _Side:
    """One revision read: its project, and the desired state of each of its targets that was asked for."""

    project: Project
    states: Mapping[str, DesiredState]

    @property
    def warnings(self) -> Iterator[str]:
        """What its specs are warned of."""
        return (warning for state in self.states.values() for warning in state.warnings)


def compare_revisions(
    directory: Path,
    config: str | None,
    words: str,
    names: tuple[str, ...],
    options: PlanOptions,
    *,
    now: datetime | None = None,
) -> tuple[Plan, tuple[str, ...]]:
    """Return what the second revision would change where the first is applied, and the warnings of the second's spec.

    ``words`` are as of ``revisions.compared``; ``names`` are the targets wanted, of the second revision, all of them when empty.
    Raises ``SpecError`` with the problems of both revisions, each with the revision it is in, and ``UsageError``.
    """
    base, head = compared(directory, words)
    problems: dict[Problem, None] = {}
    before = after = None
    with _noted(problems):
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
    with _noted(problems):
        before = _read(directory, config, base, names, lenient=True)
    if problems or after is None:
        raise SpecError(tuple(problems))
    addresses = {
        address for side in (before, after) if side for state in side.states.values() for address in state.resources
    }
    wrong = misspelt(options.only, options.exclude, addresses, "no address of either revision")
    if wrong:
        raise UsageError("\n".join(wrong))
    targets: list[TargetPlan] = []
    for name, desired in after.states.items():
        target = after.project.targets[name]
        known, notes = _before(before, target)
        targets.append(
            plan_between(known, desired, options, target, notes=(*notes, *_gone(before, after, first=not targets)))
        )
    plan = Plan(
        stack=after.project.stack,
        created_at=(now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        git_commit=head.commit if head else None,
        spec_digest="sha256:" + digest_of({name: state.digest for name, state in after.states.items()}),
        options=options,
        targets=tuple(targets),
        git_tree=tree_of(directory, head.commit) if head else None,
        base=Base(base.name, base.commit),
        of_revisions=True,
    )
    return plan, tuple(dict.fromkeys(after.warnings))


def _read(
    directory: Path, config: str | None, revision: Revision | None, names: tuple[str, ...], *, lenient: bool = False
) -> _Side | None:
    """Read one side; ``lenient`` passes over a target that it lacks. Problems say which revision they are in."""
    if revision is None:
        return _side(load_project(directory, config, prefix=prefix_of(directory, config)), names, lenient=lenient)
    try:
        with laid_out(directory, config or DEFAULT_NAME, revision) as root:
            if root is None:
                return None
            name = Path(config or DEFAULT_NAME).name
            prefix = prefix_of(str(inside_repository(directory, config or DEFAULT_NAME).parent), name)
            return _side(load_project(root, name, prefix=prefix), names, lenient=lenient)
    except SpecError as error:
        raise SpecError(tuple(_in_revision(problem, revision) for problem in error.problems)) from None


def _in_revision(problem: Problem, revision: Revision) -> Problem:
    """Return a problem whose place names the revision too, the way git writes it."""
    return problem._replace(where=f"{revision.name}:{problem.where}")


def _side(project: Project, names: tuple[str, ...], *, lenient: bool) -> _Side:
    unknown = [name for name in names if name not in project.targets]
    if unknown and not lenient:
        raise UsageError(f"no target {', '.join(map(repr, unknown))}; the targets are {', '.join(project.targets)}")
    targets = tuple(target for name, target in project.targets.items() if not names or name in names)
    return _Side(project, load_desired_states(project, targets))


def _before(side: _Side | None, target: Target) -> tuple[DesiredState, tuple[str, ...]]:
    """Return what the first revision wanted of a target, and what has to be said about that."""
    if side is None:
        return EMPTY, ("the first revision has no project file, so everything is new",)
    known = side.project.targets.get(target.name)
    if known is None:
        return EMPTY, ("the first revision has no such target, so everything is new",)
    if (known.region, known.account_id) != (target.region, target.account_id):
        was, now = (f"account {one.account_id or 'not stated'}, region {one.region}" for one in (known, target))
        return EMPTY, (
            f"the target means another place now ({now}; it was {was}), so everything is new there, and what is in the old place stays",
        )
    return side.states[target.name], ()


def _gone(before: _Side | None, after: _Side, *, first: bool) -> Iterator[str]:
    """Say, once, which targets the second revision has no more."""
    if before and first:
        for name in before.states:
            if name not in after.project.targets:
                yield f"target {name} left the project file; what is there stays, and nobody looks after it"


@contextlib.contextmanager
def _noted(problems: dict[Problem, None]) -> Iterator[None]:
    try:
        yield
    except SpecError as error:
        problems.update(dict.fromkeys(error.problems))
