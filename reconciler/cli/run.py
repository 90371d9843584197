"""``run``: the controller. Follows a branch, reconciles every target on its schedule, serves health, metrics and status pages."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from reconciler.cli.options import Context, Subparsers, add_shard, context_of, print_lines
from reconciler.controller.webhooks import WEBHOOKS
from reconciler.errors import ExitCode, UsageError, imports_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reconciler.controller.config import Options
    from reconciler.controller.controller import Snapshot
    from reconciler.controller.store import Store

_OPTIONS = {
    "repo": ("url", "URL", "repository: an https or ssh URL, or a directory"),
    "branch": ("branch", "NAME", "branch to follow (default: main)"),
    "path": ("path", "DIR", "directory of the project file in the repository (default: its root)"),
    "username": ("username", "NAME", "user name for the token (default: x-access-token)"),
    "token-file": (
        "token_file",
        "FILE",
        "file with the token for an https repository (default: IVS_RECONCILER_GIT_TOKEN in the environment)",
    ),
    "ssh-key": ("ssh_key", "FILE", "private key for an ssh repository"),
    "known-hosts": ("known_hosts", "FILE", "accepted host keys of an ssh repository"),
    "verify-signatures": (
        "allowed_signers",
        "ALLOWED_SIGNERS",
        "follow only commits signed by a key in this file (as ssh-keygen(1) describes it)",
    ),
    "state": ("state", "DIR", "directory for the repository mirror and the history (default: controller-state)"),
    "listen": ("listen", "HOST:PORT", "address to serve on (default: 127.0.0.1:8080)"),
    "public-url": ("public_url", "URL", "public URL of the status page, for links in notifications"),
    "control-token-file": (
        "control_token_file",
        "FILE",
        "file with the token for signing in, and for POST /reconcile, /suspend and /resume (default: IVS_RECONCILER_CONTROL_TOKEN)",
    ),
    **{
        hook.option: (f"webhook_files.{hook.forge}", "FILE", f"file with the {hook.what} (default: {hook.variable})")
        for hook in WEBHOOKS
    },
    "fetch-interval": ("fetch_interval", "TIME", "how often to fetch the branch (default: 60s)"),
    "jitter": ("jitter", "PERCENT", "random variation of intervals (default: 10)"),
    "targets-at-once": (
        "at_once",
        "N",
        "targets reconciled at the same time (default: 8 for each processor, at most 32, fewer where ulimit -n is low)",
    ),
    "keep-days": ("keep_days", "N", "days to keep history (default: 30)"),
    "keep-runs": ("keep_runs", "N", "reconciliations to keep for each target (default: 5000)"),
}


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "run",
        parents=[common],
        help="run the controller: follow a git branch, reconcile on a schedule, serve a status page",
        description="Follow a branch of a git repository and reconcile every target on a schedule. "
        "The default mode, observe, changes nothing. --config and --target refer to the project file in the repository.",
    )
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="controller settings as YAML, under controller:; command-line options override it",
    )
    group = parser.add_argument_group("controller options")
    for name, (_, metavar, text) in _OPTIONS.items():
        group.add_argument(f"--{name}", metavar=metavar, help=text)
    add_shard(group)
    group.add_argument(
        "--allow-host",
        metavar="NAME",
        action="append",
        default=[],
        help="accept requests with this Host, besides addresses, localhost, names without a dot, and those of --listen and --public-url; repeatable",
    )
    group.add_argument(
        "--mode",
        metavar="[TARGET=]MODE",
        action="append",
        default=[],
        help="observe (default), plan, heal or apply, for all targets or one; repeatable",
    )
    group.add_argument(
        "--interval",
        metavar="[TARGET=]TIME",
        action="append",
        default=[],
        help="reconciliation interval (default: 10m), for all targets or one; repeatable",
    )
    group.add_argument(
        "--window",
        metavar="[TARGET=]WINDOW",
        action="append",
        default=[],
        help='when targets may be applied, such as "0 9 * * MON-FRI for 8h in Europe/Berlin" (cron, duration, time zone; default: always), '
        "for all targets or one; repeatable",
    )
    group.add_argument(
        "--allow-rewind",
        action="store_true",
        help="follow the branch even if it was moved back or rewritten; for the first fetch after this start",
    )
    group.add_argument(
        "--allow-new-stack",
        action="store_true",
        help="follow a commit that renames the stack; for the first fetch after this start",
    )
    acts = parser.add_argument_group("one-time actions").add_mutually_exclusive_group()
    acts.add_argument(
        "--once",
        action="store_true",
        help="fetch, reconcile every target once, print the results, and exit as drift does",
    )
    for name, text in (
        ("suspend", "suspend a target until it is resumed"),
        ("resume", "resume a suspended target"),
        ("now", "reconcile a target now"),
        (
            "accept",
            "apply the mode to a target that is new, or was moved to another account, region or role; CHECK, as the controller reports it, refuses if the target was moved again",
        ),
    ):
        acts.add_argument(
            f"--{name}",
            metavar="TARGET[@CHECK]" if name == "accept" else "TARGET",
            help=f"{text} (controller of --state)",
        )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code: 0; with ``--once`` as ``drift``, 3 if a plan was refused, 4 if an apply partially failed."""
    from reconciler.logs import configure

    context = context_of(args)
    verbosity = context.verbosity if args.once else max(1, context.verbosity)
    configure(context.log_format, verbosity, no_color=context.no_color)
    options = options_of(args, context)
    folder = (context.directory / options.state).absolute()
    if args.suspend or args.resume or args.now or args.accept:
        return _one_time_action(args, folder, options)
    return _once(context, folder, options) if args.once else _serve(context, folder, options)


