"""The verbs of `ivs-reconciler sandbox`: `serve`, and one verb for each control operation of a running sandbox.

Each verb imports what it needs when it runs, so that --help is quick.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.cli.options import Parser, Subparsers, global_options

if TYPE_CHECKING:
    from reconciler.sandbox import AccessKey, Sandbox
    from reconciler.sandbox.http.control import RemoteControl

DEFAULT_PORT = 4599
_MAX_PORT = 65_535
HEALTHS = ("HEALTHY", "STARVING", "UNKNOWN")
EFFECTS = ("throttle", "error", "deny", "expire", "skew", "reset", "hang", "truncate", "delay", "html")

# What a verb does with the remote sandbox, or the control operation that it calls with its own arguments.
Run = Callable[[argparse.Namespace, "RemoteControl"], object] | str
# Adds a verb: name, help text, and what it runs.
AddVerb = Callable[[str, str, Run], argparse.ArgumentParser]


def _verb(
    verbs: Subparsers, common: argparse.ArgumentParser, name: str, text: str, run: Run
) -> argparse.ArgumentParser:
    """Add a verb that runs a control operation of a running sandbox."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, parents=[common], help=text, description=f"{text[0].upper()}{text[1:]}."
    )
    parser.add_argument(
        "--endpoint",
        default=os.environ.get("AWS_ENDPOINT_URL_IVS", f"http://127.0.0.1:{DEFAULT_PORT}"),
        metavar="URL",
        help=f"endpoint of the running sandbox (default: AWS_ENDPOINT_URL_IVS, else http://127.0.0.1:{DEFAULT_PORT})",
    )
    _add_token(parser, "of the running sandbox, if it needs one")
    parser.set_defaults(run=lambda args: _run_remote(args, run))
    return parser


def _add_token(parser: argparse.ArgumentParser, which: str) -> None:
    parser.add_argument(
        "--control-token-file",
        metavar="FILE",
        help=f"file with the token of the control API {which} (default: IVS_SANDBOX_TOKEN)",
    )


def _control_token(args: argparse.Namespace) -> str | None:
    """Return the token of the control API, None if none is given. Raises ValueError and OSError."""
    if args.control_token_file is None:
        return os.environ.get("IVS_SANDBOX_TOKEN", "").strip() or None
    path = Path(_in_folder(args, args.control_token_file) or "")
    if not (token := path.read_text(encoding="utf-8").strip()):
        raise ValueError(f"{path}: holds no token")
    return token


def _add_streams(verb: AddVerb) -> None:
    live = verb("live", "start a stream on a channel, or list live channels", _live)
    live.add_argument(
        "arn", nargs="?", metavar="CHANNEL_ARN", help="channel to start a stream on (default: list live channels)"
    )
    live.add_argument("--viewers", type=int, default=0, metavar="N", help="number of viewers (default %(default)s)")
    live.add_argument("--health", default="HEALTHY", choices=HEALTHS, help="health of the stream (default %(default)s)")
    offline = verb("offline", "end a channel's stream", "go_offline")
    offline.add_argument("arn", metavar="CHANNEL_ARN")
    health = verb("health", "change a stream's health", "set_health")
    health.add_argument("arn", metavar="CHANNEL_ARN")
    health.add_argument("health", choices=HEALTHS)
    viewers = verb("viewers", "change the number of viewers of a stream", "set_viewers")
    viewers.add_argument("arn", metavar="CHANNEL_ARN")
    viewers.add_argument("viewers", type=int)


def _add_drift(verb: AddVerb) -> None:
    drift = verb("drift", "change a resource as the user someone-else, so that it drifts", _drift)
    drift.add_argument("arn", metavar="ARN")
    drift.add_argument(
        "changes",
        nargs="+",
        metavar="MEMBER=VALUE",
        help="members to change, with JSON values or strings: type=BASIC authorized=true tags.team=x",
    )


