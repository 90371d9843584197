"""The controller as a process: builds its parts from the options, locks the state directory, and runs the loop until a stop."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from reconciler import logs
from reconciler.aws.connection import connect
from reconciler.controller.config import Options
from reconciler.controller.controller import Controller, Observer, Schedule, Settings
from reconciler.controller.reconcile import Dependencies, Notifier
from reconciler.controller.store import Store
from reconciler.controller.webhooks import WEBHOOKS
from reconciler.errors import UsageError, os_reason
from reconciler.git.committed import addresses_in_mirror
from reconciler.git.git import Remote, Secret, check_remote
from reconciler.git.source import ProjectRules, Source
from reconciler.model.target import NO_LIMITS
from reconciler.spec.project import load_pin
from reconciler.workflow.progress import interruptible

TOKEN_VARIABLE = "IVS_RECONCILER_GIT_TOKEN"  # noqa: S105 - the name of a variable
CONTROL_VARIABLE = "IVS_RECONCILER_CONTROL_TOKEN"

MAX_SLEEP_SECONDS = 1.0
"""The longest wait between steps: requests of the command line come through the store, and a signal does not wake the loop."""

_LOG = logs.get("controller")


def remote_from(options: Options) -> Remote:
    """Return the repository to follow. Raises ``UsageError`` for one that cannot be followed safely."""
    if not options.url:
        raise UsageError("no repository; use --repo, or repository.url in the settings file")
    remote = Remote(
        url=options.url,
        branch=options.branch,
        username=options.username,
        token=_secret(options.token_file, TOKEN_VARIABLE, "git token"),
        ssh_key=options.ssh_key,
        known_hosts=options.known_hosts,
        allowed_signers=options.allowed_signers,
    )
    check_remote(remote)
    return remote


def control_token_from(options: Options) -> Secret:
    """Return the token that requests need. Raises ``UsageError`` for a file that cannot be read."""
    token = _secret(options.control_token_file, CONTROL_VARIABLE, "control token")
    token.read()
    return token


def webhook_secrets_from(options: Options) -> dict[str, Secret]:
    """Return the webhook credentials by forge. Raises ``UsageError`` for a file that cannot be read."""
    secrets = {
        hook.forge: _secret(options.webhook_files.get(hook.forge, ""), hook.variable, hook.what) for hook in WEBHOOKS
    }
    for secret in secrets.values():
        secret.read()
    return secrets


def host_names_from(options: Options) -> tuple[str, ...]:
    """Return the host names of requests that are accepted besides addresses and names of this machine."""
    return (*options.hosts, urlsplit(options.public_url).hostname or "")


def _secret(file: str, variable: str, what: str) -> Secret:
    return Secret(file=file, value="" if file else os.environ.get(variable, ""), what=what)


def _make_state_directory(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot create the state directory {folder} ({os_reason(error)}); use another with --state"
        ) from None


def open_store(folder: Path, options: Options) -> Store:
    """Open the store of a state directory, for the controller or the command line beside it. Raises ``UsageError``."""
    _make_state_directory(folder)
    return Store(folder / "controller.db", keep_days=options.keep_days, keep_runs=options.keep_runs)


@contextlib.contextmanager
def open_controller(
    options: Options,
    folder: Path,
    observer: Observer,
    *,
    config: str | None,
    targets: tuple[str, ...],
    draw: Callable[[], float] = random.random,
) -> Iterator[tuple[Controller, Store, threading.Event]]:
    """Lock the state directory and yield a controller that follows the repository of the options, its store, and its stop event.

    Raises ``UsageError`` if another controller has locked the directory.
    """
    _make_state_directory(folder)
    with contextlib.ExitStack() as opened:
        stop = opened.enter_context(interruptible())
        lock = os.open(folder / "lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        handle = opened.enter_context(os.fdopen(lock, "w"))
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"another controller uses {folder}; stop it, or use another directory with --state"
            ) from None
        store = opened.enter_context(contextlib.closing(open_store(folder, options)))
        notifier = Notifier(
            store, os.environ, observer.on_delivery, now=time.time, sleep=time.sleep, public_url=options.public_url
        )
        source, rules = Source(folder, remote_from(options), options.path, stop=stop), _rules(options, config)
        controller = Controller(
            source,
            store,
            Settings(
                _schedule(options),
                rules,
                targets,
                options.shard,
                options.at_once,
                options.allow_rewind,
                options.allow_new_stack,
            ),
            Dependencies(
                connect=lambda target, on_request: connect(target, on_request=on_request),
                now=time.time,
                sleep=time.sleep,
                monotonic=time.monotonic,
                stop=stop,
                on_request=observer.on_request,
                notify=notifier,
                find_applied=partial(addresses_in_mirror, source, rules),
                shard=options.shard,
            ),
            records=folder / "targets",
            fetcher=ThreadPoolExecutor(1, thread_name_prefix="fetch"),
            workers=ThreadPoolExecutor(options.at_once, thread_name_prefix="reconcile"),
            observer=observer,
            draw=draw,
        )
        yield controller, store, stop


def _rules(options: Options, config: str | None) -> ProjectRules:
    pin = load_pin(Path(options.pin)) if options.pin else None
    return ProjectRules(config, NO_LIMITS._replace(**options.guardrails), pin, options.allowed_paths)


def _schedule(options: Options) -> Schedule:
    return Schedule(
        options.interval,
        options.fetch_interval,
        options.jitter / 100,
        options.intervals,
        options.mode,
        options.modes,
        options.windows,
        options.windows_of,
    )


def run_until_stopped(
    controller: Controller, stop: threading.Event, *, until: Callable[[], bool] = lambda: False
) -> None:
    """Run the loop until the stop event is set or ``until`` is true, then wait for in-flight calls."""
    while not stop.is_set() and not until():
        wait = controller.step() - time.time()
        if not until():
            controller.wake.wait(max(0.01, min(wait, MAX_SLEEP_SECONDS)))
            controller.wake.clear()
    _LOG.info("stopping", reason="signal" if stop.is_set() else "done")
    controller.finish()
