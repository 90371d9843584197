"""The verbs of `ivs-reconciler sandbox`: serve the embedded server, and talk to a running one.

Only argparse is imported here; each verb imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reconciler.cli.options import Parser, Subparsers, global_options
from reconciler.cli.sandbox_verbs import DEFAULT_PORT, add_verbs, fail, pair

if TYPE_CHECKING:
    from reconciler.sandbox import AccessKey, Sandbox

_HIGHEST_PORT = 65_535


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add `sandbox` with its verbs to the command line."""
    sandbox = subparsers.add_parser(
        "sandbox",
        parents=[common],
        help="an Amazon IVS control plane on your machine",
        description="An Amazon IVS control plane on your machine, for any AWS client.",
    )
    verbs = sandbox.add_subparsers(dest="sandbox_command", metavar="VERB", required=True)
    _add_serve(verbs, common)
    add_verbs(verbs, common)


def _add_serve(verbs: Subparsers, common: argparse.ArgumentParser) -> None:
    parser = verbs.add_parser(
        "serve",
        parents=[common],
        help="serve until interrupted",
        description="Serve the Amazon IVS control plane until interrupted (Ctrl-C or SIGTERM).",
    )
    parser.add_argument(
        "--port", type=_port, metavar="PORT", default=DEFAULT_PORT, help="0 takes a free one (default %(default)s)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default %(default)s: this machine only)")
    parser.add_argument("--db", metavar="FILE", help="keep the state in this SQLite file (default: in memory)")
    parser.add_argument("--quotas", action="store_true", help="answer 429 above AWS's documented call rates")
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=COUNT",
        help="change a resource quota, such as channels=50000 (repeatable)",
    )
    parser.add_argument(
        "--auth", choices=("any", "strict"), default="any", help="strict verifies signatures (default %(default)s)"
    )
    parser.add_argument(
        "--accounts",
        metavar="FILE",
        help="JSON: access key id to account id, or to {account, secret, user, session_token}",
    )
    parser.add_argument(
        "--bucket", action="append", default=[], metavar="NAME=REGION", help="where an S3 bucket lies (repeatable)"
    )
    parser.add_argument(
        "--strict-buckets",
        action="store_true",
        help="buckets that --bucket does not name exist nowhere (default: everywhere)",
    )
    parser.add_argument(
        "--assume",
        action="append",
        default=[],
        metavar="NAME=ANSWER",
        help="answer an open question about the service otherwise, such as list-order=shuffled (repeatable; the verb assume lists them)",
    )
    parser.add_argument(
        "--settle-seconds",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="how long CREATING lasts (default %(default)s)",
    )
    parser.add_argument(
        "--stop-seconds",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="how long a stopped stream lingers (default %(default)s)",
    )
    parser.add_argument("--post-events", default="", metavar="URL", help="post every event to this URL as JSON")
    parser.set_defaults(run=serve)


def serve(args: argparse.Namespace) -> int:
    """Serve until a signal asks to stop; then answer what has begun and leave."""
    import signal
    import threading

    try:
        # The state and the accounts are looked for in the folder that -C names.
        args.db, args.accounts = _in_folder(args, args.db), _in_folder(args, args.accounts)
        sandbox = _sandbox(args)
        sandbox.start()
    except (ValueError, OSError, RuntimeError) as error:
        return fail(f"the sandbox cannot start: {error}")
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    where = args.db or "memory"
    sys.stdout.write(
        f"serving Amazon IVS on {sandbox.endpoint_url} (state in {where})\nuse it with: export AWS_ENDPOINT_URL_IVS={sandbox.endpoint_url}\n"
    )
    sys.stdout.flush()
    # A wait without a timeout would keep the signal handler from running on some platforms.
    while not stopping.wait(0.5):
        pass
    sandbox.stop()
    sys.stdout.write("stopped\n")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verbs alone, without the rest of the command line."""
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
        quotas=args.quotas,
        limits={name: int(value) for name, value in map(pair, args.limit)},
        auth=args.auth,
        accounts=_accounts(args.accounts),
        buckets=dict(map(pair, args.bucket)),
        strict_buckets=args.strict_buckets,
        assume=dict(map(pair, args.assume)),
        settle_seconds=args.settle_seconds,
        stop_seconds=args.stop_seconds,
        post_events_to=args.post_events,
    )


def _in_folder(args: argparse.Namespace, path: str | None) -> str | None:
    import os

    folder = getattr(args, "directory", None)
    return os.path.join(folder, path) if folder and path else path  # noqa: PTH118 - the path is shown as it was given


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _HIGHEST_PORT):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; write a whole number from 0 to {_HIGHEST_PORT}")
    return int(text)


def _accounts(path: str | None) -> dict[str, str | AccessKey]:
    """Return the configured callers; their secrets are in a file so that no process list shows them."""
    import json
    from pathlib import Path

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