def _add_faults(verb: AddVerb) -> None:
    faults = verb("faults", "list active faults, add one (EFFECT), or clear them", _faults)
    faults.add_argument(
        "effect", nargs="?", choices=(*EFFECTS, "clear"), metavar="EFFECT", help=f"{', '.join(EFFECTS)}; or clear"
    )
    faults.add_argument(
        "--operation",
        action="append",
        metavar="NAME",
        help="only operations of this name or pattern, such as Create* or servicequotas:* (repeatable; default: all)",
    )
    faults.add_argument(
        "--when", choices=("before", "after"), help="before or after the call is processed (default before)"
    )
    faults.add_argument(
        "--times", type=int, help="number of calls to hit, 0 for all (default 1; for deny, expire and skew 0)"
    )
    faults.add_argument("--skip", type=int, metavar="N", help="let the first N calls pass")
    faults.add_argument("--every", type=int, metavar="N", help="hit every Nth call")
    faults.add_argument("--probability", type=float, help="probability of a hit, 0 to 1")
    faults.add_argument("--code", help="error code of effect error (default InternalServerException)")
    faults.add_argument("--message", help="message of effect error")
    faults.add_argument(
        "--status", type=int, help="HTTP status of effect error, for a code that the service does not have"
    )
    faults.add_argument("--seconds", type=float, help="duration of effects delay and hang (default 1)")
    faults.add_argument("--arn", help="only calls with this ARN or part of it; with * and ? a pattern for a whole ARN")
    faults.add_argument("--account", help="only calls of this account")
    faults.add_argument("--access-key", help="only calls signed with this key")
    faults.add_argument("--region", help="only calls in this region")


def _add_records(verb: AddVerb) -> None:
    calls = verb("calls", "show the call log, newest first", "calls")
    calls.add_argument("--operation", default="", metavar="NAME", help="only calls of this operation (default: all)")
    calls.add_argument("--limit", type=int, default=20, metavar="N", help="maximum number (default %(default)s)")
    events = verb("events", "show events as EventBridge delivers them, newest first", "events")
    events.add_argument("--limit", type=int, default=20, metavar="N", help="maximum number (default %(default)s)")
    lag = verb("lag", "delay the visibility of creates and deletes", "set_lag")
    lag.add_argument(
        "--create",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="until reads show a created resource (default %(default)s)",
    )
    lag.add_argument(
        "--delete",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="until reads no longer show a deleted one (default %(default)s)",
    )
    quota = verb("quota", "show resource quotas, or set one", _quota)
    quota.add_argument("name", nargs="?")
    quota.add_argument("value", nargs="?", type=int)
    quota.add_argument("--account", default="", help="only for this account (needs --region)")
    quota.add_argument("--region", default="", help="only for this region (needs --account)")
    rates = verb("rates", "enable or disable call-rate quotas, or set some of them", _rates)
    rates.add_argument(
        "rates",
        nargs="+",
        metavar="on|off|OPERATION=RATE",
        help="on: documented rates; off: none; OPERATION=RATE: documented rates except these, in calls a second",
    )
    rates.add_argument("--burst", type=float, help="number of calls allowed at once (default: the rate)")
    rates.add_argument(
        "--windows", action="store_true", help="count per whole second instead of refilling continuously"
    )
    assume = verb("assume", "list assumptions about the service, or choose another option of one", _assume)
    assume.add_argument("name", nargs="?", metavar="NAME")
    assume.add_argument("option", nargs="?", metavar="OPTION")
    verb("reset", "delete all resources and restore the initial settings", "reset")
    verb("follow", "print events as they occur, one JSON object a line", _follow)


