"""Two revisions of a project compared: their desired states, target by target, with no account and no credentials."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from reconciler.errors import Problem, SpecError, UsageError
from reconciler.gitops.repository import tree_of
from reconciler.gitops.revisions import Revision, compared, inside_repository, laid_out
from reconciler.model.resource import DesiredState, digest_of
from reconciler.model.target import Project, Target
from reconciler.pipeline.loading import load_desired_states
from reconciler.plan.actions import Base, Plan, PlanOptions, TargetPlan
from reconciler.plan.between import EMPTY, plan_between
from reconciler.plan.scope import misspelt
from reconciler.spec.project import DEFAULT_NAME, load_project, prefix_of


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