def options_of(args: argparse.Namespace, context: Context) -> Options:
    """Return the options of the settings file, overridden by those of the command line. Raises ``UsageError`` and ``SpecError``."""
    from reconciler.controller.config import (
        READERS,
        Options,
        parse_duration,
        parse_mode,
        parse_window,
        read_options,
        with_values,
    )

    options = read_options(context.directory / args.config_file) if args.config_file else Options()
    found: dict[str, Any] = {}
    for name, (attribute, _, _) in _OPTIONS.items():
        if (text := getattr(args, name.replace("-", "_"))) is not None:
            found[attribute] = _read(f"--{name}", text, READERS.get(attribute, str))
    for flag, one, many, read in (
        ("mode", "mode", "modes", parse_mode),
        ("interval", "interval", "intervals", parse_duration),
    ):
        for word in getattr(args, flag):
            target, given, text = word.rpartition("=")
            value = _read(f"--{flag}", text, read)
            found[f"{many}.{target}" if given else one] = value
    for word in args.window:
        target, given, text = word.rpartition("=")
        place = f"windows_of.{target}" if given else "windows"
        found[place] = (*found.get(place, ()), _read("--window", text, parse_window))
    if args.allow_host:
        found["hosts"] = tuple(args.allow_host)
    if context.pin:
        found["pin"] = context.pin
    if context.shard:
        found["shard"] = context.shard
    if context.allowed_paths:
        found["allowed_paths"] = context.allowed_paths
    return with_values(
        options,
        {**found, "allow_rewind": args.allow_rewind, "allow_new_stack": args.allow_new_stack},
        context.directory,
    )


def _read(flag: str, text: str, read: Callable[[object], Any]) -> Any:
    try:
        return read(text)
    except ValueError as error:
        raise UsageError(f"{flag}: {text!r} {error}") from None


def _one_time_action(args: argparse.Namespace, folder: Path, options: Options) -> int:
    from reconciler.controller.service import open_store

    if not (folder / "controller.db").exists():
        raise UsageError(f"{folder} is not the state directory of a controller; use --state")
    store = open_store(folder, options)
    try:
        name, done = _save_action(args, folder, store)
    finally:
        store.close()
    sys.stdout.write(f"{name}: {done}\n")
    return ExitCode.OK