def _run_remote(args: argparse.Namespace, run: Run) -> int:
    """Run a verb on the running sandbox and print its result as JSON."""
    import json

    from reconciler.sandbox import Control
    from reconciler.sandbox.http.control import RemoteControl

    try:
        remote = RemoteControl(args.endpoint, _control_token(args) or "")
        result = remote.call(run, **_own(args, getattr(Control, run))) if isinstance(run, str) else run(args, remote)
    except (ValueError, OSError) as error:
        return _fail(str(error))
    if result is not None:
        sys.stdout.write(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return 0


def _own(args: argparse.Namespace, function: Callable[..., object]) -> dict[str, Any]:
    """Return the given arguments that a function has parameters for."""
    import inspect

    given = {name: getattr(args, name, None) for name in inspect.signature(function).parameters}
    return {name: value for name, value in given.items() if value is not None}


def _follow(_args: argparse.Namespace, remote: RemoteControl) -> None:
    import json

    for event in remote.follow():
        sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def _live(args: argparse.Namespace, remote: RemoteControl) -> object:
    if args.arn is None:
        return remote.call("live")
    return remote.call("go_live", arn=args.arn, viewers=args.viewers, health=args.health)


def _quota(args: argparse.Namespace, remote: RemoteControl) -> object:
    where = {"account": args.account, "region": args.region}
    if args.value is not None:
        return remote.call("set_quota", name=args.name, value=args.value, **where)
    found = remote.call("quotas", **where)
    if args.name is None:
        return found
    if args.name not in found:
        raise ValueError(f"unknown quota {args.name!r}; known: {', '.join(found)}")
    return {"name": args.name, "value": found[args.name]}


def _rates(args: argparse.Namespace, remote: RemoteControl) -> object:
    rates: object = args.rates == ["on"]
    if args.rates not in (["on"], ["off"]):
        rates = {name: _number(name, value) for name, value in map(_pair, args.rates)}
    return remote.call("set_rates", rates=rates, burst=args.burst, windows=args.windows)


def _assume(args: argparse.Namespace, remote: RemoteControl) -> object:
    rows = remote.call("assumptions")
    if args.name is None:
        return rows
    if args.option is not None:
        rows = remote.call("assume", name=args.name, option=args.option)
    for row in rows:
        if row["name"] == args.name:
            return row
    raise ValueError(f"unknown assumption {args.name!r}; known: {', '.join(row['name'] for row in rows)}")


def _faults(args: argparse.Namespace, remote: RemoteControl) -> object:
    from reconciler.sandbox.faults import Fault

    operation = ",".join(args.operation or ())
    if args.effect is None:
        return remote.call("faults")
    if args.effect == "clear":
        return remote.call("clear_faults", operation=operation)
    rule = _own(args, Fault)
    if operation:
        rule["operation"] = operation
    return remote.call("add_fault", **rule)


def _drift(args: argparse.Namespace, remote: RemoteControl) -> object:
    import json

    changes: dict[str, Any] = {}
    tags: dict[str, str] = {}
    for name, text in map(_pair, args.changes):
        if name.startswith("tags."):
            tags[name.removeprefix("tags.")] = text
            continue
        try:
            changes[name] = json.loads(text)
        except ValueError:
            changes[name] = text
    return remote.call("drift", arn=args.arn, changes={**changes, "tags": tags} if tags else changes)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not a number of calls a second") from None


def _pair(text: str) -> tuple[str, str]:
    """Split NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not name or not equals or not value:
        raise ValueError(f"{text!r} must have the form NAME=VALUE")
    return name, value


def _fail(text: str) -> int:
    """Print an error and return its exit code."""
    from reconciler.terminal import write_fitted

    write_fitted(f"{text}\n", sys.stderr)
    return 1


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add `sandbox` with its verbs to the command line."""
    sandbox = subparsers.add_parser(
        "sandbox",
        parents=[common],
        help="run a local Amazon IVS control plane",
        description="Run a local Amazon IVS control plane for any AWS client.",
    )
    verbs = sandbox.add_subparsers(dest="sandbox_command", metavar="VERB", required=True)
    _add_serve(verbs, common)
    for add in (_add_streams, _add_drift, _add_faults, _add_records):
        add(partial(_verb, verbs, common))


def _add_serve(verbs: Subparsers, common: argparse.ArgumentParser) -> None:
    parser = verbs.add_parser(
        "serve", parents=[common], help="start the server", description="Serve until interrupted (Ctrl-C or SIGTERM)."
    )
    parser.add_argument(
        "--port",
        type=_port,
        metavar="PORT",
        default=DEFAULT_PORT,
        help="port to listen on, 0 for a free one (default %(default)s)",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default %(default)s: this machine only)"
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let browser pages of this origin, such as https://app.example.com, use the server (repeatable; default: pages of this machine)",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="accept this name in Host (repeatable; default: addresses, localhost, names without a dot, names of AWS)",
    )
    parser.add_argument("--db", metavar="FILE", help="keep the state in this SQLite file (default: in memory)")
    parser.add_argument("--quotas", action="store_true", help="enforce the documented call rates (429)")
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=COUNT",
        help="set a resource quota, such as channels=50000 (repeatable)",
    )
    parser.add_argument(
        "--auth",
        choices=("any", "strict"),
        default="any",
        help="strict verifies signatures, any accepts every caller (default %(default)s)",
    )
    parser.add_argument(
        "--accounts",
        metavar="FILE",
        help="JSON file: access key id to account id, or to {account, secret, user, session_token, expires}",
    )
    parser.add_argument(
        "--bucket", action="append", default=[], metavar="NAME=REGION", help="region of an S3 bucket (repeatable)"
    )
    parser.add_argument(
        "--strict-buckets",
        action="store_true",
        help="other buckets than those of --bucket do not exist (default: they exist in every region)",
    )
    parser.add_argument(
        "--assume",
        action="append",
        default=[],
        metavar="NAME=OPTION",
        help="choose an option of an assumption about the service, such as list-order=shuffled (repeatable; listed by: sandbox assume)",
    )
    parser.add_argument(
        "--settle-seconds",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="duration of CREATING and UPDATING (default %(default)s)",
    )
    parser.add_argument(
        "--stop-seconds",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="how long a stopped stream is still live (default %(default)s)",
    )
    _add_token(parser, "to require; with --auth strict, or an address that other machines reach, a new one is printed")
    parser.add_argument("--post-events", default="", metavar="URL", help="post every event to this URL as JSON")
    parser.set_defaults(run=serve)


