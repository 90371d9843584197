"""Which commits a plan is of, and whether they are still the ones at hand.

A plan of a pull request is made from its head, or from the merge that the forge tries; it is applied there, or after the merge.
It still fits where the very commit is checked out, or one that carries the same files on top of the same base: then nothing came in between.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from reconciler.errors import StalePlan, UsageError
from reconciler.gitops.repository import commit_of, head_commit, holds, tree_of
from reconciler.plan.actions import Base, Plan


def with_origin(plan: Plan, root: Path, base: str | None) -> Plan:
    """Return the plan with what git knows of its origin; ``base`` names what its commit is to be merged into. Raises ``UsageError``."""
    if plan.git_commit is None:
        if base:
            raise UsageError(f"--base {base}: {root} is not in a git repository with a commit")
        return plan
    found = None
    if base:
        commit = commit_of(root, base)
        if commit is None:
            raise UsageError(
                f"--base {base} stands for no commit in this clone; fetch it first (a shallow clone lacks most)"
            )
        found = Base(base, commit)
    return replace(plan, git_tree=tree_of(root, plan.git_commit), base=found)


def must_be_current(plan: Plan, root: Path, base: str | None) -> None:
    """Raise ``StalePlan`` when the checked-out commit, or the base, is not the one that the plan was made for.

    ``base`` names where the base is now; the plan knows the name it was made with.
    """
    if plan.git_commit is None:
        raise StalePlan(
            "plan refused: it does not say which commit it is of, because it was made outside a git repository; plan again in a clone"
        )
    if plan.base is None and base:
        raise StalePlan(
            f"plan refused: it was made without a base to hold {base} against; plan again with --base {base}"
        )
    head = head_commit(root)
    if head is None:
        raise StalePlan(
            f"plan refused: {root} is not in a git repository with a commit, so nothing says that {plan.git_commit} is at hand"
        )
    moved = []
    same_files = plan.git_tree is not None and tree_of(root, head) == plan.git_tree
    fits = head == plan.git_commit or (same_files and (plan.base is None or holds(root, plan.base.commit, head)))
    if not fits:
        moved.append(f"  the commit moved: {head} is checked out, and the plan is of {plan.git_commit}")
    if plan.base is not None:
        name = base or plan.base.name
        now = commit_of(root, name)
        if now is None:
            moved.append(f"  the base {name} stands for no commit here; fetch it")
        elif now != plan.base.commit and not (
            fits and now == head
        ):  # the merge itself moves the base, to what is checked out
            moved.append(f"  the base moved: {name} is at {now}, and the plan was made for {plan.base.commit}")
    if moved:
        raise StalePlan("\n".join(["plan refused: it is stale, because since it was made", *moved, "plan again"]))