def _save_action(args: argparse.Namespace, folder: Path, store: Store) -> tuple[str, str]:
    """Save what the operator decided about a target, and return its name and what was done."""
    import json

    from reconciler.controller.controller import TARGETS
    from reconciler.spec.problems import target_hint

    name, _, check = (args.suspend or args.resume or args.now or args.accept).partition("@" if args.accept else "\0")
    if name not in store.flags():
        raise UsageError(f"the controller in {folder} knows no target {name!r}; check the name")
    followed = json.loads(store.note(TARGETS) or "null")
    if followed is not None and name not in followed and not args.resume:  # its place may be resumed
        raise UsageError(
            f"the commit that the controller in {folder} follows has no target {name!r}; {target_hint(name, followed, 'its')}"
        )
    if args.now:
        store.request(name)
        return name, "reconciliation scheduled"
    if args.accept:
        place = store.accept(name, check)
        if place is None:
            raise UsageError(f"the controller in {folder} has not seen target {name!r} in a commit yet; start it first")
        return name, f"accepted ({place})"
    store.suspend(name, suspended=bool(args.suspend))
    return name, "suspended" if args.suspend else "resumed"


def _once(context: Context, folder: Path, options: Options) -> int:
    import threading

    from reconciler.controller import service
    from reconciler.controller.controller import Observer

    with service.open_controller(
        options, folder, Observer(), config=context.config, targets=context.targets, draw=lambda: 0.0
    ) as (controller, _, stop):
        done = threading.Event()

        def seen() -> bool:
            snapshot = controller.snapshot()
            finished = snapshot.ready or (snapshot.repository.trouble is not None and controller.is_idle)
            if finished:
                done.set()
            return finished

        service.run_until_stopped(controller, stop, until=seen)
        snapshot = controller.snapshot()
    if not done.is_set():
        raise UsageError("interrupted before every target was reconciled")
    unknown = [name for name in context.targets if name not in snapshot.states and not options.shard]
    if unknown and snapshot.repository.commit:
        raise UsageError(
            f"the project has no target {', '.join(map(repr, unknown))} at commit {snapshot.repository.commit.short}"
        )
    return _report(snapshot)


def _report(snapshot: Snapshot) -> int:
    from reconciler.controller.state import RunStatus
    from reconciler.report.words import shards_line

    repository = snapshot.repository
    if repository.trouble is not None:
        print_lines(sys.stderr, repository.message)
    if repository.commit:
        print_lines(sys.stdout, f"{snapshot.stack} at commit {repository.commit.short} of {repository.branch}")
        if snapshot.shard:
            print_lines(sys.stdout, shards_line(snapshot.shard, len(snapshot.states)))
    statuses = set()
    for name, state in snapshot.states.items():
        if state.suspended or state.last_run is None:
            sys.stdout.write(f"{name}: suspended\n")
            continue
        one = state.last_run
        statuses.add(one.status)
        read = f"{one.managed:,} managed, {one.drifted:,} drifted, {one.pending:,} pending"
        counts = read if one.account_read else "account not read"
        print_lines(sys.stdout, f"{name}: {one.status.value} ({one.mode.value}; {counts})")
        print_lines(sys.stdout, *(f"  {line}" for line in one.message.splitlines()))
    if repository.trouble is not None or statuses & {RunStatus.FAILED, RunStatus.BAD_SPEC}:
        return ExitCode.ERROR
    order = {
        ExitCode.INCOMPLETE: {RunStatus.INCOMPLETE},
        ExitCode.REFUSED: {RunStatus.REFUSED, RunStatus.BLOCKED},
        ExitCode.DIFFERENT: {RunStatus.DRIFTED},
        ExitCode.PENDING: {RunStatus.PENDING},
    }
    return next((code for code, each in order.items() if statuses & each), ExitCode.OK)


def _serve(context: Context, folder: Path, options: Options) -> int:
    with imports_of("run", "controller"):
        from reconciler.controller.app import App
        from reconciler.controller.metrics import Metrics
        from reconciler.controller.server import serving
    from reconciler.controller import service

    token, webhooks = service.control_token_from(options), service.webhook_secrets_from(options)
    metrics = Metrics()
    with service.open_controller(options, folder, metrics, config=context.config, targets=context.targets) as (
        controller,
        store,
        stop,
    ):
        app = App(
            controller,
            store,
            token=token,
            webhooks=webhooks,
            metrics=metrics.expose(controller.snapshot),
            secure=options.public_url.startswith("https://"),
        )
        with serving(options.listen, app, names=service.host_names_from(options)) as url:
            sys.stderr.write(f"serving on {url}\n")
            service.run_until_stopped(controller, stop)
    return ExitCode.OK