def serve(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM, then answer the requests in progress."""
    import signal
    import threading

    with contextlib.ExitStack() as running:
        try:
            # Relative to the directory of -C.
            args.db, args.accounts = _in_folder(args, args.db), _in_folder(args, args.accounts)
            sandbox = running.enter_context(_sandbox(args))
        except (ValueError, OSError, RuntimeError) as error:
            return _fail(f"cannot start the sandbox: {error}")
        stopping = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopping.set())
        where = args.db or "memory"
        sys.stdout.write(
            f"serving Amazon IVS on {sandbox.endpoint_url} (state in {where})\n"
            f"use it with: export {sandbox.client_settings(sandbox.endpoint_url)}\n"
        )
        if sandbox.control_token and not _control_token(args):
            sys.stdout.write(f"control it with: export IVS_SANDBOX_TOKEN={sandbox.control_token}\n")
        sys.stdout.flush()
        # Without a timeout the signal handler does not run on some platforms.
        while not stopping.wait(0.5):
            pass
    sys.stdout.write("stopped\n")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verbs of `sandbox` without the rest of the command line."""
    parser = Parser(prog="ivs-reconciler")
    add_parser(parser.add_subparsers(dest="command", metavar="COMMAND", required=True), global_options())
    args = parser.parse_args(argv)
    return int(args.run(args))


def _sandbox(args: argparse.Namespace) -> Sandbox:
    from reconciler.sandbox import Sandbox

    return Sandbox(
        args.db,
        port=args.port,
        host=args.host,
        allow_origins=args.allow_origin,
        allow_hosts=args.allow_host,
        control_token=_control_token(args),
        quotas=args.quotas,
        limits={name: int(value) for name, value in map(_pair, args.limit)},
        auth=args.auth,
        accounts=_accounts(args.accounts),
        buckets=dict(map(_pair, args.bucket)),
        strict_buckets=args.strict_buckets,
        assume=dict(map(_pair, args.assume)),
        settle_seconds=args.settle_seconds,
        stop_seconds=args.stop_seconds,
        post_events_to=args.post_events,
    )


def _in_folder(args: argparse.Namespace, path: str | None) -> str | None:
    folder = getattr(args, "directory", None)
    return os.path.join(folder, path) if folder and path else path  # noqa: PTH118 - the path is shown as it was given


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _MAX_PORT):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to {_MAX_PORT})")
    return int(text)


def _accounts(path: str | None) -> dict[str, str | AccessKey]:
    """Return the access keys of a file: as options, secrets would show in the process list."""
    import json

    from reconciler.sandbox import AccessKey

    if path is None:
        return {}
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{path}: not a JSON object of access keys")  # noqa: TRY004
    try:
        return {key: value if isinstance(value, str) else AccessKey(**value) for key, value in found.items()}
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
