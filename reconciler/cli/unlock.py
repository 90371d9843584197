"""``unlock``: shows who holds the locks of targets, and releases them."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from reconciler.cli.options import Subparsers, context_of, project_of
from reconciler.errors import ExitCode

if TYPE_CHECKING:
    from reconciler.model.lock import Holder
    from reconciler.workflow.locks import Door


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "unlock",
        parents=[common],
        help="show who holds the lock of a target, and release it",
        description="Show who holds the locks of the targets asked for, and release them. A lock that is still held is released only after a question, or with --force.",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="release a lock that is still held, without a question, and one that cannot be understood",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb: 0 when no lock is held any more, 3 when one stays."""
    from reconciler.errors import UsageError
    from reconciler.logs import configure
    from reconciler.workflow.locks import door_of

    context = context_of(args)
    configure(context.log_format, context.verbosity)
    project, targets = project_of(context)
    doors = [(target.name, door) for target in targets if (door := door_of(target)) is not None]
    if not doors:
        raise UsageError(f"{project.path}: no target asked for has a lock; write lock: in a target to have one")
    released = [_release(name, door, force=args.force) for name, door in doors]
    return ExitCode.OK if all(released) else ExitCode.REFUSED


def _release(name: str, door: Door, *, force: bool) -> bool:
    """Release one lock; ``False`` when it stays."""
    import time
    from dataclasses import replace

    from reconciler.errors import AwsError, UsageError
    from reconciler.model.lock import moment
    from reconciler.workflow.locks import is_dead, this_run

    try:
        holder, token = door.read()
    except (AwsError, UsageError):
        if not force:
            raise
        door.force(replace(this_run("unlock", time.time()), released=True))
        return _said(name, door, "was not a lock that is understood, and is free now")
    if holder is None or holder.released:
        return _said(name, door, "is free")
    if not holder.held_at(time.time()):
        end = f"expired at {moment(holder.expires)}"
    elif is_dead(holder):
        end = "is held by a process that is gone"
    elif force or _agreed(name, door, holder):
        end = f"was held by {holder}"
    else:
        return False
    if door.write(replace(holder, released=True), token) is None:
        sys.stderr.write(f"{name}: {door.where} changed just now; look again\n")
        return False
    return _said(name, door, f"{end}; it is free now")


def _agreed(name: str, door: Door, holder: Holder) -> bool:
    from reconciler.model.lock import moment

    sys.stderr.write(
        f"{name}: {door.where} is held by {holder}; it expires at {moment(holder.expires)} unless it is renewed\n"
    )
    if not sys.stdin.isatty():
        sys.stderr.write("not released: there is no terminal to ask at; if that run is surely over, add --force\n")
        return False
    sys.stderr.write("Release it, although that run may still be changing things? Only 'yes' is taken as yes: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip() == "yes"


def _said(name: str, door: Door, what: str) -> bool:
    sys.stdout.write(f"{name}: {door.where} {what}\n")
    return True
