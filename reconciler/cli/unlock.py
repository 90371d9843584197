"""``unlock``: shows who holds the locks of targets, and releases them."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from reconciler.cli.options import Subparsers, begin, confirmed, print_lines, project_of
from reconciler.errors import AwsError, ExitCode, UsageError

if TYPE_CHECKING:
    from reconciler.model.target import LockHolder
    from reconciler.workflow.locks import LockBackend


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "unlock",
        parents=[common],
        help="show and release the lock of a target",
        description="Show who holds the locks of the selected targets, and release them. A lock that is still held is released only after confirmation, or with --force.",
    )
    parser.add_argument(
        "--force", action="store_true", help="release a lock that is still held or damaged, without asking"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0 if no lock is held any more, 3 if one is kept."""
    from reconciler.workflow.locks import lock_backend

    context = begin(args)
    project, targets = project_of(context)
    backends = [(target.name, backend) for target in targets if (backend := lock_backend(target)) is not None]
    if not backends:
        raise UsageError(f"{project.path}: no selected target has a lock; add lock: to a target")
    released = [_release(name, backend, force=args.force) for name, backend in backends]
    return ExitCode.OK if all(released) else ExitCode.REFUSED


def _release(name: str, backend: LockBackend, *, force: bool) -> bool:
    """Release one lock; return ``False`` if it is kept."""
    from reconciler.model.values import format_time
    from reconciler.workflow.locks import is_gone, new_holder

    try:
        holder, token = backend.read()
    except (AwsError, UsageError):
        if not force:
            raise
        backend.force(new_holder("unlock", time.time())._replace(released=True))
        return _print(name, backend, "was damaged; released")
    if holder is None or holder.released:
        return _print(name, backend, "is free")
    if not holder.held_at(time.time()):
        end = f"expired at {format_time(holder.expires)}"
    elif is_gone(holder):
        end = "was held by a process that no longer runs"
    elif force or _confirmed(name, backend, holder):
        end = f"was held by {holder}"
    else:
        return False
    if backend.write(holder._replace(released=True), token) is None:
        print_lines(sys.stderr, f"{name}: {backend.where} has just changed; run unlock again")
        return False
    return _print(name, backend, f"{end}; released")


def _confirmed(name: str, backend: LockBackend, holder: LockHolder) -> bool:
    from reconciler.model.values import format_time

    held = f"{name}: {backend.where} is held by {holder}; expires at {format_time(holder.expires)} unless renewed"
    print_lines(sys.stderr, held)
    if not sys.stdin.isatty():
        print_lines(
            sys.stderr, "not released: cannot prompt for confirmation: no terminal. If that run has ended, use --force"
        )
        return False
    return confirmed("That run may still be changing resources. Release its lock?")


def _print(name: str, backend: LockBackend, what: str) -> bool:
    print_lines(sys.stdout, f"{name}: {backend.where} {what}")
    return True
