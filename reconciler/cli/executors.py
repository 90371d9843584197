"""``--executor`` and ``--target-timeout``: where the targets of ``plan``, ``drift`` and ``apply`` are worked on."""

from __future__ import annotations

import argparse
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from reconciler.cli.options import Context, duration
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.executors.executor import Executor

VARIABLE = "IVS_RECONCILER_EXECUTOR"
MANY_TARGETS = 200
"""From so many targets on, processes are the default: starting them costs more below, see docs/decisions.md."""

_TIMEOUT = 3600.0


class Where(NamedTuple):
    """What ``--executor`` says: ``threads``, ``processes`` or ``dask``; how many processes, or the address of a scheduler."""

    kind: str
    processes: int | None = None
    address: str = ""


def add_executor(
    parser: argparse.ArgumentParser, default: str = f"threads, and processes from {MANY_TARGETS} targets on"
) -> None:
    """Add the options for where targets are worked on; ``default`` says where without them."""
    parser.add_argument(
        "--executor",
        metavar="WHERE",
        type=_where,
        help="where targets are worked on: threads or processes[:N] of this machine, or the Dask cluster at dask://HOST:PORT "
        "or, with TLS, dask+tls://HOST:PORT "
        f"(default: {VARIABLE}, or {default})",
    )
    parser.add_argument(
        "--target-timeout",
        metavar="TIME",
        type=duration,
        help="give a target up that a process or Dask worker does not finish within TIME, such as 30m (default: 1h)",
    )


def executor_of(args: argparse.Namespace, context: Context, targets: int = 0) -> Executor:
    """Return what runs the work on so many targets; by default threads for less than ``MANY_TARGETS``. Raises ``UsageError``."""
    where, timeout = getattr(args, "executor", None) or _from_environment(), getattr(args, "target_timeout", None)
    at_once: int | None = getattr(args, "targets_at_once", None)  # comment plans without these options
    if where is None:
        where = Where("processes" if targets >= MANY_TARGETS else "threads")
    if where.kind == "threads" and timeout:
        raise UsageError("--target-timeout needs --executor processes or dask: a thread cannot be given up")
    if where.kind == "threads":
        from reconciler.executors.executor import Threads

        return Threads(at_once)
    if where.kind == "dask":
        from reconciler.executors.dask_cluster import DaskCluster

        return DaskCluster(where.address, at_once, timeout or _TIMEOUT)
    from reconciler.executors.processes import LogSettings, Processes

    logs = LogSettings(context.log_format, context.verbosity, context.no_color)
    return Processes(where.processes, at_once, timeout or _TIMEOUT, logs)


def _from_environment() -> Where | None:
    given = os.environ.get(VARIABLE)
    try:
        return _where(given) if given else None
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{VARIABLE}: {error}") from None


def _where(text: str) -> Where:
    if text in ("threads", "processes"):
        return Where(text)
    kind, _, count = text.partition(":")
    if kind == "processes" and re.fullmatch("[1-9][0-9]{0,2}", count):
        return Where(kind, int(count))
    if found := re.fullmatch(r"dask(\+tls)?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})/?", text):
        return Where("dask", address=f"{'tls' if found[1] else 'tcp'}://{found[2]}:{found[3]}")
    raise argparse.ArgumentTypeError(f"{text!r} is not threads, processes, processes:N or dask://HOST:PORT")
